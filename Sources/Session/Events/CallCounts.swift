import VMCore

/// Hypercalls of a number, and how many of them the monitor refused.
struct CallTally {
  var count: UInt64 = 0
  var errors: UInt64 = 0

  mutating func add(_ tally: CallTally) {
    count &+= tally.count
    errors &+= tally.errors
  }
}

/// Hypercalls by number. Those that follow each other with the same number are booked together.
struct CallCounts {
  private var booked: [UInt32: CallTally] = [:]
  private var number: UInt32 = 0
  private var open = CallTally()

  /// Counts a `hypercall` event.
  @inline(__always)
  mutating func add(_ event: UnsafePointer<Event>) {
    if event.pointee.a != number {
      book()
      number = event.pointee.a
    }
    open.count &+= 1
    let result = Int64(bitPattern: event.pointee.b)
    if result < 0, result > -4096 { open.errors &+= 1 }
  }

  private mutating func book() {
    if open.count > 0 { booked[number, default: CallTally()].add(open) }
    open = CallTally()
  }

  var all: [UInt32: CallTally] {
    var copy = self
    copy.book()
    return copy.booked
  }
}
