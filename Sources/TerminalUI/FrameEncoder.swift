/// Turns the difference between two screens into what an ECMA-48 terminal must be sent.
package struct FrameEncoder: Sendable {
  /// What a terminal can do beyond placing its cursor and setting styles.
  package struct Abilities: OptionSet, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Erased places take the background that is set (`bce`).
    package static let erasesInColor = Self(rawValue: 1)
    /// ECH: the next n places are erased.
    package static let erasesCharacters = Self(rawValue: 2)
    /// The cursor stays in its row behind the last column.
    package static let staysInRow = Self(rawValue: 4)
  }

  private let depth: ColorDepth
  private let skipsCorner: Bool
  private let abilities: Abilities

  /// `skipsCorner`: the last cell of the last row would scroll this terminal and is left alone.
  package init(depth: ColorDepth, skipsCorner: Bool = false, abilities: Abilities = []) {
    self.depth = depth
    self.skipsCorner = skipsCorner
    self.abilities = abilities
  }

  private struct Pen {
    var bytes: [UInt8] = []
    /// Where the terminal's cursor is, or nil if unknown.
    var at: Position?
    /// Its row, where that much is known.
    var row: Int?
    /// What it draws in, or nil if unknown.
    var style: Style?
  }

  /// `old` nil draws everything, on a screen whose content is not known.
  package func encode(from old: CellBuffer?, to new: CellBuffer, theme: Theme, cursor: Position?) -> [UInt8] {
    var pen = Pen()
    var table = StyleTable(theme: theme, depth: depth)
    let width = new.size.width
    for y in 0..<new.size.height {
      var x = 0
      while x < width {
        if isSame(old, new, y * width + x, &table) {
          x += 1
          continue
        }
        if new[x, y].width == 0, x > 0 { x -= 1 }
        if let end = erase(new, x, y, old, &pen, &table) {
          x = end
          continue
        }
        draw(new, x, y, &pen, &table)
        x += max(Int(new[x, y].width), 1)
      }
    }
    if pen.style != nil { pen.bytes += [0x1B, 0x5B, 0x6D] }
    if let cursor, pen.at != cursor { move(to: cursor, &pen) }
    return pen.bytes
  }

  /// Whether a cell looks as it did: the same character in the same style, whatever role gave it that.
  private func isSame(_ old: CellBuffer?, _ new: CellBuffer, _ index: Int, _ table: inout StyleTable) -> Bool {
    guard let before = old?.cells[index] else { return false }
    let now = new.cells[index]
    if before == now { return true }
    guard before.scalar == now.scalar, before.mark == now.mark, before.width == now.width else { return false }
    let (one, other) = (table.style(of: before), table.style(of: now))
    return one == other || now.scalar == 0x20 && Self.isBlankAlike(one, other)
  }

  /// A blank looks the same in both: nothing but the background shows.
  private static func isBlankAlike(_ one: Style, _ other: Style) -> Bool {
    let shown: TextAttributes = [.underline, .reverse]
    return one.background == other.background && one.attributes.isDisjoint(with: shown)
      && other.attributes.isDisjoint(with: shown)
  }

  // MARK: runs of blanks

  /// Erases from here where enough blanks of one background follow; the column behind them.
  private func erase(
    _ buffer: CellBuffer, _ x: Int, _ y: Int, _ old: CellBuffer?, _ pen: inout Pen, _ table: inout StyleTable
  ) -> Int? {
    guard buffer[x, y].scalar == 0x20, buffer[x, y].mark == 0 else { return nil }
    let style = table.style(of: buffer[x, y])
    guard style.attributes.isDisjoint(with: [.underline, .reverse]) else { return nil }
    let isPlain = style.background == nil || style.background == .terminal
    guard isPlain || abilities.contains(.erasesInColor) else { return nil }
    var end = x
    var changed = 0
    let width = buffer.size.width
    while end < width, buffer[end, y].scalar == 0x20, buffer[end, y].mark == 0,
      Self.isBlankAlike(style, table.style(of: buffer[end, y]))
    {
      if !isSame(old, buffer, y * width + end, &table) { changed += 1 }
      end += 1
    }
    let reachesEnd = end == width
    guard reachesEnd ? changed > 3 : abilities.contains(.erasesCharacters) && changed > 9 else { return nil }
    if pen.at != Position(x: x, y: y) { move(to: Position(x: x, y: y), &pen) }
    if let now = pen.style, Self.isBlankAlike(now, style) {} else { set(style, &pen) }
    pen.bytes.append(contentsOf: (reachesEnd ? "\u{1B}[K" : "\u{1B}[\(end - x)X").utf8)
    return end
  }

  // MARK: cells

  private func draw(_ buffer: CellBuffer, _ x: Int, _ y: Int, _ pen: inout Pen, _ table: inout StyleTable) {
    let isCorner = x == buffer.size.width - 1 && y == buffer.size.height - 1
    if isCorner && skipsCorner { return }
    let here = Position(x: x, y: y)
    if pen.at != here, let at = pen.at, at.y == y, at.x < x, bridge(buffer, at.x..<x, y, &pen, &table) { pen.at = here }
    if pen.at != here { move(to: here, &pen) }
    let cell = buffer[x, y]
    let style = table.style(of: cell)
    let isHidden = cell.scalar == 0x20 && pen.style.map { Self.isBlankAlike($0, style) } ?? false
    if style != pen.style, !isHidden { set(style, &pen) }
    write(cell, &pen)
    let next = x + max(Int(cell.width), 1)
    pen.at = next < buffer.size.width ? Position(x: next, y: y) : nil
    pen.row = abilities.contains(.staysInRow) ? y : nil
  }

  /// Sends unchanged cells again where that is shorter than moving over them; false where it is not.
  private func bridge(_ buffer: CellBuffer, _ columns: Range<Int>, _ y: Int, _ pen: inout Pen, _ table: inout StyleTable) -> Bool {
    guard columns.count <= 5, let style = pen.style else { return false }
    var length = 0
    for x in columns {
      let cell = buffer[x, y]
      guard cell.width == 1, cell.mark == 0 else { return false }
      let own = table.style(of: cell)
      guard own == style || cell.scalar == 0x20 && Self.isBlankAlike(own, style) else { return false }
      length += cell.scalar < 0x80 ? 1 : cell.scalar < 0x800 ? 2 : 3
    }
    guard length <= Self.forward(columns.count).utf8.count else { return false }
    for x in columns { write(buffer[x, y], &pen) }
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

  private static func forward(_ distance: Int) -> String { distance == 1 ? "\u{1B}[C" : "\u{1B}[\(distance)C" }

  /// Moves the cursor the shortest way every ECMA-48 terminal knows.
  private func move(to position: Position, _ pen: inout Pen) {
    var best = position.x == 0 ? "\u{1B}[\(position.y + 1)H" : "\u{1B}[\(position.y + 1);\(position.x + 1)H"
    func offer(_ way: String) { if way.utf8.count < best.utf8.count { best = way } }
    if let row = pen.at?.y ?? pen.row, position.y >= row, position.y - row < 3 {
      let down = String(repeating: "\n", count: position.y - row)
      // Behind the last column only a carriage return says where the cursor is.
      let fromStart = position.x == 0 ? "" : Self.forward(position.x)
      offer("\r" + down + fromStart)
      if let at = pen.at, position.x == at.x { offer(down) }
      if let at = pen.at, position.x > at.x { offer(down + Self.forward(position.x - at.x)) }
      if let at = pen.at, position.x < at.x, at.x - position.x < 4 {
        offer(down + String(repeating: "\u{8}", count: at.x - position.x))
      }
    }
    pen.bytes.append(contentsOf: best.utf8)
    pen.at = position
    pen.row = position.y
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
    // An empty number is a zero.
    var codes = [""]
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
