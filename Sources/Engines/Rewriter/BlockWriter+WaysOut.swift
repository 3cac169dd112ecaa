/// How code of a trace is left, and the pieces off its straight path.
extension BlockWriter {
  // MARK: Ways out

  /// Leaves the trace in a direction known now, unless that is where it goes on.
  mutating func leave(taken: Bool, when condition: Condition) { later(.exit(taken: taken), from: asm.jumpAhead(condition)) }

  /// Leaves the trace at its end in a direction known now.
  mutating func edge(taken: Bool) {
    settle()
    host = .none
    guard let edges = trace.head.pointee.edges else { return }
    let edge = edges + edgeCount
    edgeCount += 1
    edge.initialize(to: HostEdge(block: block, isTaken: taken, excess: excess))
    asm.move(Self.a, offsets.field(offsets.stamp), size: 8)
    // The stamp lies behind the code of this edge.
    asm.alu(7, Self.a, .code(0), size: 8)
    let stampUse = asm.count
    let unlinked = asm.jumpAhead(5)
    asm.modRM(0x81, 5, .register(Self.budget), size: 8, immediate: 4)
    edge.pointee.countAt = asm.count
    asm.word32(0)
    let over = asm.jumpAhead(8)
    asm.byte(0xE9)
    asm.word32(0)
    edge.pointee.jumpEnd = asm.count
    edge.pointee.stampAt = asm.count
    edge.pointee.stamp = UnsafeMutableRawPointer(asm.start + asm.count)
    asm.word64(.max)
    rewriter.buffer.store(Int32(edge.pointee.stampAt - stampUse), at: stampUse - 4)
    later(.edge(edge, over: over), from: unlinked)
  }

  /// Goes on at the RIP in `b`, wherever that is. No code is known for one that is not canonical: that is looked at where
  /// none is found.
  mutating func indirect(_ o: MicroOpPointer, popped: Int32 = 0) {
    // A rotate's flags are the interpreter's work.
    let calls = state.rotation != nil
    if calls { asm.move(offsets.field(offsets.rip), Self.b, size: 8) }
    settle()
    if calls { asm.move(Self.b, offsets.field(offsets.rip), size: 8) }
    giveBack()
    host = .none
    later(.find(isLong ? o : nil, popped: popped), from: asm.dispatch(offsets))
  }

  /// Goes on at `CPU.rip` with everything else settled.
  mutating func goOn() {
    giveBack()
    host = .none
    asm.move(Self.b, offsets.field(offsets.rip), size: 8)
    later(.find(nil, popped: 0), from: asm.dispatch(offsets))
  }

  /// The interpreter carries out the micro-op that ends the block.
  mutating func calloutAtEnd(_ o: MicroOpPointer) {
    callout(o)
    goOn()
  }

  private mutating func storeRIP(_ rip: UInt64) {
    asm.load(Self.a, rip)
    asm.move(offsets.field(offsets.rip), Self.a, size: 8)
  }
  private mutating func leave(_ end: HostEnd) {
    asm.load(Self.a, end.rawValue)
    asm.jump(to: rewriter.leaveAt)
  }

  // MARK: Stubs

  mutating func write(_ stub: Stub) {
    asm.land(stub.from)
    for jump in stub.others { asm.land(jump) }
    state = stub.state
    block = stub.block
    excess = stub.excess
    host = .none
    if stub.isInStreams { takeBudget() }
    switch stub.kind {
    case .callout(let o, let back, let vectors, let repair, let bring, let site):
      if let site {
        asm.load(Self.a, UInt64(UInt(bitPattern: site)))
        asm.move(offsets.field(offsets.hostSite), Self.a, size: 8)
        site.pointee.uncountedWay = asm.count
      }
      settle()
      call(o)
      self.repair(repair)
      for index in 0..<16 where vectors >> UInt16(index) & 1 != 0 {
        asm.modRM(0x0F10, UInt8(index), Self.vector(index), size: 4)
      }
      switch bring {
      case .nothing: break
      case .recipe(let recipe): self.bring(recipe)
      case .saved:
        asm.call(to: rewriter.materializeAt)
        bringEager()
      }
      asm.jump(to: back)
    case .interpret(let o):
      settle()
      giveBack()
      leaveForInterpreter(o)
    case .run(let o, let count, let back, let returns): writeRun(o, count, back: back, returns: returns)
    case .end(let o): calloutAtEnd(o)
    case .exit(let taken): edge(taken: taken)
    case .edge(let edge, let over): writeUnlinked(edge, over)
    case .spent:
      asm.alu(0, .register(Self.budget), Int32(truncatingIfNeeded: trace.total), size: 8)
      settle()
      storeRIP(trace.head.pointee.rip)
      leave(.find)
    case .stale:
      giveBack()
      asm.load(Self.a, UInt64(UInt(bitPattern: block)))
      asm.move(offsets.field(offsets.hostBlock), Self.a, size: 8)
      leave(.stale)
    case .find(let o, let popped):
      if let o {
        asm.move(Self.b, offsets.field(offsets.rip), size: 8)
        let other = whereNotCanonical()
        leave(.find)
        asm.land(other)
        if popped != 0 { moveStack(-popped) }
        leaveForInterpreter(o)
      } else {
        leave(.find)
      }
    case .surprise(let o, let distance):
      moveStack(distance)
      indirect(o, popped: distance)
    }
  }

  private mutating func leaveForInterpreter(_ o: MicroOpPointer) {
    asm.load(Self.a, UInt64(UInt(bitPattern: o)))
    asm.move(offsets.field(offsets.hostOp), Self.a, size: 8)
    asm.load(Self.a, UInt64(UInt(bitPattern: block)))
    asm.move(offsets.field(offsets.hostBlock), Self.a, size: 8)
    leave(.interpret)
  }

  private mutating func writeUnlinked(_ edge: UnsafeMutablePointer<HostEdge>, _ over: Int) {
    giveBack()
    asm.load(Self.a, UInt64(UInt(bitPattern: edge)))
    asm.move(offsets.field(offsets.hostOp), Self.a, size: 8)
    leave(.link)
    asm.land(over)
    // The count is known when the edge is linked: it is read from the instruction that charged it.
    asm.modRM(0x63, Self.a.number, .code(edge.pointee.countAt), size: 8)
    asm.alu(0, .register(Self.budget), Self.a, size: 8)
    giveBack()
    storeRIP(edge.pointee.isTaken ? block.pointee.takenRIP : block.pointee.endRIP)
    leave(.find)
  }

  private mutating func repair(_ repair: OperandRepair) {
    let a = Self.a
    switch repair {
    case .none: return
    case .first: asm.move(a, offsets.field(offsets.flagA), size: 8)
    case .result: asm.move(a, offsets.field(offsets.flagResult), size: 8)
    case .difference:
      asm.move(a, offsets.field(offsets.flagA), size: 8)
      asm.alu(5, a, offsets.field(offsets.flagResult), size: 8)
    case .sum:
      asm.move(a, offsets.field(offsets.flagResult), size: 8)
      asm.alu(5, a, offsets.field(offsets.flagA), size: 8)
    }
    asm.move(offsets.field(offsets.flagOperand), a, size: 8)
  }
}
