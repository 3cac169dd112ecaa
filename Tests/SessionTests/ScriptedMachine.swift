import Debugger
import Session
import Synchronization
import VMCore
import X86

/// A vCPU that executes a script: each address holds one step. Enough of a processor to drive run control:
/// counts instructions, takes interrupts, halts, honours limits, windows and traps.
final class ScriptedVCPU: VCPU {
  enum Step {
    /// An instruction that only retires.
    case plain
    /// Exits before it executes; retires when the monitor answers.
    case exits(ExitReason, ExitQualification)
    case halt
    case jump(UInt64)
    case enableInterrupts
    case disableInterrupts
    /// IRET: back to where the last event was delivered.
    case interruptReturn
    case tripleFault
  }
  let index: Int
  var script: [UInt64: Step]
  var state = VCPUState()
  private(set) var instructionCount: UInt64 = 0
  private(set) var virtualTime: UInt64 = 0
  var controls = ExitControls.standard
  var traps = DebugTraps()
  private var returnAddresses: [UInt64] = []
  private let kicked = Atomic<Bool>(false)
  /// Everything `run` was asked to do.
  private(set) var entries: [VMEntry] = []
  /// Where events were delivered to: vector and interrupted address.
  private(set) var delivered: [(event: InjectedEvent, at: UInt64)] = []
  static let handlerBase: UInt64 = 0x10000

  init(index: Int = 0, script: [UInt64: Step]) {
    self.index = index
    self.script = script
  }

  func run(_ entry: VMEntry, limit: UInt64) -> VMExit {
    entries.append(entry)
    if let event = entry.inject { deliver(event) }
    if entry.action != .resume { carryOut(entry.action) }
    var left = limit
    while true {
      if kicked.exchange(false, ordering: .acquiringAndReleasing) { return exit(.kicked, .kicked) }
      if entry.interruptWindow, canTakeInterrupt { return exit(.interruptWindow, .interruptWindow) }
      if left == 0 { return exit(.budget, .budget) }
      if traps.execution.contains(state.rip) { return exit(.debug, .debug(.execution(GVA(state.rip)))) }
      switch script[state.rip] ?? .plain {
      case .exits(let reason, let qualification): return exit(reason, qualification)
      case .halt: return exit(.hlt, .hlt)
      case .tripleFault: return exit(.tripleFault, .tripleFault)
      default: retire()
      }
      left -= 1
    }
  }

  private func exit(_ reason: ExitReason, _ qualification: ExitQualification) -> VMExit {
    VMExit(
      vcpu: UInt8(index), reason: reason, qualification: qualification, rip: state.rip, instructionLength: 1,
      instructionCount: instructionCount)
  }

  private func carryOut(_ action: VMEntry.Action) {
    switch action {
    case .resume: break
    case .emulate:
      if case .halt? = script[state.rip] { state.activity = .halted }
      retire()
    case .complete, .skip: retire()
    case .retire(let rip):
      retire()
      state.rip = rip
    case .fault(let vector, let error): deliver(.exception(vector, errorCode: error))
    }
  }

  private func retire() {
    instructionCount += 1
    virtualTime += 1
    switch script[state.rip] ?? .plain {
    case .jump(let target): state.rip = target
    case .enableInterrupts:
      state.rflags |= RFLAGS.interruptEnable
      state.rip += 1
    case .disableInterrupts:
      state.rflags &= ~RFLAGS.interruptEnable
      state.rip += 1
    case .interruptReturn:
      state.rip = returnAddresses.popLast() ?? state.rip + 1
      state.rflags |= RFLAGS.interruptEnable
    default: state.rip += 1
    }
  }

  private func deliver(_ event: InjectedEvent) {
    delivered.append((event, state.rip))
    state.activity = .active
    returnAddresses.append(state.rip)
    state.rflags &= ~RFLAGS.interruptEnable
    let vector: Vector
    switch event {
    case .externalInterrupt(let number): vector = number
    case .nmi: vector = 2
    case .exception(let number, _): vector = number
    }
    state.rip = Self.handlerBase + UInt64(vector) * 0x100
  }

  func kick() { kicked.store(true, ordering: .releasing) }
  func restartClock() {
    instructionCount = 0
    virtualTime = 0
  }
  func idle(until time: UInt64) { virtualTime = max(virtualTime, time) }
  var canTakeInterrupt: Bool { state.rflags & RFLAGS.interruptEnable != 0 }
  func gpr(_ register: GPR) -> UInt64 { state[register] }
  func setGPR(_ register: GPR, _ value: UInt64) { state[register] = value }
  func cpuid(leaf: UInt32, subleaf: UInt32) -> CPUIDResult { CPUIDResult() }
  func translate(_ address: GVA) -> GPA? { GPA(address.value) }
}

