import VMCore
import X86

/// VMX operation as one vCPU is in it (SDM 3C chapter 24). All of it but `controls` can be had again from
/// guest memory and is part of the vCPU's state.
struct VMXState {
  /// No region: what VMPTRST stores, and what `vmxon` is outside VMX operation.
  static let none = UInt64.max
  /// Physical address of the VMXON region; `none` outside VMX operation.
  var vmxon = VMXState.none
  /// The current-VMCS pointer.
  var current = VMXState.none
  /// Non-root operation: the guest of a guest runs.
  var nonRoot = false
  /// The VM-execution controls in force in non-root operation.
  var controls = VMXControls()
  /// The extended-page-table pointer in force; 0 without EPT.
  var eptPointer: UInt64 = 0
  /// Virtual time at which the VMX-preemption timer runs out; `max` without one.
  var preemptionDeadline = UInt64.max
  /// What the TSC offset was before VM entry added to it.
  var addedTSCOffset: UInt64 = 0
  /// An external interrupt whose exit did not acknowledge it: the monitor takes it once IF lets it.
  var heldInterrupt: UInt8?
  /// What VM entry injects before the guest's first instruction, as interruption information; 0 if nothing.
  var injection: UInt32 = 0
  var injectionErrorCode: UInt32 = 0
  var injectionLength: UInt8 = 0
  /// Debug exceptions VM entry found pending, as in the field of the VMCS; 0 if none.
  var pendingDebug: UInt64 = 0
  /// A write to CR8 went below the TPR threshold.
  var isTPRBelowThreshold = false
  /// An INIT signal waits (SDM 3C 24.8).
  var isInitPending = false
  /// The event being delivered to the guest, as IDT-vectoring information; 0 if none.
  var vectoring: UInt32 = 0
  var vectoringErrorCode: UInt32 = 0
  /// The exit a `Stop.vmExit` stands for.
  var exit = VMXExit()
}

extension VMXState {
  init(_ operation: VMXOperation) {
    vmxon = operation.vmxon ?? Self.none
    current = operation.current ?? Self.none
    nonRoot = operation.isNonRoot && operation.vmxon != nil
    injection = operation.injection
    injectionErrorCode = operation.injectionErrorCode
    injectionLength = operation.injectionLength
    heldInterrupt = operation.heldInterrupt
    preemptionDeadline = operation.preemptionDeadline ?? .max
    addedTSCOffset = operation.addedTSCOffset
    pendingDebug = operation.pendingDebug
    isTPRBelowThreshold = operation.isTPRBelowThreshold
    isInitPending = operation.isInitPending
  }

  /// The part of it that is the vCPU's state.
  var operation: VMXOperation {
    var result = VMXOperation()
    result.vmxon = vmxon == Self.none ? nil : vmxon
    result.current = current == Self.none ? nil : current
    result.isNonRoot = nonRoot
    result.injection = injection
    result.injectionErrorCode = injectionErrorCode
    result.injectionLength = injectionLength
    result.heldInterrupt = heldInterrupt
    result.preemptionDeadline = preemptionDeadline == .max ? nil : preemptionDeadline
    result.addedTSCOffset = addedTSCOffset
    result.pendingDebug = pendingDebug
    result.isTPRBelowThreshold = isTPRBelowThreshold
    result.isInitPending = isInitPending
    return result
  }
}

/// A VM exit to the guest's own monitor: what goes to the exit-information fields.
struct VMXExit {
  var reason = ExitReason.unknown
  var qualification: UInt64 = 0
  var interruption: UInt32 = 0
  var errorCode: UInt32 = 0
  var linear: UInt64 = 0
  var physical: UInt64 = 0
  /// The exit belongs to an instruction: length and information fields are filled.
  var isInstruction = false
  /// Debug exceptions that wait behind this exit, as in the pending-debug-exceptions field.
  var pendingDebug: UInt64 = 0
}

extension UnsafeMutablePointer<CPU> {
  @inline(__always) var isNonRoot: Bool { pointee.vmx.nonRoot }

  /// Leaves for the guest's monitor if its VMCS says that this event exits. Nothing in root operation.
  @inline(__always)
  func intercept(
    _ event: @autoclosure () -> VMXEvent, _ reason: ExitReason, _ qualification: @autoclosure () -> UInt64 = 0,
    linear: @autoclosure () -> UInt64 = 0
  ) throws(Stop) {
    guard isNonRoot else { return }
    if wants(event()) {
      throw vmExit(
        VMXExit(reason: reason, qualification: qualification(), linear: linear(), isInstruction: true))
    }
  }

  /// Whether the VMCS in force makes this event exit.
  @inline(never)
  func wants(_ event: VMXEvent) -> Bool {
    let region = currentVMCS
    return pointee.vmx.controls.cause(of: event) { field, offset in
      guard let region else { return 0xFF }
      let byte = region[field] &+ UInt64(offset)
      return UInt8(truncatingIfNeeded: physicalQuad(byte & ~7) >> ((byte & 7) * 8))
    } != nil
  }

  func vmExit(_ exit: VMXExit) -> Stop {
    pointee.vmx.exit = exit
    return .vmExit
  }

  /// The region of the current VMCS; nil where there is none, or no RAM any more.
  var currentVMCS: VMCSRegion? { vmcsRegion(pointee.vmx.current) }
  func vmcsRegion(_ gpa: UInt64) -> VMCSRegion? {
    guard gpa != VMXState.none, gpa & 0xFFF == 0, let page = hostPage(gpa), page.writable else { return nil }
    codeWritten(gpa, 4096)
    return VMCSRegion(page.host)
  }

  /// Eight bytes of physical memory, not through EPT; all ones where no memory is.
  func physicalQuad(_ gpa: UInt64) -> UInt64 {
    guard let page = hostPage(gpa) else { return .max }
    return page.host.loadUnaligned(fromByteOffset: Int(gpa & 0xFF8), as: UInt64.self)
  }
}
