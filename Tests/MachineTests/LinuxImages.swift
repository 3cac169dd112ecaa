import CLz4
import CLzma
import CZlib
import CZstd
import Machine
import VMCore

/// A small kernel in the shape of Linux: an ELF file with Xen notes, packed into a bzImage.
struct LinuxBuilder {
  /// The 32-bit PVH entry the note names; nil leaves the note out.
  var pvhEntry: UInt64? = 0x20_0010
  /// Bytes of the PHYS32_ENTRY note's descriptor.
  var pvhEntrySize = 8
  var compression = KernelCompression.lz4
  var protocolVersion: UInt16 = 0x020F
  /// What the payload's last four bytes say; nil says the truth.
  var statedSize: UInt32?
  /// Follows the ELF file inside the payload, as relocations do.
  var trailer: [UInt8] = [1, 2, 3, 4]
  var code: [UInt8] = [0xF4, 0xEB, 0xFD]

  static func note(_ owner: String, _ type: UInt32, _ descriptor: [UInt8]) -> [UInt8] {
    func padded(_ bytes: [UInt8]) -> [UInt8] { bytes + [UInt8](repeating: 0, count: (4 - bytes.count & 3) & 3) }
    let name = Array(owner.utf8) + [0]
    return le(UInt32(name.count)) + le(UInt32(descriptor.count)) + le(type) + padded(name) + padded(descriptor)
  }

  var elf: [UInt8] {
    var notes = Self.note("Linux", 0x101, [7])
    notes += Self.note("Xen", 6, Array("linux".utf8) + [0])
    if let pvhEntry { notes += Self.note("Xen", 18, Array(le(pvhEntry).prefix(pvhEntrySize))) }
    notes += Self.note("Xen", 1, le(0xFFFF_FFFF_8020_0020 as UInt64))
    let body = [UInt8](repeating: 0x90, count: 0x40) + code + [UInt8](repeating: 0x90, count: 3000)
    return ELFBuilder(
      is64: true, entry: 0x20_0000,
      segments: [
        .init(virtualAddress: 0xFFFF_FFFF_8020_0000, address: 0x20_0000, bytes: body, memorySize: 0x3000),
        .init(type: 4, address: 0, bytes: notes),
      ]
    ).bytes
  }

  var bytes: [UInt8] {
    let inner = elf + trailer
    let size = le(statedSize ?? UInt32(inner.count))
    let payload = compression == .none ? inner : Self.packed(inner, compression) + size
    // Two sectors of setup, then a protected-mode kernel of 300h bytes before the payload.
    var image = [UInt8](repeating: 0, count: 0x600 + 0x300)
    func set(_ offset: Int, _ bytes: [UInt8]) { image.replaceSubrange(offset..<offset + bytes.count, with: bytes) }
    set(0x1F1, [2])
    set(0x1FE, [0x55, 0xAA, 0xEB, 0x6A])
    set(0x202, Array("HdrS".utf8) + le(protocolVersion))
    set(0x211, [1])
    set(0x22C, le(0x7FFF_FFFF as UInt32))
    set(0x236, le(1 as UInt16))
    set(0x238, le(2047 as UInt32))
    set(0x248, le(0x300 as UInt32) + le(UInt32(payload.count)))
    set(0x258, le(0x20_0000 as UInt64) + le(0x10_0000 as UInt32))
    return image + payload
  }

  /// The stream as kbuild makes it.
  static func packed(_ bytes: [UInt8], _ format: KernelCompression) -> [UInt8] {
    let magic: [KernelCompression: [UInt8]] = [
      .bzip2: [0x42, 0x5A, 0x68, 0x39], .lzma: [0x5D, 0, 0, 0x80], .lzo: [0x89, 0x4C, 0x5A, 0x4F],
    ]
    switch format {
    case .lz4: return packedLZ4(bytes)
    case .gzip: return packedGzip(bytes)
    case .xz: return packedXZ(bytes)
    case .zstd: return packedZstandard(bytes)
    default: return (magic[format] ?? []) + bytes
    }
  }

  /// The legacy frame, in blocks of 1000 bytes.
  private static func packedLZ4(_ bytes: [UInt8]) -> [UInt8] {
    var result: [UInt8] = [0x02, 0x21, 0x4C, 0x18]
    for start in stride(from: 0, to: bytes.count, by: 1000) {
      let piece = Array(bytes[start..<min(start + 1000, bytes.count)])
      let capacity = Int(LZ4_compressBound(Int32(piece.count)))
      let block = [CChar](unsafeUninitializedCapacity: capacity) { output, count in
        piece.withUnsafeBytes { input in
          let from = input.baseAddress?.assumingMemoryBound(to: CChar.self)
          count = Int(LZ4_compress_default(from, output.baseAddress, Int32(piece.count), Int32(capacity)))
        }
      }
      result += le(UInt32(block.count)) + block.map { UInt8(bitPattern: $0) }
    }
    return result
  }

  private static func packedGzip(_ bytes: [UInt8]) -> [UInt8] {
    var stream = z_stream()
    deflateInit2_(
      &stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    defer { deflateEnd(&stream) }
    var input = bytes
    return [UInt8](unsafeUninitializedCapacity: bytes.count + 1000) { output, count in
      input.withUnsafeMutableBufferPointer { from in
        stream.next_in = from.baseAddress
        stream.avail_in = UInt32(from.count)
        stream.next_out = output.baseAddress
        stream.avail_out = UInt32(output.count)
        deflate(&stream, Z_FINISH)
        count = output.count - Int(stream.avail_out)
      }
    }
  }

  private static func packedXZ(_ bytes: [UInt8]) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: bytes.count + 1000) { output, count in
      lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, nil, bytes, bytes.count, output.baseAddress, &count, output.count)
    }
  }

  private static func packedZstandard(_ bytes: [UInt8]) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: bytes.count + 1000) { output, count in
      count = ZSTD_compress(output.baseAddress, output.count, bytes, bytes.count, 19)
    }
  }
}
