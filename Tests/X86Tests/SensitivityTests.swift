import Testing
import X86

/// An instruction in 64-bit (or, where it has no such form, 32-bit) mode and what it does to the machine.
struct SensitivityCase: Sendable, CustomTestStringConvertible {
  var bytes: [UInt8]
  var mode: ProcessorMode
  var operation: SensitiveOperation?
  var testDescription: String { bytes.map { String($0, radix: 16) }.joined(separator: " ") }
  init(_ bytes: [UInt8], _ operation: SensitiveOperation?, _ mode: ProcessorMode = .long64) {
    self.bytes = bytes
    self.mode = mode
    self.operation = operation
  }
}

@Suite("Sensitive instructions")
struct SensitivityTests {
  static let cases: [SensitivityCase] = [
    SensitivityCase([0x0F, 0x01, 0x00], .storeDescriptorTable),
    SensitivityCase([0x0F, 0x01, 0x08], .storeDescriptorTable),
    SensitivityCase([0x0F, 0x00, 0xC0], .storeLDTTR), SensitivityCase([0x0F, 0x00, 0xC8], .storeLDTTR),
    SensitivityCase([0x0F, 0x01, 0xE0], .smsw), SensitivityCase([0x9C], .pushFlags), SensitivityCase([0x9D], .popFlags),
    SensitivityCase([0x0F, 0x02, 0xC1], .segmentCheck), SensitivityCase([0x0F, 0x03, 0xC1], .segmentCheck),
    SensitivityCase([0x0F, 0x00, 0xE0], .segmentCheck), SensitivityCase([0x0F, 0x00, 0xE8], .segmentCheck),
    SensitivityCase([0x0F, 0xA0], .storeSegment), SensitivityCase([0x0F, 0xA1], .loadSegment),
    SensitivityCase([0x1E], .storeSegment, .protected32), SensitivityCase([0x1F], .loadSegment, .protected32),
    SensitivityCase([0x9A, 0, 0, 0, 0, 8, 0], .farTransfer, .protected32), SensitivityCase([0xFF, 0x28], .farTransfer),
    SensitivityCase([0xCB], .farTransfer), SensitivityCase([0xCD, 0x80], .softwareInterrupt),
    SensitivityCase([0x8C, 0xC8], .storeSegment), SensitivityCase([0x8E, 0xD8], .loadSegment),
    SensitivityCase([0x48, 0xCF], .interruptReturn), SensitivityCase([0x0F, 0x05], .systemCall),
    SensitivityCase([0x0F, 0x34], .systemCall), SensitivityCase([0x48, 0x0F, 0x07], .systemReturn),
    SensitivityCase([0x0F, 0xA2], .cpuid), SensitivityCase([0x0F, 0x31], .rdtsc),
    SensitivityCase([0x0F, 0x01, 0xF9], .rdtscp), SensitivityCase([0x0F, 0x01, 0xEE], .pkru),
    SensitivityCase([0x0F, 0x01, 0xD0], .xgetbv), SensitivityCase([0xF3, 0x0F, 0xAE, 0xC0], .fsgsbase),
    SensitivityCase([0x0F, 0x01, 0xF8], .swapgs), SensitivityCase([0xFA], .interruptFlag),
    SensitivityCase([0xFB], .interruptFlag), SensitivityCase([0xE4, 0x60], .portInput),
    SensitivityCase([0x6E], .portOutput), SensitivityCase([0xF4], .hlt), SensitivityCase([0x0F, 0x20, 0xC0], .crRead),
    SensitivityCase([0x0F, 0x22, 0xE0], .crWrite), SensitivityCase([0x0F, 0x21, 0xF8], .drAccess),
    SensitivityCase([0x0F, 0x06], .clts), SensitivityCase([0x0F, 0x01, 0xF0], .lmsw),
    SensitivityCase([0x0F, 0x01, 0x10], .loadDescriptorTable), SensitivityCase([0x0F, 0x00, 0xD8], .loadLDTTR),
    SensitivityCase([0x0F, 0x32], .msrRead), SensitivityCase([0x0F, 0x30], .msrWrite),
    SensitivityCase([0x0F, 0x01, 0x38], .invlpg), SensitivityCase([0x0F, 0x09], .cacheControl),
    SensitivityCase([0x0F, 0x01, 0xC1], .hypercall), SensitivityCase([0x0F, 0x01, 0xD9], .hypercall),
    SensitivityCase([0x89, 0xC8], nil), SensitivityCase([0x50], nil), SensitivityCase([0xC3], nil),
    SensitivityCase([0xE8, 0, 0, 0, 0], nil), SensitivityCase([0x90], nil), SensitivityCase([0x0F, 0x0B], nil),
  ]

  @Test("each is known by what it does", arguments: cases)
  func operation(_ expected: SensitivityCase) {
    let instruction = InstructionDecoder.decode(expected.bytes, at: 0, mode: expected.mode)
    #expect(instruction.operation == expected.operation, "\(instruction.text)")
    #expect((instruction.sensitivity == .none) == (expected.operation == nil))
    #expect(instruction.sensitivityReason.isEmpty == (expected.operation == nil))
  }

  @Test(
    "those of Robin and Irvine do not trap",
    arguments: [
      SensitiveOperation.storeDescriptorTable, .storeLDTTR, .smsw, .pushFlags, .popFlags, .segmentCheck, .loadSegment,
      .storeSegment, .farTransfer, .softwareInterrupt,
    ])
  func unprivileged(_ operation: SensitiveOperation) {
    #expect(operation.sensitivity == .sensitiveUnprivileged)
    #expect(operation.sensitivity.gutter == "S")
  }

  @Test("control registers and interrupts carry their number")
  func numbers() {
    #expect(InstructionDecoder.decode([0x0F, 0x22, 0xE0], at: 0, mode: .long64).number == 4)
    #expect(InstructionDecoder.decode([0x0F, 0x21, 0xF8], at: 0, mode: .long64).number == 7)
    #expect(InstructionDecoder.decode([0xCD, 0x80], at: 0, mode: .long64).number == 0x80)
    #expect(InstructionDecoder.decode([0xCC], at: 0, mode: .long64).number == 3)
    #expect(InstructionDecoder.decode([0xE4, 0x60], at: 0, mode: .long64).number == 0x60)
  }
}
