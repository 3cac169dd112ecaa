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
    case .vector: isRewrittenVector
    case .system: isRewrittenSystem
    case .sensitive: isCounter
    case .integer: isRewrittenBits || isRewrittenRare
    case .string: isRewrittenString
    case .integerEnd, .x87, .segmentAddress, .undefined, .breakpoint: false
    case .keepCarry, .rotateFlags: false
    default: true
    }
  }

  /// Of what ends a block: its callout is the exception.
  var isRewrittenEnd: Bool {
    switch SystemOp(rawValue: aux) {
    case .sti, .popf, .syscall: true
    case .sysret: sizeLog2 == 3
    default: false
    }
  }

  private var isRewrittenSystem: Bool {
    switch SystemOp(rawValue: aux) {
    case .cli, .pushf, .swapgs, .rdtsc, .rdmsr, .movFromSegment, .pause: true
    case .movFromCR: imm != 8
    case .lgdt, .lidt: true
    default: false
    }
  }
}

/// How an ALU micro-op's opcode is made up (`Op`'s order).
struct Binary {
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
  mutating func emit(_ o: MicroOpPointer, flagsLive live: Bool, _ onward: Trace.Onward?) -> Bool {
    if let binary = Binary(o.pointee.op) { return emit(binary, o, live) }
    if let unary = Unary(o.pointee.op) { return emit(unary, o, live) }
    if emitTransfer(o, onward) { return true }
    switch o.pointee.op {
    case .nop: return true
    case .sensitive: return emitCounter(o)
    case .sse: return emitSSE(o)
    case .vector: return emitVector(o)
    case .integer: return emitBits(o, live) || emitRare(o, live)
    case .system: return emitSystem(o)
    case .string: return emitString(o)
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
    case .shl32rc, .shl64rc: return shiftByCL(o, 4, live)
    case .shr32rc, .shr64rc: return shiftByCL(o, 5, live)
    case .sar32rc, .sar64rc: return shiftByCL(o, 7, live)
    case .rol32ri, .ror32ri: return rotate(o, size: 4, live)
    case .rol64ri, .ror64ri: return rotate(o, size: 8, live)
    case .rotate32: return shift(o, 0, size: 4)
    case .rotate64: return shift(o, 0, size: 8)
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
    case .setccR: return setByCondition(o, live: live)
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
    if binary.operation == 9, binary.form < 2 { return move(binary, o, binary.form == 1) }
    if binary.operation == 2 || binary.operation == 3 { return withCarry(binary, o) }
    switch binary.form {
    case 0, 1:
      if binary.operation < 7 { return registers(binary, o, live) }
      // A comparison whose flags nobody sees does nothing.
      guard live else { return operand(o.pointee.dst) != nil || binary.form == 1 }
      return compare(o, size: binary.size, isTest: binary.operation == 8, immediate: binary.form == 1)
    case 2: return fromMemory(binary, o, live)
    default: return toMemory(binary, o, live)
    }
  }

  /// CMP or TEST of a register with another or a constant.
  mutating func compare(_ o: MicroOpPointer, size: Int, isTest: Bool, immediate: Bool) -> Bool {
    let number = Int32(truncatingIfNeeded: o.pointee.imm)
    guard let to = operand(o.pointee.dst) else {
      return immediate && compareHighByte(o.pointee.dst, number, isTest: isTest)
    }
    let x = FlagRecipe.Place.register(o.pointee.dst)
    if immediate {
      if isTest { asm.test(to, number, size: size) } else { asm.alu(7, to, number, size: size) }
      promise(isTest ? .test : .compare, size, x, .number(number))
      return true
    }
    guard operand(o.pointee.src) != nil else { return false }
    let from = value(o.pointee.src, Self.a, size: size)
    if isTest { asm.test(to, from, size: size) } else { asm.alu(7, to, from, size: size) }
    promise(isTest ? .test : .compare, size, x, .place(.register(o.pointee.src)))
    return true
  }

  /// AH, CH, DH or BH with a constant.
  private mutating func compareHighByte(_ offset: UInt8, _ number: Int32, isTest: Bool) -> Bool {
    guard let whole = home(offset & ~7) else { return false }
    let a = Self.a
    bringHighByte(of: whole)
    asm.move(offsets.field(offsets.flagOperand), a, size: 8)
    if isTest { asm.test(.register(a), number, size: 1) } else { asm.alu(7, .register(a), number, size: 1) }
    promise(isTest ? .test : .compare, 1, .operand, .number(number))
    return true
  }

  /// ADD to XOR of a register with another or a constant.
  private mutating func registers(_ k: Binary, _ o: MicroOpPointer, _ live: Bool) -> Bool {
    guard let to = operand(o.pointee.dst) else { return false }
    let immediate = k.form == 1
    if !immediate, operand(o.pointee.src) == nil { return false }
    let doubles = !immediate && o.pointee.src == o.pointee.dst
    let isAddition = k.operation == 0
    if live, isAddition, doubles { saveFirst(to, size: k.size) }
    change(k.operation, o, to, k.size, immediate)
    host = .none
    guard live else {
      state.flags = .saved(.unknown)
      return true
    }
    let x = FlagRecipe.Place.register(o.pointee.dst)
    let y = source(o, immediate)
    switch k.operation {
    case 0 where doubles:
      saveResult(to, size: k.size)
      noteFlags(.add8, size: k.size)
      host = .all
    case 0: promise(.sum, k.size, x, y)
    case 5 where !doubles: promise(.difference, k.size, x, y)
    default: promise(.result, k.size, x)
    }
    return true
  }

  private func source(_ o: MicroOpPointer, _ immediate: Bool) -> FlagRecipe.Value {
    immediate ? .number(Int32(truncatingIfNeeded: o.pointee.imm)) : .place(.register(o.pointee.src))
  }

  /// An operation on a register operand; the host's flags are its.
  private mutating func change(_ code: UInt8, _ o: MicroOpPointer, _ to: HostOperand, _ size: Int, _ immediate: Bool) {
    if immediate {
      let number = Int32(truncatingIfNeeded: o.pointee.imm)
      writeBack(o, to, size) { $0.alu(code, $1, number, size: size) }
    } else {
      let from = value(o.pointee.src, Self.b, size: size)
      writeBack(o, to, size) { $0.alu(code, $1, from, size: size) }
    }
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
    guard operand(o.pointee.dst) != nil, immediate || operand(o.pointee.src) != nil else { return false }
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
    let (a, memory) = (Self.a, found)
    let flagOperand = offsets.field(offsets.flagOperand)
    let x = FlagRecipe.Place.register(o.pointee.dst)
    var repair = OperandRepair.none
    switch k.operation {
    case 9:
      if let home = home(o.pointee.dst) {
        asm.move(home, memory, size: k.size)
      } else {
        asm.move(a, memory, size: k.size)
        put(o.pointee.dst, a, size: k.size)
      }
    case 8:
      asm.extend(a, memory, size: k.size)
      asm.alu(4, a, to, size: k.size)
      asm.move(flagOperand, a, size: 8)
      promise(.result, k.size, .operand)
      repair = .result
    case 7:
      asm.extend(a, memory, size: k.size)
      asm.move(flagOperand, a, size: 8)
      asm.alu(7, to, a, size: k.size)
      promise(.compare, k.size, x, .place(.operand))
      repair = .difference
    case 0 where live, 5 where live:
      asm.extend(Self.b, memory, size: k.size)
      asm.move(flagOperand, Self.b, size: 8)
      writeBack(o, to, k.size) { $0.alu(k.operation, $1, Self.b, size: k.size) }
      promise(k.operation == 0 ? .sum : .difference, k.size, x, .place(.operand))
      repair = k.operation == 0 ? .sum : .difference
    default:
      asm.move(Self.b, memory, size: k.size)
      writeBack(o, to, k.size) { $0.alu(k.operation, $1, Self.b, size: k.size) }
      if live { promise(.result, k.size, x) } else { state.flags = .saved(.unknown) }
    }
    slowWay(from: miss, o, repair: repair)
    return true
  }

  private mutating func toMemory(_ k: Binary, _ o: MicroOpPointer, _ live: Bool) -> Bool {
    let immediate = k.form == 4
    if !immediate, operand(o.pointee.src) == nil { return k.operation == 9 && storeHighByte(o) }
    let number = Int32(truncatingIfNeeded: o.pointee.imm)
    let miss = reach(o, size: k.size, write: k.writes)
    let (a, memory) = (Self.a, found)
    if k.operation == 9 {
      if immediate {
        asm.store(memory, number, size: k.size)
      } else {
        asm.move(memory, value(o.pointee.src, a, size: k.size), size: k.size)
      }
      slowWay(from: miss, o)
      return true
    }
    let code: UInt8 = k.operation == 7 ? 5 : k.operation == 8 ? 4 : k.operation
    if !live, k.writes {
      if immediate {
        asm.alu(code, memory, number, size: k.size)
      } else {
        asm.alu(code, memory, value(o.pointee.src, a, size: k.size), size: k.size)
      }
      state.flags = .saved(.unknown)
      slowWay(from: miss, o)
      return true
    }
    let flagOperand = offsets.field(offsets.flagOperand)
    asm.extend(a, memory, size: k.size)
    if k.operation == 7 { asm.move(flagOperand, a, size: 8) }
    if immediate {
      asm.alu(code, .register(a), number, size: k.size)
    } else if let from = operand(o.pointee.src) {
      asm.alu(code, a, from, size: k.size)
    }
    if k.writes { asm.move(memory, a, size: k.size) }
    if k.operation == 7 {
      promise(.compare, k.size, .operand, source(o, immediate))
    } else {
      asm.move(flagOperand, a, size: 8)
      let kind: FlagRecipe.Kind = code == 0 ? .sum : code == 5 ? .difference : .result
      promise(kind, k.size, .operand, kind == .result ? .number(0) : source(o, immediate))
    }
    slowWay(from: miss, o, repair: k.operation == 7 ? .first : .result)
    return true
  }

  private mutating func storeHighByte(_ o: MicroOpPointer) -> Bool {
    guard let whole = home(o.pointee.src & ~7) else { return false }
    let miss = reach(o, size: 1, write: true)
    bringHighByte(of: whole)
    asm.move(found, Self.a, size: 1)
    slowWay(from: miss, o)
    return true
  }
  /// AH, CH, DH or BH into `a`.
  private mutating func bringHighByte(of whole: HostRegister) {
    asm.move(Self.a, .register(whole), size: 4)
    asm.shift(5, .register(Self.a), by: 8, size: 4)
    host = .none
  }

  // MARK: ADC and SBB

  private mutating func withCarry(_ k: Binary, _ o: MicroOpPointer) -> Bool {
    let (a, b) = (Self.a, Self.b)
    let immediate = k.form == 1 || k.form == 4
    let inMemory = k.form > 2
    guard inMemory || operand(o.pointee.dst) != nil, k.form == 1 || k.form == 2 || k.form == 4 || operand(o.pointee.src) != nil
    else { return false }
    if state.flags == .saved(.unknown) || state.rotation != nil { knowFlags() }
    var miss: Miss?
    if k.form > 1 { miss = reach(o, size: k.size, write: inMemory) }
    let memory = found
    if k.form == 2 { asm.move(b, memory, size: k.size) }
    // Values are fetched before the carry comes in: that uses `a`.
    if !inMemory, k.form == 0, home(o.pointee.src) == nil { asm.move(b, HostLayout.register(Int(o.pointee.src >> 3)), size: 8) }
    bringFlags(for: 2)
    if inMemory {
      if immediate {
        asm.alu(k.operation, memory, Int32(truncatingIfNeeded: o.pointee.imm), size: k.size)
      } else {
        asm.alu(k.operation, memory, value(o.pointee.src, a, size: k.size), size: k.size)
      }
    } else if let to = operand(o.pointee.dst) {
      let from = k.form == 0 ? home(o.pointee.src) ?? b : b
      let number = Int32(truncatingIfNeeded: o.pointee.imm)
      writeBack(o, to, k.size) { asm, operand in
        if immediate {
          asm.alu(k.operation, operand, number, size: k.size)
        } else {
          asm.alu(k.operation, operand, from, size: k.size)
        }
      }
    }
    // CF, AF and OF as they are; the others follow from the result.
    asm.byte(0x9C)  // PUSHFQ
    asm.pop(a)
    asm.alu(4, .register(a), 0x811, size: 4)
    asm.move(offsets.field(offsets.flagA), a, size: 8)
    saveResult(inMemory ? memory : operand(o.pointee.dst) ?? memory, size: k.size)
    noteFlags(.mixed8, size: k.size)
    host = .none
    slowWay(from: miss, o)
    return true
  }

  // MARK: Moves that widen, LEA

  private mutating func widen(_ o: MicroOpPointer, from: Int, signed: Bool, to size: Int) -> Bool {
    guard o.pointee.dst & 7 == 0 else { return false }
    var source = HostOperand.register(Self.a)
    if let whole = operand(o.pointee.src) {
      source = whole
    } else {
      guard let whole = home(o.pointee.src & ~7) else { return false }
      bringHighByte(of: whole)
    }
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
      asm.extendSigned(target, found, from: from, size: size)
    } else {
      asm.extend(target, found, size: from)
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
