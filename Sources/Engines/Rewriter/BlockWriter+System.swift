import X86

/// Sensitive instructions that are a few host instructions: no reason to call the interpreter.
extension BlockWriter {
  private var context: Context { Context(bits: block.pointee.context) }
  /// CPL 0 of protected mode, or real mode: whatever RFLAGS.IOPL says.
  private var isPrivileged: Bool { !context.isVirtual8086 && (!context.isProtected || context.cpl == 0) }

  /// False for what is left to a callout.
  mutating func emitSystem(_ o: MicroOpPointer) -> Bool {
    switch SystemOp(rawValue: o.pointee.aux) {
    case .cli where isPrivileged:
      // BTR of IF.
      asm.modRM(0x0FBA, 6, offsets.field(offsets.rflags), size: 4, immediate: 1)
      asm.byte(9)
      host = .none
      return true
    case .pushf where !context.isVirtual8086: return pushFlags(o)
    case .swapgs where isLong && context.cpl == 0:
      let (a, b) = (Self.a, Self.b)
      asm.move(a, HostLayout.register(Slot.gsBase), size: 8)
      asm.move(b, offsets.field(offsets.kernelGSBase), size: 8)
      asm.move(HostLayout.register(Slot.gsBase), b, size: 8)
      asm.move(offsets.field(offsets.gsSegmentBase), b, size: 8)
      asm.move(offsets.field(offsets.kernelGSBase), a, size: 8)
      return true
    default: return false
    }
  }

  /// PUSHF of the stack's own width.
  private mutating func pushFlags(_ o: MicroOpPointer) -> Bool {
    let size = 1 << Int(o.pointee.sizeLog2)
    guard size == (isLong ? 8 : 4), isLong || context.bigStack && context.flatData else { return false }
    makeEager()
    let (a, b) = (Self.a, Self.b)
    asm.lea(b, .memory(.r12, displacement: -Int32(size)), size: isLong ? 8 : 4)
    let miss = probe(size: size, write: true)
    asm.move(a, offsets.field(offsets.rflags), size: 8)
    asm.alu(4, .register(a), ~Int32(RFLAGS.vm | RFLAGS.rf), size: 8)
    asm.move(.memory(b), a, size: size)
    moveStack(-Int32(size))
    slowWay(from: miss, o)
    return true
  }

  /// All flags into `CPU.rflags`.
  private mutating func makeEager() {
    if state.flags == .saved(.eager) && state.rotation == nil { return }
    let (a, b) = (Self.a, Self.b)
    host = .none
    bringFlags(for: 0)
    guard state.flags != .saved(.eager) else { return }
    asm.byte(0x9C)  // PUSHFQ
    asm.pop(a)
    asm.alu(4, .register(a), 0x8D5, size: 4)
    asm.move(b, offsets.field(offsets.rflags), size: 8)
    asm.alu(4, .register(b), ~0x8D5, size: 8)
    asm.alu(1, .register(b), a, size: 8)
    asm.move(offsets.field(offsets.rflags), b, size: 8)
    asm.store(offsets.field(offsets.flagClass), Int32(FlagClass.eager.rawValue), size: 1)
    state.flags = .saved(.eager)
    host = .none
  }

  /// STI, unless the monitor waits for interrupts to be on.
  mutating func setInterrupts(_ o: MicroOpPointer, _ onward: Trace.Onward?) {
    guard isPrivileged else { return calloutAtEnd(o) }
    let a = Self.a
    for field in [offsets.windowRequested, offsets.leaveSoon] {
      asm.alu(7, offsets.field(field), 0, size: 1)
      interpretInstead(from: asm.jumpAhead(5), o)
    }
    asm.test(offsets.field(offsets.rflags), Int32(RFLAGS.interruptEnable), size: 4)
    let already = asm.jumpAhead(5)
    // The shadow holds at the count of instructions retired now.
    asm.move(a, offsets.field(offsets.horizon), size: 8)
    asm.alu(5, .register(a), Self.budget, size: 8)
    if excess != 0 { asm.alu(5, .register(a), excess, size: 8) }
    asm.move(offsets.field(offsets.shadowAt), a, size: 8)
    asm.store(offsets.field(offsets.shadowIsMOVSS), 0, size: 1)
    asm.alu(1, offsets.field(offsets.rflags), Int32(RFLAGS.interruptEnable), size: 4)
    asm.land(already)
    host = .none
    if onward == nil { edge(taken: false) }
  }
}
