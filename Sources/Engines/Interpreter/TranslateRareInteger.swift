import CZydis

/// The rarer integer instructions into micro-ops.
extension Translator {
  /// Rare operations whose operands need no special care.
  mutating func rare(_ operation: IntegerOp) -> Bool {
    var op = MicroOp(.integer)
    op.aux = operation.rawValue
    op.flags = operandSizeLog2 << 4
    switch operation {
    case .bsf, .bsr: return rareReading(operation)
    case .bt, .bts, .btr, .btc: return bitTest(operation)
    case .mul, .imul, .div, .idiv: modifyRMReading(&op)
    case .shld, .shrd:
      op.src = register(1)
      op.imm = isImmediate(2) ? operands[2].imm.value.s & (sizeLog2(0) == 3 ? 63 : 31) : -1
      op.flags = 0
      modifyRM(&op)
    case .cmpxchg, .xadd:
      op.src = register(1)
      op.flags = 0
      modifyRM(&op)
    case .cmpxchg8b, .cmpxchg16b:
      address(operands[0], &op, size: operation == .cmpxchg8b ? 8 : 16, write: true)
      emit(op)
    case .loop, .loope, .loopne, .jcxz:
      op.op = .integerEnd
      op.imm = Int64(bitPattern: relativeTarget)
      op.flags |= UInt8(truncatingIfNeeded: (Int(instruction.address_width) / 8).trailingZeroBitCount) << 6
      finish(op)
    case .enter:
      op.base = UInt8(Slot.rsp * 8)
      op.imm = Int64(operands[0].imm.value.u & 0xFFFF)
      op.disp = Int64(operands[1].imm.value.u & 0xFF)
      emit(op)
    case .aam, .aad:
      op.imm = Int64(operands[0].imm.value.u & 0xFF)
      emit(op)
    case .xlat:
      for index in 0..<operands.count where isMemory(index) {
        // DS:[rBX + AL]: the index is the low byte alone.
        var take = MicroOp(.movzx8to32r)
        take.dst = UInt8(Slot.temporary * 8)
        take.src = 0
        emit(take)
        addressWithTemporary(operands[index], &op, size: 1, write: false)
      }
      emit(op)
    case .bound:
      op.dst = register(0)
      address(operands[1], &op, size: 2 << Int(operandSizeLog2), write: false)
      emit(op)
    default: emit(op)
    }
    return true
  }

  /// MUL, IMUL, DIV, IDIV of one operand: only read.
  private mutating func modifyRMReading(_ op: inout MicroOp) {
    let size = sizeLog2(0)
    op.flags = UInt8(size) << 4
    if isRegister(0) {
      op.dst = register(0)
    } else {
      address(operands[0], &op, size: 1 << size, write: false)
    }
    emit(op)
  }

  /// BT and friends: a register bit offset reaches beyond a memory operand (SDM 2A BT).
  private mutating func bitTest(_ operation: IntegerOp) -> Bool {
    let size = sizeLog2(0)
    var op = MicroOp(.integer)
    op.aux = operation.rawValue
    op.flags = UInt8(size) << 4
    op.imm = isImmediate(1) ? operands[1].imm.value.s : -1
    if isRegister(1) { op.src = register(1) }
    if isRegister(0) {
      op.dst = register(0)
      emit(op)
      return true
    }
    let write = operation != .bt
    if isImmediate(1) {
      address(operands[0], &op, size: 1 << size, write: write)
    } else {
      var reach = MicroOp(.integer)
      reach.aux = IntegerOp.bitReach.rawValue
      reach.src = register(1)
      reach.flags = UInt8(size) << 4
      emit(reach)
      addressWithTemporary(operands[0], &op, size: 1 << size, write: write)
    }
    emit(op)
    return true
  }

  /// Like `address`, with the value in `Slot.temporary` added to the offset: it takes the index's place,
  /// after the index itself was added to it.
  private mutating func addressWithTemporary(
    _ operand: ZydisDecodedOperand, _ op: inout MicroOp, size: Int, write: Bool
  ) {
    let m = operand.mem
    if m.index != ZYDIS_REGISTER_NONE, m.index != ZYDIS_REGISTER_AL {
      var add = MicroOp(.integer)
      add.aux = IntegerOp.addOffset.rawValue
      add.index = Self.slotOffset(m.index)
      add.scale = m.scale > 1 ? UInt8(truncatingIfNeeded: m.scale.trailingZeroBitCount) : 0
      emit(add)
    }
    temporaryIndex = true
    address(operand, &op, size: size, write: write)
    temporaryIndex = false
  }

  mutating func string(_ operation: StringOp) -> Bool {
    var op = MicroOp(.string)
    op.aux = operation.rawValue
    let bytes: Int
    switch operation {
    case .scas, .cmps, .movs, .stos, .lods:
      let raw = instruction.mnemonic
      bytes = StringOp.bytes(raw)
    }
    op.flags = UInt8(bytes.trailingZeroBitCount) << 4
    op.flags |= UInt8(truncatingIfNeeded: (Int(instruction.address_width) / 8).trailingZeroBitCount) << 6
    if hasPrefix(UInt64(ZYDIS_ATTRIB_HAS_REP)) || hasPrefix(UInt64(ZYDIS_ATTRIB_HAS_REPE)) { op.flags |= MicroOp.rep }
    if hasPrefix(UInt64(ZYDIS_ATTRIB_HAS_REPNE)) { op.flags |= MicroOp.repne }
    // Segment of the source operand: DS unless overridden.
    op.src = 3
    for operand in operands where operand.type == ZYDIS_OPERAND_TYPE_MEMORY {
      let base = Self.slotOffset(operand.mem.base)
      if base == 48 { op.src = UInt8(Self.segmentIndex(operand.mem.segment)) }
    }
    // 1 where segments need no checks.
    op.imm = context.isLong64 || (context.flatData && op.src != 1 && op.src < 4) ? 1 : 0
    emit(op)
    return true
  }
}
