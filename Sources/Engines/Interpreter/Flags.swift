import X86

/// How the arithmetic flags follow from `flagA` and `flagResult`: a class and the operand size.
/// `flagResult` is the result, zero-extended from the operand size, for every class but `eager`.
struct FlagClass: Equatable {
  /// Class * 4 + log2(bytes).
  var rawValue: UInt8

  /// All flags are in `rflags`.
  static var eager: FlagClass { FlagClass(rawValue: 0) }
  /// `flagA` is the first addend; the second is result - A.
  static var add8: FlagClass { FlagClass(rawValue: 4) }
  /// `flagA` is the minuend; the subtrahend is A - result.
  static var sub8: FlagClass { FlagClass(rawValue: 8) }
  /// CF = OF = AF = 0.
  static var logic8: FlagClass { FlagClass(rawValue: 12) }
  /// `flagA` holds CF, AF and OF at their places in RFLAGS; ZF, SF and PF follow from the result.
  static var mixed8: FlagClass { FlagClass(rawValue: 16) }

  /// Of INC and DEC in rewritten code: `flagA` is CF alone, 0 or 1.
  static var inc8: FlagClass { FlagClass(rawValue: 20) }
  static var dec8: FlagClass { FlagClass(rawValue: 24) }

  @inline(__always) init(rawValue: UInt8) { self.rawValue = rawValue }
  /// The class of `base` (one for bytes) for operands of `bytes`.
  @inline(__always) init(_ base: FlagClass, bytes: Int) {
    rawValue = base.rawValue &+ UInt8(truncatingIfNeeded: bytes.trailingZeroBitCount)
  }
  /// Bits of the operand minus one.
  @inline(__always) var signBit: UInt64 { (8 << UInt64(rawValue & 3)) &- 1 }
}

@inline(__always) func evenParity(_ value: UInt64) -> Bool {
  UInt8(truncatingIfNeeded: value).nonzeroBitCount & 1 == 0
}

extension UnsafeMutablePointer<CPU> {
  @inline(__always) func setFlags<T: FixedWidthInteger & UnsignedInteger>(_ base: FlagClass, _ a: T, _ result: T) {
    pointee.flagClass = FlagClass(base, bytes: T.bitWidth / 8)
    pointee.flagA = UInt64(truncatingIfNeeded: a)
    pointee.flagResult = UInt64(truncatingIfNeeded: result)
  }

  @inline(__always) var zf: Bool {
    if pointee.flagClass == .eager { return pointee.rflags & RFLAGS.zf != 0 }
    return pointee.flagResult == 0
  }
  @inline(__always) var sf: Bool {
    if pointee.flagClass == .eager { return pointee.rflags & RFLAGS.sf != 0 }
    return pointee.flagResult &>> pointee.flagClass.signBit & 1 != 0
  }
  @inline(__always) var pf: Bool {
    if pointee.flagClass == .eager { return pointee.rflags & RFLAGS.pf != 0 }
    return evenParity(pointee.flagResult)
  }
  var cf: Bool {
    let a = pointee.flagA
    let result = pointee.flagResult
    switch pointee.flagClass.rawValue >> 2 {
    case 1: return result < a
    case 2: return a < (a &- result) & widthMask
    case 3: return false
    case 4, 5, 6: return a & RFLAGS.cf != 0
    default: return pointee.rflags & RFLAGS.cf != 0
    }
  }
  var of: Bool {
    let a = pointee.flagA
    let result = pointee.flagResult
    let sign = pointee.flagClass.signBit
    switch pointee.flagClass.rawValue >> 2 {
    case 1:
      let b = result &- a
      return ((a ^ result) & (b ^ result)) &>> sign & 1 != 0
    case 2:
      let b = a &- result
      return ((a ^ b) & (a ^ result)) &>> sign & 1 != 0
    case 3: return false
    case 4: return a & RFLAGS.of != 0
    case 5: return result == 1 &<< sign
    case 6: return result == (1 &<< sign) &- 1
    default: return pointee.rflags & RFLAGS.of != 0
    }
  }
  var af: Bool {
    let a = pointee.flagA
    let result = pointee.flagResult
    switch pointee.flagClass.rawValue >> 2 {
    case 1: return (a ^ (result &- a) ^ result) & 0x10 != 0
    case 2: return (a ^ (a &- result) ^ result) & 0x10 != 0
    case 3: return false
    case 4: return a & RFLAGS.af != 0
    case 5: return result & 0xF == 0
    case 6: return result & 0xF == 0xF
    default: return pointee.rflags & RFLAGS.af != 0
    }
  }
  /// Leaves the carry alone in `flagA`, for an INC or DEC that comes next.
  func keepCarry() {
    pointee.flagA = cf ? 1 : 0
    pointee.flagClass = .inc8
  }
  /// CF and OF as `rol` and `ror` leave them, from what is in `rotated`.
  func noteRotation(_ kind: UInt16) {
    let value = pointee.rotated
    let width: UInt64 = kind & 1 != 0 ? 64 : 32
    let top = value &>> (width &- 1) & 1
    let carry = kind & 2 != 0 ? top : value & 1
    let over = kind & 2 != 0 ? top ^ value &>> (width &- 2) & 1 : top ^ carry
    putRotateFlags(carry | over << 11)
  }
  private var widthMask: UInt64 { ~0 &>> (63 &- pointee.flagClass.signBit) }

  /// RFLAGS with the arithmetic flags up to date; they stay in `rflags` until the next lazy result.
  @discardableResult
  func materializeFlags() -> UInt64 {
    guard pointee.flagClass != .eager else { return pointee.rflags }
    var flags = pointee.rflags & ~RFLAGS.arithmetic | carries
    if pf { flags |= RFLAGS.pf }
    if zf { flags |= RFLAGS.zf }
    if sf { flags |= RFLAGS.sf }
    pointee.rflags = flags
    pointee.flagClass = .eager
    return flags
  }

  /// CF, AF and OF of flags that are not eager, at their places in RFLAGS.
  private var carries: UInt64 {
    switch pointee.flagClass.rawValue >> 2 {
    case 3: return 0
    case 4: return pointee.flagA & (RFLAGS.cf | RFLAGS.af | RFLAGS.of)
    default: return (cf ? RFLAGS.cf : 0) | (af ? RFLAGS.af : 0) | (of ? RFLAGS.of : 0)
    }
  }

  /// Replaces RFLAGS as a whole (the caller has applied privilege rules).
  func replaceFlags(_ flags: UInt64) {
    pointee.rflags = flags | RFLAGS.fixed1
    pointee.flagClass = .eager
  }

  /// Sets or clears one arithmetic flag, keeping the others.
  func putFlag(_ flag: UInt64, _ on: Bool) {
    materializeFlags()
    pointee.rflags = on ? pointee.rflags | flag : pointee.rflags & ~flag
  }

  /// The condition of Jcc, SETcc, CMOVcc by its 4-bit code (SDM 2 appendix B.1.4.7).
  @inline(__always) func condition(_ code: UInt8) -> Bool {
    let value: Bool
    switch code >> 1 {
    case 0: value = of
    case 1: value = cf
    case 2: value = zf
    case 3: value = cf || zf
    case 4: value = sf
    case 5: value = pf
    case 6: value = sf != of
    default: value = zf || sf != of
    }
    return value != (code & 1 != 0)
  }
}
