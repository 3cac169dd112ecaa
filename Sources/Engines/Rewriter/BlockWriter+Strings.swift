import X86

/// REP MOVS and REP STOS: the host's own, where all of it lies on one page of each operand and the TLB has them.
extension MicroOp {
  var isRewrittenString: Bool {
    guard op == .string, imm == 1, flags & Self.rep != 0, addressSizeLog2 >= 2 else { return false }
    // The source's segment has no base.
    return aux == StringOp.stos.rawValue || aux == StringOp.movs.rawValue && src < 4
  }
}

extension BlockWriter {
  /// False for what is left to a callout.
  mutating func emitString(_ o: MicroOpPointer) -> Bool {
    guard o.pointee.isRewrittenString, (o.pointee.addressSizeLog2 == 3) == isLong else { return false }
    // RSI, RDI and RCX change: what depends on them is saved first.
    settleFlags()
    host = .none
    let (a, b) = (Self.a, Self.b)
    let log2 = o.pointee.sizeLog2
    let moves = o.pointee.aux == StringOp.movs.rawValue
    asm.test(offsets.field(offsets.rflags), Int32(RFLAGS.df), size: 4)
    var slow = [asm.jumpAhead(5)]
    // What is left over in the upper halves of 32-bit registers counts as too much.
    asm.alu(7, .register(.rcx), Int32(4096 >> log2), size: 8)
    slow.append(asm.jumpAhead(7))
    if moves {
      slow.append(whereNoRoom(.rsi, log2))
      asm.lea(b, .memory(.rsi), size: isLong ? 8 : 4)
      slow.append(probe(size: 1, write: false).jump)
      asm.move(offsets.field(offsets.spare), b, size: 8)
    }
    slow.append(whereNoRoom(.rdi, log2))
    asm.lea(b, .memory(.rdi), size: isLong ? 8 : 4)
    slow.append(probe(size: 1, write: true).jump)
    asm.move(a, .register(.rdi), size: 8)
    asm.move(.rdi, .register(b), size: 8)
    if moves {
      asm.alu(5, .register(a), b, size: 8)
      asm.move(b, .register(.rsi), size: 8)
      asm.move(.rsi, offsets.field(offsets.spare), size: 8)
      asm.alu(5, .register(b), .rsi, size: 8)
      repeatHost(0xA4, log2)
      asm.alu(0, .register(.rsi), b, size: 8)
      asm.alu(0, .register(.rdi), a, size: 8)
    } else {
      asm.alu(5, .register(a), b, size: 8)
      repeatHost(0xAA, log2)
      asm.alu(0, .register(.rdi), a, size: 8)
    }
    if !isLong {
      asm.move(.rdi, .register(.rdi), size: 4)
      if moves { asm.move(.rsi, .register(.rsi), size: 4) }
    }
    host = .none
    slowWay(from: slow, o)
    return true
  }

  /// The jump that is taken where RCX elements from this address on do not lie on its page. Uses `a` and `b`.
  private mutating func whereNoRoom(_ register: HostRegister, _ log2: UInt8) -> Int {
    let (a, b) = (Self.a, Self.b)
    asm.move(a, .register(register), size: 4)
    asm.alu(4, .register(a), 4095, size: 4)
    asm.lea(b, .memory(a, index: .rcx, scale: log2), size: 8)
    asm.alu(7, .register(b), 4096, size: 8)
    return asm.jumpAhead(7)
  }

  /// REP with a string instruction of the host, by the opcode of its byte form.
  private mutating func repeatHost(_ opcode: UInt8, _ log2: UInt8) {
    if log2 == 1 { asm.byte(0x66) }
    asm.byte(0xF3)
    if log2 == 3 { asm.byte(0x48) }
    asm.byte(log2 == 0 ? opcode : opcode + 1)
  }
}
