/// The rarer integer instructions that kernels are full of: bit tests, compare and exchange, conditions into and from
/// memory.
extension MicroOp {
  /// What of the family `Op.integer` has host code here.
  var isRewrittenRare: Bool {
    guard op == .integer, let operation = IntegerOp(rawValue: aux) else { return false }
    let inMemory = flags & Self.hasMemory != 0
    switch operation {
    case .setccM: return true
    case .imul2, .imul3: return inMemory && sizeLog2 >= 2 && dst & 7 == 0
    case .mul, .imul, .div, .idiv: return sizeLog2 >= 2 && (inMemory || dst & 7 == 0)
    case .cmov: return inMemory && sizeLog2 >= 2
    case .cmpxchg: return inMemory
    case .xadd, .xchg: return inMemory && HostLayout.home(Int(src >> 3)) != nil && src & 7 == 0
    case .bitReach: return sizeLog2 >= 2
    case .bt, .bts, .btr, .btc: return sizeLog2 >= 2 && (imm >= 0 || HostLayout.home(Int(src >> 3)) != nil)
    default: return false
    }
  }
}

extension BlockWriter {
  /// False for what is left to a callout.
  mutating func emitRare(_ o: MicroOpPointer, _ live: Bool) -> Bool {
    guard o.pointee.isRewrittenRare, let operation = IntegerOp(rawValue: o.pointee.aux) else { return false }
    let size = 1 << Int(o.pointee.sizeLog2)
    switch operation {
    case .setccM: storeCondition(o)
    case .imul2, .imul3: multiplyByMemory(o, size, live, constant: operation == .imul3)
    case .mul, .imul: return multiplyAccumulator(o, size, live, code: operation == .mul ? 4 : 5)
    case .div, .idiv: return divide(o, size, isSigned: operation == .idiv)
    case .cmov: return loadByCondition(o, size)
    case .cmpxchg: return compareExchange(o, size, live)
    case .xadd: exchangeAdd(o, size, live)
    case .xchg: exchangeMemory(o, size)
    case .bitReach: reachBit(o, size)
    default: return testBit(o, operation, size, live)
    }
    return true
  }

  /// Puts a condition aside, as a byte.
  private mutating func keepCondition(_ o: MicroOpPointer) {
    let condition = UInt8(truncatingIfNeeded: o.pointee.imm)
    bringFlags(for: condition)
    asm.set(condition, offsets.field(offsets.spare))
  }

  private mutating func storeCondition(_ o: MicroOpPointer) {
    keepCondition(o)
    let miss = reach(o, size: 1, write: true)
    asm.move(Self.a, offsets.field(offsets.spare), size: 1)
    asm.move(found, Self.a, size: 1)
    slowWay(from: miss, o)
  }

  /// CMOVcc from memory, which is read in any case.
  private mutating func loadByCondition(_ o: MicroOpPointer, _ size: Int) -> Bool {
    guard let home = home(o.pointee.dst) else { return false }
    keepCondition(o)
    let miss = reach(o, size: size, write: false)
    asm.move(Self.a, found, size: size)
    asm.alu(7, offsets.field(offsets.spare), 0, size: 1)
    asm.conditionalMove(5, home, .register(Self.a), size: size)
    slowWay(from: miss, o)
    return true
  }

  /// Behind it the accumulator is what memory held, either way; what it was before waits as the flags' operand.
  private mutating func compareExchange(_ o: MicroOpPointer, _ size: Int, _ live: Bool) -> Bool {
    guard operand(o.pointee.src) != nil else { return false }
    let (a, flagOperand) = (Self.a, offsets.field(offsets.flagOperand))
    let miss = reach(o, size: size, write: true)
    if live {
      asm.extend(a, .register(.rax), size: size)
      asm.move(flagOperand, a, size: 8)
    }
    let from = value(o.pointee.src, a, size: size)
    asm.modRM(size == 1 ? 0x0FB0 : 0x0FB1, from.number, found, size: size)
    if live { promise(.compare, size, .operand, .place(.register(0))) } else { state.flags = .saved(.unknown) }
    slowWay(from: miss, o, repair: .first)
    return true
  }

