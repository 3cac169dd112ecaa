import VMCore
import X86

/// What paging keeps besides the control registers and the TLBs.
struct PagingState {
  /// The PDPTE registers of PAE paging.
  var pdpte = InlineArray<4, UInt64>(repeating: 0)
  /// TLB entries (supervisor's, then user's) that hold global pages.
  var global = InlineArray<512, UInt64>(repeating: 0)
  /// TLB entries that hold anything: what a flush has to look at.
  var filled = InlineArray<512, UInt64>(repeating: 0)
  /// Words of that with a bit set.
  var filledWords = InlineArray<8, UInt64>(repeating: 0)
  /// Supervisor TLB entries that hold user pages, allowed while RFLAGS.AC overrides SMAP.
  var overridden = InlineArray<256, UInt64>(repeating: 0)
  /// An entry of a large page may be in several places of a TLB: the regions of 4 MiB where there are such, by number
  /// modulo 4096, and whether one is larger.
  var largeRegions = InlineArray<64, UInt64>(repeating: 0)
  var hugePagesCached = false

  func mayBeLarge(_ linear: UInt64) -> Bool {
    let region = Int(truncatingIfNeeded: linear >> 22 & 4095)
    return hugePagesCached || largeRegions[region >> 6] >> UInt64(region & 63) & 1 != 0
  }
  mutating func noteLarge(_ linear: UInt64) {
    let region = Int(truncatingIfNeeded: linear >> 22 & 4095)
    largeRegions[region >> 6] |= 1 << UInt64(region & 63)
  }
  /// Code was fetched from a page that is not global since CR3 was written last.
  var hasLocalCode = true
  /// Linear pages that code was looked up on, by number modulo 4096, the regions of 4 MiB where it lay on large ones,
  /// and whether it lay on a larger one.
  private var codePages = InlineArray<64, UInt64>(repeating: 0)
  private var largeCodeRegions = InlineArray<64, UInt64>(repeating: 0)
  private var hasHugeCode = false

  mutating func noteCode(_ linear: UInt64, large: Bool, huge: Bool, global: Bool) {
    codePages[Self.word(linear >> 12)] |= Self.bit(linear >> 12)
    if large { largeCodeRegions[Self.word(linear >> 22)] |= Self.bit(linear >> 22) }
    if huge { hasHugeCode = true }
    if !global { hasLocalCode = true }
  }
  /// May known code lie on the page of this address?
  func mayHaveCode(_ linear: UInt64) -> Bool {
    hasHugeCode || codePages[Self.word(linear >> 12)] & Self.bit(linear >> 12) != 0
      || largeCodeRegions[Self.word(linear >> 22)] & Self.bit(linear >> 22) != 0
  }
  private static func word(_ number: UInt64) -> Int { Int(truncatingIfNeeded: number >> 6 & 63) }
  private static func bit(_ number: UInt64) -> UInt64 { 1 << (number & 63) }
}

/// On whose behalf memory is accessed (SDM 3A 4.6.1).
enum Privilege {
  case supervisor, user
  /// Descriptor tables, TSS and the like: supervisor whatever the CPL, and RFLAGS.AC does not help.
  case implicit
}

/// One memory access as paging sees it.
struct Access {
  var privilege: Privilege
  var write = false
  var fetch = false
}

/// Where a linear address leads, once its access has been allowed.
struct Translation {
  var gpa: UInt64
  /// A write at the same privilege needs no further check.
  var writable: Bool
  var user: Bool
  var global: Bool
  var large: Bool
  /// Larger than 4 MiB.
  var huge = false
}

extension UnsafeMutablePointer<CPU> {
  var vcpu: InterpreterVCPU { pointee.owner._withUnsafeGuaranteedRef { $0 } }

  /// The privilege of the program's own accesses.
  var privilege: Privilege { pointee.cpl == 3 ? .user : .supervisor }

  // MARK: The slow side of load, store and probeWrite

