/// How linear addresses become physical (SDM 3A 4.1.1).
package enum PagingMode: UInt8, CaseIterable, Sendable {
  case none, bits32, pae, level4

  /// From the registers that decide it.
  package init(cr0: UInt64, cr4: UInt64, efer: UInt64) {
    if cr0 & CR0.pg == 0 || cr0 & CR0.pe == 0 {
      self = .none
    } else if cr4 & CR4.pae == 0 {
      self = .bits32
    } else {
      self = efer & EFER.lma != 0 ? .level4 : .pae
    }
  }

  package var name: String {
    switch self {
    case .none: "off"
    case .bits32: "32-bit"
    case .pae: "PAE"
    case .level4: "4-level"
    }
  }

  /// The tables from CR3 down.
  package var levels: [PagingLevel] {
    switch self {
    case .none: []
    case .bits32: [.pde, .pte]
    case .pae: [.pdpte, .pde, .pte]
    case .level4: [.pml4e, .pdpte, .pde, .pte]
    }
  }

  /// In bytes.
  package var entrySize: UInt64 { self == .bits32 ? 4 : 8 }
  /// Bits of the linear address each table indexes by.
  package var indexBits: UInt64 { self == .bits32 ? 10 : 9 }
  /// Bits of linear address that are translated.
  package var linearBits: UInt64 { self == .level4 ? 48 : 32 }
}

/// One level of paging structures, named by its entries (SDM 3A 4.2).
package enum PagingLevel: UInt8, CaseIterable, Sendable {
  case pml4e, pdpte, pde, pte

  package var name: String {
    switch self {
    case .pml4e: "PML4E"
    case .pdpte: "PDPTE"
    case .pde: "PDE"
    case .pte: "PTE"
    }
  }

  /// The lowest linear-address bit an entry of this level translates: what an entry of it maps is 2 to this.
  package func shift(_ mode: PagingMode) -> UInt64 {
    switch self {
    case .pte: 12
    case .pde: mode == .bits32 ? 22 : 21
    case .pdpte: 30
    case .pml4e: 39
    }
  }
}

/// A paging-structure entry's bits (SDM 3A tables 4-5 to 4-20).
package enum PageEntry {
  package static let present: UInt64 = 1 << 0
  package static let writable: UInt64 = 1 << 1
  package static let user: UInt64 = 1 << 2
  package static let writeThrough: UInt64 = 1 << 3
  package static let cacheDisable: UInt64 = 1 << 4
  package static let accessed: UInt64 = 1 << 5
  package static let dirty: UInt64 = 1 << 6
  package static let large: UInt64 = 1 << 7
  package static let global: UInt64 = 1 << 8
  package static let noExecute: UInt64 = 1 << 63
  /// Bits 51:12.
  package static let addressMask: UInt64 = 0x000F_FFFF_FFFF_F000

  package static let bits: [BitName] = [
    BitName(0, "p", "present"), BitName(1, "rw", "writable"), BitName(2, "us", "ring 3 may access"),
    BitName(3, "pwt", "write-through"), BitName(4, "pcd", "cache disabled"), BitName(5, "a", "accessed"),
    BitName(6, "d", "dirty"), BitName(7, "ps", "large page (PAT in a PTE)"), BitName(8, "g", "global"),
    BitName(63, "nx", "no execute"),
  ]

  /// The flags in words: `P RW US A D PS G NX`, absent ones left out; `not present` where P is clear.
  /// `leaf` entries have D and G, `pte` ones PAT in place of PS.
  package static func text(_ entry: UInt64, leaf: Bool, pte: Bool) -> String {
    guard entry & present != 0 else { return "not present" }
    var words = ["P", entry & writable != 0 ? "RW" : "RO", entry & user != 0 ? "US" : "SV"]
    if entry & writeThrough != 0 { words.append("PWT") }
    if entry & cacheDisable != 0 { words.append("PCD") }
    if entry & accessed != 0 { words.append("A") }
    if leaf, entry & dirty != 0 { words.append("D") }
    if entry & large != 0 { words.append(pte ? "PAT" : "PS") }
    if leaf, entry & global != 0 { words.append("G") }
    if entry & noExecute != 0 { words.append("NX") }
    return words.joined(separator: " ")
  }
}
