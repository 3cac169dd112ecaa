/// How often each test runs so that it takes long enough, from a first run with every test's default count.
package struct Plan: Sendable {
  private var counts: [(name: String, count: UInt64)] = []

  /// How long a test should take, ns: in general, and by native code, where what comes with the first rounds is to vanish.
  package static let duration: UInt64 = 220_000_000
  package static let nativeDuration: UInt64 = 500_000_000
  /// A first measurement too short to be true does not make a run too long to wait for.
  static let largestFactor: UInt64 = 2000
  static let largestCount: UInt64 = 1 << 31

  package init(after run: GuestRun, lasting duration: UInt64 = Self.duration) {
    for result in run.results {
      let wanted = (duration + result.nanoseconds - 1) / max(result.nanoseconds, 1)
      let (count, overflow) = result.count.multipliedReportingOverflow(by: max(1, min(wanted, Self.largestFactor)))
      counts.append((result.name, overflow ? Self.largestCount : min(count, Self.largestCount)))
    }
  }

  /// The same, but tests that `other` has run as often as there.
  package func agreeing(with other: Plan) -> Plan {
    var plan = self
    for index in plan.counts.indices {
      guard let known = other.counts.first(where: { $0.name == plan.counts[index].name }) else { continue }
      plan.counts[index].count = known.count
    }
    return plan
  }

  /// The command line for the guest.
  package var words: String { counts.map { "\($0.name):\($0.count)" }.joined(separator: " ") }
}
