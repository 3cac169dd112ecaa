import CHost
import X86

/// MXCSR (SDM 1 10.2.3).
enum MXCSR {
  /// IE DE ZE OE UE PE.
  static let flags: UInt32 = 0x3F
  /// IE, DE, ZE: found before anything is computed.
  static let early: UInt32 = 0x07
  static let overflow: UInt32 = 0x08
  static let underflow: UInt32 = 0x10
  static let precision: UInt32 = 0x20
  static let daz: UInt32 = 0x40
  static let masks: UInt32 = 0x1F80
  /// The masks of OE and UE.
  static let lateMasks: UInt32 = 0x0C00
  static let flushToZero: UInt32 = 0x8000
  /// Bits that may be set, as FXSAVE reports them in MXCSR_MASK.
  static let mask: UInt32 = 0xFFFF
}

// Floating point is done by the host's instruction under the guest's MXCSR, which is exact but pays for two
// LDMXCSR and two STMXCSR. The hottest instructions avoid that with plain arithmetic under the host's own
// MXCSR (all masked, round to nearest) when three things hold: the guest's control bits are the same, both
// operands and the result are zero or well inside the normal range, so that no flag but PE can rise, and PE
// is set already or the result is seen to be exact. Nothing stays loaded between instructions, so the
// monitor's own code never meets the guest's MXCSR.

/// Float and Double by their bits, the sign shifted out at the top: one subtraction and comparison tells
/// what a number is.
protocol QuickFloat: BinaryFloatingPoint {
  /// The bits without sign, at the upper end of a quadword.
  var magnitudeBits: UInt64 { get }
  /// The lowest bit of the exponent there.
  static var exponentUnit: UInt64 { get }
}

extension Double: QuickFloat {
  @inline(__always) var magnitudeBits: UInt64 { bitPattern &<< 1 }
  @inline(__always) static var exponentUnit: UInt64 { 1 << 53 }
}

extension Float: QuickFloat {
  @inline(__always) var magnitudeBits: UInt64 { UInt64(bitPattern) &<< 33 }
  @inline(__always) static var exponentUnit: UInt64 { 1 << 56 }
}

extension QuickFloat {
  /// Zero or normal: neither DE nor IE can come from it.
  @inline(__always) var isPlain: Bool {
    let bits = magnitudeBits
    let unit = Self.exponentUnit
    return bits &- unit < 0 &- unit &- unit || bits == 0
  }
  /// Finite, and far enough from the smallest normal number that rounding can have hidden no underflow.
  @inline(__always) var isAmple: Bool {
    let least = Self.exponentUnit &* 2
    return magnitudeBits &- least < 0 &- Self.exponentUnit &- least
  }
}

extension UnsafeMutablePointer<CPU> {
  /// Round to nearest, all masked, neither DAZ nor FTZ.
  @inline(__always) var hasDefaultMXCSR: Bool { pointee.mxcsr & 0xFFC0 == MXCSR.masks }
  /// The same, and PE is set.
  @inline(__always) var ignoresPrecision: Bool { pointee.mxcsr & 0xFFE0 == MXCSR.masks | MXCSR.precision }

  /// a + b where no flag changes, else nil.
  @inline(__always) func quickSum<F: QuickFloat>(_ a: F, _ b: F) -> F? {
    let sum = a + b
    guard a.isPlain, b.isPlain, sum.isPlain else { return nil }
    return ignoresPrecision || (hasDefaultMXCSR && Self.isExact(sum, a, b)) ? sum : nil
  }
  /// A sum that rounds is told from an exact one by Dekker's argument: for the larger operand the difference
  /// is exact, so if both differences give back the other operand nothing was lost.
  @inline(__always) private static func isExact<F: QuickFloat>(_ sum: F, _ a: F, _ b: F) -> Bool {
    sum - a == b && sum - b == a
  }

  /// a * b where no flag changes, else nil. The product is exact if the significands together have no more
  /// bits than one.
  @inline(__always) func quickProduct<F: QuickFloat>(_ a: F, _ b: F) -> F? {
    let product = a * b
    guard a.isPlain, b.isPlain else { return nil }
    if !product.isAmple {
      return hasDefaultMXCSR && (a.magnitudeBits == 0 || b.magnitudeBits == 0) ? product : nil
    }
    if ignoresPrecision { return product }
    let bits = F.exponentUnit.trailingZeroBitCount
    let fraction = F.exponentUnit &- 1
    let zerosA = (a.magnitudeBits & fraction | F.exponentUnit).trailingZeroBitCount
    let zerosB = (b.magnitudeBits & fraction | F.exponentUnit).trailingZeroBitCount
    // Zeros below the significand's last bit, which lies higher in a Float, count twice.
    let spare = bits &+ bits &- 2 &* F.significandBitCount
    return hasDefaultMXCSR && zerosA &+ zerosB &- spare >= F.significandBitCount ? product : nil
  }