final class ScriptedEngine: Engine {
  let name = "scripted"
  let capabilities: EngineCapabilities = [.instructionBudget, .deterministic, .singleStep]
  let scripted: [ScriptedVCPU]
  var vcpus: [any VCPU] { scripted }
  init(_ scripts: [[UInt64: ScriptedVCPU.Step]]) {
    scripted = scripts.enumerated().map { ScriptedVCPU(index: $0.offset, script: $0.element) }
  }
}

/// A platform of timers and ports: completes reads with 5Ah, writes console bytes, raises interrupts when told.
final class ScriptedPlatform: Platform {
  /// Times at which an interrupt of a vector comes, in order.
  var timers: [(time: UInt64, vector: Vector)] = []
  private(set) var pending: [Vector] = []
  private(set) var handled: [VMExit] = []
  private(set) var now: UInt64 = 0
  private var requests: [PlatformRequest] = []
  private var output: [UInt8] = []
  private(set) var typed: [UInt8] = []
  /// Requests by port written to.
  var requestPorts: [UInt16: PlatformRequest] = [:]
  /// An interrupt raised by a write to this port.
  var interruptPort: (port: UInt16, vector: Vector)?

  func handle(_ exit: VMExit, on vcpu: any VCPU) -> VMEntry.Action {
    handled.append(exit)
    switch exit.qualification {
    case .io(let port, _, let write, _, _, let value):
      if write, port == 0x3F8 { output.append(UInt8(truncatingIfNeeded: value)) }
      if let request = requestPorts[port] { requests.append(request) }
      if let (at, vector) = interruptPort, at == port { pending.append(vector) }
      return .complete(write ? 0 : 0x5A)
    case .cpuid: return .skip
    default: return .emulate
    }
  }
  func advance(to time: UInt64) {
    now = max(now, time)
    while let first = timers.first, first.time <= now {
      pending.append(first.vector)
      timers.removeFirst()
    }
  }
  var nextDeadline: UInt64? { timers.first?.time }
  func interruptPending(vcpu: Int) -> Bool { vcpu == 0 && !pending.isEmpty }
  func acknowledgeInterrupt(vcpu: Int) -> Vector? { pending.isEmpty ? nil : pending.removeFirst() }
  func takeRequests() -> [PlatformRequest] {
    defer { requests = [] }
    return requests
  }
  func consoleInput(_ bytes: [UInt8]) {
    typed += bytes
    pending.append(0x24)
  }
  func keyboardInput(_ scanCodes: [UInt8]) { pending.append(0x21) }
  func takeConsoleOutput() -> [UInt8] {
    defer { output = [] }
    return output
  }
  func snapshot() -> [UInt8] { [] }
  func restore(_ snapshot: [UInt8]) throws(VMError) {}
  func reset() {
    pending = []
    requests = []
  }
  var inspection: [DeviceInspection] { [DeviceInspection(device: "clock", rows: [("now", String(now))])] }
}

/// Ready machines for tests. Code starts at 1000h; handlers lie at 10000h + vector * 100h.
struct Scripted {
  let engine: ScriptedEngine
  let platform = ScriptedPlatform()
  let events = EventSink(capacity: 1 << 10)
  let memory: GuestMemory
  var vcpu: ScriptedVCPU { engine.scripted[0] }
  static let start: UInt64 = 0x1000

  init(_ script: [UInt64: ScriptedVCPU.Step]...) throws {
    engine = ScriptedEngine(script)
    memory = try GuestMemory(ramSize: 1 << 20)
    memory.write(GPA(0), [UInt8](repeating: 0x90, count: 1 << 20))
  }

  var initialState: VCPUState {
    var state = VCPUState()
    state[.cs].selector = 0
    state[.cs].base = 0
    state.rip = Self.start
    state.rflags |= RFLAGS.interruptEnable
    state[.rsp] = 0x8000
    return state
  }

  /// Run control alone.
  func control() -> RunControl {
    let control = RunControl(vcpus: engine.vcpus, platform: platform, events: events)
    control.restart([initialState])
    return control
  }

  func session(_ configure: (inout SessionConfiguration) -> Void = { _ in }) -> Session {
    var configuration = SessionConfiguration()
    configure(&configuration)
    var machine = VirtualMachine(
      name: "script", engine: engine, platform: platform, memory: memory, events: events, initialStates: [initialState])
    machine.symbols = SymbolTable([
      Symbol(name: "start", address: 0x1000, size: 0x10), Symbol(name: "loop", address: 0x1010, size: 0x10),
    ])
    return Session(configuration, machine: machine)
  }

  static func out(_ port: UInt16, _ value: UInt64 = 0) -> ScriptedVCPU.Step {
    .exits(.io, .io(port: port, size: 1, write: true, string: false, rep: false, value: value))
  }
  static func input(_ port: UInt16) -> ScriptedVCPU.Step {
    .exits(.io, .io(port: port, size: 1, write: false, string: false, rep: false, value: 0))
  }
}
