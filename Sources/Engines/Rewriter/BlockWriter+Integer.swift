/// Host code of the micro-ops, one by one.
extension MicroOp {
  /// CMP or TEST of registers with the jump behind it: sets all flags and reads none of those before.
  var comparesAndJumps: Bool {
    op.rawValue >= Op.cmpJcc8rr.rawValue && op.rawValue <= Op.testJcc64ri.rawValue
  }

  /// False where the interpreter carries it out even in translated code.
  var isRewritten: Bool {
    switch op {
    case .sse: isRewrittenSSE
    case .integer, .string, .system, .x87, .segmentAddress, .undefined, .breakpoint: false
    default: true
    }
  }
}

/// How an ALU micro-op's opcode is made up (`Op`'s order).
private struct Binary {
  /// 0 to 7 as in the host's opcodes, 8 TEST, 9 MOV.
  let operation: UInt8
  /// 0 rr, 1 ri, 2 rm, 3 mr, 4 mi.
  let form: Int
  let size: Int

  init?(_ op: Op) {
    let raw = Int(op.rawValue)
    guard raw <= Int(Op.mov64mi.rawValue) else { return nil }
    operation = UInt8(raw / 20)
    form = raw % 20 / 4
    size = 1 << (raw % 4)
  }
  var writes: Bool { operation != 7 && operation != 8 }
}

extension BlockWriter {
  /// False for what is left to a callout.
  mutating func emit(_ o: MicroOpPointer, flagsLive live: Bool) -> Bool {
    if let binary = Binary(o.pointee.op) { return emit(binary, o, live) }
    if emitTransfer(o) { return true }
    switch o.pointee.op {
    case .nop: return true
    case .sse: return emitSSE(o)
    case .leave64: return leaveFrame(o, size: 8)
    case .leave32: return leaveFrame(o, size: 4)
    case .lea64: return lea(o, size: 8)
    case .lea32: return lea(o, size: 4)
    case .movzx8to32r: return widen(o, from: 1, signed: false, to: 4)
    case .movzx16to32r: return widen(o, from: 2, signed: false, to: 4)
    case .movsx8to32r: return widen(o, from: 1, signed: true, to: 4)
    case .movsx16to32r: return widen(o, from: 2, signed: true, to: 4)
    case .movsx8to64r: return widen(o, from: 1, signed: true, to: 8)
    case .movsx16to64r: return widen(o, from: 2, signed: true, to: 8)
    case .movsx32to64r: return widen(o, from: 4, signed: true, to: 8)
    case .movzx8to32m: return loadWide(o, from: 1, signed: false, to: 4)
    case .movzx16to32m: return loadWide(o, from: 2, signed: false, to: 4)
    case .movsx8to32m: return loadWide(o, from: 1, signed: true, to: 4)
    case .movsx16to32m: return loadWide(o, from: 2, signed: true, to: 4)
    case .movsx8to64m: return loadWide(o, from: 1, signed: true, to: 8)
    case .movsx16to64m: return loadWide(o, from: 2, signed: true, to: 8)
    case .movsx32to64m: return loadWide(o, from: 4, signed: true, to: 8)
    case .shiftLeft32: return shift(o, 4, size: 4)
    case .shiftLeft64: return shift(o, 4, size: 8)
    case .shiftRight32: return shift(o, 5, size: 4)
    case .shiftRight64: return shift(o, 5, size: 8)
    case .shl32ri: return shiftFlags(o, 4, size: 4, live)
    case .shl64ri: return shiftFlags(o, 4, size: 8, live)
    case .shr32ri: return shiftFlags(o, 5, size: 4, live)
    case .shr64ri: return shiftFlags(o, 5, size: 8, live)
    case .sar32ri: return shiftFlags(o, 7, size: 4, live)
    case .sar64ri: return shiftFlags(o, 7, size: 8, live)
    case .rotate32: return shift(o, 0, size: 4)
    case .rotate64: return shift(o, 0, size: 8)
    case .inc32r: return step(o, 0, size: 4, live)
    case .inc64r: return step(o, 0, size: 8, live)
    case .dec32r: return step(o, 1, size: 4, live)
    case .dec64r: return step(o, 1, size: 8, live)
    case .neg32r: return negate(o, size: 4, live)
    case .neg64r: return negate(o, size: 8, live)
    case .not32r: return complement(o, size: 4)
    case .not64r: return complement(o, size: 8)
    case .imul32rr: return multiply(o, size: 4, immediate: false, live)
    case .imul64rr: return multiply(o, size: 8, immediate: false, live)
    case .imul32rri: return multiply(o, size: 4, immediate: true, live)
    case .imul64rri: return multiply(o, size: 8, immediate: true, live)
    case .xchg32rr: return exchange(o, size: 4)
    case .xchg64rr: return exchange(o, size: 8)
    case .bswap32: return swap(o, size: 4)
    case .bswap64: return swap(o, size: 8)
    case .cdq:
      asm.move(.rdx, .register(.rax), size: 4)
      arithmeticRight(.rdx, 31, size: 4)
      return true
    case .cqo:
      asm.move(.rdx, .register(.rax), size: 8)
      arithmeticRight(.rdx, 63, size: 8)
      return true
    case .cdqe:
      asm.extendSigned(.rax, .register(.rax), from: 4, size: 8)
      return true
    case .cwde:
      asm.extendSigned(.rax, .register(.rax), from: 2, size: 4)
      return true
    case .setccR: return setByCondition(o)
    case .cmov32rr: return moveByCondition(o, size: 4)
    case .cmov64rr: return moveByCondition(o, size: 8)
    default: return false
    }
  }

