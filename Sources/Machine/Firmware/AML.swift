/// The ACPI Machine Language, as much of it as describes devices (ACPI 6.5, chapter 20): each function gives the bytes of
/// one term.
package enum AML {
  private enum Op {
    static let name: UInt8 = 0x08
    static let scope: UInt8 = 0x10
    static let buffer: UInt8 = 0x11
    static let package: UInt8 = 0x12
    static let device: [UInt8] = [0x5B, 0x82]
    static let string: UInt8 = 0x0D
    static let dword: UInt8 = 0x0C
  }

  static func scope(_ path: String, _ terms: [UInt8]) -> [UInt8] { [Op.scope] + sized(Array(path.utf8) + terms) }
  /// `name` has four characters.
  package static func device(_ name: String, _ terms: [UInt8]) -> [UInt8] { Op.device + sized(Array(name.utf8) + terms) }
  static func name(_ name: String, _ value: [UInt8]) -> [UInt8] { [Op.name] + Array(name.utf8) + value }
  static func string(_ text: String) -> [UInt8] { [Op.string] + Array(text.utf8) + [0] }
  package static func package(_ elements: [[UInt8]]) -> [UInt8] {
    [Op.package] + sized([UInt8(truncatingIfNeeded: elements.count)] + elements.joined())
  }

  /// The shortest form of an integer (20.2.3).
  package static func integer(_ value: UInt32) -> [UInt8] {
    switch value {
    case 0, 1: [UInt8(value)]
    case ...0xFF: [0x0A, UInt8(value)]
    case ...0xFFFF: [0x0B] + little(UInt16(value))
    default: [Op.dword] + little(value)
    }
  }

  /// A compressed id of three letters and four hexadecimal digits: "PNP0501" (19.3.4).
  package static func eisaID(_ id: String) -> [UInt8] {
    let letters = id.utf8.prefix(3).reduce(UInt16(0)) { $0 << 5 | UInt16($1 & 0x1F) }
    let number = UInt16(id.dropFirst(3), radix: 16) ?? 0
    return [Op.dword] + little(letters.byteSwapped) + little(number.byteSwapped)
  }

  /// A resource template: the descriptors and an end tag.
  static func resources(_ descriptors: [[UInt8]]) -> [UInt8] {
    let bytes = Array(descriptors.joined()) + [0x79, 0]
    return [Op.buffer] + sized(integer(UInt32(bytes.count)) + bytes)
  }

  /// PkgLength counts itself (20.2.4): one byte up to 63, else the low four bits and up to three bytes more.
  private static func sized(_ content: [UInt8]) -> [UInt8] {
    if content.count + 1 < 0x40 { return [UInt8(content.count + 1)] + content }
    var extra = 1
    while content.count + 1 + extra >= 1 << (4 + 8 * extra) { extra += 1 }
    let length = content.count + 1 + extra
    let lead = UInt8(extra << 6 | length & 0xF)
    return [lead] + (0..<extra).map { UInt8(truncatingIfNeeded: length >> (4 + 8 * $0)) } + content
  }
}

/// Resource descriptors (ACPI 6.5, 6.4).
enum ACPIResource {
  /// I/O ports that decode 16 address bits (6.4.2.5).
  static func ports(_ first: UInt16, count: UInt8) -> [UInt8] { [0x47, 1] + little(first) + little(first) + [1, count] }
  /// A fixed range of memory that can be written (6.4.3.4).
  static func memory(_ base: UInt32, size: UInt32) -> [UInt8] { [0x86, 9, 0, 1] + little(base) + little(size) }
  /// One global system interrupt, active high, consumed (6.4.3.6).
  static func interrupt(_ gsi: UInt32, isEdge: Bool) -> [UInt8] { [0x89, 6, 0, isEdge ? 3 : 1, 1] + little(gsi) }
}

/// The bytes of an integer, lowest first.
func little<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }
