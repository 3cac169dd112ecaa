import X86

// Control words, environments and whole states (SDM 1 8.1.10, 10.5; figures 8-9 to 8-12).
extension UnsafeMutablePointer<CPU> {
  /// Instructions that move the x87 unit's own registers about.
  func x87Control(_ o: MicroOpPointer, _ op: X87Op) throws(Stop) {
    switch op {
    case .initialize: initializeFPU()
    case .clearExceptions: pointee.fpuStatus &= 0x7F00
    case .loadControl:
      setControlWord(try load(address(o)))
    case .storeControl: try store(address(o), pointee.fpuControl)
    case .storeStatus: try store(address(o), fpuStatusWord)
    case .storeStatusAX: set(0, fpuStatusWord)
    case .loadEnvironment: try restoreEnvironment(o, withRegisters: false)
    case .restore: try restoreEnvironment(o, withRegisters: true)
    case .storeEnvironment:
      try saveEnvironment(o, withRegisters: false)
      pointee.fpuControl |= X87Status.exceptions
      updateSummary()
    case .save:
      try saveEnvironment(o, withRegisters: true)
      initializeFPU()
    default: break
    }
  }

  private func setControlWord(_ value: UInt16) {
    // Bit 6 reads as one, 7 and 13 to 15 as zero.
    pointee.fpuControl = value & 0x1F7F | 0x40
    updateSummary()
  }

  /// FNINIT (SDM 2A): the registers themselves stay.
  func initializeFPU() {
    pointee.fpuControl = 0x37F
    pointee.fpuStatus = 0
    pointee.fpuTop = 0
    pointee.fpuTag = 0xFFFF
    pointee.fpuOpcode = 0
    pointee.fpuInstructionPointer = 0
    pointee.fpuDataPointer = 0
  }

  /// Layouts by operand size and mode: `dst` of the micro-op is 1 for 16-bit operands. The 64-bit mode uses
  /// the 32-bit protected format.
  private func environmentWords(realMode: Bool, narrow: Bool) -> InlineArray<7, UInt32> {
    let ip = UInt32(truncatingIfNeeded: pointee.fpuInstructionPointer)
    let dp = UInt32(truncatingIfNeeded: pointee.fpuDataPointer)
    let opcode = UInt32(pointee.fpuOpcode)
    let control = UInt32(pointee.fpuControl)
    let status = UInt32(fpuStatusWord)
    let tags = UInt32(fpuTagWord)
    // Reserved halves of the 32-bit formats are stored as ones.
    let ones: UInt32 = narrow ? 0 : 0xFFFF_0000
    // Real and virtual-8086 mode keep linear addresses; without selectors the offset stands for them.
    let ipHigh = (ip >> 16) << 12
    let dpHigh = (dp >> 16) << 12
    guard realMode else {
      let code = narrow ? 0 : opcode << 16
      return [control | ones, status | ones, tags | ones, ip, code, dp, ones]
    }
    if narrow {
      return [control, status, tags, ip & 0xFFFF, ipHigh & 0xF000 | opcode, dp & 0xFFFF, dpHigh & 0xF000]
    }
    return [
      control | ones, status | ones, tags | ones, ip & 0xFFFF | ones, ipHigh | opcode, dp & 0xFFFF | ones, dpHigh,
    ]
  }

  private func saveEnvironment(_ o: MicroOpPointer, withRegisters: Bool) throws(Stop) {
    let at = address(o)
    let narrow = o.pointee.dst == 1
    let words = environmentWords(realMode: !isProtected, narrow: narrow)
    let step = narrow ? 2 : 4
    let size = step * 7 + (withRegisters ? 80 : 0)
    try probeRange(at, size)
    for i in 0..<7 {
      let place = offset(at, i * step)
      if narrow { try store(place, UInt16(truncatingIfNeeded: words[i])) } else { try store(place, words[i]) }
    }
    guard withRegisters else { return }
    for i in 0..<8 {
      let register = (Int(pointee.fpuTop) + i) & 7
      let place = step * 7 + i * 10
      try store(offset(at, place), pointee.fpuSignificand[register])
      try store(offset(at, place + 8), pointee.fpuSignExponent[register])
    }
  }

