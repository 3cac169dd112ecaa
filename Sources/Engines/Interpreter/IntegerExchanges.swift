import VMCore
import X86

/// Exchanges, stack frames and decimal arithmetic (SDM 2).
extension UnsafeMutablePointer<CPU> {
  // MARK: Exchanges

  func exchangeArithmetic(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let old = try readToModifyRM(o)
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

  func compareExchange8(_ o: MicroOpPointer) throws(Stop) {
    let at = address(o)
    let old = try loadToModify(at, bytes: 8)
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

  func compareExchange16(_ o: MicroOpPointer) throws(Stop) {
    let at = address(o)
    guard at & 15 == 0 else { throw raise(.gp, 0) }
    let low = try loadToModify(at, bytes: 8)
    let high = try loadToModify(at &+ 8, bytes: 8)
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

  func pushPopAll(_ o: MicroOpPointer) throws(Stop) {
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

  func enterFrame(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let bytes = 1 << Int(log2)
    let level = Int(o.pointee.disp & 31)
    let size = UInt64(o.pointee.imm)
    let top = self[slot: Slot.rsp]
    // On a 16-bit stack the rest of ESP goes into EBP as it is.
    let frame = (top & ~stackMask) | ((top &- UInt64(bytes)) & stackMask)
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

  func bound(_ o: MicroOpPointer) throws(Stop) {
    let log2 = o.pointee.sizeLog2
    let bytes = 1 << Int(log2)
    let at = address(o)
    let lower = extend(try loadSized(at, bytes: bytes), log2)
    let upper = extend(try loadSized((at &+ UInt64(bytes)) & pointee.addressMask, bytes: bytes), log2)
    let index = extend(getSized(o.pointee.dst, log2), log2)
    guard index >= lower && index <= upper else { throw raise(.br) }
  }

  // MARK: Decimal arithmetic (SDM 2A; undefined flags as processors leave them)

  func decimal(_ o: MicroOpPointer) throws(Stop) {
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
