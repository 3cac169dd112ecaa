import X86

/// POPCNT, LZCNT, BMI1, BMI2, MOVBE, CRC32 (SDM 2). Flags the manual leaves undefined are what a logical operation with
/// the same result leaves, on every host.
extension UnsafeMutablePointer<CPU> {
  /// VEX.vvvv.
  private func otherOperand(_ o: MicroOpPointer) -> UInt64 {
    getSized(UInt8(truncatingIfNeeded: o.pointee.imm), o.pointee.sizeLog2)
  }

  func countBits(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let width: UInt64 = 8 &<< UInt64(log2)
    let value = try readRM(o, o.pointee.src)
    var carry = false
    let result: UInt64
    switch IntegerOp(rawValue: o.pointee.aux) ?? .popcnt {
    case .lzcnt:
      carry = value == 0
      result = UInt64(value.leadingZeroBitCount) &- (64 &- width)
    case .tzcnt:
      carry = value == 0
      result = min(UInt64(value.trailingZeroBitCount), width)
    case .andn: result = ~otherOperand(o) & value
    case .bextr:
      let control = otherOperand(o)
      result = value >> (control & 0xFF) & ~(UInt64.max << (control >> 8 & 0xFF))
    case .blsi:
      carry = value != 0
      result = value & (0 &- value)
    case .blsmsk:
      carry = value == 0
      result = (value ^ (value &- 1)) & mask(log2)
    case .blsr:
      carry = value == 0
      result = value & (value &- 1)
    case .bzhi:
      let index = otherOperand(o) & 0xFF
      carry = index > width &- 1
      result = value & ~(UInt64.max << index)
    default:
      setSized(o.pointee.dst, log2, UInt64(value.nonzeroBitCount))
      // All but ZF are cleared.
      return replaceFlags(pointee.rflags & ~RFLAGS.arithmetic | (value == 0 ? RFLAGS.zf : 0))
    }
    setSized(o.pointee.dst, log2, result)
    setMixedSized(result, log2, carry ? RFLAGS.cf : 0)
  }

  /// Those that leave the flags alone.
  func moveBits(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let value = try readRM(o, o.pointee.src)
    let width: UInt64 = 8 &<< UInt64(log2)
    let count = (o.pointee.aux == IntegerOp.rorx.rawValue ? o.count : otherOperand(o)) & (width &- 1)
    let result: UInt64
    switch IntegerOp(rawValue: o.pointee.aux) ?? .rorx {
    case .rorx: result = value >> count | value << ((width &- count) & 63)
    case .shlx: result = value << count
    case .shrx: result = value >> count
    case .sarx: result = UInt64(bitPattern: extend(value, log2) >> Int64(count))
    case .pdep: result = deposit(otherOperand(o), value)
    case .pext: result = extract(otherOperand(o), value)
    default: return multiplyWide(o, value)
    }
    setSized(o.pointee.dst, log2, count == 0 && o.pointee.aux == IntegerOp.rorx.rawValue ? value : result)
  }

  /// MULX: the high half wins where both destinations are one.
  private func multiplyWide(_ o: MicroOpPointer, _ value: UInt64) {
    let log2 = o.pointee.sizeLog2
    let product = getSized(16, log2).multipliedFullWidth(by: value)
    let isWide = log2 == 3
    setSized(UInt8(truncatingIfNeeded: o.pointee.imm), log2, product.low)
    setSized(o.pointee.dst, log2, isWide ? product.high : product.low >> 32)
  }

  private func deposit(_ value: UInt64, _ mask: UInt64) -> UInt64 {
    var (result, left, from) = (UInt64(0), mask, value)
    while left != 0 {
      let lowest = left & (0 &- left)
      if from & 1 != 0 { result |= lowest }
      from >>= 1
      left ^= lowest
    }
    return result
  }
  private func extract(_ value: UInt64, _ mask: UInt64) -> UInt64 {
    var (result, left, to) = (UInt64(0), mask, UInt64(1))
    while left != 0 {
      let lowest = left & (0 &- left)
      if value & lowest != 0 { result |= to }
      to <<= 1
      left ^= lowest
    }
    return result
  }

  func moveBigEndian(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let unused = 64 &- (8 &<< UInt64(log2))
    if o.pointee.aux == IntegerOp.movbeStore.rawValue {
      try writeRM(o, 0, getSized(o.pointee.src, log2).byteSwapped >> unused)
    } else {
      setSized(o.pointee.dst, log2, try readRM(o, o.pointee.src).byteSwapped >> unused)
    }
  }

  /// CRC32: the polynomial 11EDC6F41h, reflected. `imm` is log2 of the destination's bytes.
  func checksum(_ o: MicroOpPointer) throws(Stop) {
    var value = try readRM(o, o.pointee.src)
    var sum: UInt32 = get(o.pointee.dst)
    for _ in 0..<1 << Int(o.pointee.sizeLog2) {
      sum = sum >> 8 ^ checksumTable[Int((sum ^ UInt32(truncatingIfNeeded: value)) & 0xFF)]
      value >>= 8
    }
    set(o.pointee.dst, UInt64(sum))
  }
}

private let checksumTable: InlineArray<256, UInt32> = {
  var table = InlineArray<256, UInt32>(repeating: 0)
  for i in 0..<256 {
    var rest = UInt32(i)
    for _ in 0..<8 { rest = rest & 1 != 0 ? rest >> 1 ^ 0x82F6_3B78 : rest >> 1 }
    table[i] = rest
  }
  return table
}()
