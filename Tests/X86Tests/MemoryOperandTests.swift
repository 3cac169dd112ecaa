import Testing
import X86

@Suite("Memory operands and text")
struct MemoryOperandTests {
  @Test("an explicit operand has base, index, scale and displacement")
  func explicit() throws {
    let instruction = InstructionDecoder.decode([0x48, 0x8B, 0x44, 0x8B, 0x10], at: 0, mode: .long64)
    let operand = try #require(instruction.memory.first)
    #expect(operand.base == .gpr(.rbx, .qword))
    #expect(operand.index == .gpr(.rcx, .qword))
    #expect(operand.scale == 4 && operand.displacement == 0x10 && operand.size == 8)
    #expect(operand.reads && !operand.writes && !operand.isImplicit && operand.segment == .ds)
  }

  @Test("PUSH and CALL write below the stack pointer", arguments: [[0x50], [0xE8, 0, 0, 0, 0]] as [[UInt8]])
  func push(_ bytes: [UInt8]) throws {
    let operand = try #require(InstructionDecoder.decode(bytes, at: 0, mode: .long64).memory.first)
    #expect(operand.isPush && operand.writes && operand.segment == .ss && operand.size == 8)
  }

  @Test("RET reads at the stack pointer")
  func ret() throws {
    let operand = try #require(InstructionDecoder.decode([0xC3], at: 0, mode: .real16).memory.first)
    #expect(!operand.isPush && operand.reads && operand.size == 2)
  }

  @Test("LEA and NOP touch nothing", arguments: [[0x48, 0x8D, 0x03], [0x0F, 0x1F, 0x00]] as [[UInt8]])
  func untouched(_ bytes: [UInt8]) { #expect(InstructionDecoder.decode(bytes, at: 0, mode: .long64).memory.isEmpty) }

  @Test("REP means equality only where it compares")
  func prefixes() {
    let moves = InstructionDecoder.decode([0xF3, 0xA5], at: 0, mode: .protected32)
    #expect(moves.isString && moves.repeatPrefix == .rep && moves.memory.count == 2)
    #expect(InstructionDecoder.decode([0xF3, 0xA6], at: 0, mode: .protected32).repeatPrefix == .repe)
    #expect(InstructionDecoder.decode([0xF2, 0xAE], at: 0, mode: .protected32).repeatPrefix == .repne)
    #expect(InstructionDecoder.decode([0xA4], at: 0, mode: .protected32).repeatPrefix == .none)
    #expect(InstructionDecoder.decode([0xF3, 0x90], at: 0, mode: .protected32).repeatPrefix == .none)
  }

  @Test("targets wrap where the instruction pointer does")
  func wrapping() {
    #expect(InstructionDecoder.decode([0xEB, 0x10], at: 0xFFFA, mode: .real16).branchTarget == 0x0C)
    #expect(InstructionDecoder.decode([0xEB, 0x80], at: 0, mode: .protected32).branchTarget == 0xFFFF_FF82)
    #expect(InstructionDecoder.decode([0xEB, 0x80], at: 0, mode: .long64).branchTarget == 0xFFFF_FFFF_FFFF_FF82)
    #expect(InstructionDecoder.decode([0x90], at: 0xFFFF, mode: .real16).next == 0)
  }

  @Test("a namer names code and data")
  func namer() {
    let namer: OperandNamer = { offset, segment in "\(segment.name)_\(String(offset, radix: 16))" }
    #expect(InstructionDecoder.decode([0xE8, 0x0E, 0], at: 0x1000, mode: .real16, namer: namer).text == "call cs_1011")
    let load = InstructionDecoder.decode([0x48, 0x8B, 0x05, 0x10, 0, 0, 0], at: 0x1000, mode: .long64, namer: namer)
    #expect(load.text == "mov rax, [ds_1017]")
    #expect(load.ripTarget == 0x1017)
    let long: OperandNamer = { _, _ in String(repeating: "x", count: 5000) }
    #expect(!InstructionDecoder.decode([0xE8, 0x0E, 0], at: 0, mode: .real16, namer: long).isBad)
  }

  @Test("20,000 random byte strings decode in every mode")
  func fuzz() {
    var random = SplitMix(seed: 1)
    for _ in 0..<20_000 {
      let bytes = (0..<Int(random.next() % 18)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      for mode in ProcessorMode.allCases {
        let instruction = InstructionDecoder.decode(bytes, at: random.next(), mode: mode)
        #expect(instruction.length >= 1 && instruction.length <= 15 && !instruction.text.isEmpty)
      }
    }
  }
}

/// Sebastiano Vigna's SplitMix64: the same numbers on every run.
struct SplitMix {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
}
