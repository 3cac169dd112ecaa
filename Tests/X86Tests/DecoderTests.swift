import Testing
import X86

/// An instruction and what its decoding must say.
struct DecodeCase: Sendable, CustomTestStringConvertible {
  var bytes: [UInt8]
  var mode: ProcessorMode
  var text: String
  var flow: ControlFlow = .sequential
  var target: UInt64?
  var sensitivity: Sensitivity = .none
  var testDescription: String { "\(mode.name) \(text)" }
}

@Suite("Instruction decoder")
struct DecoderTests {
  static let cases: [DecodeCase] = [
    DecodeCase(bytes: [0xBA, 0xF8, 0x03], mode: .real16, text: "mov dx, 3f8h"),
    DecodeCase(bytes: [0xB4, 0x0E], mode: .real16, text: "mov ah, 0eh"),
    DecodeCase(bytes: [0xEE], mode: .real16, text: "out dx, al", sensitivity: .ioSensitive),
    DecodeCase(bytes: [0x75, 0xFA], mode: .real16, text: "jnz ffc", flow: .conditionalJump, target: 0xFFC),
    DecodeCase(bytes: [0xE8, 0x0E, 0x00], mode: .real16, text: "call 1011", flow: .call, target: 0x1011),
    DecodeCase(bytes: [0xEB, 0xFE], mode: .long64, text: "jmp 1000", flow: .jump, target: 0x1000),
    DecodeCase(bytes: [0xC3], mode: .protected32, text: "ret", flow: .ret),
    DecodeCase(bytes: [0xF4], mode: .long64, text: "hlt", flow: .stop, sensitivity: .privileged),
    DecodeCase(bytes: [0x0F, 0xA2], mode: .long64, text: "cpuid", sensitivity: .sensitiveUnprivileged),
    DecodeCase(
      bytes: [0xCD, 0x10], mode: .real16, text: "int 10h", flow: .softwareInterrupt,
      sensitivity: .sensitiveUnprivileged),
    DecodeCase(bytes: [0x0F, 0x22, 0xD8], mode: .long64, text: "mov cr3, rax", sensitivity: .privileged),
    DecodeCase(bytes: [0x8E, 0xD8], mode: .protected32, text: "mov ds, ax", sensitivity: .sensitiveUnprivileged),
    DecodeCase(bytes: [0x48, 0x8B, 0x44, 0x8B, 0x10], mode: .long64, text: "mov rax, [rbx+rcx*4+10h]"),
    DecodeCase(bytes: [0x48, 0x8B, 0x05, 0x10, 0, 0, 0], mode: .long64, text: "mov rax, [1017h]"),
    DecodeCase(bytes: [0xF3, 0xA4], mode: .protected32, text: "rep movsb"),
    DecodeCase(
      bytes: [0x0F, 0x05], mode: .long64, text: "syscall", flow: .systemCall, sensitivity: .sensitiveUnprivileged),
    DecodeCase(
      bytes: [0xCF], mode: .protected32, text: "iretd", flow: .interruptReturn, sensitivity: .sensitiveUnprivileged),
    DecodeCase(bytes: [0x06], mode: .long64, text: "(bad)"),
    DecodeCase(bytes: [0x0F], mode: .real16, text: "(bad)"),
    DecodeCase(bytes: [], mode: .real16, text: "(bad)"),
  ]

  @Test("decodes as the manual says", arguments: cases)
  func decodes(_ expected: DecodeCase) {
    let instruction = InstructionDecoder.decode(expected.bytes, at: 0x1000, mode: expected.mode)
    #expect(instruction.text == expected.text)
    #expect(instruction.flow == expected.flow)
    #expect(instruction.branchTarget == expected.target)
    #expect(instruction.sensitivity == expected.sensitivity)
    #expect(instruction.length >= 1)
  }
}
