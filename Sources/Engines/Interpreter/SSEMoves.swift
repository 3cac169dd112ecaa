import CHost
import X86

extension UnsafeMutablePointer<CPU> {
  /// The micro-ops of the family `Op.sse` that `sse` does not carry out itself.
  @inline(never) func sseRare(_ o: MicroOpPointer) throws(Stop) {
    let op = o.pointee.sseOp
    switch op {
    case .storeGPR32: try store(address(o), get(o.pointee.src, as: UInt32.self))
    case .storeGPR64: try store(address(o), get(o.pointee.src, as: UInt64.self))
    case .nothing: break
    case .ready: try requireSSE()
    case .mmxReady: try requireMMX()
    case .bothReady:
      try requireSSE()
      try requireMMX()
    case .stateReady: try requireFPU()
    case .flushLine: _ = try load(address(o), as: UInt8.self)
    case .fxsave: try fxsave(o)
    case .fxrstor: try fxrstor(o)
    case .mmxMove, .mmxLoad32, .mmxLoad64, .mmxStore32, .mmxStore64, .mmxFromGPR32, .mmxFromGPR64, .mmxToGPR32,
      .mmxToGPR64, .mmxInteger, .mmxShiftImmediate, .mmxShuffle, .mmxInsert16, .mmxExtract16, .mmxSignMask,
      .mmxMaskedStore, .emms:
      try mmx(o, op)
    case .mmxToXMM, .mmxFromXMM, .convertFromMMX, .convertToMMX:
      try requireSSE()
      try mmx(o, op)
    case .float:
      try requireSSE()
      try float(o, try source(o))
    case .compare:
      try requireSSE()
      try compareScalar(o, try source(o))
    case .convertFromGPR:
      try requireSSE()
      try convertFromGPR(o)
    case .convertToGPR:
      try requireSSE()
      try convertToGPR(o, try source(o))
    case .integer:
      try requireSSE()
      var a = self[xmm: o.pointee.dst]
      var b = try source(o)
      _ = chost_sse(SSEDetail(o.pointee.imm).stub, &a, &b)
      self[xmm: o.pointee.dst] = a
    case .loadMXCSR, .storeMXCSR, .maskedStore, .loadLow, .loadHigh, .storeHigh:
      try requireSSE()
      try sseMemory(o, op)
    default:
      try requireSSE()
      try sseRegister(o, op)
    }
  }

  /// Moves between memory and a part of a register, and MXCSR.
  private func sseMemory(_ o: MicroOpPointer, _ op: SSEOp) throws(Stop) {
    let at = address(o)
    switch op {
    case .loadLow: self[xmmLow: o.pointee.dst] = try load(at)
    case .loadHigh: self[xmm: o.pointee.dst].high = try load(at)
    case .storeHigh: try store(at, self[xmm: o.pointee.src].high)
    case .storeMXCSR:
      unloadMXCSR()
      try store(at, pointee.mxcsr)
    case .loadMXCSR:
      let value: UInt32 = try load(at)
      if value & ~MXCSR.mask != 0 { throw raise(.gp, 0) }
      unloadMXCSR()
      pointee.mxcsr = value
    default:
      let data = self[xmm: o.pointee.dst]
      let mask = self[xmm: o.pointee.src]
      try storeMasked(at, data, mask, count: 16)
    }
  }

  /// MASKMOVDQU, MASKMOVQ: the bytes whose mask byte has its top bit set (SDM 2B).
  func storeMasked(_ start: UInt64, _ data: XMM, _ mask: XMM, count: Int) throws(Stop) {
    for probing in [true, false] {
      for i in 0..<count {
        let shift = UInt64(i & 7) * 8
        let bit = (i < 8 ? mask.low : mask.high) >> (shift + 7) & 1
        if bit == 0 { continue }
        let at = (start &+ UInt64(i)) & pointee.addressMask
        let byte = UInt8(truncatingIfNeeded: (i < 8 ? data.low : data.high) >> shift)
        if probing { try probeWrite(at, 1) } else { try store(at, byte) }
      }
    }
  }