  @inline(never)
  func slowLoad(_ address: UInt64, _ size: Int) throws(Stop) -> UInt64 {
    try readLinear(address, size, privilege)
  }
  @inline(never)
  func slowStore(_ address: UInt64, _ size: Int, _ value: UInt64) throws(Stop) {
    try writeLinear(address, size, value, privilege)
  }
  @inline(never)
  func slowProbeWrite(_ address: UInt64, _ size: Int) throws(Stop) { try probeLinear(address, size, privilege) }

  /// Reads descriptor tables and TSSs.
  func systemLoad(_ address: UInt64, _ size: Int) throws(Stop) -> UInt64 {
    try readLinear(cutSystem(address), size, .implicit)
  }
  /// Writes descriptor tables and TSSs.
  func systemStore(_ address: UInt64, _ size: Int, _ value: UInt64) throws(Stop) {
    try writeLinear(cutSystem(address), size, value, .implicit)
  }
  /// Checks that `systemStore` could write.
  func systemProbe(_ address: UInt64, _ size: Int) throws(Stop) {
    try probeLinear(cutSystem(address), size, .implicit)
  }
  private func cutSystem(_ address: UInt64) -> UInt64 {
    pointee.efer & EFER.lma != 0 ? address : address & 0xFFFF_FFFF
  }

  // MARK: Linear accesses of 1 to 8 bytes

  private func next(_ address: UInt64, _ count: Int) -> UInt64 {
    let sum = address &+ UInt64(count)
    return address > 0xFFFF_FFFF ? sum : sum & pointee.addressMask
  }

  /// An operand that wraps round the end of the address space is beyond the limit of a flat 4 GiB segment,
  /// where nobody checked limits (SDM 3A 5.3).
  private func forbidWrap(_ address: UInt64, _ privilege: Privilege) throws(Stop) {
    guard address >> 12 == 0xF_FFFF, privilege != .implicit, context.flatData, !isLong64 else { return }
    let stop = raise(.gp, 0)
    pointee.fault.nonCanonical = true
    throw stop
  }

  /// #AC for an access of the program's own to an address that is no multiple of its size.
  private func checkAlignment(_ address: UInt64, _ size: Int, _ privilege: Privilege) throws(Stop) {
    guard pointee.checksAlignment, privilege == .user else { return }
    if size & (size &- 1) == 0, address & UInt64(size &- 1) != 0 { throw raise(.ac, 0) }
  }

  /// Host address of `size` bytes if the TLB allows the access without further ado.
  @inline(__always)
  func reached(_ address: UInt64, _ size: Int, _ access: Access) -> UnsafeMutableRawPointer? {
    let slot = access.write ? TLB.writeIndex(address) : TLB.index(address)
    if access.privilege == .implicit && pointee.paging.overridden[slot >> 6] >> UInt64(slot & 63) & 1 != 0 { return nil }
    let entry = pointee.tlbs + (access.privilege == .user ? slot + TLB.entries : slot)
    guard entry.pointee.tag == (address &+ UInt64(size &- 1)) & ~0xFFF else { return nil }
    return entry.host(address)
  }

  func readLinear(_ address: UInt64, _ size: Int, _ privilege: Privilege) throws(Stop) -> UInt64 {
    let access = Access(privilege: privilege)
    if let host = reached(address, size, access) {
      switch size {
      case 8: return host.loadUnaligned(as: UInt64.self)
      case 4: return UInt64(host.loadUnaligned(as: UInt32.self))
      case 2: return UInt64(host.loadUnaligned(as: UInt16.self))
      case 1: return UInt64(host.load(as: UInt8.self))
      default: break
      }
    }
    try checkAlignment(address, size, privilege)
    let first = 4096 - Int(address & 0xFFF)
    if size <= first {
      let gpa = try translate(address, access)
      try noteAccess(address, size, write: false)
      return try readPhysical(gpa, size, linear: address)
    }
    try forbidWrap(address, privilege)
    let second = next(address, first)
    let lowGPA = try translate(address, access)
    let highGPA = try translate(second, access)
    try noteAccess(address, size, write: false)
    let low = try readPhysical(lowGPA, first, linear: address)
    let high = try readPhysical(highGPA, size - first, linear: second)
    return low | high << UInt64(8 * first)
  }

