import VMCore

/// What a PVH kernel finds by EBX (Xen, public/arch-x86/hvm/start_info.h): `hvm_start_info` with its module list,
/// memory map and command line, in low memory.
enum PVHStartInfo {
  private static let magic: UInt32 = 0x336E_C578
  private static let size: UInt64 = 56
  private static let moduleSize: UInt64 = 32
  private static let entrySize: UInt64 = 24

  /// Writes the structures; gives the start information's address.
  static func build(
    commandLine: String, modules: [Range<UInt64>], acpiRoot: UInt64, _ placement: inout ImagePlacement
  ) throws(VMError) -> UInt64 {
    let memory = placement.memory
    let line = Array(commandLine.utf8) + [0]
    let lineAt = try placement.takeLow(size: UInt64(line.count), alignment: 8, for: "the command line")
    memory.write(GPA(lineAt), line)
    var listAt: UInt64 = 0
    if !modules.isEmpty {
      listAt = try placement.takeLow(size: UInt64(modules.count) * moduleSize, alignment: 8, for: "the module list")
    }
    for (index, module) in modules.enumerated() {
      let at = listAt + UInt64(index) * moduleSize
      for (field, value) in [module.lowerBound, UInt64(module.count), 0, 0].enumerated() {
        memory.store(GPA(at + UInt64(field * 8)), value)
      }
    }
    let entries = placement.map.entries
    let mapAt = try placement.takeLow(size: UInt64(entries.count) * entrySize, alignment: 8, for: "the memory map")
    for (index, entry) in entries.enumerated() {
      let at = mapAt + UInt64(index) * entrySize
      memory.store(GPA(at), entry.base)
      memory.store(GPA(at + 8), entry.length)
      memory.store(GPA(at + 16), entry.type)
      memory.store(GPA(at + 20), 0 as UInt32)
    }
    let address = try placement.takeLow(size: size, alignment: 16, for: "the start information")
    let version: UInt32 = 1
    for (field, value) in [magic, version, 0, UInt32(modules.count)].enumerated() {
      memory.store(GPA(address + UInt64(field * 4)), value)
    }
    for (field, value) in [listAt, lineAt, acpiRoot, mapAt].enumerated() {
      memory.store(GPA(address + 16 + UInt64(field * 8)), value)
    }
    memory.store(GPA(address + 48), UInt32(entries.count))
    memory.store(GPA(address + 52), 0 as UInt32)
    return address
  }
}
