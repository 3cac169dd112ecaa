/// Where a terminal's cursor is and what it draws in, as far as that is known.
struct PenState {
  var at: Position?
  /// The cursor's row, where that much is known.
  var row: Int?
  /// A style of the frame's `StyleTable`.
  var style: Int?
  /// What the terminal keeps beside that.
  var kept: Kept?
  /// Its tab stops, every eight columns, are used up to this column; 0: not at all.
  var tabsEnd = 0
  /// It knows CNL and CPL.
  var goesByLines = false

  struct Kept {
    var place: Position
    var style: Int
  }

  /// The pen when the terminal has gone back to what it keeps.
  var restored: PenState? {
    kept.map { PenState(at: $0.place, row: $0.place.y, style: $0.style, kept: $0, tabsEnd: tabsEnd, goesByLines: goesByLines) }
  }
  /// Bytes that go back to it.
  static let restoring = 2

  /// A way to a place, of movements every ECMA-48 terminal knows.
  struct Way {
    /// Rows down (up: negative) from where the cursor is, or nil: to the place by its coordinates.
    fileprivate var rows: Int?
    fileprivate var returns = false
    /// Along the row after that.
    fileprivate var along = Along()
    /// Its bytes.
    fileprivate(set) var length: Int
  }

  /// A way along a row: tab stops, then columns to the right (left: negative).
  fileprivate struct Along {
    var tabs = 0
    var columns = 0
    var length: Int { tabs + PenState.right(columns) }
  }

  private static func digits(_ number: Int) -> Int { number < 10 ? 1 : number < 100 ? 2 : 3 }
  /// A control sequence with a count, which is left out where it is one.
  fileprivate static func counted(_ count: Int) -> Int { count == 1 ? 3 : 3 + digits(count) }

  private static func down(_ rows: Int) -> Int { rows >= 0 ? min(rows, counted(rows)) : rows == -1 ? 2 : counted(-rows) }
  fileprivate static func right(_ columns: Int) -> Int {
    columns == 0 ? 0 : columns > 0 ? counted(columns) : min(-columns, counted(-columns))
  }

  private static let tab = 8

  /// The shortest way from one column to another.
  private func along(from start: Int, to end: Int) -> Along {
    let straight = Along(columns: end - start)
    guard end > start, straight.length > 1, tabsEnd > 0 else { return straight }
    let tabs = end / Self.tab - start / Self.tab
    let over = end % Self.tab
    // To the stop before and on, or to the one behind and back.
    var best = straight
    let before = Along(tabs: tabs, columns: over)
    if tabs > 0, before.length < best.length { best = before }
    let behind = Along(tabs: tabs + 1, columns: over - Self.tab)
    if over > 0, end - over + Self.tab < tabsEnd, behind.length < best.length { best = behind }
    return best
  }

  /// To the first column of a row above or below: by a carriage return and then, or by lines at once.
  private func toStart(rows: Int) -> Int {
    let plain = 1 + Self.down(rows)
    return goesByLines && rows != 0 ? min(plain, Self.counted(abs(rows))) : plain
  }

  /// Lines at once are shorter than a carriage return and as many rows.
  fileprivate func takesLines(_ rows: Int) -> Bool { toStart(rows: rows) < 1 + Self.down(rows) }

  /// The shortest way.
  func way(to place: Position) -> Way {
    if at == place { return Way(rows: 0, length: 0) }
    let column = place.x == 0 ? 0 : Self.digits(place.x + 1) + 1
    var best = Way(length: 3 + Self.digits(place.y + 1) + column)
    guard let row = at?.y ?? row else { return best }
    let down = Self.down(place.y - row)
    // Behind the last column only a carriage return says where the cursor is.
    let fromStart = along(from: 0, to: place.x)
    let returning = toStart(rows: place.y - row) + fromStart.length
    if returning < best.length { best = Way(rows: place.y - row, returns: true, along: fromStart, length: returning) }
    guard let at, down < best.length else { return best }
    let straight = along(from: at.x, to: place.x)
    if down + straight.length < best.length {
      best = Way(rows: place.y - row, along: straight, length: down + straight.length)
    }
    return best
  }
}

/// Writes a frame.
struct Pen {
  var bytes: [UInt8] = []
  private(set) var state: PenState
  private let abilities: FrameEncoder.Abilities

  /// `width` of the screen it writes on.
  init(_ state: PenState, width: Int, abilities: FrameEncoder.Abilities) {
    self.state = state
    self.state.tabsEnd = abilities.contains(.tabs) ? width : 0
    self.state.goesByLines = abilities.contains(.goesByLines)
    self.abilities = abilities
  }

  // MARK: moving

  mutating func move(to place: Position) {
    let way = state.way(to: place)
    if let rows = way.rows {
      if way.returns, state.takesLines(rows) {
        control(abs(rows), UInt8(ascii: rows > 0 ? "E" : "F"))
      } else {
        if way.returns { bytes.append(0x0D) }
        go(rows: rows)
      }
      bytes += Array(repeating: 0x09, count: way.along.tabs)
      go(columns: way.along.columns)
    } else {
      bytes += Array((place.x == 0 ? "\u{1B}[\(place.y + 1)H" : "\u{1B}[\(place.y + 1);\(place.x + 1)H").utf8)
    }
    (state.at, state.row) = (place, place.y)
  }

