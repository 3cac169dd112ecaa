import CZydis

/// POPCNT, LZCNT, BMI1, BMI2, MOVBE, CRC32.
extension Translator {
  private static let bits: [UInt32: IntegerOp] = [
    ZYDIS_MNEMONIC_POPCNT.rawValue: .popcnt, ZYDIS_MNEMONIC_LZCNT.rawValue: .lzcnt,
    ZYDIS_MNEMONIC_TZCNT.rawValue: .tzcnt, ZYDIS_MNEMONIC_ANDN.rawValue: .andn, ZYDIS_MNEMONIC_BEXTR.rawValue: .bextr,
    ZYDIS_MNEMONIC_BLSI.rawValue: .blsi, ZYDIS_MNEMONIC_BLSMSK.rawValue: .blsmsk, ZYDIS_MNEMONIC_BLSR.rawValue: .blsr,
    ZYDIS_MNEMONIC_BZHI.rawValue: .bzhi, ZYDIS_MNEMONIC_MULX.rawValue: .mulx, ZYDIS_MNEMONIC_PDEP.rawValue: .pdep,
    ZYDIS_MNEMONIC_PEXT.rawValue: .pext, ZYDIS_MNEMONIC_RORX.rawValue: .rorx, ZYDIS_MNEMONIC_SARX.rawValue: .sarx,
    ZYDIS_MNEMONIC_SHLX.rawValue: .shlx, ZYDIS_MNEMONIC_SHRX.rawValue: .shrx,
    ZYDIS_MNEMONIC_MOVBE.rawValue: .movbeLoad, ZYDIS_MNEMONIC_CRC32.rawValue: .crc32,
  ]

  mutating func translateBits() -> Bool {
    guard let operation = Self.bits[instruction.mnemonic.rawValue] else { return false }
    var op = MicroOp(.integer)
    op.aux = operation.rawValue
    switch operation {
    case .movbeLoad: return moveBigEndian(&op)
    case .crc32:
      op.imm = Int64(sizeLog2(0))
      return bits(&op, from: 1)
    case .andn, .pdep, .pext, .mulx:
      op.imm = Int64(register(1))
      return bits(&op, from: 2)
    case .bextr, .bzhi, .sarx, .shlx, .shrx: op.imm = Int64(register(2))
    case .rorx: op.imm = operands[2].imm.value.s
    default: break
    }
    return bits(&op, from: 1)
  }

  /// Register operand 0 from the operand of ModRM.rm, which is `index`; sizes are that one's.
  private mutating func bits(_ op: inout MicroOp, from index: Int) -> Bool {
    op.dst = register(0)
    op.flags = UInt8(sizeLog2(index)) << 4
    if isRegister(index) {
      op.src = register(index)
    } else {
      address(operands[index], &op, size: 1 << sizeLog2(index), write: false)
    }
    emit(op)
    return true
  }

  private mutating func moveBigEndian(_ op: inout MicroOp) -> Bool {
    if isMemory(0) {
      op.aux = IntegerOp.movbeStore.rawValue
      op.src = register(1)
      op.flags = UInt8(sizeLog2(0)) << 4
      address(operands[0], &op, size: 1 << sizeLog2(0), write: true)
      emit(op)
      return true
    }
    return bits(&op, from: 1)
  }
}
