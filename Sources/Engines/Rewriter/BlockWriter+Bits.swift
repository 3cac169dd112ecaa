/// BMI1, BMI2, LZCNT and MOVBE: the guest's instruction on the host's registers.
private struct BitsOpcode {
  enum Form {
    /// F3 0F, ModRM.reg from ModRM.rm.
    case legacy
    /// ModRM.reg from ModRM.rm and VEX.vvvv, or from the constant.
    case vex, constant
    /// VEX.vvvv from ModRM.rm; ModRM.reg belongs to the opcode.
    case lowest(UInt8)
  }
  let form: Form
  let opcode: VEXOpcode
  let setsFlags: Bool

  init?(_ operation: IntegerOp) {
    switch operation {
    case .tzcnt: self.init(.legacy, 1, 2, 0xBC, true)
    case .lzcnt: self.init(.legacy, 1, 2, 0xBD, true)
    case .andn: self.init(.vex, 2, 0, 0xF2, true)
    case .bextr: self.init(.vex, 2, 0, 0xF7, true)
    case .bzhi: self.init(.vex, 2, 0, 0xF5, true)
    case .blsr: self.init(.lowest(1), 2, 0, 0xF3, true)
    case .blsmsk: self.init(.lowest(2), 2, 0, 0xF3, true)
    case .blsi: self.init(.lowest(3), 2, 0, 0xF3, true)
    case .pext: self.init(.vex, 2, 2, 0xF5, false)
    case .pdep: self.init(.vex, 2, 3, 0xF5, false)
    case .shlx: self.init(.vex, 2, 1, 0xF7, false)
    case .sarx: self.init(.vex, 2, 2, 0xF7, false)
    case .shrx: self.init(.vex, 2, 3, 0xF7, false)
    case .rorx: self.init(.constant, 3, 3, 0xF0, false)
    default: return nil
    }
  }
  private init(_ form: Form, _ map: UInt8, _ prefix: UInt8, _ opcode: UInt8, _ setsFlags: Bool) {
    self.form = form
    self.opcode = VEXOpcode(map: map, prefix: prefix, opcode: opcode)
    self.setsFlags = setsFlags
  }
}

extension MicroOp {
  /// What of the family `Op.integer` is rewritten: these of 32 and 64 bits.
  var isRewrittenBits: Bool {
    guard op == .integer, sizeLog2 >= 2, let operation = IntegerOp(rawValue: aux) else { return false }
    return operation == .movbeLoad || operation == .movbeStore || BitsOpcode(operation) != nil
  }
}

extension BlockWriter {
  /// False for what is left to a callout.
  mutating func emitBits(_ o: MicroOpPointer, _ live: Bool) -> Bool {
    guard o.pointee.isRewrittenBits, let operation = IntegerOp(rawValue: o.pointee.aux) else { return false }
    guard let bits = BitsOpcode(operation) else { return moveBigEndian(o, stores: operation == .movbeStore) }
    let size = 1 << Int(o.pointee.sizeLog2)
    var miss: Miss?
    let rm: HostOperand
    if o.pointee.flags & MicroOp.hasMemory != 0 {
      miss = reach(o, size: size, write: false)
      rm = found
    } else {
      guard let register = operand(o.pointee.src) else { return false }
      rm = register
    }
    let to = home(o.pointee.dst) ?? Self.a
    let isWide = size == 8
    switch bits.form {
    case .legacy: asm.modRM(0x0F00 | UInt32(bits.opcode.opcode), to.number, rm, size: size, prefix: 0xF3)
    case .vex:
      let other = value(UInt8(truncatingIfNeeded: o.pointee.imm), Self.a, size: size)
      asm.vex(bits.opcode, to.number, other.number, rm, long: false, wide: isWide)
    case .constant:
      let count = UInt8(truncatingIfNeeded: o.pointee.imm)
      asm.vex(bits.opcode, to.number, 0, rm, long: false, wide: isWide, immediate: count)
    case .lowest(let group): asm.vex(bits.opcode, group, to.number, rm, long: false, wide: isWide)
    }
    if bits.setsFlags { saveBitFlags(to, size, live) }
    if to == Self.a { put(o.pointee.dst, to, size: size) }
    slowWay(from: miss, o)
    return true
  }

  /// As the interpreter leaves them: the result and the carry.
  private mutating func saveBitFlags(_ result: HostRegister, _ size: Int, _ live: Bool) {
    host = .none
    guard live else {
      state.flags = .saved(.unknown)
      return
    }
    asm.set(2, .register(Self.b))
    asm.extend(Self.b, .register(Self.b), size: 1)
    asm.move(offsets.field(offsets.flagA), Self.b, size: 8)
    saveResult(.register(result), size: size)
    noteFlags(.mixed8, size: size)
  }

  private mutating func moveBigEndian(_ o: MicroOpPointer, stores: Bool) -> Bool {
    let size = 1 << Int(o.pointee.sizeLog2)
    if stores, operand(o.pointee.src) == nil { return false }
    let miss = reach(o, size: size, write: stores)
    if stores, let from = operand(o.pointee.src) {
      asm.move(Self.a, from, size: size)
      asm.swap(Self.a, size: size)
      asm.move(found, Self.a, size: size)
    } else {
      asm.move(Self.a, found, size: size)
      asm.swap(Self.a, size: size)
      put(o.pointee.dst, Self.a, size: size)
    }
    slowWay(from: miss, o)
    return true
  }
}
