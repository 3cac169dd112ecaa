import TerminalUI

/// The key sheet, made from the key table.
package struct HelpOverlay {
  package var first = 0
  private let entries: [(String, String)]
  private static let textColumn = 20
  private static let keyWidth = 17

  package init(_ keys: KeyMap) {
    entries = keys.bindings.map { ($0.keys.isEmpty ? "-" : $0.shown, $0.help) } + KeyTable.paneKeys
  }

  /// Columns and rows on a screen: what is too long for one row goes on in the next.
  private func lay(width: Int) -> (columns: Int, rows: [(String, String)]) {
    let columns = width >= 150 ? 2 : 1
    let room = max(width / columns - Self.textColumn, 8)
    let rows = entries.flatMap { key, help in
      Format.wrap(help, width: room).enumerated().map { ($0 == 0 ? key : "", $1) }
    }
    return (columns, rows)
  }

  /// Keys that are cut off: none, unless somebody gave an action many.
  package var cutKeys: [String] { entries.map(\.0).filter { CharacterWidth.of($0) > Self.keyWidth } }

  package mutating func scroll(_ distance: Int, width: Int, height: Int) {
    let (columns, rows) = lay(width: width)
    first = min(max(first + distance, 0), max(rows.count - max(height - 2, 1) * columns, 0))
  }

  package func draw(on canvas: Canvas) {
    canvas.fill(.overlay)
    canvas.lay(.titleFocused, row: 0)
    canvas.fitted(" Keys (arrows scroll, any other key goes back)", x: 0, y: 0, .titleFocused)
    let height = max(canvas.height - 2, 1)
    let (columns, rows) = lay(width: canvas.width)
    let width = canvas.width / columns
    for (index, row) in rows.dropFirst(first).enumerated() {
      let column = index / height
      guard column < columns else { break }
      let part = canvas.inner(x: column * width, y: 2 + index % height, width: width, height: 1)
      part.text(Format.right(row.0, Self.keyWidth), x: 1, y: 0, .helpKey, limit: Self.keyWidth)
      part.fitted(row.1, x: Self.textColumn, y: 0, .overlay)
    }
  }
}
