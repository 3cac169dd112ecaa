import VMCore

/// The information a Multiboot 1 loader hands its kernel (Multiboot Specification 0.6.96, 3.3), built in
/// low memory clear of pages 0 and 1.
struct MultibootInfo {
  /// What EAX holds at the kernel's entry.
  static let bootMagic: UInt64 = 0x2BAD_B002
  private static let size: UInt64 = 120
  private static let moduleSize: UInt64 = 16
  private static let mapEntrySize: UInt64 = 24
  private static let loaderName = "Ringside"

  /// Bits of the flags word for the fields given.
  private enum Flag {
    static let memory: UInt32 = 1 << 0
    static let commandLine: UInt32 = 1 << 2
    static let modules: UInt32 = 1 << 3
    static let memoryMap: UInt32 = 1 << 6
    static let loaderName: UInt32 = 1 << 9
  }

  /// Places the modules (page-aligned, after the kernel) and the structure. Gives the structure's address.
  static func build(_ request: LoadRequest, _ placement: inout ImagePlacement) throws(VMError) -> UInt64 {
    let modules = try placeModules(request.modules, &placement)
    let memory = placement.memory
    let address = try placement.takeLow(size: size, alignment: 16, for: "the Multiboot information")
    memory.write(GPA(address), [UInt8](repeating: 0, count: Int(size)))
    func set(_ offset: UInt64, _ value: UInt64) {
      memory.store(GPA(address + offset), UInt32(truncatingIfNeeded: value))
    }
    var flags = Flag.memory | Flag.commandLine | Flag.memoryMap | Flag.loaderName
    set(4, MemoryMap.conventionalEnd >> 10)
    set(8, placement.map.upperKiB)
    set(16, try placeString(commandLine(request), "the command line", &placement))
    if !modules.isEmpty {
      flags |= Flag.modules
      set(20, UInt64(modules.count))
      set(24, try placeModuleList(modules, &placement))
    }
    let entries = placement.map.entries
    set(44, UInt64(entries.count) * mapEntrySize)
    set(48, try placeMap(entries, &placement))
    set(64, try placeString(loaderName, "the loader's name", &placement))
    set(0, UInt64(flags))
    return address
  }

  /// The program's name (the file's, one word whatever it contains), then what `--append` says.
  private static func commandLine(_ request: LoadRequest) -> String {
    let last = request.image.name.split(separator: "/").last ?? "kernel"
    let name = String(last.map { $0.isWhitespace ? "_" : $0 })
    return request.commandLine.isEmpty ? name : "\(name) \(request.commandLine)"
  }

  private struct Module {
    var start: UInt64
    var end: UInt64
    var name: String
  }

  private static func placeModules(
    _ modules: [NamedImage], _ placement: inout ImagePlacement
  ) throws(VMError) -> [Module] {
    var result: [Module] = []
    var from = placement.occupied.map(\.upperBound).filter { $0 <= placement.map.lowEnd }.max() ?? 0
    from = max(from, 0x10_0000)
    for module in modules {
      let file = ImageBytes(module)
      guard file.count <= GuestImage.maximumFileSize else {
        throw file.wrong("the size", "\(file.count) bytes", expected: "at most 1 GiB")
      }
      let start = placement.firstFree(from: from, size: file.size, alignment: 4096) ?? ((from + 4095) & ~4095)
      try placement.place(
        module.bytes[...], at: start, memorySize: file.size, file: file, field: "the place after the kernel")
      result.append(Module(start: start, end: start + file.size, name: module.name))
      from = start + file.size
    }
    return result
  }

  private static func placeModuleList(
    _ modules: [Module], _ placement: inout ImagePlacement
  ) throws(VMError) -> UInt64 {
    let list = try placement.takeLow(
      size: UInt64(modules.count) * moduleSize, alignment: 16, for: "the module list")
    for (index, module) in modules.enumerated() {
      let name = try placeString(module.name, "a module's name", &placement)
      let at = list + UInt64(index) * moduleSize
      for (field, value) in [module.start, module.end, name, 0].enumerated() {
        placement.memory.store(GPA(at + UInt64(field * 4)), UInt32(truncatingIfNeeded: value))
      }
    }
    return list
  }

  private static func placeMap(
    _ entries: [MemoryMap.Entry], _ placement: inout ImagePlacement
  ) throws(VMError) -> UInt64 {
    let list = try placement.takeLow(
      size: UInt64(entries.count) * mapEntrySize, alignment: 16, for: "the memory map")
    let memory = placement.memory
    for (index, entry) in entries.enumerated() {
      let at = list + UInt64(index) * mapEntrySize
      memory.store(GPA(at), UInt32(mapEntrySize - 4))
      memory.store(GPA(at + 4), entry.base)
      memory.store(GPA(at + 12), entry.length)
      memory.store(GPA(at + 20), entry.type)
    }
    return list
  }

  private static func placeString(
    _ text: String, _ purpose: String, _ placement: inout ImagePlacement
  ) throws(VMError) -> UInt64 {
    let bytes = Array(text.utf8) + [0]
    let address = try placement.takeLow(size: UInt64(bytes.count), alignment: 4, for: purpose)
    placement.memory.write(GPA(address), bytes)
    return address
  }
}
