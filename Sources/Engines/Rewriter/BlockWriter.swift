/// Writes the host code of one trace.
struct BlockWriter {
  let rewriter: Rewriter
  let trace: Trace
  var asm: Assembler
  let offsets: HostOffsets
  let isLong: Bool
  let tlb: Int32
  var state = HostState()
  /// What of the guest's flags is in the host's.
  var host = HostFlags.none
  /// The block being written, and the instructions charged ahead there.
  var block: BlockPointer
  var excess: Int32 = 0
  /// Where the trace goes on behind that block.
  private(set) var foreseen: UInt64?
  /// Micro-ops that the interpreter carries out.
  private(set) var callouts = 0
  /// Where the code of each instruction begins, and that of the pieces off the straight path: for showing it.
  private(set) var marks: [RewrittenCode.Mark] = []
  private(set) var straightEnd = 0
  /// Pieces off the straight path, written behind it.
  private var stubs: [Stub] = []
  /// `findLiveFlags` of the present block.
  private var flagsLive: [Bool] = []
  private var edgeCount = 0
  /// Operands reached in the round of a loop that was written last, and how often the TLB is asked there.
  var accesses: [Streams.Access] = []
  var probes = 0
  /// Those of the round being written that were looked up before it.
  var streams: Streams?
  /// The operand that was reached last.
  var found = HostOperand.memory(HostLayout.b)
  private var calloutsBefore = 0
  /// Streams of the loop that are looked up once for many rounds.
  private(set) var streamCount = 0
  /// Where the code is to read though it must not.
  var trespass: UInt?

  /// What is done about the operand that flags wait for, once the interpreter has carried an instruction out: it has
  /// left a first operand and a result.
  enum OperandRepair { case none, first, difference, sum, result }

  /// How the flags come into the host's registers behind it, where they are there on the straight path.
  enum Bring {
    case nothing
    case recipe(FlagRecipe)
    case saved
  }

  struct Stub {
    enum Kind {
      /// Carries out a micro-op and comes back, with these vectors and flags in the host's registers.
      case callout(
        MicroOpPointer, back: Int, vectors: UInt16, repair: OperandRepair, bring: Bring, site: UnsafeMutablePointer<HostSite>?)
      /// Goes on in the interpreter.
      case interpret(MicroOpPointer)
      /// The interpreter carries out the micro-op that ends the block.
      case end(MicroOpPointer)
      /// Leaves by an edge.
      case exit(taken: Bool)
      case edge(UnsafeMutablePointer<HostEdge>, over: Int)
      /// The budget does not reach to another round.
      case spent
      /// The mapping of its pages is to be looked at.
      case stale
      /// RIP is known, in `CPU.rip`; by a micro-op that faults where it is not canonical, and has taken so many bytes from the
      /// stack.
      case find(MicroOpPointer?, popped: Int32)
      /// A return to `HostLayout.b` that was not foreseen.
      case surprise(MicroOpPointer, distance: Int32)
    }
    let kind: Kind
    /// The jumps that are taken to it: nearly always one.
    let from: Int
    let others: ArraySlice<Int>
    let state: HostState
    let block: BlockPointer
    let excess: Int32
    /// Of rounds that look nothing up.
    let isInStreams: Bool
  }

  static var a: HostRegister { HostLayout.a }
  static var b: HostRegister { HostLayout.b }
  static var budget: HostRegister { HostLayout.budget }

  init(_ rewriter: Rewriter, _ trace: Trace) {
    self.rewriter = rewriter
    self.trace = trace
    block = trace.head
    asm = Assembler(rewriter.buffer.writable, at: rewriter.buffer.used)
    offsets = rewriter.offsets
    let context = Context(bits: block.pointee.context)
    isLong = context.isLong64
    let user = context.cpl == 3 ? TLB.entries * MemoryLayout<TLBEntry>.stride : 0
    tlb = Int32(HostLayout.tlbOffset + user)
    let edgeCount = trace.parts.count * HostEdge.perBlock
    let edges = UnsafeMutablePointer<HostEdge>.allocate(capacity: edgeCount)
    edges.initialize(repeating: HostEdge(block: block, isTaken: false), count: edgeCount)
    block.pointee.edges = edges
    stubs.reserveCapacity(Self.usualStubs)
    marks.reserveCapacity(Self.usualStubs)
  }
  /// Room for what most traces have, so that it is not found in steps.
  private static let usualStubs = 32

