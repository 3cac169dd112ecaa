/// What the guest wrote, as lines of text: carriage return, line feed, backspace and tab are carried out,
/// escape sequences are left out, other bytes are shown as Latin 1.
struct GuestConsole {
  /// Bytes of text kept at most.
  static let limit = 256 << 10
  private(set) var lines: [String] = [""]
  /// Lines before these that are kept no longer.
  private(set) var forgotten = 0
  private var current: [UInt8] = []
  private var column = 0
  private var kept = 0
  private enum Escape { case none, started, sequence }
  private var escape = Escape.none
  private static let widest = 4096

  mutating func write(_ bytes: [UInt8]) {
    for byte in bytes { write(byte) }
    lines[lines.count - 1] = Self.text(current)
    trim()
  }

  private mutating func write(_ byte: UInt8) {
    switch escape {
    case .started:
      escape = byte == 0x5B ? .sequence : .none
      return
    case .sequence:
      if (0x40...0x7E).contains(byte) { escape = .none }
      return
    case .none: break
    }
    switch byte {
    case 0x1B: escape = .started
    case 0x0A: newLine()
    case 0x0D: column = 0
    case 0x08: column = max(column - 1, 0)
    case 0x09: for _ in 0..<(8 - column % 8) { put(0x20) }
    case 0..<0x20, 0x7F: break
    default: put(byte)
    }
  }

  private mutating func put(_ byte: UInt8) {
    if column >= Self.widest { newLine() }
    while current.count < column { current.append(0x20) }
    if column < current.count { current[column] = byte } else { current.append(byte) }
    column += 1
  }

  private mutating func newLine() {
    lines[lines.count - 1] = Self.text(current)
    kept += current.count + 1
    lines.append("")
    current.removeAll(keepingCapacity: true)
    column = 0
  }

  private mutating func trim() {
    guard kept > Self.limit else { return }
    var dropped = 0
    while kept > Self.limit * 3 / 4, dropped < lines.count - 1 {
      kept -= lines[dropped].utf8.count + 1
      dropped += 1
    }
    lines.removeFirst(dropped)
    forgotten += dropped
  }

  private static func text(_ bytes: [UInt8]) -> String {
    var text = ""
    for byte in bytes { text.unicodeScalars.append(UnicodeScalar(byte)) }
    return text
  }
}