  mutating func arithmeticRight(_ register: HostRegister, _ count: UInt8, size: Int) {
    asm.shift(7, .register(register), by: count, size: size)
    host = .none
  }

  // MARK: Registers

  /// A guest register operand by byte offset; nil for AH, CH, DH, BH.
  func operand(_ offset: UInt8) -> HostOperand? {
    guard offset & 7 == 0 else { return nil }
    let slot = Int(offset >> 3)
    if let home = HostLayout.home(slot) { return .register(home) }
    return HostLayout.register(slot)
  }
  func home(_ offset: UInt8) -> HostRegister? { offset & 7 == 0 ? HostLayout.home(Int(offset >> 3)) : nil }

  /// The register's value in a host register: its own, or `scratch`.
  mutating func value(_ offset: UInt8, _ scratch: HostRegister, size: Int) -> HostRegister {
    if let home = home(offset) { return home }
    asm.move(scratch, .memory(.rsp, displacement: Int32(offset)), size: size == 8 ? 8 : 4)
    return scratch
  }

  /// Writes `from` to a guest register as the architecture does: 32 bits clear the upper half.
  mutating func put(_ offset: UInt8, _ from: HostRegister, size: Int) {
    if let home = home(offset) {
      if home != from || size == 4 { asm.move(home, .register(from), size: size) }
    } else {
      var whole = from
      if size == 4, HostLayout.mapped.contains(where: { HostLayout.home($0) == from }) {
        // A guest register has an upper half of its own; scratch registers hold 32-bit values zero-extended.
        asm.move(Self.a, .register(from), size: 4)
        whole = Self.a
      }
      asm.move(.memory(.rsp, displacement: Int32(offset)), whole, size: size == 4 ? 8 : size)
    }
  }

  // MARK: ADD to CMP, TEST, MOV

  private mutating func emit(_ binary: Binary, _ o: MicroOpPointer, _ live: Bool) -> Bool {
    // ADC and SBB read the carry.
    if binary.operation == 2 || binary.operation == 3 { return false }
    switch binary.form {
    case 0, 1: return registers(binary, o, live)
    case 2: return fromMemory(binary, o, live)
    default: return toMemory(binary, o, live)
    }
  }

