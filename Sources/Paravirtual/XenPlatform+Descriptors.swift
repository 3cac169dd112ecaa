import VMCore
import X86

/// GDT and LDT of the guest: its own frames, checked and then read-only, in the monitor's part of the address space.
extension XenPlatform {
  /// set_gdt: machine frames of descriptor pages.
  func setGDT(_ a: HypercallArguments) throws(XenError) -> Int64 {
    guard a.second <= XenABI.guestDescriptors else { throw .invalid }
    let pages = (a.second + 511) / 512
    var frames: [UInt64] = []
    for index in 0..<pages { frames.append(try readWord(a.first &+ index * abi.wordSize)) }
    try takeDescriptors(frames)
    for mfn in domain.gdtFrames { tables.release(mfn) }
    domain.gdtFrames = frames
    domain.gdtEntries = a.second
    mapGDT()
    return 0
  }

  /// All of them become descriptor pages, or none.
  private func takeDescriptors(_ frames: [UInt64]) throws(XenError) {
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
  }

  private func mapGDT() { mapDescriptors(domain.gdtFrames, from: 0, count: XenABI.reservedGDTPage) }

  /// Descriptor pages in the monitor's part of the address space.
  private func mapDescriptors(_ frames: [UInt64], from first: Int, count: Int) {
    let machine = tables.layout
    let flags = XenABI.present | XenABI.writable | XenABI.accessed | XenABI.dirty
    for page in 0..<count {
      let mfn = page < frames.count ? frames[page] : machine.zeroPage
      tables.setEntry(machine.perDomainL1, first + page, mfn << 12 | flags)
    }
    tables.needsFlush = true
  }

  /// MMUEXT_SET_LDT: descriptors at an address of the guest's, which becomes read-only; none for no table. Its pages
  /// are taken at once, not when they are first used.
  func setLDT(_ address: UInt64, entries: UInt64, _ vcpu: any VCPU) throws(XenError) {
    guard address & 4095 == 0 || entries == 0, entries <= 8192 else { throw .invalid }
    if entries == 0, domain.ldtFrames.isEmpty { return }
    var frames: [UInt64] = []
    for page in 0..<(entries + 511) / 512 {
      guard let place = tables.translate(address &+ page << 12, root: root, write: false) else { throw .invalid }
      frames.append(place.value >> 12)
    }
    try takeDescriptors(frames)
    for mfn in domain.ldtFrames { tables.release(mfn) }
    domain.ldtFrames = frames
    mapDescriptors(frames, from: XenABI.gdtPages, count: XenABI.ldtPages)
    // Present, type LDT.
    let ldt = SegmentState(selector: 0, base: abi.ldtAddress, limit: UInt32(entries * 8) &- 1, access: 0x82)
    vcpu.state[.ldtr] = entries == 0 ? Segments.null() : ldt
  }

  func updateDescriptor(_ a: HypercallArguments) throws(XenError) -> Int64 {
    let mfn = a.first >> 12
    guard a.first & 7 == 0, let frame = tables.frame(mfn), frame.owner == .domain else { throw .invalid }
    let value = try tables.checkedDescriptor(a.second)
    let type: FrameType = frame.count > 0 && frame.type == .descriptors ? .descriptors : .writable
    try tables.take(mfn, as: type)
    memory.store(GPA(a.first), value)
    tables.release(mfn)
    return 0
  }
}
