import CHost
import VMCore
import X86

/// The embedded processor beside a KVM vCPU, over the same memory: it executes single instructions that KVM's
/// emulator does not have, delivers events exactly, and takes the steps KVM cannot.
///
/// It keeps nothing between two uses: registers go in and out each time, decoded code and translations are
/// dropped before, since the guest may have changed what they were made from.
final class KVMCompanion {
  private let engine: InterpreterEngine
  let vcpu: InterpreterVCPU

  init(_ memory: GuestMemory, _ configuration: EngineConfiguration, index: Int) throws(VMError) {
    let (onWrite, onLayout) = (memory.onExternalWrite, memory.onLayoutChange)
    engine = try InterpreterEngine(memory: memory, events: EventSink(capacity: 64), configuration: configuration)
    (memory.onExternalWrite, memory.onLayoutChange) = (onWrite, onLayout)
    vcpu = engine.processors[index]
  }

  func kick() { vcpu.kick() }

  func load(_ state: VCPUState, time: UInt64, traps: DebugTraps) {
    engine.events.consume { _ in }
    vcpu.refreshMaps()
    vcpu.traps = traps
    engine.flushEverything()
    vcpu.idle(until: time)
    var given = state
    if given.activity == .halted { given.activity = .active }
    vcpu.state = given
    // HLT, the task priority, ports and MSRs are the platform's business whoever executes.
    vcpu.controls = .standard
  }

  func run(_ entry: VMEntry, limit: UInt64) -> VMExit { vcpu.run(entry, limit: limit) }
}

extension KVMVCPU {
  /// Carries out `entry` and at most `limit` instructions on the embedded processor; an exit if that led to one.
  func byCompanion(_ entry: VMEntry, limit: UInt64, traps: DebugTraps = DebugTraps()) -> VMExit? {
    let old = read()
    if limit > 0 { noteStores() }
    companion.load(old, time: virtualTime, traps: traps)
    open = KVMOpenExit()
    let exit = conclude(old) { companion.run(entry, limit: limit) } again: { companion.run(.resume, limit: limit) }
    if limit == 0, exit == nil, Self.isPageFault(entry) { setCR2(old.cr2) }
    return exit
  }

  /// A page fault that is put in leaves CR2 to who puts it in (SDM 3C 27.6.1).
  private static func isPageFault(_ entry: VMEntry) -> Bool {
    if case .fault(Exception.pf.rawValue, _) = entry.action { return true }
    if case .exception(Exception.pf.rawValue, _)? = entry.inject { return true }
    return false
  }

  private func setCR2(_ value: UInt64) {
    cpu.sync.pointee.sregs.cr2 = value
    cpu.changed(KVMProcessor.systemRegisters)
  }

  /// One instruction on the embedded processor while the guest runs freely; nil to go on.
  func byCompanionAmidst() -> VMExit? {
    disarmTraps()
    emulatedCount &+= 1
    if let exit = byCompanion(.resume, limit: 1) { return exit }
    plant()
    return nil
  }

  /// Where the embedded processor is about to store, as the kernel knows nothing of it.
  private func noteStores() {
    let found = instruction(at: cpu.regs.pointee.rip)
    for operand in found.memory where operand.writes && !operand.isPush {
      engine.noteHostWrite()
      engine.noteWrite(linear: address(of: operand, in: found), by: self)
    }
  }

  /// The monitor answered an exit of the embedded processor's.
  func finishCompanion(_ entry: VMEntry) -> VMExit? {
    let old = read()
    var answer = VMEntry(entry.action)
    answer.stopsAfterDelivery = entry.stopsAfterDelivery
    // An instruction that starts again does so wherever the vCPU is run next.
    let limit: UInt64 = 0
    return conclude(old) { companion.run(answer, limit: limit) } again: { companion.run(.resume, limit: limit) }
  }

  private func conclude(_ old: VCPUState, _ run: () -> VMExit, again: () -> VMExit) -> VMExit? {
    let before = companion.vcpu.instructionCount
    var found = engine.alone(run)
    // A kick that was for an earlier run.
    while found.reason == .kicked, !isKicked { found = engine.alone(again) }
    instructionCount &+= companion.vcpu.instructionCount &- before
    found.vcpu = UInt8(truncatingIfNeeded: index)
    found.instructionCount = instructionCount
    switch found.reason {
    case .budget, .kicked, .debug, .tripleFault:
      let state = companion.vcpu.state
      open = KVMOpenExit()
      write(state, over: old)
      engine.noteWrite(linear: state[.rsp], by: self)
      return found.reason == .budget || found.reason == .kicked ? nil : found
    default:
      open.kind = .companion
      return found
    }
  }
}