  /// a / b where no flag changes, else nil.
  @inline(__always) func quickQuotient<F: QuickFloat>(_ a: F, _ b: F) -> F? {
    let quotient = a / b
    guard ignoresPrecision, a.isPlain, b.isPlain, a.magnitudeBits != 0, b.magnitudeBits != 0, quotient.isAmple else {
      return nil
    }
    return quotient
  }

  @inline(__always) func addScalar(_ o: MicroOpPointer, _ b: UInt64) throws(Stop) {
    let a = self[xmmLow: o.pointee.dst]
    guard let sum = quickSum(Double(bitPattern: a), Double(bitPattern: b)) else { return try float(o, XMM(low: b)) }
    self[xmmLow: o.pointee.dst] = sum.bitPattern
  }
  @inline(__always) func subtractScalar(_ o: MicroOpPointer, _ b: UInt64) throws(Stop) {
    let a = self[xmmLow: o.pointee.dst]
    guard let sum = quickSum(Double(bitPattern: a), -Double(bitPattern: b)) else { return try float(o, XMM(low: b)) }
    self[xmmLow: o.pointee.dst] = sum.bitPattern
  }
  @inline(__always) func multiplyScalar(_ o: MicroOpPointer, _ b: UInt64) throws(Stop) {
    let a = self[xmmLow: o.pointee.dst]
    guard let product = quickProduct(Double(bitPattern: a), Double(bitPattern: b)) else {
      return try float(o, XMM(low: b))
    }
    self[xmmLow: o.pointee.dst] = product.bitPattern
  }
  @inline(__always) func divideScalar(_ o: MicroOpPointer, _ b: UInt64) throws(Stop) {
    let a = self[xmmLow: o.pointee.dst]
    guard let quotient = quickQuotient(Double(bitPattern: a), Double(bitPattern: b)) else {
      return try float(o, XMM(low: b))
    }
    self[xmmLow: o.pointee.dst] = quotient.bitPattern
  }
  @inline(__always) func squareRootScalar(_ o: MicroOpPointer, _ b: UInt64) throws(Stop) {
    let value = Double(bitPattern: b)
    guard ignoresPrecision, value.isPlain, value > 0 else { return try float(o, XMM(low: b)) }
    self[xmmLow: o.pointee.dst] = value.squareRoot().bitPattern
  }

  @inline(__always) func addPacked(_ o: MicroOpPointer, _ b: XMM) throws(Stop) {
    let a = self[xmm: o.pointee.dst]
    guard let low = quickSum(Double(bitPattern: a.low), Double(bitPattern: b.low)),
      let high = quickSum(Double(bitPattern: a.high), Double(bitPattern: b.high))
    else { return try float(o, b) }
    self[xmm: o.pointee.dst] = XMM(low: low.bitPattern, high: high.bitPattern)
  }
  @inline(__always) func subtractPacked(_ o: MicroOpPointer, _ b: XMM) throws(Stop) {
    let a = self[xmm: o.pointee.dst]
    guard let low = quickSum(Double(bitPattern: a.low), -Double(bitPattern: b.low)),
      let high = quickSum(Double(bitPattern: a.high), -Double(bitPattern: b.high))
    else { return try float(o, b) }
    self[xmm: o.pointee.dst] = XMM(low: low.bitPattern, high: high.bitPattern)
  }
  @inline(__always) func multiplyPacked(_ o: MicroOpPointer, _ b: XMM) throws(Stop) {
    let a = self[xmm: o.pointee.dst]
    guard let low = quickProduct(Double(bitPattern: a.low), Double(bitPattern: b.low)),
      let high = quickProduct(Double(bitPattern: a.high), Double(bitPattern: b.high))
    else { return try float(o, b) }
    self[xmm: o.pointee.dst] = XMM(low: low.bitPattern, high: high.bitPattern)
  }

