import X86

/// A set of 256 vectors.
package struct VectorSet: Equatable, Sendable {
  package var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
  package init() {}
  package static let none = VectorSet()
  package static let all: VectorSet = {
    var set = VectorSet()
    set.words = (.max, .max, .max, .max)
    return set
  }()
  package var isEmpty: Bool { words.0 | words.1 | words.2 | words.3 == 0 }
  package subscript(_ vector: Vector) -> Bool {
    get {
      let bit = UInt64(1) << UInt64(vector & 63)
      switch vector >> 6 {
      case 0: return words.0 & bit != 0
      case 1: return words.1 & bit != 0
      case 2: return words.2 & bit != 0
      default: return words.3 & bit != 0
      }
    }
    set {
      let bit = UInt64(1) << UInt64(vector & 63)
      func put(_ word: inout UInt64) { word = newValue ? word | bit : word & ~bit }
      switch vector >> 6 {
      case 0: put(&words.0)
      case 1: put(&words.1)
      case 2: put(&words.2)
      default: put(&words.3)
      }
    }
  }
  package static func == (a: VectorSet, b: VectorSet) -> Bool { a.words == b.words }
}

/// What makes the guest exit: the control area of its VMCS and, over it, what a debugger wishes for.
/// Memory without RAM behind it, triple faults and unknown instructions exit whatever stands here.
package struct ExitControls: Equatable, Sendable {
  /// Control words, exception bitmap, masks, shadows, CR3 targets.
  package var vmcs: VMXControls
  package var bitmaps: VMCSBitmaps
  /// Added to what the guest reads of its TSC while "use TSC offsetting" is 1.
  package var tscOffset: UInt64 = 0
  /// The VMX-preemption timer's value at each VM entry, in its ticks (`VMXCapabilities.preemptionTimerShift`).
  package var preemptionTimer: UInt32 = 0
  /// "Save VMX-preemption timer value": an entry goes on where the last exit left the timer.
  package var savesPreemptionTimer = false
  package var wishes = DebuggerWishes()
  /// What leaves translated code beside what the VMCS says (technique `rewrite`).
  package var policy = RewritingPolicy.none
  /// The monitor stands in for ring 0 of a guest that was ported to run without it: every exception, INT n and
  /// SYSCALL exits in place of entering ring 0 by IDT and LSTAR.
  package var isDeprivileged = false

  package init(vmcs: VMXControls, bitmaps: VMCSBitmaps) {
    self.vmcs = vmcs
    self.bitmaps = bitmaps
  }

  /// The teaching default: HLT, CR8, every port, and the MSRs that are not the processor's own exit; the
  /// rest runs in the guest.
  package static let standard: ExitControls = {
    var vmcs = VMXControls()
    let on: [VMXControlBit] = [
      .hltExiting, .cr8LoadExiting, .cr8StoreExiting, .useIOBitmaps, .useMSRBitmaps, .activateSecondary, .enableEPT,
      .enableRDTSCP, .unrestrictedGuest,
    ]
    for bit in on { vmcs[bit] = true }
    return ExitControls(vmcs: vmcs, bitmaps: .standard)
  }()

  /// Why `event` exits by the VMCS, wishes left aside; nil where the guest goes on by itself.
  package func cause(of event: VMXEvent) -> VMXCause? {
    vmcs.cause(of: event) { field, offset in bitmaps.byte(field, offset) }
  }
}

/// What a debugger wants to see beyond what a VMCS can make exit.
package struct DebuggerWishes: Equatable, Sendable {
  /// Exceptions that exit before they are delivered, of all 256 vectors (a VMCS has 32).
  package var vectors = VectorSet.none
  /// INT n, INT3, INTO, INT1.
  package var softwareInterrupts = false
  /// Control registers of which every access exits, by number: a VMCS lets CR0 and CR4 be read, and be
  /// written where nothing changes that the monitor owns.
  package var controlRegisters: UInt16 = 0
  package init() {}
  package var isEmpty: Bool { vectors.isEmpty && !softwareInterrupts && controlRegisters == 0 }
}

/// A range of linear addresses whose reads or writes stop the vCPU.
package struct WatchRange: Equatable, Sendable {
  package var address: GVA
  /// In bytes, at least 1.
  package var length: UInt64
  package var onRead: Bool
  package var onWrite: Bool
  package init(address: GVA, length: UInt64, onRead: Bool, onWrite: Bool) {
    self.address = address
    self.length = length
    self.onRead = onRead
    self.onWrite = onWrite
  }
}

/// Where a debugger wants the vCPU to stop. Independent of the guest's own debug registers.
package struct DebugTraps: Equatable, Sendable {
  /// Linear addresses: exit with `.debug(.execution)` before the instruction there.
  package var execution: Set<UInt64> = []
  package var watches: [WatchRange] = []
  package init() {}
}
