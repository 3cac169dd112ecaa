/// What the person looks for in memory: `hex:55 aa`, `text:Hello`, `value:1234` or `value:0x1234/4`; without a
/// prefix, exactly what stands in quotes, bytes where it reads like bytes, else text in either case.
package struct MemoryNeedle: Equatable, Sendable {
  package private(set) var bytes: [UInt8]
  /// Letters match in either case.
  package private(set) var ignoresCase = false

  /// Exactly these bytes.
  package init(bytes: [UInt8]) { self.bytes = bytes }

  /// Nil where nothing can be made of the text.
  package init?(_ text: String) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let prefix = parts.count == 2 ? parts[0].lowercased() : ""
    switch prefix {
    case "hex": guard let bytes = Self.hex(String(parts[1])) else { return nil }; self.bytes = bytes
    case "text": bytes = Array(parts[1].utf8)
    case "value": guard let bytes = Self.value(String(parts[1])) else { return nil }; self.bytes = bytes
    default:
      if text.utf8.count > 2, text.first == "\"", text.last == "\"" {
        bytes = Array(text.dropFirst().dropLast().utf8)
      } else if let hex = Self.hex(text), text.contains(" ") || text.count == 2 {
        bytes = hex
      } else {
        bytes = Array(text.utf8)
        ignoresCase = true
      }
    }
    if bytes.isEmpty { return nil }
    if ignoresCase { bytes = bytes.map(Self.lower) }
  }

  private static func hex(_ text: String) -> [UInt8]? {
    let digits = text.filter { $0 != " " }
    guard !digits.isEmpty, digits.count % 2 == 0, digits.allSatisfy({ $0.isHexDigit && $0.isASCII }) else { return nil }
    var bytes: [UInt8] = []
    var rest = Substring(digits)
    while !rest.isEmpty {
      guard let byte = UInt8(rest.prefix(2), radix: 16) else { return nil }
      bytes.append(byte)
      rest = rest.dropFirst(2)
    }
    return bytes
  }

  /// Little-endian, in the least of 1, 2, 4 and 8 bytes that holds it, or in as many as stand after a slash.
  private static func value(_ text: String) -> [UInt8]? {
    let parts = text.split(separator: "/")
    guard let first = parts.first else { return nil }
    let number = first.lowercased()
    guard let value = number.hasPrefix("0x") ? UInt64(number.dropFirst(2), radix: 16) : UInt64(number) else { return nil }
    let least = value > 0xFFFF_FFFF ? 8 : value > 0xFFFF ? 4 : value > 0xFF ? 2 : 1
    guard let size = parts.count > 1 ? Int(parts[1]) : least, [1, 2, 4, 8].contains(size) else { return nil }
    return (0..<UInt64(size)).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
  }

  private static func lower(_ byte: UInt8) -> UInt8 { (0x41...0x5A).contains(byte) ? byte | 0x20 : byte }

  /// The first or last place in `content` where it stands.
  package func index(in content: [UInt8?], last: Bool) -> Int? {
    guard content.count >= bytes.count, let first = bytes.first else { return nil }
    func matches(_ start: Int) -> Bool {
      guard let byte = content[start], (ignoresCase ? Self.lower(byte) : byte) == first else { return false }
      return bytes.indices.allSatisfy { index in
        guard let byte = content[start + index] else { return false }
        return (ignoresCase ? Self.lower(byte) : byte) == bytes[index]
      }
    }
    let starts = 0...(content.count - bytes.count)
    return last ? starts.last(where: matches) : starts.first(where: matches)
  }

  /// Bytes searched before giving up, in each direction: more would keep the person waiting.
  package static let reach = 2 << 20
  private static let chunk = 1 << 16

  /// The address nearest to `from`, itself not counted.
  package func find(from: UInt64, backward: Bool, _ read: (UInt64, Int) -> [UInt8?]) -> UInt64? {
    var unreadable = 0
    for step in 0..<Self.reach / Self.chunk {
      let offset = UInt64(step * Self.chunk)
      let base = backward ? from &- offset &- UInt64(Self.chunk) : from &+ 1 &+ offset
      let count = backward && step == 0 ? Self.chunk : Self.chunk + bytes.count - 1
      let content = read(base, count)
      if content.allSatisfy({ $0 == nil }) {
        // A hole of a megabyte ends it: there may be nothing more.
        unreadable += 1
        if unreadable > 16 { return nil }
        continue
      }
      unreadable = 0
      if let index = index(in: content, last: backward) { return base &+ UInt64(index) }
    }
    return nil
  }
}
