import VMCore
import X86

/// Exceptions and interrupts of a guest of a guest: to its monitor, or through its own IDT.
extension UnsafeMutablePointer<CPU> {
  private func type(_ kind: InterruptKind) -> VMXFormat.EventType {
    switch kind {
    case .exception: .hardwareException
    case .external: .externalInterrupt
    case .nmi: .nmi
    case .softwareInterrupt: .softwareInterrupt
    case .softwareException: .softwareException
    case .privilegedSoftwareException: .privilegedSoftwareException
    }
  }

  /// Remembers the event whose delivery begins, for the IDT-vectoring fields (SDM 3C 28.2.4).
  func noteVectoring(_ vector: UInt8, _ errorCode: UInt32?, _ kind: InterruptKind) {
    let code = reported(errorCode)
    pointee.vmx.vectoring = VMXFormat.interruption(type(kind), vector: vector, hasErrorCode: code != nil)
    pointee.vmx.vectoringErrorCode = code ?? 0
  }

  /// The VMCS gets no error codes of real mode (SDM 3C 28.2.2).
  private func reported(_ errorCode: UInt32?) -> UInt32? { pointee.cr0 & CR0.pe == 0 ? nil : errorCode
  }

  /// Leaves for the guest's monitor where the exception bitmap wants this exception.
  func interceptException(
    _ vector: UInt8, _ errorCode: UInt32?, _ kind: InterruptKind, linear: UInt64 = 0
  ) throws(Stop) {
    guard isNonRoot, wants(.exception(vector: vector, errorCode: errorCode ?? 0)) else { return }
    let code = reported(errorCode)
    let isAddress = vector == Exception.pf.rawValue || vector == Exception.db.rawValue
    throw vmExit(
      VMXExit(
        reason: .exception, qualification: isAddress ? linear : 0,
        interruption: VMXFormat.interruption(type(kind), vector: vector, hasErrorCode: code != nil),
        errorCode: code ?? 0))
  }

  /// True where an external interrupt is taken whatever IF says: it exits.
  var interruptsExit: Bool { isNonRoot && pointee.vmx.controls.has(.externalInterruptExiting) }

  /// An external interrupt or NMI arrives in non-root operation: the exit it makes, or nil where the guest
  /// takes it. Without "acknowledge interrupt on exit" the monitor gets it when it lets interrupts in.
  func arrivalExit(vector: UInt8, isNMI: Bool) -> VMXExit? {
    guard isNonRoot, wants(isNMI ? .nmi : .externalInterrupt) else { return nil }
    if isNMI { return VMXExit(reason: .exception, interruption: VMXFormat.interruption(.nmi, vector: 2)) }
    var exit = VMXExit(reason: .externalInterrupt)
    if currentVMCS?.has(.acknowledgeInterrupt) == true {
      exit.interruption = VMXFormat.interruption(.externalInterrupt, vector: vector)
    } else {
      pointee.vmx.heldInterrupt = vector
    }
    return exit
  }

  /// What is due before the next instruction of a guest of a guest, the most urgent first (SDM 3C 26.2). The
  /// monitor trap flag is looked at after instructions.
  var boundaryExit: VMXExit? {
    guard isNonRoot else { return nil }
    if pointee.vmx.isInitPending { return VMXExit(reason: .initSignal) }
    if pointee.vmx.isTPRBelowThreshold { return VMXExit(reason: .tprBelowThreshold) }
    if retired &+ pointee.slept >= pointee.vmx.preemptionDeadline { return VMXExit(reason: .preemptionTimer) }
    guard pointee.shadowAt != retired else { return nil }
    if !pointee.nmiBlocked && pointee.vmx.controls.has(.nmiWindowExiting) { return VMXExit(reason: .nmiWindow) }
    let hasIF = pointee.rflags & RFLAGS.interruptEnable != 0
    return hasIF && pointee.vmx.controls.has(.interruptWindowExiting) ? VMXExit(reason: .interruptWindow) : nil
  }

