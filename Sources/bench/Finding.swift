/// One line of the session's table: a measurement, what it is held against, and how that came out.
package struct Finding: Sendable {
  package var what: String
  package var measured: String
  /// The same work done by somebody else in this run, "" where there is nobody.
  package var peer = ""
  package var target = ""
  /// nil where there is no target.
  package var isReached: Bool?

  package static func table(_ findings: [Finding]) -> Table {
    var table = Table(["session", "measured", "peer", "target", ""])
    for finding in findings {
      let verdict = finding.isReached.map { $0 ? "reached" : "MISSED" } ?? ""
      table.add([finding.what, finding.measured, finding.peer, finding.target, verdict])
    }
    return table
  }
}
