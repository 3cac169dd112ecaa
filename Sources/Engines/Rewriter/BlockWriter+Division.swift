/// Multiplication and division, by the host's own.
extension BlockWriter {
  /// IMUL of registers.
  mutating func multiply(_ o: MicroOpPointer, size: Int, immediate: Bool, _ live: Bool) -> Bool {
    guard o.pointee.dst & 7 == 0, let from = operand(o.pointee.src) else { return false }
    multiply(o, by: from, size, live, constant: immediate)
    return true
  }

  /// IMUL by memory.
  mutating func multiplyByMemory(_ o: MicroOpPointer, _ size: Int, _ live: Bool, constant: Bool) {
    let miss = reach(o, size: size, write: false)
    multiply(o, by: found, size, live, constant: constant)
    // The interpreter saves the flags in a way of its own.
    state.flags = .saved(.unknown)
    slowWay(from: miss, o)
  }

  private mutating func multiply(_ o: MicroOpPointer, by from: HostOperand, _ size: Int, _ live: Bool, constant: Bool) {
    let home = home(o.pointee.dst)
    let target = home ?? Self.b
    if constant {
      asm.multiply(target, from, Int32(truncatingIfNeeded: o.pointee.imm), size: size)
    } else if home == nil, let to = operand(o.pointee.dst) {
      asm.move(target, from, size: size)
      asm.multiply(target, to, size: size)
    } else {
      asm.multiply(target, from, size: size)
    }
    saveProduct(target, size, live)
    if home == nil { put(o.pointee.dst, target, size: size) }
  }

  /// The flags of a product: CF and OF, which are one, as the host has them.
  private mutating func saveProduct(_ low: HostRegister, _ size: Int, _ live: Bool) {
    host = .none
    guard live else {
      state.flags = .saved(.unknown)
      return
    }
    let a = Self.a
    asm.set(0, .register(a))
    asm.extend(a, .register(a), size: 1)
    asm.multiply(a, .register(a), 0x801, size: 4)
    asm.move(offsets.field(offsets.flagA), a, size: 8)
    saveResult(.register(low), size: size)
    noteFlags(.mixed8, size: size)
  }

  /// MUL and IMUL of one operand, as opcode group 3 numbers them.
  mutating func multiplyAccumulator(_ o: MicroOpPointer, _ size: Int, _ live: Bool, code: UInt8) -> Bool {
    guard let (source, miss) = groupOperand(o, size) else { return false }
    asm.unary(code, source, size: size)
    saveProduct(.rax, size, live)
    state.flags = .saved(.unknown)
    slowWay(from: miss, o)
    return true
  }

  /// DIV and IDIV, where the quotient is sure to fit: for IDIV of what CDQ or CQO made, by neither 0 nor -1. The flags,
  /// undefined, stay.
  mutating func divide(_ o: MicroOpPointer, _ size: Int, isSigned: Bool) -> Bool {
    guard let (source, miss) = groupOperand(o, size) else { return false }
    let (a, b) = (Self.a, Self.b)
    var slow = miss.map { [$0.jump] } ?? []
    asm.move(a, source, size: size)
    if isSigned {
      asm.move(b, .register(.rax), size: size)
      asm.shift(7, .register(b), by: UInt8(size * 8 - 1), size: size)
      asm.alu(7, .register(b), .rdx, size: size)
      slow.append(asm.jumpAhead(5))
      asm.lea(b, .memory(a, displacement: 1), size: size)
      asm.alu(7, .register(b), 1, size: size)
      slow.append(asm.jumpAhead(6))
    } else {
      asm.alu(7, .register(.rdx), a, size: size)
      slow.append(asm.jumpAhead(3))
    }
    asm.unary(isSigned ? 7 : 6, .register(a), size: size)
    host = .none
    slowWay(from: slow, o)
    return true
  }

  private mutating func groupOperand(_ o: MicroOpPointer, _ size: Int) -> (HostOperand, Miss?)? {
    guard o.pointee.flags & MicroOp.hasMemory != 0 else { return operand(o.pointee.dst).map { ($0, nil) } }
    let miss = reach(o, size: size, write: false)
    return (found, miss)
  }
}
