import CZydis
import VMCore
import X86

/// Integer instructions and near control transfers into micro-ops.
extension Translator {
  /// False if the instruction is not of this family.
  mutating func translateInteger() -> Bool {
    let mnemonic = instruction.mnemonic
    if let base = Self.binary[mnemonic.rawValue] { return binary(base) }
    if let code = Self.conditionCode(mnemonic) { return conditional(code) }
    switch mnemonic {
    case ZYDIS_MNEMONIC_TEST: return binary(.test8rr)
    case ZYDIS_MNEMONIC_MOV: return move()
    case ZYDIS_MNEMONIC_LEA: return lea()
    case ZYDIS_MNEMONIC_MOVZX, ZYDIS_MNEMONIC_MOVSX, ZYDIS_MNEMONIC_MOVSXD: return widen()
    case ZYDIS_MNEMONIC_INC: return unary(.inc8r)
    case ZYDIS_MNEMONIC_DEC: return unary(.dec8r)
    case ZYDIS_MNEMONIC_NEG: return unary(.neg8r)
    case ZYDIS_MNEMONIC_NOT: return unary(.not8r)
    case ZYDIS_MNEMONIC_SHL: return shift(.shl8ri, .shl)
    case ZYDIS_MNEMONIC_SHR: return shift(.shr8ri, .shr)
    case ZYDIS_MNEMONIC_SAR: return shift(.sar8ri, .sar)
    case ZYDIS_MNEMONIC_ROL: return rotate(.rol)
    case ZYDIS_MNEMONIC_ROR: return rotate(.ror)
    case ZYDIS_MNEMONIC_RCL: return rotate(.rcl)
    case ZYDIS_MNEMONIC_RCR: return rotate(.rcr)
    case ZYDIS_MNEMONIC_IMUL where operandCount > 1: return multiply()
    case ZYDIS_MNEMONIC_XCHG: return exchange()
    case ZYDIS_MNEMONIC_BSWAP: return byteSwap()
    case ZYDIS_MNEMONIC_PUSH, ZYDIS_MNEMONIC_POP: return stack(push: mnemonic == ZYDIS_MNEMONIC_PUSH)
    case ZYDIS_MNEMONIC_JMP, ZYDIS_MNEMONIC_CALL, ZYDIS_MNEMONIC_RET: return nearTransfer()
    case ZYDIS_MNEMONIC_LEAVE: return leave()
    case ZYDIS_MNEMONIC_CDQ: return emitPlain(.cdq)
    case ZYDIS_MNEMONIC_CQO: return emitPlain(.cqo)
    case ZYDIS_MNEMONIC_CDQE: return emitPlain(.cdqe)
    case ZYDIS_MNEMONIC_CWDE: return emitPlain(.cwde)
    case ZYDIS_MNEMONIC_NOP, ZYDIS_MNEMONIC_ENDBR32, ZYDIS_MNEMONIC_ENDBR64, ZYDIS_MNEMONIC_CLDEMOTE:
      return emitPlain(.nop)
    default: break
    }
    // MOVSD and CMPSD are also the names of SSE2 instructions.
    if let operation = StringOp(mnemonic), instruction.meta.isa_set != ZYDIS_ISA_SET_SSE2 { return string(operation) }
    if let operation = Self.rare[mnemonic.rawValue] { return rare(operation) }
    return translateBits()
  }

  var operandCount: Int { Int(instruction.operand_count_visible) }

  func isRegister(_ index: Int) -> Bool {
    index < operands.count && operands[index].type == ZYDIS_OPERAND_TYPE_REGISTER
  }
  func isMemory(_ index: Int) -> Bool {
    index < operands.count && operands[index].type == ZYDIS_OPERAND_TYPE_MEMORY
  }
  func isImmediate(_ index: Int) -> Bool { operands[index].type == ZYDIS_OPERAND_TYPE_IMMEDIATE }
  func isGPR(_ index: Int) -> Bool {
    guard isRegister(index) else { return false }
    switch ZydisRegisterGetClass(operands[index].reg.value) {
    case ZYDIS_REGCLASS_GPR8, ZYDIS_REGCLASS_GPR16, ZYDIS_REGCLASS_GPR32, ZYDIS_REGCLASS_GPR64: return true
    default: return false
    }
  }
  func register(_ index: Int) -> UInt8 { Self.registerOffset(operands[index].reg.value) }
  /// log2 of an operand's size in bytes.
  func sizeLog2(_ index: Int) -> Int {
    switch operands[index].size {
    case 8: 0
    case 16: 1
    case 32: 2
    default: 3
    }
  }

  static func op(_ base: Op, form: Int, size: Int) -> Op {
    Op(rawValue: base.rawValue + UInt16(form * 4 + size)) ?? .undefined
  }

