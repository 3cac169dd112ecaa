import Session
import TerminalUI

/// Breakpoints of every kind with condition, hits and action.
package final class BreakpointsPane: ListPane {
  package init() { super.init(.breakpoints, followsEnd: false) }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    snapshot.breakpoints.isEmpty ? "Breakpoints" : "Breakpoints (Del removes, Enter switches on and off)"
  }

  package override func identities(_ snapshot: SessionSnapshot) -> [UInt64] {
    snapshot.breakpoints.map { UInt64(clamping: $0.number) }
  }

  private static func rest(_ row: BreakpointSummary) -> String {
    var text = row.condition.map { " if \($0)" } ?? ""
    text += "  hits \(row.hits)" + (row.hitLimit.map { "/\($0)" } ?? "")
    if let action = row.action { text += "  do \"\(action)\"" }
    return text + (row.oneShot ? "  once" : "")
  }

  package override func drawRow(
    _ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, y: Int, surface: StyleRole
  ) {
    let row = snapshot.breakpoints[index]
    let role: StyleRole = row.enabled ? .breakpoint : .breakpointDisabled
    canvas.text(Format.right("\(row.number)", 3) + (row.enabled ? "+" : "-"), x: 0, y: y, role)
    let end = canvas.text(row.what, x: 5, y: y, row.enabled ? .text : .dim)
    canvas.fitted(Self.rest(row), x: end, y: y, .dim)
  }

  package override func rowText(_ index: Int, _ snapshot: SessionSnapshot) -> String {
    let row = snapshot.breakpoints[index]
    return row.what + Self.rest(row)
  }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String {
    "none: b in the code pane, or :break ADDRESS, :be REASON, :watch w ADDRESS"
  }

  package override func handle(_ key: Key, row index: Int?, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard let index else { return .ignored }
    let row = snapshot.breakpoints[index]
    switch key.code {
    case .delete, .backspace: return .perform("delete \(row.number)")
    case .enter: return .perform("\(row.enabled ? "disable" : "enable") \(row.number)")
    default: return .ignored
    }
  }
}
