import VMCore
import X86

/// Hypercalls that change page tables.
extension XenPlatform {
  private static let mostUpdates: UInt64 = 1 << 20

  private func checkDomain(_ id: UInt64) throws(XenError) {
    let low = id & 0xFFFF
    guard low == XenABI.domainSelf || low == XenABI.domain || low == 0 && id == 0 else { throw .noSuchDomain }
  }

  /// mmu_update: {machine address | kind, value} each; the first refused one ends it.
  func mmuUpdate(_ a: HypercallArguments, _ vcpu: any VCPU) throws(XenError) -> Int64 {
    try checkDomain(a.fourth)
    let count = a.second & 0x7FFF_FFFF
    guard count <= Self.mostUpdates else { throw .invalid }
    var done: UInt32 = 0
    defer { if a.third != 0 { try? write(a.third, done) } }
    for index in 0..<count {
      let at = a.first &+ index &* 16
      let target: UInt64 = try read(at)
      let value: UInt64 = try read(at &+ 8)
      try applyUpdate(target, value)
      done &+= 1
    }
    return 0
  }

  private func applyUpdate(_ target: UInt64, _ value: UInt64) throws(XenError) {
    let address = target & ~3
    let mfn = address >> 12
    switch target & 3 {
    case 0, 2:
      guard address & 7 == 0 else { throw .invalid }
      guard let frame = tables.frame(mfn), frame.owner == .domain else { throw .perm }
      if tables.isTrusting || frame.count > 0 && frame.type.level > 0 {
        try tables.update(mfn, Int(address >> 3 & 511), to: value, preservingUse: target & 3 == 2)
      } else {
        try tables.take(mfn, as: .writable)
        memory.store(GPA(address), value)
        tables.release(mfn)
      }
    case 1:
      // MMU_MACHPHYS_UPDATE: the guest's own number for a frame of its own.
      guard let frame = tables.frame(mfn), frame.owner == .domain else { throw .perm }
      memory.store(GPA(tables.layout.firstMachinePage << 12 + mfn * 8), value)
    default: throw .noSuchCall
    }
  }

  /// update_va_mapping: the L1 entry of an address in the present address space.
  func updateVAMapping(_ a: HypercallArguments, _ vcpu: any VCPU) throws(XenError) -> Int64 {
    guard XenABI.isGuestAddress(a.first), let leaf = tables.leaf(a.first, root: root) else { throw .invalid }
    try tables.update(leaf.mfn, leaf.index, to: a.second)
    switch a.third & 3 {
    case 1: tables.needsFlush = true
    case 2: stalePages.append(a.first & ~0xFFF)
    default: break
    }
    return 0
  }

  /// mmuext_op: {u32 command, machine frame or address, second argument} each.
  func mmuExtended(_ a: HypercallArguments, _ vcpu: any VCPU) throws(XenError) -> Int64 {
    try checkDomain(a.fourth)
    let count = a.second & 0x7FFF_FFFF
    guard count <= Self.mostUpdates else { throw .invalid }
    var done: UInt32 = 0
    defer { if a.third != 0 { try? write(a.third, done) } }
    for index in 0..<count {
      let at = a.first &+ index &* 24
      let command: UInt32 = try read(at)
      let argument: UInt64 = try read(at &+ 8)
      guard let op = MMUExtendedOp(rawValue: command) else { throw .noSuchCall }
      try perform(op, argument, try read(at &+ 16), vcpu)
      done &+= 1
    }
    return 0
  }

