import Debugger
import Session
import TerminalUI

/// What `display` shows at every stop.
package final class DisplaysPane: ReportPane {
  package init() { super.init(.displays, followsEnd: false) }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    snapshot.displayed.isEmpty ? "Displays" : "Displays (a adds one, Del removes)"
  }

  package override func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] {
    snapshot.displayed.flatMap { value in
      value.shown.enumerated().map { index, line in ReportRow(line, index == 0 ? .value : .plain) }
    }
  }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String {
    "nothing: :display $rax, :display/4i $pc, :display dword[ADDRESS]"
  }

  /// Of what takes several lines each belongs to it.
  private func number(ofRow index: Int, _ snapshot: SessionSnapshot) -> Int? {
    let owners = snapshot.displayed.flatMap { Array(repeating: $0.number, count: $0.shown.count) }
    return owners.indices.contains(index) ? owners[index] : nil
  }

  package override func handle(_ key: Key, row index: Int?, _ snapshot: SessionSnapshot) -> PaneResponse {
    switch key.code {
    case .character("a"): return .typeCommand("display ")
    case .delete, .backspace:
      guard let index, let number = number(ofRow: index, snapshot) else { return .ignored }
      return .perform("undisplay \(number)")
    default: return .ignored
    }
  }
}
