import Machine
import Testing
import VMCore

@Suite("Loaders: the kernel inside a bzImage")
struct KernelImageTests {
  private static func image(_ builder: LinuxBuilder) -> NamedImage { NamedImage(name: "vmlinuz", bytes: builder.bytes) }

  private static func refusal(_ bytes: [UInt8]) -> String? {
    do throws(VMError) {
      _ = try KernelImage(NamedImage(name: "k", bytes: bytes))
      return nil
    } catch { return error.description }
  }

  @Test(arguments: [KernelCompression.lz4, .gzip, .xz, .zstd, .none])
  func `a kernel is unpacked, whatever it is packed with`(_ compression: KernelCompression) throws {
    let builder = LinuxBuilder(compression: compression)
    let kernel = try KernelImage(Self.image(builder))
    #expect(kernel.compression == compression)
    #expect(kernel.vmlinux == builder.elf + builder.trailer)
    #expect(kernel.elf.entry == 0x20_0000)
    #expect(kernel.header?.preferredAddress == 0x20_0000)
    #expect(kernel.header?.hasEntry64 == true)
  }

  @Test func `the notes of the kernel inside are read, by owner and type`() throws {
    let kernel = try KernelImage(Self.image(LinuxBuilder()))
    #expect(kernel.notes.map(\.owner) == ["Linux", "Xen", "Xen", "Xen"])
    #expect(kernel.xenNote(.guestOS)?.text == "linux")
    #expect(kernel.xenNote(.physical32Entry)?.number == 0x20_0010)
    #expect(kernel.xenNote(.entry)?.number == 0xFFFF_FFFF_8020_0020)
    #expect(kernel.xenNote(.hypercallPage) == nil)
  }

  @Test func `a bare vmlinux is taken as it is`() throws {
    let elf = LinuxBuilder().elf
    let kernel = try KernelImage(NamedImage(name: "vmlinux", bytes: elf))
    #expect(kernel.header == nil && kernel.compression == .none && kernel.vmlinux == elf)
    #expect(kernel.xenNote(.physical32Entry)?.number == 0x20_0010)
  }

  @Test(arguments: [KernelCompression.bzip2, .lzma, .lzo])
  func `a compression that is not supported is refused by name`(_ compression: KernelCompression) {
    #expect(
      Self.refusal(LinuxBuilder(compression: compression).bytes)
        == "k: the kernel's compression is \(compression.rawValue); expected LZ4, gzip, xz or Zstandard "
        + "(unpack it with the kernel's scripts/extract-vmlinux and give the vmlinux)")
  }

  static let good = LinuxBuilder().bytes
  static let broken: [BrokenImage] = [
    .init(
      good.patched(0x206, le(0x0201 as UInt16)),
      "k: setup header: version is 0x201; expected 0x202 or later, which takes a command line"),
    .init(Array(good.prefix(0x250)), "k: the end of the setup header is 0x264 but the file has 0x250 bytes; expected it inside the file"),
    .init(good.patched(0x201, [0x10]), "k: setup header: the end that the jump at 0x200 gives is 0x212; expected 0x264 or more, inside the file"),
    .init(
      good.patched(0x24C, le(0x00FF_FFFF as UInt32)),
      "k: setup header: payload_offset+payload_length is 0x10008ff but the file has \("0x" + String(good.count, radix: 16)) bytes; expected it inside the file"
    ),
    .init(good.patched(0x24C, le(4 as UInt32)), "k: setup header: payload_length is 0x4; expected a compressed kernel and its size"),
    .init(
      good.patched(0x900, [9, 9]), "k: the payload's beginning is 9 9 4c 18; expected an LZ4, gzip, xz or Zstandard stream, or ELF"),
    .init(
      LinuxBuilder(statedSize: 0x7FFF_FFFF).bytes,
      "k: the payload's last four bytes, its unpacked size is 0x7fffffff; expected at most 512 MiB"),
    .init(
      LinuxBuilder(statedSize: 100).bytes, "k: the payload is a broken LZ4 stream (the block at 8); expected one that unpacks"),
    .init(
      LinuxBuilder(statedSize: 10000).bytes,
      "k: the unpacked kernel is \(LinuxBuilder().elf.count + 4) bytes; expected 10000 bytes, as the payload's last four bytes say"),
    .init(
      good.patched(0x904, le(0xFFFF as UInt32)),
      "k: the payload is a broken LZ4 stream (a block of 65535 bytes at 8); expected one that unpacks"),
  ]

  @Test(arguments: broken)
  func `a broken bzImage is refused by what is wrong`(_ image: BrokenImage) {
    #expect(Self.refusal(image.bytes) == image.line)
  }

  @Test func `an error of the ELF file inside names both files`() {
    var builder = LinuxBuilder(compression: .none)
    builder.trailer = []
    let bytes = builder.bytes
    let kernelStart = bytes.count - builder.elf.count
    #expect(Self.refusal(bytes.patched(kernelStart + 16, [3])) == "k: the kernel inside: e_type is 0x3; expected 2 (ET_EXEC) (it is a program or library of an operating system: a kernel is linked -static -no-pie)")
  }
}
