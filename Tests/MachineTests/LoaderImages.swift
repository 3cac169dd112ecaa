import Machine
import VMCore

/// Little-endian bytes of an integer.
func le<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }

/// A minimal ELF executable: header, program headers, then each segment's bytes.
struct ELFBuilder {
  struct Segment {
    var type: UInt32 = 1
    var virtualAddress: UInt64?
    var address: UInt64
    var bytes: [UInt8]
    var memorySize: UInt64?
  }
  var is64: Bool
  var entry: UInt64 = 0x10_0000
  var segments = [Segment(address: 0x10_0000, bytes: [0xF4, 0xEB, 0xFD], memorySize: 0x2000)]

  static let elf32 = ELFBuilder(is64: false)
  static let elf64 = ELFBuilder(is64: true)
  /// An ELF32 kernel that begins with a Multiboot header without address fields.
  static let multiboot = ELFBuilder(
    is64: false, entry: 0x10_000C,
    segments: [Segment(address: 0x10_0000, bytes: multibootHeader(flags: 3) + [0xF4, 0xEB, 0xFD])])

  private var headerSize: Int { is64 ? 64 : 52 }
  private var entrySize: Int { is64 ? 56 : 32 }
  /// Where program header `index` begins.
  func programHeader(_ index: Int) -> Int { headerSize + index * entrySize }

  var bytes: [UInt8] {
    let dataStart = headerSize + entrySize * segments.count
    var result: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, is64 ? 2 : 1, 1, 1] + [UInt8](repeating: 0, count: 9)
    result += le(UInt16(2)) + le(UInt16(is64 ? 62 : 3)) + le(UInt32(1))
    result += word(entry) + word(UInt64(headerSize)) + word(0) + le(UInt32(0))
    result += le(UInt16(headerSize)) + le(UInt16(entrySize)) + le(UInt16(segments.count))
    result += le(UInt16(0)) + le(UInt16(0)) + le(UInt16(0))
    var offset = UInt64((dataStart + 3) & ~3)
    for segment in segments {
      result += header(of: segment, at: offset)
      offset += UInt64((segment.bytes.count + 3) & ~3)
    }
    for segment in segments {
      while result.count & 3 != 0 { result.append(0) }
      result += segment.bytes
    }
    return result
  }

  private func word(_ value: UInt64) -> [UInt8] { is64 ? le(value) : le(UInt32(truncatingIfNeeded: value)) }

  private func header(of segment: Segment, at offset: UInt64) -> [UInt8] {
    let virtualAddress = segment.virtualAddress ?? segment.address
    let size = UInt64(segment.bytes.count)
    let memorySize = segment.memorySize ?? size
    let places = word(offset) + word(virtualAddress) + word(segment.address) + word(size) + word(memorySize)
    let flags = le(UInt32(7))
    return le(segment.type) + (is64 ? flags + places : places + flags) + word(4)
  }
}

/// A Multiboot 1 header; `addresses` are header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr.
func multibootHeader(flags: UInt32, checksumOff: UInt32 = 0, addresses: [UInt32] = []) -> [UInt8] {
  let magic: UInt32 = 0x1BAD_B002
  let checksum = 0 &- magic &- flags &+ checksumOff
  return ([magic, flags, checksum] + addresses).flatMap { le($0) }
}

/// A Multiboot kernel that is no ELF file: 16 bytes of something, the header, code.
func multibootFlat(
  header: UInt32 = 0x20_0010, load: UInt32 = 0x20_0000, loadEnd: UInt32 = 0, bssEnd: UInt32 = 0x20_4000,
  entry: UInt32 = 0x20_0030
) -> [UInt8] {
  [UInt8](repeating: 0x90, count: 16)
    + multibootHeader(flags: 0x1_0000, addresses: [header, load, loadEnd, bssEnd, entry]) + [0xF4, 0xEB, 0xFD]
}

/// A boot sector of `code`, followed by zeros up to `size` bytes.
func bootImage(_ code: [UInt8] = [0xF4, 0xEB, 0xFD], size: Int = 512) -> [UInt8] {
  var image = code + [UInt8](repeating: 0, count: size - code.count)
  image[510] = 0x55
  image[511] = 0xAA
  return image
}

extension Array where Element == UInt8 {
  /// The same with `bytes` at `offset`.
  func patched(_ offset: Int, _ bytes: [UInt8]) -> [UInt8] {
    var copy = self
    copy.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    return copy
  }
}

func guestMemory(_ size: UInt64 = 16 << 20) throws -> GuestMemory { try GuestMemory(ramSize: size) }

extension GuestMemory {
  func bytes(_ address: UInt64, _ count: Int) -> [UInt8] { readBytes(GPA(address), count: count).map { $0 ?? 0xFF } }
  func u32(_ address: UInt64) -> UInt32 { load(GPA(address)) ?? 0xFFFF_FFFF }
  func u64(_ address: UInt64) -> UInt64 { load(GPA(address)) ?? .max }
  /// The string up to its terminating zero.
  func string(_ address: UInt64) -> String {
    String(decoding: bytes(address, 256).prefix { $0 != 0 }, as: UTF8.self)
  }
}