  private mutating func exchangeAdd(_ o: MicroOpPointer, _ size: Int, _ live: Bool) {
    guard let from = home(o.pointee.src) else { return }
    let miss = reach(o, size: size, write: true)
    let memory = found
    asm.modRM(size == 1 ? 0x0FC0 : 0x0FC1, from.number, memory, size: size)
    if live {
      asm.extend(Self.a, memory, size: size)
      asm.move(offsets.field(offsets.flagOperand), Self.a, size: 8)
      promise(.sum, size, .operand, .place(.register(o.pointee.src)))
    } else {
      state.flags = .saved(.unknown)
    }
    slowWay(from: miss, o, repair: .result)
  }

  private mutating func exchangeMemory(_ o: MicroOpPointer, _ size: Int) {
    guard let from = home(o.pointee.src) else { return }
    let miss = reach(o, size: size, write: true)
    let memory = found
    asm.move(Self.a, memory, size: size)
    asm.move(memory, from, size: size)
    asm.move(from, .register(Self.a), size: size)
    slowWay(from: miss, o)
  }

  // MARK: Bits

  /// How far from its operand a bit string's byte lies, into `Slot.temporary`.
  private mutating func reachBit(_ o: MicroOpPointer, _ size: Int) {
    guard let from = operand(o.pointee.src) else { return }
    let a = Self.a
    if size == 8 { asm.move(a, from, size: 8) } else { asm.extendSigned(a, from, from: 4, size: 8) }
    let log2 = o.pointee.sizeLog2
    asm.shift(7, .register(a), by: 3 + log2, size: 8)
    asm.shift(4, .register(a), by: log2, size: 8)
    asm.move(HostLayout.register(Slot.temporary), a, size: 8)
    host = .none
  }

  /// BT, BTS, BTR, BTC: they change CF alone.
  private mutating func testBit(_ o: MicroOpPointer, _ operation: IntegerOp, _ size: Int, _ live: Bool) -> Bool {
    let a = Self.a
    let inMemory = o.pointee.flags & MicroOp.hasMemory != 0
    let writes = operation != .bt
    if !inMemory, operand(o.pointee.dst) == nil { return false }
    if live { makeEager() }
    var miss: Miss?
    if inMemory {
      miss = reach(o, size: size, write: writes)
      asm.move(a, found, size: size)
    } else if let to = operand(o.pointee.dst) {
      asm.move(a, to, size: size)
    }
    applyBitTest(o, operation, size)
    if live { asm.set(2, offsets.field(offsets.spare)) }
    if writes, inMemory { asm.move(found, a, size: size) }
    if !inMemory, writes { put(o.pointee.dst, a, size: size) }
    if live {
      asm.extend(a, offsets.field(offsets.spare), size: 1)
      asm.alu(4, offsets.field(offsets.rflags), ~1, size: 4)
      asm.alu(1, offsets.field(offsets.rflags), a, size: 4)
    }
    host = .none
    slowWay(from: miss, o)
    return true
  }

  /// On `a`, by a constant or a register taken modulo the size; CF of the host is the bit.
  private mutating func applyBitTest(_ o: MicroOpPointer, _ operation: IntegerOp, _ size: Int) {
    let code: UInt8 =
      switch operation {
      case .bts: 5
      case .btr: 6
      case .btc: 7
      default: 4
      }
    if o.pointee.imm >= 0 {
      asm.modRM(0x0FBA, code, .register(Self.a), size: size, immediate: 1)
      asm.byte(UInt8(truncatingIfNeeded: o.pointee.imm) & UInt8(size * 8 - 1))
    } else if let by = home(o.pointee.src) {
      asm.modRM(0x0F83 | UInt32(code) << 3, by.number, .register(Self.a), size: size)
    }
  }
}
