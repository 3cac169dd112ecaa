/// A small deterministic generator (xorshift64*): the same seed gives the same cases on every machine.
struct OracleRandom {
  private var state: UInt64

  init(seed: UInt64) { state = (seed &+ 1) &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_F491_4F6C_DD1D
  }
  /// 0..<bound.
  mutating func below(_ bound: Int) -> Int { Int((next() >> 33) % UInt64(bound)) }
  mutating func byte() -> UInt8 { UInt8(truncatingIfNeeded: next() >> 32) }
  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
  mutating func pick<T>(_ values: [T]) -> T { values[below(values.count)] }
}

/// Values where arithmetic goes wrong first.
extension OracleRandom {
  private static let edges: [UInt64] = [
    0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x1_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF,
    0x1_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, .max, .max - 1, 0x5555_5555_5555_5555,
    0xFFFF_FFFF_8000_0000, 0x0F0F_0F0F_0F0F_0F0F,
  ]
  private static let doubles: [UInt64] = [
    0, 1 << 63, 0x3FF0_0000_0000_0000, 0xBFF0_0000_0000_0000, 0x7FF0_0000_0000_0000, 0xFFF0_0000_0000_0000,
    0x7FF8_0000_0000_0000, 0xFFF8_0000_0000_0001, 0x7FF0_0000_0000_0001, 0xFFF4_0000_0000_0000, 1,
    0x800F_FFFF_FFFF_FFFF, 0x0010_0000_0000_0000, 0x7FEF_FFFF_FFFF_FFFF, 0x41DF_FFFF_FFC0_0000,
    0xC1E0_0000_0020_0000, 0x43E0_0000_0000_0000, 0x4330_0000_0000_0001, 0x3FE0_0000_0000_0000,
    0x0018_0000_0000_0000, 0x001F_FFFF_FFFF_FFFF, 0x380F_FFFF_FFFF_FFFF, 0x47EF_FFFF_F000_0000,
  ]
  private static let singles: [UInt32] = [
    0, 1 << 31, 0x3F80_0000, 0xBF80_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0xFFC0_0001, 0x7F80_0001,
    0xFFA0_0000, 1, 0x807F_FFFF, 0x0080_0000, 0x7F7F_FFFF, 0x4EFF_FFFF, 0xCF00_0001, 0x5F00_0000, 0x4B00_0001,
    0x3F00_0000, 0x00FF_FFFF,
  ]

  mutating func integer() -> UInt64 {
    switch below(5) {
    case 0: return pick(Self.edges)
    case 1: return UInt64(bitPattern: Int64(below(160)) - 16)
    case 2: return next() >> UInt64(below(64))
    default: return next()
    }
  }
  /// A double: special, ordinary, small whole or random bits.
  mutating func double() -> UInt64 {
    switch below(6) {
    case 0, 1: return pick(Self.doubles)
    case 2: return Double(below(2000) - 1000).bitPattern
    case 3:
      let exponent = UInt64(1023 - 40 + below(80)) << 52
      return exponent | next() & 0x800F_FFFF_FFFF_FFFF
    case 4: return next() & 0x801F_FFFF_FFFF_FFFF
    default: return next()
    }
  }
  mutating func single() -> UInt32 {
    switch below(6) {
    case 0, 1: return pick(Self.singles)
    case 2: return Float(below(2000) - 1000).bitPattern
    case 3:
      let exponent = UInt32(127 - 20 + below(40)) << 23
      return exponent | UInt32(truncatingIfNeeded: next()) & 0x807F_FFFF
    case 4: return UInt32(truncatingIfNeeded: next()) & 0x80FF_FFFF
    default: return UInt32(truncatingIfNeeded: next())
    }
  }
  /// Half an XMM register.
  mutating func vectorHalf() -> UInt64 {
    switch below(4) {
    case 0, 1: return double()
    case 2:
      let low = UInt64(single())
      return low | UInt64(single()) << 32
    default: return integer()
    }
  }
  /// An x87 register: a converted double, a special value, or (seldom) an encoding no x87 makes.
  mutating func extended() -> (significand: UInt64, signExponent: UInt16) {
    let sign: UInt16 = chance(50) ? 0x8000 : 0
    switch below(12) {
    case 0: return (0, sign)
    case 1: return (1 << 63, sign | 0x7FFF)
    case 2: return (0xC000_0000_0000_0000 | next() >> 2, sign | 0x7FFF)
    case 3: return (0x8000_0000_0000_0000 | next() >> 2, sign | 0x7FFF)
    case 4: return (next() >> 1, sign)
    case 5: return (1 << 63 | next(), sign | UInt16(below(3)))
    case 6: return (1 << 63 | next(), sign | UInt16(0x7FFC + below(3)))
    case 7: return (next(), UInt16(truncatingIfNeeded: next()))
    case 8: return (1 << 63, sign | UInt16(0x3FFF + below(16)))
    default: return (1 << 63 | next(), sign | UInt16(0x3FFF - 70 + below(140)))
    }
  }
  mutating func mxcsr() -> UInt32 {
    if chance(45) { return 0x1F80 | UInt32(chance(50) ? 0x20 : 0) }
    var value: UInt32 = 0x1F80 | UInt32(below(4)) << 13
    if chance(30) { value |= 0x8000 }
    if chance(30) { value |= 0x40 }
    if chance(50) { value |= UInt32(below(64)) }
    if chance(25) { value &= ~(UInt32(below(64)) << 7) }
    return value
  }
  mutating func x87Control() -> UInt16 {
    if chance(50) { return 0x37F }
    var value: UInt16 = 0x7F | UInt16(below(4)) << 10 | UInt16(pick([0, 2, 3])) << 8
    if chance(25) { value &= ~UInt16(below(64)) }
    return value
  }
}