  private mutating func registers(_ k: Binary, _ o: MicroOpPointer, _ live: Bool) -> Bool {
    guard let to = operand(o.pointee.dst) else { return false }
    let immediate = k.form == 1
    if !immediate, operand(o.pointee.src) == nil { return false }
    if k.operation == 9 { return move(k, o, immediate) }
    let number = Int32(truncatingIfNeeded: o.pointee.imm)
    let arithmetic = Self.base(k.operation) != .logic8
    if !live {
      host = .none
      // A comparison whose flags nobody sees does nothing.
      guard k.writes else { return true }
      if immediate {
        writeBack(o, to, k.size) { $0.alu(k.operation, $1, number, size: k.size) }
      } else {
        let from = value(o.pointee.src, Self.b, size: k.size)
        writeBack(o, to, k.size) { $0.alu(k.operation, $1, from, size: k.size) }
      }
      return true
    }
    if arithmetic { saveFirst(to, size: k.size) }
    let from = immediate ? Self.b : value(o.pointee.src, Self.b, size: k.size)
    let test = k.operation == 8
    let code: UInt8 = k.operation == 7 ? 5 : test ? 4 : k.operation
    if k.writes, case .register(let home) = to {
      if immediate {
        asm.alu(code, to, number, size: k.size)
      } else {
        asm.alu(code, to, from, size: k.size)
      }
      saveResult(.register(home), size: k.size)
    } else {
      asm.extend(Self.a, to, size: k.size)
      if immediate {
        asm.alu(code, .register(Self.a), number, size: k.size)
      } else {
        asm.alu(code, .register(Self.a), from, size: k.size)
      }
      if k.writes { put(o.pointee.dst, Self.a, size: k.size) }
      asm.move(offsets.field(offsets.flagResult), Self.a, size: 8)
    }
    noteFlags(Self.base(k.operation), size: k.size)
    host = .all
    return true
  }

  /// Changes a register operand in place, or by way of `a` where it stays in memory and must be extended.
  mutating func writeBack(
    _ o: MicroOpPointer, _ to: HostOperand, _ size: Int, _ change: (inout Assembler, HostOperand) -> Void
  ) {
    if case .memory = to, size == 4 {
      asm.move(Self.a, to, size: 4)
      change(&asm, .register(Self.a))
      asm.move(to, Self.a, size: 8)
    } else {
      change(&asm, to)
    }
  }

  private mutating func move(_ k: Binary, _ o: MicroOpPointer, _ immediate: Bool) -> Bool {
    if immediate {
      let number = o.pointee.imm
      if let home = home(o.pointee.dst), k.size >= 4 {
        asm.load(home, k.size == 4 ? UInt64(UInt32(truncatingIfNeeded: number)) : UInt64(bitPattern: number))
      } else {
        let cut = k.size == 8 ? UInt64(bitPattern: number) : UInt64(truncatingIfNeeded: number) & (1 << UInt64(8 * k.size) - 1)
        asm.load(Self.a, cut)
        put(o.pointee.dst, Self.a, size: k.size)
      }
      return true
    }
    let from = value(o.pointee.src, Self.a, size: k.size)
    put(o.pointee.dst, from, size: k.size)
    return true
  }

  private mutating func fromMemory(_ k: Binary, _ o: MicroOpPointer, _ live: Bool) -> Bool {
    guard let to = operand(o.pointee.dst) else { return false }
    let miss = reach(o, size: k.size, write: false)
    let memory = HostOperand.memory(Self.b)
    if k.operation == 9 {
      if let home = home(o.pointee.dst) {
        asm.move(home, memory, size: k.size)
      } else {
        asm.move(Self.a, memory, size: k.size)
        put(o.pointee.dst, Self.a, size: k.size)
      }
      slowWay(from: miss, o)
      return true
    }
    let test = k.operation == 8
    let code: UInt8 = k.operation == 7 ? 5 : test ? 4 : k.operation
    if live, Self.base(k.operation) != .logic8 { saveFirst(to, size: k.size) }
    asm.extend(Self.a, to, size: k.size)
    asm.alu(code, Self.a, memory, size: k.size)
    if k.writes { put(o.pointee.dst, Self.a, size: k.size) }
    if live {
      asm.move(offsets.field(offsets.flagResult), Self.a, size: 8)
      noteFlags(Self.base(k.operation), size: k.size)
    }
    slowWay(from: miss, o)
    host = .none
    return true
  }

