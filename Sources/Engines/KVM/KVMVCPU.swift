import CHost
import Glibc
import Synchronization
import VMCore
import X86

/// What the last exit left open.
struct KVMOpenExit {
  enum Kind {
    case nothing
    /// KVM is in the midst of an IN, OUT or string of them; a load or store; RDMSR or WRMSR.
    case io, mmio, msr
    /// KVM is behind a HLT.
    case hlt
    /// The embedded processor is in the midst of an instruction that KVM could not execute.
    case companion
    /// A breakpoint was reported: the instruction there executes without stopping again.
    case breakpoint
    /// A change of CR8 was reported; it has happened.
    case taskPriority
  }
  var kind = Kind.nothing
  /// Where the instruction begins, and ends.
  var rip: UInt64 = 0
  var next: UInt64 = 0
  /// KVM's registers are those behind the instruction, and nothing is left to be done.
  var isPast = false
  /// Of the elements KVM moves at once, the one that is under way.
  var element: UInt32 = 0
  var count: UInt32 = 1
  /// What was put into registers while KVM was in the midst of the instruction.
  var written: [(register: GPR, value: UInt64)] = []

  /// Nothing is open any more.
  @inline(__always)
  mutating func close() {
    kind = .nothing
    isPast = false
    if !written.isEmpty { written = [] }
  }
}