  @inline(__always) private func single(_ o: MicroOpPointer) -> Float {
    Float(bitPattern: UInt32(truncatingIfNeeded: self[xmmLow: o.pointee.dst]))
  }
  @inline(__always) private func setSingle(_ o: MicroOpPointer, _ value: Float) {
    self[xmmLow: o.pointee.dst] = self[xmmLow: o.pointee.dst] & ~0xFFFF_FFFF | UInt64(value.bitPattern)
  }
  @inline(__always) func addSingle(_ o: MicroOpPointer, _ b: UInt32) throws(Stop) {
    guard let sum = quickSum(single(o), Float(bitPattern: b)) else { return try float(o, XMM(low: UInt64(b))) }
    setSingle(o, sum)
  }
  @inline(__always) func subtractSingle(_ o: MicroOpPointer, _ b: UInt32) throws(Stop) {
    guard let sum = quickSum(single(o), -Float(bitPattern: b)) else { return try float(o, XMM(low: UInt64(b))) }
    setSingle(o, sum)
  }
  @inline(__always) func multiplySingle(_ o: MicroOpPointer, _ b: UInt32) throws(Stop) {
    guard let product = quickProduct(single(o), Float(bitPattern: b)) else {
      return try float(o, XMM(low: UInt64(b)))
    }
    setSingle(o, product)
  }
  @inline(__always) func divideSingle(_ o: MicroOpPointer, _ b: UInt32) throws(Stop) {
    guard let quotient = quickQuotient(single(o), Float(bitPattern: b)) else {
      return try float(o, XMM(low: UInt64(b)))
    }
    setSingle(o, quotient)
  }

  /// The MXCSR to load on the host: the guest's with all exceptions masked and no flags. FTZ works only
  /// while underflow is masked (SDM 1 10.2.3.3).
  var hostControl: UInt32 {
    let control = pointee.mxcsr & ~MXCSR.flags | MXCSR.masks
    return pointee.mxcsr & MXCSR.underflow << 7 == 0 ? control & ~MXCSR.flushToZero : control
  }

  /// Takes over the flags an instruction raised; throws #XM, or #UD without CR4.OSXMMEXCPT, if one of them
  /// is unmasked: then the destination must stay as it was. Exceptions found before computing hide those
  /// found after it (SDM 1 4.9.2, 11.5.2).
  func settle(_ raised: UInt32) throws(Stop) {
    let unmasked = raised & ~(pointee.mxcsr >> 7) & MXCSR.flags
    if unmasked == 0 {
      pointee.mxcsr |= raised
      return
    }
    pointee.mxcsr |= unmasked & MXCSR.early != 0 ? raised & MXCSR.early : raised
    throw raise(pointee.cr4 & CR4.osxmmexcpt != 0 ? .xm : .ud)
  }

  /// An instruction on XMM registers under MXCSR.
  @inline(never) func float(_ o: MicroOpPointer, _ source: XMM) throws(Stop) {
    let stub = SSEDetail(o.pointee.imm).stub
    var a = self[xmm: o.pointee.dst]
    var b = source
    var control = hostControl
    chost_sse_float(stub, &a, &b, &control)
    var raised = control & MXCSR.flags
    if pointee.mxcsr & MXCSR.lateMasks != MXCSR.lateMasks {
      raised = FloatShape(stub: stub).raised(raised, self[xmm: o.pointee.dst], source, mxcsr: pointee.mxcsr)
    }
    try settle(raised)
    self[xmm: o.pointee.dst] = a
  }

  /// COMISx, UCOMISx: ZF, PF, CF from the comparison; OF, SF, AF cleared.
  func compareScalar(_ o: MicroOpPointer, _ source: XMM) throws(Stop) {
    var a = self[xmm: o.pointee.dst]
    var b = source
    var control = hostControl
    let flags = chost_sse_compare(SSEDetail(o.pointee.imm).stub, &a, &b, &control)
    try settle(control & MXCSR.flags)
    replaceFlags(pointee.rflags & ~RFLAGS.arithmetic | flags & RFLAGS.arithmetic)
  }

  /// CVTSI2SS, CVTSI2SD.
  func convertFromGPR(_ o: MicroOpPointer) throws(Stop) {
    let detail = SSEDetail(o.pointee.imm)
    let value: UInt64 =
      o.pointee.flags & MicroOp.hasMemory != 0 ? try narrowLoad(address(o), detail.bytes) : get(o.pointee.src)
    var a = self[xmm: o.pointee.dst]
    var control = hostControl
    chost_sse_from_gpr(detail.stub, &a, value, &control)
    try settle(control & MXCSR.flags)
    self[xmm: o.pointee.dst] = a
  }

  /// CVT(T)SS2SI, CVT(T)SD2SI. The host's instruction has cleared the upper half of a 32-bit result.
  func convertToGPR(_ o: MicroOpPointer, _ source: XMM) throws(Stop) {
    var b = source
    var control = hostControl
    let value = chost_sse_to_gpr(SSEDetail(o.pointee.imm).stub, &b, &control)
    try settle(control & MXCSR.flags)
    set(o.pointee.dst, value)
  }
}
