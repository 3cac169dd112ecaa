import Debugger
import Session
import TerminalUI

/// The last comparison of two engines: the verdict, both states where they part, and what each did with every
/// sensitive instruction.
package final class ComparisonPane: ReportPane {
  package init() { super.init(.comparison, followsEnd: false) }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    snapshot.comparison.map { "Technique compare: \($0.names.joined(separator: " and ")), \($0.technique)" }
      ?? "Technique compare (i, r: with interpreter, rewriter)"
  }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String {
    "nothing was compared yet: r compares with the rewriter, i with the interpreter, from the guest's start to here"
  }

  package override func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] {
    snapshot.comparison?.rows.flatMap { $0.wrapped(to: width - 2, indent: 4) } ?? []
  }

  package override func handleKey(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.modifiers.isEmpty else { return .ignored }
    switch key.typed {
    case "r": return .perform("compare with rewriter")
    case "i": return .perform("compare with interpreter")
    default: return .ignored
    }
  }
}
