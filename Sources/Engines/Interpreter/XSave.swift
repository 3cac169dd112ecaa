import VMCore
import X86

/// XCR0 (SDM 3A 2.6).
enum XCR0 {
  static let x87: UInt64 = 1
  static let sse: UInt64 = 2
  static let avx: UInt64 = 4
  /// What a processor with AVX allows.
  static let supported: UInt64 = 7
}

/// The standard format of an XSAVE area (SDM 1 13.4): the 512 bytes of FXSAVE, a header, the upper halves.
enum XSaveArea {
  static let header = 512
  static let upper = 576
  static let upperBytes = 256

  /// Bytes for these components.
  static func size(_ components: UInt64) -> Int { components & XCR0.avx != 0 ? upper + upperBytes : upper }
}

/// XGETBV, XSETBV, XSAVE, XRSTOR (SDM 1 chapter 13). No component is ever told to be in its initial state: XSTATE_BV
/// has a bit for each that was asked for.
extension UnsafeMutablePointer<CPU> {
  func extendedState(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    if pointee.cr4 & CR4.osxsave == 0 { throw raise(.ud) }
    switch op {
    case .xgetbv:
      guard get(8, as: UInt32.self) == 0 else { throw raise(.gp, 0) }
      setPair(pointee.xcr0)
    case .xsetbv: try setXCR()
    case .xsave: try xsave(o)
    default: try xrstor(o)
    }
  }

  private func setXCR() throws(Stop) {
    try requireRing0()
    try intercept(.xsetbv, .xsetbv)
    if try offer(.always, .xsetbv, .xsetbv, .none) { return }
    let value = pair
    let known = value & ~XCR0.supported == 0 && value & XCR0.x87 != 0
    let ordered = value & XCR0.avx == 0 || value & XCR0.sse != 0
    guard get(8, as: UInt32.self) == 0, known, ordered else { throw raise(.gp, 0) }
    pointee.xcr0 = value
  }

  /// The address of an area, on a multiple of 64.
  private func areaAddress(_ o: MicroOpPointer) throws(Stop) -> UInt64 {
    if pointee.cr0 & CR0.ts != 0 { throw raise(.nm) }
    let at = address(o)
    if at & 63 != 0 { throw raise(.gp, 0) }
    return at
  }

  private func xsave(_ o: MicroOpPointer) throws(Stop) {
    let at = try areaAddress(o)
    let wanted = pointee.xcr0 & pair
    let vectors = Int(o.pointee.src)
    try probeRange(at, XSaveArea.size(wanted))
    let bits: UInt64 = try load(offset(at, XSaveArea.header))
    if wanted & XCR0.x87 != 0 { try storeX87(at, wide: o.pointee.dst == 1) }
    if wanted & (XCR0.sse | XCR0.avx) != 0 { try storeMXCSR(at) }
    if wanted & XCR0.sse != 0 { try storeXMM(at, count: vectors) }
    if wanted & XCR0.avx != 0 {
      for i in 0..<vectors * 2 { try store(offset(at, XSaveArea.upper + i * 8), pointee.ymmHigh[i]) }
    }
    try store(offset(at, XSaveArea.header), bits | wanted)
  }

  private func xrstor(_ o: MicroOpPointer) throws(Stop) {
    let at = try areaAddress(o)
    let wanted = pointee.xcr0 & pair
    let vectors = Int(o.pointee.src)
    let present: UInt64 = try load(offset(at, XSaveArea.header))
    // XCOMP_BV and what follows it: only the standard format is known.
    for i in 1..<3 where try load(offset(at, XSaveArea.header + i * 8), as: UInt64.self) != 0 { throw raise(.gp, 0) }
    guard present & ~pointee.xcr0 == 0 else { throw raise(.gp, 0) }
    let image = try loadFXArea(at, vectors: vectors)
    var upper = InlineArray<32, UInt64>(repeating: 0)
    if wanted & present & XCR0.avx != 0 {
      for i in 0..<vectors * 2 { upper[i] = try load(offset(at, XSaveArea.upper + i * 8)) }
    }
    if wanted & (XCR0.sse | XCR0.avx) != 0 { takeMXCSR(try checkedMXCSR(image)) }
    if wanted & XCR0.x87 != 0 {
      if present & XCR0.x87 != 0 { takeX87(image, wide: o.pointee.dst == 1) } else { resetX87() }
    }
    let nothing = InlineArray<52, UInt64>(repeating: 0)
    if wanted & XCR0.sse != 0 { takeXMM(present & XCR0.sse != 0 ? image : nothing, count: vectors) }
    if wanted & XCR0.avx != 0 { for i in 0..<vectors * 2 { pointee.ymmHigh[i] = upper[i] } }
  }

  /// The x87 unit's initial state: FNINIT's, and empty registers hold nothing.
  private func resetX87() {
    initializeFPU()
    for i in 0..<8 {
      pointee.fpuSignificand[i] = 0
      pointee.fpuSignExponent[i] = 0
    }
  }
}
