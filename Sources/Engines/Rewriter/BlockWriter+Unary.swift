/// How the opcode of INC, DEC, NEG or NOT is made up (`Op`'s order).
struct Unary {
  enum Operation: UInt16 { case inc, dec, neg, not }
  let operation: Operation
  let inMemory: Bool
  let size: Int

  init?(_ op: Op) {
    guard op.rawValue >= Op.inc8r.rawValue, op.rawValue <= Op.not64m.rawValue else { return nil }
    let raw = op.rawValue - Op.inc8r.rawValue
    guard let operation = Operation(rawValue: raw / 8) else { return nil }
    self.operation = operation
    inMemory = raw & 4 != 0
    size = 1 << Int(raw & 3)
  }
}

/// Shifts, rotates and what has one operand.
extension BlockWriter {
  /// False for what is left to a callout.
  mutating func emit(_ k: Unary, _ o: MicroOpPointer, _ live: Bool) -> Bool {
    switch (k.operation, k.inMemory) {
    case (.inc, false): return step(o, 0, size: k.size, live)
    case (.dec, false): return step(o, 1, size: k.size, live)
    case (.neg, false): return negate(o, size: k.size, live)
    case (.not, false): return complement(o, size: k.size)
    case (.inc, true): return stepMemory(o, 0, size: k.size, live)
    case (.dec, true): return stepMemory(o, 1, size: k.size, live)
    case (.neg, true): return false
    case (.not, true):
      let miss = reach(o, size: k.size, write: true)
      asm.unary(2, found, size: k.size)
      slowWay(from: miss, o)
      return true
    }
  }

  mutating func shift(_ o: MicroOpPointer, _ code: UInt8, size: Int) -> Bool {
    guard let to = operand(o.pointee.dst) else { return false }
    let count = UInt8(truncatingIfNeeded: o.pointee.imm)
    writeBack(o, to, size) { $0.shift(code, $1, by: count, size: size) }
    host = .none
    return true
  }

  /// CF and OF wait until somebody may see them.
  mutating func rotate(_ o: MicroOpPointer, size: Int, _ live: Bool) -> Bool {
    guard shift(o, 0, size: size) else { return false }
    let toRight = o.pointee.op == .ror32ri || o.pointee.op == .ror64ri
    if live { state.rotation = HostState.Rotation(register: o.pointee.dst, size: size, toRight: toRight) }
    return true
  }

  /// By CL. A count of 0 keeps the flags.
  mutating func shiftByCL(_ o: MicroOpPointer, _ code: UInt8, _ live: Bool) -> Bool {
    guard let to = operand(o.pointee.dst) else { return false }
    let size = o.pointee.op.rawValue & 3 == Op.shl64rc.rawValue & 3 ? 8 : 4
    guard live else {
      writeBack(o, to, size) { $0.shiftByCL(code, $1, size: size) }
      host = .none
      return true
    }
    settleFlags()
    // As a store of the same value would: 32 bits clear the upper half.
    asm.extend(Self.a, to, size: size)
    put(o.pointee.dst, Self.a, size: size)
    asm.test(.register(.rcx), size == 8 ? 63 : 31, size: 1)
    let unchanged = asm.jumpAhead(4)
    shiftByCount(code, size)
    put(o.pointee.dst, Self.a, size: size)
    noteFlags(.mixed8, size: size)
    asm.land(unchanged)
    state.flags = .saved(.unknown)
    host = .none
    return true
  }

  /// Shifts `a`, extended from `size` bytes, by CL, which is not 0 in its low bits. The result and the flags' first operand
  /// into `CPU`.
  private mutating func shiftByCount(_ code: UInt8, _ size: Int) {
    let (a, b) = (Self.a, Self.b)
    let width = UInt8(size * 8)
    let flagA = offsets.field(offsets.flagA)
    if code == 5 {
      // OF is the operand's sign.
      asm.move(b, .register(a), size: 8)
      asm.shift(5, .register(b), by: width - 1, size: 8)
      asm.shift(4, .register(b), by: 11, size: 4)
      asm.move(flagA, b, size: 8)
    }
    asm.shiftByCL(code, .register(a), size: size)
    asm.set(2, .register(b))
    asm.extend(b, .register(b), size: 1)
    if code == 5 { asm.alu(1, flagA, b, size: 4) } else { asm.move(flagA, b, size: 8) }
    if code == 4 {
      // OF is where sign and carry differ.
      asm.move(b, .register(a), size: 8)
      asm.shift(5, .register(b), by: width - 1, size: 8)
      asm.alu(6, b, flagA, size: 4)
      asm.shift(4, .register(b), by: 11, size: 4)
      asm.alu(1, flagA, b, size: 4)
    }
    asm.move(offsets.field(offsets.flagResult), a, size: 8)
  }

