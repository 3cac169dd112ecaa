import X86

// Control words and environments (SDM 1 8.1.10; figures 8-9 to 8-12).
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

  func setControlWord(_ value: UInt16) {
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

  /// An address some bytes on.
  func offset(_ at: UInt64, _ bytes: Int) -> UInt64 { (at &+ UInt64(bytes)) & pointee.addressMask }

  /// Makes sure that a range of at most a page can be written from end to end.
  func probeRange(_ at: UInt64, _ size: Int) throws(Stop) {
    try probeWrite(at, 1)
    try probeWrite(offset(at, size - 1), 1)
  }
}
