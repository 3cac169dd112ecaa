/// Turns the difference between two screens into what an ECMA-48 terminal must be sent.
package struct FrameEncoder: Sendable {
  private let depth: ColorDepth
  private let skipsCorner: Bool

  /// `skipsCorner`: the last cell of the last row would scroll this terminal and is left alone.
  package init(depth: ColorDepth, skipsCorner: Bool = false) {
    self.depth = depth
    self.skipsCorner = skipsCorner
  }

  /// Cells rewritten to spare a cursor movement, which takes some six bytes.
  private static let bridgedGap = 4

  private struct Pen {
    var bytes: [UInt8] = []
    /// Where the terminal's cursor is, or nil if unknown.
    var at: Position?
    /// What it draws in, or nil if unknown.
    var style: Style?
  }

  /// `old` nil draws everything, on a screen whose content is not known.
  package func encode(from old: CellBuffer?, to new: CellBuffer, theme: Theme, cursor: Position?) -> [UInt8] {
    var pen = Pen()
    var table = StyleTable(theme: theme, depth: depth)
    for y in 0..<new.size.height {
      var x = 0
      while x < new.size.width {
        if let old, old.cells[y * new.size.width + x] == new.cells[y * new.size.width + x] {
          x += 1
          continue
        }
        if new[x, y].width == 0, x > 0 { x -= 1 }
        draw(new, x, y, &pen, &table)
        x += max(Int(new[x, y].width), 1)
      }
    }
    if pen.style != nil { pen.bytes += [0x1B, 0x5B, 0x6D] }
    if let cursor, pen.at != cursor { move(to: cursor, &pen) }
    return pen.bytes
  }

  private func draw(_ buffer: CellBuffer, _ x: Int, _ y: Int, _ pen: inout Pen, _ table: inout StyleTable) {
    let isCorner = x == buffer.size.width - 1 && y == buffer.size.height - 1
    if isCorner && skipsCorner { return }
    if let at = pen.at, at.y == y, at.x < x, x - at.x <= Self.bridgedGap, canBridge(buffer, at.x..<x, y, pen, &table) {
      for column in at.x..<x { write(buffer[column, y], &pen) }
      pen.at = Position(x: x, y: y)
    }
    if pen.at != Position(x: x, y: y) { move(to: Position(x: x, y: y), &pen) }
    let cell = buffer[x, y]
    let style = table.style(of: cell)
    if style != pen.style {
      set(style, &pen)
    }
    write(cell, &pen)
    let next = x + max(Int(cell.width), 1)
    pen.at = next < buffer.size.width ? Position(x: next, y: y) : nil
  }

  private func canBridge(
    _ buffer: CellBuffer, _ columns: Range<Int>, _ y: Int, _ pen: Pen, _ table: inout StyleTable
  ) -> Bool {
    for x in columns where buffer[x, y].width != 1 || table.style(of: buffer[x, y]) != pen.style { return false }
    return true
  }

  private func write(_ cell: Cell, _ pen: inout Pen) {
    if cell.width == 0 {
      pen.bytes.append(0x20)
      return
    }
    Self.appendUTF8(cell.scalar, &pen.bytes)
    if cell.mark != 0 { Self.appendUTF8(cell.mark, &pen.bytes) }
  }

  private static func appendUTF8(_ value: UInt32, _ bytes: inout [UInt8]) {
    if value < 0x80 {
      bytes.append(UInt8(value))
    } else if let scalar = Unicode.Scalar(value) {
      bytes.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    }
  }

  private func move(to position: Position, _ pen: inout Pen) {
    if let at = pen.at, at.y == position.y, position.x > at.x {
      let distance = position.x - at.x
      pen.bytes.append(contentsOf: (distance == 1 ? "\u{1B}[C" : "\u{1B}[\(distance)C").utf8)
    } else {
      pen.bytes.append(contentsOf: "\u{1B}[\(position.y + 1);\(position.x + 1)H".utf8)
    }
    pen.at = position
  }

  private static let attributeCodes: [(attribute: TextAttributes, on: String, off: String)] = [
    (.bold, "1", "22"), (.dim, "2", "22"), (.italic, "3", "23"), (.underline, "4", "24"), (.reverse, "7", "27"),
  ]

  private func set(_ style: Style, _ pen: inout Pen) {
    var codes = whole(style)
    if let before = pen.style {
      let changes = changes(from: before, to: style)
      // Terminals without colours need not know how to switch one attribute off.
      let mayKeep = depth > .monochrome || before.attributes.isSubset(of: style.attributes)
      if mayKeep, changes.reduce(0, { $0 + $1.utf8.count + 1 }) <= codes.reduce(0, { $0 + $1.utf8.count + 1 }) { codes = changes }
    }
    pen.style = style
    guard !codes.isEmpty else { return }
    pen.bytes.append(contentsOf: "\u{1B}[\(codes.joined(separator: ";"))m".utf8)
  }

  /// From nothing known.
  private func whole(_ style: Style) -> [String] {
    var codes = ["0"]
    for entry in Self.attributeCodes where style.attributes.contains(entry.attribute) { codes.append(entry.on) }
    append(style.foreground, base: 30, &codes)
    append(style.background, base: 40, &codes)
    return codes
  }

  /// Only what differs.
  private func changes(from before: Style, to style: Style) -> [String] {
    var codes: [String] = []
    let gone = before.attributes.subtracting(style.attributes)
    var held = before.attributes
    for entry in Self.attributeCodes where gone.contains(entry.attribute) && !codes.contains(entry.off) {
      codes.append(entry.off)
      held.subtract(entry.off == "22" ? [.bold, .dim] : entry.attribute)
    }
    for entry in Self.attributeCodes where style.attributes.contains(entry.attribute) && !held.contains(entry.attribute) {
      codes.append(entry.on)
    }
    if before.foreground != style.foreground { append(style.foreground ?? .terminal, base: 30, reset: true, &codes) }
    if before.background != style.background { append(style.background ?? .terminal, base: 40, reset: true, &codes) }
    return codes
  }

  private func append(_ color: Color?, base: Int, reset: Bool = false, _ codes: inout [String]) {
    guard depth > .monochrome, let color else { return }
    switch color {
    case .terminal: if reset { codes.append("\(base + 9)") }
    case .indexed(let index) where index < 8: codes.append("\(base + Int(index))")
    case .indexed(let index) where index < 16: codes.append("\(base + 60 + Int(index) - 8)")
    case .indexed(let index): codes.append("\(base + 8);5;\(index)")
    case .rgb(let r, let g, let b): codes.append("\(base + 8);2;\(r);\(g);\(b)")
    }
  }
}

/// Styles of cells, worked out once a frame for each pair of roles.
private struct StyleTable {
  let theme: Theme
  let depth: ColorDepth
  private var known: [UInt32: Style] = [:]
  private var lastKey: UInt32 = .max
  private var last = Style()

  init(theme: Theme, depth: ColorDepth) {
    self.theme = theme
    self.depth = depth
  }

  mutating func style(of cell: Cell) -> Style {
    let key = UInt32(cell.role.rawValue) << 16 | UInt32(cell.surface.rawValue) << 8 | UInt32(cell.attribute)
    if key == lastKey { return last }
    let style = known[key] ?? theme.style(of: cell, depth: depth)
    known[key] = style
    lastKey = key
    last = style
    return style
  }
}