  /// CF, and OF as the interpreter has it for every count, are worked out from the operand.
  mutating func shiftFlags(_ o: MicroOpPointer, _ code: UInt8, size: Int, _ live: Bool) -> Bool {
    guard live else { return shift(o, code, size: size) }
    guard let to = operand(o.pointee.dst) else { return false }
    let count = UInt8(truncatingIfNeeded: o.pointee.imm)
    let width = UInt8(size * 8)
    guard count < width else { return false }
    let (a, b) = (Self.a, Self.b)
    let flagA = offsets.field(offsets.flagA)
    asm.extend(a, to, size: size)
    asm.move(b, .register(a), size: 8)
    let carryAt = code == 4 ? width - count : count - 1
    if carryAt > 0 { asm.shift(code == 7 ? 7 : 5, .register(b), by: carryAt, size: size) }
    asm.alu(4, .register(b), 1, size: 4)
    asm.move(flagA, b, size: 8)
    if code == 5 {
      asm.move(b, .register(a), size: 8)
      asm.shift(5, .register(b), by: width - 1, size: 8)
    }
    asm.shift(code, .register(a), by: count, size: size)
    if code == 4 {
      asm.move(b, .register(a), size: 8)
      asm.shift(5, .register(b), by: width - 1, size: 8)
      asm.alu(6, b, flagA, size: 4)
    }
    if code != 7 {
      asm.shift(4, .register(b), by: 11, size: 4)
      asm.alu(1, flagA, b, size: 4)
    }
    asm.move(offsets.field(offsets.flagResult), a, size: 8)
    put(o.pointee.dst, a, size: size)
    noteFlags(.mixed8, size: size)
    host = .none
    return true
  }

  /// INC and DEC keep the carry: it is brought into `flagA` first.
  mutating func step(_ o: MicroOpPointer, _ code: UInt8, size: Int, _ live: Bool) -> Bool {
    guard let to = operand(o.pointee.dst) else { return false }
    if live { keepCarry() }
    writeBack(o, to, size) { $0.step(code, $1, size: size) }
    host = .none
    guard live else { return true }
    saveResult(to, size: size)
    noteFlags(code == 0 ? .inc8 : .dec8, size: size)
    host = .allButCarry
    return true
  }

  /// The same in memory. The carry is put aside before the operand is reached, in CPU it would be missing where it cannot.
  private mutating func stepMemory(_ o: MicroOpPointer, _ code: UInt8, size: Int, _ live: Bool) -> Bool {
    let (a, spare) = (Self.a, offsets.field(offsets.spare))
    if live {
      bringFlags(for: 2)
      asm.set(2, .register(a))
      asm.extend(a, .register(a), size: 1)
      asm.move(spare, a, size: 8)
    }
    let miss = reach(o, size: size, write: true)
    let memory = found
    asm.step(code, memory, size: size)
    state.flags = .saved(.unknown)
    if live {
      asm.extend(a, memory, size: size)
      asm.move(offsets.field(offsets.flagResult), a, size: 8)
      asm.move(a, spare, size: 8)
      asm.move(offsets.field(offsets.flagA), a, size: 8)
      let base = code == 0 ? FlagClass.inc8 : .dec8
      asm.store(offsets.field(offsets.flagClass), Int32(FlagClass(base, bytes: size).rawValue), size: 1)
      host = .allButCarry
    }
    slowWay(from: miss, o)
    return true
  }

  mutating func negate(_ o: MicroOpPointer, size: Int, _ live: Bool) -> Bool {
    guard let to = operand(o.pointee.dst) else { return false }
    writeBack(o, to, size) { $0.unary(3, $1, size: size) }
    host = .none
    guard live else {
      state.flags = .saved(.unknown)
      return true
    }
    promise(.negated, size, .register(o.pointee.dst))
    return true
  }

  mutating func complement(_ o: MicroOpPointer, size: Int) -> Bool {
    guard let to = operand(o.pointee.dst) else { return false }
    writeBack(o, to, size) { $0.unary(2, $1, size: size) }
    return true
  }

  mutating func exchange(_ o: MicroOpPointer, size: Int) -> Bool {
    guard let one = operand(o.pointee.dst), let other = operand(o.pointee.src) else { return false }
    asm.move(Self.a, one, size: size)
    asm.move(Self.b, other, size: size)
    put(o.pointee.dst, Self.b, size: size)
    put(o.pointee.src, Self.a, size: size)
    return true
  }

  mutating func swap(_ o: MicroOpPointer, size: Int) -> Bool {
    guard o.pointee.dst & 7 == 0 else { return false }
    let register = value(o.pointee.dst, Self.a, size: size)
    asm.swap(register, size: size)
    if home(o.pointee.dst) == nil { put(o.pointee.dst, register, size: size) }
    return true
  }
}
