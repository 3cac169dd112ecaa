/// The line-drawing characters: Unicode where the terminal's locale has them, ASCII elsewhere.
package struct Glyphs: Equatable, Sendable {
  package var horizontal: UInt32
  package var vertical: UInt32
  package var bar: [UInt32]
  package var bullet: UInt32
  package var ellipsis: UInt32
  /// Where a line turns, its head, and where it leaves.
  package var topCorner: UInt32
  package var bottomCorner: UInt32
  package var head: UInt32
  package var up: UInt32
  package var down: UInt32
  /// Columns of a histogram, the lowest first; empty where digits say it.
  package var levels: [UInt32]

  package static let unicode = Glyphs(
    horizontal: 0x2500, vertical: 0x2502, bar: [0x258F, 0x258E, 0x258D, 0x258C, 0x258B, 0x258A, 0x2589, 0x2588],
    bullet: 0x25CF, ellipsis: 0x2026, topCorner: 0x250C, bottomCorner: 0x2514, head: 0x25B6, up: 0x2191, down: 0x2193,
    levels: (0x2581...0x2588).map { $0 })
  /// What the fonts of a Linux console have: code page 437.
  package static let linuxConsole = Glyphs(
    horizontal: 0x2500, vertical: 0x2502, bar: [0x258C, 0x2588], bullet: 0x2022, ellipsis: 0x7E, topCorner: 0x250C, bottomCorner: 0x2514,
    head: 0x25BA, up: 0x2191, down: 0x2193, levels: [0x2584, 0x2588])
  package static let ascii = Glyphs(
    horizontal: 0x2D, vertical: 0x7C, bar: [0x23], bullet: 0x2A, ellipsis: 0x7E, topCorner: 0x2B, bottomCorner: 0x2B, head: 0x3E, up: 0x5E,
    down: 0x76, levels: [])
}

/// A window on a buffer: coordinates count from the region's corner and what falls outside is cut.
package struct Canvas {
  package let buffer: CellBuffer
  package let region: Region
  package let glyphs: Glyphs

  package init(_ buffer: CellBuffer, _ region: Region? = nil, glyphs: Glyphs = .ascii) {
    self.buffer = buffer
    self.region = (region ?? buffer.region).intersection(buffer.region)
    self.glyphs = glyphs
  }

  package var width: Int { region.width }
  package var height: Int { region.height }

  /// A part of this canvas, given in the buffer's coordinates, cut to this one.
  package func part(_ other: Region) -> Canvas { Canvas(buffer, other.intersection(region), glyphs: glyphs) }

  /// A part of this canvas, given in its own coordinates.
  package func inner(x: Int = 0, y: Int = 0, width: Int? = nil, height: Int? = nil) -> Canvas {
    part(
      Region(
        x: region.x + x, y: region.y + y, width: width ?? max(self.width - x, 0),
        height: height ?? max(self.height - y, 0)))
  }

  /// Draws text in one row and gives the column after it (which may lie outside).
  @discardableResult
  package func text(
    _ string: some StringProtocol, x: Int, y: Int, _ role: StyleRole = .text, surface: StyleRole = .text,
    limit: Int? = nil
  ) -> Int {
    var column = x
    let end = min(width, limit.map { x + $0 } ?? width)
    for scalar in string.unicodeScalars {
      let columns = CharacterWidth.of(scalar)
      if columns == 0 {
        // Only marks join: format characters would reorder or hide what stands around them.
        let isMark = scalar.properties.generalCategory != .format
        if isMark && column > x && column <= end && y >= 0 && y < height {
          buffer.combine(scalar.value, x: region.x + column - 1, y: region.y + y)
        }
        continue
      }
      if column + columns > end {
        return column + columns
      }
      put(
        Cell(CharacterWidth.drawable(scalar), role: role, surface: surface, width: UInt8(columns)), x: column, y: y)
      column += columns
    }
    return column
  }

  /// Draws text that must be seen to be cut: an ellipsis stands where it no longer fits.
  package func fitted(
    _ string: String, x: Int, y: Int, _ role: StyleRole = .text, surface: StyleRole = .text, limit: Int? = nil
  ) {
    let room = min(width - x, limit ?? Int.max)
    guard room > 0 else { return }
    text(string, x: x, y: y, role, surface: surface, limit: room)
    if CharacterWidth.of(string) > room {
      put(Cell(glyphs.ellipsis, role: role, surface: surface), x: x + room - 1, y: y)
    }
  }

  package func put(_ cell: Cell, x: Int, y: Int) {
    guard x >= 0, y >= 0, x < width, y < height else { return }
    buffer.put(cell, x: region.x + x, y: region.y + y)
  }

  package func put(_ scalar: UInt32, x: Int, y: Int, _ role: StyleRole, surface: StyleRole = .text) {
    put(Cell(scalar, role: role, surface: surface), x: x, y: y)
  }

  /// Blanks everything.
  package func fill(_ role: StyleRole = .text, surface: StyleRole = .text) {
    for y in 0..<height {
      for x in 0..<width { put(Cell(0x20, role: role, surface: surface), x: x, y: y) }
    }
  }

  /// Lays a surface behind one row.
  package func lay(_ surface: StyleRole, row: Int) { buffer.lay(surface, region.row(row)) }

  /// Gives everything drawn here another role.
  package func highlight(_ role: StyleRole) {
    for y in region.y..<region.endY {
      for x in region.x..<region.endX {
        var cell = buffer[x, y]
        guard cell.width == 1 else { continue }
        cell.role = role
        cell.surface = .text
        buffer.put(cell, x: x, y: y)
      }
    }
  }

  /// A horizontal bar of `share` (0...1) of `columns` columns.
  package func bar(_ share: Double, x: Int, y: Int, columns: Int, _ role: StyleRole = .bar) {
    guard share.isFinite, columns > 0 else { return }
    let steps = glyphs.bar.count
    var filled = Int((min(max(share, 0), 1) * Double(columns * steps)).rounded())
    if filled == 0 && share > 0 { filled = 1 }
    let full = filled / steps
    let rest = filled % steps
    for column in 0..<min(full, columns) { put(glyphs.bar[steps - 1], x: x + column, y: y, role) }
    if rest > 0 && full < columns { put(glyphs.bar[rest - 1], x: x + full, y: y, role) }
  }

  package func verticalLine(x: Int, _ role: StyleRole = .border) {
    for y in 0..<height { put(glyphs.vertical, x: x, y: y, role) }
  }

  package func horizontalLine(y: Int, from x: Int = 0, _ role: StyleRole = .border) {
    for column in max(x, 0)..<max(width, max(x, 0)) { put(glyphs.horizontal, x: column, y: y, role) }
  }
}
