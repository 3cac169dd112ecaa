import VMCore
import X86

extension UnsafeMutablePointer<CPU> {
  /// RFLAGS as a whole, keeping what depends on VM and AC in line. The caller has applied the privilege
  /// rules and calls `updateContext` if VM changed.
  func writeFlags(_ flags: UInt64) {
    let lostAC = pointee.rflags & ~flags & RFLAGS.ac != 0
    replaceFlags(flags & 0x3F_7FD7)
    if pointee.cpl == 3 { updateAlignmentChecks() }
    if lostAC && pointee.cr4 & CR4.smap != 0 { endSMAPOverride() }
  }

  /// Flags that POPF and IRET may change at this privilege, for an operand of `size` bytes.
  func changeableFlags(size: Int) -> UInt64 {
    var mask = RFLAGS.arithmetic | RFLAGS.tf | RFLAGS.df | RFLAGS.nt
    let cpl = isProtected ? UInt64(pointee.cpl) : 0
    let iopl = pointee.rflags >> 12 & 3
    if pointee.rflags & RFLAGS.vm != 0 {
      if iopl == 3 { mask |= RFLAGS.interruptEnable }
    } else {
      if cpl == 0 { mask |= RFLAGS.iopl }
      if cpl <= iopl { mask |= RFLAGS.interruptEnable }
    }
    if size > 2 { mask |= RFLAGS.rf | RFLAGS.ac | RFLAGS.id }
    return mask
  }

  /// RF lives for one instruction and matters only to breakpoints: without any it is not even set.
  func mergeFlags(_ image: UInt64, _ mask: UInt64) {
    let flags = materializeFlags() & ~mask | image & mask
    writeFlags(pointee.dr7 & 0xFF == 0 ? flags & ~RFLAGS.rf : flags)
  }

  /// IRET, IRETD, IRETQ (SDM 2A).
  func interruptReturn(size: Int) throws(Stop) {
    if returnAgain(size: size) { return }
    if pointee.rflags & RFLAGS.vm != 0 {
      guard pointee.rflags & RFLAGS.iopl == RFLAGS.iopl else { throw raise(.gp, 0) }
      try realReturn(size)
    } else if !isProtected {
      try realReturn(size)
    } else if pointee.rflags & RFLAGS.nt != 0 {
      guard !isIA32e else { throw raise(.gp, 0) }
      let link = UInt16(truncatingIfNeeded: try systemLoad(pointee.segments[7].base, 2))
      try switchTask(link, .interruptReturn)
    } else {
      try protectedReturn(size)
    }
    if pointee.nmiBlocked { unblockNMIs() }
  }

  /// IRET ends the blocking of NMIs, but not while NMIs make a guest of a guest exit and it has no virtual
  /// ones (SDM 3C 26.3).
  private func unblockNMIs() {
    let controls = pointee.vmx.controls
    if isNonRoot && controls.has(.nmiExiting) && !controls.has(.virtualNMIs) { return }
    pointee.nmiBlocked = false
  }

  private func realReturn(_ size: Int) throws(Stop) {
    var stack = currentStack()
    let (rip, selector, flags) = try popFrame(&stack, size)
    guard rip <= UInt64(pointee.segments[1].limit) else { throw raise(.gp, 0) }
    commitStack(stack)
    pointee.rip = rip
    mergeFlags(flags, changeableFlags(size: size))
    loadRealSegment(1, selector)
  }

  private func protectedReturn(_ size: Int) throws(Stop) {
    var stack = currentStack()
    let (rip, selector, flags) = try popFrame(&stack, size)
    if size == 4 && flags & RFLAGS.vm != 0 && pointee.cpl == 0 && !isIA32e {
      try virtual8086Return(&stack, rip, selector, flags)
      return
    }
    var d = try returnSegment(selector)
    let mask = changeableFlags(size: size)
    if rpl(selector) != pointee.cpl || isLong64 {
      // 64-bit mode always pops the stack pointer.
      let outer = try outerStack(&stack, size, to: d)
      try checkTarget(rip, in: d.state(rpl: 0))
      try markAccessed(&d)
      if isLong64, d.long { remember(d, outer.segment) }
      mergeFlags(flags, mask)
      enterOuter(d, rip, outer)
      return
    }
    try checkTarget(rip, in: d.state(rpl: 0))
    try markAccessed(&d)
    commitStack(stack)
    mergeFlags(flags, mask)
    enterCode(d.state(rpl: pointee.cpl), rip, cpl: pointee.cpl)
  }

  /// From ring 0 to virtual-8086 mode (SDM 3B 20.2.2).
  private func virtual8086Return(
    _ stack: inout StackCursor, _ rip: UInt64, _ cs: UInt16, _ flags: UInt64
  ) throws(Stop) {
    let pointer = try pop(&stack, 4)
    var selectors = InlineArray<6, UInt16>(repeating: 0)
    selectors[1] = cs
    for index in [2, 0, 3, 4, 5] { selectors[index] = UInt16(truncatingIfNeeded: try pop(&stack, 4)) }
    materializeFlags()
    writeFlags(flags)
    pointee.cpl = 3
    for index in 0..<6 { loadRealSegment(index, selectors[index]) }
    self[slot: Slot.rsp] = pointer
    pointee.rip = rip & 0xFFFF
    updateContext()
  }
}
