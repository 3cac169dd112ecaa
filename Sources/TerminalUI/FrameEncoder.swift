/// Turns the difference between two screens into what an ECMA-48 terminal must be sent.
///
/// What changed is cut into spans of one style, and spans are sent in the order that needs the fewest bytes for
/// moving the cursor and switching styles: always the one next that costs least from where the pen is. So a style
/// is switched to about once a frame, not once a row.
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
    /// REP: the last character n times more; sent for ASCII alone.
    package static let repeats = Self(rawValue: 8)
  }

  private let depth: ColorDepth
  private let skipsCorner: Bool
  private let abilities: Abilities

  /// How many spans are looked at for the next one.
  private static let window = 160

  /// `skipsCorner`: the last cell of the last row would scroll this terminal and is left alone.
  package init(depth: ColorDepth, skipsCorner: Bool = false, abilities: Abilities = []) {
    self.depth = depth
    self.skipsCorner = skipsCorner
    self.abilities = abilities
  }

  /// `old` nil draws everything, on a screen whose content is not known. `style` is what the terminal draws in before
  /// and after, nil if unknown.
  package func encode(
    from old: CellBuffer?, to new: CellBuffer, theme: Theme, cursor: Position?, style: inout Style?
  ) -> [UInt8] {
    var styles = StyleTable(theme: theme, depth: depth)
    let spans = spans(from: old, to: new, &styles)
    // The frame before left the cursor somewhere, but a stray message may have moved it: the first move is absolute.
    var pen = Pen(style: style.map { styles.index($0) }, abilities: abilities)
    send(spans, of: new, &pen, &styles)
    if let cursor, pen.at != cursor { pen.move(to: cursor) }
    style = pen.style.map { styles[$0] }
    return pen.bytes
  }

  /// How many cells look different, whatever roles they have; all of them where `old` is nil.
  package func changedCells(from old: CellBuffer?, to new: CellBuffer, theme: Theme) -> Int {
    var styles = StyleTable(theme: theme, depth: depth)
    let finder = SpanFinder(old: old, new: new, abilities: abilities)
    var count = 0
    for y in 0..<new.size.height {
      for x in 0..<new.size.width where !finder.isSame(x, y, &styles) { count += 1 }
    }
    return count
  }

  /// Sends every span, the cheapest next.
  private func send(_ spans: [Span], of buffer: CellBuffer, _ pen: inout Pen, _ styles: inout StyleTable) {
    var left = spans
    while !left.isEmpty {
      var best = 0
      var least = Int.max
      for index in 0..<min(left.count, Self.window) {
        let cost = cost(left[index], buffer, pen, &styles, below: least)
        guard cost < least else { continue }
        (best, least) = (index, cost)
        if cost == 0 { break }
      }
      send(left.remove(at: best), buffer, &pen, &styles)
    }
  }

  /// Bytes before a span's own: to its place, in its style. May be anything not below `limit` where it is not less.
  private func cost(
    _ span: Span, _ buffer: CellBuffer, _ pen: Pen, _ styles: inout StyleTable, below limit: Int
  ) -> Int {
    let wanted = target(of: span, pen, &styles)
    let switching = pen.style == wanted ? 0 : styles.cost(from: pen.style, to: wanted)
    guard switching < limit else { return limit }
    let place = Position(x: span.start, y: span.row)
    let moving = pen.way(to: place).length
    guard moving > 0, switching + 1 < limit, let bridge = bridge(to: span, buffer, pen, &styles) else {
      return switching + moving
    }
    return switching + min(moving, bridge)
  }

  /// The style to draw a span in: for blanks the pen's own, but for the background.
  private func target(of span: Span, _ pen: Pen, _ styles: inout StyleTable) -> Int {
    guard span.isBlank, let now = pen.style else { return span.style }
    return styles.blank(now, like: span.style)
  }

  /// Bytes of the unchanged cells before a span in its row, where the pen may send them again; nil where not.
  private func bridge(to span: Span, _ buffer: CellBuffer, _ pen: Pen, _ styles: inout StyleTable) -> Int? {
    guard let at = pen.at, let style = pen.style, at.y == span.row, at.x < span.start, span.start - at.x <= 5 else {
      return nil
    }
    var length = 0
    for x in at.x..<span.start {
      let cell = buffer[x, span.row]
      guard cell.width == 1, cell.mark == 0 else { return nil }
      let own = styles.index(of: cell)
      guard own == style || cell.scalar == 0x20 && styles.areBlankAlike(own, style) else { return nil }
      length += UTF8Length.of(cell.scalar)
    }
    return length
  }

  private func send(_ span: Span, _ buffer: CellBuffer, _ pen: inout Pen, _ styles: inout StyleTable) {
    let place = Position(x: span.start, y: span.row)
    if let bridge = bridge(to: span, buffer, pen, &styles), bridge <= pen.way(to: place).length, let at = pen.at {
      for x in at.x..<span.start { pen.put(buffer[x, span.row]) }
      pen.at = place
    } else {
      pen.move(to: place)
    }
    let wanted = target(of: span, pen, &styles)
    pen.set(wanted, styles)
    switch span.kind {
    case .eraseToEnd: pen.bytes += [0x1B, 0x5B, 0x4B]
    case .erase: pen.control(span.end - span.start, UInt8(ascii: "X"))
    case .text: pen.put(buffer, span)
    }
  }

  // MARK: what changed

  private func spans(from old: CellBuffer?, to new: CellBuffer, _ styles: inout StyleTable) -> [Span] {
    var finder = SpanFinder(old: old, new: new, abilities: abilities)
    for y in 0..<new.size.height {
      let isLast = y == new.size.height - 1
      finder.find(row: y, width: new.size.width - (skipsCorner && isLast ? 1 : 0), &styles)
    }
    return finder.spans
  }
}
