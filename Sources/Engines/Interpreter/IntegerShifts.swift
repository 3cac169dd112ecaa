import X86

/// Shifts, rotates and bit tests (SDM 2).
extension UnsafeMutablePointer<CPU> {
  func shiftRotate(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let raw = o.pointee.imm < 0 ? UInt64(get(8, as: UInt8.self)) : o.count
    let count = raw & (log2 == 3 ? 63 : 31)
    let value = try readToModifyRM(o)
    guard count != 0 else { return try writeRM(o, o.pointee.dst, value) }
    let operation = IntegerOp(rawValue: o.pointee.aux) ?? .shl
    let kept = (pointee.flagClass, pointee.flagA, pointee.flagResult, pointee.rflags)
    let result: UInt64
    switch operation {
    case .shl, .shr, .sar: result = shiftSized(operation, value, count, log2)
    case .rol, .ror: result = rotateSized(operation, value, count, log2)
    default: result = rotateThroughCarry(operation, value, count, log2)
    }
    do {
      try writeRM(o, o.pointee.dst, result)
    } catch {
      (pointee.flagClass, pointee.flagA, pointee.flagResult, pointee.rflags) = kept
      throw error
    }
  }

  private func shiftSized(_ operation: IntegerOp, _ value: UInt64, _ count: UInt64, _ log2: UInt8) -> UInt64 {
    func apply<T: FixedWidthInteger & UnsignedInteger>(_ type: T.Type) -> UInt64 {
      let a = T(truncatingIfNeeded: value)
      switch operation {
      case .shl: return UInt64(truncatingIfNeeded: shl(a, count))
      case .shr: return UInt64(truncatingIfNeeded: shr(a, count))
      default: return UInt64(truncatingIfNeeded: sar(a, count))
      }
    }
    switch log2 {
    case 0: return apply(UInt8.self)
    case 1: return apply(UInt16.self)
    case 2: return apply(UInt32.self)
    default: return apply(UInt64.self)
    }
  }

  private func rotateSized(_ operation: IntegerOp, _ value: UInt64, _ count: UInt64, _ log2: UInt8) -> UInt64 {
    let width: UInt64 = 8 << UInt64(log2)
    let n = count % width
    let left = operation == .rol ? n : (width - n) % width
    let result = left == 0 ? value : ((value << left) | (value >> (width - left))) & mask(log2)
    let top = result >> (width - 1) & 1
    let carry = operation == .rol ? result & 1 : top
    let over = operation == .rol ? top ^ carry : top ^ (result >> (width - 2) & 1)
    putCarryOverflow(carry != 0, over != 0)
    return result
  }

  private func rotateThroughCarry(_ operation: IntegerOp, _ value: UInt64, _ count: UInt64, _ log2: UInt8) -> UInt64 {
    let width: UInt64 = 8 << UInt64(log2)
    var carry: UInt64 = cf ? 1 : 0
    var result = value
    let n = count % (width + 1)
    for _ in 0..<n {
      if operation == .rcl {
        let out = result >> (width - 1) & 1
        result = (result << 1 | carry) & mask(log2)
        carry = out
      } else {
        let out = result & 1
        result = result >> 1 | carry << (width - 1)
        carry = out
      }
    }
    let top = result >> (width - 1) & 1
    let over = operation == .rcl ? top ^ carry : top ^ (result >> (width - 2) & 1)
    putCarryOverflow(carry != 0, over != 0)
    return result
  }

  /// Rotates change CF and OF alone.
  func putCarryOverflow(_ carry: Bool, _ overflow: Bool) {
    let kept = materializeFlags() & ~(RFLAGS.cf | RFLAGS.of)
    pointee.rflags = kept | (carry ? RFLAGS.cf : 0) | (overflow ? RFLAGS.of : 0)
  }

  func doubleShift(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let width: UInt64 = 8 << UInt64(log2)
    let raw = o.pointee.imm < 0 ? UInt64(get(8, as: UInt8.self)) : o.count
    let count = raw & (log2 == 3 ? 63 : 31)
    let value = try readToModifyRM(o)
    guard count != 0 else { return try writeRM(o, o.pointee.dst, value) }
    let other = getSized(o.pointee.src, log2)
    // Counts above the width (16-bit only) are undefined: processors go round with the operands doubled.
    let n = count % (width * 2)
    var result: UInt64
    let carry: UInt64
    if o.pointee.aux == IntegerOp.shld.rawValue {
      if n <= width {
        result = (n == 64 ? 0 : value << n) | (n == 0 ? 0 : other >> (width - n))
        carry = n == 0 ? 0 : value >> (width - n) & 1
      } else {
        let m = n - width
        result = other << m | value >> (width - m)
        carry = other >> (width - m) & 1
      }
    } else {
      if n <= width {
        result = value >> n | (n == 0 ? 0 : other << (width - n))
        carry = n == 0 ? 0 : value >> (n - 1) & 1
      } else {
        let m = n - width
        result = other >> m | value << (width - m)
        carry = other >> (m - 1) & 1
      }
    }
    result &= mask(log2)
    try writeRM(o, o.pointee.dst, result)
    let over = (result ^ value) >> (width - 1) & 1
    setMixedSized(result, log2, (carry != 0 ? RFLAGS.cf : 0) | (over != 0 ? RFLAGS.of : 0))
  }

  /// ZF, SF, PF from a result of any size; CF, AF, OF as given.
  func setMixedSized(_ result: UInt64, _ log2: UInt8, _ others: UInt64) {
    pointee.flagClass = FlagClass(.mixed8, bytes: 1 << Int(log2))
    pointee.flagResult = result & mask(log2)
    pointee.flagA = others
  }

  // MARK: Bits

  func bitTest(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let operation = IntegerOp(rawValue: o.pointee.aux) ?? .bt
    let raw = o.pointee.imm < 0 ? getSized(o.pointee.src, log2) : o.count
    let bit = raw & ((8 << UInt64(log2)) - 1)
    let value = operation == .bt ? try readRM(o, o.pointee.dst) : try readToModifyRM(o)
    let one = UInt64(1) << bit
    switch operation {
    case .bts: try writeRM(o, o.pointee.dst, value | one)
    case .btr: try writeRM(o, o.pointee.dst, value & ~one)
    case .btc: try writeRM(o, o.pointee.dst, value ^ one)
    default: break
    }
    putFlag(RFLAGS.cf, value & one != 0)
  }

  /// BSF and BSR; TZCNT and LZCNT encodings run as these where CPUID does not show them.
  func bitScan(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let value = try readRM(o, o.pointee.src)
    if value == 0 {
      // The destination keeps its value: what processors do.
      putFlag(RFLAGS.zf, true)
      return
    }
    let found = o.pointee.aux == IntegerOp.bsf.rawValue ? value.trailingZeroBitCount : 63 - value.leadingZeroBitCount
    setSized(o.pointee.dst, log2, UInt64(found))
    putFlag(RFLAGS.zf, false)
  }
}
