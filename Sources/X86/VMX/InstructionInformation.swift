import CZydis

/// The VM-exit instruction-information field (SDM 3C 28.2.5, tables 28-8 to 28-14).
package struct InstructionInformation: Equatable, Sendable {
  /// The field; 0 for instructions without one.
  package var field: UInt32 = 0
  /// The displacement of the memory operand, sign-extended, with the next instruction's address where it is
  /// relative to RIP: the exit qualification of these instructions (SDM 3C 28.2.1).
  package var displacement: UInt64 = 0

  /// Of the first instruction of `bytes`, which lies at `rip`; all 0 where nothing can be decoded.
  package init(of bytes: [UInt8], mode: ProcessorMode, rip: UInt64) {
    var decoder = ZydisDecoder()
    ZydisDecoderInit(&decoder, InstructionDecoder.machineMode(mode), InstructionDecoder.stackWidth(mode))
    withUnsafeTemporaryAllocation(of: ZydisDecodedOperand.self, capacity: 10) { buffer in
      var instruction = ZydisDecodedInstruction()
      let status = bytes.withUnsafeBytes {
        ZydisDecoderDecodeFull(&decoder, $0.baseAddress, min($0.count, 15), &instruction, buffer.baseAddress)
      }
      guard status & 0x8000_0000 == 0 else { return }
      let operands = buffer.prefix(Int(instruction.operand_count)).map { $0 }
      field = Self.field(instruction, operands)
      guard let operand = Self.memory(operands) else { return }
      displacement = UInt64(bitPattern: instruction.raw.disp.value)
      let base = operand.mem.base
      if base == ZYDIS_REGISTER_RIP || base == ZYDIS_REGISTER_EIP { displacement &+= rip &+ UInt64(instruction.length) }
    }
  }

  private static func field(_ i: borrowing ZydisDecodedInstruction, _ operands: [ZydisDecodedOperand]) -> UInt32 {
    switch i.mnemonic {
    case ZYDIS_MNEMONIC_INSB, ZYDIS_MNEMONIC_INSW, ZYDIS_MNEMONIC_INSD:
      return addressSize(i)
    case ZYDIS_MNEMONIC_OUTSB, ZYDIS_MNEMONIC_OUTSW, ZYDIS_MNEMONIC_OUTSD:
      return addressSize(i) | memory(operands).map { segment($0) << 15 }.or0
    case ZYDIS_MNEMONIC_SGDT, ZYDIS_MNEMONIC_SIDT, ZYDIS_MNEMONIC_LGDT, ZYDIS_MNEMONIC_LIDT:
      let identity: [ZydisMnemonic.RawValue: UInt32] = [
        ZYDIS_MNEMONIC_SGDT.rawValue: 0, ZYDIS_MNEMONIC_SIDT.rawValue: 1, ZYDIS_MNEMONIC_LGDT.rawValue: 2,
        ZYDIS_MNEMONIC_LIDT.rawValue: 3,
      ]
      let is32: UInt32 = i.operand_width == 16 ? 0 : 1 << 11
      return formula(i, memory(operands)) | is32 | identity[i.mnemonic.rawValue].or0 << 28
    case ZYDIS_MNEMONIC_SLDT, ZYDIS_MNEMONIC_STR, ZYDIS_MNEMONIC_LLDT, ZYDIS_MNEMONIC_LTR:
      let identity: [ZydisMnemonic.RawValue: UInt32] = [
        ZYDIS_MNEMONIC_SLDT.rawValue: 0, ZYDIS_MNEMONIC_STR.rawValue: 1, ZYDIS_MNEMONIC_LLDT.rawValue: 2,
        ZYDIS_MNEMONIC_LTR.rawValue: 3,
      ]
      return registerOrFormula(i, operands[0]) | identity[i.mnemonic.rawValue].or0 << 28
    case ZYDIS_MNEMONIC_VMREAD: return registerOrFormula(i, operands[0]) | number(operands[1]) << 28
    case ZYDIS_MNEMONIC_VMWRITE: return registerOrFormula(i, operands[1]) | number(operands[0]) << 28
    case ZYDIS_MNEMONIC_INVEPT, ZYDIS_MNEMONIC_INVVPID: return formula(i, memory(operands)) | number(operands[0]) << 28
    case ZYDIS_MNEMONIC_VMCLEAR, ZYDIS_MNEMONIC_VMPTRLD, ZYDIS_MNEMONIC_VMPTRST, ZYDIS_MNEMONIC_VMXON:
      return formula(i, memory(operands))
    default: return 0
    }
  }

  private static func number(_ operand: ZydisDecodedOperand) -> UInt32 {
    operand.type == ZYDIS_OPERAND_TYPE_REGISTER ? UInt32(bitPattern: Int32(ZydisRegisterGetId(operand.reg.value))) & 15 : 0
  }
  private static func memory(_ operands: [ZydisDecodedOperand]) -> ZydisDecodedOperand? {
    operands.first { $0.type == ZYDIS_OPERAND_TYPE_MEMORY }
  }
  private static func addressSize(_ i: borrowing ZydisDecodedInstruction) -> UInt32 {
    (i.address_width == 16 ? 0 : i.address_width == 32 ? 1 : 2) << 7
  }
  private static func segment(_ operand: ZydisDecodedOperand) -> UInt32 {
    UInt32(OperandReader.segment(operand.mem.segment).rawValue)
  }

  private static func registerOrFormula(_ i: borrowing ZydisDecodedInstruction, _ operand: ZydisDecodedOperand) -> UInt32 {
    operand.type == ZYDIS_OPERAND_TYPE_MEMORY ? formula(i, operand) : 1 << 10 | number(operand) << 3
  }

  /// Scaling, address size, segment, index and base of a memory operand.
  private static func formula(_ i: borrowing ZydisDecodedInstruction, _ operand: ZydisDecodedOperand?) -> UInt32 {
    guard let operand else { return 0 }
    let m = operand.mem
    var field = addressSize(i) | segment(operand) << 15
    if m.index == ZYDIS_REGISTER_NONE {
      field |= 1 << 22
    } else {
      field |= UInt32(max(m.scale, 1).trailingZeroBitCount) | (UInt32(bitPattern: Int32(ZydisRegisterGetId(m.index))) & 15) << 18
    }
    let isRelative = m.base == ZYDIS_REGISTER_RIP || m.base == ZYDIS_REGISTER_EIP
    if m.base == ZYDIS_REGISTER_NONE || isRelative {
      field |= 1 << 27
    } else {
      field |= (UInt32(bitPattern: Int32(ZydisRegisterGetId(m.base))) & 15) << 23
    }
    return field
  }
}

extension Optional where Wrapped == UInt32 {
  fileprivate var or0: UInt32 { self ?? 0 }
}
