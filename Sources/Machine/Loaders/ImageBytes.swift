import VMCore

/// A file under examination: bounds-checked little-endian reads, and errors that name it.
struct ImageBytes: Sendable {
  let name: String
  let bytes: [UInt8]

  init(_ image: NamedImage) { self.init(name: image.name, bytes: image.bytes) }

  init(name: String, bytes: [UInt8]) {
    self.name = printable(name)
    self.bytes = bytes
  }

  var count: Int { bytes.count }
  var size: UInt64 { UInt64(bytes.count) }

  /// The integer at `offset`, nil where the file ends before it does.
  func load<T: FixedWidthInteger & UnsignedInteger>(_ offset: Int, as type: T.Type) -> T? {
    let width = T.bitWidth / 8
    guard offset >= 0, offset <= bytes.count - width else { return nil }
    var value: T = 0
    for i in 0..<width { value |= T(bytes[offset + i]) << T(8 * i) }
    return value
  }

  func u16(_ offset: Int) -> UInt16? { load(offset, as: UInt16.self) }
  func u32(_ offset: Int) -> UInt32? { load(offset, as: UInt32.self) }

  /// `file: field is found; expected that`.
  func wrong(_ field: String, _ found: String, expected: String, remedy: String? = nil) -> VMError {
    VMError(.image, "\(name): \(field) is \(found); expected \(expected)", remedy: remedy)
  }

  func wrong(_ field: String, _ found: UInt64, expected: String, remedy: String? = nil) -> VMError {
    wrong(field, prefixedHex(found), expected: expected, remedy: remedy)
  }

  /// A field, or a range it describes, that reaches past the end of the file.
  func outside(_ field: String, end: UInt64) -> VMError {
    VMError(
      .image, "\(name): \(field) is \(prefixedHex(end)) but the file has \(prefixedHex(size)) bytes; expected it inside the file")
  }
}

/// `0x` and the value in hexadecimal.
func prefixedHex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

/// A name that cannot break a message's one line: control characters become `?`.
func printable(_ name: String) -> String {
  String(String.UnicodeScalarView(name.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? "?" : $0 }))
}

/// A size for people, in the largest unit that leaves no fraction.
func readable(bytes: UInt64) -> String {
  if bytes >= 1 << 20, bytes & 0xF_FFFF == 0 { return "\(bytes >> 20) MiB" }
  if bytes >= 1 << 10, bytes & 0x3FF == 0 { return "\(bytes >> 10) KiB" }
  return "\(bytes) bytes"
}
