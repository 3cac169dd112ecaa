import X86

/// Basic exit reasons, under the SDM's names and numbers (SDM 3C appendix C) where there is one;
/// numbers from 256 on are Ringside's own.
@usableFromInline package enum ExitReason: UInt16, CaseIterable, Sendable {
  case exception = 0, externalInterrupt = 1, tripleFault = 2, initSignal = 3, sipi = 4
  case interruptWindow = 7, nmiWindow = 8, taskSwitch = 9, cpuid = 10, hlt = 12, invd = 13, invlpg = 14
  case rdpmc = 15, rdtsc = 16, vmcall = 18, vmclear = 19, vmlaunch = 20, vmptrld = 21, vmptrst = 22, vmread = 23
  case vmresume = 24, vmwrite = 25, vmxoff = 26, vmxon = 27
  case crAccess = 28, drAccess = 29, io = 30, rdmsr = 31, wrmsr = 32, entryFailure = 33
  case entryMSRFailure = 34
  case mwait = 36, monitorTrap = 37, monitor = 39, pause = 40, tprBelowThreshold = 43
  case gdtrIdtrAccess = 46, ldtrTrAccess = 47, eptViolation = 48, eptMisconfiguration = 49
  case invept = 50, rdtscp = 51, preemptionTimer = 52, invvpid = 53, wbinvd = 54, xsetbv = 55
  /// INT n, INTO, INT1: software interrupts (not an SDM exit; for `bi` and the sensitive set).
  case softwareInterrupt = 256
  /// A debugger's breakpoint, watchpoint or step.
  case debug = 257
  /// The instruction budget ran out.
  case budget = 258
  /// Another thread called `kick()`.
  case kicked = 259
  /// A binary rewriter's callout.
  case callout = 260
  /// The engine has no such instruction; the guest gets #UD.
  case unknownInstruction = 261
  case unknown = 262
  /// SYSCALL of a deprivileged guest (`ExitControls.isDeprivileged`).
  case syscall = 263
}

/// Which control register, and the direction.
@usableFromInline package enum RegisterAccess: UInt8, Sendable { case write, read, clts, lmsw }

/// Why a debug exit happened.
@usableFromInline package enum DebugCause: Equatable, Sendable {
  /// About to execute the instruction at this linear address.
  case execution(GVA)
  /// The instruction that just retired touched a watched range.
  case data(GVA, size: UInt8, write: Bool)
  case step
}

/// An exit's qualification, decoded. The instruction has **not** been executed yet (fault-like),
/// except for `.debug(.data)`, which comes after it.
@usableFromInline package enum ExitQualification: Equatable, Sendable {
  /// Port input or output. `value` is what is written (0 for input). For INS/OUTS each element exits
  /// on its own; `rep` and `string` say what the instruction was.
  case io(port: UInt16, size: UInt8, write: Bool, string: Bool, rep: Bool, value: UInt64)
  /// Access to a guest-physical address without memory behind it; `linear` is the address that led there.
  case mmio(gpa: GPA, linear: GVA, size: UInt8, write: Bool, value: UInt64)
  case msr(index: UInt32, write: Bool, value: UInt64)
  case cpuid(leaf: UInt32, subleaf: UInt32)
  case hlt
  case cr(number: UInt8, access: RegisterAccess, gpr: UInt8, value: UInt64)
  case dr(number: UInt8, access: RegisterAccess, gpr: UInt8, value: UInt64)
  /// SGDT/SIDT/LGDT/LIDT (table 0 GDTR, 1 IDTR) or SLDT/STR/LLDT/LTR (2 LDTR, 3 TR).
  case descriptorTable(table: UInt8, write: Bool)
  /// An exception about to be delivered through the guest's IDT.
  case exception(vector: Vector, errorCode: UInt32?, linear: UInt64)
  case softwareInterrupt(vector: Vector)
  case externalInterrupt(vector: Vector)
  case interruptWindow
  case hypercall(number: UInt64)
  case invlpg(GVA)
  case taskSwitch(selector: UInt16, source: UInt8)
  case debug(DebugCause)
  case tripleFault
  case budget
  case kicked
  /// An encoding the engine does not have: its first bytes, little-endian, and length.
  case unknownInstruction(bytes: UInt64, length: UInt8)
  case entryFailure(field: UInt32)
  /// A sensitive instruction about which nothing more is to be said than what it is.
  case callout(SensitiveOperation)
  /// Nothing more to say than the reason (RDTSC, PAUSE, WBINVD, ...).
  case none
  case unknown(raw: UInt64)
}

