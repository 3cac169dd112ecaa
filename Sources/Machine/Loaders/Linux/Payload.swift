import CLz4
import CLzma
import CZlib
import CZstd
import VMCore

/// How the kernel inside a bzImage is packed, by its first bytes (Linux, lib/decompress.c).
package enum KernelCompression: String, Sendable {
  case none = "uncompressed"
  case lz4 = "LZ4"
  case gzip, xz
  case zstd = "Zstandard"
  case bzip2, lzma
  case lzo = "LZO"

  init?(_ payload: ArraySlice<UInt8>) {
    let known: [(magic: [UInt8], format: KernelCompression)] = [
      ([0x7F, 0x45, 0x4C, 0x46], .none), ([0x02, 0x21, 0x4C, 0x18], .lz4), ([0x1F, 0x8B], .gzip), ([0x1F, 0x9E], .gzip),
      ([0xFD, 0x37, 0x7A, 0x58, 0x5A], .xz), ([0x28, 0xB5, 0x2F, 0xFD], .zstd), ([0x42, 0x5A, 0x68], .bzip2),
      ([0x89, 0x4C, 0x5A, 0x4F], .lzo), ([0x5D, 0x00, 0x00], .lzma),
    ]
    guard let found = known.first(where: { payload.starts(with: $0.magic) }) else { return nil }
    self = found.format
  }
}

/// The compressed kernel of a bzImage: the stream, then its unpacked size in four bytes.
struct KernelPayload {
  /// No kernel is larger unpacked.
  static let maximumSize = 512 << 20

  let compression: KernelCompression
  private let file: ImageBytes
  private let stream: ArraySlice<UInt8>
  /// What the payload's last four bytes say.
  private let size: Int

  init(_ file: ImageBytes, _ range: Range<Int>) throws(VMError) {
    self.file = file
    let all = file.bytes[range]
    guard let compression = KernelCompression(all) else {
      let first = all.prefix(4).map { String($0, radix: 16) }.joined(separator: " ")
      throw file.wrong("the payload's beginning", first, expected: "an LZ4, gzip, xz or Zstandard stream, or ELF")
    }
    self.compression = compression
    guard compression != .none else {
      stream = all
      size = all.count
      return
    }
    stream = all.dropLast(4)
    size = Int(file.u32(range.upperBound - 4) ?? 0)
    guard size > 0, size <= Self.maximumSize else {
      throw file.wrong("the payload's last four bytes, its unpacked size", UInt64(size), expected: "at most 512 MiB")
    }
  }

  /// The unpacked kernel. Throws `VMError(.image)` where the stream is broken or gives another size.
  func unpacked() throws(VMError) -> [UInt8] {
    if compression == .none { return Array(stream) }
    var failure: String?
    let result = [UInt8](unsafeUninitializedCapacity: size) { output, count in
      let target = UnsafeMutableRawBufferPointer(output)
      stream.withUnsafeBytes { input in
        switch compression {
        case .lz4: (count, failure) = Self.unpackLZ4(input, target)
        case .gzip: (count, failure) = Self.unpackGzip(input, target)
        case .xz: (count, failure) = Self.unpackXZ(input, target)
        case .zstd: (count, failure) = Self.unpackZstandard(input, target)
        case .bzip2, .lzma, .lzo, .none: failure = "unsupported"
        }
      }
    }
    switch compression {
    case .bzip2, .lzma, .lzo:
      throw file.wrong(
        "the kernel's compression", compression.rawValue, expected: "LZ4, gzip, xz or Zstandard",
        remedy: "unpack it with the kernel's scripts/extract-vmlinux and give the vmlinux")
    default: break
    }
    if let failure {
      throw file.wrong("the payload", "a broken \(compression.rawValue) stream (\(failure))", expected: "one that unpacks")
    }
    guard result.count == size else {
      throw file.wrong(
        "the unpacked kernel", "\(result.count) bytes", expected: "\(size) bytes, as the payload's last four bytes say")
    }
    return result
  }

  private typealias Outcome = (count: Int, failure: String?)

  /// The legacy frame: blocks of at most 8 MiB unpacked, each behind its size; a new magic begins another frame.
  private static func unpackLZ4(_ input: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer) -> Outcome {
    let magic: UInt32 = 0x184C_2102
    let blockSize = 8 << 20
    var at = 0
    var done = 0
    while at + 4 <= input.count {
      let length = Int(UInt32(littleEndian: input.loadUnaligned(fromByteOffset: at, as: UInt32.self)))
      at += 4
      if length == Int(magic) { continue }
      guard length > 0, length <= input.count - at else { return (done, "a block of \(length) bytes at \(at)") }
      let room = min(blockSize, output.count - done)
      let from = input.baseAddress?.advanced(by: at).assumingMemoryBound(to: CChar.self)
      let to = output.baseAddress?.advanced(by: done).assumingMemoryBound(to: CChar.self)
      let written = Int(LZ4_decompress_safe(from, to, Int32(length), Int32(room)))
      guard written >= 0 else { return (done, "the block at \(at)") }
      at += length
      done += written
    }
    return (done, at == input.count ? nil : "\(input.count - at) bytes left over")
  }

  private static func unpackGzip(_ input: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer) -> Outcome {
    var stream = z_stream()
    stream.next_in = UnsafeMutablePointer(mutating: input.bindMemory(to: UInt8.self).baseAddress)
    stream.avail_in = UInt32(input.count)
    stream.next_out = output.bindMemory(to: UInt8.self).baseAddress
    stream.avail_out = UInt32(output.count)
    let gzipOnly: Int32 = 16 + MAX_WBITS
    guard inflateInit2_(&stream, gzipOnly, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
      return (0, "zlib does not start")
    }
    defer { inflateEnd(&stream) }
    let status = inflate(&stream, Z_FINISH)
    let count = output.count - Int(stream.avail_out)
    return (count, status == Z_STREAM_END ? nil : "zlib status \(status)")
  }

  private static func unpackXZ(_ input: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer) -> Outcome {
    var memoryLimit: UInt64 = 256 << 20
    var read = 0
    var written = 0
    let status = lzma_stream_buffer_decode(
      &memoryLimit, 0, nil, input.bindMemory(to: UInt8.self).baseAddress, &read, input.count,
      output.bindMemory(to: UInt8.self).baseAddress, &written, output.count)
    return (written, status == LZMA_OK ? nil : "liblzma status \(status.rawValue)")
  }

  private static func unpackZstandard(
    _ input: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer
  ) -> Outcome {
    let frame = ZSTD_findFrameCompressedSize(input.baseAddress, input.count)
    guard ZSTD_isError(frame) == 0 else { return (0, String(cString: ZSTD_getErrorName(frame))) }
    let written = ZSTD_decompress(output.baseAddress, output.count, input.baseAddress, frame)
    guard ZSTD_isError(written) == 0 else { return (0, String(cString: ZSTD_getErrorName(written))) }
    return (written, nil)
  }
}
