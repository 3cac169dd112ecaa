import VMCore

/// A Linux kernel as Debian ships it: the bzImage's setup header, and the ELF file packed inside it, unpacked.
/// A bare vmlinux will do as well; it has no setup header.
package struct KernelImage: Sendable {
  /// nil for a bare vmlinux.
  package let header: SetupHeader?
  package let compression: KernelCompression
  /// The unpacked file: an ELF executable, perhaps with relocations after it.
  package let vmlinux: [UInt8]
  package let elf: ELFImage

  /// The ELF file's notes, in file order.
  package var notes: [ELFNote] { elf.notes }

  /// True where the bytes begin like a bzImage.
  package static func isBzImage(_ image: NamedImage) -> Bool { SetupHeader.isPresent(in: ImageBytes(image)) }

  /// Unpacks a bzImage, or takes a bare vmlinux. Throws `VMError(.image)` that names the file and the first field
  /// that is wrong.
  package init(_ image: NamedImage) throws(VMError) { try self.init(ImageBytes(image)) }

  init(_ file: ImageBytes) throws(VMError) {
    guard SetupHeader.isPresent(in: file) else {
      header = nil
      compression = .none
      vmlinux = file.bytes
      elf = try ELFImage(file)
      return
    }
    let header = try SetupHeader(file)
    guard let packed = header.payload else {
      throw file.wrong("setup header: payload_length", 0, expected: "a compressed kernel")
    }
    let payload = try KernelPayload(file, packed)
    let inner = ImageBytes(name: "\(file.name): the kernel inside", bytes: try payload.unpacked())
    guard ELFImage.isELF(inner) else {
      throw file.wrong("what was unpacked", "no ELF file", expected: "the kernel as ELF")
    }
    self.header = header
    compression = payload.compression
    vmlinux = inner.bytes
    elf = try ELFImage(inner)
  }

  /// The note of this type that Xen's ABI defines; nil where the kernel has none.
  package func xenNote(_ type: XenNote) -> ELFNote? { elf.xenNote(type) }
}
