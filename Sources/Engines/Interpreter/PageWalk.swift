import VMCore
import X86

/// Physical addresses have 40 bits, linear ones 48.
enum AddressWidth {
  static let physical: UInt64 = 40
  static let physicalMask: UInt64 = (1 << 40) - 1

  /// Bits 63:47 are all equal.
  static func isCanonical(_ linear: UInt64) -> Bool {
    UInt64(bitPattern: Int64(bitPattern: linear << 16) >> 16) == linear
  }
}

/// Bits of paging-structure entries (SDM 3A tables 4-4 to 4-20).
enum PageEntry {
  static let present: UInt64 = 1 << 0
  static let writable: UInt64 = 1 << 1
  static let user: UInt64 = 1 << 2
  static let accessed: UInt64 = 1 << 5
  static let dirty: UInt64 = 1 << 6
  static let large: UInt64 = 1 << 7
  static let global: UInt64 = 1 << 8
  static let noExecute: UInt64 = 1 << 63
  static let addressMask: UInt64 = AddressWidth.physicalMask & ~0xFFF
  static let reservedInPDPTE: UInt64 = ~AddressWidth.physicalMask | 0x1E6
}

/// What the page tables say of one linear address, before anybody asks for a permission.
struct PageWalk {
  /// `extended`: extended page tables do not let the walk read one of its entries.
  enum Outcome { case mapped, notPresent, reserved, extended }
  var outcome = Outcome.mapped
  var gpa: UInt64 = 0
  /// The conjunction over all levels.
  var user = true
  var writable = true
  /// The disjunction over all levels.
  var noExecute = false
  var global = false
  var large = false
  /// Of 1 GiB.
  var huge = false
  var dirty = false
  /// Every entry used has A set.
  var accessed = true
  /// Guest-physical addresses of the entries used, the leaf last.
  var entries = InlineArray<4, UInt64>(repeating: 0)
  var count = 0
  /// 4 or 8 bytes.
  var entrySize = 8
  /// With EPT: the walk of the entry that stopped this one, or that may not be written, and its address.
  var extended = EPTWalk()
  var extendedAddress: UInt64 = 0
  /// An entry lies where EPT forbids writing.
  var hasReadOnlyEntry = false
}

