import X86

/// Arithmetic on register-sized values, leaving the flags lazily (SDM 1 appendix A).
extension UnsafeMutablePointer<CPU> {
  @inline(__always) func add<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ b: T) -> T {
    let result = a &+ b
    setFlags(.add8, a, result)
    return result
  }
  @inline(__always) func sub<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ b: T) -> T {
    let result = a &- b
    setFlags(.sub8, a, result)
    return result
  }
  @inline(__always) func or<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ b: T) -> T {
    let result = a | b
    setFlags(.logic8, 0, result)
    return result
  }
  @inline(__always) func and<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ b: T) -> T {
    let result = a & b
    setFlags(.logic8, 0, result)
    return result
  }
  @inline(__always) func xor<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ b: T) -> T {
    let result = a ^ b
    setFlags(.logic8, 0, result)
    return result
  }
  @inline(__always) func adc<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ b: T) -> T {
    let carry: T = cf ? 1 : 0
    let result = a &+ b &+ carry
    let out = (a & b) | ((a | b) & ~result)
    setMixed(result, carries: out, overflow: (a ^ result) & (b ^ result))
    return result
  }
  @inline(__always) func sbb<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ b: T) -> T {
    let borrow: T = cf ? 1 : 0
    let result = a &- b &- borrow
    let out = (~a & b) | ((~a | b) & result)
    setMixed(result, carries: out, overflow: (a ^ b) & (a ^ result))
    return result
  }

  /// Flags from carry-out bits: CF the top one, AF that of bit 3, OF the top bit of `overflow`.
  @inline(__always)
  func setMixed<T: FixedWidthInteger & UnsignedInteger>(_ result: T, carries: T, overflow: T) {
    let top = T(truncatingIfNeeded: T.bitWidth - 1)
    let carry = UInt64(truncatingIfNeeded: carries &>> top)
    let half = UInt64(truncatingIfNeeded: carries) << 1 & RFLAGS.af
    let over = UInt64(truncatingIfNeeded: overflow &>> top) << 11
    setFlags(.mixed8, T(0), result)
    pointee.flagA = carry | half | over
  }

  @inline(__always) func inc<T: FixedWidthInteger & UnsignedInteger>(_ a: T) -> T {
    let carry: UInt64 = cf ? RFLAGS.cf : 0
    let result = a &+ 1
    let half: UInt64 = UInt64(truncatingIfNeeded: a ^ result) & RFLAGS.af
    let over: UInt64 = result == T(1) << T(T.bitWidth - 1) ? RFLAGS.of : 0
    setFlags(.mixed8, T(0), result)
    pointee.flagA = carry | half | over
    return result
  }
  @inline(__always) func dec<T: FixedWidthInteger & UnsignedInteger>(_ a: T) -> T {
    let carry: UInt64 = cf ? RFLAGS.cf : 0
    let result = a &- 1
    let half: UInt64 = UInt64(truncatingIfNeeded: a ^ result) & RFLAGS.af
    let over: UInt64 = a == T(1) << T(T.bitWidth - 1) ? RFLAGS.of : 0
    setFlags(.mixed8, T(0), result)
    pointee.flagA = carry | half | over
    return result
  }
  @inline(__always) func neg<T: FixedWidthInteger & UnsignedInteger>(_ a: T) -> T { sub(0, a) }
  @inline(__always) func complement<T: FixedWidthInteger & UnsignedInteger>(_ a: T) -> T { ~a }

  /// Shifts by a masked count that is not 0; it may exceed the width of 8- and 16-bit operands.
  @inline(__always) func shl<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ count: UInt64) -> T {
    let wide = UInt64(truncatingIfNeeded: a)
    let width = UInt64(T.bitWidth)
    let result = T(truncatingIfNeeded: wide << count)
    let carry = count <= width ? wide &>> (width &- count) & 1 : 0
    let over = carry ^ UInt64(truncatingIfNeeded: result >> T(T.bitWidth - 1))
    setFlags(.mixed8, T(0), result)
    pointee.flagA = carry | over << 11
    return result
  }
  @inline(__always) func shr<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ count: UInt64) -> T {
    let wide = UInt64(truncatingIfNeeded: a)
    let result = T(truncatingIfNeeded: wide >> count)
    let carry = wide >> (count &- 1) & 1
    let over = wide >> UInt64(T.bitWidth - 1) & 1
    setFlags(.mixed8, T(0), result)
    pointee.flagA = carry | over << 11
    return result
  }
  @inline(__always) func sar<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ count: UInt64) -> T {
    let unused = UInt64(64 - T.bitWidth)
    let wide = Int64(bitPattern: UInt64(truncatingIfNeeded: a) << unused) >> Int64(unused)
    let result = T(truncatingIfNeeded: wide >> Int64(count))
    let carry = UInt64(bitPattern: wide >> Int64(count &- 1)) & 1
    setFlags(.mixed8, T(0), result)
    pointee.flagA = carry
    return result
  }

  /// Rotates left by 1 to the width minus 1; CF and OF alone change.
  @inline(__always) func rol<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ count: UInt64) -> T {
    let result = rotated(a, count)
    let top = UInt64(truncatingIfNeeded: result &>> T(T.bitWidth - 1))
    let carry = UInt64(truncatingIfNeeded: result) & 1
    putRotateFlags(carry | (top ^ carry) << 11)
    return result
  }
  /// Rotates right, given as the equal rotation left.
  @inline(__always) func ror<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ count: UInt64) -> T {
    let result = rotated(a, count)
    let top = UInt64(truncatingIfNeeded: result &>> T(T.bitWidth - 1))
    let next = UInt64(truncatingIfNeeded: result &>> T(T.bitWidth - 2)) & 1
    putRotateFlags(top | (top ^ next) << 11)
    return result
  }
  @inline(__always) func rotated<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ count: UInt64) -> T {
    let left = T(truncatingIfNeeded: count)
    return a &<< left | a &>> (T(truncatingIfNeeded: T.bitWidth) &- left)
  }
  /// CF and OF from a rotate; the other flags stay, as lazy as they were.
  @inline(__always) func putRotateFlags(_ flags: UInt64) {
    if pointee.flagClass == .eager {
      pointee.rflags = pointee.rflags & ~(RFLAGS.cf | RFLAGS.of) | flags
      return
    }
    let half: UInt64 = af ? RFLAGS.af : 0
    pointee.flagA = flags | half
    pointee.flagClass = FlagClass(rawValue: FlagClass.mixed8.rawValue | pointee.flagClass.rawValue & 3)
  }

  @inline(__always)
  func shiftByCL<T: FixedWidthInteger & UnsignedInteger>(
    _ o: MicroOpPointer, as type: T.Type, mask: UInt64, _ shift: (T, UInt64) -> T
  ) {
    let count = self[slot: 1] & mask
    let value: T = get(o.pointee.dst)
    set(o.pointee.dst, count == 0 ? value : shift(value, count))
  }

  /// Two- and three-operand IMUL: CF = OF = the product does not fit. SF, ZF, AF, PF are undefined by
  /// the manual; SF, ZF and PF follow the result here, AF is 0.
  @inline(__always) func imul<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ b: T) -> T {
    let unused = UInt64(64 - T.bitWidth)
    let wideA = Int64(bitPattern: UInt64(truncatingIfNeeded: a) << unused) >> Int64(unused)
    let wideB = Int64(bitPattern: UInt64(truncatingIfNeeded: b) << unused) >> Int64(unused)
    let (product, overflow) = wideA.multipliedReportingOverflow(by: wideB)
    let result = T(truncatingIfNeeded: product)
    let back = Int64(bitPattern: UInt64(truncatingIfNeeded: result) << unused) >> Int64(unused)
    setFlags(.mixed8, T(0), result)
    pointee.flagA = overflow || back != product ? RFLAGS.cf | RFLAGS.of : 0
    return result
  }

  /// Reads memory, combines it with `operand` and writes it back; nothing is changed unless the write is
  /// allowed. The closure takes the operand as an argument because a closure that captured the loop's
  /// micro-op pointer would force that into memory.
  @inline(__always)
  func modify<T: FixedWidthInteger & UnsignedInteger>(
    _ address: UInt64, _ operand: T, _ change: (T, T) -> T
  ) throws(Stop) {
    let entry = tlbWriteEntry(address)
    let last = address &+ UInt64(MemoryLayout<T>.size - 1)
    if entry.pointee.tag == last & ~0xFFF {
      let host = entry.host(address)
      host.storeBytes(of: change(host.loadUnaligned(as: T.self), operand), as: T.self)
      return
    }
    // The flags change before the store may fault: they are put back then.
    try slowProbeWrite(address, MemoryLayout<T>.size)
    let old = T(truncatingIfNeeded: try slowLoad(address, MemoryLayout<T>.size))
    let kept = (pointee.flagClass, pointee.flagA, pointee.flagResult, pointee.rflags)
    let new = change(old, operand)
    do {
      try slowStore(address, MemoryLayout<T>.size, UInt64(truncatingIfNeeded: new))
    } catch {
      (pointee.flagClass, pointee.flagA, pointee.flagResult, pointee.rflags) = kept
      throw error
    }
  }

  /// Jcc's comparison without the flags: `a` and `b` as CMP saw them.
  @inline(__always)
  func compare<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ b: T, _ code: UInt16) -> Bool {
    let difference = a &- b
    let top = T(truncatingIfNeeded: T.bitWidth - 1)
    let flip = T(1) << top
    switch code {
    case 0: return ((a ^ b) & (a ^ difference)) &>> top != 0
    case 1: return ((a ^ b) & (a ^ difference)) &>> top == 0
    case 2: return a < b
    case 3: return a >= b
    case 4: return a == b
    case 5: return a != b
    case 6: return a <= b
    case 7: return a > b
    case 8: return difference &>> top != 0
    case 9: return difference &>> top == 0
    case 10: return evenParity(UInt64(truncatingIfNeeded: difference))
    case 11: return !evenParity(UInt64(truncatingIfNeeded: difference))
    case 12: return a ^ flip < b ^ flip
    case 13: return a ^ flip >= b ^ flip
    case 14: return a ^ flip <= b ^ flip
    default: return a ^ flip > b ^ flip
    }
  }

  /// Jcc after TEST: CF = OF = 0.
  @inline(__always)
  func tested<T: FixedWidthInteger & UnsignedInteger>(_ result: T, _ code: UInt16) -> Bool {
    compare(result, 0, code)
  }
}

extension UnsafeMutablePointer<MicroOp> {
  @inline(__always) func immediate<T: FixedWidthInteger>(as type: T.Type = T.self) -> T {
    T(truncatingIfNeeded: pointee.imm)
  }
  @inline(__always) var count: UInt64 { UInt64(bitPattern: pointee.imm) }
}
