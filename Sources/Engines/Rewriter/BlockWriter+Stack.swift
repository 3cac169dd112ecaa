/// PUSH, POP and what is behind them on the stack. Of several in a row the stack is looked up once.
extension BlockWriter {
  private var stack: HostRegister { .r12 }
  private var width: Int { isLong ? 8 : 4 }

  /// Host address of the stack `distance` bytes from its top.
  mutating func reachStack(_ distance: Int32, size: Int, write: Bool) -> Miss {
    if isLong, distance == 0 { return probe(size: size, write: write, at: stack) }
    asm.lea(Self.b, .memory(stack, displacement: distance), size: width)
    return probe(size: size, write: write)
  }
  /// Flags that wait for the stack pointer know how far it went.
  mutating func moveStack(_ distance: Int32) {
    asm.lea(stack, .memory(stack, displacement: distance), size: width)
    state.follow(UInt8(Slot.rsp * 8), by: distance)
  }

  mutating func push(_ o: MicroOpPointer, size: Int, immediate: Bool = false) -> Bool {
    if !immediate, o.pointee.src & 7 != 0 { return false }
    guard isLong == (size == 8) else { return false }
    let miss = reachStack(-Int32(size), size: size, write: true)
    store(o, at: 0)
    moveStack(-Int32(size))
    slowWay(from: miss, o)
    return true
  }

  mutating func pop(_ o: MicroOpPointer, size: Int) -> Bool {
    guard o.pointee.dst & 7 == 0, isLong == (size == 8) else { return false }
    let miss = reachStack(0, size: size, write: false)
    asm.move(Self.a, .memory(Self.b), size: size)
    moveStack(Int32(size))
    put(o.pointee.dst, Self.a, size: size)
    slowWay(from: miss, o)
    return true
  }

  /// What is pushed to `b` and this distance.
  private mutating func store(_ o: MicroOpPointer, at distance: Int) {
    let to = HostOperand.memory(Self.b, displacement: Int32(distance))
    if o.pointee.op == .push64i || o.pointee.op == .push32i {
      asm.store(to, Int32(truncatingIfNeeded: o.pointee.imm), size: width)
    } else {
      asm.move(to, value(o.pointee.src, Self.a, size: width), size: width)
    }
  }

  mutating func leaveFrame(_ o: MicroOpPointer, size: Int) -> Bool {
    guard isLong == (size == 8) else { return false }
    if !isLong { asm.lea(Self.b, .memory(.rbp), size: size) }
    let miss = probe(size: size, write: false, at: isLong ? .rbp : Self.b)
    asm.lea(stack, .memory(.rbp, displacement: Int32(size)), size: size)
    asm.move(.rbp, .memory(Self.b), size: size)
    slowWay(from: miss, o)
    return true
  }

  // MARK: Several in a row

  /// Micro-ops from `first` on that are pushes, or pops, of other registers than the stack's own; 0 where it is not worth it.
  func stackRun(_ body: UnsafeMutableBufferPointer<MicroOp>, from first: Int) -> Int {
    guard let isPush = body[first].isPlainPush(isLong) else { return 0 }
    var end = first + 1
    while end < body.count, end - first < 16, body[end].isPlainPush(isLong) == isPush { end += 1 }
    return end - first > 1 ? end - first : 0
  }

  /// Does the micro-op behind a run of pops return by what lies there on the stack?
  func returns(_ body: UnsafeMutableBufferPointer<MicroOp>, behind end: Int) -> Bool {
    guard end < body.count, body[end].op == (isLong ? .ret64 : .ret32) else { return false }
    return body[end - 1].isPlainPush(isLong) == false && Int32(exactly: body[end].imm) != nil
  }

  /// The run of `count` from `o` on, with the address that a RET behind it takes.
  mutating func emitStackRun(_ o: MicroOpPointer, _ count: Int, returns: Bool) {
    let total = width * count
    let isPush = o.pointee.isPlainPush(isLong) == true
    let miss = isPush
      ? reachStack(-Int32(total), size: total, write: true)
      : reachStack(0, size: total + (returns ? width : 0), write: false)
    for index in 0..<count {
      if index > 0 { mark(o + index) }
      if isPush {
        store(o + index, at: total - (index + 1) * width)
      } else {
        let from = HostOperand.memory(Self.b, displacement: Int32(index * width))
        let to = home((o + index).pointee.dst) ?? Self.a
        asm.move(to, from, size: width)
        if to == Self.a { put((o + index).pointee.dst, to, size: width) }
      }
    }
    moveStack(isPush ? -Int32(total) : Int32(total))
    if returns { returnAt = Int32(total) }
    later(.run(o, count: count, back: asm.count, returns: returns), from: miss.jump, state: miss.state)
  }

  /// The same one by one, where the stack cannot be looked up for all.
  mutating func writeRun(_ o: MicroOpPointer, _ count: Int, back: Int, returns: Bool) {
    for index in 0..<count { _ = emitTransfer(o + index, nil) }
    if returns {
      let miss = reachStack(0, size: width, write: false)
      interpretInstead(from: miss, o + count)
      asm.lea(Self.b, .memory(Self.b, displacement: -Int32(width * count)), size: 8)
    }
    asm.jump(to: back)
  }
}

extension MicroOp {
  /// It moves the stack pointer by a constant, and only that.
  func movesStack(_ isLong: Bool) -> Bool {
    switch op {
    case .call64, .ret64: isLong
    case .call32, .ret32: !isLong
    default: isPlainPush(isLong) != nil
    }
  }

  /// Whether it is PUSH of, or POP to, a whole register other than RSP (or PUSH of a constant), of the usual size.
  fileprivate func isPlainPush(_ isLong: Bool) -> Bool? {
    let stack = UInt8(Slot.rsp * 8)
    switch op {
    case .push64i where isLong, .push32i where !isLong: return true
    case .push64r where isLong, .push32r where !isLong: return src & 7 == 0 && src != stack ? true : nil
    case .pop64r where isLong, .pop32r where !isLong: return dst & 7 == 0 && dst != stack ? false : nil
    default: return nil
    }
  }
}
