/// One character position of the screen.
package struct Cell: Equatable, Sendable {
  /// The character; 0 in the right half of a wide one.
  package var scalar: UInt32
  /// A combining mark over it, or 0.
  package var mark: UInt32
  package var role: StyleRole
  /// The role of what lies behind the text (a selected row, the current line).
  package var surface: StyleRole
  /// VGA attribute byte, for the role `vga` only.
  package var attribute: UInt8
  /// Columns taken: 1, 2, or 0 for the right half of a wide character.
  package var width: UInt8

  package init(_ scalar: UInt32 = 0x20, role: StyleRole = .text, surface: StyleRole = .text, width: UInt8 = 1) {
    self.scalar = scalar
    mark = 0
    self.role = role
    self.surface = surface
    attribute = 0
    self.width = width
  }

  package static let blank = Cell()
  /// Like nothing that is drawn.
  static let unknown = Cell(.max)
}

/// A screenful of cells. Every write outside is dropped, so nothing that draws can do harm.
package final class CellBuffer {
  package private(set) var size: Size
  package private(set) var cells: [Cell]

  /// A blank buffer; a negative size counts as zero.
  package init(_ size: Size) {
    self.size = Size(width: max(size.width, 0), height: max(size.height, 0))
    cells = Array(repeating: .blank, count: self.size.width * self.size.height)
  }

  package var region: Region { Region(x: 0, y: 0, width: size.width, height: size.height) }

  package func clear() {
    for i in cells.indices { cells[i] = .blank }
  }

  /// Takes over what another buffer of the same size holds.
  package func copy(from other: CellBuffer) {
    size = other.size
    cells = other.cells
  }

  package subscript(x: Int, y: Int) -> Cell {
    guard x >= 0, y >= 0, x < size.width, y < size.height else { return .blank }
    return cells[y * size.width + x]
  }

  /// Puts a cell down; a wide one takes the next column too, and whatever wide character it cuts in half
  /// becomes blank.
  package func put(_ cell: Cell, x: Int, y: Int) {
    guard x >= 0, y >= 0, x < size.width, y < size.height else { return }
    let index = y * size.width + x
    if cells[index].width != 1 { clearWide(x: x, y: y) }
    guard cell.width == 2 else {
      cells[index] = cell
      return
    }
    guard x + 1 < size.width else {
      cells[index] = Cell(0x20, role: cell.role, surface: cell.surface)
      return
    }
    if cells[index + 1].width != 1 { clearWide(x: x + 1, y: y) }
    cells[index] = cell
    cells[index + 1] = Cell(0, role: cell.role, surface: cell.surface, width: 0)
  }

  private func clearWide(x: Int, y: Int) {
    let row = y * size.width
    let start = cells[row + x].width == 0 ? x - 1 : x
    for column in max(start, 0)...min(start + 1, size.width - 1) {
      cells[row + column].scalar = 0x20
      cells[row + column].mark = 0
      cells[row + column].width = 1
    }
  }

  /// Puts a combining mark over a cell that has none yet.
  package func combine(_ mark: UInt32, x: Int, y: Int) {
    guard x >= 0, y >= 0, x < size.width, y < size.height else { return }
    if cells[y * size.width + x].mark == 0 { cells[y * size.width + x].mark = mark }
  }

  /// Lays a surface behind the cells of a region.
  package func lay(_ surface: StyleRole, _ region: Region) {
    let clipped = region.intersection(self.region)
    for y in clipped.y..<clipped.endY {
      for x in clipped.x..<clipped.endX { cells[y * size.width + x].surface = surface }
    }
  }

  /// A row as text, wide characters once, trailing blanks cut.
  package func text(row: Int) -> String {
    var scalars = String.UnicodeScalarView()
    for x in 0..<size.width {
      let cell = self[x, row]
      if cell.width == 0 { continue }
      if let scalar = Unicode.Scalar(cell.scalar) { scalars.append(scalar) }
      if cell.mark != 0, let mark = Unicode.Scalar(cell.mark) { scalars.append(mark) }
    }
    while scalars.last == " " { scalars.removeLast() }
    return String(scalars)
  }
}