  /// Moves, shuffles and shifts among registers; some take a source from memory.
  private func sseRegister(_ o: MicroOpPointer, _ op: SSEOp) throws(Stop) {
    let dst = o.pointee.dst
    let src = o.pointee.src
    let detail = SSEDetail(o.pointee.imm)
    switch op {
    case .moveLowToHigh: self[xmm: dst].high = self[xmmLow: src]
    case .moveHighToLow: self[xmmLow: dst] = self[xmm: src].high
    case .fromGPR32: self[xmm: dst] = XMM(low: UInt64(get(src, as: UInt32.self)))
    case .fromGPR64: self[xmm: dst] = XMM(low: get(src))
    case .toGPR32: set(dst, UInt32(truncatingIfNeeded: self[xmmLow: src]))
    case .toGPR64: set(dst, self[xmmLow: src])
    case .shiftImmediate:
      var a = self[xmm: dst]
      var count = XMM(low: UInt64(detail.immediate))
      _ = chost_sse(detail.stub, &a, &count)
      self[xmm: dst] = a
    case .shiftBytesLeft: self[xmm: dst] = self[xmm: dst].shifted(left: detail.immediate)
    case .shiftBytesRight: self[xmm: dst] = self[xmm: dst].shifted(right: detail.immediate)
    case .insert16:
      let word: UInt16 =
        o.pointee.flags & MicroOp.hasMemory != 0 ? try load(address(o)) : get(src, as: UInt16.self)
      self[xmm: dst].setWord(Int(detail.immediate & 7), word)
    case .extract16: set(dst, UInt32(self[xmm: src].word(Int(detail.immediate & 7))))
    case .signMask:
      var a = XMM()
      var b = self[xmm: src]
      set(dst, chost_sse(detail.stub, &a, &b))
    default:
      let b = try source(o)
      self[xmm: dst] = shuffled(op, self[xmm: dst], b, detail.immediate)
    }
  }

  /// PSHUFD, PSHUFHW, PSHUFLW, SHUFPS, SHUFPD (SDM 2B).
  private func shuffled(_ op: SSEOp, _ a: XMM, _ b: XMM, _ order: UInt8) -> XMM {
    let i0 = Int(order & 3)
    let i1 = Int(order >> 2 & 3)
    let i2 = Int(order >> 4 & 3)
    let i3 = Int(order >> 6)
    switch op {
    case .shuffle32: return XMM(low: pair(b.lane(i0), b.lane(i1)), high: pair(b.lane(i2), b.lane(i3)))
    case .shuffleHigh16: return XMM(low: b.low, high: shuffledWords(b.high, order))
    case .shuffleLow16: return XMM(low: shuffledWords(b.low, order), high: b.high)
    case .shuffleSingle: return XMM(low: pair(a.lane(i0), a.lane(i1)), high: pair(b.lane(i2), b.lane(i3)))
    case .shuffleDouble: return XMM(low: order & 1 == 0 ? a.low : a.high, high: order & 2 == 0 ? b.low : b.high)
    default: preconditionFailure("an SSE micro-op without a body")
    }
  }

  private func pair(_ low: UInt32, _ high: UInt32) -> UInt64 { UInt64(low) | UInt64(high) << 32 }
}

/// Four words picked from four by two bits each (PSHUFW).
func shuffledWords(_ value: UInt64, _ order: UInt8) -> UInt64 {
  var result: UInt64 = 0
  for i in 0..<4 {
    let from = UInt64(order >> (UInt8(i) * 2) & 3) * 16
    let word = value >> from & 0xFFFF
    result |= word << (UInt64(i) * 16)
  }
  return result
}

extension XMM {
  func lane(_ i: Int) -> UInt32 {
    UInt32(truncatingIfNeeded: (i < 2 ? low : high) >> (UInt64(i & 1) * 32))
  }
  func word(_ i: Int) -> UInt16 {
    UInt16(truncatingIfNeeded: (i < 4 ? low : high) >> (UInt64(i & 3) * 16))
  }
  mutating func setWord(_ i: Int, _ value: UInt16) {
    let shift = UInt64(i & 3) * 16
    let keep = ~(UInt64(0xFFFF) << shift)
    let put = UInt64(value) << shift
    if i < 4 { low = low & keep | put } else { high = high & keep | put }
  }
  /// PSLLDQ: counts above 15 give zero, as over-long shifts do.
  func shifted(left bytes: UInt8) -> XMM {
    let all = (UInt128(high) << 64 | UInt128(low)) << (UInt128(bytes) * 8)
    return XMM(low: UInt64(truncatingIfNeeded: all), high: UInt64(truncatingIfNeeded: all >> 64))
  }
  /// PSRLDQ.
  func shifted(right bytes: UInt8) -> XMM {
    let all = (UInt128(high) << 64 | UInt128(low)) >> (UInt128(bytes) * 8)
    return XMM(low: UInt64(truncatingIfNeeded: all), high: UInt64(truncatingIfNeeded: all >> 64))
  }
}