  private mutating func go(rows: Int) {
    if rows > 0, rows <= PenState.counted(rows) {
      bytes += Array(repeating: 0x0A, count: rows)
    } else if rows > 0 {
      control(rows, UInt8(ascii: "B"))
    } else if rows == -1 {
      bytes += [0x1B, UInt8(ascii: "M")]
    } else if rows < 0 {
      control(-rows, UInt8(ascii: "A"))
    }
  }

  private mutating func go(columns: Int) {
    if columns > 0 {
      control(columns, UInt8(ascii: "C"))
    } else if columns < 0, -columns <= PenState.counted(-columns) {
      bytes += Array(repeating: 0x08, count: -columns)
    } else if columns < 0 {
      control(-columns, UInt8(ascii: "D"))
    }
  }

  /// A control sequence with a count; 0 and 1 are left out.
  private mutating func control(_ count: Int, _ letter: UInt8) {
    bytes += [0x1B, UInt8(ascii: "[")]
    if count > 1 { bytes.append(contentsOf: String(count).utf8) }
    bytes.append(letter)
  }

  // MARK: style

  private mutating func set(_ wanted: Int, _ styles: StyleTable) {
    guard state.style != wanted else { return }
    bytes += styles.sequence(from: state.style, to: wanted)
    state.style = wanted
  }

  // MARK: text

  /// Writes the cells of a span, from where the cursor is.
  private mutating func put(_ buffer: CellBuffer, _ span: Span) {
    var x = span.start
    while x < span.end {
      let count = repeats(in: buffer, span, from: x)
      put(buffer[x, span.row], count)
      x += count
    }
  }

  /// Sends a span in its style, from wherever the pen is.
  mutating func send(_ span: Span, of buffer: CellBuffer, _ styles: inout StyleTable) {
    if let restored = state.restored, span.cost(from: restored, buffer, &styles) + PenState.restoring < span.cost(from: state, buffer, &styles) {
      bytes += [0x1B, UInt8(ascii: "8")]
      state = restored
    }
    if let at = state.at, let bridge = span.bridge(from: state, buffer, &styles), bridge <= state.way(to: span.place).length {
      for x in at.x..<span.start { put(buffer[x, span.row]) }
    } else {
      move(to: span.place)
    }
    set(span.style, styles)
    switch span.kind {
    case .eraseToEnd: control(0, UInt8(ascii: "K"))
    case .erase: control(span.end - span.start, UInt8(ascii: "X"))
    case .text: put(buffer, span)
    }
    let after = span.after(state, buffer.size.width)
    state.at = after.at
    // Without such a terminal the cursor may be in the next row.
    state.row = span.reaches(buffer.size.width) && !abilities.contains(.staysInRow) ? nil : after.row
  }

  /// Has the terminal keep the pen as it is.
  mutating func keep() {
    guard abilities.contains(.keepsPen), let place = state.at, let style = state.style else { return }
    bytes += [0x1B, UInt8(ascii: "7")]
    state.kept = PenState.Kept(place: place, style: style)
  }

  /// Moves what is on the screen. Counted from column 0, where terminals agree on what becomes of the cursor.
  mutating func perform(_ motion: ScreenMotion, height: Int) {
    switch motion {
    case .rows(let top, let bottom, let up):
      let count = abs(up)
      // Rows taken out pull up everything below, which as many put in push back: no margins are set.
      let isLast = bottom == height - 1
      let end = bottom - count + 1
      if up > 0 { edit(Position(x: 0, y: top), count, "M") } else if !isLast { edit(Position(x: 0, y: end), count, "M") }
      if up < 0 { edit(Position(x: 0, y: top), count, "L") } else if !isLast { edit(Position(x: 0, y: end), count, "L") }
    case .columns(let row, let from, let right): edit(Position(x: from, y: row), abs(right), right > 0 ? "@" : "P")
    }
  }

  private mutating func edit(_ place: Position, _ count: Int, _ letter: Unicode.Scalar) {
    move(to: place)
    control(count, UInt8(ascii: letter))
  }

  /// How many cells from a column on have the same character.
  private func repeats(in buffer: CellBuffer, _ span: Span, from x: Int) -> Int {
    let cell = buffer[x, span.row]
    guard cell.width == 1, cell.mark == 0 else { return 1 }
    var end = x + 1
    while end < span.end, buffer[end, span.row].scalar == cell.scalar, buffer[end, span.row].mark == 0 { end += 1 }
    return end - x
  }

  /// One character several times.
  private mutating func put(_ cell: Cell, _ count: Int) {
    put(cell)
    // Only ASCII: tmux up to 3.3, for one, repeats nothing else and would leave a hole.
    if abilities.contains(.repeats), cell.scalar < 0x80, count - 1 > PenState.counted(count - 1) {
      control(count - 1, UInt8(ascii: "b"))
    } else {
      for _ in 1..<count { put(cell) }
    }
  }

  /// One cell; the right half of a wide character is nothing of its own.
  private mutating func put(_ cell: Cell) {
    guard cell.width > 0 else { return }
    Self.append(cell.scalar, &bytes)
    if cell.mark != 0 { Self.append(cell.mark, &bytes) }
  }

  private static func append(_ value: UInt32, _ bytes: inout [UInt8]) {
    if value < 0x80 {
      bytes.append(UInt8(value))
    } else if let scalar = Unicode.Scalar(value) {
      bytes.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    }
  }
}
