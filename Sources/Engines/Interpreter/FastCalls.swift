import VMCore
import X86

/// SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS and the FS/GS base instructions (SDM 2B, 3A 5.8.7, 5.8.8).
extension UnsafeMutablePointer<CPU> {
  func fastCall(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    // The operand size is 64 bits with REX.W.
    let wide = o.pointee.sizeLog2 == 3
    switch op {
    case .syscall: try systemCall()
    case .sysret: try systemReturn(wide: wide)
    case .sysenter: try systemEnter()
    case .sysexit: try systemExit(wide: wide)
    default:
      guard isLong64 else { throw raise(.ud) }
      try requireRing0()
      let kernel = pointee.kernelGSBase
      pointee.kernelGSBase = self[slot: Slot.gsBase]
      setBase(5, kernel)
    }
  }

  private func flatSegment(_ selector: UInt64, _ access: UInt32, dpl: UInt8) -> SegmentState {
    let visible = UInt16(truncatingIfNeeded: selector) & 0xFFFC | UInt16(dpl)
    return SegmentState(selector: visible, base: 0, limit: 0xFFFF_FFFF, access: access | UInt32(dpl) << 5)
  }

  private func enterFlat(code: UInt64, stack: UInt64, long: Bool, dpl: UInt8, _ rip: UInt64) {
    setSegment(2, flatSegment(stack, SegmentAccess.flatData, dpl: dpl))
    let size = long ? SegmentAccess.long : SegmentAccess.big
    enterCode(flatSegment(code, SegmentAccess.flatCode | size, dpl: dpl), rip, cpl: dpl)
  }

  private func systemCall() throws(Stop) {
    guard pointee.efer & EFER.sce != 0, isLong64 else { throw raise(.ud) }
    if exits(on: .deprivileged) { throw leave(.syscall, .hypercall(number: self[slot: 0]), .always) }
    self[slot: 1] = pointee.rip
    let flags = materializeFlags()
    self[slot: 11] = flags & ~RFLAGS.rf
    writeFlags(flags & ~(pointee.sfmask | RFLAGS.rf))
    let selector = pointee.star >> 32 & 0xFFFC
    enterFlat(code: selector, stack: selector + 8, long: true, dpl: 0, pointee.lstar)
  }

  private func systemReturn(wide: Bool) throws(Stop) {
    guard pointee.efer & EFER.sce != 0, isLong64 else { throw raise(.ud) }
    try requireRing0()
    let target = self[slot: 1]
    guard !wide || AddressWidth.isCanonical(target) else { throw raise(.gp, 0) }
    materializeFlags()
    writeFlags(self[slot: 11] & 0x3C_7FD7)
    let base = pointee.star >> 48
    enterFlat(
      code: wide ? base + 16 : base, stack: base + 8, long: wide, dpl: 3, wide ? target : target & 0xFFFF_FFFF)
  }

  private func systemEnter() throws(Stop) {
    guard pointee.cr0 & CR0.pe != 0, pointee.sysenterCS & 0xFFFC != 0 else { throw raise(.gp, 0) }
    let long = isIA32e
    writeFlags(materializeFlags() & ~(RFLAGS.vm | RFLAGS.interruptEnable | RFLAGS.rf))
    self[slot: Slot.rsp] = long ? pointee.sysenterESP : pointee.sysenterESP & 0xFFFF_FFFF
    let rip = long ? pointee.sysenterEIP : pointee.sysenterEIP & 0xFFFF_FFFF
    let selector = pointee.sysenterCS & 0xFFFC
    enterFlat(code: selector, stack: selector + 8, long: long, dpl: 0, rip)
  }

  private func systemExit(wide: Bool) throws(Stop) {
    let selector = pointee.sysenterCS & 0xFFFC
    guard pointee.cr0 & CR0.pe != 0, pointee.cpl == 0, selector != 0 else { throw raise(.gp, 0) }
    let rip = self[slot: 2]
    let rsp = self[slot: 1]
    if wide {
      guard AddressWidth.isCanonical(rip), AddressWidth.isCanonical(rsp) else { throw raise(.gp, 0) }
    }
    self[slot: Slot.rsp] = wide ? rsp : rsp & 0xFFFF_FFFF
    let code = wide ? selector + 32 : selector + 16
    enterFlat(code: code, stack: code + 8, long: wide, dpl: 3, wide ? rip : rip & 0xFFFF_FFFF)
  }

  /// RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE.
  func baseInstruction(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    guard isLong64, pointee.cr4 & CR4.fsgsbase != 0 else { throw raise(.ud) }
    let isFS = op == .rdfsbase || op == .wrfsbase
    switch op {
    case .rdfsbase, .rdgsbase:
      setSized(o.pointee.dst, o.pointee.sizeLog2, self[slot: isFS ? Slot.fsBase : Slot.gsBase])
    default:
      let value = o.pointee.sizeLog2 == 3 ? get(o.pointee.src, as: UInt64.self) : UInt64(get(o.pointee.src, as: UInt32.self))
      guard AddressWidth.isCanonical(value) else { throw raise(.gp, 0) }
      setBase(isFS ? 4 : 5, value)
    }
  }
}
