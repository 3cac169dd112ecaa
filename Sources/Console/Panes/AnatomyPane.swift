import Debugger
import Session
import TerminalUI

/// The exit selected in the list of exits, taken apart. `[` and `]` go from exit to exit; with none selected
/// it follows the newest, so that stepping shows each exit being handled.
package final class AnatomyPane: ReportPane {
  private let exits: ExitsPane

  package init(exits: ExitsPane) {
    self.exits = exits
    super.init(.anatomy, followsEnd: false)
  }

  private func ordinal(_ snapshot: SessionSnapshot) -> UInt64? {
    exits.currentIndex(exits.identities(snapshot)).map { snapshot.exits[$0].sequence }
  }

  package override var view: Int { Int(truncatingIfNeeded: exits.selected ?? 0) }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    guard let ordinal = ordinal(snapshot) else { return "Anatomy of an exit" }
    return "#\(ordinal) anatomy\(exits.isLookingBack ? "" : ", the newest") ([ ] other exits, s goes on, Esc: list)"
  }

  package override func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] {
    guard let ordinal = ordinal(snapshot), let anatomy = ExitAnatomy(ordinal, in: snapshot) else { return [] }
    return anatomy.rows.flatMap { $0.wrapped(to: width - 2, indent: 17) }
  }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String {
    "no exits yet: press e to run to the first"
  }

  package override func handleKey(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    key.code == .escape ? .focus(.exits) : .ignored
  }

  package override func goTo(_ text: String, _ snapshot: SessionSnapshot) -> String? { exits.goTo(text, snapshot) }

  package override func stopped(_ snapshot: SessionSnapshot) { select(nil) }
}