  /// Gives where the code is entered.
  mutating func write() -> Int {
    if trace.isFar { asm.word64(trace.stamp) }
    let entry = asm.count
    if trace.isFar {
      excess = trace.parts[0].excess
      asm.move(Self.a, offsets.field(offsets.stamp), size: 8)
      asm.alu(7, Self.a, .code(entry - 8), size: 8)
      later(.stale, from: asm.jumpAhead(5))
    }
    let start = asm.count
    if let trespass {
      asm.load(Self.a, UInt64(trespass))
      asm.move(Self.a, .memory(Self.a), size: 8)
    }
    writeRound()
    if trace.loops {
      let first = state
      if first == HostState() {
        loop(to: start, start: start)
      } else {
        // What the first round left in registers the others find there.
        charge()
        let again = asm.count
        writeRound()
        if state != first { settle() }
        loop(to: state == first ? again : start, start: start)
      }
    }
    straightEnd = asm.count
    var index = 0
    while index < stubs.count {
      write(stubs[index])
      index += 1
    }
    return entry
  }

  mutating func writeRound() {
    accesses.removeAll(keepingCapacity: true)
    (probes, calloutsBefore) = (0, callouts)
    for (index, part) in trace.parts.enumerated() {
      block = part.block
      foreseen = part.onward == nil ? nil : (index + 1 < trace.parts.count ? trace.parts[index + 1].block : trace.head).pointee.rip
      excess = part.excess
      let body = block.body
      findLiveFlags(body)
      for i in body.indices {
        guard let o = body.baseAddress.map({ $0 + i }) else { continue }
        mark(o)
        let live = flagsLive[i]
        let forgets = protectFlags(o, live: live)
        if !emit(o, flagsLive: live, part.onward) { callout(o) }
        if forgets { state.flags = .saved(.unknown) }
      }
    }
  }

  private mutating func mark(_ o: MicroOpPointer) {
    let mark = RewrittenCode.Mark(o.pointee, in: block, head: trace.head, at: asm.count)
    if let last = marks.last, last.distance == mark.distance {
      marks[marks.count - 1].kind = last.kind.joined(mark.kind)
      marks[marks.count - 1].length = max(last.length, mark.length)
    } else {
      marks.append(mark)
    }
  }

  /// Whether somebody may see the flags that hold after each micro-op: from the end backwards, they are dead where a
  /// later one sets them all before anything reads them or can stop.
  private mutating func findLiveFlags(_ body: UnsafeMutableBufferPointer<MicroOp>) {
    while flagsLive.count < body.count { flagsLive.append(true) }
    var live = true
    for i in body.indices.reversed() {
      flagsLive[i] = live
      switch body[i].effectOnFlags {
      case .setsAll: live = false
      case .none: break
      case .other: live = !body[i].comparesAndJumps
      }
    }
  }

  // MARK: Rounds of a loop

  /// Charges another round; where the budget does not reach, that is the end.
  private mutating func charge() {
    asm.alu(5, .register(Self.budget), Int32(truncatingIfNeeded: trace.total), size: 8)
    host = .none
    later(.spent, from: asm.jumpAhead(12))
  }
  /// The same where `again` is as good a place to go on at as behind all of the round just written.
  private mutating func loop(to again: Int, start: Int) {
    let isPlain = probes == accesses.count && callouts == calloutsBefore
    guard isPlain, again != start || state == HostState(), let streams = Streams(accesses, trace) else { return loop(to: again) }
    charge()
    streamCount = streams.all.count
    writeStreams(streams, again: again, start: start)
  }
  mutating func loop(to target: Int) {
    asm.alu(5, .register(Self.budget), Int32(truncatingIfNeeded: trace.total), size: 8)
    asm.jump(13, to: target)
    host = .none
    later(.spent, from: asm.jumpAhead())
  }

  // MARK: Callouts

