import VMCore
import X86

extension UnsafeMutablePointer<CPU> {
  // MARK: Addresses through a segment

  /// The micro-op before every memory operand that segmentation has something to say about: the checked
  /// linear address goes to `Slot.temporary` (SDM 3A 5.3, 5.5).
  func segmentAddress(_ o: MicroOpPointer) throws(Stop) {
    let base: UInt64 = get(o.pointee.base)
    let index: UInt64 = get(o.pointee.index)
    let sum = base &+ (index &<< UInt64(o.pointee.scale)) &+ UInt64(bitPattern: o.pointee.disp)
    let offset: UInt64
    switch o.pointee.addressSizeLog2 {
    case 1: offset = sum & 0xFFFF
    case 2: offset = sum & 0xFFFF_FFFF
    default: offset = sum
    }
    let size = Int(truncatingIfNeeded: o.pointee.imm)
    let checked = try linear(Int(o.pointee.src), offset, size: size, write: o.pointee.aux != 0)
    self[slot: Slot.temporary] = checked
  }

  /// The linear address of `size` bytes at an offset in a segment register: #GP(0), or #SS(0) for SS,
  /// where the segment does not allow them.
  func linear(_ index: Int, _ offset: UInt64, size: Int, write: Bool) throws(Stop) -> UInt64 {
    if isLong64 {
      switch index {
      case 4: return offset &+ self[slot: Slot.fsBase]
      case 5: return offset &+ self[slot: Slot.gsBase]
      default: return offset
      }
    }
    let s = pointee.segments[index]
    if size != 0 {
      let allowed = inLimit(s, offset, UInt64(size)) && (!isProtected || allows(s, write: write))
      guard allowed else { throw raise(index == 2 ? .ss : .gp, 0) }
    }
    return (s.base &+ offset) & 0xFFFF_FFFF
  }

  func allows(_ s: SegmentState, write: Bool) -> Bool {
    if s.unusable { return false }
    let isCode = s.access & 8 != 0
    let permission = s.access & 2 != 0
    return write ? !isCode && permission : !isCode || permission
  }

  // MARK: Loading segment registers

  /// MOV, POP, LDS and so on into ES, SS, DS, FS or GS (SDM 3A 5.5 to 5.7). Throws before any change.
  func loadSegment(_ index: Int, _ selector: UInt16) throws(Stop) {
    guard isProtected else {
      loadRealSegment(index, selector)
      return
    }
    if index == 2 {
      let state = try stackSegment(selector, cpl: pointee.cpl, .gp, .ss, nullAllowed: isLong64 && pointee.cpl != 3)
      setSegment(2, state)
    } else {
      setSegment(index, try dataSegment(selector, cpl: pointee.cpl))
    }
    updateContext()
  }

  /// Real and virtual-8086 mode: the base is the selector times 16. Real mode leaves the limit alone.
  func loadRealSegment(_ index: Int, _ selector: UInt16) {
    var state = pointee.segments[index]
    state.selector = selector
    state.base = UInt64(selector) << 4
    if pointee.rflags & RFLAGS.vm != 0 {
      state.limit = 0xFFFF
      state.access = SegmentAccess.virtual8086
    } else {
      let kind = index == 1 ? SegmentAccess.realCode : SegmentAccess.realData
      state.access = state.access & 0xD000 | kind
    }
    setSegment(index, state)
    updateContext()
  }

  /// Checks for DS, ES, FS, GS, and what to load.
  func dataSegment(_ selector: UInt16, cpl: UInt8, _ exception: Exception = .gp) throws(Stop) -> SegmentState {
    if isNull(selector) { return nullSegment(selector) }
    var d = try readDescriptor(selector, exception)
    let privileged = d.isCode && d.isConforming || d.dpl >= max(cpl, rpl(selector))
    guard d.isReadable && privileged else { throw raise(exception, d.errorCode) }
    guard d.present else { throw raise(.np, d.errorCode) }
    try markAccessed(&d)
    return d.state(rpl: rpl(selector))
  }

  /// Checks for SS at privilege level `cpl`, and what to load. `absent` is raised for P = 0.
  func stackSegment(
    _ selector: UInt16, cpl: UInt8, _ exception: Exception, _ absent: Exception, nullAllowed: Bool = false
  ) throws(Stop) -> SegmentState {
    if isNull(selector) {
      guard nullAllowed, rpl(selector) == cpl else { throw raise(exception, 0) }
      return nullStack(cpl, selector: selector)
    }
    var d = try readDescriptor(selector, exception)
    guard rpl(selector) == cpl, d.isWritable, d.dpl == cpl else { throw raise(exception, d.errorCode) }
    guard d.present else { throw raise(absent, d.errorCode) }
    try markAccessed(&d)
    return d.state(rpl: cpl)
  }

  /// The null SS of 64-bit mode: unusable, but its DPL is the CPL.
  func nullStack(_ cpl: UInt8, selector: UInt16) -> SegmentState {
    var state = nullSegment(selector)
    state.access |= UInt32(cpl) << 5
    return state
  }

