import VMCore
import X86

/// Hypercalls that change page tables.
extension XenPlatform {
  private static let mostUpdates: UInt64 = 1 << 20

  /// Whose frames, in bits 15:0, and whose tables plus one, in 31:16 (0: the same): the caller's own. Domain 0, where the
  /// back ends are, is another's; more there are not.
  private func checkDomain(_ id: UInt64) throws(XenError) {
    func isOwn(_ id: UInt64) -> Bool { id == XenABI.domainSelf || id == XenABI.domain }
    let (frames, tables) = (id & 0xFFFF, id >> 16 & 0xFFFF)
    guard isOwn(frames), tables == 0 || isOwn(tables - 1) else {
      throw frames == UInt64(Self.backEnd) || tables == UInt64(Self.backEnd) + 1 ? .perm : .noSuchDomain
    }
  }

  /// Where an array of operations is read, and how far it came in the turns before.
  private func operations(_ a: HypercallArguments) throws(XenError) -> (count: UInt64, done: UInt32) {
    try checkDomain(a.fourth)
    let count = a.second & HypercallWork.countMask
    guard count <= Self.mostUpdates else { throw .invalid }
    let isContinued = a.second & HypercallWork.continued != 0 && a.third != 0
    return (count, isContinued ? (try? read(a.third)) ?? 0 : 0)
  }

  /// mmu_update: {machine address | kind, value} each; the first refused one ends it.
  func mmuUpdate(_ a: HypercallArguments, _ vcpu: any VCPU) throws(XenError) -> Int64 {
    let count: UInt64
    var done: UInt32
    (count, done) = try operations(a)
    defer { if a.third != 0 { try? write(a.third, done) } }
    for index in 0..<count {
      let at = a.first &+ index &* 16
      guard work.goesOn(tables.costs, isFirst: index == 0) else { return work.leave(at, count - index) }
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
      storeWord(GPA(tables.layout.firstMachinePage << 12 + mfn * abi.wordSize), value)
    default: throw .noSuchCall
    }
  }

  /// update_va_mapping: the L1 entry of an address in the present address space.
  func updateVAMapping(_ a: HypercallArguments, _ vcpu: any VCPU) throws(XenError) -> Int64 {
    guard abi.isGuestAddress(a.first), let leaf = tables.leaf(a.first, root: root) else { throw .invalid }
    try tables.update(leaf.mfn, leaf.index, to: a.second)
    switch a.third & 3 {
    case 1: tables.needsFlush = true
    case 2: stalePages.append(a.first & ~0xFFF)
    default: break
    }
    return 0
  }

  /// mmuext_op: {u32 command, machine frame or address, second argument} each, aligned to words.
  func mmuExtended(_ a: HypercallArguments, _ vcpu: any VCPU) throws(XenError) -> Int64 {
    let count: UInt64
    var done: UInt32
    (count, done) = try operations(a)
    defer { if a.third != 0 { try? write(a.third, done) } }
    for index in 0..<count {
      let at = a.first &+ index &* 3 &* abi.wordSize
      guard work.goesOn(tables.costs, isFirst: index == 0) else { return work.leave(at, count - index) }
      let command: UInt32 = try read(at)
      let argument = try readWord(at &+ abi.wordSize)
      guard let op = MMUExtendedOp(rawValue: command) else { throw .noSuchCall }
      try perform(op, argument, try readWord(at &+ 2 &* abi.wordSize), vcpu)
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
    case .pinL4:
      guard !abi.is32Bit else { throw .invalid }
      try tables.pin(argument, as: .l4)
    case .unpin: try tables.unpin(argument)
    case .newBase: try setBase(argument, vcpu)
    case .newUserBase:
      guard !abi.is32Bit else { throw .invalid }
      try setUserBase(argument)
    case .flushTLBLocal, .flushTLBMulti, .flushTLBAll: tables.needsFlush = true
    case .invalidateLocal, .invalidateMulti, .invalidateAll:
      if abi.isGuestAddress(argument) { stalePages.append(argument & ~0xFFF) }
    case .flushCache: break
    case .setLDT: try setLDT(argument, entries: second, vcpu)
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

  /// MMUEXT_NEW_BASEPTR: the kernel's own root from now on.
  private func setBase(_ mfn: UInt64, _ vcpu: any VCPU) throws(XenError) {
    guard let frame = tables.frame(mfn), frame.owner == .domain else { throw .invalid }
    try tables.take(mfn, as: abi.rootType)
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
}
