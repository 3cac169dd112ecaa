import VMCore
import X86

/// An engine that is right but for one instruction: after so many it alters a register, or a byte of memory.
final class FaultyEngine: Engine {
  enum Fault { case register(GPR, UInt64), byte(GPA) }
  private let inner: any Engine
  let vcpus: [any VCPU]
  var name: String { inner.name }
  var capabilities: EngineCapabilities { inner.capabilities }

  init(_ inner: any Engine, memory: GuestMemory, after count: UInt64, _ fault: Fault) {
    self.inner = inner
    vcpus = inner.vcpus.map { FaultyVCPU($0, memory: memory, after: count, fault) }
  }
}

private final class FaultyVCPU: VCPU {
  private let inner: any VCPU
  private let memory: GuestMemory
  private let count: UInt64
  private let fault: FaultyEngine.Fault

  init(_ inner: any VCPU, memory: GuestMemory, after count: UInt64, _ fault: FaultyEngine.Fault) {
    self.inner = inner
    self.memory = memory
    self.count = count
    self.fault = fault
  }

  func run(_ entry: VMEntry, limit: UInt64) -> VMExit {
    let before = inner.instructionCount
    guard before < count, count - before <= limit else { return inner.run(entry, limit: limit) }
    let exit = inner.run(entry, limit: count - before)
    guard inner.instructionCount == count else { return exit }
    switch fault {
    case .register(let register, let mask): inner.setGPR(register, inner.gpr(register) ^ mask)
    case .byte(let address): memory.write(address, [0xEE])
    }
    let left = limit - (count - before)
    guard exit.reason == .budget, left > 0 else { return exit }
    return inner.run(VMEntry(.resume, interruptWindow: entry.interruptWindow), limit: left)
  }

  var index: Int { inner.index }
  func kick() { inner.kick() }
  var state: VCPUState {
    get { inner.state }
    set { inner.state = newValue }
  }
  var instructionCount: UInt64 { inner.instructionCount }
  var virtualTime: UInt64 { inner.virtualTime }
  func idle(until time: UInt64) { inner.idle(until: time) }
  func restartClock() { inner.restartClock() }
  func setClock(instructions: UInt64, time: UInt64) -> Bool { inner.setClock(instructions: instructions, time: time) }
  var canTakeInterrupt: Bool { inner.canTakeInterrupt }
  func gpr(_ register: GPR) -> UInt64 { inner.gpr(register) }
  func setGPR(_ register: GPR, _ value: UInt64) { inner.setGPR(register, value) }
  func cpuid(leaf: UInt32, subleaf: UInt32) -> CPUIDResult { inner.cpuid(leaf: leaf, subleaf: subleaf) }
  var controls: ExitControls {
    get { inner.controls }
    set { inner.controls = newValue }
  }
  var exitCause: VMXCause? { inner.exitCause }
  var traps: DebugTraps {
    get { inner.traps }
    set { inner.traps = newValue }
  }
  func translate(_ address: GVA) -> GPA? { inner.translate(address) }
}