  private mutating func toMemory(_ k: Binary, _ o: MicroOpPointer, _ live: Bool) -> Bool {
    let immediate = k.form == 4
    if !immediate, operand(o.pointee.src) == nil { return false }
    let number = Int32(truncatingIfNeeded: o.pointee.imm)
    let miss = reach(o, size: k.size, write: k.writes)
    let memory = HostOperand.memory(Self.b)
    defer { slowWay(from: miss, o) }
    if k.operation == 9 {
      if immediate {
        asm.store(memory, number, size: k.size)
      } else {
        asm.move(memory, value(o.pointee.src, Self.a, size: k.size), size: k.size)
      }
      return true
    }
    host = .none
    let code: UInt8 = k.operation == 7 ? 5 : k.operation == 8 ? 4 : k.operation
    if !live {
      guard k.writes else { return true }
      if immediate {
        asm.alu(code, memory, number, size: k.size)
      } else {
        asm.alu(code, memory, value(o.pointee.src, Self.a, size: k.size), size: k.size)
      }
      return true
    }
    asm.extend(Self.a, memory, size: k.size)
    if Self.base(k.operation) != .logic8 { asm.move(offsets.field(offsets.flagA), Self.a, size: 8) }
    if immediate {
      asm.alu(code, .register(Self.a), number, size: k.size)
    } else {
      asm.alu(code, .register(Self.a), value(o.pointee.src, Self.c, size: k.size), size: k.size)
    }
    if k.writes { asm.move(memory, Self.a, size: k.size) }
    asm.move(offsets.field(offsets.flagResult), Self.a, size: 8)
    noteFlags(Self.base(k.operation), size: k.size)
    return true
  }

  // MARK: Moves that widen, LEA

  private mutating func widen(_ o: MicroOpPointer, from: Int, signed: Bool, to size: Int) -> Bool {
    guard let source = operand(o.pointee.src), o.pointee.dst & 7 == 0 else { return false }
    let target = home(o.pointee.dst) ?? Self.a
    if signed {
      asm.extendSigned(target, source, from: from, size: size)
    } else {
      asm.extend(target, source, size: from)
    }
    if home(o.pointee.dst) == nil { put(o.pointee.dst, target, size: size) }
    return true
  }

  private mutating func loadWide(_ o: MicroOpPointer, from: Int, signed: Bool, to size: Int) -> Bool {
    guard o.pointee.dst & 7 == 0 else { return false }
    let miss = reach(o, size: from, write: false)
    let target = home(o.pointee.dst) ?? Self.a
    if signed {
      asm.extendSigned(target, .memory(Self.b), from: from, size: size)
    } else {
      asm.extend(target, .memory(Self.b), size: from)
    }
    if home(o.pointee.dst) == nil { put(o.pointee.dst, target, size: size) }
    slowWay(from: miss, o)
    return true
  }

  private mutating func lea(_ o: MicroOpPointer, size: Int) -> Bool {
    guard o.pointee.dst & 7 == 0 else { return false }
    if let home = home(o.pointee.dst), let address = directAddress(o) {
      asm.lea(home, address, size: size)
      return true
    }
    compute(o, into: Self.b)
    if size == 4 { asm.move(Self.b, .register(Self.b), size: 4) }
    put(o.pointee.dst, Self.b, size: size)
    return true
  }
}