  /// After a return to an outer level: DS, ES, FS and GS that the new level may not use become null (SDM 3A 5.8.6).
  /// Base and limit stay, as processors have it: kernels whose GS is a data segment of their own find its base again.
  func dropInnerSegments(_ cpl: UInt8) {
    for index in [0, 3, 4, 5] {
      var s = pointee.segments[index]
      let conforming = s.access & 0x1C == 0x1C
      guard !s.unusable && !conforming && s.dpl < cpl else { continue }
      s.selector = 0
      s.access = SegmentAccess.unusable
      setSegment(index, s)
    }
  }

  // MARK: LDTR and TR

  /// LLDT (SDM 2A).
  func loadLDT(_ selector: UInt16) throws(Stop) {
    setSegment(6, try ldtSegment(selector, .gp))
  }

  func ldtSegment(_ selector: UInt16, _ exception: Exception) throws(Stop) -> SegmentState {
    if isNull(selector) { return nullSegment(selector) }
    guard selector & 4 == 0 else { throw raise(exception, UInt32(selector & 0xFFFC)) }
    let d = try readDescriptor(selector, exception)
    guard !d.isCodeOrData, d.type == SystemType.ldt else { throw raise(exception, d.errorCode) }
    var state = d.state(rpl: rpl(selector))
    if isIA32e { state.base |= try readUpperHalf(d, exception) }
    guard d.present else { throw raise(exception == .ts ? .ts : .np, d.errorCode) }
    guard !isIA32e || AddressWidth.isCanonical(state.base) else { throw raise(exception, d.errorCode) }
    return state
  }

  /// LTR: an available TSS becomes busy (SDM 2A).
  func loadTaskRegister(_ selector: UInt16) throws(Stop) {
    guard !isNull(selector) else { throw raise(.gp, 0) }
    guard selector & 4 == 0 else { throw raise(.gp, UInt32(selector & 0xFFFC)) }
    var d = try readDescriptor(selector)
    let isTSS = d.type == SystemType.tss32 || (d.type == SystemType.tss16 && !isIA32e)
    guard !d.isCodeOrData, isTSS else { throw raise(.gp, d.errorCode) }
    guard d.present else { throw raise(.np, d.errorCode) }
    let upper = isIA32e ? try readUpperHalf(d) : 0
    guard !isIA32e || AddressWidth.isCanonical(d.base | upper) else { throw raise(.gp, d.errorCode) }
    d.raw |= UInt64(SystemType.busy) << 40
    try systemStore(d.address &+ 5, 1, d.raw >> 40 & 0xFF)
    var state = d.state(rpl: rpl(selector))
    state.base |= upper
    setSegment(7, state)
  }

  // MARK: LAR, LSL, VERR, VERW, ARPL

  /// A descriptor for the instructions that look without faulting; nil if out of reach.
  private func visibleDescriptor(_ selector: UInt16) throws(Stop) -> Descriptor? {
    if isNull(selector) { return nil }
    guard let address = descriptorAddress(selector) else { return nil }
    let d = Descriptor(raw: try systemLoad(address, 8), address: address, selector: selector)
    let open = d.isCode && d.isConforming
    return open || d.dpl >= max(pointee.cpl, rpl(selector)) ? d : nil
  }

  /// The access-rights doubleword for LAR, or nil (ZF = 0).
  func accessRights(_ selector: UInt16) throws(Stop) -> UInt64? {
    guard let d = try visibleDescriptor(selector) else { return nil }
    if !d.isCodeOrData {
      // Types 1 to 5, 9, 11 and 12; in IA-32e mode 2, 9, 11 and 12.
      let known: UInt16 = isIA32e ? 0x1A04 : 0x1A3E
      guard known >> UInt16(d.type) & 1 != 0 else { return nil }
      if isIA32e && descriptorAddress(selector, size: 16) == nil { return nil }
    }
    return d.raw >> 32 & 0x00FF_FF00
  }

  /// The limit for LSL, or nil (ZF = 0).
  func segmentLimit(_ selector: UInt16) throws(Stop) -> UInt64? {
    guard let d = try visibleDescriptor(selector) else { return nil }
    if !d.isCodeOrData {
      // Types 1, 2, 3, 9 and 11; in IA-32e mode 2, 9 and 11.
      let known: UInt16 = isIA32e ? 0x0A04 : 0x0A0E
      guard known >> UInt16(d.type) & 1 != 0 else { return nil }
      if isIA32e && descriptorAddress(selector, size: 16) == nil { return nil }
    }
    return UInt64(d.limit)
  }

  /// VERR and VERW.
  func verify(_ selector: UInt16, write: Bool) throws(Stop) -> Bool {
    guard let d = try visibleDescriptor(selector), d.isCodeOrData else { return false }
    return write ? d.isWritable : d.isReadable
  }
}
