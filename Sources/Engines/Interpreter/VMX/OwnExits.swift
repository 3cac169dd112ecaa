import VMCore
import X86

/// What of the monitor's controls is on: derived from `ExitControls` when they are set, so that an
/// instruction whose bits are off pays for one test. Where a bit here is 1, `VMXControls.cause(of:)` decides.
struct QuickExits: OptionSet {
  let rawValue: UInt32
  static let hlt = Self(rawValue: 1 << 0)
  static let rdtsc = Self(rawValue: 1 << 1)
  static let rdpmc = Self(rawValue: 1 << 2)
  static let cr0 = Self(rawValue: 1 << 3)
  static let cr3 = Self(rawValue: 1 << 4)
  static let cr4 = Self(rawValue: 1 << 5)
  static let cr8 = Self(rawValue: 1 << 6)
  static let dr = Self(rawValue: 1 << 7)
  static let descriptorTables = Self(rawValue: 1 << 8)
  static let invlpg = Self(rawValue: 1 << 9)
  static let pause = Self(rawValue: 1 << 10)
  static let wbinvd = Self(rawValue: 1 << 11)
  static let softwareInterrupts = Self(rawValue: 1 << 12)
  /// Some exception exits.
  static let exceptions = Self(rawValue: 1 << 13)
  static let monitorTrap = Self(rawValue: 1 << 14)
  static let preemptionTimer = Self(rawValue: 1 << 15)
  /// The monitor stands in for ring 0.
  static let deprivileged = Self(rawValue: 1 << 16)
  /// RDMSR and WRMSR exit whatever the bitmap says.
  static let everyMSR = Self(rawValue: 1 << 17)
  /// RDMSR of some register that the processor has itself exits.
  static let processorMSRs = Self(rawValue: 1 << 18)
  /// CPUID, INVD, task switches: no bit turns them off.
  static let always = Self(rawValue: 1 << 31)

  init(rawValue: UInt32) { self.rawValue = rawValue }

  init(_ controls: ExitControls) {
    let vmcs = controls.vmcs
    let wishes = controls.wishes
    var result: Self = .always
    func put(_ bit: Self, _ isOn: Bool) { if isOn { result.insert(bit) } }
    func isWished(_ register: UInt16) -> Bool { wishes.controlRegisters >> register & 1 != 0 }
    put(.hlt, vmcs.has(.hltExiting))
    put(.rdtsc, vmcs.has(.rdtscExiting))
    put(.rdpmc, vmcs.has(.rdpmcExiting))
    put(.cr0, vmcs.cr0Mask != 0 || isWished(0))
    put(.cr3, vmcs.has(.cr3LoadExiting) || vmcs.has(.cr3StoreExiting) || isWished(3))
    put(.cr4, vmcs.cr4Mask != 0 || isWished(4))
    // An access that does not exit goes to the local APIC all the same.
    result.insert(.cr8)
    put(.dr, vmcs.has(.movDRExiting))
    put(.descriptorTables, vmcs.has(.descriptorTableExiting))
    put(.invlpg, vmcs.has(.invlpgExiting))
    put(.pause, vmcs.has(.pauseExiting))
    put(.wbinvd, vmcs.has(.wbinvdExiting))
    put(.softwareInterrupts, wishes.softwareInterrupts || controls.isDeprivileged)
    put(.deprivileged, controls.isDeprivileged)
    // With a bit of the bitmap 0, #PF exits where the error code does not match.
    let pageFaults = vmcs.pageFaultMatch & ~vmcs.pageFaultMask != 0 || vmcs.pageFaultMask != 0
    put(.exceptions, vmcs.exceptions != 0 || pageFaults || !wishes.vectors.isEmpty || controls.isDeprivileged)
    put(.monitorTrap, vmcs.has(.monitorTrapFlag))
    put(.preemptionTimer, vmcs.has(.preemptionTimer))
    put(.everyMSR, !vmcs.has(.useMSRBitmaps))
    let exits = VMCSBitmaps.processorMSRs.contains { controls.bitmaps.contains(msr: $0, write: false) ?? true }
    put(.processorMSRs, !vmcs.has(.useMSRBitmaps) || exits)
    self = result
  }
}

/// The guest's exits to our own monitor, decided by its VMCS as those of a guest of a guest are by the
/// guest's (SDM 3C 26.1, 26.2).
extension UnsafeMutablePointer<CPU> {
  /// True where the controls may want this instruction to exit and it was not already allowed to go on.
  @inline(__always)
  func exits(on instruction: QuickExits) -> Bool {
    !pointee.emulating && pointee.quick.contains(instruction)
  }

  /// The bit of our VMCS that makes this event exit; nil where the guest goes on.
  @inline(never)
  func monitorCause(_ event: VMXEvent) -> VMXCause? {
    let bitmaps = pointee.ownBitmaps
    return pointee.ownVMCS.cause(of: event) { field, offset in bitmaps[VMCSBitmaps.start(field) + offset] }
  }

  /// Offers an instruction to the monitor: leaves if it wants it and has not answered; true if it did it
  /// all, so that nothing is left to do.
  @inline(__always)
  func offer(
    _ quick: QuickExits, _ event: @autoclosure () -> VMXEvent, _ reason: ExitReason,
    _ qualification: @autoclosure () -> ExitQualification
  ) throws(Stop) -> Bool {
    if takeAnswer() != nil { return true }
    if exits(on: quick), let cause = monitorCause(event()) { throw leave(reason, qualification(), cause) }
    return false
  }