  private func perform(
    _ op: MMUExtendedOp, _ argument: UInt64, _ second: UInt64, _ vcpu: any VCPU
  ) throws(XenError) {
    switch op {
    case .pinL1: try tables.pin(argument, as: .l1)
    case .pinL2: try tables.pin(argument, as: .l2)
    case .pinL3: try tables.pin(argument, as: .l3)
    case .pinL4: try tables.pin(argument, as: .l4)
    case .unpin: try tables.unpin(argument)
    case .newBase: try setBase(argument, vcpu)
    case .newUserBase: try setUserBase(argument)
    case .flushTLBLocal, .flushTLBMulti, .flushTLBAll: tables.needsFlush = true
    case .invalidateLocal, .invalidateMulti, .invalidateAll:
      if XenABI.isGuestAddress(argument) { stalePages.append(argument & ~0xFFF) }
    case .flushCache: break
    case .setLDT:
      // Without entries: none. A table of the guest's own is not offered.
      guard second == 0 else { throw .invalid }
    case .clearPage: try writePage(argument) { _ in 0 }
    case .copyPage:
      guard let source = tables.frame(second), source.owner == .domain else { throw .invalid }
      try writePage(argument) { self.tables.entry(second, $0) }
    }
  }

  private func writePage(_ mfn: UInt64, _ word: (Int) -> UInt64) throws(XenError) {
    guard let frame = tables.frame(mfn), frame.owner == .domain else { throw .invalid }
    try tables.take(mfn, as: .writable)
    for index in 0..<512 { tables.setEntry(mfn, index, word(index)) }
    tables.release(mfn)
  }

  /// MMUEXT_NEW_BASEPTR: the kernel's own L4 from now on.
  private func setBase(_ mfn: UInt64, _ vcpu: any VCPU) throws(XenError) {
    guard let frame = tables.frame(mfn), frame.owner == .domain else { throw .invalid }
    try tables.take(mfn, as: .l4)
    let old = domain.kernelRoot
    domain.kernelRoot = mfn
    vcpu.state.cr3 = mfn << 12
    tables.release(old)
  }

  /// MMUEXT_NEW_USER_BASEPTR: what programs run on; 0 for none.
  private func setUserBase(_ mfn: UInt64) throws(XenError) {
    if mfn != 0 {
      guard let frame = tables.frame(mfn), frame.owner == .domain else { throw .invalid }
      try tables.take(mfn, as: .l4)
    }
    let old = domain.userRoot
    domain.userRoot = mfn
    if old != 0 { tables.release(old) }
  }

  // MARK: GDT

  /// set_gdt: machine frames of descriptor pages.
  func setGDT(_ a: HypercallArguments) throws(XenError) -> Int64 {
    guard a.second <= XenABI.guestDescriptors else { throw .invalid }
    let pages = (a.second + 511) / 512
    var frames: [UInt64] = []
    for index in 0..<pages { frames.append(try read(a.first &+ index * 8)) }
    var taken: [UInt64] = []
    do throws(XenError) {
      for mfn in frames {
        guard let frame = tables.frame(mfn), frame.owner == .domain else { throw .invalid }
        try tables.take(mfn, as: .descriptors)
        taken.append(mfn)
      }
    } catch {
      for mfn in taken { tables.release(mfn) }
      throw .invalid
    }
    for mfn in domain.gdtFrames { tables.release(mfn) }
    domain.gdtFrames = frames
    domain.gdtEntries = a.second
    mapGDT()
    return 0
  }

  /// The guest's descriptor pages in the monitor's part of the address space.
  private func mapGDT() {
    let machine = tables.layout
    let flags = XenABI.present | XenABI.writable | XenABI.accessed | XenABI.dirty
    for page in 0..<XenABI.reservedGDTPage {
      let mfn = page < domain.gdtFrames.count ? domain.gdtFrames[page] : machine.zeroPage
      tables.setEntry(machine.perDomainL1, page, mfn << 12 | flags)
    }
    tables.needsFlush = true
  }

  func updateDescriptor(_ a: HypercallArguments) throws(XenError) -> Int64 {
    let mfn = a.first >> 12
    guard a.first & 7 == 0, let frame = tables.frame(mfn), frame.owner == .domain else { throw .invalid }
    let value = try PageTables.checkedDescriptor(a.second)
    let type: FrameType = frame.count > 0 && frame.type == .descriptors ? .descriptors : .writable
    try tables.take(mfn, as: type)
    memory.store(GPA(a.first), value)
    tables.release(mfn)
    return 0
  }
}
