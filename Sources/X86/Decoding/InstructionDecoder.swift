import CZydis

/// Decodes guest code for display and for a debugger's decisions, by Zydis. Stateless: any thread may use it.
package enum InstructionDecoder {
  /// The longest instruction there is (SDM 2 2.3.11).
  package static let maximumLength = 15

  /// Decodes the first instruction of `bytes`, which lie at `address` (an offset in CS). Never fails: bytes
  /// that start no instruction (or are cut short) give a one-byte `(bad)`; an empty slice gives one of 00h.
  package static func decode(
    _ bytes: some Collection<UInt8>, at address: UInt64, mode: ProcessorMode, namer: OperandNamer? = nil
  ) -> DecodedInstruction {
    let code = Array(bytes.prefix(maximumLength))
    guard let first = code.first else { return .bad(0, at: address, mode: mode) }
    var decoder = ZydisDecoder()
    ZydisDecoderInit(&decoder, machineMode(mode), stackWidth(mode))
    return withUnsafeTemporaryAllocation(of: ZydisDecodedOperand.self, capacity: 10) { operands in
      var instruction = ZydisDecodedInstruction()
      let status = code.withUnsafeBytes {
        ZydisDecoderDecodeFull(&decoder, $0.baseAddress, $0.count, &instruction, operands.baseAddress)
      }
      guard status & 0x8000_0000 == 0 else { return .bad(first, at: address, mode: mode) }
      let all = UnsafeBufferPointer(rebasing: operands.prefix(Int(instruction.operand_count)))
      return build(&instruction, all, code, address, mode, namer) ?? .bad(first, at: address, mode: mode)
    }
  }

  /// The length in bytes of the first instruction of `code`, nil where none decodes. Many times faster than
  /// `decode`.
  package static func length(of code: [UInt8], mode: ProcessorMode) -> Int? {
    var decoder = ZydisDecoder()
    ZydisDecoderInit(&decoder, machineMode(mode), stackWidth(mode))
    var instruction = ZydisDecodedInstruction()
    let status = code.withUnsafeBytes {
      ZydisDecoderDecodeInstruction(&decoder, nil, $0.baseAddress, min($0.count, maximumLength), &instruction)
    }
    return status & 0x8000_0000 == 0 ? Int(instruction.length) : nil
  }

  static func machineMode(_ mode: ProcessorMode) -> ZydisMachineMode {
    switch mode {
    case .real16, .virtual8086: ZYDIS_MACHINE_MODE_REAL_16
    case .protected16: ZYDIS_MACHINE_MODE_LEGACY_16
    case .protected32: ZYDIS_MACHINE_MODE_LEGACY_32
    case .compatibility16: ZYDIS_MACHINE_MODE_LONG_COMPAT_16
    case .compatibility32: ZYDIS_MACHINE_MODE_LONG_COMPAT_32
    case .long64: ZYDIS_MACHINE_MODE_LONG_64
    }
  }

  static func stackWidth(_ mode: ProcessorMode) -> ZydisStackWidth {
    switch mode.codeBits {
    case 16: ZYDIS_STACK_WIDTH_16
    case 32: ZYDIS_STACK_WIDTH_32
    default: ZYDIS_STACK_WIDTH_64
    }
  }

  private static func build(
    _ raw: inout ZydisDecodedInstruction, _ operands: UnsafeBufferPointer<ZydisDecodedOperand>, _ code: [UInt8],
    _ address: UInt64, _ mode: ProcessorMode, _ namer: OperandNamer?
  ) -> DecodedInstruction? {
    guard
      let text = InstructionFormatter.shared.text(
        of: &raw, operands: operands, address: address, mode: mode, namer: namer),
      let mnemonic = ZydisMnemonicGetString(raw.mnemonic)
    else { return nil }
    let category = raw.meta.category
    let isString = category == ZYDIS_CATEGORY_STRINGOP || category == ZYDIS_CATEGORY_IOSTRINGOP
    var result = DecodedInstruction(
      address: address, mode: mode, bytes: Array(code.prefix(Int(raw.length))), mnemonic: String(cString: mnemonic),
      text: text, flow: flow(raw), isFar: raw.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR, branchTarget: nil,
      ripTarget: nil, isString: isString, repeatPrefix: isString ? repeatPrefix(raw) : .none, memory: [],
      operation: SensitivityClassifier.operation(of: raw, operands: operands), number: nil,
      operandBits: Int(raw.operand_width))
    addOperands(&result, &raw, operands, isNop: category == ZYDIS_CATEGORY_NOP || category == ZYDIS_CATEGORY_WIDENOP)
    return result
  }

  private static func addOperands(
    _ result: inout DecodedInstruction, _ raw: inout ZydisDecodedInstruction,
    _ operands: UnsafeBufferPointer<ZydisDecodedOperand>, isNop: Bool
  ) {
    let next = result.address &+ UInt64(raw.length)
    for index in operands.indices {
      guard let operand = operands.baseAddress?.advanced(by: index) else { break }
      switch operand.pointee.type {
      case ZYDIS_OPERAND_TYPE_IMMEDIATE where operand.pointee.imm.is_relative != 0:
        result.branchTarget = OperandReader.branchTarget(operand, &raw, next: next, mode: result.mode)
      case ZYDIS_OPERAND_TYPE_IMMEDIATE where result.operation != nil:
        result.number = UInt16(truncatingIfNeeded: operand.pointee.imm.value.u)
      case ZYDIS_OPERAND_TYPE_REGISTER:
        switch OperandReader.register(operand.pointee.reg.value) {
        case .control(let number)?, .debug(let number)?: result.number = UInt16(number)
        default: break
        }
      case ZYDIS_OPERAND_TYPE_MEMORY where !isNop:
        let base = operand.pointee.mem.base
        if base == ZYDIS_REGISTER_RIP || base == ZYDIS_REGISTER_EIP {
          result.ripTarget = OperandReader.absoluteAddress(operand, &raw, next: next)
        }
        if let memory = OperandReader.memory(operand.pointee, addressBits: Int(raw.address_width)) {
          result.memory.append(memory)
        }
      default: break
      }
    }
    if result.mnemonic == "int3" { result.number = 3 }
    if result.mnemonic == "int1" { result.number = 1 }
    if result.mnemonic == "into" { result.number = 4 }
  }

  private static func flow(_ raw: borrowing ZydisDecodedInstruction) -> ControlFlow {
    switch raw.mnemonic {
    case ZYDIS_MNEMONIC_IRET, ZYDIS_MNEMONIC_IRETD, ZYDIS_MNEMONIC_IRETQ: return .interruptReturn
    case ZYDIS_MNEMONIC_INT, ZYDIS_MNEMONIC_INT1, ZYDIS_MNEMONIC_INT3, ZYDIS_MNEMONIC_INTO: return .softwareInterrupt
    case ZYDIS_MNEMONIC_SYSCALL, ZYDIS_MNEMONIC_SYSENTER: return .systemCall
    case ZYDIS_MNEMONIC_SYSRET, ZYDIS_MNEMONIC_SYSEXIT: return .systemReturn
    case ZYDIS_MNEMONIC_HLT, ZYDIS_MNEMONIC_UD0, ZYDIS_MNEMONIC_UD1, ZYDIS_MNEMONIC_UD2: return .stop
    default: break
    }
    switch raw.meta.category {
    case ZYDIS_CATEGORY_CALL: return .call
    case ZYDIS_CATEGORY_RET: return .ret
    case ZYDIS_CATEGORY_COND_BR: return .conditionalJump
    case ZYDIS_CATEGORY_UNCOND_BR: return .jump
    default: return .sequential
    }
  }

  /// The last F2h or F3h prefix decides; SCAS and CMPS end on ZF, the others on the count alone.
  private static func repeatPrefix(_ raw: ZydisDecodedInstruction) -> RepeatPrefix {
    let prefixes = raw.raw.prefixes
    let count = Int(raw.raw.prefix_count)
    let value: UInt8 = withUnsafeBytes(of: prefixes) { bytes in
      let prefixes = bytes.bindMemory(to: ZydisDecodedInstructionRawPrefixes_.self)
      return prefixes.prefix(count).last { $0.value == 0xF2 || $0.value == 0xF3 }?.value ?? 0
    }
    let compares = raw.opcode & 0xFE == 0xA6 || raw.opcode & 0xFE == 0xAE
    switch value {
    case 0xF3: return compares ? .repe : .rep
    case 0xF2: return compares ? .repne : .rep
    default: return .none
    }
  }
}
