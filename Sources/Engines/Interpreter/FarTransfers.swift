import VMCore
import X86

extension UnsafeMutablePointer<CPU> {
  // MARK: Shared checks

  /// A new RIP must be canonical in 64-bit code and inside the limit elsewhere.
  func checkTarget(_ rip: UInt64, in cs: SegmentState) throws(Stop) {
    let inside = isIA32e && cs.long ? AddressWidth.isCanonical(rip) : rip <= UInt64(cs.limit)
    guard inside else { throw raise(.gp, 0) }
  }

  /// In IA-32e mode a code segment with both L and D set is reserved.
  func checkCodeSize(_ d: Descriptor, _ exception: Exception = .gp) throws(Stop) {
    if isIA32e && d.long && d.big { throw raise(exception, d.errorCode) }
  }

  /// Loads CS, RIP and CPL together.
  func enterCode(_ cs: SegmentState, _ rip: UInt64, cpl: UInt8) {
    var cs = cs
    cs.selector = cs.selector & ~3 | UInt16(cpl)
    setSegment(1, cs)
    pointee.rip = rip
    pointee.cpl = cpl
    updateContext()
  }

  private func enterRealCode(_ selector: UInt16, _ rip: UInt64) {
    pointee.rip = rip
    loadRealSegment(1, selector)
  }

  // MARK: JMP and CALL

  /// JMP or CALL to `selector:offset` (SDM 2A). `size` is the operand size in bytes; RIP is already that of
  /// the next instruction.
  func farTransfer(_ selector: UInt16, _ offset: UInt64, size: Int, call: Bool) throws(Stop) {
    guard isProtected else {
      try realTransfer(selector, offset, size: size, call: call)
      return
    }
    guard !isNull(selector) else { throw raise(.gp, 0) }
    let d = try readDescriptor(selector)
    if d.isCodeOrData {
      try codeTransfer(d, offset, size: size, call: call)
      return
    }
    guard d.dpl >= max(pointee.cpl, rpl(selector)) else { throw raise(.gp, d.errorCode) }
    switch d.type {
    case SystemType.callGate32: try gateTransfer(d, call: call, wide: true)
    case SystemType.callGate16 where !isIA32e: try gateTransfer(d, call: call, wide: false)
    case SystemType.taskGate where !isIA32e:
      guard d.present else { throw raise(.np, d.errorCode) }
      try switchTask(d.gateSelector, call ? .call : .jump)
    case SystemType.tss16 where !isIA32e, SystemType.tss32 where !isIA32e:
      try switchTask(selector, call ? .call : .jump)
    default: throw raise(.gp, d.errorCode)
    }
  }

  private func realTransfer(_ selector: UInt16, _ offset: UInt64, size: Int, call: Bool) throws(Stop) {
    guard offset <= UInt64(pointee.segments[1].limit) else { throw raise(.gp, 0) }
    if call { try pushReturn(currentStack(), size) }
    enterRealCode(selector, offset)
  }

  /// The return address of a CALL, once it is known to fit.
  private func pushReturn(_ stack: StackCursor, _ size: Int) throws(Stop) {
    var stack = stack
    try probePush(stack, UInt64(2 * size))
    try push(&stack, size, UInt64(pointee.segments[1].selector))
    try push(&stack, size, pointee.rip)
    commitStack(stack)
  }

  /// To a code segment, at the same privilege level.
  private func codeTransfer(_ d: Descriptor, _ offset: UInt64, size: Int, call: Bool) throws(Stop) {
    var d = d
    let cpl = pointee.cpl
    let allowed = d.isConforming ? d.dpl <= cpl : d.dpl == cpl && rpl(d.selector) <= cpl
    guard d.isCode, allowed else { throw raise(.gp, d.errorCode) }
    guard d.present else { throw raise(.np, d.errorCode) }
    try checkCodeSize(d)
    let cs = d.state(rpl: cpl)
    try checkTarget(offset, in: cs)
    if call { try probePush(currentStack(), UInt64(2 * size)) }
    try markAccessed(&d)
    if call { try pushReturn(currentStack(), size) }
    enterCode(d.state(rpl: cpl), offset, cpl: cpl)
  }

