/// The stack and what ends a block.
extension BlockWriter {
  /// False if the micro-op is neither, or is left to the interpreter. `onward` is where the trace goes on behind the
  /// block's last one.
  mutating func emitTransfer(_ o: MicroOpPointer, _ onward: Trace.Onward?) -> Bool {
    switch o.pointee.op {
    case .push64r: return push(o, size: 8)
    case .push32r: return push(o, size: 4)
    case .push64i: return push(o, size: 8, immediate: true)
    case .push32i: return push(o, size: 4, immediate: true)
    case .pop64r: return pop(o, size: 8)
    case .pop32r: return pop(o, size: 4)
    case .jmp: if onward == nil { edge(taken: true) }
    case .next: if onward == nil { edge(taken: false) }
    case .jcc:
      let condition = UInt8(truncatingIfNeeded: o.pointee.aux)
      bringFlags(for: condition)
      branch(condition, onward)
    case .decJnz32: countDown(o, size: 4, onward)
    case .decJnz64: countDown(o, size: 8, onward)
    case .call64: call(o, size: 8, onward)
    case .call32: call(o, size: 4, onward)
    case .ret64: ret(o, size: 8, onward)
    case .ret32: ret(o, size: 4, onward)
    case .jmpR: jumpToRegister(o)
    case .jmp64m: jumpToMemory(o)
    case .call64R: callRegister(o)
    case .call64m: callMemory(o)
    case .integerEnd: calloutAtEnd(o)
    case .systemEnd:
      switch SystemOp(rawValue: o.pointee.aux) {
      case .sti: setInterrupts(o, onward)
      case .popf: popFlags(o, onward)
      case .syscall where isLong: systemCall(o)
      case .sysret where isLong && context.cpl == 0 && o.pointee.sizeLog2 == 3: systemReturn(o)
      default: calloutAtEnd(o)
      }
    default:
      guard o.pointee.comparesAndJumps else { return false }
      compareAndBranch(o, onward)
    }
    return true
  }

  /// The interpreter ends the block.
  private mutating func interpret(_ o: MicroOpPointer) {
    let always = asm.jumpAhead()
    interpretInstead(from: always, o)
  }

  private mutating func branch(_ condition: Condition, _ onward: Trace.Onward?) {
    switch onward {
    case .taken: leave(taken: false, when: condition ^ 1)
    case .fall: leave(taken: true, when: condition)
    case .returning, nil:
      let before = state
      let taken = asm.jumpAhead(condition)
      edge(taken: false)
      asm.land(taken)
      state = before
      edge(taken: true)
    }
  }

  /// CMP or TEST with Jcc.
  private mutating func compareAndBranch(_ o: MicroOpPointer, _ onward: Trace.Onward?) {
    let index = Int(o.pointee.op.rawValue - Op.cmpJcc8rr.rawValue)
    let size = 1 << (index % 4)
    guard compare(o, size: size, isTest: index >= 8, immediate: index / 4 & 1 != 0) else { return interpret(o) }
    branch(UInt8(truncatingIfNeeded: o.pointee.aux), onward)
  }

  private mutating func countDown(_ o: MicroOpPointer, size: Int, _ onward: Trace.Onward?) {
    guard let to = operand(o.pointee.dst) else { return interpret(o) }
    keepCarry()
    writeBack(o, to, size) { $0.step(1, $1, size: size) }
    saveResult(to, size: size)
    noteFlags(.dec8, size: size)
    branch(5, onward)
  }

  // MARK: The stack

  private var stack: HostRegister { .r12 }

  /// Host address of the stack `distance` bytes from its top.
  private mutating func reachStack(_ distance: Int32, size: Int, write: Bool) -> Miss {
    asm.lea(Self.b, .memory(stack, displacement: distance), size: isLong ? 8 : 4)
    return probe(size: size, write: write)
  }
  mutating func moveStack(_ distance: Int32) {
    asm.lea(stack, .memory(stack, displacement: distance), size: isLong ? 8 : 4)
  }

  private mutating func push(_ o: MicroOpPointer, size: Int, immediate: Bool = false) -> Bool {
    if !immediate, o.pointee.src & 7 != 0 { return false }
    guard isLong == (size == 8) else { return false }
    let miss = reachStack(-Int32(size), size: size, write: true)
    if immediate {
      asm.store(.memory(Self.b), Int32(truncatingIfNeeded: o.pointee.imm), size: size)
    } else {
      asm.move(.memory(Self.b), value(o.pointee.src, Self.a, size: size), size: size)
    }
    moveStack(-Int32(size))
    slowWay(from: miss, o)
    return true
  }

