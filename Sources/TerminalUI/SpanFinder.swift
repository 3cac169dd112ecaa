/// Cells of one row that are sent in one go and in one style.
struct Span {
  enum Kind { case text, erase, eraseToEnd }

  var kind = Kind.text
  var row: Int
  var start: Int
  /// The column behind it.
  var end: Int
  /// A style of the frame's `StyleTable`.
  var style: Int
  /// Nothing but its background shows.
  var isBlank: Bool
  /// It ends in a wide character or a combined one: terminals differ in how far these move the cursor.
  var isUnsure = false

  var place: Position { Position(x: start, y: row) }
  /// Its text ends in the last column.
  func reaches(_ width: Int) -> Bool { kind == .text && end >= width }

  /// The pen when it was sent.
  func after(_ pen: PenState, _ width: Int) -> PenState {
    var end = place
    if kind == .text { end.x = self.end }
    return PenState(at: reaches(width) || isUnsure ? nil : end, row: row, style: style, kept: pen.kept, tabsEnd: pen.tabsEnd, goesByLines: pen.goesByLines)
  }

  /// Bytes before its own, without what the terminal keeps: to its place, in its style. May be anything not below `limit`
  /// where it is not less.
  func cost(from pen: PenState, _ buffer: CellBuffer, _ styles: inout StyleTable, below limit: Int = .max) -> Int {
    let switching = pen.style == style ? 0 : styles.cost(from: pen.style, to: style)
    guard switching < limit else { return limit }
    let moving = pen.way(to: place).length
    guard moving > 0, switching + 1 < limit, let bridge = bridge(from: pen, buffer, &styles) else { return switching + moving }
    return switching + min(moving, bridge)
  }

  /// Bytes of the unchanged cells before it in its row, where the pen may send them again; nil where not.
  func bridge(from pen: PenState, _ buffer: CellBuffer, _ styles: inout StyleTable) -> Int? {
    guard let at = pen.at, let style = pen.style, at.y == row, at.x < start, start - at.x <= 5 else { return nil }
    var length = 0
    for x in at.x..<start {
      let cell = buffer[x, row]
      guard cell.width == 1, cell.mark == 0 else { return nil }
      let own = styles.index(of: cell)
      guard own == style || cell.scalar == 0x20 && styles.areBlankAlike(own, style) else { return nil }
      length += UTF8Length.of(cell.scalar)
    }
    return length
  }
}

/// Finds what differs between two screens, as spans.
struct SpanFinder {
  let old: [Cell]?
  let new: CellBuffer
  let abilities: FrameEncoder.Abilities
  private(set) var spans: [Span] = []

  init(old: [Cell]?, new: CellBuffer, abilities: FrameEncoder.Abilities) {
    (self.old, self.new, self.abilities) = (old, new, abilities)
  }

  /// Adds the spans of one row's first `width` columns.
  mutating func find(row: Int, width: Int, _ styles: inout StyleTable) {
    var x = 0
    while x < width {
      if isSame(x, row, &styles) {
        x += 1
        continue
      }
      if new[x, row].width == 0, x > 0 { x -= 1 }
      let blanks = erasure(x, row, &styles)
      let span = if let blanks { blanks } else { text(x, row, width, &styles) }
      if !join(span, &styles) { spans.append(span) }
      x = span.end
    }
  }

  /// No movement over unchanged cells is shorter than sending so many bytes of them again.
  private static let shortestMove = 3

  /// Puts a span to the one before it, with the few unchanged cells between, where one style draws all.
  private mutating func join(_ span: Span, _ styles: inout StyleTable) -> Bool {
    guard var last = spans.last, last.row == span.row, last.kind == .text, span.kind == .text, !last.isUnsure,
      span.start - last.end <= Self.shortestMove
    else { return false }
    let style = last.isBlank ? span.style : last.style
    guard last.style == style || styles.areBlankAlike(last.style, style),
      span.style == style || span.isBlank && styles.areBlankAlike(span.style, style)
    else { return false }
    var (length, isBlank) = (0, last.isBlank && span.isBlank)
    for x in last.end..<span.start {
      let cell = new[x, span.row]
      let own = styles.index(of: cell)
      guard cell.width == 1, cell.mark == 0, own == style || Self.isSpace(cell) && styles.areBlankAlike(own, style) else {
        return false
      }
      length += UTF8Length.of(cell.scalar)
      if !Self.isSpace(cell) { isBlank = false }
    }
    guard length <= Self.shortestMove else { return false }
    last.end = span.end
    last.style = style
    last.isBlank = isBlank
    last.isUnsure = span.isUnsure
    spans[spans.count - 1] = last
    return true
  }

