/// Names of keys and their PS/2 set-1 scan codes.
package enum ScanCodeNames {
  private static let rows: [(first: UInt8, keys: String)] = [
    (0x02, "1234567890-="), (0x10, "qwertyuiop[]"), (0x1E, "asdfghjkl;'`"), (0x2B, "\\zxcvbnm,./"),
  ]
  private static let named: [(name: String, code: UInt8, extended: Bool)] = [
    ("esc", 0x01, false), ("backspace", 0x0E, false), ("tab", 0x0F, false), ("enter", 0x1C, false),
    ("space", 0x39, false), ("capslock", 0x3A, false), ("ctrl", 0x1D, false), ("shift", 0x2A, false),
    ("alt", 0x38, false), ("f1", 0x3B, false), ("f2", 0x3C, false), ("f3", 0x3D, false), ("f4", 0x3E, false),
    ("f5", 0x3F, false), ("f6", 0x40, false), ("f7", 0x41, false), ("f8", 0x42, false), ("f9", 0x43, false),
    ("f10", 0x44, false), ("f11", 0x57, false), ("f12", 0x58, false), ("up", 0x48, true), ("down", 0x50, true),
    ("left", 0x4B, true), ("right", 0x4D, true), ("home", 0x47, true), ("end", 0x4F, true), ("pgup", 0x49, true),
    ("pgdn", 0x51, true), ("ins", 0x52, true), ("del", 0x53, true),
  ]

  package static let all: [String] = named.map(\.name)

  /// Codes of pressing and releasing `a`, `ctrl-c`, `shift-tab`, `0x1e`; nil for an unknown name.
  package static func press(_ text: String) -> [UInt8]? {
    if text.lowercased().hasPrefix("0x"), let raw = UInt8(text.dropFirst(2), radix: 16) { return [raw] }
    var parts = text.count > 1 ? text.split(separator: "-").map(String.init) : [text]
    guard let last = parts.popLast() else { return nil }
    var name = last
    if name.count == 1, name != name.lowercased() {
      parts.append("shift")
      name = name.lowercased()
    }
    var down: [UInt8] = []
    var up: [UInt8] = []
    for key in parts.map({ $0.lowercased() }) + [name] {
      guard let (code, extended) = code(of: key) else { return nil }
      let prefix: [UInt8] = extended ? [0xE0] : []
      down += prefix + [code]
      up = prefix + [code | 0x80] + up
    }
    return down + up
  }

  private static func code(of key: String) -> (UInt8, Bool)? {
    let wanted = key == " " ? "space" : key.lowercased()
    if let found = named.first(where: { $0.name == wanted }) { return (found.code, found.extended) }
    guard key.count == 1, let character = key.first else { return nil }
    for row in rows {
      if let index = row.keys.firstIndex(of: character) {
        return (row.first + UInt8(row.keys.distance(from: row.keys.startIndex, to: index)), false)
      }
    }
    return nil
  }
}
