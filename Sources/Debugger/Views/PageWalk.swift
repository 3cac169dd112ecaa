import VMCore
import X86

/// Why a walk gave no physical address.
package enum PageWalkFault: Equatable, Sendable {
  case notPresent(PagingLevel)
  /// A bit the format reserves is set.
  case reservedBit(PagingLevel)
  /// Not canonical in 4-level paging.
  case nonCanonical
  /// The table itself lies where there is no memory.
  case noMemory(PagingLevel)
  /// The walk succeeds, the access would not.
  case forbidden(String)

  package var text: String {
    switch self {
    case .notPresent(let level): "\(level.name) not present"
    case .reservedBit(let level): "\(level.name) has a reserved bit set"
    case .nonCanonical: "address is not canonical"
    case .noMemory(let level): "no memory behind the table of the \(level.name)"
    case .forbidden(let why): why
    }
  }
}

/// One step of a walk: an entry as it stands in memory.
package struct PageWalkStep: Equatable, Sendable {
  package var level: PagingLevel
  package var index: UInt64
  package var entryAddress: GPA
  package var entry: UInt64
  /// The entry maps a page (of any size) and ends the walk.
  package var isLeaf: Bool
  /// `P RW US A D PS`.
  package var flags: String { PageEntry.text(entry, leaf: isLeaf, pte: level == .pte) }
  /// `PDE[003] @00001018 = 0000000000200083  P RW SV A PS`.
  package var text: String {
    let place = "\(level.name)[\(Hex.padded(index, 3))] @\(Hex.padded(entryAddress.value, 8))"
    return "\(place) = \(Hex.padded(entry, 16))  \(flags)"
  }
}