  mutating func later(_ kind: Stub.Kind, from: Int, others: ArraySlice<Int> = [], state: HostState? = nil) {
    stubs.append(Stub(kind: kind, from: from, others: others, state: state ?? self.state, block: block, excess: excess,
        isInStreams: streams != nil))
  }
  mutating func later(_ kind: Stub.Kind, from jumps: [Int]) {
    guard let first = jumps.first else { return }
    later(kind, from: first, others: jumps.dropFirst())
  }

  /// The interpreter carries out this micro-op; all others stay here.
  mutating func callout(_ o: MicroOpPointer) {
    callouts += 1
    settle()
    call(o)
    state = HostState()
    host = .none
  }

  private mutating func call(_ o: MicroOpPointer) {
    giveBack()
    asm.load(Self.a, UInt64(UInt(bitPattern: o)))
    asm.load(Self.b, UInt64(UInt(bitPattern: block)))
    asm.call(to: rewriter.calloutAt)
    if excess != 0 { asm.alu(5, .register(Self.budget), excess, size: 8) }
  }
  /// The budget as if only this block had been charged.
  private mutating func giveBack() {
    if excess != 0 { asm.alu(0, .register(Self.budget), excess, size: 8) }
  }

  /// A micro-op's slow way, taken by `miss`, back to here.
  mutating func slowWay(from miss: Miss?, _ o: MicroOpPointer, repair: OperandRepair = .none) {
    guard let miss else { return }
    var bring = Bring.nothing
    if host != .none {
      if case .deferred(let recipe) = state.flags { bring = .recipe(recipe) } else { bring = .saved }
    }
    later(
      .callout(o, back: asm.count, vectors: state.vectors, repair: repair, bring: bring, site: site(o, miss)),
      from: miss.jump, state: miss.state)
  }
  /// The same for one that has nothing to do with memory, by several jumps.
  mutating func slowWay(from jumps: [Int], _ o: MicroOpPointer) {
    later(.callout(o, back: asm.count, vectors: state.vectors, repair: .none, bring: .nothing, site: nil), from: jumps)
  }
  /// A micro-op of the writer's own that works on saved flags alone, by the jump at `from`, back to here.
  mutating func flagWay(from: Int, _ o: MicroOpPointer) {
    later(.callout(o, back: asm.count, vectors: state.vectors, repair: .none, bring: .nothing, site: nil), from: from)
  }

  /// Has plain moves counted where the TLB does not help them.
  private func site(_ o: MicroOpPointer, _ miss: Miss) -> UnsafeMutablePointer<HostSite>? {
    guard o.pointee.isPlainAccess else { return nil }
    let site = UnsafeMutablePointer<HostSite>.allocate(capacity: 1)
    site.initialize(to: HostSite(start: miss.start, next: trace.head.pointee.sites))
    trace.head.pointee.sites = site
    return site
  }
  /// The same on the straight path.
  mutating func callForFlags(_ o: MicroOpPointer) {
    spillVectors()
    call(o)
    state.vectors = 0
    host = .none
  }
  mutating func interpretInstead(from: Int, _ o: MicroOpPointer) { later(.interpret(o), from: from) }
  mutating func interpretInstead(from miss: Miss?, _ o: MicroOpPointer) {
    guard let miss else { return }
    later(.interpret(o), from: miss.jump, state: miss.state)
  }
  /// Taken where a return goes elsewhere than foreseen.
  mutating func surprise(from: Int, _ o: MicroOpPointer, distance: Int32) {
    later(.surprise(o, distance: distance), from: from)
  }

  // MARK: State

  /// Brings everything into `CPU`. Uses `a`.
  mutating func settle() {
    settleFlags()
    spillVectors()
  }
  private mutating func spillVectors() {
    for index in 0..<16 where state.changedVectors >> UInt16(index) & 1 != 0 { storeVector(index) }
    state.changedVectors = 0
  }
  private mutating func storeVector(_ index: Int) {
    asm.modRM(0x0F11, UInt8(index), Self.vector(index), size: 4)
  }
  static func vector(_ index: Int) -> HostOperand {
    .memory(.rsp, displacement: Int32(Slot.xmmOffset) + Int32(index) * 16)
  }

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
    asm.move(offsets.field(offsets.rip), Self.b, size: 8)
    settle()
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

  private mutating func write(_ stub: Stub) {
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
