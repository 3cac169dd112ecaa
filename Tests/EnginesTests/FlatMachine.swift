import Engines
import Testing
import VMCore
import X86

/// Code in flat 32-bit mode without paging, on an embedded engine.
enum FlatMachine {
  static let start: UInt64 = 0x1_0000

  /// `code` at 1_0000h, a stack below 8000h, 16 MiB.
  static func make(_ code: [UInt8], warmth: Int, engine name: String) throws -> (engine: InterpreterEngine, memory: GuestMemory) {
    let memory = try GuestMemory(ramSize: 16 << 20)
    memory.write(GPA(start), code)
    let made = try EngineRegistry.makeEngine(
      named: name, memory: memory, events: EventSink(), configuration: EngineConfiguration(warmth: warmth))
    let engine = try #require(made as? InterpreterEngine)
    var state = VCPUState()
    state.cr0 = CR0.pe | CR0.et
    for name in [SegmentName.es, .ss, .ds, .fs, .gs] {
      state[name] = SegmentState(selector: 0x10, base: 0, limit: 0xFFFF_FFFF, access: 0xC093)
    }
    state[.cs] = SegmentState(selector: 8, base: 0, limit: 0xFFFF_FFFF, access: 0xC09B)
    state.rip = start
    state[.rsp] = 0x8000
    engine.vcpus[0].state = state
    return (engine, memory)
  }
}