/// The translation of one linear address through the guest's tables as they are now, without side effects: no
/// TLB, no accessed or dirty bits written (SDM 3A 4.3, 4.4, 4.5).
package struct PageWalk: Equatable, Sendable {
  package var address: GVA
  package var mode: PagingMode
  package var cr3: UInt64
  package var steps: [PageWalkStep] = []
  /// Set where the walk succeeded.
  package var result: GPA?
  package var fault: PageWalkFault?
  /// Size of the page mapped, in bytes; 0 without one.
  package var pageSize: UInt64 = 0
  /// Rights of all levels together; all true without paging.
  package var writable = true
  package var user = true
  package var executable = true

  /// Walks for `address`. Never throws, whatever the tables hold: a walk has at most four steps. Without
  /// `keepsSteps` only the outcome is kept, which is several times cheaper.
  package init(_ address: GVA, state: VCPUState, memory: GuestMemory, keepsSteps: Bool = true) {
    mode = PagingMode(cr0: state.cr0, cr4: state.cr4, efer: state.efer)
    self.address = address
    cr3 = state.cr3
    guard mode != .none else {
      result = GPA(address.value & 0xFFFF_FFFF)
      return
    }
    let upper = Int64(bitPattern: address.value) >> 47
    if mode == .level4, upper != 0, upper != -1 {
      fault = .nonCanonical
      return
    }
    walk(state, memory, keepsSteps)
  }

  private mutating func walk(_ state: VCPUState, _ memory: GuestMemory, _ keepsSteps: Bool) {
    var table = Self.root(mode, cr3)
    for level in mode.levels {
      let shift = level.shift(mode)
      let bits = mode == .pae && level == .pdpte ? 2 : mode.indexBits
      let index = address.value >> shift & ((1 << bits) - 1)
      let place = GPA(table &+ index &* mode.entrySize)
      guard let entry = Self.load(place, mode, memory) else {
        fault = .noMemory(level)
        return
      }
      let leaf = level == .pte || Self.isLarge(entry, level, mode, state)
      if keepsSteps {
        steps.append(PageWalkStep(level: level, index: index, entryAddress: place, entry: entry, isLeaf: leaf))
      }
      if let problem = Self.check(entry, level, leaf, mode, state) {
        fault = problem
        return
      }
      addRights(entry, level, state)
      if leaf {
        finish(entry, level, shift)
        return
      }
      table = mode == .bits32 ? entry & 0xFFFF_F000 : entry & PageEntry.addressMask
    }
  }

  private mutating func finish(_ entry: UInt64, _ level: PagingLevel, _ shift: UInt64) {
    pageSize = 1 << shift
    let offset = address.value & (pageSize - 1)
    if mode == .bits32, level == .pde {
      // PSE-36: bits 20:13 of the entry are bits 39:32 of the address (SDM 3A table 4-4).
      let high = (entry >> 13 & 0xFF) << 32
      result = GPA(high | entry & 0xFFC0_0000 | offset)
    } else {
      let frame = mode == .bits32 ? entry & 0xFFFF_F000 : entry & PageEntry.addressMask
      result = GPA(frame & ~(pageSize - 1) | offset)
    }
  }

  private mutating func addRights(_ entry: UInt64, _ level: PagingLevel, _ state: VCPUState) {
    // A PDPTE of PAE paging has no rights (SDM 3A 4.4.1).
    if mode == .pae && level == .pdpte { return }
    if entry & PageEntry.writable == 0 { writable = false }
    if entry & PageEntry.user == 0 { user = false }
    if mode != .bits32, state.efer & EFER.nxe != 0, entry & PageEntry.noExecute != 0 { executable = false }
  }

  /// The first table.
  static func root(_ mode: PagingMode, _ cr3: UInt64) -> UInt64 {
    switch mode {
    case .pae: cr3 & 0xFFFF_FFE0
    case .bits32: cr3 & 0xFFFF_F000
    default: cr3 & PageEntry.addressMask
    }
  }

  static func load(_ place: GPA, _ mode: PagingMode, _ memory: GuestMemory) -> UInt64? {
    if mode == .bits32 { return memory.load(place, as: UInt32.self).map { UInt64($0) } }
    return memory.load(place, as: UInt64.self)
  }

  static func isLarge(_ entry: UInt64, _ level: PagingLevel, _ mode: PagingMode, _ state: VCPUState) -> Bool {
    guard entry & PageEntry.large != 0 else { return false }
    switch level {
    case .pde: return mode != .bits32 || state.cr4 & CR4.pse != 0
    case .pdpte: return mode == .level4
    default: return false
    }
  }

  static func check(
    _ entry: UInt64, _ level: PagingLevel, _ leaf: Bool, _ mode: PagingMode, _ state: VCPUState
  ) -> PageWalkFault? {
    if entry & PageEntry.present == 0 { return .notPresent(level) }
    if mode == .bits32 { return leaf && level == .pde && entry & (1 << 21) != 0 ? .reservedBit(level) : nil }
    if entry & PageEntry.noExecute != 0, state.efer & EFER.nxe == 0 { return .reservedBit(level) }
    if level == .pml4e, entry & PageEntry.large != 0 { return .reservedBit(level) }
    if mode == .pae, level == .pdpte, entry & 0x1E6 != 0 { return .reservedBit(level) }
    if leaf, level != .pte {
      let low = (1 << level.shift(mode)) - UInt64(1)
      let reserved = low & ~UInt64(0x1FFF)
      if entry & reserved != 0 { return .reservedBit(level) }
    }
    return nil
  }

  /// What would stop an access by code at `cpl`; nil if nothing would (SDM 3A 4.6).
  package func obstacle(write: Bool, execute: Bool, cpl: UInt8, state: VCPUState) -> PageWalkFault? {
    if let fault { return fault }
    guard mode != .none else { return nil }
    if execute, !executable { return .forbidden("page is no-execute") }
    if cpl == 3 {
      if !user { return .forbidden("page is for the supervisor only") }
      return write && !writable ? .forbidden("page is read-only") : nil
    }
    if execute, user, state.cr4 & CR4.smep != 0 { return .forbidden("SMEP: ring 0 may not execute a user page") }
    let smapClosed = state.cr4 & CR4.smap != 0 && state.rflags & RFLAGS.ac == 0
    if !execute, user, smapClosed { return .forbidden("SMAP: ring 0 may not access a user page") }
    return write && !writable && state.cr0 & CR0.wp != 0 ? .forbidden("page is read-only (CR0.WP)") : nil
  }

  /// The whole walk as lines: CR3, one per level, the outcome.
  package var lines: [String] {
    let from = "linear \(Hex.padded(address.value, mode == .level4 ? 16 : 8))"
    guard mode != .none else {
      return ["\(from): paging off, physical \(Hex.padded(result?.value ?? 0, 8))"]
    }
    var lines = ["\(from), \(mode.name) paging, CR3 \(Hex.padded(cr3, 8))"]
    lines += steps.map { "  " + $0.text }
    if let result {
      let rights = "\(writable ? "writable" : "read-only"), \(user ? "user" : "supervisor")"
      let execute = executable ? "" : ", no-execute"
      lines.append("  -> physical \(Hex.padded(result.value, 8)), \(sizeText) page, \(rights)\(execute)")
    } else if let fault {
      lines.append("  -> page fault: \(fault.text)")
    }
    return lines
  }

  private var sizeText: String {
    pageSize >= 1 << 30
      ? "\(pageSize >> 30) GiB" : pageSize >= 1 << 20 ? "\(pageSize >> 20) MiB" : "\(pageSize >> 10) KiB"
  }
}
