import CHost
import X86

/// MXCSR (SDM 1 10.2.3).
enum MXCSR {
  /// IE DE ZE OE UE PE.
  static let flags: UInt32 = 0x3F
  static let daz: UInt32 = 0x40
  static let masks: UInt32 = 0x1F80
  /// Bits that may be set, as FXSAVE reports them in MXCSR_MASK.
  static let mask: UInt32 = 0xFFFF
}

// Floating point is done by the host's instruction under the guest's MXCSR. While the guest masks all
// exceptions (nearly always) its MXCSR is loaded at the first such instruction and stays loaded until `run`
// returns or someone looks at it: the flags gather there by themselves (`CPU.mxcsrLoaded`). Code of ours
// that runs meanwhile computes nothing in floating point.

extension UnsafeMutablePointer<CPU> {
  /// True where the guest's MXCSR is loaded, or has been by this; false where an exception is unmasked, so
  /// that each instruction's flags must be looked at.
  @inline(__always) var floatsFreely: Bool { pointee.mxcsrLoaded || loadMXCSR() }
  @inline(never) private func loadMXCSR() -> Bool {
    guard pointee.mxcsr & MXCSR.masks == MXCSR.masks else { return false }
    chost_load_mxcsr(pointee.mxcsr)
    pointee.mxcsrLoaded = true
    return true
  }
  /// Gives the host its own MXCSR back; `CPU.mxcsr` is right after it.
  @inline(__always) func unloadMXCSR() {
    if pointee.mxcsrLoaded { takeMXCSR() }
  }
  @inline(never) private func takeMXCSR() {
    // Flags found by an instruction under an MXCSR of its own have gone to `mxcsr`.
    pointee.mxcsr |= chost_read_mxcsr() & MXCSR.flags
    chost_load_mxcsr(MXCSR.masks)
    pointee.mxcsrLoaded = false
  }

  @inline(__always) func scalar(
    _ o: MicroOpPointer, _ b: UInt64, _ operation: (Double, Double) -> Double
  ) throws(Stop) {
    guard floatsFreely else { return try float(o, XMM(low: b)) }
    let a = Double(bitPattern: self[xmmLow: o.pointee.dst])
    self[xmmLow: o.pointee.dst] = operation(a, Double(bitPattern: b)).bitPattern
  }
  @inline(__always) func single(_ o: MicroOpPointer, _ b: UInt32, _ operation: (Float, Float) -> Float) throws(Stop) {
    guard floatsFreely else { return try float(o, XMM(low: UInt64(b))) }
    let old = self[xmmLow: o.pointee.dst]
    let a = Float(bitPattern: UInt32(truncatingIfNeeded: old))
    let result = operation(a, Float(bitPattern: b)).bitPattern
    self[xmmLow: o.pointee.dst] = old & ~0xFFFF_FFFF | UInt64(result)
  }
  @inline(__always) func doubles(
    _ o: MicroOpPointer, _ b: XMM, _ operation: (SIMD2<Double>, SIMD2<Double>) -> SIMD2<Double>
  ) throws(Stop) {
    guard floatsFreely else { return try float(o, b) }
    self[xmm: o.pointee.dst] = XMM(operation(self[xmm: o.pointee.dst].doubles, b.doubles))
  }
  @inline(__always) func singles(
    _ o: MicroOpPointer, _ b: XMM, _ operation: (SIMD4<Float>, SIMD4<Float>) -> SIMD4<Float>
  ) throws(Stop) {
    guard floatsFreely else { return try float(o, b) }
    self[xmm: o.pointee.dst] = XMM(operation(self[xmm: o.pointee.dst].singles, b.singles))
  }

  /// The MXCSR to load on the host for one instruction: the guest's without flags, so that those found come out.
  var hostControl: UInt32 { pointee.mxcsr & ~MXCSR.flags }

  /// Takes over the flags an instruction raised; throws #XM, or #UD without CR4.OSXMMEXCPT, if one of them
  /// is unmasked: then the destination has stayed as it was.
  func settle(_ raised: UInt32) throws(Stop) {
    pointee.mxcsr |= raised
    if raised & ~(pointee.mxcsr >> 7) & MXCSR.flags == 0 { return }
    throw raise(pointee.cr4 & CR4.osxmmexcpt != 0 ? .xm : .ud)
  }

