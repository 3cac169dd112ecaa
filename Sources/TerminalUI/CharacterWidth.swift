/// How many columns characters take, by Unicode's East Asian Width and without the host's locale, so that
/// a screen is the same everywhere.
package enum CharacterWidth {
  /// First and last scalar of the blocks that are wide or fullwidth (UAX #11).
  private static let wide: [(UInt32, UInt32)] = [
    (0x1100, 0x115F), (0x231A, 0x231B), (0x23E9, 0x23EC), (0x2614, 0x2615), (0x26A1, 0x26A1), (0x2705, 0x2705),
    (0x274C, 0x274C), (0x2E80, 0x303E), (0x3041, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4CF),
    (0xA960, 0xA97C), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFE30, 0xFE6F), (0xFF00, 0xFF60), (0xFFE0, 0xFFE6),
    (0x1F300, 0x1F64F), (0x1F680, 0x1F6FC), (0x1F900, 0x1F9FF), (0x20000, 0x3FFFD),
  ]

  /// 0 for a combining mark, 2 for a wide character, 1 for everything else, control characters included
  /// (they are drawn as one stand-in).
  package static func of(_ scalar: Unicode.Scalar) -> Int {
    let value = scalar.value
    if value < 0x300 { return 1 }
    for (first, last) in wide where value >= first && value <= last { return 2 }
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .enclosingMark, .format: return 0
    default: return 1
    }
  }

  package static func of(_ text: String) -> Int {
    if text.utf8.allSatisfy({ $0 < 0x80 }) { return text.utf8.count }
    return text.unicodeScalars.reduce(0) { $0 + of($1) }
  }

  /// What is drawn for a scalar: control characters never reach the terminal.
  package static func drawable(_ scalar: Unicode.Scalar) -> UInt32 {
    let value = scalar.value
    if value == 9 { return 0x20 }
    if value < 0x20 || value == 0x7F { return UInt32(UInt8(ascii: ".")) }
    if value >= 0x80 && value < 0xA0 { return UInt32(UInt8(ascii: ".")) }
    // Bidirectional controls would reorder the row around them.
    if (value >= 0x202A && value <= 0x202E) || (value >= 0x2066 && value <= 0x2069) { return 0x20 }
    return value
  }
}
