import VMCore
import X86

/// The boot processor's state at a guest's first instruction, for each way of starting one.
enum InitialState {
  /// Flat descriptors for guests that start in protected or long mode (SDM 3A 3.4.5): null,
  /// 08h 32-bit code, 10h data, 18h 64-bit code; all ring 0, accessed.
  private static let descriptors: [UInt64] = [0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00AF_9B00_0000_FFFF]
  /// As Linux's 64-bit boot protocol wants them: 10h 64-bit code, 18h data.
  private static let linuxDescriptors: [UInt64] = [0, 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF]

  /// Real mode at `codeSegment:offset`, data and stack segments 0, as a BIOS enters a boot sector.
  static func real(codeSegment: UInt16, offset: UInt16, stack: UInt16) -> VCPUState {
    var state = VCPUState()
    state.cr0 = CR0.et
    for name in [SegmentName.es, .ss, .ds, .fs, .gs] { state[name] = SegmentState() }
    state[.cs] = SegmentState(selector: codeSegment, base: UInt64(codeSegment) << 4, access: 0x9B)
    state.rip = UInt64(offset)
    state[.rsp] = UInt64(stack)
    return state
  }

  /// 32-bit protected mode with flat segments, no paging, interrupts off, no IDT.
  static func protected(
    entry: UInt64, _ placement: inout ImagePlacement
  ) throws(VMError) -> VCPUState {
    var state = VCPUState()
    state.cr0 = CR0.pe | CR0.et
    try setTables(&state, descriptors, &placement)
    setSegments(&state, code: SegmentState(selector: 0x08, limit: 0xFFFF_FFFF, access: 0xC09B))
    state.rip = entry
    return state
  }

  /// 64-bit mode, the first 4 GiB mapped to themselves by 2 MiB pages, interrupts off, no IDT
  /// (SDM 3A 4.5, 10.8.5).
  static func long(entry: UInt64, _ placement: inout ImagePlacement) throws(VMError) -> VCPUState {
    try long(entry: entry, descriptors, code: 0x18, data: 0x10, &placement)
  }

  /// The same with the selectors of Linux's 64-bit boot protocol.
  static func linux64(entry: UInt64, _ placement: inout ImagePlacement) throws(VMError) -> VCPUState {
    try long(entry: entry, linuxDescriptors, code: 0x10, data: 0x18, &placement)
  }

  private static func long(
    entry: UInt64, _ descriptors: [UInt64], code: UInt16, data: UInt16, _ placement: inout ImagePlacement
  ) throws(VMError) -> VCPUState {
    var state = VCPUState()
    state.cr0 = CR0.pe | CR0.et | CR0.pg
    state.cr4 = CR4.pae
    state.efer = EFER.lme | EFER.lma
    state.cr3 = try identityPageTables(&placement)
    try setTables(&state, descriptors, &placement)
    setSegments(&state, data: data, code: SegmentState(selector: code, limit: 0xFFFF_FFFF, access: 0xA09B))
    state.rip = entry
    return state
  }

  /// Writes the descriptors, and leaves the stack growing down below the lowest thing the loader placed.
  private static func setTables(
    _ state: inout VCPUState, _ descriptors: [UInt64], _ placement: inout ImagePlacement
  ) throws(VMError) {
    let tableSize = UInt64(descriptors.count * 8)
    let base = try placement.takeLow(size: tableSize, alignment: 16, for: "descriptors")
    for (index, descriptor) in descriptors.enumerated() {
      placement.memory.store(GPA(base + UInt64(index * 8)), descriptor)
    }
    state.gdtr = TableRegister(base: base, limit: UInt16(tableSize - 1))
    state.idtr = TableRegister(base: 0, limit: 0)
    state[.rsp] = base
  }

  private static func setSegments(_ state: inout VCPUState, data: UInt16 = 0x10, code: SegmentState) {
    for name in [SegmentName.es, .ss, .ds, .fs, .gs] {
      state[name] = SegmentState(selector: data, limit: 0xFFFF_FFFF, access: 0xC093)
    }
    state[.cs] = code
  }

  /// One PML4, one page-directory-pointer table, four page directories. Gives the PML4's address.
  private static func identityPageTables(_ placement: inout ImagePlacement) throws(VMError) -> UInt64 {
    let base = try placement.takeLow(size: 6 * 4096, alignment: 4096, for: "page tables")
    let memory = placement.memory
    let presentWritable: UInt64 = 0x3
    let largePage: UInt64 = 0x83
    for table in 0..<UInt64(2) { memory.write(GPA(base + table * 4096), [UInt8](repeating: 0, count: 4096)) }
    memory.store(GPA(base), (base + 4096) | presentWritable)
    for gibibyte in 0..<UInt64(4) {
      let directory = base + (2 + gibibyte) * 4096
      memory.store(GPA(base + 4096 + gibibyte * 8), directory | presentWritable)
      for entry in 0..<UInt64(512) {
        let page = (gibibyte << 30) + (entry << 21)
        memory.store(GPA(directory + entry * 8), page | largePage)
      }
    }
    return base
  }
}
