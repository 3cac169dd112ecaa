import Session
import TerminalUI

/// What the guest writes to its serial console, and the way to type back.
package final class GuestConsolePane: ListPane {
  /// Columns of long lines that lie to the left of the pane.
  private var skipped = 0
  private static let stride = 20

  package init() { super.init(.console, followsEnd: true) }

  /// The key that gives the keyboard back to the console.
  package static let leaveKey = Key.control("]")
  package static let leaveName = "Ctrl-]"

  package override func title(_ snapshot: SessionSnapshot) -> String {
    let side = skipped > 0 ? "from column \(skipped + 1), " : ""
    return isLookingBack ? "Guest console (\(side)looking back; End follows)" : "Guest console (\(side)Enter types to the guest)"
  }

  package override func identities(_ snapshot: SessionSnapshot) -> [UInt64] {
    // By their number since the guest's first: what is looked at stays while old lines are let go.
    (0..<snapshot.guestConsole.count).map { UInt64(snapshot.forgottenConsoleLines + $0) }
  }

  package override func drawRow(
    _ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, y: Int, surface: StyleRole
  ) {
    let line = snapshot.guestConsole[index].unicodeScalars.dropFirst(skipped)
    canvas.fitted(String(String.UnicodeScalarView(line)), x: 0, y: y, .guest)
  }

  package override func rowText(_ index: Int, _ snapshot: SessionSnapshot) -> String { snapshot.guestConsole[index] }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String { "the guest has written nothing yet" }

  package override func handle(_ key: Key, row index: Int?, _ snapshot: SessionSnapshot) -> PaneResponse {
    switch key.code {
    case .enter: return .typeToGuest
    case .left: skipped = max(skipped - Self.stride, 0)
    case .right:
      let longest = snapshot.guestConsole.lazy.map(\.unicodeScalars.count).max() ?? 0
      guard skipped + Self.stride < longest else { return .say("no line goes on there") }
      skipped += Self.stride
    default: return .ignored
    }
    return .handled
  }
}
