import VMCore
import X86

/// The rarer integer instructions, written for any operand size (SDM 2).
extension UnsafeMutablePointer<CPU> {
  /// Bits of an operand of 1 << log2 bytes, as a mask.
  @inline(__always) func mask(_ log2: UInt8) -> UInt64 { ~0 &>> (64 &- (8 &<< UInt64(log2))) }

  func getSized(_ offset: UInt8, _ log2: UInt8) -> UInt64 {
    switch log2 {
    case 0: UInt64(get(offset, as: UInt8.self))
    case 1: UInt64(get(offset, as: UInt16.self))
    case 2: UInt64(get(offset, as: UInt32.self))
    default: get(offset)
    }
  }
  func setSized(_ offset: UInt8, _ log2: UInt8, _ value: UInt64) {
    switch log2 {
    case 0: set(offset, UInt8(truncatingIfNeeded: value))
    case 1: set(offset, UInt16(truncatingIfNeeded: value))
    case 2: set(offset, UInt32(truncatingIfNeeded: value))
    default: set(offset, value)
    }
  }

  /// The register-or-memory operand, whose register is at `offset`.
  func readRM(_ o: MicroOpPointer, _ offset: UInt8) throws(Stop) -> UInt64 {
    let log2 = o.pointee.sizeLog2
    if o.pointee.flags & MicroOp.hasMemory == 0 { return getSized(offset, log2) }
    return try loadSized(address(o), bytes: 1 << Int(log2))
  }
  func writeRM(_ o: MicroOpPointer, _ offset: UInt8, _ value: UInt64) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    if o.pointee.flags & MicroOp.hasMemory == 0 {
      setSized(offset, log2, value)
    } else {
      try storeSized(address(o), value, bytes: 1 << Int(log2))
    }
  }
  /// Faults now if the operand's write would.
  func probeRM(_ o: MicroOpPointer) throws(Stop) {
    if o.pointee.flags & MicroOp.hasMemory != 0 { try probeWrite(address(o), 1 << Int(o.pointee.sizeLog2)) }
  }

  @inline(never)
  func integer(_ o: MicroOpPointer) throws(Stop) {
    switch IntegerOp(rawValue: o.pointee.aux) ?? .clc {
    case .shl, .shr, .sar, .rol, .ror, .rcl, .rcr: try shiftRotate(o)
    case .shld, .shrd: try doubleShift(o)
    case .bt, .bts, .btr, .btc: try bitTest(o)
    case .bsf, .bsr: try bitScan(o)
    case .bitReach:
      let log2 = o.pointee.sizeLog2
      let raw = getSized(o.pointee.src, log2)
      let unused = 64 &- (8 &<< Int64(log2))
      let offset = (Int64(bitPattern: raw) &<< unused) &>> unused
      let bytes = (offset &>> (3 &+ Int64(log2))) &<< Int64(log2)
      self[slot: Slot.temporary] = UInt64(bitPattern: bytes)
    case .addOffset: self[slot: Slot.temporary] &+= offsetAddress(o)
    case .mul, .imul: try multiplyAccumulator(o)
    case .imul2, .imul3: try multiplyRegister(o)
    case .div, .idiv: try divide(o)
    case .movzx16: set(o.pointee.dst, UInt16(truncatingIfNeeded: try readRM(o, o.pointee.src)))
    case .movsx16: set(o.pointee.dst, Int16(Int8(truncatingIfNeeded: try readRM(o, o.pointee.src))))
    case .setccM: try store(address(o), condition(UInt8(truncatingIfNeeded: o.pointee.imm)) ? 1 : 0 as UInt8)
    case .cmov:
      let value = try readRM(o, o.pointee.src)
      let taken = condition(UInt8(truncatingIfNeeded: o.pointee.imm))
      let log2 = o.pointee.sizeLog2
      setSized(o.pointee.dst, log2, taken ? value : getSized(o.pointee.dst, log2))
    case .xchg:
      try probeRM(o)
      let old = try readRM(o, o.pointee.dst)
      let new = getSized(o.pointee.src, o.pointee.sizeLog2)
      try writeRM(o, o.pointee.dst, new)
      setSized(o.pointee.src, o.pointee.sizeLog2, old)
    case .cmpxchg, .xadd: try exchangeArithmetic(o)
    case .cmpxchg8b: try compareExchange8(o)
    case .cmpxchg16b: try compareExchange16(o)
    case .cbw: set(0, Int16(get(0, as: Int8.self)))
    case .cwd: set(16, get(0, as: Int16.self) >> 15)
    case .lahf: set(1, UInt8(truncatingIfNeeded: materializeFlags() & 0xD5 | 2))
    case .sahf:
      let kept = materializeFlags() & ~0xD5
      replaceFlags(kept | UInt64(get(1, as: UInt8.self)) & 0xD5)
    case .clc: putFlag(RFLAGS.cf, false)
    case .stc: putFlag(RFLAGS.cf, true)
    case .cmc: putFlag(RFLAGS.cf, !cf)
    case .cld: pointee.rflags &= ~RFLAGS.df
    case .std: pointee.rflags |= RFLAGS.df
    case .salc: set(0, cf ? 0xFF : 0 as UInt8)
    case .xlat: set(0, try load(address(o), as: UInt8.self))
    case .aaa, .aas, .aam, .aad, .daa, .das: try decimal(o)
    case .pushRM: try push(try readRM(o, o.pointee.dst), bytes: 1 << Int(o.pointee.sizeLog2))
    case .pushImmediate: try push(UInt64(bitPattern: o.pointee.imm), bytes: 1 << Int(o.pointee.sizeLog2))
    case .popRM:
      let bytes = 1 << Int(o.pointee.sizeLog2)
      let value = try loadSized(try stackAddress(0, bytes: bytes, write: false), bytes: bytes)
      // The translator has allowed for the moved stack pointer in a memory operand's displacement; POP RSP
      // overwrites it.
      let top = self[slot: Slot.rsp] &+ UInt64(bytes)
      if o.pointee.flags & MicroOp.hasMemory != 0 {
        try writeRM(o, o.pointee.dst, value)
        setStackPointer(top)
      } else {
        setStackPointer(top)
        try writeRM(o, o.pointee.dst, value)
      }
    case .pusha, .popa: try pushPopAll(o)
    case .enter: try enterFrame(o)
    case .leave:
      let bytes = 1 << Int(o.pointee.sizeLog2)
      let frame = self[slot: 5] & stackMask
      let at = isLong64 ? frame : try linear(2, frame, size: bytes, write: false)
      let value = try loadSized(at, bytes: bytes)
      setStackPointer(frame &+ UInt64(bytes))
      setSized(40, o.pointee.sizeLog2, value)
    case .bound: try bound(o)
    case .jccChecked: if condition(o.pointee.src) { try transfer(UInt64(bitPattern: o.pointee.imm)) }
    case .jmpChecked: try transfer(UInt64(bitPattern: o.pointee.imm))
    case .callChecked: try call(UInt64(bitPattern: o.pointee.imm), o)
    case .jmpRM: try transfer(try readRM(o, o.pointee.dst))
    case .callRM: try call(try readRM(o, o.pointee.dst), o)
    case .ret:
      let bytes = 1 << Int(o.pointee.sizeLog2)
      let target = try loadSized(try stackAddress(0, bytes: bytes, write: false), bytes: bytes)
      try transfer(target)
      setStackPointer(self[slot: Slot.rsp] &+ UInt64(bytes) &+ o.count)
    case .loop, .loope, .loopne, .jcxz: try countedJump(o)
    }
  }

  /// Near transfer with its check: canonical, or inside CS's limit.
  private func transfer(_ target: UInt64) throws(Stop) {
    if isLong64 {
      guard isCanonical(target) else { throw raise(.gp, 0) }
    } else {
      guard target <= UInt64(pointee.segments[1].limit) else { throw raise(.gp, 0) }
    }
    pointee.rip = target
  }

  private func call(_ target: UInt64, _ o: MicroOpPointer) throws(Stop) {
    let back = pointee.rip
    try transfer(target)
    try push(back, bytes: 1 << Int(o.pointee.sizeLog2))
  }

  private func countedJump(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.addressSizeLog2
    let operation = IntegerOp(rawValue: o.pointee.aux)
    var count = getSized(8, log2)
    if operation == .jcxz {
      if count == 0 { try transfer(UInt64(bitPattern: o.pointee.imm)) }
      return
    }
    count = (count &- 1) & mask(log2)
    let wanted = operation == .loop || zf == (operation == .loope)
    if count != 0 && wanted { try transfer(UInt64(bitPattern: o.pointee.imm)) }
    setSized(8, log2, count)
  }

  // MARK: Shifts and rotates

  private func shiftRotate(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let raw = o.pointee.imm < 0 ? UInt64(get(8, as: UInt8.self)) : o.count
    let count = raw & (log2 == 3 ? 63 : 31)
    try probeRM(o)
    let value = try readRM(o, o.pointee.dst)
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

  private func doubleShift(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let width: UInt64 = 8 << UInt64(log2)
    let raw = o.pointee.imm < 0 ? UInt64(get(8, as: UInt8.self)) : o.count
    let count = raw & (log2 == 3 ? 63 : 31)
    try probeRM(o)
    let value = try readRM(o, o.pointee.dst)
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

  private func bitTest(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let operation = IntegerOp(rawValue: o.pointee.aux) ?? .bt
    let raw = o.pointee.imm < 0 ? getSized(o.pointee.src, log2) : o.count
    let bit = raw & ((8 << UInt64(log2)) - 1)
    if operation != .bt { try probeRM(o) }
    let value = try readRM(o, o.pointee.dst)
    let one = UInt64(1) << bit
    switch operation {
    case .bts: try writeRM(o, o.pointee.dst, value | one)
    case .btr: try writeRM(o, o.pointee.dst, value & ~one)
    case .btc: try writeRM(o, o.pointee.dst, value ^ one)
    default: break
    }
    putFlag(RFLAGS.cf, value & one != 0)
  }

  /// BSF and BSR; TZCNT and LZCNT encodings run as these, as CPUID does not show them.
  private func bitScan(_ o: MicroOpPointer) throws(Stop) {
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

  // MARK: Multiplication and division

  private func multiplyAccumulator(_ o: MicroOpPointer) throws(Stop) {
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

  private func multiplyRegister(_ o: MicroOpPointer) throws(Stop) {
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
  private func divide(_ o: MicroOpPointer) throws(Stop) {
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

  // MARK: Exchanges

  private func exchangeArithmetic(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    try probeRM(o)
    let old = try readRM(o, o.pointee.dst)
    let source = getSized(o.pointee.src, log2)
    if o.pointee.aux == IntegerOp.xadd.rawValue {
      let sum = (old &+ source) & mask(log2)
      if o.pointee.flags & MicroOp.hasMemory != 0 {
        try writeRM(o, o.pointee.dst, sum)
        setSized(o.pointee.src, log2, old)
      } else {
        setSized(o.pointee.src, log2, old)
        setSized(o.pointee.dst, log2, sum)
      }
      pointee.flagClass = FlagClass(.add8, bytes: 1 << Int(log2))
      pointee.flagA = old
      pointee.flagResult = sum
      return
    }
    let accumulator = getSized(0, log2)
    let equal = accumulator == old
    // The destination is written either way.
    if equal {
      try writeRM(o, o.pointee.dst, source)
    } else {
      if o.pointee.flags & MicroOp.hasMemory != 0 { try writeRM(o, o.pointee.dst, old) }
      setSized(0, log2, old)
    }
    pointee.flagClass = FlagClass(.sub8, bytes: 1 << Int(log2))
    pointee.flagA = accumulator
    pointee.flagResult = (accumulator &- old) & mask(log2)
  }

  private func compareExchange8(_ o: MicroOpPointer) throws(Stop) {
    let at = address(o)
    try probeWrite(at, 8)
    let old: UInt64 = try load(at)
    let expected = self[slot: 2] << 32 | UInt64(get(0, as: UInt32.self))
    if old == expected {
      try store(at, self[slot: 1] << 32 | UInt64(get(24, as: UInt32.self)))
    } else {
      try store(at, old)
      set(0, UInt32(truncatingIfNeeded: old))
      set(16, UInt32(truncatingIfNeeded: old >> 32))
    }
    putFlag(RFLAGS.zf, old == expected)
  }

  private func compareExchange16(_ o: MicroOpPointer) throws(Stop) {
    let at = address(o)
    guard at & 15 == 0 else { throw raise(.gp, 0) }
    try probeWrite(at, 8)
    try probeWrite(at &+ 8, 8)
    let low: UInt64 = try load(at)
    let high: UInt64 = try load(at &+ 8)
    let equal = low == self[slot: 0] && high == self[slot: 2]
    try store(at, equal ? self[slot: 3] : low)
    try store(at &+ 8, equal ? self[slot: 1] : high)
    if !equal {
      self[slot: 0] = low
      self[slot: 2] = high
    }
    putFlag(RFLAGS.zf, equal)
  }

  // MARK: Stack frames

  private func pushPopAll(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let bytes = 1 << Int(log2)
    if o.pointee.aux == IntegerOp.pusha.rawValue {
      for i in 0..<8 { try probeWrite(try stackAddress(Int64(-(i + 1) * bytes), bytes: bytes, write: true), bytes) }
      for i in 0..<8 {
        let at = try stackAddress(Int64(-(i + 1) * bytes), bytes: bytes, write: true)
        try storeSized(at, getSized(UInt8(i * 8), log2), bytes: bytes)
      }
      setStackPointer(self[slot: Slot.rsp] &- UInt64(8 * bytes))
      return
    }
    var values = InlineArray<8, UInt64>(repeating: 0)
    for i in 0..<8 {
      values[i] = try loadSized(try stackAddress(Int64(i * bytes), bytes: bytes, write: false), bytes: bytes)
    }
    setStackPointer(self[slot: Slot.rsp] &+ UInt64(8 * bytes))
    // The stored stack pointer is thrown away.
    for i in 0..<8 where i != 3 { setSized(UInt8((7 - i) * 8), log2, values[i]) }
  }

  private func enterFrame(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let bytes = 1 << Int(log2)
    let level = Int(o.pointee.disp & 31)
    let size = UInt64(o.pointee.imm)
    let top = self[slot: Slot.rsp]
    let frame = (top &- UInt64(bytes)) & stackMask
    try storeSized(try stackAddress(Int64(-bytes), bytes: bytes, write: true), getSized(40, log2), bytes: bytes)
    if level > 0 {
      for i in 1..<max(level, 1) {
        let from = (self[slot: 5] &- UInt64(i * bytes)) & stackMask
        let at = isLong64 ? from : try linear(2, from, size: bytes, write: false)
        let value = try loadSized(at, bytes: bytes)
        try storeSized(try stackAddress(Int64(-(i + 1) * bytes), bytes: bytes, write: true), value, bytes: bytes)
      }
      try storeSized(try stackAddress(Int64(-(level + 1) * bytes), bytes: bytes, write: true), frame, bytes: bytes)
    }
    let used = UInt64((level + 1) * bytes)
    // The new top must be writable.
    let last = Int64(bitPattern: 0 &- used &- size)
    try probeWrite(try stackAddress(last, bytes: bytes, write: true), bytes)
    setStackPointer(top &- used &- size)
    setSized(40, log2, frame)
  }

  private func bound(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let bytes = 1 << Int(log2)
    let at = address(o)
    let lower = extend(try loadSized(at, bytes: bytes), log2)
    let upper = extend(try loadSized((at &+ UInt64(bytes)) & pointee.addressMask, bytes: bytes), log2)
    let index = extend(getSized(o.pointee.dst, log2), log2)
    guard index >= lower && index <= upper else { throw raise(.br) }
  }

  // MARK: Decimal arithmetic (SDM 2A; undefined flags as processors leave them)

  private func decimal(_ o: MicroOpPointer) throws(Stop) {
    let al = get(0, as: UInt8.self)
    let ah = get(1, as: UInt8.self)
    switch IntegerOp(rawValue: o.pointee.aux) {
    case .aam:
      let base = UInt8(truncatingIfNeeded: o.pointee.imm)
      guard base != 0 else { throw raise(.de) }
      set(1, al / base)
      set(0, al % base)
      setMixedSized(UInt64(al % base), 0, 0)
    case .aad:
      let sum = al &+ ah &* UInt8(truncatingIfNeeded: o.pointee.imm)
      set(0, UInt16(sum))
      setMixedSized(UInt64(sum), 0, 0)
    case .aaa, .aas:
      let adjust = al & 15 > 9 || af
      var ax = get(0, as: UInt16.self)
      if adjust { ax = o.pointee.aux == IntegerOp.aaa.rawValue ? ax &+ 0x106 : ax &- 0x106 }
      set(0, ax & 0xFF0F)
      setMixedSized(UInt64(ax & 0xF), 0, adjust ? RFLAGS.cf | RFLAGS.af : 0)
    default:
      let subtract = o.pointee.aux == IntegerOp.das.rawValue
      var result = al
      var carry = false
      let low = al & 15 > 9 || af
      if low {
        result = subtract ? result &- 6 : result &+ 6
        carry = cf || (subtract ? al < 6 : al > 0xF9)
      }
      if al > 0x99 || cf {
        result = subtract ? result &- 0x60 : result &+ 0x60
        carry = true
      }
      set(0, result)
      setMixedSized(UInt64(result), 0, (carry ? RFLAGS.cf : 0) | (low ? RFLAGS.af : 0))
    }
  }
}
