import VMCore

/// How often exits, or events of another kind, came from each guest address. A fixed table; addresses that find no room are counted
/// together.
struct AddressCounts {
  private var addresses = [UInt64](repeating: 0, count: AddressCounts.size)
  private var counts = [UInt64](repeating: 0, count: AddressCounts.size)
  /// Events at addresses beyond the table.
  private(set) var others: UInt64 = 0
  private static let size = 8192
  private static let probes = 16

  /// Counts those of a kind among events by linear address, with one look at the table's storage for all of them.
  /// `segments` is what held before the first of the events.
  mutating func add(_ kind: EventKind, of events: UnsafeBufferPointer<Event>, _ segments: CodeSegments) {
    var segments = segments
    var missed: UInt64 = 0
    addresses.withUnsafeMutableBufferPointer { addresses in
      counts.withUnsafeMutableBufferPointer { counts in
        for event in events {
          if event.kind == .codeSegment { segments.take(event) }
          guard event.kind == kind else { continue }
          if !Self.count(segments[event.vcpu].linear(event.rip), addresses, counts) { missed &+= 1 }
        }
      }
    }
    others &+= missed
  }

  /// False where there is no room for the address.
  @inline(__always)
  private static func count(
    _ address: UInt64, _ addresses: UnsafeMutableBufferPointer<UInt64>, _ counts: UnsafeMutableBufferPointer<UInt64>
  ) -> Bool {
    let first = Int(truncatingIfNeeded: (address &* 0x9E37_79B9_7F4A_7C15) >> 51)
    for probe in 0..<probes {
      let index = (first &+ probe) & (size &- 1)
      if counts[index] == 0 { addresses[index] = address }
      if addresses[index] == address {
        counts[index] &+= 1
        return true
      }
    }
    return false
  }

  /// The `limit` most frequent, the lower address first among equals.
  func top(_ limit: Int) -> [(address: UInt64, count: UInt64)] {
    let used = counts.indices.filter { counts[$0] > 0 }.map { (address: addresses[$0], count: counts[$0]) }
    return Array(used.sorted { ($1.count, $0.address) < ($0.count, $1.address) }.prefix(limit))
  }
}
