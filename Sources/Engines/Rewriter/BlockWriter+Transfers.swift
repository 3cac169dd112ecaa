/// The stack and what ends a block.
extension BlockWriter {
  /// False if the micro-op is neither, or is left to the interpreter.
  mutating func emitTransfer(_ o: MicroOpPointer) -> Bool {
    switch o.pointee.op {
    case .push64r: return push(o, size: 8)
    case .push32r: return push(o, size: 4)
    case .push64i: return push(o, size: 8, immediate: true)
    case .push32i: return push(o, size: 4, immediate: true)
    case .pop64r: return pop(o, size: 8)
    case .pop32r: return pop(o, size: 4)
    case .jmp: edge(taken: true)
    case .next: edge(taken: false)
    case .jcc: branch(o)
    case .decJnz32: countDown(o, size: 4)
    case .decJnz64: countDown(o, size: 8)
    case .call64: call(o, size: 8)
    case .call32: call(o, size: 4)
    case .ret64: ret(o, size: 8)
    case .ret32: ret(o, size: 4)
    case .jmpR: jumpToRegister(o)
    case .jmp64m: jumpToMemory(o)
    case .call64R, .call64m, .integerEnd, .systemEnd: interpret(o)
    default:
      guard o.pointee.comparesAndJumps else { return false }
      compareAndBranch(o)
    }
    return true
  }

  /// The interpreter ends the block.
  private mutating func interpret(_ o: MicroOpPointer) {
    let always = asm.jumpAhead()
    interpretInstead(from: always, o)
  }

  private mutating func branches(_ condition: Condition) {
    let taken = asm.jumpAhead(condition)
    edge(taken: false)
    asm.land(taken)
    edge(taken: true)
  }

  private mutating func branch(_ o: MicroOpPointer) {
    let condition = UInt8(truncatingIfNeeded: o.pointee.aux)
    guard bringFlags(for: condition) else { return interpret(o) }
    branches(condition)
  }

  /// CMP or TEST with Jcc.
  private mutating func compareAndBranch(_ o: MicroOpPointer) {
    let index = Int(o.pointee.op.rawValue - Op.cmpJcc8rr.rawValue)
    let size = 1 << (index % 4)
    let isTest = index >= 8
    let immediate = index / 4 & 1 != 0
    guard let to = operand(o.pointee.dst), immediate || operand(o.pointee.src) != nil else { return interpret(o) }
    let a = HostLayout.a
    let from = immediate ? a : value(o.pointee.src, HostLayout.b, size: size)
    if !isTest { saveFirst(to, size: size) }
    asm.extend(a, to, size: size)
    let code: UInt8 = isTest ? 4 : 5
    if immediate {
      asm.alu(code, .register(a), Int32(truncatingIfNeeded: o.pointee.imm), size: size)
    } else {
      asm.alu(code, .register(a), from, size: size)
    }
    asm.move(offsets.field(offsets.flagResult), a, size: 8)
    noteFlags(isTest ? .logic8 : .sub8, size: size)
    branches(UInt8(truncatingIfNeeded: o.pointee.aux))
  }

  private mutating func countDown(_ o: MicroOpPointer, size: Int) {
    guard let home = home(o.pointee.dst), keepCarry() else { return interpret(o) }
    asm.step(1, .register(home), size: size)
    saveResult(.register(home), size: size)
    noteFlags(.dec8, size: size)
    branches(5)
  }

  // MARK: The stack

  private var stack: HostRegister { .r12 }

  /// Host address of the stack `distance` bytes from its top.
  private mutating func reachStack(_ distance: Int32, size: Int, write: Bool) -> Int {
    asm.lea(HostLayout.b, .memory(stack, displacement: distance), size: isLong ? 8 : 4)
    return probe(size: size, write: write)
  }
  private mutating func moveStack(_ distance: Int32) {
    asm.lea(stack, .memory(stack, displacement: distance), size: isLong ? 8 : 4)
  }

  private mutating func push(_ o: MicroOpPointer, size: Int, immediate: Bool = false) -> Bool {
    if !immediate, o.pointee.src & 7 != 0 { return false }
    guard isLong == (size == 8) else { return false }
    let miss = reachStack(-Int32(size), size: size, write: true)
    if immediate {
      asm.store(.memory(HostLayout.b), Int32(truncatingIfNeeded: o.pointee.imm), size: size)
    } else {
      asm.move(.memory(HostLayout.b), value(o.pointee.src, HostLayout.a, size: size), size: size)
    }
    moveStack(-Int32(size))
    slowWay(from: miss, o)
    return true
  }

  private mutating func pop(_ o: MicroOpPointer, size: Int) -> Bool {
    guard o.pointee.dst & 7 == 0, isLong == (size == 8) else { return false }
    let miss = reachStack(0, size: size, write: false)
    asm.move(HostLayout.a, .memory(HostLayout.b), size: size)
    moveStack(Int32(size))
    put(o.pointee.dst, HostLayout.a, size: size)
    slowWay(from: miss, o)
    return true
  }

  mutating func leaveFrame(_ o: MicroOpPointer, size: Int) -> Bool {
    guard isLong == (size == 8) else { return false }
    asm.lea(HostLayout.b, .memory(.rbp), size: size)
    let miss = probe(size: size, write: false)
    asm.lea(stack, .memory(.rbp, displacement: Int32(size)), size: size)
    asm.move(.rbp, .memory(HostLayout.b), size: size)
    slowWay(from: miss, o)
    return true
  }

  private mutating func call(_ o: MicroOpPointer, size: Int) {
    guard isLong == (size == 8) else { return interpret(o) }
    let miss = reachStack(-Int32(size), size: size, write: true)
    asm.load(HostLayout.a, block.pointee.endRIP)
    asm.move(.memory(HostLayout.b), HostLayout.a, size: size)
    moveStack(-Int32(size))
    edge(taken: true)
    interpretInstead(from: miss, o)
  }

  private mutating func ret(_ o: MicroOpPointer, size: Int) {
    guard isLong == (size == 8), let more = Int32(exactly: o.pointee.imm) else { return interpret(o) }
    let miss = reachStack(0, size: size, write: false)
    asm.move(HostLayout.c, .memory(HostLayout.b), size: size)
    checkCanonical(o)
    moveStack(Int32(size) + more)
    indirect()
    interpretInstead(from: miss, o)
  }

  private mutating func jumpToRegister(_ o: MicroOpPointer) {
    guard o.pointee.src & 7 == 0 else { return interpret(o) }
    let target = value(o.pointee.src, HostLayout.c, size: 8)
    if target != HostLayout.c { asm.move(HostLayout.c, .register(target), size: 8) }
    checkCanonical(o)
    indirect()
  }

  private mutating func jumpToMemory(_ o: MicroOpPointer) {
    let miss = reach(o, size: 8, write: false)
    asm.move(HostLayout.c, .memory(HostLayout.b), size: 8)
    checkCanonical(o)
    indirect()
    interpretInstead(from: miss, o)
  }

  /// A target in `c` that is not canonical faults: the interpreter's work.
  private mutating func checkCanonical(_ o: MicroOpPointer) {
    guard isLong else { return }
    let a = HostLayout.a
    asm.move(a, .register(HostLayout.c), size: 8)
    asm.shift(4, .register(a), by: 16, size: 8)
    asm.shift(7, .register(a), by: 16, size: 8)
    asm.alu(7, .register(a), HostLayout.c, size: 8)
    let other = asm.jumpAhead(5)
    interpretInstead(from: other, o)
  }
}
