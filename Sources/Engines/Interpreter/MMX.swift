import CHost
import X86

// MMX registers are the significands of the physical x87 registers. Every MMX instruction leaves TOP 0 and
// all tags valid (EMMS: empty); a write sets the register's sign and exponent to all ones (SDM 3A 12.2).
extension UnsafeMutablePointer<CPU> {
  /// #UD, #NM and a pending x87 exception before MMX instructions (SDM 3A table 23-1).
  func requireMMX() throws(Stop) {
    if pointee.cr0 & CR0.em != 0 { throw raise(.ud) }
    if pointee.cr0 & CR0.ts != 0 { throw raise(.nm) }
    try requireNoFPUException()
  }

  private func enterMMX() {
    pointee.fpuTop = 0
    pointee.fpuTag = 0
  }
  subscript(mm index: UInt8) -> UInt64 {
    get { pointee.fpuSignificand[Int(index & 7)] }
    nonmutating set {
      pointee.fpuSignificand[Int(index & 7)] = newValue
      pointee.fpuSignExponent[Int(index & 7)] = 0xFFFF
    }
  }

  private func mmxSource(_ o: MicroOpPointer) throws(Stop) -> UInt64 {
    if o.pointee.flags & MicroOp.hasMemory == 0 { return self[mm: o.pointee.src] }
    return try narrowLoad(address(o), SSEDetail(o.pointee.imm).bytes)
  }

  @inline(never) func mmx(_ o: MicroOpPointer, _ op: SSEOp) throws(Stop) {
    // CVTPI2Px from memory touches no MMX register.
    if op != .convertFromMMX || o.pointee.flags & MicroOp.hasMemory == 0 { try requireMMX() }
    let dst = o.pointee.dst
    let src = o.pointee.src
    let detail = SSEDetail(o.pointee.imm)
    // What can fault comes first, then the transition to MMX state, then the write.
    var value: UInt64 = 0
    switch op {
    case .emms:
      pointee.fpuTop = 0
      pointee.fpuTag = 0xFFFF
      return
    case .mmxMove: value = self[mm: src]
    case .mmxLoad32, .mmxLoad64: value = try narrowLoad(address(o), detail.bytes)
    case .mmxFromGPR32: value = UInt64(get(src, as: UInt32.self))
    case .mmxFromGPR64: value = get(src)
    case .mmxFromXMM: value = self[xmmLow: src]
    case .mmxInteger:
      value = self[mm: dst]
      var b = try mmxSource(o)
      _ = chost_mmx(detail.stub, &value, &b)
    case .mmxShiftImmediate:
      value = self[mm: dst]
      var count = UInt64(detail.immediate)
      _ = chost_mmx(detail.stub, &value, &count)
    case .mmxShuffle: value = shuffledWords(try mmxSource(o), detail.immediate)
    case .mmxInsert16:
      let word: UInt16 =
        o.pointee.flags & MicroOp.hasMemory != 0 ? try load(address(o)) : get(src, as: UInt16.self)
      var all = XMM(low: self[mm: dst])
      all.setWord(Int(detail.immediate & 3), word)
      value = all.low
    case .convertToMMX:
      var b = try source(o)
      var control = hostControl
      chost_sse_to_mmx(detail.stub, &value, &b, &control)
      // MMX state is entered even if #XM follows.
      enterMMX()
      try settle(control & MXCSR.flags)
    default: return try mmxOutward(o, op)
    }
    enterMMX()
    self[mm: dst] = value
  }

  /// Instructions that read MMX registers and write something else.
  private func mmxOutward(_ o: MicroOpPointer, _ op: SSEOp) throws(Stop) {
    let dst = o.pointee.dst
    let src = o.pointee.src
    let detail = SSEDetail(o.pointee.imm)
    switch op {
    case .mmxStore32: try store(address(o), UInt32(truncatingIfNeeded: self[mm: src]))
    case .mmxStore64: try store(address(o), self[mm: src])
    case .mmxToGPR32: set(dst, UInt32(truncatingIfNeeded: self[mm: src]))
    case .mmxToGPR64: set(dst, self[mm: src])
    case .mmxToXMM: self[xmm: dst] = XMM(low: self[mm: src])
    case .mmxExtract16: set(dst, UInt32(XMM(low: self[mm: src]).word(Int(detail.immediate & 3))))
    case .mmxSignMask:
      var a: UInt64 = 0
      var b = self[mm: src]
      set(dst, chost_mmx(detail.stub, &a, &b))
    case .mmxMaskedStore:
      let data = XMM(low: self[mm: dst])
      let mask = XMM(low: self[mm: src])
      try storeMasked(address(o), data, mask, count: 8)
    case .convertFromMMX:
      var a = self[xmm: dst]
      var b = try mmxSource(o)
      var control = hostControl
      chost_sse_from_mmx(detail.stub, &a, &b, &control)
      // From memory MMX state is not entered. SDM 2A says so of CVTPI2PD; processors do the same for CVTPI2PS.
      if o.pointee.flags & MicroOp.hasMemory == 0 { enterMMX() }
      try settle(control & MXCSR.flags)
      self[xmm: dst] = a
      return
    default: preconditionFailure("an MMX micro-op without a body")
    }
    enterMMX()
  }
}
