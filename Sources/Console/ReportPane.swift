import Debugger
import Session
import TerminalUI

extension ReportTone {
  /// The role that gives a report's word its look.
  package var role: StyleRole {
    switch self {
    case .plain: .text
    case .dim: .dim
    case .heading: .label
    case .address: .address
    case .value: .value
    case .changed: .changed
    case .symbol: .symbol
    case .set: .flagSet
    case .clear: .flagClear
    case .bad: .error
    case .code: .instruction
    case .exit: .exitReason
    }
  }
}

extension Canvas {
  /// Draws one word of a row, with a mark at the edge where more than blanks is cut; gives the column after it.
  package func word(_ text: String, x: Int, y: Int, _ role: StyleRole) -> Int {
    let blanks = text.reversed().prefix { $0 == " " }.count
    let columns = CharacterWidth.of(text)
    if x + columns - blanks > width { fitted(text, x: x, y: y, role) } else { self.text(text, x: x, y: y, role) }
    return x + columns
  }

  /// Draws a report's row, its end marked where it does not fit.
  package func draw(_ row: ReportRow, x start: Int, y: Int) {
    var x = start
    for word in row.words where x < width {
      x = self.word(word.text, x: x, y: y, word.tone.role)
    }
  }
}

/// A pane that shows a report: the rows a command prints. It keeps them as long as the snapshot and the view
/// stay the same.
package class ReportPane: ListPane {
  private var known: (generation: UInt64, width: Int, view: Int, rows: [ReportRow])?
  private var width = 80
  /// Snapshots of a running guest for which rows are kept.
  private static let patience: UInt64 = 5

  // What a report pane provides.

  /// The rows at a width.
  package func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] { [] }
  /// Differs where the pane shows something else of the same snapshot.
  package var view: Int { 0 }
  /// Keys of its own.
  package func handleKey(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse { .ignored }

  package func rows(_ snapshot: SessionSnapshot) -> [ReportRow] {
    // Of a running guest nobody reads a report thirty times a second.
    let newest = known.map { snapshot.isLive ? $0.generation &+ Self.patience : $0.generation } ?? 0
    if let known, snapshot.generation <= newest, known.generation <= snapshot.generation, known.width == width,
      known.view == view
    {
      return known.rows
    }
    let rows = makeRows(snapshot, width: width)
    known = (snapshot.generation, width, view, rows)
    return rows
  }

  /// The rows are made anew: something they depend on changed outside of the snapshot.
  package func forget() { known = nil }

  package override func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool) {
    width = canvas.width
    super.render(snapshot, on: canvas, focused: focused)
  }

  package override func identities(_ snapshot: SessionSnapshot) -> [UInt64] {
    (0..<rows(snapshot).count).map { UInt64($0) }
  }

  package override func drawRow(
    _ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, y: Int, surface: StyleRole
  ) {
    let rows = rows(snapshot)
    guard rows.indices.contains(index) else { return }
    canvas.draw(rows[index], x: 1, y: y)
  }

  package override func rowText(_ index: Int, _ snapshot: SessionSnapshot) -> String {
    let rows = rows(snapshot)
    return rows.indices.contains(index) ? rows[index].text : ""
  }

  package override func handle(_ key: Key, row index: Int?, _ snapshot: SessionSnapshot) -> PaneResponse {
    let own = handleKey(key, snapshot)
    guard own == .ignored, key.code == .enter, let index else { return own }
    let rows = rows(snapshot)
    guard rows.indices.contains(index), let target = rows[index].target else {
      return .say("this row leads nowhere")
    }
    return Self.response(target)
  }

  /// Where a row leads, as an answer to a key.
  package static func response(_ target: ReportTarget) -> PaneResponse {
    switch target {
    case .code(let offset): .show(offset, in: .code)
    case .linear(let address): .show(address, in: .memory)
    case .physical(let address): .showPhysical(address)
    case .exit(let ordinal): .openExit(ordinal)
    case .walk(let address): .walk(address)
    }
  }
}