/// A vCPU that the host's processor executes, through /dev/kvm.
///
/// What an exit shows is the guest before its instruction, as with every engine: where KVM is already behind it,
/// the instruction pointer shown is found from the code. Registers are read from and written to the run page;
/// while KVM is in the midst of an instruction, what is written waits until that is finished.
package final class KVMVCPU: VCPU {
  package let index: Int
  /// The engine owns its vCPUs and outlives them.
  private let owner: Unmanaged<KVMEngine>
  var engine: KVMEngine { owner.takeUnretainedValue() }
  let memory: GuestMemory
  let host: KVMHost
  let cpu: KVMProcessor
  let companion: KVMCompanion
  let traits: KVMTraits
  let ripIsPastOut: Bool
  private let kickRequest = Atomic<Bool>(false)
  package var monitor: ExitMonitor?

  var open = KVMOpenExit()
  /// An exit found together with the one returned, for the next run.
  var waiting: (exit: VMExit, open: KVMOpenExit)?
  package var activity = ActivityState.active
  /// Instructions known to have been executed: exits answered, steps, and those of the companion.
  package internal(set) var instructionCount: UInt64 = 0
  private var clock = KVMClock()
  /// Nil after a run, until somebody asks.
  var slow: KVMSlowState? { didSet { knowsSlow = slow != nil } }
  private var knowsSlow = false
  var tscOffset: UInt64 = 0
  /// The guest had 32-bit paging on when it was entered last.
  var enteredWithPaging32 = false
  /// CR8 as the platform knows it.
  var knownCR8: UInt64 = 0
  var ports = KVMPortCache()
  /// The code segment of the last exit, where it is known without asking for the processor's system registers, which
  /// are slow to read.
  var knownCode: KVMCodeSegment?
  var debug = KVMDebug()
  package internal(set) var failureSentence: String?
  /// Instructions executed by the embedded processor because KVM could not.
  package internal(set) var emulatedCount: UInt64 = 0

  package var controls = ExitControls.standard {
    didSet {
      if controls.vmcs.has(.useMSRBitmaps) != oldValue.vmcs.has(.useMSRBitmaps) {
        engine.refreshMSRFilter()
      }
    }
  }
  package var traps = DebugTraps() { didSet { if traps != oldValue { debug.isStale = true } } }

  init(index: Int, engine: KVMEngine, companion: KVMCompanion) throws(VMError) {
    self.index = index
    owner = .passUnretained(engine)
    memory = engine.memory
    host = engine.host
    self.companion = companion
    traits = engine.findings.traits
    ripIsPastOut = engine.findings.ripIsPastOut
    cpu = try KVMProcessor(host: engine.host, vm: engine.machine.fd, index: index)
    let entries = KVMCPUID.entries(apicID: UInt32(index), configuration: engine.configuration)
    let told = KVMCPUID.intersect(entries, supported: engine.supportedCPUID)
    let result = chost_kvm_set_cpuid(cpu.fd, told, UInt32(told.count))
    if result < 0 { throw KVMHost.failure("set the CPUID of vCPU \(index)", result) }
    // Where the processor can scale its time stamp counter, it runs at 1 GHz as virtual time does.
    _ = chost_kvm_set_tsc_khz(cpu.fd, 1_000_000)
    cpu.sync.pointee.sregs.apic_base = 0xFEE0_0800 | (index == 0 ? 0x100 : 0)
    cpu.changed(KVMProcessor.systemRegisters)
    state = VCPUState()
    if index > 0 { activity = .waitForSIPI }
  }

  // MARK: run

  package func run(_ entry: VMEntry, limit: UInt64) -> VMExit {
    clock.begin()
    cpu.attach()
    if failureSentence != nil { failureSentence = nil }
    let exit = runToExit(entry, limit)
    cpu.rest()
    clock.pass()
    return exit
  }

  private func runToExit(_ entry: VMEntry, _ limit: UInt64) -> VMExit {
    let before = instructionCount
    if let exit = carryOut(entry, limit) { return exit }
    if takeKick() { return exit(.kicked, .kicked) }
    // An instruction that was finished is one of the limit.
    if limit == 0 || limit == 1 && instructionCount != before { return exit(.budget, .budget) }
    guard activity == .active else { return exit(.budget, .budget) }
    if entry.interruptWindow, canTakeInterrupt { return exit(.interruptWindow, .interruptWindow) }
    if limit == 1 { return step(entry) ?? exit(.budget, .budget) }
    if open.kind == .breakpoint, let exit = stepOver(entry) { return exit }
    let (deadline, overflow) = clock.now.addingReportingOverflow(min(limit, 1 << 50))
    return runFreely(entry, until: overflow ? .max : deadline)
  }

  /// Runs the guest until an exit, the deadline or a kick.
  private func runFreely(_ entry: VMEntry, until deadline: UInt64) -> VMExit {
    if let exit = armTraps() { return exit }
    owner._withUnsafeGuaranteedRef { $0.refreshShadows(for: self) }
    notePaging32()
    defer { disarmTraps() }
    // What is planted for breakpoints is nothing for a monitor to see.
    let asksPromptly = monitor != nil && traps.execution.isEmpty && traps.watches.isEmpty && !entry.interruptWindow
      && !entry.stopsAfterDelivery
    var now = clock.now
    while true {
      cpu.run.pointee.request_interrupt_window = entry.interruptWindow ? 1 : 0
      cpu.prepare()
      if takeKick() { return settled(.kicked, .kicked) }
      if now >= deadline { return settled(.budget, .budget) }
      cpu.setAlarm(deadline, now: now)
      guard let exit = enter() else {
        now = HostTime.now()
        continue
      }
      if !asksPromptly { return exit }
      if let last = answered(exit) { return last }
      now = clock.now
    }
  }

  /// The exit that `run` returns for this one; nil where the monitor answered it, and the guest goes on.
  @inline(__always)
  private func answered(_ found: VMExit) -> VMExit? {
    guard let monitor else { return found }
    clock.pass()
    switch monitor.answer(found, of: self) {
    case .declined: return found
    case .outside: return exit(.budget, .budget)
    case .action(.complete(let value)) where open.kind == .io: return complete(value, isExact: false)
    case .action(let action): return carryOut(VMEntry(action), .max)
    }
  }

  /// One KVM_RUN; nil to go on.
  @inline(__always)
  func enter() -> VMExit? {
    open.kind = .nothing
    knownCode = nil
    forgetSlowState()
    let result = owner._withUnsafeGuaranteedRef { $0.enterGuest { cpu.enter() } }
    // Of all exits the most frequent: put together here, it is not handed on through memory from one to the next.
    if result == 0, Int32(cpu.run.pointee.exit_reason) == KVM_EXIT_IO { return withTaskPriority(ioExit()) }
    if result == 0, let exit = exitOfKVM() { return withTaskPriority(exit) }
    if result == -EINTR || result == -EAGAIN || result == 0 {
      return cpu.run.pointee.cr8 == knownCR8 ? nil : taskPriorityExit()
    }
    return entryFailure(UInt32(truncatingIfNeeded: -result), "KVM refused to run the guest: error \(-result)")
  }

  @inline(__always)
  func forgetSlowState() { if knowsSlow { slow = nil } }

  /// A bookkeeping exit, with what is about to be delivered delivered first: it has no place in a state.
  private func settled(_ reason: ExitReason, _ qualification: ExitQualification) -> VMExit {
    if let exit = deliverPending() { return exit }
    return exit(reason, qualification)
  }

  @inline(__always)
  func exit(
    _ reason: ExitReason, _ qualification: ExitQualification, rip: UInt64? = nil, length: UInt8 = 0
  ) -> VMExit {
    VMExit(
      vcpu: UInt8(truncatingIfNeeded: index), reason: reason, qualification: qualification,
      rip: rip ?? cpu.regs.pointee.rip, instructionLength: length, instructionCount: instructionCount)
  }

  func entryFailure(_ field: UInt32, _ sentence: String) -> VMExit {
    failureSentence = sentence + "; use --engine interpreter"
    return exit(.entryFailure, .entryFailure(field: field))
  }

  // MARK: kicks

  package func kick() {
    kickRequest.store(true, ordering: .sequentiallyConsistent)
    companion.kick()
    cpu.interrupt()
  }

  var isKicked: Bool { kickRequest.load(ordering: .relaxed) }

  /// True once for each `kick()`.
  @inline(__always)
  func takeKick() -> Bool {
    guard kickRequest.load(ordering: .sequentiallyConsistent) else { return false }
    return kickRequest.exchange(false, ordering: .acquiring)
  }

  // MARK: time

  package var virtualTime: UInt64 { clock.time }

  package func idle(until time: UInt64) { clock.sleep(until: time) }

  package func restartClock() {
    instructionCount = 0
    clock = KVMClock()
  }

  // MARK: what is asked between runs

  package var canTakeInterrupt: Bool {
    guard waiting == nil, activity == .active || activity == .halted else { return false }
    switch open.kind {
    case .nothing, .breakpoint, .taskPriority: break
    default: return false
    }
    return cpu.regs.pointee.rflags & RFLAGS.interruptEnable != 0
      && cpu.sync.pointee.events.interrupt.shadow == 0 && !isDelivering
  }

  /// KVM has an event it has not delivered yet.
  var isDelivering: Bool {
    let events = cpu.sync.pointee.events
    return events.interrupt.injected != 0 || events.exception.injected != 0 || events.exception.pending != 0
      || events.nmi.injected != 0 || events.nmi.pending != 0
  }

  package func gpr(_ register: GPR) -> UInt64 {
    if open.kind == .companion { return companion.vcpu.gpr(register) }
    for entry in open.written where entry.register == register { return entry.value }
    return KVMRegisters.gpr(cpu.regs.pointee, register)
  }

  package func setGPR(_ register: GPR, _ value: UInt64) {
    if open.kind == .companion { return companion.vcpu.setGPR(register, value) }
    let isAmidst = (open.kind == .io || open.kind == .mmio || open.kind == .msr) && !open.isPast
    if isAmidst {
      open.written.removeAll { $0.register == register }
      open.written.append((register, value))
    } else {
      KVMRegisters.setGPR(&cpu.regs.pointee, register, value)
      cpu.changed(KVMProcessor.registers)
    }
  }

  package func capture(into capture: inout RegisterCapture) {
    KVMRegisters.get(&capture.gpr, from: cpu.regs)
    if open.kind == .companion {
      for register in GPR.allCases { capture[register] = companion.vcpu.gpr(register) }
    }
    if !open.written.isEmpty { for entry in open.written { capture[entry.register] = entry.value } }
    capture.rip = shownRIP
    capture.rflags = cpu.regs.pointee.rflags
    let code = code
    capture.csBase = code.base
    capture.csSelector = code.selector
    capture.mode = code.mode
  }

  private var code: KVMCodeSegment { knownCode ?? KVMCodeSegment(cpu.sync) }
  package var codeBase: UInt64 { code.offset }

  /// Where the guest stands as far as anybody can see: before an instruction that is open.
  var shownRIP: UInt64 {
    switch open.kind {
    case .io, .mmio, .msr, .hlt: open.rip
    default: cpu.regs.pointee.rip
    }
  }

  package func translate(_ address: GVA) -> GPA? {
    if open.kind == .companion { return companion.vcpu.translate(address) }
    return space.translate(address.value).map { GPA($0) }
  }

  package func cpuid(leaf: UInt32, subleaf: UInt32) -> CPUIDResult {
    EmbeddedCPUID.result(
      leaf: leaf, subleaf: subleaf, apicID: UInt32(index), processors: engine.configuration.vcpuCount,
      model: engine.configuration.cpu)
  }
}
