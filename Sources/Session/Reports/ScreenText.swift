extension TextScreen {
  /// The screen as plain text, without blanks at the ends of lines. What is no ASCII is a dot; a blank on another ground
  /// than most of the screen has is a `#`, since guests draw with such blanks.
  package var lines: [String] {
    let ground = commonGround
    return (0..<rows).map { row in
      let text = cells[row * columns..<(row + 1) * columns].map { Self.character($0, ground) }
      return String(String(text).reversed().drop { $0 == " " }.reversed())
    }
  }

  /// The background of a cell, 0 to 7: the eighth bit may be brightness or blinking.
  private static func ground(_ cell: UInt16) -> Int { Int(cell >> 12 & 7) }

  private var commonGround: Int {
    var counts = [Int](repeating: 0, count: 8)
    for cell in cells { counts[Self.ground(cell)] += 1 }
    return counts.indices.max { counts[$0] < counts[$1] } ?? 0
  }

  private static func character(_ cell: UInt16, _ common: Int) -> Character {
    let code = UInt8(truncatingIfNeeded: cell)
    if code == 0 || code == 0x20 { return ground(cell) == common ? " " : "#" }
    return (0x21..<0x7F).contains(code) ? Character(UnicodeScalar(code)) : "."
  }
}