  /// Asks for the monitor: `throw c.leave(.hlt, .hlt, cause)`.
  @inline(__always)
  func leave(_ reason: ExitReason, _ qualification: ExitQualification, _ cause: VMXCause? = nil) -> Stop {
    leave(reason, QualificationWords(qualification), cause)
  }

  private func leave(_ reason: ExitReason, _ words: QualificationWords, _ cause: VMXCause?) -> Stop {
    pointee.exit = PendingExit(reason: reason, words: words, cause: cause)
    if pointee.rewrites { makeCallout() }
    return .exit
  }

  /// With a policy in force a sensitive instruction's exit is a callout, whatever bit asked for it.
  private func makeCallout() {
    if pointee.exit.reason == .invd { pointee.exit.words = QualificationWords(.callout(.cacheControl)) }
    guard let operation = pointee.exit.words.value.operation else { return }
    pointee.exit.reason = .callout
    pointee.exit.cause = .policy(operation)
  }

  /// An access to the platform: an exit where a bit says so, else straight to the device.
  @inline(__always)
  func access(_ event: VMXEvent, _ reason: ExitReason, _ qualification: ExitQualification) -> Stop {
    access(event, reason, QualificationWords(qualification))
  }

  private func access(_ event: VMXEvent, _ reason: ExitReason, _ words: QualificationWords) -> Stop {
    let cause = monitorCause(event)
    let stop = leave(reason, words, cause)
    pointee.exit.isDirect = cause == nil
    return stop
  }

  /// Why an access to CR0, CR3, CR4 or CR8 exits.
  func controlRegisterCause(_ number: Int, _ event: VMXEvent) -> VMXCause? {
    if let cause = monitorCause(event) { return cause }
    return pointee.wishes.controlRegisters >> UInt16(number) & 1 != 0 ? .debugger : nil
  }

  /// What the guest reads its TSC above the processor's own.
  var monitorTSCOffset: UInt64 { pointee.ownTSCOffset }
}

/// The VMX-preemption timer and the monitor trap flag of our own guest.
extension InterpreterVCPU {
  package var controls: ExitControls {
    get { ownControls }
    set {
      let old = ownControls
      let isSameTimer =
        old.preemptionTimer == newValue.preemptionTimer
        && old.vmcs.has(.preemptionTimer) == newValue.vmcs.has(.preemptionTimer)
      ownControls = newValue
      c.pointee.ownVMCS = newValue.vmcs
      c.pointee.wishes = newValue.wishes
      c.pointee.ownTSCOffset = newValue.vmcs.has(.useTSCOffsetting) ? newValue.tscOffset : 0
      newValue.bitmaps.copy(to: c.pointee.ownBitmaps)
      c.pointee.quick = QuickExits(newValue)
      c.pointee.rewrites = !newValue.policy.isEmpty
      engine.obey(newValue.policy)
      if !isSameTimer { stopTimer() }
      if !c.pointee.quick.contains(.monitorTrap) { c.pointee.trapPending = false }
    }
  }

  func stopTimer() {
    c.pointee.timerDeadline = .max
    c.pointee.timerLeft = nil
  }

  /// VM entry starts the timer, but for what an entry behind a mere stop finds running (SDM 3C 26.5.1).
  func startTimer() {
    guard c.pointee.timerDeadline == .max else { return }
    let ticks = UInt64(ownControls.preemptionTimer) << VMXCapabilities.preemptionTimerShift
    c.pointee.timerDeadline = virtualTime &+ (c.pointee.timerLeft ?? ticks)
  }

  /// An exit of the guest stops the timer; stops of the debugger and the budget are none.
  func holdTimer(at exit: VMExit) {
    guard !exit.isDirect else { return }
    switch exit.reason {
    case .budget, .kicked, .debug: return
    default: break
    }
    let now = virtualTime
    let left = c.pointee.timerDeadline > now ? c.pointee.timerDeadline - now : 0
    let whole = ~((UInt64(1) << VMXCapabilities.preemptionTimerShift) - 1)
    // A timer that ran out starts anew: with the 0 that was saved the guest would never execute again.
    let isSaved = ownControls.savesPreemptionTimer && exit.reason != .preemptionTimer
    c.pointee.timerLeft = isSaved ? left & whole : nil
    c.pointee.timerDeadline = .max
  }

  /// The sooner of our own guest's timer and of that a guest monitor set for its guest.
  package var timerDeadline: UInt64? {
    let first = min(c.pointee.timerDeadline, c.isNonRoot ? c.pointee.vmx.preemptionDeadline : .max)
    return first == .max ? nil : first
  }

  /// Between two instructions: the monitor trap flag's exit, then the timer's.
  var ownEvent: VMExit? {
    if c.pointee.trapPending {
      c.pointee.trapPending = false
      return exit(.monitorTrap, .none, cause: .control(.monitorTrapFlag))
    }
    guard virtualTime >= c.pointee.timerDeadline else { return nil }
    return exit(.preemptionTimer, .none, cause: .control(.preemptionTimer))
  }

  /// An instruction has retired, or an event was delivered: with the monitor trap flag the guest leaves
  /// before the next instruction (SDM 3C 26.5.2).
  func noteTrap() { if c.pointee.quick.contains(.monitorTrap) { c.pointee.trapPending = true } }
}