  /// Whether a cell looks as it did: the same character in the same style, whatever role gave it that.
  func isSame(_ x: Int, _ row: Int, _ styles: inout StyleTable) -> Bool {
    guard let old else { return false }
    let index = row * new.size.width + x
    let (before, now) = (old[index], new.cells[index])
    if before == now { return true }
    guard before.scalar == now.scalar, before.mark == now.mark, before.width == now.width else { return false }
    let (one, other) = (styles.index(of: before), styles.index(of: now))
    return one == other || Self.isSpace(now) && styles.areBlankAlike(one, other)
  }

  private static func isSpace(_ cell: Cell) -> Bool { cell.scalar == 0x20 && cell.mark == 0 }

  // MARK: blanks

  /// Nothing but its background shows of this cell.
  private func isBlank(_ cell: Cell, _ styles: inout StyleTable) -> Bool {
    guard Self.isSpace(cell) else { return false }
    let style = styles.index(of: cell)
    return styles.isPlain(style)
  }

  /// A blank that looks as one in `style` does.
  private func isBlank(_ cell: Cell, like style: Int, _ styles: inout StyleTable) -> Bool {
    guard Self.isSpace(cell) else { return false }
    let own = styles.index(of: cell)
    return styles.areBlankAlike(style, own)
  }

  /// Blanks from here on that one control sequence erases, if there are enough of them.
  private func erasure(_ x: Int, _ row: Int, _ styles: inout StyleTable) -> Span? {
    guard isBlank(new[x, row], &styles) else { return nil }
    let style = styles.index(of: new[x, row])
    let background = styles[style].background
    guard background == nil || background == .terminal || abilities.contains(.erasesInColor) else { return nil }
    var (end, behind, changed) = (x, x, 0)
    let width = new.size.width
    while end < width, isBlank(new[end, row], like: style, &styles) {
      end += 1
      if isSame(end - 1, row, &styles) { continue }
      changed += 1
      behind = end
    }
    if end == width {
      return changed > 3 ? Span(kind: .eraseToEnd, row: row, start: x, end: end, style: style, isBlank: true) : nil
    }
    // A blank repeated is as short, and takes the cursor along.
    guard changed > 9, abilities.contains(.erasesCharacters), !abilities.contains(.repeats) else { return nil }
    return Span(kind: .erase, row: row, start: x, end: behind, style: style, isBlank: true)
  }

  // MARK: text

  /// Changed cells from here on that one style can draw: blanks take any with their background.
  private func text(_ x: Int, _ row: Int, _ width: Int, _ styles: inout StyleTable) -> Span {
    let first = styles.index(of: new[x, row])
    var span = Span(row: row, start: x, end: x, style: first, isBlank: true)
    while span.end < width {
      let cell = new[span.end, row]
      // The right half of a wide character goes with its left.
      if span.end > x, cell.width != 0, isSame(span.end, row, &styles) { break }
      let style = styles.index(of: cell)
      if isBlank(cell, &styles) {
        guard styles.areBlankAlike(style, span.style) || span.end == x else { break }
        if span.end > x, erasure(span.end, row, &styles) != nil { break }
      } else if span.isBlank {
        guard span.end == x || styles.areBlankAlike(span.style, style) else { break }
        (span.style, span.isBlank) = (style, false)
      } else if style != span.style {
        break
      }
      span.end += 1
      guard cell.width != 1 || cell.mark != 0 else { continue }
      span.isUnsure = true
      if cell.width < 2 { break }
    }
    return span
  }
}

/// How many bytes a character takes.
enum UTF8Length {
  static func of(_ scalar: UInt32) -> Int { scalar < 0x80 ? 1 : scalar < 0x800 ? 2 : scalar < 0x10000 ? 3 : 4 }
}