  mutating func emitPlain(_ op: Op) -> Bool {
    emit(MicroOp(op))
    return true
  }

  /// Form 0 rr, 1 ri, 2 rm, 3 mr, 4 mi.
  private mutating func binary(_ base: Op) -> Bool {
    let size = sizeLog2(0)
    let reads = base == .cmp8rr || base == .test8rr
    var form: Int
    if isRegister(0) {
      form = isRegister(1) ? 0 : isImmediate(1) ? 1 : 2
    } else {
      form = isImmediate(1) ? 4 : 3
    }
    if base == .test8rr && form == 2 { form = 3 }
    var op = MicroOp(Self.op(base, form: form, size: size))
    switch form {
    case 0:
      op.dst = register(0)
      op.src = register(1)
    case 1:
      op.dst = register(0)
      op.imm = operands[1].imm.value.s
    case 2:
      op.dst = register(0)
      address(operands[1], &op, size: 1 << size, write: false)
    case 3:
      let memory = isMemory(0) ? 0 : 1
      op.src = register(1 - memory)
      address(operands[memory], &op, size: 1 << size, write: !reads)
    default:
      op.imm = operands[1].imm.value.s
      address(operands[0], &op, size: 1 << size, write: !reads)
    }
    emit(op)
    return true
  }

  private mutating func move() -> Bool {
    for index in 0..<2 where isRegister(index) && !isGPR(index) { return false }
    return binary(.mov8rr)
  }

  private mutating func unary(_ base: Op) -> Bool {
    let size = sizeLog2(0)
    var op = MicroOp(Self.op(base, form: isRegister(0) ? 0 : 1, size: size))
    if isRegister(0) {
      op.dst = register(0)
    } else {
      address(operands[0], &op, size: 1 << size, write: true)
    }
    emit(op)
    return true
  }

  private mutating func lea() -> Bool {
    let size = sizeLog2(0)
    guard size > 0 else { return false }
    var op = MicroOp(size == 1 ? .lea16 : size == 2 ? .lea32 : .lea64)
    let m = operands[1].mem
    var base = m.base
    var disp = m.disp.has_displacement != 0 ? m.disp.value : 0
    if base == ZYDIS_REGISTER_RIP || base == ZYDIS_REGISTER_EIP {
      disp = Int64(bitPattern: nextRIP &+ UInt64(bitPattern: disp))
      base = ZYDIS_REGISTER_NONE
    }
    op.dst = register(0)
    op.base = Self.slotOffset(base)
    op.index = Self.slotOffset(m.index)
    op.scale = m.scale > 1 ? UInt8(truncatingIfNeeded: m.scale.trailingZeroBitCount) : 0
    op.disp = disp
    let narrow = Int(instruction.address_width) / 8
    guard narrow < 1 << size else {
      emit(op)
      return true
    }
    // The offset is cut to the address size before it is widened to the operand size.
    op.op = narrow == 2 ? .lea16 : .lea32
    op.dst = UInt8(Slot.temporary * 8)
    var clear = MicroOp(.mov64ri)
    clear.dst = op.dst
    emit(clear)
    emit(op)
    var take = MicroOp(Self.op(.mov8rr, form: 0, size: size))
    take.dst = register(0)
    take.src = op.dst
    emit(take)
    return true
  }

  private mutating func widen() -> Bool {
    let from = sizeLog2(1)
    let to = sizeLog2(0)
    let signed = instruction.mnemonic != ZYDIS_MNEMONIC_MOVZX
    if to == 1 || from == to {
      // MOVSXD of 16 bits moves a word, whatever the decoder says of its source.
      if from == to || instruction.mnemonic == ZYDIS_MNEMONIC_MOVSXD { return binary(.mov8rr) }
      return rareReading(signed ? .movsx16 : .movzx16)
    }
    let table: [Op] =
      isRegister(1)
      ? [.movzx8to32r, .movzx16to32r, .movsx8to32r, .movsx16to32r, .movsx8to64r, .movsx16to64r, .movsx32to64r]
      : [.movzx8to32m, .movzx16to32m, .movsx8to32m, .movsx16to32m, .movsx8to64m, .movsx16to64m, .movsx32to64m]
    var op = MicroOp(table[(signed ? (to == 2 ? 2 : 4) : 0) + from])
    op.dst = register(0)
    if isRegister(1) {
      op.src = register(1)
    } else {
      address(operands[1], &op, size: 1 << from, write: false)
    }
    emit(op)
    return true
  }

