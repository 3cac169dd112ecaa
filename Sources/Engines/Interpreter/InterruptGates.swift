import VMCore
import X86

extension UnsafeMutablePointer<CPU> {
  // MARK: 32-bit IDT

  /// Through a gate of the 8-byte IDT (SDM 3A 6.11, 6.12).
  func protectedInterrupt(_ vector: UInt8, _ errorCode: UInt32?, _ kind: InterruptKind) throws(Stop) {
    let fromV86 = pointee.rflags & RFLAGS.vm != 0
    if fromV86 && kind == .softwareInterrupt && pointee.rflags & RFLAGS.iopl != RFLAGS.iopl {
      throw raise(.gp, 0)
    }
    let entry = UInt64(vector) * 8
    guard entry + 7 <= UInt64(pointee.idtr.limit) else { throw raise(.gp, idtError(vector)) }
    let address = pointee.idtr.base &+ entry
    let gate = Descriptor(raw: try systemLoad(address, 8), address: address, selector: 0)
    let isGate = gate.type == SystemType.taskGate || gate.type & 6 == 6
    guard !gate.isCodeOrData, isGate, !kind.checksGate || gate.dpl >= pointee.cpl else {
      throw raise(.gp, idtError(vector))
    }
    guard gate.present else { throw raise(.np, idtError(vector)) }
    if gate.type == SystemType.taskGate {
      try switchTask(gate.gateSelector, .interrupt, errorCode: errorCode)
      return
    }
    let wide = gate.type & 8 != 0
    let target = wide ? gate.gateOffset32 : gate.gateOffset32 & 0xFFFF
    guard !isNull(gate.gateSelector) else { throw raise(.gp, 0) }
    var d = try readDescriptor(gate.gateSelector)
    guard d.isCode, d.dpl <= pointee.cpl else { throw raise(.gp, d.errorCode) }
    guard d.present else { throw raise(.np, d.errorCode) }
    let inward = !d.isConforming && d.dpl < pointee.cpl
    if fromV86 && (!inward || d.dpl != 0) { throw raise(.gp, d.errorCode) }
    let cpl = inward ? d.dpl : pointee.cpl
    let size = wide ? 4 : 2
    var stack = inward ? try innerStack(cpl) : currentStack()
    let words: UInt64 = (fromV86 ? 9 : inward ? 5 : 3) + (errorCode == nil ? 0 : 1)
    let frame = wide && !fromV86 ? reached(stack, pushing: words * 4) : nil
    if frame == nil { try probePush(stack, words * UInt64(size)) }
    try checkTarget(target, in: d.state(rpl: cpl))
    let flags = pushedFlags(vector, kind)
    if fromV86 {
      for index in [5, 4, 3, 0] { try push(&stack, size, UInt64(pointee.segments[index].selector)) }
    }
    if let frame {
      stack.pointer = (stack.pointer &- words * 4) & stack.mask
      store32(flags, errorCode, isInward: inward, in: frame)
    } else {
      if inward {
        try push(&stack, size, UInt64(pointee.segments[2].selector))
        try push(&stack, size, self[slot: Slot.rsp])
      }
      try push(&stack, size, flags)
      try push(&stack, size, UInt64(pointee.segments[1].selector))
      try push(&stack, size, pointee.rip)
      if let errorCode { try push(&stack, size, UInt64(errorCode)) }
    }
    try markAccessed(&d)
    var cleared = RFLAGS.tf | RFLAGS.nt | RFLAGS.rf | RFLAGS.vm
    if gate.type & 1 == 0 { cleared |= RFLAGS.interruptEnable }
    writeFlags(materializeFlags() & ~cleared)
    if fromV86 {
      for index in [0, 3, 4, 5] { setSegment(index, nullSegment(0)) }
    }
    if inward { setSegment(2, stack.segment) }
    commitStack(stack)
    enterCode(d.state(rpl: cpl), target, cpl: cpl)
  }

  /// What a handler finds on its 32-bit stack, from the lowest address on.
  private func store32(_ flags: UInt64, _ errorCode: UInt32?, isInward: Bool, in frame: UnsafeMutableRawPointer) {
    var words = frame
    func put(_ value: UInt64, _ index: Int) {
      words.storeBytes(of: UInt32(truncatingIfNeeded: value), toByteOffset: index * 4, as: UInt32.self)
    }
    if let errorCode {
      put(UInt64(errorCode), 0)
      words += 4
    }
    put(pointee.rip, 0)
    put(UInt64(pointee.segments[1].selector), 1)
    put(flags, 2)
    guard isInward else { return }
    put(self[slot: Slot.rsp], 3)
    put(UInt64(pointee.segments[2].selector), 4)
  }

