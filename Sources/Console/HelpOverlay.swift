import TerminalUI

/// The key sheet, made from the key table.
package struct HelpOverlay {
  package var first = 0
  private let rows: [(String, String)]

  package init(_ keys: KeyMap) {
    rows = keys.bindings.map { ($0.keys.isEmpty ? "-" : $0.shown, $0.help) } + KeyTable.paneKeys
  }

  package mutating func scroll(_ distance: Int, height: Int) {
    first = min(max(first + distance, 0), max(rows.count - max(height - 2, 1), 0))
  }

  package func draw(on canvas: Canvas) {
    canvas.fill(.overlay)
    canvas.lay(.titleFocused, row: 0)
    canvas.fitted(" Keys (arrows scroll, any other key goes back)", x: 0, y: 0, .titleFocused)
    let height = max(canvas.height - 2, 1)
    let columns = canvas.width >= 150 ? 2 : 1
    let width = canvas.width / columns
    for (index, row) in rows.dropFirst(columns == 1 ? first : 0).enumerated() {
      let column = index / height
      guard column < columns else { break }
      let part = canvas.inner(x: column * width, y: 2 + index % height, width: width, height: 1)
      part.text(Format.right(row.0, 17), x: 1, y: 0, .helpKey, limit: 17)
      part.fitted(row.1, x: 20, y: 0, .overlay)
    }
  }
}
