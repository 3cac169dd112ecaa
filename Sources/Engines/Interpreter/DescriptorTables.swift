import VMCore
import X86

/// Instructions on GDTR, IDTR, LDTR, TR and the machine status word, and those that look at descriptors.
extension UnsafeMutablePointer<CPU> {
  func tableInstruction(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    let global = op == .sgdt || op == .lgdt
    let write = op == .lgdt || op == .lidt
    if write { try requireRing0() } else { try requireNoUMIP() }
    try intercept(.descriptorTable, .gdtrIdtrAccess)
    let qualification = ExitQualification.descriptorTable(table: global ? 0 : 1, write: write)
    if try offer(.descriptorTables, .descriptorTable, .gdtrIdtrAccess, qualification) { return }
    let at = address(o)
    let long = isLong64
    let next = long ? at &+ 2 : (at &+ 2) & pointee.addressMask
    let width = long ? 8 : 4
    guard write else {
      let table = global ? pointee.gdtr : pointee.idtr
      try probeWrite(at, 2)
      try probeWrite(next, width)
      try writeLinear(at, 2, UInt64(table.limit), privilege)
      try writeLinear(next, width, table.base, privilege)
      return
    }
    let limit = UInt16(truncatingIfNeeded: try readLinear(at, 2, privilege))
    var base = try readLinear(next, width, privilege)
    if long && !AddressWidth.isCanonical(base) { throw raise(.gp, 0) }
    if o.pointee.sizeLog2 == 1 && !long { base &= 0xFF_FFFF }
    let table = TableRegister(base: base, limit: limit)
    if global { pointee.gdtr = table } else { pointee.idtr = table }
  }

  func taskRegisterInstruction(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    try requireProtected()
    let write = op == .lldt || op == .lldtM || op == .ltr || op == .ltrM
    let local = op == .lldt || op == .lldtM || op == .sldt || op == .sldtM
    if write { try requireRing0() } else { try requireNoUMIP() }
    try intercept(.descriptorTable, .ldtrTrAccess)
    let qualification = ExitQualification.descriptorTable(table: local ? 2 : 3, write: write)
    if try offer(.descriptorTables, .descriptorTable, .ldtrTrAccess, qualification) { return }
    switch op {
    case .lldt: try loadLDT(get(o.pointee.src))
    case .lldtM: try loadLDT(try load(address(o)))
    case .ltr: try loadTaskRegister(get(o.pointee.src))
    case .ltrM: try loadTaskRegister(try load(address(o)))
    default:
      let selector = pointee.segments[local ? 6 : 7].selector
      if op == .sldtM || op == .strM {
        try store(address(o), selector)
      } else {
        setSized(o.pointee.dst, o.pointee.sizeLog2, UInt64(selector))
      }
    }
  }

  func statusWordInstruction(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    switch op {
    case .smsw:
      try requireNoUMIP()
      setSized(o.pointee.dst, o.pointee.sizeLog2, visibleCR0)
    case .smswM:
      try requireNoUMIP()
      try store(address(o), UInt16(truncatingIfNeeded: visibleCR0))
    case .clts:
      try requireRing0()
      try intercept(.clts, .crAccess, VMXFormat.cr(number: 0, access: 2, gpr: 0))
      if try offerStatusWord(.clts, .cr(number: 0, access: .clts, gpr: 0, value: 0)) { return }
      pointee.cr0 = writtenCR0(pointee.cr0 & ~CR0.ts)
    default:
      try requireRing0()
      let word: UInt16 = op == .lmsw ? get(o.pointee.src) : try load(address(o))
      let value = UInt64(word & 0xF)
      try intercept(
        .lmsw(word), .crAccess, VMXFormat.cr(number: 0, access: 3, gpr: 0, isMemory: op == .lmswM, source: word),
        linear: op == .lmswM ? address(o) : 0)
      if try offerStatusWord(.lmsw(word), .cr(number: 0, access: .lmsw, gpr: 0, value: UInt64(word))) { return }
      // LMSW can set PE but not clear it.
      try changeCR0(to: writtenCR0(pointee.cr0 & ~0xE | value))
    }
  }

  /// CLTS and LMSW: accesses to CR0 of their own kind.
  private func offerStatusWord(_ event: VMXEvent, _ qualification: ExitQualification) throws(Stop) -> Bool {
    if takeAnswer() != nil { return true }
    if exits(on: .cr0), let cause = controlRegisterCause(0, event) { throw leave(.crAccess, qualification, cause) }
    return false
  }

  func queryInstruction(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    try requireProtected()
    switch op {
    case .arpl, .arplM:
      try adjustRPL(op, o)
      return
    default: break
    }
    let selector: UInt16
    switch op {
    case .larM, .lslM, .verrM, .verwM: selector = try load(address(o))
    default: selector = get(o.pointee.src)
    }
    switch op {
    case .lar, .larM, .lsl, .lslM:
      let isLAR = op == .lar || op == .larM
      let result = isLAR ? try accessRights(selector) : try segmentLimit(selector)
      putFlag(RFLAGS.zf, result != nil)
      if let result { setSized(o.pointee.dst, o.pointee.sizeLog2, result) }
    default:
      let write = op == .verw || op == .verwM
      putFlag(RFLAGS.zf, try verify(selector, write: write))
    }
  }

  /// ARPL raises the destination's RPL to the source's (SDM 2A). Only a selector that changes is written,
  /// so only then must the segment (its index in `imm`) be writable.
  private func adjustRPL(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    let source: UInt16 = get(o.pointee.src)
    let at = op == .arplM ? address(o) : 0
    let old: UInt16 = op == .arplM ? try load(at) : get(o.pointee.dst)
    let lower = old & 3 < source & 3
    if lower {
      let new = old & ~3 | source & 3
      if op == .arplM {
        let segment = Int(o.pointee.imm)
        guard allows(pointee.segments[segment], write: true) else { throw raise(segment == 2 ? .ss : .gp, 0) }
        try store(at, new)
      } else {
        set(o.pointee.dst, new)
      }
    }
    putFlag(RFLAGS.zf, lower)
  }
}
