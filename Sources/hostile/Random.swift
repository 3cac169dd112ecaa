/// Repeatable random numbers (SplitMix64).
package struct Random: Sendable {
  private var state: UInt64
  package init(_ seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
  package mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(max(limit, 1))) }
  package mutating func byte() -> UInt8 { UInt8(truncatingIfNeeded: next() >> 32) }
  /// True in one of `n` cases.
  package mutating func one(in n: Int) -> Bool { below(n) == 0 }
  package mutating func pick<T>(_ values: [T]) -> T { values[below(values.count)] }

  /// A number of the kind that finds limits: small, a power of two or one beside it, all ones, anything.
  package mutating func edgy() -> UInt64 {
    switch below(6) {
    case 0: return UInt64(below(256))
    case 1: return UInt64(below(0x1_0000))
    case 2: return (1 << UInt64(below(64))) &+ UInt64(below(3)) &- 1
    case 3: return UInt64.max >> UInt64(below(64))
    case 4: return next() & 0xFFFF_FFFF
    default: return next()
    }
  }
}
