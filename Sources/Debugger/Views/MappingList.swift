import VMCore
import X86

/// Consecutive linear addresses mapped to consecutive physical ones with the same rights.
package struct MappedRange: Equatable, Sendable {
  package var start: UInt64
  /// In bytes.
  package var length: UInt64
  package var physical: GPA
  package var pageSize: UInt64
  package var writable: Bool
  package var user: Bool
  package var executable: Bool

  /// The last address.
  package var last: UInt64 { start &+ (length &- 1) }
  /// `00100000-001fffff -> 00100000   4K RW SV X`.
  package var text: String {
    let digits = last > 0xFFFF_FFFF ? 16 : 8
    let size = pageSize >= 1 << 30 ? "1G" : pageSize >= 1 << 20 ? "\(pageSize >> 20)M" : "4K"
    let rights = "\(writable ? "RW" : "RO") \(user ? "US" : "SV") \(executable ? "X" : "NX")"
    let range = "\(Hex.padded(start, digits))-\(Hex.padded(last, digits))"
    return "\(range) -> \(Hex.padded(physical.value, 8))  \(size) \(rights)"
  }
}

/// Everything the guest's page tables map, coalesced. Bounded whatever the tables hold.
package struct MappingList: Equatable, Sendable {
  package private(set) var ranges: [MappedRange] = []
  package let mode: PagingMode
  /// False where a budget ended the list early.
  package private(set) var isComplete = true

  private var tablesLeft: Int
  private let maximumRanges: Int

  /// Lists at most `maximumRanges` ranges, reading at most `maximumTables` tables, from linear address `from` on.
  package init(
    _ state: VCPUState, _ memory: GuestMemory, from: UInt64 = 0, maximumRanges: Int = 1024, maximumTables: Int = 8192
  ) {
    mode = PagingMode(cr0: state.cr0, cr4: state.cr4, efer: state.efer)
    tablesLeft = maximumTables
    self.maximumRanges = maximumRanges
    guard mode != .none else {
      let all = MappedRange(
        start: 0, length: 1 << 32, physical: GPA(0), pageSize: 4096, writable: true, user: true, executable: true)
      ranges = [all]
      return
    }
    let rights = Rights(writable: true, user: true, executable: true)
    scan(PageWalk.root(mode, state.cr3), depth: 0, linear: 0, rights: rights, from: from, state, memory)
  }

  private struct Rights {
    var writable: Bool
    var user: Bool
    var executable: Bool
  }

  private mutating func scan(
    _ table: UInt64, depth: Int, linear: UInt64, rights: Rights, from: UInt64, _ state: VCPUState,
    _ memory: GuestMemory
  ) {
    guard tablesLeft > 0 else {
      isComplete = false
      return
    }
    tablesLeft -= 1
    let level = mode.levels[depth]
    let shift = level.shift(mode)
    let count: UInt64 = mode == .pae && level == .pdpte ? 4 : 1 << mode.indexBits
    for index in 0..<count where isComplete {
      let address = Self.canonical(linear | index << shift, mode)
      let end = address &+ ((1 << shift) - 1)
      guard end >= from, let entry = PageWalk.load(GPA(table &+ index &* mode.entrySize), mode, memory),
        entry & PageEntry.present != 0
      else { continue }
      let leaf = level == .pte || PageWalk.isLarge(entry, level, mode, state)
      guard PageWalk.check(entry, level, leaf, mode, state) == nil else { continue }
      let combined = Self.combine(rights, entry, level, mode, state)
      if leaf {
        add(address, entry, level, shift, combined)
      } else {
        let next = mode == .bits32 ? entry & 0xFFFF_F000 : entry & PageEntry.addressMask
        scan(next, depth: depth + 1, linear: address, rights: combined, from: from, state, memory)
      }
    }
  }

  private static func canonical(_ address: UInt64, _ mode: PagingMode) -> UInt64 {
    mode == .level4 && address >> 47 & 1 != 0 ? address | 0xFFFF_0000_0000_0000 : address
  }

  private static func combine(
    _ rights: Rights, _ entry: UInt64, _ level: PagingLevel, _ mode: PagingMode, _ state: VCPUState
  ) -> Rights {
    if mode == .pae && level == .pdpte { return rights }
    let executable = mode == .bits32 || state.efer & EFER.nxe == 0 || entry & PageEntry.noExecute == 0
    return Rights(
      writable: rights.writable && entry & PageEntry.writable != 0, user: rights.user && entry & PageEntry.user != 0,
      executable: rights.executable && executable)
  }

  private mutating func add(_ address: UInt64, _ entry: UInt64, _ level: PagingLevel, _ shift: UInt64, _ rights: Rights)
  {
    let size: UInt64 = 1 << shift
    let frame: UInt64
    if mode == .bits32, level == .pde {
      let high = (entry >> 13 & 0xFF) << 32
      frame = high | entry & 0xFFC0_0000
    } else {
      frame = (mode == .bits32 ? entry & 0xFFFF_F000 : entry & PageEntry.addressMask) & ~(size - 1)
    }
    let range = MappedRange(
      start: address, length: size, physical: GPA(frame), pageSize: size, writable: rights.writable,
      user: rights.user, executable: rights.executable)
    if let last = ranges.last, Self.joins(last, range) {
      ranges[ranges.count - 1].length &+= size
    } else if ranges.count < maximumRanges {
      ranges.append(range)
    } else {
      isComplete = false
    }
  }

  private static func joins(_ a: MappedRange, _ b: MappedRange) -> Bool {
    let adjoins = a.start &+ a.length == b.start && a.physical.value &+ a.length == b.physical.value
    let alike = a.writable == b.writable && a.user == b.user && a.executable == b.executable
    return adjoins && alike && a.pageSize == b.pageSize
  }
}
