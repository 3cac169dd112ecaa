import VMCore
import X86

/// IN, OUT, INS and OUTS: every port access is the monitor's or, where the I/O bitmaps let it through, the
/// device's itself.
extension UnsafeMutablePointer<CPU> {
  /// IOPL and the TSS's I/O permission bitmap (SDM 1 19.5).
  func checkPort(_ port: UInt16, _ size: Int) throws(Stop) {
    guard pointee.cr0 & CR0.pe != 0 else { return }
    let iopl = pointee.rflags >> 12 & 3
    guard UInt64(pointee.cpl) > iopl || pointee.rflags & RFLAGS.vm != 0 else { return }
    let tr = pointee.segments[7]
    guard tr.access & 0xD == 9, !tr.unusable, tr.limit >= 103 else { throw raise(.gp, 0) }
    let map = try systemLoad(tr.base &+ 102, 2)
    let byte = map + UInt64(port >> 3)
    guard byte + 1 <= UInt64(tr.limit) else { throw raise(.gp, 0) }
    let bits = try systemLoad(tr.base &+ byte, 2)
    let mask: UInt64 = (1 << UInt64(size)) - 1
    if bits >> UInt64(port & 7) & mask != 0 { throw raise(.gp, 0) }
  }

  private func cut(_ value: UInt64, _ size: Int) -> UInt64 { value & ((1 << UInt64(8 * size)) - 1) }

  /// The value a port gives: the monitor's answer, or all ones for an instruction handed back.
  private func input(_ port: UInt16, _ size: Int, string: Bool, rep: Bool) throws(Stop) -> UInt64 {
    if let answer = takeAnswer() { return cut(answer, size) }
    if pointee.emulating { return cut(.max, size) }
    throw leavePort(
      port, size, .io(port: port, size: UInt8(size), write: false, string: string, rep: rep, value: 0))
  }

  private func output(_ port: UInt16, _ size: Int, _ value: UInt64, string: Bool, rep: Bool) throws(Stop) {
    if takeAnswer() != nil || pointee.emulating { return }
    throw leavePort(
      port, size, .io(port: port, size: UInt8(size), write: true, string: string, rep: rep, value: cut(value, size)))
  }

  /// An access to a port: nearly always the bit of its first byte makes it exit, which takes one look.
  @inline(__always)
  private func leavePort(_ port: UInt16, _ size: Int, _ qualification: ExitQualification) -> Stop {
    let usesBitmaps = pointee.ownVMCS.primary & VMXControlBit.useIOBitmaps.mask != 0
    if usesBitmaps, pointee.ownBitmaps[Int(port >> 3)] >> UInt8(port & 7) & 1 != 0 {
      return leave(.io, qualification, .ioBitmap(port: port))
    }
    return access(.io(port: port, size: UInt8(size)), .io, qualification)
  }

  private func interceptPort(
    _ port: UInt16, _ size: Int, input: Bool, immediate: Bool = false, string: Bool = false, rep: Bool = false,
    linear: @autoclosure () -> UInt64 = 0
  ) throws(Stop) {
    try intercept(
      .io(port: port, size: UInt8(size)), .io,
      VMXFormat.io(
        port: port, size: UInt8(size), isInput: input, isString: string, hasREP: rep, isImmediate: immediate),
      linear: linear())
  }

  /// The linear address of a string operand, without any check.
  private func uncheckedLinear(_ segment: Int, _ offset: UInt64) -> UInt64 {
    let base: UInt64
    switch segment {
    case 4: base = self[slot: Slot.fsBase]
    case 5: base = self[slot: Slot.gsBase]
    default: base = isLong64 ? 0 : pointee.segments[segment].base
    }
    return (base &+ offset) & pointee.addressMask
  }

  func portInstruction(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    let size = 1 << Int(o.pointee.sizeLog2)
    let port = o.pointee.imm < 0 ? get(16, as: UInt16.self) : UInt16(o.pointee.imm & 0xFF)
    try checkPort(port, size)
    try interceptPort(port, size, input: op == .in, immediate: o.pointee.imm >= 0)
    try notePort(port, size)
    if op == .in {
      setSized(0, o.pointee.sizeLog2, try input(port, size, string: false, rep: false))
    } else {
      try output(port, size, self[slot: 0], string: false, rep: false)
    }
  }

  /// INS and OUTS: each element exits by itself and each iteration of REP is final, so that an interrupt
  /// or fault between two finds RCX, RSI and RDI as far as the work has got.
  func portStringInstruction(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    let size = 1 << Int(o.pointee.sizeLog2)
    let port: UInt16 = get(16)
    let rep = o.pointee.flags & MicroOp.rep != 0
    let mask = addressSizeMask(o)
    let step = pointee.rflags & RFLAGS.df != 0 ? 0 &- UInt64(size) : UInt64(size)
    try checkPort(port, size)
    while true {
      if rep && self[slot: 1] & mask == 0 { return }
      try interceptPort(
        port, size, input: op == .ins, string: true, rep: rep,
        linear: op == .ins
          ? uncheckedLinear(0, self[slot: 7] & mask) : uncheckedLinear(Int(o.pointee.src), self[slot: 6] & mask))
      try notePort(port, size)
      if op == .ins {
        let at = try linear(0, self[slot: 7] & mask, size: size, write: true)
        try probeLinear(at, size, privilege)
        let value = try input(port, size, string: true, rep: rep)
        try storeInput(value, at, size)
        advance(7, step, mask)
      } else {
        let at = try linear(Int(o.pointee.src), self[slot: 6] & mask, size: size, write: false)
        try output(port, size, try readLinear(at, size, privilege), string: true, rep: rep)
        advance(6, step, mask)
      }
      guard rep else { return }
      advance(1, .max, mask)
      // The monitor's leave, and its answers, were for one element.
      pointee.emulating = false
      if pointee.alone { vcpu.forgetUsedAnswers() }
    }
  }

  /// What a port gave goes to memory. Where that is a device, the instruction leaves for it and comes again: the port
  /// is not read a second time.
  private func storeInput(_ value: UInt64, _ at: UInt64, _ size: Int) throws(Stop) {
    do throws(Stop) {
      try writeLinear(at, size, value, privilege)
    } catch {
      if error == .exit { (pointee.hasAnswer, pointee.answer) = (true, value) }
      throw error
    }
  }

  private func addressSizeMask(_ o: MicroOpPointer) -> UInt64 {
    switch o.pointee.addressSizeLog2 {
    case 1: 0xFFFF
    case 2: 0xFFFF_FFFF
    default: .max
    }
  }

  /// Moves a counter or index register; a 32-bit one clears its upper half.
  private func advance(_ register: Int, _ step: UInt64, _ mask: UInt64) {
    let sum = (self[slot: register] &+ step) & mask
    self[slot: register] = mask == 0xFFFF ? self[slot: register] & ~mask | sum : sum
  }
}
