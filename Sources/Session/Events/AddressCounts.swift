import VMCore

/// How often exits came from each guest address. A fixed table; addresses that find no room are counted
/// together.
struct AddressCounts {
  private var addresses = [UInt64](repeating: 0, count: AddressCounts.size)
  private var counts = [UInt64](repeating: 0, count: AddressCounts.size)
  /// Exits at addresses beyond the table.
  private(set) var others: UInt64 = 0
  private static let size = 8192
  private static let probes = 16

  mutating func add(_ address: UInt64) {
    let hash = (address &* 0x9E37_79B9_7F4A_7C15) >> 51
    for probe in 0..<Self.probes {
      let index = (Int(truncatingIfNeeded: hash) &+ probe) & (Self.size - 1)
      if counts[index] == 0 { addresses[index] = address }
      if addresses[index] == address {
        counts[index] &+= 1
        return
      }
    }
    others &+= 1
  }

  /// The `limit` most frequent, the lower address first among equals.
  func top(_ limit: Int) -> [(address: UInt64, count: UInt64)] {
    let used = counts.indices.filter { counts[$0] > 0 }.map { (address: addresses[$0], count: counts[$0]) }
    return Array(used.sorted { ($1.count, $0.address) < ($0.count, $1.address) }.prefix(limit))
  }
}