  func writeLinear(_ address: UInt64, _ size: Int, _ value: UInt64, _ privilege: Privilege) throws(Stop) {
    let access = Access(privilege: privilege, write: true)
    if let host = reached(address, size, access) {
      switch size {
      case 8: return host.storeBytes(of: value, as: UInt64.self)
      case 4: return host.storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self)
      case 2: return host.storeBytes(of: UInt16(truncatingIfNeeded: value), as: UInt16.self)
      case 1: return host.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
      default: break
      }
    }
    try checkAlignment(address, size, privilege)
    let first = 4096 - Int(address & 0xFFF)
    if size <= first {
      let gpa = try translate(address, access)
      try noteAccess(address, size, write: true)
      try beforeWrite(gpa, size)
      try writePhysical(gpa, size, value, linear: address)
      return
    }
    try forbidWrap(address, privilege)
    let second = next(address, first)
    let lowGPA = try translate(address, access)
    let highGPA = try translate(second, access)
    try noteAccess(address, size, write: true)
    try beforeWrite(lowGPA, first)
    try beforeWrite(highGPA, size - first)
    // The half that may have to ask the monitor goes first, so that nothing is half done.
    let highValue = value >> UInt64(8 * first)
    if hostPage(highGPA) == nil {
      try writePhysical(highGPA, size - first, highValue, linear: second)
      try writePhysical(lowGPA, first, value, linear: address)
    } else {
      try writePhysical(lowGPA, first, value, linear: address)
      try writePhysical(highGPA, size - first, highValue, linear: second)
    }
  }

  func probeLinear(_ address: UInt64, _ size: Int, _ privilege: Privilege) throws(Stop) {
    let access = Access(privilege: privilege, write: true)
    try checkAlignment(address, size, privilege)
    let first = min(4096 - Int(address & 0xFFF), size)
    if size > first { try forbidWrap(address, privilege) }
    let lowGPA = try translate(address, access)
    if size > first {
      let highGPA = try translate(next(address, first), access)
      try beforeWrite(highGPA, size - first)
    }
    try noteAccess(address, size, write: true)
    try beforeWrite(lowGPA, first)
  }

  /// The guest-physical address of an instruction byte; raises #PF or #GP as a fetch does.
  func translateFetch(_ linear: UInt64) throws(Stop) -> UInt64 {
    try translate(linear, Access(privilege: privilege, fetch: true))
  }

  /// The same, from memory where code was fetched from that page lately.
  func fetchAddress(_ linear: UInt64) throws(Stop) -> UInt64 {
    let index = Int(truncatingIfNeeded: linear >> 12) & (pointee.fetches.count - 1)
    let page = linear & ~0xFFF
    let stamp = pointee.stamp & ~UInt64(Context.aloneBit)
    if pointee.fetches[index].page == page, pointee.fetches[index].stamp == stamp {
      return pointee.fetches[index].gpa | linear & 0xFFF
    }
    let gpa = try translateFetch(linear)
    pointee.fetches[index] = FetchEntry(page: page, stamp: stamp, gpa: gpa & ~0xFFF)
    return gpa
  }

  // MARK: Translation

  /// Guest-physical address for an access, with all checks; fills the TLB.
  private func translate(_ linear: UInt64, _ access: Access) throws(Stop) -> UInt64 {
    if !access.fetch, let gpa = cached(linear, access) { return gpa }
    if pointee.efer & EFER.lma != 0 && !AddressWidth.isCanonical(linear) {
      let stop = raise(.gp, 0)
      pointee.fault.nonCanonical = access.privilege != .implicit
      throw stop
    }
    let result = try walk(linear, access)
    if access.fetch {
      pointee.paging.noteCode(linear, large: result.large, huge: result.huge, global: result.global)
    } else {
      fill(linear, result, access)
    }
    return result.gpa
  }

  private func cached(_ linear: UInt64, _ access: Access) -> UInt64? {
    let slot = access.write ? TLB.writeIndex(linear) : TLB.index(linear)
    if access.privilege == .implicit && pointee.paging.overridden[slot >> 6] >> UInt64(slot & 63) & 1 != 0 {
      return nil
    }
    let entry = pointee.tlbs + (access.privilege == .user ? slot + TLB.entries : slot)
    let physical = entry.pointee.page
    let page = linear & ~0xFFF
    guard physical != TLBEntry.noPage, UInt64(entry.pointee.host &- entry.pointee.addend) == page else { return nil }
    if access.write, entry.pointee.tag != page, mayStore(physical), !watchedDirections(page).write { entry.pointee.tag = page }
    return physical | linear & 0xFFF
  }

  /// May stores to this guest-physical page go unseen?
  private func mayStore(_ physical: UInt64) -> Bool {
    !hasCode(physical) && hostPage(physical).map(\.writable) ?? false
  }

  /// Walks the page tables for one access: permissions, A and D bits, or #PF (SDM 3A 4.6, 4.7).
  private func walk(_ linear: UInt64, _ access: Access) throws(Stop) -> Translation {
    var walk = readPageTables(linear)
    if walk.outcome == .extended {
      throw eptExit(walk.extended, walk.extendedAddress, linear: linear, needs: 1, final: false)
    }
    guard walk.outcome == .mapped else {
      throw pageFault(linear, access, walk.outcome == .reserved ? PageFaultError.present | PageFaultError.reserved : 0)
    }
    guard pointee.cr0 & CR0.pg != 0 else {
      return try extend(
        Translation(gpa: walk.gpa, writable: true, user: false, global: false, large: false), linear, access)
    }
    let user = access.privilege == .user
    let mayWrite = walk.writable || (!user && pointee.cr0 & CR0.wp == 0)
    guard allows(walk, access), mayWrite || !access.write else {
      throw pageFault(linear, access, PageFaultError.present)
    }
    try markUsed(&walk, linear: linear, write: access.write)
    let result = Translation(
      gpa: walk.gpa, writable: mayWrite && walk.dirty, user: walk.user, global: walk.global, large: walk.large,
      huge: walk.huge)
    return try extend(result, linear, access)
  }

  /// The same through extended page tables, where they are in force (SDM 3C 29.3).
  private func extend(_ result: Translation, _ linear: UInt64, _ access: Access) throws(Stop) -> Translation {
    guard pointee.vmx.eptPointer != 0 else { return result }
    let extended = readEPT(result.gpa)
    let needs: UInt64 = access.write ? 2 : access.fetch ? 4 : 1
    guard extended.outcome == .mapped, extended.rights & needs != 0 else {
      throw eptExit(extended, result.gpa, linear: linear, needs: needs, final: true)
    }
    var real = result
    real.gpa = extended.address
    if extended.rights & 2 == 0 { real.writable = false }
    return real
  }

  func allows(_ walk: PageWalk, _ access: Access) -> Bool {
    if access.privilege == .user { return walk.user && !(access.fetch && walk.noExecute) }
    if access.fetch { return !walk.noExecute && !(walk.user && pointee.cr4 & CR4.smep != 0) }
    guard walk.user && pointee.cr4 & CR4.smap != 0 else { return true }
    return access.privilege == .supervisor && pointee.rflags & RFLAGS.ac != 0
  }

  private func pageFault(_ linear: UInt64, _ access: Access, _ code: UInt32) -> Stop {
    var code = code
    if access.write { code |= PageFaultError.write }
    if access.privilege == .user { code |= PageFaultError.user }
    if access.fetch {
      let wide = pointee.efer & EFER.lma != 0 || pointee.cr4 & CR4.pae != 0
      let noExecute = wide && pointee.efer & EFER.nxe != 0
      if noExecute || pointee.cr4 & CR4.smep != 0 { code |= PageFaultError.fetch }
    }
    return raise(.pf, code, linear: linear)
  }

  // MARK: TLB

  private func fill(_ linear: UInt64, _ result: Translation, _ access: Access) {
    if pointee.checksAlignment && access.privilege == .user { return }
    let guardedUser = result.user && pointee.cr4 & CR4.smap != 0 && access.privilege != .user
    if guardedUser && (access.privilege == .implicit || pointee.rflags & RFLAGS.ac == 0) { return }
    let page = linear & ~0xFFF
    let slot = access.write ? TLB.writeIndex(linear) : TLB.index(linear)
    let watched = watchedDirections(page)
    let user = access.privilege == .user
    let index = user ? slot + TLB.entries : slot
    var entry = TLBEntry(none: index)
    let physical = result.gpa & ~0xFFF
    entry.page = physical
    // Where no memory is, the entry only says where the page leads: each access goes there its slow way.
    entry.host = UInt(page)
    if let host = hostPage(physical) {
      if !watched.read && !access.write { entry.tag = page }
      if access.write && result.writable && !watched.write && mayStore(physical) { entry.tag = page }
      entry.host = UInt(bitPattern: host.host)
      entry.addend = entry.host &- UInt(page)
    }
    pointee.tlbs[index] = entry
    setBit(&pointee.paging.filled, index, true)
    setBit(&pointee.paging.filledWords, index >> 6, true)
    setBit(&pointee.paging.global, index, result.global)
    if !user { setBit(&pointee.paging.overridden, slot, guardedUser) }
    if result.large { pointee.paging.noteLarge(linear) }
    if result.huge { pointee.paging.hugePagesCached = true }
  }

  private func setBit<let n: Int>(_ words: inout InlineArray<n, UInt64>, _ index: Int, _ on: Bool) {
    let bit: UInt64 = 1 << UInt64(index & 63)
    if on { words[index >> 6] |= bit } else { words[index >> 6] &= ~bit }
  }

  /// Forgets cached translations: all, or all but those of global pages.
  func flushTLB(keepGlobal: Bool) {
    for group in 0..<8 {
      var words = pointee.paging.filledWords[group]
      while words != 0 {
        flushWord(group * 64 + words.trailingZeroBitCount, keepGlobal: keepGlobal)
        words &= words &- 1
      }
    }
    if !keepGlobal {
      pointee.paging.global = InlineArray(repeating: 0)
      pointee.paging.largeRegions = InlineArray(repeating: 0)
      pointee.paging.hugePagesCached = false
    }
  }

  private func flushWord(_ word: Int, keepGlobal: Bool) {
    var bits = pointee.paging.filled[word]
    if keepGlobal { bits &= ~pointee.paging.global[word] }
    pointee.paging.filled[word] ^= bits
    if pointee.paging.filled[word] == 0 { setBit(&pointee.paging.filledWords, word, false) }
    while bits != 0 {
      let index = word * 64 + bits.trailingZeroBitCount
      (pointee.tlbs + index).forget(index)
      bits &= bits &- 1
    }
  }

  /// Forgets what is cached for one linear page, global or not.
  func flushPage(_ linear: UInt64) {
    if pointee.paging.mayBeLarge(linear) {
      flushTLB(keepGlobal: false)
      return
    }
    let read = TLB.index(linear)
    let write = TLB.writeIndex(linear)
    for half in 0...1 {
      (pointee.tlbs + (read + half * TLB.entries)).forget(read)
      (pointee.tlbs + (write + half * TLB.entries)).forget(write)
    }
  }

  /// Call after RFLAGS.AC went from 1 to 0: user pages cached for the supervisor under SMAP are
  /// forbidden again.
  func endSMAPOverride() {
    for word in 0..<TLB.entries / 64 where pointee.paging.overridden[word] != 0 {
      for bit in 0..<64 where pointee.paging.overridden[word] >> UInt64(bit) & 1 != 0 {
        (pointee.tlbs + (word * 64 + bit)).forget(word * 64 + bit)
      }
      pointee.paging.overridden[word] = 0
    }
  }

  /// Brings PDPTEs and TLBs in line after the state was replaced from outside.
  func refreshPaging() {
    let pae = pointee.cr0 & CR0.pg != 0 && pointee.cr4 & CR4.pae != 0
    if pae && pointee.efer & EFER.lma == 0 { _ = try? loadPDPTEs(from: pointee.cr3) }
    flushTLB(keepGlobal: false)
    bumpGeneration()
  }
}
