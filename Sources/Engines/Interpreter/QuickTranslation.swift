/// The instructions that most of all code consists of, straight from their bytes into the micro-ops that the long way by
/// Zydis gives (SDM 2 appendix A): in 64-bit mode and in flat 32-bit code, without operand-size, address-size, LOCK and REP
/// prefixes.
extension Translator {
  /// What an instruction's encoding says.
  private struct Encoding {
    let bytes: UnsafePointer<UInt8>
    /// Of the next byte to read.
    var at = 0
    var rex: UInt8 = 0
    var segment = UInt8(Slot.zero * 8)
    var modRM: UInt8 = 0
    /// Of the memory operand, before what RIP adds: byte offsets of registers.
    var base = UInt8(Slot.zero * 8)
    var index = UInt8(Slot.zero * 8)
    var scale: UInt8 = 0
    var displacement: Int64 = 0
    var isRelative = false

    init(_ bytes: UnsafePointer<UInt8>) { self.bytes = bytes }

    mutating func byte() -> UInt8 {
      at += 1
      return bytes[at - 1]
    }
    mutating func signedByte() -> Int64 { Int64(Int8(bitPattern: byte())) }
    mutating func word32() -> Int64 {
      at += 4
      return Int64(UnsafeRawPointer(bytes + (at - 4)).loadUnaligned(as: Int32.self))
    }
    mutating func word64() -> Int64 {
      at += 8
      return UnsafeRawPointer(bytes + (at - 8)).loadUnaligned(as: Int64.self)
    }

    var isWide: Bool { rex & 8 != 0 }
    var isRegister: Bool { modRM >= 0xC0 }
    var extension3: UInt8 { modRM >> 3 & 7 }
    var reg: UInt8 { modRM >> 3 & 7 | (rex & 4) << 1 }
    var rm: UInt8 { modRM & 7 | (rex & 1) << 3 }

    /// Byte offset of a register operand of `log2` bytes.
    func register(_ number: UInt8, _ log2: Int) -> UInt8 {
      // Without REX, 4 to 7 are AH, CH, DH and BH.
      log2 == 0 && rex == 0 && number & 4 != 0 ? (number & 3) * 8 + 1 : number * 8
    }
  }

  /// Bytes the longest instruction has: so many must be readable.
  static let quickRoom = 15

  /// Do the micro-ops that follow need no segmentation checks?
  var isQuick: Bool { context.isLong64 || context.codeBits == 32 && context.flatData && context.flatCode && context.bigStack }

  /// False, with nothing done, for what must go the long way.
  mutating func translateQuickly(_ bytes: UnsafePointer<UInt8>) -> Bool {
    var e = Encoding(bytes)
    var opcode = e.byte()
    if context.isLong64 {
      if opcode == 0x64 || opcode == 0x65 {
        e.segment = UInt8((opcode == 0x64 ? Slot.fsBase : Slot.gsBase) * 8)
        opcode = e.byte()
      }
      if opcode & 0xF0 == 0x40 {
        e.rex = opcode
        opcode = e.byte()
      }
    }
    if opcode == 0x0F { return quickTwoByte(&e) }
    if opcode == 0xF3 { return quickEndBranch(&e) }
    if opcode < 0x40 { return opcode & 7 < 6 && quickBinary(opcode, &e) }
    switch opcode >> 3 {
    case 0x0A, 0x0B: return quickPushPop(opcode, &e)
    case 0x0E, 0x0F: return quickJump(UInt16(opcode & 15), e.signedByte(), e)
    case 0x16, 0x17: return quickMoveImmediate(opcode, &e)
    default: break
    }
    switch opcode {
    case 0x63 where e.isWide: return quickWiden(.movsx32to64r, .movsx32to64m, &e)
    case 0x68, 0x6A: return quickPushImmediate(opcode == 0x68 ? e.word32() : e.signedByte(), e)
    case 0x69, 0x6B: return quickMultiply(hasImmediate: true, isShort: opcode == 0x6B, &e)
    case 0x80, 0x81, 0x83: return quickGroup1(opcode, &e)
    case 0x84, 0x85: return quickOperands(.test8rr, opcode & 1, toRegister: false, &e)
    case 0x88...0x8B: return quickOperands(.mov8rr, opcode & 1, toRegister: opcode & 2 != 0, &e)
    case 0x8D: return quickLEA(&e)
    case 0x90 where e.rex == 0: return quickPlain(.nop, e)
    case 0x98: return quickPlain(e.isWide ? .cdqe : .cwde, e)
    case 0x99: return quickPlain(e.isWide ? .cqo : .cdq, e)
    case 0xA8, 0xA9: return quickAccumulator(.test8rr, opcode & 1, &e)
    case 0xC0, 0xC1, 0xD0, 0xD1, 0xD3: return quickShift(opcode, &e)
    case 0xC3: return quickReturn(e)
    case 0xC6, 0xC7: return quickStore(opcode & 1, &e)
    case 0xC9: return quickLeave(e)
    case 0xE8, 0xE9: return quickTransfer(isCall: opcode == 0xE8, e.word32(), e)
    case 0xEB: return quickTransfer(isCall: false, e.signedByte(), e)
    case 0xF6, 0xF7: return quickGroup3(opcode & 1, &e)
    case 0xFE, 0xFF: return quickGroup5(opcode & 1, &e)
    default: return false
    }
  }