  /// An instruction on XMM registers under MXCSR.
  @inline(never) func float(_ o: MicroOpPointer, _ source: XMM) throws(Stop) {
    let stub = SSEDetail(o.pointee.imm).stub
    var a = self[xmm: o.pointee.dst]
    var b = source
    if floatsFreely {
      _ = chost_sse(stub, &a, &b)
      self[xmm: o.pointee.dst] = a
      return
    }
    var control = hostControl
    chost_sse_float(stub, &a, &b, &control)
    try settle(control & MXCSR.flags)
    self[xmm: o.pointee.dst] = a
  }

  /// COMISx, UCOMISx: ZF, PF, CF from the comparison; OF, SF, AF cleared.
  func compareScalar(_ o: MicroOpPointer, _ source: XMM) throws(Stop) {
    if floatsFreely {
      let flags = UInt64(quickCompare(SSEDetail(o.pointee.imm).stub, self[xmmLow: o.pointee.dst], source.low))
      // CF, PF and ZF lie at bits 0, 2 and 6.
      let spread = flags & 1 | (flags & 2) << 1 | (flags & 4) << 4
      return replaceFlags(pointee.rflags & ~RFLAGS.arithmetic | spread)
    }
    var a = self[xmm: o.pointee.dst]
    var b = source
    var control = hostControl
    let flags = chost_sse_compare(SSEDetail(o.pointee.imm).stub, &a, &b, &control)
    try settle(control & MXCSR.flags)
    replaceFlags(pointee.rflags & ~RFLAGS.arithmetic | flags & RFLAGS.arithmetic)
  }

  @inline(__always) private func quickCompare(_ stub: UInt32, _ a: UInt64, _ b: UInt64) -> UInt8 {
    let doubles = (Double(bitPattern: a), Double(bitPattern: b))
    let singles = (
      Float(bitPattern: UInt32(truncatingIfNeeded: a)), Float(bitPattern: UInt32(truncatingIfNeeded: b))
    )
    switch stub {
    case 0x12E: return chost_ucomisd(doubles.0, doubles.1)
    case 0x12F: return chost_comisd(doubles.0, doubles.1)
    case 0x02E: return chost_ucomiss(singles.0, singles.1)
    default: return chost_comiss(singles.0, singles.1)
    }
  }

  /// CVTSI2SS, CVTSI2SD.
  func convertFromGPR(_ o: MicroOpPointer) throws(Stop) {
    let detail = SSEDetail(o.pointee.imm)
    let value: UInt64 =
      o.pointee.flags & MicroOp.hasMemory != 0 ? try narrowLoad(address(o), detail.bytes) : get(o.pointee.src)
    if floatsFreely, detail.stub == 0x32A || detail.stub == 1059 {
      let result = detail.stub == 1059 ? chost_cvtsi2sd64(value) : chost_cvtsi2sd32(UInt32(truncatingIfNeeded: value))
      self[xmmLow: o.pointee.dst] = result.bitPattern
      return
    }
    var a = self[xmm: o.pointee.dst]
    var control = hostControl
    chost_sse_from_gpr(detail.stub, &a, value, &control)
    try settle(control & MXCSR.flags)
    self[xmm: o.pointee.dst] = a
  }

  /// CVT(T)SS2SI, CVT(T)SD2SI. The host's instruction has cleared the upper half of a 32-bit result.
  func convertToGPR(_ o: MicroOpPointer, _ source: XMM) throws(Stop) {
    let stub = SSEDetail(o.pointee.imm).stub
    if floatsFreely, stub == 0x32C || stub == 1060 {
      let number = Double(bitPattern: source.low)
      set(o.pointee.dst, stub == 1060 ? chost_cvttsd2si64(number) : UInt64(chost_cvttsd2si32(number)))
      return
    }
    var b = source
    var control = hostControl
    let value = chost_sse_to_gpr(stub, &b, &control)
    try settle(control & MXCSR.flags)
    set(o.pointee.dst, value)
  }
}
