import X86

/// FXSAVE and FXRSTOR, and the area's parts that XSAVE shares with them (SDM 1 10.5, table 10-2).
extension UnsafeMutablePointer<CPU> {
  /// FXSAVE: `dst` 1 is the REX.W format, `src` the number of XMM registers.
  func fxsave(_ o: MicroOpPointer) throws(Stop) {
    try requireFPU()
    let at = try alignedAddress(o)
    try probeRange(at, 512)
    try storeX87(at, wide: o.pointee.dst == 1)
    try storeMXCSR(at)
    try storeXMM(at, count: Int(o.pointee.src))
  }

  /// The x87 unit's part of the area, that `probeRange` has looked at.
  func storeX87(_ at: UInt64, wide: Bool) throws(Stop) {
    let pointers: UInt64 = wide ? .max : 0xFFFF_FFFF
    let head = UInt64(pointee.fpuControl) | UInt64(fpuStatusWord) << 16
    let tags = UInt64(abridgedTags) << 32
    let opcode = UInt64(pointee.fpuOpcode) << 48
    try store(at, head | tags | opcode)
    try store(offset(at, 8), pointee.fpuInstructionPointer & pointers)
    try store(offset(at, 16), pointee.fpuDataPointer & pointers)
    for i in 0..<8 {
      let register = (Int(pointee.fpuTop) + i) & 7
      try store(offset(at, 32 + i * 16), pointee.fpuSignificand[register])
      try store(offset(at, 40 + i * 16), UInt64(pointee.fpuSignExponent[register]))
    }
  }
  func storeMXCSR(_ at: UInt64) throws(Stop) {
    unloadMXCSR()
    try store(offset(at, 24), UInt64(MXCSR.mask) << 32 | UInt64(pointee.mxcsr))
  }
  func storeXMM(_ at: UInt64, count: Int) throws(Stop) {
    for i in 0..<count * 2 { try store(offset(at, 160 + i * 8), pointee.xmm[i]) }
  }

  /// One bit a physical register, 1 = not empty.
  var abridgedTags: UInt8 {
    var tags: UInt8 = 0
    for i in 0..<8 where pointee.fpuTag >> (UInt16(i) * 2) & 3 != 3 { tags |= 1 << UInt8(i) }
    return tags
  }

  /// FXRSTOR: #GP(0) for reserved bits of MXCSR, before anything is changed.
  func fxrstor(_ o: MicroOpPointer) throws(Stop) {
    try requireFPU()
    let at = try alignedAddress(o)
    let image = try loadFXArea(at, vectors: Int(o.pointee.src))
    // The area is 512 bytes: its end must be readable too.
    _ = try load(offset(at, 504), as: UInt64.self)
    let mxcsr = try checkedMXCSR(image)
    takeX87(image, wide: o.pointee.dst == 1)
    takeMXCSR(mxcsr)
    takeXMM(image, count: Int(o.pointee.src))
  }

  /// The area as far as it is used, for so many XMM registers.
  func loadFXArea(_ at: UInt64, vectors: Int) throws(Stop) -> InlineArray<52, UInt64> {
    var image = InlineArray<52, UInt64>(repeating: 0)
    for i in 0..<20 + vectors * 2 { image[i] = try load(offset(at, i * 8)) }
    return image
  }
  func checkedMXCSR(_ image: InlineArray<52, UInt64>) throws(Stop) -> UInt32 {
    let mxcsr = UInt32(truncatingIfNeeded: image[3])
    if mxcsr & ~MXCSR.mask != 0 { throw raise(.gp, 0) }
    return mxcsr
  }
  func takeMXCSR(_ value: UInt32) {
    unloadMXCSR()
    pointee.mxcsr = value
  }
  func takeXMM(_ image: InlineArray<52, UInt64>, count: Int) {
    for i in 0..<count * 2 { pointee.xmm[i] = image[20 + i] }
  }

  func takeX87(_ image: InlineArray<52, UInt64>, wide: Bool) {
    let head = image[0]
    setStatusWord(UInt16(truncatingIfNeeded: head >> 16))
    let tags = UInt8(truncatingIfNeeded: head >> 32)
    var full: UInt16 = 0
    for i in 0..<8 where tags >> UInt8(i) & 1 == 0 { full |= 3 << (UInt16(i) * 2) }
    pointee.fpuTag = full
    setControlWord(UInt16(truncatingIfNeeded: head))
    pointee.fpuOpcode = UInt16(truncatingIfNeeded: head >> 48) & 0x7FF
    pointee.fpuInstructionPointer = wide ? image[1] : image[1] & 0xFFFF_FFFF
    pointee.fpuDataPointer = wide ? image[2] : image[2] & 0xFFFF_FFFF
    for i in 0..<8 {
      let register = (Int(pointee.fpuTop) + i) & 7
      pointee.fpuSignificand[register] = image[4 + i * 2]
      pointee.fpuSignExponent[register] = UInt16(truncatingIfNeeded: image[5 + i * 2])
    }
  }
}