  private mutating func shift(_ base: Op, _ slow: IntegerOp) -> Bool {
    let size = sizeLog2(0)
    guard isRegister(0) else { return rotate(slow) }
    if isImmediate(1) {
      let count = operands[1].imm.value.u & (size == 3 ? 63 : 31)
      if count == 0 { return keep(size) }
      var op = MicroOp(Self.op(base, form: 0, size: size))
      op.dst = register(0)
      op.imm = Int64(count)
      emit(op)
    } else {
      var op = MicroOp(Self.op(base, form: 1, size: size))
      op.dst = register(0)
      emit(op)
    }
    return true
  }

  /// A register keeps its value (32-bit ones lose their upper half).
  private mutating func keep(_ size: Int) -> Bool {
    var op = MicroOp(Self.op(.mov8rr, form: 0, size: size))
    op.dst = register(0)
    op.src = op.dst
    emit(op)
    return true
  }

  /// Shifts and rotates of memory, and all rotates; count in `imm`, or -1 for CL.
  private mutating func rotate(_ operation: IntegerOp) -> Bool {
    let size = sizeLog2(0)
    let count = isImmediate(1) ? Int64(operands[1].imm.value.u & (size == 3 ? 63 : 31)) : -1
    if isRegister(0), size >= 2, count > 0, operation == .ror || operation == .rol {
      let left = operation == .rol
      var op = MicroOp(size == 2 ? (left ? .rol32ri : .ror32ri) : left ? .rol64ri : .ror64ri)
      op.dst = register(0)
      op.imm = left ? count : (size == 2 ? 32 : 64) - count
      emit(op)
      return true
    }
    var op = MicroOp(.integer)
    op.aux = operation.rawValue
    op.imm = count
    modifyRM(&op)
    return true
  }

  /// Emits a rare operation that reads and writes operand 0.
  mutating func modifyRM(_ op: inout MicroOp) {
    let size = sizeLog2(0)
    op.flags |= UInt8(size) << 4
    if isRegister(0) {
      op.dst = register(0)
    } else {
      address(operands[0], &op, size: 1 << size, write: true)
    }
    emit(op)
  }

  /// Emits a rare operation that writes register operand 0 and reads operand 1; `sizeLog2` is operand
  /// 1's, `imm` bits 1:0 operand 0's.
  mutating func rareReading(_ operation: IntegerOp) -> Bool {
    var op = MicroOp(.integer)
    op.aux = operation.rawValue
    op.dst = register(0)
    op.flags = UInt8(sizeLog2(1)) << 4
    op.imm = Int64(sizeLog2(0))
    if isRegister(1) {
      op.src = register(1)
    } else {
      address(operands[1], &op, size: 1 << sizeLog2(1), write: false)
    }
    emit(op)
    return true
  }

  private mutating func multiply() -> Bool {
    let size = sizeLog2(0)
    let immediate = operandCount == 3
    var op = MicroOp(.integer)
    if isRegister(1), size >= 2 {
      op.op = immediate ? (size == 2 ? .imul32rri : .imul64rri) : size == 2 ? .imul32rr : .imul64rr
      op.dst = register(0)
      op.src = register(1)
      if immediate { op.imm = operands[2].imm.value.s }
      emit(op)
      return true
    }
    op.aux = (immediate ? IntegerOp.imul3 : .imul2).rawValue
    op.dst = register(0)
    op.flags = UInt8(size) << 4
    if immediate { op.imm = operands[2].imm.value.s }
    if isRegister(1) {
      op.src = register(1)
    } else {
      address(operands[1], &op, size: 1 << size, write: false)
    }
    emit(op)
    return true
  }

  private mutating func exchange() -> Bool {
    let size = sizeLog2(0)
    if isRegister(0), isRegister(1), size >= 2 {
      var op = MicroOp(size == 2 ? .xchg32rr : .xchg64rr)
      op.dst = register(0)
      op.src = register(1)
      emit(op)
      return true
    }
    let memory = isMemory(0) ? 0 : 1
    var op = MicroOp(.integer)
    op.aux = IntegerOp.xchg.rawValue
    op.flags = UInt8(size) << 4
    op.src = register(1 - memory)
    if isRegister(memory) {
      op.dst = register(memory)
    } else {
      address(operands[memory], &op, size: 1 << size, write: true)
    }
    emit(op)
    return true
  }

  private mutating func byteSwap() -> Bool {
    switch sizeLog2(0) {
    case 3:
      var op = MicroOp(.bswap64)
      op.dst = register(0)
      emit(op)
    case 2:
      var op = MicroOp(.bswap32)
      op.dst = register(0)
      emit(op)
    default:
      // Undefined by the manual; processors give zero.
      var op = MicroOp(.mov16ri)
      op.dst = register(0)
      emit(op)
    }
    return true
  }
}
