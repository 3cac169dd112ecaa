/// Writes numbers compactly into a growing buffer.
struct ByteWriter {
  private(set) var bytes: [UInt8] = []

  init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

  var count: Int { bytes.count }

  mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

  @inline(__always)
  mutating func put(_ byte: UInt8) { bytes.append(byte) }

  /// Seven bits a byte, the lowest first (LEB128).
  @inline(__always)
  mutating func put(number: UInt64) {
    if number < 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: number))
      return
    }
    var rest = number
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }

  /// The difference to a number known to the reader, small ones of either sign in few bytes.
  @inline(__always)
  mutating func put(_ number: UInt64, after before: UInt64) {
    let difference = Int64(bitPattern: number &- before)
    put(number: UInt64(bitPattern: (difference << 1) ^ (difference >> 63)))
  }

  mutating func put(fixed number: UInt32) {
    for shift: UInt32 in [0, 8, 16, 24] { bytes.append(UInt8(truncatingIfNeeded: number >> shift)) }
  }

  mutating func put(_ more: [UInt8]) {
    put(number: UInt64(more.count))
    bytes += more
  }

  mutating func put(raw more: [UInt8]) { bytes += more }

  mutating func put(_ text: String) { put(Array(text.utf8)) }
}

/// What a recording holds is not what was expected there.
struct DamagedRecording: Error {}

/// Reads what `ByteWriter` wrote. Nothing in the bytes is trusted: what is not there or too long is damage.
struct ByteReader {
  private let bytes: [UInt8]
  private(set) var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { position >= bytes.count }
  var remaining: Int { bytes.count - position }

  mutating func byte() throws(DamagedRecording) -> UInt8 {
    guard position < bytes.count else { throw DamagedRecording() }
    defer { position += 1 }
    return bytes[position]
  }

  mutating func number() throws(DamagedRecording) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      let byte = try byte()
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
      shift += 7
      guard shift < 64 else { throw DamagedRecording() }
    }
  }

  /// A number no greater than `limit`.
  mutating func count(_ limit: Int) throws(DamagedRecording) -> Int {
    let value = try number()
    guard value <= UInt64(limit) else { throw DamagedRecording() }
    return Int(value)
  }

  mutating func number(after before: UInt64) throws(DamagedRecording) -> UInt64 {
    let folded = try number()
    return before &+ (folded >> 1 ^ (0 &- (folded & 1)))
  }

  mutating func fixed() throws(DamagedRecording) -> UInt32 {
    var value: UInt32 = 0
    for shift: UInt32 in [0, 8, 16, 24] { value |= UInt32(try byte()) << shift }
    return value
  }

  mutating func raw(_ count: Int) throws(DamagedRecording) -> [UInt8] {
    guard count >= 0, count <= remaining else { throw DamagedRecording() }
    defer { position += count }
    return Array(bytes[position..<position + count])
  }

  mutating func block(_ limit: Int = 1 << 22) throws(DamagedRecording) -> [UInt8] { try raw(try count(limit)) }

  mutating func text(_ limit: Int = 1 << 16) throws(DamagedRecording) -> String {
    String(decoding: try block(limit), as: UTF8.self)
  }

  mutating func flag() throws(DamagedRecording) -> Bool { try byte() != 0 }
}
