import Session
import TerminalUI

/// What the guest writes to its serial console, and the way to type back.
package final class GuestConsolePane: ListPane {
  package init() { super.init(.console, followsEnd: true) }

  /// The key that gives the keyboard back to the console.
  package static let leaveKey = Key.control("]")
  package static let leaveName = "Ctrl-]"

  package override func title(_ snapshot: SessionSnapshot) -> String {
    isLookingBack ? "Guest console (looking back; End follows)" : "Guest console (Enter types to the guest)"
  }

  package override func identities(_ snapshot: SessionSnapshot) -> [UInt64] {
    // By their number since the guest's first: what is looked at stays while old lines are let go.
    (0..<snapshot.guestConsole.count).map { UInt64(snapshot.forgottenConsoleLines + $0) }
  }

  package override func drawRow(
    _ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, y: Int, surface: StyleRole
  ) {
    canvas.fitted(snapshot.guestConsole[index], x: 0, y: y, .guest)
  }

  package override func rowText(_ index: Int, _ snapshot: SessionSnapshot) -> String { snapshot.guestConsole[index] }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String { "the guest has written nothing yet" }

  package override func handle(_ key: Key, row index: Int?, _ snapshot: SessionSnapshot) -> PaneResponse {
    key.code == .enter ? .typeToGuest : .ignored
  }
}