  private func restoreEnvironment(_ o: MicroOpPointer, withRegisters: Bool) throws(Stop) {
    let at = address(o)
    let narrow = o.pointee.dst == 1
    let step = narrow ? 2 : 4
    var words = InlineArray<7, UInt32>(repeating: 0)
    for i in 0..<7 {
      let place = offset(at, i * step)
      words[i] = narrow ? UInt32(try load(place, as: UInt16.self)) : try load(place)
    }
    var significands = InlineArray<8, UInt64>(repeating: 0)
    var exponents = InlineArray<8, UInt16>(repeating: 0)
    if withRegisters {
      for i in 0..<8 {
        let place = step * 7 + i * 10
        significands[i] = try load(offset(at, place))
        exponents[i] = try load(offset(at, place + 8))
      }
    }
    takeEnvironment(words, realMode: !isProtected, narrow: narrow)
    if withRegisters {
      for i in 0..<8 {
        let register = (Int(pointee.fpuTop) + i) & 7
        pointee.fpuSignificand[register] = significands[i]
        pointee.fpuSignExponent[register] = exponents[i]
      }
    }
  }

  private func takeEnvironment(_ words: InlineArray<7, UInt32>, realMode: Bool, narrow: Bool) {
    setStatusWord(UInt16(truncatingIfNeeded: words[1]))
    setTagWord(UInt16(truncatingIfNeeded: words[2]))
    setControlWord(UInt16(truncatingIfNeeded: words[0]))
    if realMode {
      let ipHigh = UInt64(words[4] >> 12) << 16
      let dpHigh = UInt64(words[6] >> 12) << 16
      pointee.fpuInstructionPointer = ipHigh | UInt64(words[3] & 0xFFFF)
      pointee.fpuDataPointer = dpHigh | UInt64(words[5] & 0xFFFF)
      pointee.fpuOpcode = UInt16(words[4] & 0x7FF)
      return
    }
    pointee.fpuInstructionPointer = UInt64(words[3])
    pointee.fpuDataPointer = UInt64(words[5])
    pointee.fpuOpcode = narrow ? 0 : UInt16(words[4] >> 16 & 0x7FF)
  }

  private func offset(_ at: UInt64, _ bytes: Int) -> UInt64 { (at &+ UInt64(bytes)) & pointee.addressMask }

  /// Makes sure that a range of at most a page can be written from end to end.
  private func probeRange(_ at: UInt64, _ size: Int) throws(Stop) {
    try probeWrite(at, 1)
    try probeWrite(offset(at, size - 1), 1)
  }

  // MARK: - FXSAVE, FXRSTOR (SDM 1 10.5, table 10-2)

  /// FXSAVE: `dst` 1 is the REX.W format, `src` the number of XMM registers.
  func fxsave(_ o: MicroOpPointer) throws(Stop) {
    try requireFPU()
    let at = try alignedAddress(o)
    try probeRange(at, 512)
    let pointers = fxPointers(wide: o.pointee.dst == 1)
    let head = UInt64(pointee.fpuControl) | UInt64(fpuStatusWord) << 16
    let tags = UInt64(abridgedTags) << 32
    let opcode = UInt64(pointee.fpuOpcode) << 48
    try store(at, head | tags | opcode)
    try store(offset(at, 8), pointers.instruction)
    try store(offset(at, 16), pointers.data)
    unloadMXCSR()
    try store(offset(at, 24), UInt64(MXCSR.mask) << 32 | UInt64(pointee.mxcsr))
    for i in 0..<8 {
      let register = (Int(pointee.fpuTop) + i) & 7
      try store(offset(at, 32 + i * 16), pointee.fpuSignificand[register])
      try store(offset(at, 40 + i * 16), UInt64(pointee.fpuSignExponent[register]))
    }
    for i in 0..<Int(o.pointee.src) * 2 { try store(offset(at, 160 + i * 8), pointee.xmm[i]) }
  }

  private func fxPointers(wide: Bool) -> (instruction: UInt64, data: UInt64) {
    if wide { return (pointee.fpuInstructionPointer, pointee.fpuDataPointer) }
    return (pointee.fpuInstructionPointer & 0xFFFF_FFFF, pointee.fpuDataPointer & 0xFFFF_FFFF)
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
    var image = InlineArray<52, UInt64>(repeating: 0)
    let used = 20 + Int(o.pointee.src) * 2
    for i in 0..<used { image[i] = try load(offset(at, i * 8)) }
    // The area is 512 bytes: its end must be readable too.
    _ = try load(offset(at, 504), as: UInt64.self)
    let mxcsr = UInt32(truncatingIfNeeded: image[3])
    if mxcsr & ~MXCSR.mask != 0 { throw raise(.gp, 0) }
    takeFX(image, wide: o.pointee.dst == 1)
    unloadMXCSR()
    pointee.mxcsr = mxcsr
    for i in 0..<Int(o.pointee.src) * 2 { pointee.xmm[i] = image[20 + i] }
  }

  private func takeFX(_ image: InlineArray<52, UInt64>, wide: Bool) {
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
