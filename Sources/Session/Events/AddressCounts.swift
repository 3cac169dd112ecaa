/// How often something came from each guest address. A fixed table; what finds no room is counted together. A value:
/// copies share their table until one of them is changed.
struct AddressCounts {
  private var table = AddressTable()
  /// From addresses beyond the table.
  private(set) var others: UInt64 = 0
  private static let probes = 16

  /// To be called before a row of `count`, with no copy made in between.
  mutating func own() {
    if !isKnownUniquelyReferenced(&table) { table = AddressTable(copying: table) }
  }

  /// Counts one from `address`, in a table that was made its owner's alone by `own`.
  @inline(__always)
  mutating func count(_ address: UInt64) {
    let first = Int(truncatingIfNeeded: (address &* 0x9E37_79B9_7F4A_7C15) >> 51)
    for probe in 0..<Self.probes {
      let slot = table.slots + ((first &+ probe) & (AddressTable.size - 1))
      if slot.pointee.count == 0 { slot.pointee.address = address }
      if slot.pointee.address == address {
        slot.pointee.count &+= 1
        return
      }
    }
    others &+= 1
  }

  /// The `limit` most frequent, the lower address first among equals.
  func top(_ limit: Int) -> [(address: UInt64, count: UInt64)] {
    let used = (0..<AddressTable.size).map { table.slots[$0] }.filter { $0.count > 0 }
    let sorted = used.sorted { ($1.count, $0.address) < ($0.count, $1.address) }
    return sorted.prefix(limit).map { (address: $0.address, count: $0.count) }
  }
}

/// Invariant of the unsafe part: `size` initialized slots from `init` to `deinit`, written to by their one owner.
private final class AddressTable: @unchecked Sendable {
  struct Slot {
    var address: UInt64 = 0
    var count: UInt64 = 0
  }
  static let size = 8192
  let slots: UnsafeMutablePointer<Slot>

  init() {
    slots = .allocate(capacity: Self.size)
    slots.initialize(repeating: Slot(), count: Self.size)
  }

  init(copying other: AddressTable) {
    slots = .allocate(capacity: Self.size)
    slots.initialize(from: other.slots, count: Self.size)
  }

  deinit { slots.deallocate() }
}
