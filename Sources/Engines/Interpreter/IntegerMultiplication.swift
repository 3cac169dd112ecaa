import X86

/// Multiplication and division (SDM 2).
extension UnsafeMutablePointer<CPU> {
  func multiplyAccumulator(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let signed = o.pointee.aux == IntegerOp.imul.rawValue
    let b = try readRM(o, o.pointee.dst)
    let low: UInt64
    let high: UInt64
    let significant: Bool
    if log2 == 3 {
      let a = self[slot: 0]
      if signed {
        let product = Int64(bitPattern: a).multipliedFullWidth(by: Int64(bitPattern: b))
        low = product.low
        high = UInt64(bitPattern: product.high)
        significant = product.high != Int64(bitPattern: low) >> 63
      } else {
        let product = a.multipliedFullWidth(by: b)
        low = product.low
        high = product.high
        significant = high != 0
      }
      self[slot: 0] = low
      self[slot: 2] = high
    } else {
      let width = UInt64(8) << UInt64(log2)
      let a = getSized(0, log2)
      let product = signed ? UInt64(bitPattern: extend(a, log2) &* extend(b, log2)) : a &* b
      low = product & mask(log2)
      high = product >> width & mask(log2)
      significant = signed ? extend(low, log2) != Int64(bitPattern: product) : high != 0
      if log2 == 0 {
        set(0, UInt16(truncatingIfNeeded: product))
      } else {
        setSized(0, log2, low)
        setSized(16, log2, high)
      }
    }
    setMixedSized(low, log2, significant ? RFLAGS.cf | RFLAGS.of : 0)
  }

  @inline(__always) func extend(_ value: UInt64, _ log2: UInt8) -> Int64 {
    let unused = 64 &- (8 &<< Int64(log2))
    return (Int64(bitPattern: value) &<< unused) &>> unused
  }

  func multiplyRegister(_ o: MicroOpPointer) throws(Stop) {
    let b = try readRM(o, o.pointee.src)
    let three = o.pointee.aux == IntegerOp.imul3.rawValue
    let log2 = o.pointee.sizeLog2
    let a = three ? UInt64(bitPattern: o.pointee.imm) : getSized(o.pointee.dst, log2)
    switch log2 {
    case 1: set(o.pointee.dst, imul(UInt16(truncatingIfNeeded: a), UInt16(truncatingIfNeeded: b)))
    case 2: set(o.pointee.dst, imul(UInt32(truncatingIfNeeded: a), UInt32(truncatingIfNeeded: b)))
    default: set(o.pointee.dst, imul(a, b))
    }
  }

  /// DIV and IDIV: #DE on zero or a quotient that does not fit. The flags, undefined, stay.
  func divide(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let divisor = try readRM(o, o.pointee.dst)
    guard divisor != 0 else { throw raise(.de) }
    let signed = o.pointee.aux == IntegerOp.idiv.rawValue
    if log2 == 3 { return try divide64(divisor, signed: signed) }
    let width = UInt64(8) << UInt64(log2)
    let dividend = log2 == 0 ? UInt64(get(0, as: UInt16.self)) : getSized(16, log2) << width | getSized(0, log2)
    let quotient: UInt64
    let remainder: UInt64
    if signed {
      let a = extend(dividend, log2 + 1)
      let b = extend(divisor, log2)
      let (q, overflow) = a.dividedReportingOverflow(by: b)
      guard !overflow, extend(UInt64(bitPattern: q), log2) == q else { throw raise(.de) }
      quotient = UInt64(bitPattern: q)
      remainder = UInt64(bitPattern: a % b)
    } else {
      quotient = dividend / divisor
      guard quotient <= mask(log2) else { throw raise(.de) }
      remainder = dividend % divisor
    }
    if log2 == 0 {
      set(0, UInt8(truncatingIfNeeded: quotient))
      set(1, UInt8(truncatingIfNeeded: remainder))
    } else {
      setSized(0, log2, quotient)
      setSized(16, log2, remainder)
    }
  }

  private func divide64(_ divisor: UInt64, signed: Bool) throws(Stop) {
    let low = self[slot: 0]
    let high = self[slot: 2]
    if !signed {
      guard high < divisor else { throw raise(.de) }
      let result = divisor.dividingFullWidth((high, low))
      self[slot: 0] = result.quotient
      self[slot: 2] = result.remainder
      return
    }
    let negative = Int64(bitPattern: high) < 0
    let negativeDivisor = Int64(bitPattern: divisor) < 0
    let magnitudeLow = negative ? 0 &- low : low
    let magnitudeHigh = negative ? ~high &+ (low == 0 ? 1 : 0) : high
    let magnitude = Int64(bitPattern: divisor).magnitude
    guard magnitudeHigh < magnitude else { throw raise(.de) }
    let result = magnitude.dividingFullWidth((magnitudeHigh, magnitudeLow))
    let flip = negative != negativeDivisor
    let limit: UInt64 = flip ? 1 << 63 : (1 << 63) - 1
    guard result.quotient <= limit else { throw raise(.de) }
    self[slot: 0] = flip ? 0 &- result.quotient : result.quotient
    self[slot: 2] = negative ? 0 &- result.remainder : result.remainder
  }
}