  // MARK: Call gates

  /// JMP or CALL through a call gate (SDM 3A 5.8.4, 5.8.3.1).
  private func gateTransfer(_ gate: Descriptor, call: Bool, wide: Bool) throws(Stop) {
    guard gate.present else { throw raise(.np, gate.errorCode) }
    var offset = wide ? gate.gateOffset32 : gate.gateOffset32 & 0xFFFF
    if isIA32e { offset |= try readUpperHalf(gate) }
    let selector = gate.gateSelector
    guard !isNull(selector) else { throw raise(.gp, 0) }
    var d = try readDescriptor(selector)
    guard d.isCode, d.dpl <= pointee.cpl else { throw raise(.gp, d.errorCode) }
    if isIA32e && (!d.long || d.big) { throw raise(.gp, d.errorCode) }
    guard d.present else { throw raise(.np, d.errorCode) }
    if call && !d.isConforming && d.dpl < pointee.cpl {
      try innerCall(gate, &d, offset, wide: wide)
      return
    }
    // A jump cannot go inward.
    guard call || d.isConforming || d.dpl == pointee.cpl else { throw raise(.gp, d.errorCode) }
    try checkTarget(offset, in: d.state(rpl: 0))
    let size = isIA32e ? 8 : wide ? 4 : 2
    var stack = currentStack()
    if isIA32e { (stack.long, stack.mask) = (true, .max) }
    if call { try probePush(stack, UInt64(2 * size)) }
    try markAccessed(&d)
    if call { try pushReturn(stack, size) }
    enterCode(d.state(rpl: pointee.cpl), offset, cpl: pointee.cpl)
  }

  /// CALL through a gate to an inner level: new stack from the TSS, parameters copied.
  private func innerCall(_ gate: Descriptor, _ d: inout Descriptor, _ offset: UInt64, wide: Bool) throws(Stop) {
    let cpl = d.dpl
    let size = isIA32e ? 8 : wide ? 4 : 2
    let old = currentStack()
    let oldSS = pointee.segments[2].selector
    var stack = try innerStack(cpl)
    let parameters = isIA32e ? 0 : gate.gateParameters
    try probePush(stack, UInt64(size) * (4 + parameters))
    try checkTarget(offset, in: d.state(rpl: cpl))
    try markAccessed(&d)
    try push(&stack, size, UInt64(oldSS))
    try push(&stack, size, old.pointer)
    var source = old
    release(&source, UInt64(size) * parameters)
    for _ in 0..<parameters {
      source.pointer = source.pointer & ~source.mask | (source.pointer &- UInt64(size)) & source.mask
      var one = source
      try push(&stack, size, try pop(&one, size))
    }
    try push(&stack, size, UInt64(pointee.segments[1].selector))
    try push(&stack, size, pointee.rip)
    setSegment(2, stack.segment)
    commitStack(stack)
    enterCode(d.state(rpl: cpl), offset, cpl: cpl)
  }

  /// The stack of an inner privilege level, from the TSS (SDM 3A 5.8.5, 6.14.4). Faults are #TS or #SS
  /// with the selector at fault.
  func innerStack(_ cpl: UInt8) throws(Stop) -> StackCursor {
    let tr = pointee.segments[7]
    let full = UInt32(tr.selector & 0xFFFC)
    let level = UInt64(cpl)
    let inner = cpl == 3 ? Privilege.user : .supervisor
    if isIA32e {
      let pointer = try loadTSS(4 + 8 * level, 8, error: full)
      return StackCursor(
        segment: nullStack(cpl, selector: UInt16(cpl)), pointer: pointer, mask: .max, long: true, privilege: inner)
    }
    let selector: UInt16
    let pointer: UInt64
    if tr.access & 8 != 0 {
      guard 4 + 8 * level + 5 <= UInt64(tr.limit) else { throw raise(.ts, full) }
      pointer = try systemLoad(tr.base &+ 4 &+ 8 &* level, 4)
      selector = UInt16(truncatingIfNeeded: try systemLoad(tr.base &+ 8 &+ 8 &* level, 2))
    } else {
      guard 2 + 4 * level + 3 <= UInt64(tr.limit) else { throw raise(.ts, full) }
      pointer = try systemLoad(tr.base &+ 2 &+ 4 &* level, 2)
      selector = UInt16(truncatingIfNeeded: try systemLoad(tr.base &+ 4 &+ 4 &* level, 2))
    }
    let ss = try stackSegment(selector, cpl: cpl, .ts, .ss)
    return StackCursor(
      segment: ss, pointer: pointer, mask: ss.big ? 0xFFFF_FFFF : 0xFFFF, long: false, privilege: inner,
      errorCode: UInt32(selector & 0xFFFC))
  }