  /// Instructions until the VMX-preemption timer runs out.
  var untilPreemption: UInt64 {
    let now = retired &+ pointee.slept
    return pointee.vmx.preemptionDeadline > now ? pointee.vmx.preemptionDeadline - now : 1
  }

  /// An interrupt or NMI window, or an interrupt that waits, may come up after a system instruction.
  var waitsForWindow: Bool {
    if pointee.vmx.heldInterrupt != nil { return true }
    guard isNonRoot else { return false }
    let wanted = VMXControlBit.interruptWindowExiting.mask | VMXControlBit.nmiWindowExiting.mask
    return pointee.vmx.controls.primary & wanted != 0
  }

  /// Something must be looked at after the next instruction of a guest of a guest.
  var looksAtBoundary: Bool {
    if isNonRoot && pointee.vmx.controls.has(.monitorTrapFlag) { return true }
    return pointee.shadowAt == retired && waitsForWindow
  }

  // MARK: Event injection (SDM 3C 27.6.1)

  /// Delivers the event of the last VM entry, which is no pending MTF exit.
  func injectPending() throws(Stop) {
    let info = pointee.vmx.injection
    let length = UInt64(pointee.vmx.injectionLength)
    let vector = UInt8(truncatingIfNeeded: info)
    pointee.vmx.injection = 0
    pointee.stopLength = UInt8(truncatingIfNeeded: length)
    pointee.stopOnStack = false
    pointee.activity = .active
    switch VMXFormat.EventType(rawValue: info >> 8 & 7) {
    case .externalInterrupt: try interrupt(vector: vector, kind: .external)
    case .nmi: try interrupt(vector: vector, kind: .nmi)
    case .softwareInterrupt: try injectSoftware(vector, length, .softwareInterrupt)
    case .softwareException: try injectSoftware(vector, length, .softwareException)
    case .privilegedSoftwareException: try injectSoftware(vector, length, .privilegedSoftwareException)
    default:
      let hasCode = info & VMXFormat.hasErrorCode != 0
      try deliver(
        Fault(vector: vector, hasErrorCode: hasCode, errorCode: pointee.vmx.injectionErrorCode), isInjected: true)
    }
  }

  /// The return address of a software event lies behind the instruction that would have raised it.
  private func injectSoftware(_ vector: UInt8, _ length: UInt64, _ kind: InterruptKind) throws(Stop) {
    let rip = pointee.rip
    pointee.rip = rip &+ length
    do throws(Stop) {
      try interrupt(vector: vector, kind: kind)
    } catch {
      pointee.rip = rip
      throw error
    }
  }

  // MARK: The TPR shadow (SDM 3C 26.3, 30.1.2)

  /// Where CR8 lies while the TPR shadow is in use; nil where it is the local APIC's.
  private var shadowTPR: UInt64? {
    guard isNonRoot, pointee.vmx.controls.has(.useTPRShadow), let region = currentVMCS else { return nil }
    return region[.virtualAPICAddress] + 0x80
  }
  var shadowedCR8: UInt64? { shadowTPR.map { physicalQuad($0) >> 4 & 0xF } }

  /// Writes CR8 to the shadow; false where there is none. Below the threshold the guest leaves afterwards.
  func writeShadowedCR8(_ value: UInt64) throws(Stop) -> Bool {
    guard let at = shadowTPR, let region = currentVMCS else { return false }
    guard value & ~0xF == 0 else { throw raise(.gp, 0) }
    if let page = hostPage(at), page.writable {
      codeWritten(at, 4)
      page.host.storeBytes(of: UInt32(truncatingIfNeeded: value << 4), toByteOffset: Int(at & 0xFFF), as: UInt32.self)
    }
    pointee.vmx.isTPRBelowThreshold = value < region[.tprThreshold] & 0xF
    if pointee.vmx.isTPRBelowThreshold { pointee.leaveSoon = true }
    return true
  }
}