  /// ENDBR32 and ENDBR64.
  private mutating func quickEndBranch(_ e: inout Encoding) -> Bool {
    guard e.at == 1, e.byte() == 0x0F, e.byte() == 0x1E, e.byte() | 1 == 0xFB else { return false }
    return quickPlain(.nop, e)
  }

  private mutating func quickTwoByte(_ e: inout Encoding) -> Bool {
    let opcode = e.byte()
    switch opcode {
    case 0x1F:
      guard readOperand(&e), e.extension3 == 0 else { return false }
      return quickPlain(.nop, e)
    case 0x40...0x4F: return quickConditionalMove(UInt16(opcode & 15), &e)
    case 0x80...0x8F: return quickJump(UInt16(opcode & 15), e.word32(), e)
    case 0x90...0x9F: return quickSet(UInt16(opcode & 15), &e)
    case 0xAF: return quickMultiply(hasImmediate: false, isShort: false, &e)
    case 0xB6: return quickWiden(.movzx8to32r, .movzx8to32m, &e, from: 0)
    case 0xB7: return quickWiden(.movzx16to32r, .movzx16to32m, &e)
    case 0xBE:
      return e.isWide
        ? quickWiden(.movsx8to64r, .movsx8to64m, &e, from: 0) : quickWiden(.movsx8to32r, .movsx8to32m, &e, from: 0)
    case 0xBF: return e.isWide ? quickWiden(.movsx16to64r, .movsx16to64m, &e) : quickWiden(.movsx16to32r, .movsx16to32m, &e)
    default: return false
    }
  }

  // MARK: Operands

  private func log2(_ isLarge: UInt8, _ e: Encoding) -> Int { isLarge == 0 ? 0 : e.isWide ? 3 : 2 }

  /// Reads ModRM and what belongs to it; false for what only the long way takes.
  private func readOperand(_ e: inout Encoding) -> Bool {
    e.modRM = e.byte()
    let mode = e.modRM >> 6
    guard mode != 3 else { return true }
    let low = e.modRM & 7
    if low == 4 {
      let sib = e.byte()
      let index = sib >> 3 & 7 | (e.rex & 2) << 2
      if index != 4 {
        e.index = index * 8
        e.scale = sib >> 6
      }
      if sib & 7 == 5, mode == 0 {
        e.displacement = e.word32()
      } else {
        e.base = (sib & 7 | (e.rex & 1) << 3) * 8
      }
    } else if low == 5, mode == 0 {
      e.isRelative = context.isLong64
      e.displacement = e.word32()
    } else {
      e.base = e.rm * 8
    }
    if mode == 1 { e.displacement = e.signedByte() }
    if mode == 2 { e.displacement = e.word32() }
    return true
  }