extension UnsafeMutablePointer<CPU> {
  /// Reads an entry of a paging structure; where no memory is, the bus floats to all ones.
  func pageTableEntry(_ gpa: UInt64, _ size: Int) -> UInt64 {
    guard let page = hostPage(gpa) else { return size == 4 ? 0xFFFF_FFFF : .max }
    let offset = Int(gpa & 0xFFF)
    if size == 4 { return UInt64(page.host.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
    return page.host.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
  }

  /// Walks the page tables in force without touching them (SDM 3A 4.3 to 4.5).
  func readPageTables(_ linear: UInt64) -> PageWalk {
    var walk = PageWalk()
    if pointee.cr0 & CR0.pg == 0 {
      walk.gpa = linear & 0xFFFF_FFFF
      walk.dirty = true
      return walk
    }
    if pointee.efer & EFER.lma != 0 {
      descend(&walk, linear, table: pointee.cr3 & PageEntry.addressMask, level: 4)
    } else if pointee.cr4 & CR4.pae != 0 {
      let pointer = pointee.paging.pdpte[Int(linear >> 30 & 3)]
      if pointer & PageEntry.present == 0 {
        walk.outcome = .notPresent
      } else {
        descend(&walk, linear, table: pointer & PageEntry.addressMask, level: 2)
      }
    } else {
      descend32(&walk, linear)
    }
    return walk
  }

  /// PAE and 4-level paging: entries of 8 bytes, 9 bits a level.
  private func descend(_ walk: inout PageWalk, _ linear: UInt64, table: UInt64, level top: Int) {
    let long = top == 4
    var reserved: UInt64 = 0x000F_FFFF_FFFF_FFFF & ~AddressWidth.physicalMask
    if pointee.efer & EFER.nxe == 0 { reserved |= PageEntry.noExecute }
    if !long { reserved |= 0x7FF0_0000_0000_0000 }
    var table = table
    var level = top
    while true {
      let shift = UInt64(3 + 9 * level)
      let address = table + (linear >> shift & 0x1FF) * 8
      guard let at = throughEPT(&walk, address) else { return }
      let entry = pageTableEntry(at, 8)
      guard entry & PageEntry.present != 0 else {
        walk.outcome = .notPresent
        return
      }
      let leaf = level == 1 || (entry & PageEntry.large != 0 && level <= 3)
      var bad = reserved
      if level == 4 { bad |= PageEntry.large }
      let offsetMask: UInt64 = (1 << shift) - 1
      if leaf && level > 1 { bad |= offsetMask & ~0x1FFF }
      guard entry & bad == 0 else {
        walk.outcome = .reserved
        return
      }
      note(&walk, entry, at: at)
      if leaf {
        finish(&walk, entry, large: level > 1)
        walk.huge = level > 2
        walk.gpa = (entry & PageEntry.addressMask & ~offsetMask) | (linear & offsetMask)
        return
      }
      table = entry & PageEntry.addressMask
      level -= 1
    }
  }

  /// 32-bit paging with 4 KiB and, by CR4.PSE, 4 MiB pages (PSE-36: address bits 39:32 in 20:13).
  private func descend32(_ walk: inout PageWalk, _ linear: UInt64) {
    walk.entrySize = 4
    guard let directory = throughEPT(&walk, (pointee.cr3 & 0xFFFF_F000) + (linear >> 22 & 0x3FF) * 4) else { return }
    let pde = pageTableEntry(directory, 4)
    guard pde & PageEntry.present != 0 else {
      walk.outcome = .notPresent
      return
    }
    if pde & PageEntry.large != 0 && pointee.cr4 & CR4.pse != 0 {
      guard pde & (1 << 21) == 0 else {
        walk.outcome = .reserved
        return
      }
      note(&walk, pde, at: directory)
      finish(&walk, pde, large: true)
      let high = pde >> 13 & 0xFF
      walk.gpa = high << 32 | pde & 0xFFC0_0000 | linear & 0x3F_FFFF
      return
    }
    note(&walk, pde, at: directory)
    guard let address = throughEPT(&walk, (pde & 0xFFFF_F000) + (linear >> 12 & 0x3FF) * 4) else { return }
    let pte = pageTableEntry(address, 4)
    guard pte & PageEntry.present != 0 else {
      walk.outcome = .notPresent
      return
    }
    note(&walk, pte, at: address)
    finish(&walk, pte, large: false)
    walk.gpa = pte & 0xFFFF_F000 | linear & 0xFFF
  }

  /// Where an entry of a paging structure really lies; nil, with the outcome set, where EPT does not say.
  @inline(__always)
  private func throughEPT(_ walk: inout PageWalk, _ gpa: UInt64) -> UInt64? {
    pointee.vmx.eptPointer == 0 ? gpa : entryThroughEPT(&walk, gpa)
  }
  private func entryThroughEPT(_ walk: inout PageWalk, _ gpa: UInt64) -> UInt64? {
    let extended = readEPT(gpa)
    let isReadable = extended.outcome == .mapped && extended.rights & 1 != 0
    if !isReadable || (extended.rights & 2 == 0 && !walk.hasReadOnlyEntry) {
      walk.extended = extended
      walk.extendedAddress = gpa
    }
    guard isReadable else {
      walk.outcome = .extended
      return nil
    }
    if extended.rights & 2 == 0 { walk.hasReadOnlyEntry = true }
    return extended.address
  }

  private func note(_ walk: inout PageWalk, _ entry: UInt64, at address: UInt64) {
    walk.entries[walk.count] = address
    walk.count += 1
    if entry & PageEntry.user == 0 { walk.user = false }
    if entry & PageEntry.writable == 0 { walk.writable = false }
    if walk.entrySize == 8 && entry & PageEntry.noExecute != 0 { walk.noExecute = true }
    if entry & PageEntry.accessed == 0 { walk.accessed = false }
  }

  private func finish(_ walk: inout PageWalk, _ leaf: UInt64, large: Bool) {
    walk.large = large
    walk.dirty = leaf & PageEntry.dirty != 0
    walk.global = leaf & PageEntry.global != 0 && pointee.cr4 & CR4.pge != 0
  }

  /// The guest-physical address behind a linear one by the present page tables: no permission asked, no
  /// A or D bit set, no fault. For debuggers.
  func translateQuietly(_ linear: UInt64) -> UInt64? {
    if pointee.efer & EFER.lma != 0 && !AddressWidth.isCanonical(linear) { return nil }
    let walk = readPageTables(pointee.efer & EFER.lma != 0 ? linear : linear & 0xFFFF_FFFF)
    guard walk.outcome == .mapped else { return nil }
    let extended = readEPT(walk.gpa)
    return extended.outcome == .mapped ? extended.address : nil
  }

  /// Sets A in every entry used and, for a write, D in the leaf. Throws before the first change where an
  /// entry lies in the running block's own code.
  func markUsed(_ walk: inout PageWalk, linear: UInt64, write: Bool) throws(Stop) {
    if walk.accessed && (walk.dirty || !write) { return }
    if walk.hasReadOnlyEntry {
      // Setting A and D reads and writes the entry: reported as both.
      throw eptExit(walk.extended, walk.extendedAddress, linear: linear, needs: 3, final: false)
    }
    for i in 0..<walk.count { try beforeWrite(walk.entries[i], walk.entrySize) }
    for i in 0..<walk.count {
      let last = i == walk.count - 1
      let bits = last && write ? PageEntry.accessed | PageEntry.dirty : PageEntry.accessed
      let entry = pageTableEntry(walk.entries[i], walk.entrySize)
      guard entry & bits != bits else { continue }
      guard let page = hostPage(walk.entries[i]), page.writable else { continue }
      codeWritten(walk.entries[i], walk.entrySize)
      page.host.storeBytes(
        of: UInt8(truncatingIfNeeded: entry | bits), toByteOffset: Int(walk.entries[i] & 0xFFF), as: UInt8.self)
    }
    walk.accessed = true
    if write { walk.dirty = true }
  }

  /// Loads the four PDPTEs of PAE paging from memory at CR3 (SDM 3A 4.4.1): false, and nothing loaded,
  /// if a present one has a reserved bit set. Leaves for the monitor where EPT does not let them be read.
  func loadPDPTEs(from cr3: UInt64) throws(Stop) -> Bool {
    let reserved = PageEntry.reservedInPDPTE
    var loaded = InlineArray<4, UInt64>(repeating: 0)
    for i in 0..<4 {
      let address = (cr3 & 0xFFFF_FFE0) + UInt64(i) * 8
      let extended = readEPT(address)
      guard extended.outcome == .mapped, extended.rights & 1 != 0 else {
        throw eptExit(extended, address, linear: nil, needs: 1, final: false)
      }
      let entry = pageTableEntry(extended.address, 8)
      if entry & PageEntry.present != 0 && entry & reserved != 0 { return false }
      loaded[i] = entry
    }
    pointee.paging.pdpte = loaded
    return true
  }
}