  /// A field of the 64-bit TSS.
  func loadTSS(_ offset: UInt64, _ size: Int, error: UInt32) throws(Stop) -> UInt64 {
    let tr = pointee.segments[7]
    guard offset + UInt64(size) - 1 <= UInt64(tr.limit) else { throw raise(.ts, error) }
    return try systemLoad(tr.base &+ offset, size)
  }

  // MARK: RET

  /// RETF, dropping `extra` bytes of parameters (SDM 2B RET).
  func farReturn(size: Int, extra: UInt64) throws(Stop) {
    var stack = currentStack()
    let rip = try pop(&stack, size)
    let selector = UInt16(truncatingIfNeeded: try pop(&stack, size))
    guard isProtected else {
      guard rip <= UInt64(pointee.segments[1].limit) else { throw raise(.gp, 0) }
      release(&stack, extra)
      commitStack(stack)
      enterRealCode(selector, rip)
      return
    }
    var d = try returnSegment(selector)
    release(&stack, extra)
    if rpl(selector) == pointee.cpl {
      try checkTarget(rip, in: d.state(rpl: 0))
      try markAccessed(&d)
      commitStack(stack)
      enterCode(d.state(rpl: pointee.cpl), rip, cpl: pointee.cpl)
      return
    }
    var outer = try outerStack(&stack, size, to: d)
    try checkTarget(rip, in: d.state(rpl: 0))
    try markAccessed(&d)
    release(&outer, extra)
    enterOuter(d, rip, outer)
  }

  /// Checks of the code segment a far return or IRET goes to.
  func returnSegment(_ selector: UInt16) throws(Stop) -> Descriptor {
    guard !isNull(selector) else { throw raise(.gp, 0) }
    let d = try readDescriptor(selector)
    let level = rpl(selector)
    let allowed = d.isConforming ? d.dpl <= level : d.dpl == level
    guard d.isCode, level >= pointee.cpl, allowed else { throw raise(.gp, d.errorCode) }
    guard d.present else { throw raise(.np, d.errorCode) }
    try checkCodeSize(d)
    return d
  }

  /// Pops the outer level's SS and stack pointer and checks them.
  func outerStack(_ stack: inout StackCursor, _ size: Int, to d: Descriptor) throws(Stop) -> StackCursor {
    let pointer = try pop(&stack, size)
    let selector = UInt16(truncatingIfNeeded: try pop(&stack, size))
    let level = rpl(d.selector)
    let long = isIA32e && d.long
    let ss = try stackSegment(selector, cpl: level, .gp, .ss, nullAllowed: long && level != 3)
    let mask: UInt64 = long ? .max : ss.big ? 0xFFFF_FFFF : 0xFFFF
    let kept = self[slot: Slot.rsp] & ~mask
    return StackCursor(
      segment: ss, pointer: kept | pointer & mask, mask: mask, long: long, privilege: level == 3 ? .user : .supervisor)
  }

  /// Commits a return to an outer level.
  func enterOuter(_ d: Descriptor, _ rip: UInt64, _ stack: StackCursor) {
    let level = rpl(d.selector)
    setSegment(2, stack.segment)
    commitStack(stack)
    dropInnerSegments(level)
    enterCode(d.state(rpl: level), rip, cpl: level)
  }
}