  /// Puts the memory operand into `op`. All of the instruction has been read.
  private func address(_ e: Encoding, _ op: inout MicroOp) {
    op.flags |= MicroOp.hasMemory
    op.segment = e.segment
    place(e, &op)
  }
  private func place(_ e: Encoding, _ op: inout MicroOp) {
    op.base = e.base
    op.index = e.index
    op.scale = e.scale
    op.disp = e.isRelative ? Int64(bitPattern: rip &+ UInt64(offset) &+ UInt64(e.at)) &+ e.displacement : e.displacement
  }

  private mutating func quickEmit(_ op: MicroOp, _ e: Encoding) -> Bool {
    instruction.length = UInt8(e.at)
    emit(op)
    return true
  }
  private mutating func quickFinish(_ op: MicroOp, _ e: Encoding) -> Bool {
    instruction.length = UInt8(e.at)
    finish(op)
    return true
  }
  private mutating func quickPlain(_ op: Op, _ e: Encoding) -> Bool { quickEmit(MicroOp(op), e) }

  // MARK: Arithmetic and moves

  private static func family(_ number: UInt8) -> Op { Op(rawValue: UInt16(number) * 20) ?? .undefined }

  /// 00h to 3Dh.
  private mutating func quickBinary(_ opcode: UInt8, _ e: inout Encoding) -> Bool {
    let base = Self.family(opcode >> 3)
    if opcode & 4 != 0 { return quickAccumulator(base, opcode & 1, &e) }
    return quickOperands(base, opcode & 1, toRegister: opcode & 2 != 0, &e)
  }

  private mutating func quickAccumulator(_ base: Op, _ isLarge: UInt8, _ e: inout Encoding) -> Bool {
    let size = log2(isLarge, e)
    var op = MicroOp(Self.op(base, form: 1, size: size))
    op.imm = size == 0 ? e.signedByte() : e.word32()
    return quickEmit(op, e)
  }

  private mutating func quickOperands(_ base: Op, _ isLarge: UInt8, toRegister: Bool, _ e: inout Encoding) -> Bool {
    guard readOperand(&e) else { return false }
    let size = log2(isLarge, e)
    let reg = e.register(e.reg, size)
    var op = MicroOp(Self.op(base, form: e.isRegister ? 0 : toRegister ? 2 : 3, size: size))
    if e.isRegister {
      let rm = e.register(e.rm, size)
      op.dst = toRegister ? reg : rm
      op.src = toRegister ? rm : reg
    } else {
      if toRegister { op.dst = reg } else { op.src = reg }
      address(e, &op)
    }
    return quickEmit(op, e)
  }

  /// An operand that is a register or in memory, and a constant.
  private mutating func quickConstant(_ base: Op, _ size: Int, isShort: Bool, _ e: inout Encoding) -> Bool {
    var op = MicroOp(Self.op(base, form: e.isRegister ? 1 : 4, size: size))
    op.imm = isShort || size == 0 ? e.signedByte() : e.word32()
    if e.isRegister { op.dst = e.register(e.rm, size) } else { address(e, &op) }
    return quickEmit(op, e)
  }

  private mutating func quickGroup1(_ opcode: UInt8, _ e: inout Encoding) -> Bool {
    guard readOperand(&e) else { return false }
    return quickConstant(Self.family(e.extension3), log2(opcode & 1, e), isShort: opcode == 0x83, &e)
  }

  private mutating func quickStore(_ isLarge: UInt8, _ e: inout Encoding) -> Bool {
    guard readOperand(&e), e.extension3 == 0 else { return false }
    return quickConstant(.mov8rr, log2(isLarge, e), isShort: false, &e)
  }

