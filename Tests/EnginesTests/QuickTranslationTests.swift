import Engines
import Testing
import VMCore
import X86

/// The short way of decoding against the long one: every opcode of one and two bytes, with operands of every kind.
@Suite struct QuickTranslationTests {
  private static let code: UInt64 = 0x1_0000
  private static let data: UInt64 = 0x2_0000

  private static func engine(atLength: Bool) throws -> InterpreterEngine {
    let memory = try GuestMemory(ramSize: 4 << 20)
    let made = try EngineRegistry.makeEngine(
      named: "interpreter", memory: memory, events: EventSink(), configuration: EngineConfiguration())
    let engine = try #require(made as? InterpreterEngine)
    engine.decodesAtLength = atLength
    // Four levels of page tables that map the first GiB onto itself.
    memory.write(GPA(0x1000), words([0x2003]))
    memory.write(GPA(0x2000), words([0x3003]))
    memory.write(GPA(0x3000), words((0..<512).map { UInt64($0) << 21 | 0x83 }))
    return engine
  }

  private static func words(_ values: [UInt64]) -> [UInt8] {
    values.flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) } }
  }

  private static func state(isLong: Bool) -> VCPUState {
    var state = VCPUState()
    state.cr0 = CR0.pe | CR0.et | (isLong ? CR0.pg : 0)
    if isLong {
      state.cr3 = 0x1000
      state.cr4 = CR4.pae
      state.efer = EFER.lme | EFER.lma
    }
    for name in [SegmentName.es, .ss, .ds, .fs, .gs] {
      state[name] = SegmentState(selector: 0x10, base: 0, limit: 0xFFFF_FFFF, access: 0xC093)
    }
    state[.cs] = SegmentState(selector: 8, base: 0, limit: 0xFFFF_FFFF, access: isLong ? 0xA09B : 0xC09B)
    state.rip = code
    for number in 0..<16 {
      guard let register = GPR(rawValue: UInt8(number)) else { continue }
      state[register] = data + UInt64(number * 0x1111 + 3)
    }
    state[.rsp] = data + 0x8000
    return state
  }

  /// What an instruction does in one step: state, exit, and the memory it may reach.
  private static func step(_ engine: InterpreterEngine, _ bytes: [UInt8], isLong: Bool) -> (VCPUState, ExitReason, [UInt8?]) {
    engine.memory.write(GPA(code), bytes)
    engine.memory.write(GPA(data), [UInt8](repeating: 0x5A, count: 0x200))
    engine.vcpus[0].state = state(isLong: isLong)
    let exit = engine.vcpus[0].run(.resume, limit: 1)
    return (engine.vcpus[0].state, exit.reason, engine.memory.readBytes(GPA(data), count: 0x200))
  }

  @Test(arguments: [true, false])
  func `both ways of decoding do the same`(isLong: Bool) throws {
    let quick = try Self.engine(atLength: false)
    let long = try Self.engine(atLength: true)
    let prefixes: [[UInt8]] = isLong ? [[], [0x48], [0x4D], [0x43], [0x65, 0x41]] : [[], [0x65]]
    let opcodes = (0...255).map { [UInt8($0)] } + (0...255).map { [0x0F, UInt8($0)] } + [[0xF3, 0x0F, 0x1E]]
    let operands: [UInt8] = [0x05, 0x04, 0x4C, 0x95, 0xC4, 0xCD, 0xE7, 0xF9, 0xD2, 0x1F]
    for prefix in prefixes {
      for opcode in opcodes {
        for operand in operands {
          let bytes = prefix + opcode + [operand, 0x25, 0x31, 0x01, 0, 0, 0x90, 0x82, 0x7F, 0, 0, 0x90, 0x90, 0x90]
          let one = Self.step(quick, bytes, isLong: isLong)
          let other = Self.step(long, bytes, isLong: isLong)
          let isSame = one.0 == other.0 && one.1 == other.1 && one.2 == other.2
          #expect(isSame, "\(bytes.map { String($0, radix: 16) }.joined(separator: " "))")
        }
      }
    }
  }
}