/// The guest left for the monitor: a value, complete in itself.
@usableFromInline package struct VMExit: Equatable, Sendable {
  @usableFromInline package var vcpu: UInt8
  @usableFromInline package var reason: ExitReason
  /// The qualification, as it is carried.
  @usableFromInline package var words: QualificationWords
  package var qualification: ExitQualification { words.value }
  /// RIP of the exiting instruction (offset in CS, not linear).
  @usableFromInline package var rip: UInt64
  /// Length of the exiting instruction, 0 where there is none.
  @usableFromInline package var instructionLength: UInt8
  /// Instructions retired by this vCPU before the exit.
  @usableFromInline package var instructionCount: UInt64
  /// No exit of the guest: the controls let this access through to the device, as to one assigned to the
  /// guest. It is answered like an exit, but nobody hears of it.
  @usableFromInline package var isDirect = false

  @inlinable @inline(__always)
  package init(
    vcpu: UInt8, reason: ExitReason, words: QualificationWords, rip: UInt64, instructionLength: UInt8,
    instructionCount: UInt64
  ) {
    self.vcpu = vcpu
    self.reason = reason
    self.words = words
    self.rip = rip
    self.instructionLength = instructionLength
    self.instructionCount = instructionCount
  }

  @inlinable @inline(__always)
  package init(
    vcpu: UInt8, reason: ExitReason, qualification: ExitQualification, rip: UInt64, instructionLength: UInt8,
    instructionCount: UInt64
  ) {
    self.init(
      vcpu: vcpu, reason: reason, words: QualificationWords(qualification), rip: rip,
      instructionLength: instructionLength, instructionCount: instructionCount)
  }
}

/// An event put into the guest at entry (SDM 3C 25.8.3).
@usableFromInline package enum InjectedEvent: Equatable, Sendable {
  case externalInterrupt(Vector)
  case nmi
  case exception(Vector, errorCode: UInt32?)
}

/// What to do about the exit the vCPU last returned, then go on.
@usableFromInline package struct VMEntry: Equatable, Sendable {
  @usableFromInline package enum Action: Equatable, Sendable {
    /// Nothing pending, or: start the instruction again from its beginning.
    case resume
    /// The engine executes the instruction itself, as the architecture says, without exiting for it again.
    case emulate
    /// The device or MSR read gave this value: finish the instruction with it. For writes: it was done.
    case complete(UInt64)
    /// The monitor did all of it: RIP moves past the instruction, which counts as retired.
    case skip
    /// The monitor did all of it, whatever kind of exit it was, and the guest goes on there; one instruction
    /// counts as retired.
    case retire(rip: UInt64)
    /// The instruction faults instead.
    case fault(Vector, errorCode: UInt32?)

    /// Without the comparison of payloads that `==` makes.
    @inlinable @inline(__always) package var isResume: Bool { if case .resume = self { true } else { false } }
    @inlinable @inline(__always) package var isEmulate: Bool { if case .emulate = self { true } else { false } }
  }
  @usableFromInline package var action: Action
  @usableFromInline package var inject: InjectedEvent?
  /// Exit with `interruptWindow` as soon as the guest can take an external interrupt.
  @usableFromInline package var interruptWindow: Bool
  /// Exit with reason `nmiWindow` as soon as the guest can take an NMI, where the engine can.
  @usableFromInline package var nmiWindow = false
  /// Exit with `.debug(.step)` once an exception has been delivered, before its handler's first instruction.
  @usableFromInline package var stopsAfterDelivery = false

  @inlinable @inline(__always)
  package init(_ action: Action = .resume, inject: InjectedEvent? = nil, interruptWindow: Bool = false) {
    self.action = action
    self.inject = inject
    self.interruptWindow = interruptWindow
  }
  @inlinable @inline(__always) package static var resume: VMEntry { VMEntry() }
}