  // MARK: 64-bit IDT

  /// Through a gate of the 16-byte IDT of IA-32e mode, with IST (SDM 3A 6.14).
  func longInterrupt(_ vector: UInt8, _ errorCode: UInt32?, _ kind: InterruptKind) throws(Stop) {
    let entry = UInt64(vector) * 16
    guard entry + 15 <= UInt64(pointee.idtr.limit) else { throw raise(.gp, idtError(vector)) }
    let address = pointee.idtr.base &+ entry
    let gate = Descriptor(raw: try systemLoad(address, 8), address: address, selector: 0)
    let upper = try systemLoad(address &+ 8, 8)
    let isGate = gate.type == SystemType.interruptGate32 || gate.type == SystemType.trapGate32
    guard !gate.isCodeOrData, isGate, upper >> 40 & 0x1F == 0, !kind.checksGate || gate.dpl >= pointee.cpl else {
      throw raise(.gp, idtError(vector))
    }
    guard gate.present else { throw raise(.np, idtError(vector)) }
    let target = gate.gateOffset32 | upper << 32
    guard !isNull(gate.gateSelector) else { throw raise(.gp, 0) }
    var d = try readDescriptor(gate.gateSelector)
    guard d.isCode, d.dpl <= pointee.cpl, d.long, !d.big else { throw raise(.gp, d.errorCode) }
    guard d.present else { throw raise(.np, d.errorCode) }
    let inward = !d.isConforming && d.dpl < pointee.cpl
    let cpl = inward ? d.dpl : pointee.cpl
    var stack = try longStack(cpl, inward: inward, ist: gate.raw >> 32 & 7)
    let words: UInt64 = errorCode == nil ? 5 : 6
    let frame = reached(stack, pushing: words * 8)
    if frame == nil { try probePush(stack, words * 8) }
    guard AddressWidth.isCanonical(target) else { throw raise(.gp, 0) }
    let flags = pushedFlags(vector, kind)
    if let frame {
      stack.pointer &-= words * 8
      store(flags, errorCode, in: frame)
    } else {
      try push(&stack, 8, UInt64(pointee.segments[2].selector))
      try push(&stack, 8, self[slot: Slot.rsp])
      try push(&stack, 8, flags)
      try push(&stack, 8, UInt64(pointee.segments[1].selector))
      try push(&stack, 8, pointee.rip)
      if let errorCode { try push(&stack, 8, UInt64(errorCode)) }
    }
    try markAccessed(&d)
    var cleared = RFLAGS.tf | RFLAGS.nt | RFLAGS.rf | RFLAGS.vm
    if gate.type & 1 == 0 { cleared |= RFLAGS.interruptEnable }
    writeFlags(flags & ~cleared)
    if inward { setSegment(2, stack.segment) }
    commitStack(stack)
    enterCode(d.state(rpl: cpl), target, cpl: cpl)
  }

  /// What a handler finds on its stack, from the lowest address on.
  private func store(_ flags: UInt64, _ errorCode: UInt32?, in frame: UnsafeMutableRawPointer) {
    var words = frame
    if let errorCode {
      words.storeBytes(of: UInt64(errorCode), as: UInt64.self)
      words += 8
    }
    words.storeBytes(of: pointee.rip, as: UInt64.self)
    words.storeBytes(of: UInt64(pointee.segments[1].selector), toByteOffset: 8, as: UInt64.self)
    words.storeBytes(of: flags, toByteOffset: 16, as: UInt64.self)
    words.storeBytes(of: self[slot: Slot.rsp], toByteOffset: 24, as: UInt64.self)
    words.storeBytes(of: UInt64(pointee.segments[2].selector), toByteOffset: 32, as: UInt64.self)
  }

  /// RSP for a handler: IST, else the inner level's, else the present one; aligned to 16 bytes.
  private func longStack(_ cpl: UInt8, inward: Bool, ist: UInt64) throws(Stop) -> StackCursor {
    var stack = currentStack()
    stack.long = true
    stack.mask = .max
    if inward { stack = try innerStack(cpl) }
    if ist != 0 {
      let error = UInt32(pointee.segments[7].selector & 0xFFFC)
      stack.pointer = try loadTSS(28 + 8 * ist, 8, error: error)
    }
    stack.errorCode = 0
    stack.pointer &= ~15
    stack.privilege = cpl == 3 ? .user : .supervisor
    return stack
  }
}