  private mutating func quickMoveImmediate(_ opcode: UInt8, _ e: inout Encoding) -> Bool {
    let size = opcode & 8 == 0 ? 0 : log2(1, e)
    var op = MicroOp(Self.op(.mov8rr, form: 1, size: size))
    op.dst = e.register(opcode & 7 | (e.rex & 1) << 3, size)
    op.imm = size == 0 ? e.signedByte() : size == 3 ? e.word64() : e.word32()
    return quickEmit(op, e)
  }

  private mutating func quickLEA(_ e: inout Encoding) -> Bool {
    guard readOperand(&e), !e.isRegister else { return false }
    var op = MicroOp(e.isWide ? .lea64 : .lea32)
    op.dst = e.reg * 8
    place(e, &op)
    return quickEmit(op, e)
  }

  /// `from` is 0 where the source is a byte.
  private mutating func quickWiden(_ register: Op, _ memory: Op, _ e: inout Encoding, from: Int = 1) -> Bool {
    guard readOperand(&e) else { return false }
    var op = MicroOp(e.isRegister ? register : memory)
    op.dst = e.reg * 8
    if e.isRegister { op.src = e.register(e.rm, from) } else { address(e, &op) }
    return quickEmit(op, e)
  }

  private mutating func quickMultiply(hasImmediate: Bool, isShort: Bool, _ e: inout Encoding) -> Bool {
    guard readOperand(&e), e.isRegister else { return false }
    let wide = e.isWide
    var op = MicroOp(hasImmediate ? (wide ? .imul64rri : .imul32rri) : wide ? .imul64rr : .imul32rr)
    op.dst = e.reg * 8
    op.src = e.rm * 8
    if hasImmediate { op.imm = isShort ? e.signedByte() : e.word32() }
    return quickEmit(op, e)
  }

  private mutating func quickGroup3(_ isLarge: UInt8, _ e: inout Encoding) -> Bool {
    guard readOperand(&e) else { return false }
    switch e.extension3 {
    case 0: return quickConstant(.test8rr, log2(isLarge, e), isShort: false, &e)
    case 2: return quickUnary(.not8r, isLarge, e)
    case 3: return quickUnary(.neg8r, isLarge, e)
    default: return false
    }
  }

  private mutating func quickGroup5(_ isLarge: UInt8, _ e: inout Encoding) -> Bool {
    guard readOperand(&e) else { return false }
    switch e.extension3 {
    case 0: return quickUnary(.inc8r, isLarge, e)
    case 1: return quickUnary(.dec8r, isLarge, e)
    case 2 where isLarge == 1: return quickIndirect(isCall: true, e)
    case 4 where isLarge == 1: return quickIndirect(isCall: false, e)
    default: return false
    }
  }

  private mutating func quickUnary(_ base: Op, _ isLarge: UInt8, _ e: Encoding) -> Bool {
    let size = log2(isLarge, e)
    var op = MicroOp(Self.op(base, form: e.isRegister ? 0 : 1, size: size))
    if e.isRegister { op.dst = e.register(e.rm, size) } else { address(e, &op) }
    return quickEmit(op, e)
  }

  /// Shifts of a register by a constant or CL.
  private mutating func quickShift(_ opcode: UInt8, _ e: inout Encoding) -> Bool {
    guard readOperand(&e), e.isRegister else { return false }
    let size = log2(opcode & 1, e)
    let bases: (Op, Op, Op) = (.shl8ri, .shr8ri, .sar8ri)
    let base: Op
    switch e.extension3 {
    case 4: base = bases.0
    case 5: base = bases.1
    case 7: base = bases.2
    default: return false
    }
    let isByCL = opcode == 0xD3
    var op = MicroOp(Self.op(base, form: isByCL ? 1 : 0, size: size))
    op.dst = e.register(e.rm, size)
    if !isByCL {
      let count = opcode < 0xD0 ? Int64(e.byte()) & (size == 3 ? 63 : 31) : 1
      guard count != 0 else { return false }
      op.imm = count
    }
    return quickEmit(op, e)
  }

  // MARK: Conditions

