import TerminalDriver
import Testing

import TerminalUI

/// Random frames, sent as differences, arrive on a terminal as they were drawn.
@Suite struct RandomFramesTests {
  /// What a terminal can do, and how many colours it has.
  struct Kind: Sendable {
    var depth: ColorDepth
    var abilities: FrameEncoder.Abilities
  }

  static let kinds = ColorDepth.allCases.flatMap { depth in
    [
      Kind(depth: depth, abilities: []),
      Kind(depth: depth, abilities: [.erasesInColor, .erasesCharacters, .staysInRow]),
      Kind(depth: depth, abilities: [.erasesInColor, .erasesCharacters, .staysInRow, .repeats]),
      Kind(depth: depth, abilities: [.staysInRow, .movesRows, .movesColumns, .keepsPen]),
      Kind(depth: depth, abilities: [.staysInRow, .tabs]),
      Kind(depth: depth, abilities: [.staysInRow, .goesByLines]),
      Kind(depth: depth, abilities: [.erasesInColor, .erasesCharacters, .staysInRow, .repeats, .movesRows, .movesColumns, .keepsPen, .tabs, .goesByLines]),
    ]
  }

  private static let theme = try? ThemeFile.parse(
    """
    [roles]
    text = { fg = "#d4d7dd", bg = "#16181d" }
    changed = { fg = "yellow", bold = true }
    symbol = { fg = "#6cc7c1", underline = true }
    dim = { fg = "bright-black", dim = true }
    selection = { bg = "blue" }
    match = { fg = "black", bg = "bright-yellow", reverse = true }
    """, name: "random")
  private static let roles: [StyleRole] = [.text, .text, .text, .changed, .symbol, .dim, .match, .error]
  private static let texts = ["0000000000000000", "rip 7c16", "   ", "          ", "─────────", "日本語", "x", "*", "│"]

  @Test(arguments: kinds) func `arrive as drawn`(_ kind: Kind) throws {
    let theme = try #require(Self.theme)
    let encoder = FrameEncoder(depth: kind.depth, abilities: kind.abilities)
    var random = SplitMix(seed: 20)
    let size = Size(width: 50, height: 12)
    var reader = ScreenReader(width: size.width, height: size.height, knows: Self.known(kind.abilities)) {
      CharacterWidth.of($0)
    }
    var (shown, memory): (CellBuffer?, FrameEncoder.Memory) = (nil, FrameEncoder.Memory())
    let drawn = CellBuffer(size)
    for frame in 0..<150 {
      if frame % 40 == 39 { drawn.clear() }
      for _ in 0..<random.next(14) { Self.draw(on: drawn, &random) }
      reader.feed(encoder.encode(from: shown, to: drawn, theme: theme, cursor: nil, memory: &memory))
      for y in 0..<size.height {
        for x in 0..<size.width {
          let (seen, meant) = (reader.cells[y * size.width + x], drawn[x, y])
          try #require(Self.isSame(seen, meant, theme.style(of: meant, depth: kind.depth), kind.depth), "frame \(frame) at \(x),\(y): \(seen) \(meant)")
        }
      }
      try #require(reader.doubts == 0, "frame \(frame)")
      let copy = CellBuffer(size)
      copy.copy(from: drawn)
      shown = copy
    }
  }

  /// A terminal that knows nothing else.
  private static func known(_ abilities: FrameEncoder.Abilities) -> ScreenReader.Abilities {
    var known: ScreenReader.Abilities = []
    if abilities.contains(.erasesInColor) { known.insert(.erasesInColor) }
    if abilities.contains(.erasesCharacters) { known.insert(.erasesCharacters) }
    if abilities.contains(.repeats) { known.insert(.repeats) }
    if abilities.contains(.movesRows) { known.insert(.moves) }
    return known
  }

  private static func draw(on buffer: CellBuffer, _ random: inout SplitMix) {
    let canvas = Canvas(buffer)
    let (x, y) = (random.next(50), random.next(12))
    switch random.next(10) {
    case 8: scroll(buffer, from: y, by: 1 + random.next(3))
    case 9: shift(buffer, row: y, from: x, by: random.next(2) == 0 ? 3 : -3)
    case 0: canvas.lay(random.next(2) == 0 ? .selection : .text, row: y)
    case 1: canvas.inner(x: x, y: y, width: random.next(50), height: random.next(3)).fill()
    default: canvas.text(texts[random.next(texts.count)], x: x, y: y, roles[random.next(roles.count)])
    }
  }

  /// Rows from one on move up, and new ones come from below.
  private static func scroll(_ buffer: CellBuffer, from top: Int, by count: Int) {
    for y in top..<buffer.size.height {
      // The right half of a wide character comes with its left.
      for x in 0..<buffer.size.width where buffer[x, y + count].width > 0 { buffer.put(buffer[x, y + count], x: x, y: y) }
    }
  }

  /// The rest of a row moves.
  private static func shift(_ buffer: CellBuffer, row: Int, from start: Int, by count: Int) {
    let old = (0..<buffer.size.width).map { buffer[$0, row] }
    guard old.allSatisfy({ $0.width == 1 }) else { return }
    for x in start..<buffer.size.width {
      buffer.put(old.indices.contains(x - count) ? old[x - count] : .blank, x: x, y: row)
    }
  }

  private static func isSame(_ seen: ScreenReader.Cell, _ meant: Cell, _ style: Style, _ depth: ColorDepth) -> Bool {
    guard seen.scalar.value == meant.scalar else { return false }
    let background = depth == .monochrome ? "" : code(style.background, 40)
    guard seen.look.background == background else { return false }
    let shown: TextAttributes = [.underline, .reverse]
    let isBlank = meant.scalar == 0x20 && style.attributes.isDisjoint(with: shown)
    if isBlank { return !seen.look.attributes.contains(4) && !seen.look.attributes.contains(7) }
    let attributes: [(TextAttributes, Int)] = [(.bold, 1), (.dim, 2), (.italic, 3), (.underline, 4), (.reverse, 7)]
    let wanted = attributes.filter { style.attributes.contains($0.0) }.map(\.1)
    return seen.look.attributes == wanted && (depth == .monochrome || seen.look.foreground == code(style.foreground, 30))
  }

  private static func code(_ color: Color?, _ base: Int) -> String {
    switch color {
    case nil, .terminal?: ""
    case .indexed(let index)? where index < 8: "\(base + Int(index))"
    case .indexed(let index)? where index < 16: "\(base + 52 + Int(index))"
    case .indexed(let index)?: "\(base + 8);5;\(index)"
    case .rgb(let r, let g, let b)?: "\(base + 8);2;\(r);\(g);\(b)"
    }
  }
}

/// Numbers that look random and repeat.
private struct SplitMix {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next(_ limit: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return Int(truncatingIfNeeded: (mixed ^ mixed >> 31) >> 33) % max(limit, 1)
  }
}
