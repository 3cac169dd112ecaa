import Glibc
import VMCore

/// Host time between exit and entry, by reason, with the newest ones kept in order.
package struct ExitCosts: Sendable {
  package struct Sum: Sendable {
    package var count: UInt64 = 0
    package var total: UInt64 = 0
    package var maximum: UInt64 = 0
  }
  /// Exits recorded, bookkeeping ones left out.
  package internal(set) var exitCount: UInt64 = 0
  private var sums = [Sum](repeating: Sum(), count: 64)
  private var recent = [UInt64](repeating: 0, count: ExitCosts.kept)
  static let kept = 1024

  /// Host nanoseconds of the monotonic clock.
  static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }

  private static func index(_ reason: ExitReason) -> Int {
    Int(reason.rawValue) < 56 ? Int(reason.rawValue) : Int(reason.rawValue) - 200
  }

  /// The cost of the newest exit.
  mutating func add(_ cost: UInt64, _ reason: ExitReason) {
    let index = Self.index(reason)
    sums[index].count &+= 1
    sums[index].total &+= cost
    sums[index].maximum = max(sums[index].maximum, cost)
    recent[Int(truncatingIfNeeded: (exitCount &- 1) % UInt64(Self.kept))] = cost
  }

  package func sum(_ reason: ExitReason) -> Sum { sums[Self.index(reason)] }

  /// Cost of the exit with this ordinal (the first has 0); 0 where it was not measured or is too long ago.
  package func cost(ofExit ordinal: UInt64) -> UInt64 {
    guard ordinal < exitCount, exitCount - ordinal <= UInt64(Self.kept) else { return 0 }
    return recent[Int(truncatingIfNeeded: ordinal % UInt64(Self.kept))]
  }
}
