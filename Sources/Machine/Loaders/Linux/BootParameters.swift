import VMCore

/// `struct boot_params`, the "zero page" (Documentation/x86/zero-page.rst), in low memory.
enum BootParameters {
  private static let size: UInt64 = 4096
  private enum Field {
    static let acpiRoot: UInt64 = 0x070
    static let mapCount: UInt64 = 0x1E8
    static let loaderType: UInt64 = 0x210
    static let initrdAddress: UInt64 = 0x218
    static let initrdSize: UInt64 = 0x21C
    static let commandLine: UInt64 = 0x228
    static let map: UInt64 = 0x2D0
  }
  private static let mapEntrySize: UInt64 = 20

  /// Writes the page, with the image's setup header in it, and the command line; gives the page's address.
  static func build(
    _ header: SetupHeader, commandLine: String, initrd: Range<UInt64>?, acpiRoot: UInt64, _ placement: inout ImagePlacement
  ) throws(VMError) -> UInt64 {
    let memory = placement.memory
    let line = Array(commandLine.utf8.prefix(Int(clamping: header.commandLineSize))) + [0]
    let lineAt = try placement.takeLow(size: UInt64(line.count), alignment: 8, for: "the command line")
    memory.write(GPA(lineAt), line)
    let page = try placement.takeLow(size: size, alignment: 4096, for: "boot_params")
    memory.write(GPA(page), [UInt8](repeating: 0, count: Int(size)))
    memory.write(GPA(page + UInt64(SetupHeader.start)), header.bytes)
    memory.store(GPA(page + Field.acpiRoot), acpiRoot)
    // FFh: a loader without a number of its own.
    memory.store(GPA(page + Field.loaderType), 0xFF as UInt8)
    memory.store(GPA(page + Field.initrdAddress), UInt32(truncatingIfNeeded: initrd?.lowerBound ?? 0))
    memory.store(GPA(page + Field.initrdSize), UInt32(truncatingIfNeeded: initrd?.count ?? 0))
    memory.store(GPA(page + Field.commandLine), UInt32(truncatingIfNeeded: lineAt))
    let entries = placement.map.entries
    memory.store(GPA(page + Field.mapCount), UInt8(truncatingIfNeeded: entries.count))
    for (index, entry) in entries.enumerated() {
      let at = page + Field.map + UInt64(index) * mapEntrySize
      memory.store(GPA(at), entry.base)
      memory.store(GPA(at + 8), entry.length)
      memory.store(GPA(at + 16), entry.type)
    }
    return page
  }
}
