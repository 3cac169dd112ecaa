import VMCore

/// The header of a kernel that a Multiboot 1 boot loader loads (Multiboot Specification 0.6.96, 3.1).
package struct MultibootHeader: Sendable {
  static let magic: UInt32 = 0x1BAD_B002
  /// The header lies wholly in the first 8 KiB of the file, on a 4-byte boundary.
  static let searchLimit = 8192
  /// Modules page-aligned, memory information, video mode: requirements a loader must know to go on.
  private static let knownRequirements: UInt32 = 0x7
  private static let hasAddresses: UInt32 = 1 << 16

  /// How to load a kernel that is no ELF file; all addresses guest-physical.
  package struct AddressFields: Sendable {
    /// Where in the file the part to load begins.
    package let fileOffset: UInt64
    package let loadAddress: UInt64
    /// Bytes taken from the file.
    package let fileSize: UInt64
    /// Bytes in memory, zero beyond `fileSize`.
    package let memorySize: UInt64
    package let entry: UInt64
  }

  /// Where in the file the header lies.
  package let offset: Int
  package let flags: UInt32
  /// Present with flag bit 16, then used even for an ELF file.
  package let addresses: AddressFields?

  /// Finds a header; nil if there is none. Throws where one is there and wrong.
  static func find(in file: ImageBytes) throws(VMError) -> MultibootHeader? {
    var offset = 0
    while offset + 12 <= min(file.count, searchLimit) {
      if file.u32(offset) == magic { return try MultibootHeader(file, at: offset) }
      offset += 4
    }
    return nil
  }

  /// True where the file has a valid Multiboot 2 header (in its first 32 KiB, on 8-byte boundaries).
  static func isMultiboot2(_ file: ImageBytes) -> Bool {
    var offset = 0
    while offset + 16 <= min(file.count, 32768) {
      if file.u32(offset) == 0xE852_50D6, let architecture = file.u32(offset + 4), let length = file.u32(offset + 8),
        let checksum = file.u32(offset + 12), 0xE852_50D6 &+ architecture &+ length &+ checksum == 0
      {
        return true
      }
      offset += 8
    }
    return false
  }

  private init(_ file: ImageBytes, at offset: Int) throws(VMError) {
    let place = "Multiboot header at \(prefixedHex(UInt64(offset)))"
    guard let flags = file.u32(offset + 4), let checksum = file.u32(offset + 8) else {
      throw file.outside("\(place): its end", end: UInt64(offset) + 12)
    }
    let wanted = 0 &- Self.magic &- flags
    guard checksum == wanted else {
      throw file.wrong("\(place): checksum", UInt64(checksum), expected: prefixedHex(UInt64(wanted)))
    }
    let unknown = flags & 0xFFFF & ~Self.knownRequirements
    guard unknown == 0 else {
      throw file.wrong("\(place): flags", UInt64(flags), expected: "no required bits but 0, 1 and 2")
    }
    self.offset = offset
    self.flags = flags
    addresses = flags & Self.hasAddresses == 0 ? nil : try Self.addresses(file, at: offset, place)
  }

  private static func addresses(
    _ file: ImageBytes, at offset: Int, _ place: String
  ) throws(VMError) -> AddressFields {
    guard let header = file.u32(offset + 12), let load = file.u32(offset + 16), let loadEnd = file.u32(offset + 20),
      let bssEnd = file.u32(offset + 24), let entry = file.u32(offset + 28)
    else { throw file.outside("\(place): the end of its address fields", end: UInt64(offset) + 32) }
    guard load <= header, UInt64(header - load) <= UInt64(offset) else {
      throw file.wrong(
        "\(place): load_addr", UInt64(load),
        expected: "header_addr, \(prefixedHex(UInt64(header))), less at most the header's place in the file")
    }
    let start = UInt64(offset) - UInt64(header - load)
    guard loadEnd == 0 || loadEnd >= load else {
      throw file.wrong("\(place): load_end_addr", UInt64(loadEnd), expected: "0 or at least load_addr, \(prefixedHex(UInt64(load)))")
    }
    let fileSize = loadEnd == 0 ? file.size - start : UInt64(loadEnd - load)
    guard start + fileSize <= file.size else {
      throw file.outside("\(place): the place of load_end_addr", end: start + fileSize)
    }
    let loadedEnd = UInt64(load) + fileSize
    guard bssEnd == 0 || UInt64(bssEnd) >= loadedEnd else {
      throw file.wrong("\(place): bss_end_addr", UInt64(bssEnd), expected: "0 or at least \(prefixedHex(loadedEnd))")
    }
    let memoryEnd = max(UInt64(bssEnd), loadedEnd)
    guard UInt64(entry) >= UInt64(load), UInt64(entry) < memoryEnd else {
      throw file.wrong(
        "\(place): entry_addr", UInt64(entry), expected: "\(prefixedHex(UInt64(load))) to \(prefixedHex(memoryEnd)), what is loaded")
    }
    return AddressFields(
      fileOffset: start, loadAddress: UInt64(load), fileSize: fileSize, memorySize: memoryEnd - UInt64(load),
      entry: UInt64(entry))
  }
}
