import Debugger
import Session
import TerminalUI

/// The present guest by several techniques: what each did for it, side by side, or one below the other where
/// there is no room.
package final class TechniquesPane: ReportPane {
  package init() { super.init(.techniques, followsEnd: false) }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    "Techniques" + (snapshot.techniques.map { ": \($0.runs.map(\.choice.name).joined(separator: ", "))" } ?? " (r: run this guest by each)")
  }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String {
    "nothing was measured yet: r runs this guest from its start to its end by hvm, rewrite and pv, as far as it can be"
  }

  package override func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] {
    snapshot.techniques?.rows(width: width - 2).flatMap { $0.wrapped(to: width - 2, indent: 4) } ?? []
  }

  package override func handleKey(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.modifiers.isEmpty, key.typed == "r" else { return .ignored }
    return .perform("techniques")
  }
}