  private mutating func quickJump(_ condition: UInt16, _ distance: Int64, _ e: Encoding) -> Bool {
    guard e.segment == UInt8(Slot.zero * 8) else { return false }
    instruction.length = UInt8(e.at)
    takenRIP = quickTarget(distance)
    if fuse(condition) { return true }
    var op = MicroOp(.jcc)
    op.aux = condition
    finish(op)
    return true
  }

  private mutating func quickSet(_ condition: UInt16, _ e: inout Encoding) -> Bool {
    guard readOperand(&e) else { return false }
    var op = MicroOp(e.isRegister ? .setccR : .integer)
    if e.isRegister {
      op.aux = condition
      op.dst = e.register(e.rm, 0)
    } else {
      op.aux = IntegerOp.setccM.rawValue
      op.imm = Int64(condition)
      address(e, &op)
    }
    return quickEmit(op, e)
  }

  private mutating func quickConditionalMove(_ condition: UInt16, _ e: inout Encoding) -> Bool {
    guard readOperand(&e) else { return false }
    var op = MicroOp(e.isRegister ? (e.isWide ? .cmov64rr : .cmov32rr) : .integer)
    op.dst = e.reg * 8
    if e.isRegister {
      op.aux = condition
      op.src = e.rm * 8
    } else {
      op.aux = IntegerOp.cmov.rawValue
      op.imm = Int64(condition)
      op.flags = e.isWide ? 0x30 : 0x20
      address(e, &op)
    }
    return quickEmit(op, e)
  }

  // MARK: The stack and transfers

  private var stackBytesLog2: UInt8 { context.isLong64 ? 3 : 2 }

  private mutating func quickPushPop(_ opcode: UInt8, _ e: inout Encoding) -> Bool {
    let isLong = context.isLong64
    let isPush = opcode < 0x58
    var op = MicroOp(isPush ? (isLong ? .push64r : .push32r) : isLong ? .pop64r : .pop32r)
    op.src = (opcode & 7 | (e.rex & 1) << 3) * 8
    op.dst = op.src
    op.base = UInt8(Slot.rsp * 8)
    return quickEmit(op, e)
  }

  private mutating func quickPushImmediate(_ value: Int64, _ e: Encoding) -> Bool {
    var op = MicroOp(context.isLong64 ? .push64i : .push32i)
    op.imm = value
    op.base = UInt8(Slot.rsp * 8)
    return quickEmit(op, e)
  }

  private mutating func quickLeave(_ e: Encoding) -> Bool {
    var op = MicroOp(context.isLong64 ? .leave64 : .leave32)
    op.base = 40
    return quickEmit(op, e)
  }

  private mutating func quickReturn(_ e: Encoding) -> Bool {
    var op = MicroOp(context.isLong64 ? .ret64 : .ret32)
    op.aux = IntegerOp.ret.rawValue
    op.flags = stackBytesLog2 << 4
    op.base = UInt8(Slot.rsp * 8)
    return quickFinish(op, e)
  }

  private func quickTarget(_ distance: Int64) -> UInt64 {
    let target = nextRIP &+ UInt64(bitPattern: distance)
    return context.isLong64 ? target : target & 0xFFFF_FFFF
  }

  private mutating func quickTransfer(isCall: Bool, _ distance: Int64, _ e: Encoding) -> Bool {
    instruction.length = UInt8(e.at)
    takenRIP = quickTarget(distance)
    var op = MicroOp(isCall ? (context.isLong64 ? .call64 : .call32) : .jmp)
    op.base = UInt8(Slot.rsp * 8)
    finish(op)
    return true
  }

  private mutating func quickIndirect(isCall: Bool, _ e: Encoding) -> Bool {
    guard context.isLong64 else { return false }
    var op = MicroOp(e.isRegister ? (isCall ? .call64R : .jmpR) : isCall ? .call64m : .jmp64m)
    if e.isRegister {
      op.src = e.rm * 8
      op.base = UInt8(Slot.rsp * 8)
    } else {
      address(e, &op)
    }
    return quickFinish(op, e)
  }
}
