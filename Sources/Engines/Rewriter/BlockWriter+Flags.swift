/// The guest's flags: saved lazily, as the interpreter does, and brought back into the host's for a condition.
extension BlockWriter {
  /// Saves the flags of an operation whose first operand and result are in `CPU` (or need not be).
  mutating func noteFlags(_ base: FlagClass, size: Int) {
    asm.store(offsets.field(offsets.flagClass), Int32(FlagClass(base, bytes: size).rawValue), size: 1)
    switch base {
    case .add8: saved = .add(size)
    case .sub8: saved = .sub(size)
    case .logic8: saved = .logic(size)
    case .inc8, .dec8: saved = .step
    default: saved = .unknown
    }
  }
  mutating func saveField(_ field: Int32, _ from: HostOperand, size: Int) {
    if size == 8, case .register(let register) = from {
      asm.move(offsets.field(field), register, size: 8)
    } else {
      asm.extend(Self.a, from, size: size)
      asm.move(offsets.field(field), Self.a, size: 8)
    }
  }
  mutating func saveFirst(_ from: HostOperand, size: Int) { saveField(offsets.flagA, from, size: size) }
  mutating func saveResult(_ from: HostOperand, size: Int) { saveField(offsets.flagResult, from, size: size) }

  static func base(_ operation: UInt8) -> FlagClass {
    switch operation {
    case 0: .add8
    case 5, 7: .sub8
    default: .logic8
    }
  }

  /// Leaves CF alone in `flagA`. False where only the interpreter knows how.
  mutating func keepCarry() -> Bool {
    let a = Self.a
    switch saved {
    case .step: return true
    case .logic:
      asm.store(offsets.field(offsets.flagA), 0, size: 8)
      return true
    case .add:
      asm.move(a, offsets.field(offsets.flagResult), size: 8)
      asm.alu(7, a, offsets.field(offsets.flagA), size: 8)
    case .sub:
      asm.move(a, offsets.field(offsets.flagA), size: 8)
      asm.alu(7, a, offsets.field(offsets.flagResult), size: 8)
    case .unknown:
      // Flags of an INC or DEC before are in this form already; others are brought to it.
      asm.alu(7, offsets.field(offsets.flagClass), Int32(FlagClass.inc8.rawValue), size: 1)
      let other = asm.jumpAhead(2)
      carryWay(from: other)
      return true
    }
    asm.set(2, .register(a))
    asm.extend(a, .register(a), size: 1)
    asm.move(offsets.field(offsets.flagA), a, size: 8)
    return true
  }

  // MARK: Conditions

  /// Brings the guest's flags that a condition reads into the host's. False where they are not known here.
  mutating func bringFlags(for condition: Condition) -> Bool {
    switch host {
    case .all: return true
    case .allButCarry where condition >> 1 != 1 && condition >> 1 != 3: return true
    case .allButOverflow where condition >> 1 != 0 && condition < 12: return true
    default: break
    }
    let (a, b) = (Self.a, Self.b)
    switch saved {
    case .add(let size):
      asm.move(a, offsets.field(offsets.flagA), size: 8)
      asm.move(b, offsets.field(offsets.flagResult), size: 8)
      asm.alu(5, .register(b), a, size: 8)
      asm.alu(0, .register(a), b, size: size)
    case .sub(let size):
      asm.move(a, offsets.field(offsets.flagA), size: 8)
      asm.move(b, .register(a), size: 8)
      asm.alu(5, b, offsets.field(offsets.flagResult), size: 8)
      asm.alu(7, .register(a), b, size: size)
    case .logic(let size):
      asm.move(a, offsets.field(offsets.flagResult), size: 8)
      asm.test(.register(a), a, size: size)
    case .step, .unknown: return false
    }
    host = .all
    return true
  }

  mutating func setByCondition(_ o: MicroOpPointer) -> Bool {
    let condition = UInt8(truncatingIfNeeded: o.pointee.aux)
    guard let to = operand(o.pointee.dst), bringFlags(for: condition) else { return false }
    asm.set(condition, to)
    return true
  }

  mutating func moveByCondition(_ o: MicroOpPointer, size: Int) -> Bool {
    let condition = UInt8(truncatingIfNeeded: o.pointee.aux)
    guard let from = operand(o.pointee.src), o.pointee.dst & 7 == 0, bringFlags(for: condition) else { return false }
    let target = value(o.pointee.dst, Self.c, size: size)
    asm.conditionalMove(condition, target, from, size: size)
    if home(o.pointee.dst) == nil { put(o.pointee.dst, target, size: size) }
    return true
  }
}
