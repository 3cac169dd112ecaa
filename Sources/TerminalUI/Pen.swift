/// The terminal's cursor and style while a frame is written, and the bytes so far.
struct Pen {
  var bytes: [UInt8] = []
  /// Where the terminal's cursor is, or nil if unknown.
  var at: Position?
  /// Its row, where that much is known.
  private var row: Int?
  /// What it draws in, or nil if unknown.
  private(set) var style: Int?
  private let abilities: FrameEncoder.Abilities

  init(style: Int?, abilities: FrameEncoder.Abilities) {
    self.style = style
    self.abilities = abilities
  }

  // MARK: moving

  /// A way to a place, of movements every ECMA-48 terminal knows.
  struct Way {
    /// Rows down (up: negative) from where the cursor is, or nil: to the place by its coordinates.
    fileprivate var rows: Int?
    fileprivate var returns = false
    /// Columns to the right (left: negative) after that.
    fileprivate var columns = 0
    /// Its bytes.
    fileprivate(set) var length: Int
  }

  private static func digits(_ number: Int) -> Int { number < 10 ? 1 : number < 100 ? 2 : 3 }
  /// A control sequence with a count, which is left out where it is one.
  private static func counted(_ count: Int) -> Int { count == 1 ? 3 : 3 + digits(count) }

  private static func down(_ rows: Int) -> Int { rows >= 0 ? min(rows, counted(rows)) : rows == -1 ? 2 : counted(-rows) }
  private static func right(_ columns: Int) -> Int {
    columns == 0 ? 0 : columns > 0 ? counted(columns) : min(-columns, counted(-columns))
  }

  /// The shortest way.
  func way(to place: Position) -> Way {
    if at == place { return Way(rows: 0, length: 0) }
    let column = place.x == 0 ? 0 : Self.digits(place.x + 1) + 1
    var best = Way(length: 3 + Self.digits(place.y + 1) + column)
    guard let row = at?.y ?? row else { return best }
    let down = Self.down(place.y - row)
    // Behind the last column only a carriage return says where the cursor is.
    let returning = 1 + down + Self.right(place.x)
    if returning < best.length { best = Way(rows: place.y - row, returns: true, columns: place.x, length: returning) }
    if let at, down + Self.right(place.x - at.x) < best.length {
      best = Way(rows: place.y - row, columns: place.x - at.x, length: down + Self.right(place.x - at.x))
    }
    return best
  }

  mutating func move(to place: Position) {
    let way = way(to: place)
    if let rows = way.rows {
      if way.returns { bytes.append(0x0D) }
      go(rows: rows)
      go(columns: way.columns)
    } else {
      bytes += Array((place.x == 0 ? "\u{1B}[\(place.y + 1)H" : "\u{1B}[\(place.y + 1);\(place.x + 1)H").utf8)
    }
    at = place
    row = place.y
  }

  private mutating func go(rows: Int) {
    if rows > 0, rows <= Self.counted(rows) {
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
    } else if columns < 0, -columns <= Self.counted(-columns) {
      bytes += Array(repeating: 0x08, count: -columns)
    } else if columns < 0 {
      control(-columns, UInt8(ascii: "D"))
    }
  }

  /// A control sequence with a count.
  mutating func control(_ count: Int, _ letter: UInt8) {
    bytes += [0x1B, UInt8(ascii: "[")]
    if count != 1 { bytes.append(contentsOf: String(count).utf8) }
    bytes.append(letter)
  }

  // MARK: style

  mutating func set(_ wanted: Int, _ styles: StyleTable) {
    guard style != wanted else { return }
    bytes += styles.sequence(from: style, to: wanted)
    style = wanted
  }

  // MARK: text

  /// Writes the cells of a span, from where the cursor is.
  mutating func put(_ buffer: CellBuffer, _ span: Span) {
    var x = span.start
    while x < span.end {
      let count = repeats(in: buffer, span, from: x)
      put(buffer[x, span.row], count)
      x += count
    }
    let isBehind = span.end >= buffer.size.width
    at = isBehind || span.isUnsure ? nil : Position(x: span.end, y: span.row)
    row = isBehind && !abilities.contains(.staysInRow) ? nil : span.row
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
    if abilities.contains(.repeats), cell.scalar < 0x80, count - 1 > Self.counted(count - 1) {
      control(count - 1, UInt8(ascii: "b"))
    } else {
      for _ in 1..<count { put(cell) }
    }
  }

  /// One cell; the right half of a wide character is nothing of its own.
  mutating func put(_ cell: Cell) {
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