  private mutating func pop(_ o: MicroOpPointer, size: Int) -> Bool {
    guard o.pointee.dst & 7 == 0, isLong == (size == 8) else { return false }
    let miss = reachStack(0, size: size, write: false)
    asm.move(Self.a, .memory(Self.b), size: size)
    moveStack(Int32(size))
    put(o.pointee.dst, Self.a, size: size)
    slowWay(from: miss, o)
    return true
  }

  mutating func leaveFrame(_ o: MicroOpPointer, size: Int) -> Bool {
    guard isLong == (size == 8) else { return false }
    asm.lea(Self.b, .memory(.rbp), size: size)
    let miss = probe(size: size, write: false)
    asm.lea(stack, .memory(.rbp, displacement: Int32(size)), size: size)
    asm.move(.rbp, .memory(Self.b), size: size)
    slowWay(from: miss, o)
    return true
  }

  private mutating func call(_ o: MicroOpPointer, size: Int, _ onward: Trace.Onward?) {
    guard isLong == (size == 8) else { return interpret(o) }
    pushReturn(o, size: size)
    if onward == nil { edge(taken: true) }
  }

  /// Pushes the address behind a call.
  private mutating func pushReturn(_ o: MicroOpPointer, size: Int) {
    let miss = reachStack(-Int32(size), size: size, write: true)
    let back = block.pointee.endRIP
    if size == 4 || Int32(exactly: Int64(bitPattern: back)) != nil {
      asm.store(.memory(Self.b), Int32(truncatingIfNeeded: Int64(bitPattern: back)), size: size)
    } else {
      asm.load(Self.a, back)
      asm.move(.memory(Self.b), Self.a, size: size)
    }
    moveStack(-Int32(size))
    interpretInstead(from: miss, o)
  }

  private mutating func callRegister(_ o: MicroOpPointer) {
    guard isLong, o.pointee.src & 7 == 0 else { return interpret(o) }
    let target = value(o.pointee.src, Self.b, size: 8)
    if target != Self.b { asm.move(Self.b, .register(target), size: 8) }
    callIndirect(o)
  }
  private mutating func callMemory(_ o: MicroOpPointer) {
    guard isLong else { return interpret(o) }
    let miss = reach(o, size: 8, write: false)
    interpretInstead(from: miss, o)
    asm.move(Self.b, found, size: 8)
    callIndirect(o)
  }
  /// To `b`, which waits in `CPU.rip` while the stack is reached.
  private mutating func callIndirect(_ o: MicroOpPointer) {
    checkCanonical(o)
    asm.move(offsets.field(offsets.rip), Self.b, size: 8)
    pushReturn(o, size: 8)
    settle()
    goOn()
  }

  private mutating func ret(_ o: MicroOpPointer, size: Int, _ onward: Trace.Onward?) {
    guard isLong == (size == 8), let more = Int32(exactly: o.pointee.imm) else { return interpret(o) }
    let miss = reachStack(0, size: size, write: false)
    interpretInstead(from: miss, o)
    asm.move(Self.b, .memory(Self.b), size: size)
    if onward == .returning, let foreseen {
      if let short = Int32(exactly: Int64(bitPattern: foreseen)) {
        asm.alu(7, .register(Self.b), short, size: 8)
      } else {
        asm.load(Self.a, foreseen)
        asm.alu(7, .register(Self.b), Self.a, size: 8)
      }
      surprise(from: asm.jumpAhead(5), o, distance: Int32(size) + more)
      moveStack(Int32(size) + more)
      return
    }
    moveStack(Int32(size) + more)
    indirect(o, popped: Int32(size) + more)
  }

  private mutating func jumpToRegister(_ o: MicroOpPointer) {
    guard o.pointee.src & 7 == 0 else { return interpret(o) }
    let target = value(o.pointee.src, Self.b, size: 8)
    if target != Self.b { asm.move(Self.b, .register(target), size: 8) }
    indirect(o)
  }

  private mutating func jumpToMemory(_ o: MicroOpPointer) {
    let miss = reach(o, size: 8, write: false)
    interpretInstead(from: miss, o)
    asm.move(Self.b, found, size: 8)
    indirect(o)
  }

  /// A target in `b` that is not canonical faults: the interpreter's work. Uses `a`.
  mutating func checkCanonical(_ o: MicroOpPointer) {
    if isLong { interpretInstead(from: whereNotCanonical(), o) }
  }
  mutating func whereNotCanonical() -> Int {
    let a = Self.a
    asm.move(a, .register(Self.b), size: 8)
    asm.shift(4, .register(a), by: 16, size: 8)
    asm.shift(7, .register(a), by: 16, size: 8)
    asm.alu(7, .register(a), Self.b, size: 8)
    return asm.jumpAhead(5)
  }
}
