import Debugger
import VMCore
import X86

/// A machine that only stands: what a recording says of engine, vCPUs and devices, in the places a session looks
/// for them. Nothing in it runs.
enum RecordedMachine {
  static func make(_ run: RecordedRun) throws(VMError) -> VirtualMachine {
    let header = run.recording.header
    let engine = RecordedEngine(header)
    let platform = RecordedPlatform()
    var machine = VirtualMachine(
      name: header.guestName, engine: engine, platform: platform, memory: try GuestMemory(pages: [:]),
      events: EventSink(capacity: 1024), initialStates: header.vcpus == 1 ? [VCPUState()] : engine.vcpus.map(\.state))
    machine.technique = Technique(rawValue: header.technique) ?? .hvm
    machine.symbols = SymbolTable(header.symbols)
    machine.words = RecordedWords(names: run.names, hypercalls: header.hypercalls, platform: platform)
    machine.loadDescription = "the recording \(run.recording.path)"
    return machine
  }
}

final class RecordedEngine: Engine {
  let name: String
  let capabilities: EngineCapabilities
  let vcpus: [any VCPU]
  let whyControlsAreFixed: String? = "a recording does not hold the controls: these are the ones every guest begins with"
  init(_ header: RecordingHeader) {
    name = header.engine
    capabilities = header.capabilities
    vcpus = (0..<header.vcpus).map { RecordedVCPU(index: $0) }
  }
}

final class RecordedVCPU: VCPU {
  let index: Int
  var state = VCPUState()
  var instructionCount: UInt64 = 0
  var virtualTime: UInt64 = 0
  var controls = ExitControls.standard
  var traps = DebugTraps()
  init(index: Int) { self.index = index }

  /// There is nothing to execute: it comes back at once, as if somebody had kicked it.
  func run(_ entry: VMEntry, limit: UInt64) -> VMExit {
    VMExit(
      vcpu: UInt8(truncatingIfNeeded: index), reason: .kicked, qualification: .kicked, rip: state.rip, instructionLength: 0,
      instructionCount: instructionCount)
  }
  func kick() {}
  func idle(until time: UInt64) {}
  func restartClock() {}
  var canTakeInterrupt: Bool { false }
  func gpr(_ register: GPR) -> UInt64 { state[register] }
  func setGPR(_ register: GPR, _ value: UInt64) {}
  func cpuid(leaf: UInt32, subleaf: UInt32) -> CPUIDResult { CPUIDResult() }
  func translate(_ address: GVA) -> GPA? { nil }
}

final class RecordedPlatform: Platform {
  var inspection: [DeviceInspection] = []
  var screen: TextScreen?
  func handle(_ exit: VMExit, on vcpu: any VCPU) -> VMEntry.Action { .resume }
  func advance(to time: UInt64) {}
  var nextDeadline: UInt64? { nil }
  func interruptPending(vcpu: Int) -> Bool { false }
  func acknowledgeInterrupt(vcpu: Int) -> Vector? { nil }
  func takeRequests() -> [PlatformRequest] { [] }
  func consoleInput(_ bytes: [UInt8]) {}
  func keyboardInput(_ scanCodes: [UInt8]) {}
  func takeConsoleOutput() -> [UInt8] { [] }
  func snapshot() -> [UInt8] { [] }
  func restore(_ snapshot: [UInt8]) throws(VMError) {}
  func reset() {}
}

/// The names a platform gave while it was recorded.
struct RecordedWords: PlatformWords {
  let names: [RecordedName: String]
  let hypercalls: [HypercallName]
  let platform: RecordedPlatform

  func handlerName(for exit: VMExit) -> String { names[.handler(exit)] ?? "" }
  func portName(_ port: UInt16, write: Bool) -> String? { names[.port(port, write: write)] }
  func memoryName(_ address: GPA, write: Bool) -> String? { names[.memory(address, write: write)] }
  func hypercallNumber(of exit: VMExit, on vcpu: any VCPU) -> UInt64? { nil }
  var textScreen: TextScreen? { platform.screen }
}
