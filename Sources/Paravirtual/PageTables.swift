import VMCore
import X86

/// The domain's page tables and what keeps them safe: every frame has a type, counted by what refers to it, so that
/// no page is a table and writable at once, and tables refer only to the domain's own frames.
///
/// Reads go straight to guest memory by host address, within one frame whose number was checked; writes go by
/// `GuestMemory`, which tells the engine.
package final class PageTables {
  let memory: GuestMemory
  package let layout: MachineLayout
  package internal(set) var frames: [Frame]
  /// Nothing is checked or counted: what isolation costs, and what it prevents. A frame's type then says what the guest
  /// used it as last.
  package var isTrusting = false
  /// A frame that was writable became a table: no cached translation may be believed any more.
  var needsFlush = false
  /// An entry of a PAE L3 changed, which processors keep in registers of their own.
  var needsRootReload = false
  private var abi: GuestABI { layout.abi }
  package internal(set) var costs = IsolationCosts()

  init(memory: GuestMemory, layout: MachineLayout) {
    precondition(memory.ramSize >= layout.frameCount << 12, "there is memory behind every machine frame")
    self.memory = memory
    self.layout = layout
    frames = Array(repeating: Frame(), count: Int(layout.frameCount))
    reset()
  }

  /// Every frame as before the domain was built.
  func reset() {
    costs = IsolationCosts()
    for mfn in frames.indices {
      frames[mfn] = Frame()
      if UInt64(mfn) >= layout.firstDomainFrame { frames[mfn].owner = .domain }
    }
    var shared = Frame()
    shared.owner = .shared
    shared.type = .writable
    shared.count = 1
    for mfn in layout.sharedFrames { frames[Int(mfn)] = shared }
    needsFlush = true
  }

  // MARK: Entries

  func entry(_ mfn: UInt64, _ index: Int) -> UInt64 {
    guard let page = memory.hostPage(GPA(mfn << 12)) else { return 0 }
    return UInt64(littleEndian: page.host.load(fromByteOffset: index & 511 &* 8, as: UInt64.self))
  }

  func setEntry(_ mfn: UInt64, _ index: Int, _ value: UInt64) {
    memory.store(GPA(mfn << 12 | UInt64(index & 511) << 3), value)
  }

  package func frame(_ mfn: UInt64) -> Frame? { mfn < layout.frameCount ? frames[Int(mfn)] : nil }

  // MARK: Types

  /// Takes a reference to `mfn` as `type`, validating a table that was none.
  func take(_ mfn: UInt64, as type: FrameType) throws(XenError) {
    if isTrusting { return adopt(mfn, type) }
    guard mfn < layout.frameCount else { throw .perm }
    costs.references &+= 1
    let frame = frames[Int(mfn)]
    guard frame.owner != .monitor else { throw .busy }
    if frame.count > 0 {
      guard frame.type == type else { throw .invalid }
      guard frame.count < .max else { throw .busy }
      frames[Int(mfn)].count += 1
      return
    }
    if frame.type == .writable, type != .writable { needsFlush = true }
    frames[Int(mfn)].type = type
    frames[Int(mfn)].count = 1
    do throws(XenError) {
      try validate(mfn, type)
    } catch {
      frames[Int(mfn)].count = 0
      frames[Int(mfn)].type = frame.type
      throw error
    }
  }

  /// Gives a reference back; a table without any is one no longer.
  func release(_ mfn: UInt64) {
    if isTrusting { return }
    guard mfn < layout.frameCount, frames[Int(mfn)].count > 0 else { return }
    frames[Int(mfn)].count -= 1
    guard frames[Int(mfn)].count == 0 else { return }
    let type = frames[Int(mfn)].type
    guard type != .writable else { return }
    frames[Int(mfn)].type = .none
    if type.level > 0 { dismantle(mfn, type, count: entryCount(type)) }
  }

  private func validate(_ mfn: UInt64, _ type: FrameType) throws(XenError) {
    switch type {
    case .none, .writable: return
    case .descriptors: try validateDescriptors(mfn)
    case .l1, .l2, .l2Top, .l3, .l4: try validateTable(mfn, type)
    }
  }

  /// Entries a table has: a PAE L3 has four, whatever else its page holds.
  private func entryCount(_ type: FrameType) -> Int { type == .l3 && abi.is32Bit ? 4 : 512 }

  /// What an entry of a table refers to; `none` for a page of any kind.
  package func child(of type: FrameType, at index: Int) -> FrameType {
    switch type {
    case .l4: .l3
    case .l3: abi.is32Bit && index == 3 ? .l2Top : .l2
    case .l2, .l2Top: .l1
    case .none, .writable, .l1, .descriptors: .none
    }
  }

  /// Every entry of a table to be: the references they need, all or none.
  private func validateTable(_ mfn: UInt64, _ type: FrameType) throws(XenError) {
    costs.tables &+= 1
    costs.entries &+= UInt64(entryCount(type))
    for index in 0..<entryCount(type) {
      guard !Self.isReserved(type, index) else { continue }
      let old = entry(mfn, index)
      do throws(XenError) {
        // The monitor is in every address space: behind the fourth entry of a PAE L3.
        if abi.is32Bit, type == .l3, index == 3, old & XenABI.present == 0 { throw .invalid }
        guard old & XenABI.present != 0 else { continue }
        let adjusted = try acquire(old, of: type, at: index)
        if adjusted != old { setEntry(mfn, index, adjusted) }
      } catch {
        dismantle(mfn, type, count: index)
        throw error
      }
    }
    installReservedSlots(mfn, type)
  }

  /// Gives back what the first `count` entries hold.
  private func dismantle(_ mfn: UInt64, _ type: FrameType, count: Int) {
    for index in 0..<count where !Self.isReserved(type, index) {
      drop(entry(mfn, index), level: type.level)
    }
  }

  /// The monitor's own entries: L4 slots 256 to 271, or the end of a 32-bit guest's last L2.
  static func isReserved(_ type: FrameType, _ index: Int) -> Bool {
    switch type {
    case .l4: index >= XenABI.firstReservedSlot && index <= XenABI.lastReservedSlot
    case .l2Top: index >= XenABI.firstReservedL2Slot
    default: false
    }
  }

  /// The monitor's part of a table that has one.
  private func installReservedSlots(_ mfn: UInt64, _ type: FrameType) {
    switch type {
    case .l4:
      for index in XenABI.firstReservedSlot...XenABI.lastReservedSlot {
        setEntry(mfn, index, layout.reservedEntry(index))
      }
    case .l2Top:
      for index in XenABI.firstReservedL2Slot..<512 { setEntry(mfn, index, layout.reservedEntry(index)) }
    default: break
    }
  }

  // MARK: References of entries

  /// The references the entry at `index` of a table needs; gives the entry as it is to be written.
  func acquire(_ entry: UInt64, of type: FrameType, at index: Int) throws(XenError) -> UInt64 {
    guard entry & XenABI.present != 0 else { return entry }
    let adjusted = abi.is32Bit ? entry : adjustedFor64(entry, type)
    if isTrusting {
      if type.level > 1 { adopt(XenABI.frame(entry), child(of: type, at: index)) }
      return adjusted
    }
    guard entry & disallowed(in: type) == 0 else { throw .invalid }
    let mfn = XenABI.frame(entry)
    guard type == .l1 else {
      try take(mfn, as: child(of: type, at: index))
      return adjusted
    }
    guard mfn < layout.frameCount else { throw .perm }
    guard frames[Int(mfn)].owner != .monitor else { throw .busy }
    if entry & XenABI.writable != 0 { try take(mfn, as: .writable) }
    return adjusted
  }

  /// Ring 3 is the kernel's ring too: every page is a user page.
  private func adjustedFor64(_ entry: UInt64, _ type: FrameType) -> UInt64 {
    if entry & XenABI.user != 0 { return entry }
    return entry | XenABI.user | (type == .l1 ? XenABI.guestKernel : 0)
  }

  /// Global pages everywhere, and above L1 large pages and cache attributes; in PAE what the processor reserves.
  private func disallowed(in type: FrameType) -> UInt64 {
    let common: UInt64 = type == .l1 ? XenABI.global : 0x198
    guard abi.is32Bit else { return common }
    return common | (type == .l3 ? XenABI.reservedInL3 : XenABI.reservedInPAE)
  }

  /// A table of a guest that is trusted: it gets what a guest cannot know of, once.
  private func adopt(_ mfn: UInt64, _ type: FrameType) {
    guard type.level > 0, mfn < layout.frameCount, frames[Int(mfn)].owner == .domain, frames[Int(mfn)].type != type else {
      return
    }
    frames[Int(mfn)].type = type
    for index in 0..<entryCount(type) where !Self.isReserved(type, index) {
      let old = entry(mfn, index)
      guard let new = try? acquire(old, of: type, at: index), new != old else { continue }
      setEntry(mfn, index, new)
    }
    installReservedSlots(mfn, type)
  }

  /// Gives back what an entry that goes away holds.
  func drop(_ entry: UInt64, level: Int) {
    guard entry & XenABI.present != 0, level > 1 || entry & XenABI.writable != 0 else { return }
    release(XenABI.frame(entry))
  }

  /// Replaces an entry of a table in use, or refuses and changes nothing.
  func update(_ mfn: UInt64, _ index: Int, to value: UInt64, preservingUse: Bool = false) throws(XenError) {
    guard mfn < layout.frameCount else { throw .invalid }
    let known = frames[Int(mfn)].type
    let type = isTrusting && known.level == 0 ? .l1 : known
    guard type.level > 0, !Self.isReserved(type, index), !isFixed(type, index) else { throw .invalid }
    let old = entry(mfn, index)
    var new = value
    if preservingUse { new |= old & (XenABI.accessed | XenABI.dirty) }
    costs.updates &+= 1
    let adjusted = try acquire(new, of: type, at: index)
    setEntry(mfn, index, adjusted)
    drop(old, level: type.level)
    if abi.is32Bit, type == .l3 || isTrusting { needsRootReload = true }
  }

  /// The fourth entry of a PAE L3 leads to the monitor, and stays what it was validated as; there is no fifth.
  private func isFixed(_ type: FrameType, _ index: Int) -> Bool { abi.is32Bit && type == .l3 && index >= 3 }

  /// MMUEXT_PIN_Ln_TABLE: the frame stays a table although nothing refers to it.
  func pin(_ mfn: UInt64, as type: FrameType) throws(XenError) {
    guard mfn < layout.frameCount, frames[Int(mfn)].owner == .domain else { throw .invalid }
    guard !frames[Int(mfn)].isPinned else { throw .invalid }
    try take(mfn, as: type)
    frames[Int(mfn)].isPinned = true
  }

  func unpin(_ mfn: UInt64) throws(XenError) {
    guard mfn < layout.frameCount, frames[Int(mfn)].owner == .domain, frames[Int(mfn)].isPinned else { throw .invalid }
    frames[Int(mfn)].isPinned = false
    if isTrusting { frames[Int(mfn)].type = .none }
    release(mfn)
  }

  // MARK: Walks

  /// The L1 table and index that map `address` under `root`; nil where a table is missing on the way.
  func leaf(_ address: UInt64, root: UInt64) -> (mfn: UInt64, index: Int, writable: Bool)? {
    var table = root
    var writable = true
    var level = abi.levels
    while level > 1 {
      // The four entries of a PAE L3 have no rights (SDM 3A 4.4.1).
      let hasRights = level != 3 || !abi.is32Bit
      let index = Int(truncatingIfNeeded: address >> UInt64(3 + 9 * level)) & (hasRights ? 511 : 3)
      let entry = entry(table, index)
      guard entry & XenABI.present != 0, entry & XenABI.large == 0 || level == 4 else { return nil }
      if hasRights { writable = writable && entry & XenABI.writable != 0 }
      table = XenABI.frame(entry)
      guard table < layout.frameCount else { return nil }
      level -= 1
    }
    return (table, Int(truncatingIfNeeded: address >> 12) & 511, writable)
  }

  /// Where a guest's pointer leads, by the guest's own rights; nil where the guest itself would fault.
  func translate(_ address: UInt64, root: UInt64, write: Bool) -> GPA? {
    guard abi.isGuestAddress(address), let leaf = leaf(address, root: root) else { return nil }
    let entry = entry(leaf.mfn, leaf.index)
    guard entry & XenABI.present != 0, entry & XenABI.user != 0 || abi.is32Bit else { return nil }
    guard !write || leaf.writable && entry & XenABI.writable != 0 else { return nil }
    let used = entry | XenABI.accessed | (write ? XenABI.dirty : 0)
    if used != entry { setEntry(leaf.mfn, leaf.index, used) }
    guard XenABI.frame(entry) < layout.frameCount else { return nil }
    return GPA(entry & XenABI.addressMask | address & 0xFFF)
  }
}
