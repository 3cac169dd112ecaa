import VMCore
import X86

/// A stop as it is compared with another one.
struct StopPoint {
  /// Counts the session's stops from 0 on, which is before the first instruction.
  var number: UInt64
  var stop: StopReason
  var states: [VCPUState]
  var vcpu: Int
  var retired: UInt64
  var time: UInt64
  var exits: UInt64
  var events: UInt64
  /// Exits by reason, as the tallies count them.
  var reasons: [UInt64]
  /// Pages of RAM that changed since the stop before; nil where they were not compared.
  var changedPages: [UInt64]?
}

/// The session's newest stops.
struct StopHistory {
  private(set) var points = RingBuffer<StopPoint>(capacity: StopHistory.kept)
  static let kept = 1000
  private var comparison = PageComparison()
  /// Looking at more memory than this at every stop would be felt.
  private static let comparedBytes: UInt64 = 64 << 20

  /// The number of the next stop.
  var next: UInt64 { points.total }

  subscript(number: UInt64) -> StopPoint? {
    number >= points.first && number < points.total ? points[number] : nil
  }

  mutating func append(_ point: StopPoint, memory: GuestMemory, compares: Bool) {
    var point = point
    if compares { point.changedPages = comparison.changes(memory, limit: Self.comparedBytes) }
    points.append(point)
  }
}
