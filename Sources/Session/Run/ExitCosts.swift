import Glibc
import VMCore

/// Host time between exit and entry, by reason, with the newest ones kept in order.
package struct ExitCosts: Sendable {
  package struct Sum: Sendable {
    package var count: UInt64 = 0
    package var total: UInt64 = 0
    package var minimum: UInt64 = .max
    package var maximum: UInt64 = 0

    @inline(__always)
    mutating func add(_ cost: UInt64) {
      count &+= 1
      total &+= cost
      minimum = min(minimum, cost)
      maximum = max(maximum, cost)
    }

    mutating func add(_ other: Sum) {
      count &+= other.count
      total &+= other.total
      minimum = min(minimum, other.minimum)
      maximum = max(maximum, other.maximum)
    }
  }
  /// Exits recorded, bookkeeping ones left out.
  package internal(set) var exitCount: UInt64 = 0
  private var table = CostTable()
  /// By hypercall, those inside of a multicall with it; those of `call`, the newest, are still in `open`.
  private var booked: [UInt32: Sum] = [:]
  private var call: UInt32 = 0
  private var open = Sum()
  static let kept = 1024
  fileprivate static let reasons = 64

  /// Host nanoseconds of the monotonic clock.
  static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }

  private static func index(_ reason: ExitReason) -> Int {
    Int(reason.rawValue) < 56 ? Int(reason.rawValue) : Int(reason.rawValue) - 200
  }

  /// The cost of the newest exit, which `begin` was told is measured.
  mutating func add(_ cost: UInt64, _ reason: ExitReason) {
    let index = Self.index(reason)
    table.sums[index].add(cost)
    table.classes[index &* CostHistogram.classes &+ CostHistogram.index(cost)] &+= 1
    table.recent[Self.place(exitCount &- 1)] = cost
  }

  @inline(__always)
  private static func place(_ ordinal: UInt64) -> Int { Int(truncatingIfNeeded: ordinal % UInt64(kept)) }

  private mutating func own() {
    if !isKnownUniquelyReferenced(&table) { table = CostTable(copying: table) }
  }

  /// The cost of the newest exit, which was a hypercall.
  mutating func add(_ cost: UInt64, hypercall number: UInt32) {
    if number != call {
      if open.count > 0 { booked[call, default: Sum()].add(open) }
      (call, open) = (number, Sum())
    }
    open.add(cost)
  }

  /// By hypercall.
  var calls: [UInt32: Sum] {
    guard open.count > 0 else { return booked }
    var all = booked
    all[call, default: Sum()].add(open)
    return all
  }

  /// The cost of an exit that was measured before, in order.
  mutating func put(_ cost: UInt64, _ reason: ExitReason, ordinal: UInt64) {
    own()
    let count = exitCount
    exitCount = ordinal &+ 1
    add(cost, reason)
    exitCount = count
  }

  /// An exit happened, whose cost is not known yet.
  @inline(__always)
  mutating func begin(measured: Bool) {
    if measured {
      own()
      table.recent[Self.place(exitCount)] = 0
    }
    exitCount &+= 1
  }

  package func sum(_ reason: ExitReason) -> Sum { table.sums[Self.index(reason)] }

  package func histogram(_ reason: ExitReason) -> CostHistogram {
    let start = table.classes + Self.index(reason) * CostHistogram.classes
    return CostHistogram(Array(UnsafeBufferPointer(start: start, count: CostHistogram.classes)))
  }

  /// Cost of the exit with this ordinal (the first has 0); 0 where it was not measured or is too long ago.
  package func cost(ofExit ordinal: UInt64) -> UInt64 {
    guard ordinal < exitCount, exitCount - ordinal <= UInt64(Self.kept) else { return 0 }
    return table.recent[Self.place(ordinal)]
  }
}

/// What `ExitCosts` counts in: an element of an array costs a check of its uniqueness with each write.
///
/// Invariant of the unsafe part: all elements are initialized from `init` to `deinit`; a value of `ExitCosts` writes to
/// a table that is its own alone.
private final class CostTable: @unchecked Sendable {
  /// By reason.
  let sums = UnsafeMutablePointer<ExitCosts.Sum>.allocate(capacity: ExitCosts.reasons)
  /// Counts by reason and size class, `CostHistogram.classes` a reason.
  let classes = UnsafeMutablePointer<UInt32>.allocate(capacity: CostTable.classCount)
  let recent = UnsafeMutablePointer<UInt64>.allocate(capacity: ExitCosts.kept)
  private static let classCount = ExitCosts.reasons * CostHistogram.classes

  init() {
    sums.initialize(repeating: ExitCosts.Sum(), count: ExitCosts.reasons)
    classes.initialize(repeating: 0, count: Self.classCount)
    recent.initialize(repeating: 0, count: ExitCosts.kept)
  }

  init(copying other: CostTable) {
    sums.initialize(from: other.sums, count: ExitCosts.reasons)
    classes.initialize(from: other.classes, count: Self.classCount)
    recent.initialize(from: other.recent, count: ExitCosts.kept)
  }

  deinit {
    sums.deallocate()
    classes.deallocate()
    recent.deallocate()
  }
}

/// How often costs fell into which size class: sixteen classes to each power of two, so that a percentile is
/// right within 1/16.
package struct CostHistogram: Equatable, Sendable {
  package static let classes = 48 * 16
  private var counts: [UInt32]

  package init(_ counts: [UInt32]) {
    precondition(counts.count == Self.classes, "a histogram has all its classes")
    self.counts = counts
  }

  /// The class of a cost: below 16 the cost itself, then power of two and the next four bits.
  @inline(__always)
  package static func index(_ cost: UInt64) -> Int {
    guard cost >= 16 else { return Int(cost) }
    let exponent = 63 - cost.leadingZeroBitCount
    let mantissa = Int(truncatingIfNeeded: cost >> UInt64(exponent - 4)) & 15
    return min((exponent - 3) * 16 + mantissa, classes - 1)
  }

  /// The greatest cost of a class.
  private static func upper(_ index: Int) -> UInt64 {
    guard index >= 16 else { return UInt64(index) }
    let shift = UInt64(index / 16 - 1)
    return (UInt64(index % 16 + 17) << shift) - 1
  }

  /// The cost that `share` (0...1) of all do not exceed; 0 without any.
  package func percentile(_ share: Double) -> UInt64 {
    let total = counts.reduce(UInt64(0)) { $0 + UInt64($1) }
    guard total > 0 else { return 0 }
    let wanted = UInt64((Double(total) * share).rounded(.up))
    var seen: UInt64 = 0
    for (index, count) in counts.enumerated() {
      seen += UInt64(count)
      if seen >= wanted, count > 0 { return Self.upper(index) }
    }
    return Self.upper(Self.classes - 1)
  }

  /// Counts by power of two: element n counts the costs in 2^n ..< 2^(n+1) ns, the first those of 0 and 1.
  package var byPowerOfTwo: [UInt64] {
    var result = [UInt64](repeating: 0, count: 48)
    for (index, count) in counts.enumerated() where count > 0 {
      let cost = Self.upper(index)
      result[cost < 2 ? 0 : min(63 - cost.leadingZeroBitCount, 47)] += UInt64(count)
    }
    return result
  }
}
