/// How often each test runs so that it takes long enough, from a first run with every test's default count.
package struct Plan: Sendable {
  /// The command line for the guest.
  package let words: String

  /// How long a test should take, ns.
  package static let duration: UInt64 = 220_000_000
  /// A count depends on the checksum's default where one is known: then the test runs several times instead.
  static let mostRepetitions: UInt64 = 16
  /// A first measurement too short to be true does not make a run too long to wait for.
  static let largestFactor: UInt64 = 500
  static let largestCount: UInt64 = 1 << 31

  package init(after run: GuestRun) {
    var words: [String] = []
    let table = Checksums.table(of: run.guest)
    for result in run.results {
      let wanted = (Self.duration + result.nanoseconds - 1) / max(result.nanoseconds, 1)
      let factor = max(1, min(wanted, Self.largestFactor))
      if let row = table[result.name], row.dependsOnCount {
        words += Array(repeating: result.name, count: Int(min(factor, Self.mostRepetitions)))
      } else {
        let (count, overflow) = result.count.multipliedReportingOverflow(by: factor)
        words.append("\(result.name):\(overflow ? Self.largestCount : min(count, Self.largestCount))")
      }
    }
    self.words = words.joined(separator: " ")
  }
}
