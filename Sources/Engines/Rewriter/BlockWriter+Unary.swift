/// Shifts, rotates, multiplications and what has one operand.
extension BlockWriter {
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

  /// By CL, where nobody sees the flags: a count of 0 would keep them.
  mutating func shiftByCL(_ o: MicroOpPointer, _ code: UInt8, _ live: Bool) -> Bool {
    guard !live, let to = operand(o.pointee.dst) else { return false }
    let size = o.pointee.op.rawValue & 3 == Op.shl64rc.rawValue & 3 ? 8 : 4
    writeBack(o, to, size) { $0.shiftByCL(code, $1, size: size) }
    host = .none
    return true
  }

  /// CF, and OF as the interpreter has it for every count, are worked out from the operand.
  mutating func shiftFlags(_ o: MicroOpPointer, _ code: UInt8, size: Int, _ live: Bool) -> Bool {
    guard live else { return shift(o, code, size: size) }
    guard let to = operand(o.pointee.dst) else { return false }
    let count = UInt8(truncatingIfNeeded: o.pointee.imm)
    let width = UInt8(size * 8)
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

  mutating func multiply(_ o: MicroOpPointer, size: Int, immediate: Bool, _ live: Bool) -> Bool {
    guard o.pointee.dst & 7 == 0, let from = operand(o.pointee.src) else { return false }
    let target = home(o.pointee.dst) ?? Self.b
    if immediate {
      guard let number = Int32(exactly: o.pointee.imm) else { return false }
      asm.multiply(target, from, number, size: size)
    } else {
      if home(o.pointee.dst) == nil, let to = operand(o.pointee.dst) { asm.move(target, to, size: size) }
      asm.multiply(target, from, size: size)
    }
    if live {
      // CF and OF are one.
      asm.set(0, .register(Self.a))
      asm.extend(Self.a, .register(Self.a), size: 1)
      asm.multiply(Self.a, .register(Self.a), 0x801, size: 4)
      asm.move(offsets.field(offsets.flagA), Self.a, size: 8)
      saveResult(.register(target), size: size)
      noteFlags(.mixed8, size: size)
    } else {
      state.flags = .saved(.unknown)
    }
    if home(o.pointee.dst) == nil { put(o.pointee.dst, target, size: size) }
    host = .none
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
