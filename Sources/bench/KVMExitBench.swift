import Engines
import Session
import VMCore
import X86

/// What the way from guest to monitor and back costs under KVM: an OUT to a port nobody minds, beside a loop in C
/// that only calls KVM_RUN.
struct KVMExitBench {
  private static let count: UInt32 = 30_000
  private static let rounds = 15
  private static let origin: UInt64 = 0x1000

  /// mov ecx, count; again: out 80h, al; dec ecx; jnz again; out 0F4h, al; in real mode.
  private static var code: [UInt8] {
    let number = withUnsafeBytes(of: count.littleEndian) { Array($0) }
    return [0x66, 0xB9] + number + [0xE6, 0x80, 0x66, 0x49, 0x75, 0xFA, 0xE6, 0xF4]
  }

  func findings() throws(VMError) -> [Finding] {
    if let refusal = EngineReport.refusal(of: "kvm") {
      return [Finding(what: "OUT round trip under KVM", measured: refusal.message)]
    }
    var bare: [Double] = []
    var batch: [Double] = []
    var watched: [Double] = []
    for _ in 0..<Self.rounds {
      bare.append(try Self.bare())
      batch.append(try Self.inSession(isWatched: false))
      watched.append(try Self.inSession(isWatched: true))
    }
    let base = Statistics.median(bare) ?? 0
    func finding(_ what: String, _ values: [Double], _ target: Double) -> Finding {
      let value = Statistics.median(values) ?? 0
      // Within a round the machine mostly keeps its speed.
      let ratio = Statistics.median(zip(values, bare).map { $0 / max($1, 1) }) ?? 0
      return Finding(
        what: what, measured: Figure.time(value), peer: "KVM_RUN in C \(Figure.time(base)), \(Figure.ratio(ratio))",
        target: Figure.ratio(target), isReached: ratio <= target)
    }
    return [
      finding("OUT round trip under KVM, recorded", batch, 1.1),
      finding("OUT round trip under KVM, console attached", watched, 1.2),
    ]
  }

  private static func bare() throws(VMError) -> Double {
    let start = HostClock.ownCPUTime()
    try KVMPeer.run(code, at: origin)
    return Double(HostClock.ownCPUTime() &- start) / Double(count)
  }

  /// Processor time of this process for each exit.
  private static func inSession(isWatched: Bool) throws(VMError) -> Double {
    let memory = try GuestMemory(ramSize: 1 << 20)
    memory.write(GPA(origin), code)
    var state = VCPUState()
    state[.cs] = SegmentState(selector: 0, base: 0, access: 0x9B)
    state.rip = origin
    let machine = try VirtualMachine.assemble(name: "exits", memory: memory, cpus: 1, state: state, engine: "kvm").machine
    var configuration = SessionConfiguration()
    configuration.engine = "kvm"
    configuration.watch(isWatched)
    return try Session(configuration, machine: machine).timeToEnd(isWatched: isWatched) / Double(count)
  }
}
