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
  /// Nothing is checked or counted: what isolation costs, and what it prevents.
  package var isTrusting = false
  /// A frame that was writable became a table: no cached translation may be believed any more.
  var needsFlush = false

  init(memory: GuestMemory, layout: MachineLayout) {
    precondition(memory.ramSize >= layout.frameCount << 12, "there is memory behind every machine frame")
    self.memory = memory
    self.layout = layout
    frames = Array(repeating: Frame(), count: Int(layout.frameCount))
    reset()
  }

  /// Every frame as before the domain was built.
  func reset() {
    for mfn in frames.indices {
      frames[mfn] = Frame()
      if UInt64(mfn) >= layout.firstDomainFrame { frames[mfn].owner = .domain }
    }
    var shared = Frame()
    shared.owner = .shared
    shared.type = .writable
    shared.count = 1
    frames[Int(layout.sharedInfo)] = shared
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
    if isTrusting {
      if type == .l4 { installReservedSlots(mfn) }
      return
    }
    guard mfn < layout.frameCount else { throw .perm }
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
    if type.level > 0 { dismantle(mfn, level: type.level, count: 512) }
  }

  private func validate(_ mfn: UInt64, _ type: FrameType) throws(XenError) {
    switch type {
    case .none, .writable: return
    case .descriptors: try validateDescriptors(mfn)
    case .l1, .l2, .l3, .l4: try validateTable(mfn, level: type.level)
    }
  }

  /// Every entry of a table to be: the references they need, all or none.
  private func validateTable(_ mfn: UInt64, level: Int) throws(XenError) {
    for index in 0..<512 {
      if level == 4, Self.isReserved(index) { continue }
      let old = entry(mfn, index)
      guard old & XenABI.present != 0 else { continue }
      do throws(XenError) {
        let adjusted = try acquire(old, level: level)
        if adjusted != old { setEntry(mfn, index, adjusted) }
      } catch {
        dismantle(mfn, level: level, count: index)
        throw error
      }
    }
    if level == 4 { installReservedSlots(mfn) }
  }

  /// Gives back what the first `count` entries hold.
  private func dismantle(_ mfn: UInt64, level: Int, count: Int) {
    for index in 0..<count {
      if level == 4, Self.isReserved(index) { continue }
      drop(entry(mfn, index), level: level)
    }
  }

  static func isReserved(_ index: Int) -> Bool {
    index >= XenABI.firstReservedSlot && index <= XenABI.lastReservedSlot
  }

  /// The monitor's part of an L4 table.
  private func installReservedSlots(_ mfn: UInt64) {
    let flags = XenABI.present | XenABI.writable | XenABI.accessed | XenABI.dirty
    for index in XenABI.firstReservedSlot...XenABI.lastReservedSlot {
      var value: UInt64 = 0
      if index == XenABI.firstReservedSlot { value = layout.machineL3 << 12 | flags | XenABI.user }
      if index == XenABI.perDomainSlot { value = layout.perDomainL3 << 12 | flags }
      setEntry(mfn, index, value)
    }
  }

  // MARK: References of entries

  /// The references an entry needs; gives the entry as it is to be written.
  func acquire(_ entry: UInt64, level: Int) throws(XenError) -> UInt64 {
    guard entry & XenABI.present != 0 else { return entry }
    var adjusted = entry
    if level == 1 {
      if entry & XenABI.user == 0 { adjusted |= XenABI.user | XenABI.guestKernel }
    } else {
      adjusted |= XenABI.user
    }
    if isTrusting { return adjusted }
    // Global pages everywhere, and above L1 large pages and cache attributes.
    let disallowed: UInt64 = level == 1 ? XenABI.global : 0x198
    guard entry & disallowed == 0 else { throw .invalid }
    let mfn = XenABI.frame(entry)
    guard level == 1 else {
      try take(mfn, as: .table(level - 1))
      return adjusted
    }
    guard mfn < layout.frameCount else { throw .perm }
    guard frames[Int(mfn)].owner != .monitor else { throw .busy }
    if entry & XenABI.writable != 0 { try take(mfn, as: .writable) }
    return adjusted
  }

  /// Gives back what an entry that goes away holds.
  func drop(_ entry: UInt64, level: Int) {
    guard entry & XenABI.present != 0, level > 1 || entry & XenABI.writable != 0 else { return }
    release(XenABI.frame(entry))
  }

  /// Replaces an entry of a table in use, or refuses and changes nothing.
  func update(_ mfn: UInt64, _ index: Int, to value: UInt64, preservingUse: Bool = false) throws(XenError) {
    guard mfn < layout.frameCount else { throw .invalid }
    let level = isTrusting ? 1 : frames[Int(mfn)].type.level
    guard level > 0, level < 4 || !Self.isReserved(index) else { throw .invalid }
    let old = entry(mfn, index)
    var new = value
    if preservingUse { new |= old & (XenABI.accessed | XenABI.dirty) }
    let adjusted = try acquire(new, level: level)
    setEntry(mfn, index, adjusted)
    drop(old, level: level)
  }

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
    release(mfn)
  }

  // MARK: Walks

  /// The L1 table and index that map `address` under `root`; nil where a table is missing on the way.
  func leaf(_ address: UInt64, root: UInt64) -> (mfn: UInt64, index: Int, writable: Bool)? {
    var table = root
    var writable = true
    for level in [3, 2, 1] as [UInt64] {
      let index = Int(truncatingIfNeeded: address >> (12 + 9 * level)) & 511
      let entry = entry(table, index)
      guard entry & XenABI.present != 0, entry & XenABI.large == 0 || level == 3 else { return nil }
      writable = writable && entry & XenABI.writable != 0
      table = XenABI.frame(entry)
      guard table < layout.frameCount else { return nil }
    }
    return (table, Int(truncatingIfNeeded: address >> 12) & 511, writable)
  }

  /// Where a guest's pointer leads, by the guest's own rights; nil where the guest itself would fault.
  func translate(_ address: UInt64, root: UInt64, write: Bool) -> GPA? {
    guard XenABI.isGuestAddress(address), let leaf = leaf(address, root: root) else { return nil }
    let entry = entry(leaf.mfn, leaf.index)
    guard entry & XenABI.present != 0, entry & XenABI.user != 0 else { return nil }
    guard !write || leaf.writable && entry & XenABI.writable != 0 else { return nil }
    let used = entry | XenABI.accessed | (write ? XenABI.dirty : 0)
    if used != entry { setEntry(leaf.mfn, leaf.index, used) }
    guard XenABI.frame(entry) < layout.frameCount else { return nil }
    return GPA(entry & XenABI.addressMask | address & 0xFFF)
  }
}
