import X86

/// Sensitive instructions that are a few host instructions: no reason to call the interpreter.
extension BlockWriter {
  var context: Context { Context(bits: block.pointee.context) }
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
      swapBases()
      return true
    case .movFromSegment:
      guard o.pointee.dst & 7 == 0 else { return false }
      asm.extend(Self.a, offsets.field(offsets.segment(Int(o.pointee.imm), \.selector)), size: 2)
      put(o.pointee.dst, Self.a, size: 1 << Int(o.pointee.sizeLog2))
      return true
    case .pause:
      slowWay(from: whereWanted(.pause), o)
      return true
    case .movFromCR where isPrivileged: return readControlRegister(o)
    case .rdtsc: return readCounter(o)
    case .rdmsr where isPrivileged:
      var jumps = whereWanted(.processorMSRs)
      asm.call(to: rewriter.readMSRAt)
      jumps.append(asm.jumpAhead(4))
      slowWay(from: jumps, o)
      return true
    case .lgdt where isPrivileged: return loadTable(o, offsets.gdtrBase, offsets.gdtrLimit)
    case .lidt where isPrivileged: return loadTable(o, offsets.idtrBase, offsets.idtrLimit)
    default: return false
    }
  }

  /// SWAPGS. Right behind another one the bases are still in registers.
  private mutating func swapBases() {
    let own = HostLayout.register(Slot.gsBase), kernel = offsets.field(offsets.kernelGSBase)
    var (first, second) = (Self.a, Self.b)
    if let swapped, swapped.end == asm.count {
      (first, second) = (swapped.own, swapped.kernel)
    } else {
      asm.move(first, own, size: 8)
      asm.move(second, kernel, size: 8)
    }
    asm.move(own, second, size: 8)
    asm.move(offsets.field(offsets.gsSegmentBase), second, size: 8)
    asm.move(kernel, first, size: 8)
    swapped = (end: asm.count, own: second, kernel: first)
  }

  /// Jumps that are taken where a monitor may want the instruction: the guest's own, or ours by one of these bits.
  mutating func whereWanted(_ quick: QuickExits) -> [Int] {
    host = .none
    asm.alu(7, offsets.field(offsets.nonRoot), 0, size: 1)
    var jumps = [asm.jumpAhead(5)]
    if !quick.isEmpty {
      asm.test(offsets.field(offsets.quick), Int32(bitPattern: quick.rawValue), size: 4)
      jumps.append(asm.jumpAhead(5))
    }
    return jumps
  }

  /// MOV from CR0, CR2, CR3 or CR4, which are as the guest sees them where their bit of `QuickExits` is 0.
  private mutating func readControlRegister(_ o: MicroOpPointer) -> Bool {
    let registers: [Int64: (Int32, QuickExits)] = [
      0: (offsets.cr0, .cr0), 2: (offsets.cr2, []), 3: (offsets.cr3, .cr3), 4: (offsets.cr4, .cr4),
    ]
    guard let (field, quick) = registers[o.pointee.imm], o.pointee.dst & 7 == 0 else { return false }
    let jumps = whereWanted(quick)
    asm.move(Self.a, offsets.field(field), size: 8)
    put(o.pointee.dst, Self.a, size: isLong ? 8 : 4)
    slowWay(from: jumps, o)
    return true
  }

  /// LGDT and LIDT, but with the short base of a 16-bit operand.
  private mutating func loadTable(_ o: MicroOpPointer, _ base: Int32, _ limit: Int32) -> Bool {
    guard isLong || o.pointee.sizeLog2 == 2 else { return false }
    let (a, b) = (Self.a, Self.b)
    var jumps = whereWanted(.descriptorTables)
    if let miss = reach(o, size: isLong ? 10 : 6, write: false) { jumps.append(miss.jump) }
    asm.move(a, .memory(b, displacement: 2), size: isLong ? 8 : 4)
    if isLong {
      asm.shift(4, .register(a), by: 16, size: 8)
      asm.shift(7, .register(a), by: 16, size: 8)
      asm.alu(7, a, .memory(b, displacement: 2), size: 8)
      jumps.append(asm.jumpAhead(5))
    }
    asm.move(offsets.field(base), a, size: 8)
    asm.move(a, .memory(b), size: 2)
    asm.move(offsets.field(limit), a, size: 2)
    slowWay(from: jumps, o)
    return true
  }

  /// POPF of 64-bit mode that changes no more than the arithmetic flags, DF and, in ring 0 while the monitor does not
  /// wait for interrupts to be on, IF.
  mutating func popFlags(_ o: MicroOpPointer, _ onward: Trace.Onward?) {
    guard isLong, o.pointee.sizeLog2 == 3 else { return calloutAtEnd(o) }
    let (a, b) = (Self.a, Self.b)
    let mayChange = Int32(RFLAGS.arithmetic | RFLAGS.df | (context.cpl == 0 ? RFLAGS.interruptEnable : 0))
    let counts = Int32(RFLAGS.arithmetic | RFLAGS.df | RFLAGS.interruptEnable | RFLAGS.tf | RFLAGS.nt)
    let rare = Int32(RFLAGS.iopl | RFLAGS.ac | RFLAGS.id)
    asm.lea(b, .memory(.r12), size: 8)
    var slow = [probe(size: 8, write: false).jump]
    for field in [offsets.windowRequested, offsets.leaveSoon] {
      asm.alu(7, offsets.field(field), 0, size: 1)
      slow.append(asm.jumpAhead(5))
    }
    asm.move(a, .memory(b), size: 8)
    asm.move(b, offsets.field(offsets.rflags), size: 8)
    asm.alu(4, .register(b), ~Int32(RFLAGS.rf), size: 8)
    asm.alu(6, .register(a), b, size: 8)
    asm.alu(4, .register(a), counts | rare, size: 8)
    asm.test(.register(a), (counts | rare) & ~mayChange, size: 4)
    slow.append(asm.jumpAhead(5))
    later(.end(o), from: slow)
    asm.alu(6, .register(a), b, size: 8)
    asm.move(offsets.field(offsets.rflags), a, size: 8)
    asm.store(offsets.field(offsets.flagClass), Int32(FlagClass.eager.rawValue), size: 1)
    moveStack(8)
    state.flags = .saved(.eager)
    host = .none
    if onward == nil { edge(taken: false) }
  }

  /// RDTSC: virtual time, with both offsets.
  private mutating func readCounter(_ o: MicroOpPointer) -> Bool {
    let a = Self.a
    var jumps = whereWanted(.rdtsc)
    if context.cpl != 0 {
      asm.test(offsets.field(offsets.cr4), Int32(CR4.tsd), size: 4)
      jumps.append(asm.jumpAhead(5))
    }
    asm.move(a, offsets.field(offsets.horizon), size: 8)
    asm.alu(5, .register(a), Self.budget, size: 8)
    asm.alu(5, .register(a), excess + Int32(o.pointee.remaining), size: 8)
    for field in [offsets.slept, offsets.tscOffset, offsets.ownTSCOffset] {
      asm.alu(0, a, offsets.field(field), size: 8)
    }
    asm.move(.rax, .register(a), size: 4)
    asm.shift(5, .register(a), by: 32, size: 8)
    asm.move(.rdx, .register(a), size: 8)
    slowWay(from: jumps, o)
    return true
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
