import VMCore

/// Files that people take for a guest or a disk and that are something else: known by their first bytes, so that the
/// refusal can say what they are and what to do.
package struct ForeignFormat: Sendable {
  package let name: String
  package let remedy: String
  private let magic: [UInt8]
  private let offset: Int

  private init(_ name: String, _ magic: [UInt8], at offset: Int = 0, _ remedy: String) {
    (self.name, self.magic, self.offset, self.remedy) = (name, magic, offset, remedy)
  }

  private static func packed(_ program: String) -> String { "unpack it: \(program) FILE" }
  private static func disk(_ format: String) -> String { "qemu-img convert -f \(format) -O raw FILE FILE.raw makes a raw image" }

  private static let compressed: [ForeignFormat] = [
    ForeignFormat("a gzip file", [0x1F, 0x8B], packed("gunzip")),
    ForeignFormat("an xz file", [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0], packed("unxz")),
    ForeignFormat("a zstd file", [0x28, 0xB5, 0x2F, 0xFD], packed("unzstd")),
    ForeignFormat("a bzip2 file", Array("BZh".utf8), packed("bunzip2")),
    ForeignFormat("an lz4 file", [0x04, 0x22, 0x4D, 0x18], packed("unlz4")),
    ForeignFormat("a zip archive", [0x50, 0x4B, 3, 4], packed("unzip")),
  ]

  /// Disk images that are not raw.
  private static let disks: [ForeignFormat] = [
    ForeignFormat("a QCOW image", [0x51, 0x46, 0x49, 0xFB], disk("qcow2")),
    ForeignFormat("a VMDK image", Array("KDMV".utf8), disk("vmdk")),
    ForeignFormat("a VMDK description", Array("# Disk Descri".utf8), disk("vmdk")),
    ForeignFormat("a VHDX image", Array("vhdxfile".utf8), disk("vhdx")),
    ForeignFormat("a VHD image", Array("conectix".utf8), disk("vpc")),
    ForeignFormat("a VDI image", [0x7F, 0x10, 0xDA, 0xBE], at: 0x40, disk("vdi")),
  ]

  private func fits(_ bytes: [UInt8]) -> Bool {
    bytes.count >= offset + magic.count && bytes[offset..<offset + magic.count].elementsEqual(magic)
  }

  /// What a file is that cannot be a guest.
  static func ofGuest(_ file: ImageBytes) -> ForeignFormat? {
    if let known = (compressed + disks).first(where: { $0.fits(file.bytes) }) { return known }
    guard file.u16(0) == 0x5A4D, let at = file.u32(0x3C), file.u32(Int(at)) == 0x4550 else { return nil }
    return ForeignFormat(
      "an EFI or Windows program", [], "there is no EFI here: give a kernel's bzImage or ELF file, or a disk with a boot sector")
  }

  /// What a disk's file is that is no raw image, by its first 512 bytes. Anything else may be what a guest wrote there.
  package static func ofDisk(_ start: [UInt8]) -> ForeignFormat? { disks.first { $0.fits(start) } }
}
