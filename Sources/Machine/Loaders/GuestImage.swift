import VMCore

/// What a file was recognised to be, by its content (or by what the person said it is).
package enum GuestImage: Sendable {
  /// A Multiboot 1 kernel; with its ELF headers where the header has no address fields of its own.
  case multiboot(MultibootHeader, ELFImage?)
  case elf(ELFImage)
  /// A boot sector, alone or as the first sector of a floppy or hard disk image.
  case bootSector(DiskGeometry)
  case flat(FlatMode)
  case firmware
  /// A bzImage, or the vmlinux of a kernel that can be entered by PVH.
  case linux(KernelImage)
  /// A program that is no Linux but is started as one: a bzImage's setup header without a compressed kernel.
  case bootProtocol(SetupHeader)

  /// Files of more are refused unread.
  package static let maximumFileSize = 1 << 30
  /// A ROM is at most this large: it ends at 4 GiB, above the interrupt controllers.
  package static let maximumFirmwareSize = 8 << 20

  /// Says what the request's image is. Throws `VMError(.image)` for anything not recognised or broken,
  /// `VMError(.usage)` for options that do not go together.
  package static func recognise(_ request: LoadRequest) throws(VMError) -> GuestImage {
    let file = ImageBytes(request.firmware ?? request.image)
    guard file.count <= maximumFileSize else {
      throw file.wrong("the size", "\(file.count) bytes", expected: "at most 1 GiB")
    }
    if request.firmware != nil {
      guard request.image.bytes.isEmpty, request.mode == nil else {
        throw VMError(.usage, "--firmware \(file.name) starts at the reset vector; expected no other guest and no --mode")
      }
      guard file.count > 0, file.count % 4096 == 0, file.count <= maximumFirmwareSize else {
        throw file.wrong("the size of a ROM", "\(file.count) bytes", expected: "a multiple of 4 KiB up to 8 MiB")
      }
      return .firmware
    }
    guard file.count > 0 else { throw file.wrong("the size", "0 bytes", expected: "an image of a guest") }
    if let mode = request.mode { return .flat(mode) }
    guard request.loadAddress == nil else {
      throw VMError(.usage, "\(file.name): --load is for flat images; expected --mode real, protected or long with it")
    }
    return try recognise(file)
  }

  private static func recognise(_ file: ImageBytes) throws(VMError) -> GuestImage {
    if SetupHeader.isPresent(in: file) {
      let header = try SetupHeader(file)
      return header.payload == nil ? .bootProtocol(header) : .linux(try KernelImage(file))
    }
    // A disk with a Multiboot program after its boot sector (GRUB's core image lies there) is booted as a disk.
    let isDisk = file.u16(510) == 0xAA55 && !ELFImage.isELF(file)
    if let header = try MultibootHeader.find(in: file), !(isDisk && header.offset >= 512) {
      if header.addresses != nil { return .multiboot(header, nil) }
      guard ELFImage.isELF(file) else {
        throw file.wrong(
          "Multiboot header at \(prefixedHex(UInt64(header.offset))): flags", UInt64(header.flags),
          expected: "bit 16 (address fields) in a file that is not ELF")
      }
      return .multiboot(header, try ELFImage(file))
    }
    if MultibootHeader.isMultiboot2(file) {
      throw file.wrong("the boot protocol", "Multiboot 2", expected: "Multiboot 1, plain ELF or a boot sector")
    }
    if ELFImage.isELF(file) {
      let elf = try ELFImage(file)
      return elf.xenNote(.physical32Entry) == nil ? .elf(elf) : .linux(try KernelImage(file))
    }
    if let foreign = ForeignFormat.ofGuest(file) {
      throw file.wrong("the file", foreign.name, expected: "a guest's image", remedy: foreign.remedy)
    }
    return try recogniseBootSector(file)
  }

  private static func recogniseBootSector(_ file: ImageBytes) throws(VMError) -> GuestImage {
    guard let signature = file.u16(510) else {
      throw file.wrong(
        "the size", "\(file.count) bytes", expected: "a Multiboot or ELF header, or a boot sector of 512 bytes",
        remedy: "a flat image needs --mode real, protected or long")
    }
    guard signature == 0xAA55 else {
      throw file.wrong(
        "the boot signature at 0x1fe", UInt64(signature), expected: "0xaa55, or an ELF or Multiboot header",
        remedy: "a flat image needs --mode real, protected or long")
    }
    return .bootSector(DiskGeometry(imageSize: file.count))
  }

  /// What the image is, in a few words.
  package var describe: String {
    switch self {
    case .multiboot(let header, let elf):
      let format = elf.map { $0.is64 ? "ELF64" : "ELF32" } ?? "address fields"
      return "Multiboot kernel (\(format), header at \(prefixedHex(UInt64(header.offset))))"
    case .elf(let elf):
      return "\(elf.is64 ? "ELF64" : "ELF32") kernel, \(elf.segments.count) segment\(elf.segments.count == 1 ? "" : "s")"
    case .bootSector(let geometry):
      let drive = geometry.isFloppy ? "floppy" : "hard disk"
      return "boot sector, \(drive) \(geometry.cylinders)/\(geometry.heads)/\(geometry.sectors)"
    case .flat(let mode):
      return "flat image, \(mode.rawValue) mode"
    case .firmware:
      return "firmware ROM"
    case .linux(let kernel):
      return kernel.header == nil ? "Linux kernel (vmlinux)" : "Linux kernel (bzImage, \(kernel.compression.rawValue))"
    case .bootProtocol(let header):
      let version = header.protocolVersion
      return "bzImage without a kernel inside (boot protocol \(version >> 8).\(hex(UInt64(version & 0xFF), digits: 2)))"
    }
  }
}
