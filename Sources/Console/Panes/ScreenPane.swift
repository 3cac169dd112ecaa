import Session
import TerminalUI

/// The guest's VGA screen in its own colours.
package final class ScreenPane: Pane {
  package let id = PaneID.screen
  private var topRow: Int?
  package init() {}

  /// Code page 437, as a VGA's character generator has it.
  private static let codePage: [UInt32] = {
    let low = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
    let ascii = (0x20..<0x7F).map { UInt32($0) }
    let high =
      "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀"
      + "αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ "
    return low.unicodeScalars.map(\.value) + ascii + high.unicodeScalars.map(\.value)
  }()

  package func title(_ snapshot: SessionSnapshot) -> String { "VGA screen" }

  package func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool) {
    guard let screen = snapshot.screen, screen.columns > 0 else {
      canvas.fitted("the guest has no text screen", x: 1, y: 0, .dim)
      return
    }
    let cursorRow = min((screen.cursor ?? 0) / screen.columns, screen.rows - 1)
    let last = max(screen.rows - canvas.height, 0)
    let top = min(topRow ?? max(cursorRow - canvas.height + 1, 0), last)
    for y in 0..<min(canvas.height, screen.rows) {
      for x in 0..<min(canvas.width, screen.columns) {
        let index = (top + y) * screen.columns + x
        guard screen.cells.indices.contains(index) else { break }
        canvas.put(cell(screen.cells[index], isCursor: screen.cursor == index, canvas.glyphs), x: x, y: y)
      }
    }
  }

  private func cell(_ word: UInt16, isCursor: Bool, _ glyphs: Glyphs) -> Cell {
    let code = UInt8(truncatingIfNeeded: word)
    var scalar = Self.codePage.indices.contains(Int(code)) ? Self.codePage[Int(code)] : 0x20
    if glyphs.levels.isEmpty && scalar >= 0x7F { scalar = code >= 0xB0 && code <= 0xDF ? 0x23 : 0x2E }
    var cell = Cell(scalar, role: .vga)
    let attribute = UInt8(truncatingIfNeeded: word >> 8)
    cell.attribute = isCursor ? attribute << 4 | attribute >> 4 : attribute
    return cell
  }

  package func handle(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    switch key.code {
    case .up: scroll(-1, snapshot)
    case .down: scroll(1, snapshot)
    case .home: topRow = 0
    case .end: topRow = nil
    default: return .ignored
    }
    return .handled
  }

  package func scroll(_ rows: Int, _ snapshot: SessionSnapshot) {
    let most = max((snapshot.screen?.rows ?? 0) - 1, 0)
    topRow = min(max((topRow ?? 0) + rows, 0), most)
  }
}
