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
  var stubs: [Stub] = []
  /// `findLiveFlags` of the present block.
  private var flagsLive: [Bool] = []
  /// Instructions of rounds behind the one being written that are charged ahead with it.
  var chargedAhead: Int32 = 0
  var edgeCount = 0
  /// Operands reached in the round of a loop that was written last, and how often the TLB is asked there.
  var accesses: [Streams.Access] = []
  var probes = 0
  /// Those of the round being written that were looked up before it.
  var streams: Streams?
  /// The operand that was reached last.
  var found = HostOperand.memory(HostLayout.b)
  /// How far from `b` a RET finds its target, where the stack was looked up for it.
  var returnAt: Int32?
  private var calloutsBefore = 0
  /// Where the code of the last SWAPGS ends, and what has the two bases there.
  var swapped: (end: Int, own: HostRegister, kernel: HostRegister)?
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
      /// Does a run of pushes or pops one by one and comes back.
      case run(MicroOpPointer, count: Int, back: Int, returns: Bool)
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
    /// It does not come back to the straight path.
    var isFinal: Bool {
      switch kind {
      case .callout, .run: false
      default: true
      }
    }
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
    let edgeCount = trace.parts.count * (trace.loops ? HostEdge.perLoopedBlock : HostEdge.perBlock)
    let edges = UnsafeMutablePointer<HostEdge>.allocate(capacity: edgeCount)
    edges.initialize(repeating: HostEdge(block: block, isTaken: false), count: edgeCount)
    (block.pointee.edges, block.pointee.edgeCount) = (edges, edgeCount)
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
        let early = isPlain && Streams(accesses, trace) != nil ? asm.jumpAhead() : nil
        let again = asm.count
        writeRound()
        if state == first {
          loop(to: again, start: start, early: early)
        } else {
          if let early { asm.land(early, at: again) }
          settle()
          loop(to: start)
        }
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
      excess = part.excess + chargedAhead
      let body = block.body
      findLiveFlags(body)
      guard let first = body.baseAddress else { continue }
      var i = 0
      while i < body.count {
        let o = first + i
        mark(o)
        let run = stackRun(body, from: i)
        let returns = run > 0 && returns(body, behind: i + run)
        var forgets = false
        for at in i..<(i + max(run, 1) + (returns ? 1 : 0)) where protectFlags(first + at, live: flagsLive[at]) { forgets = true }
        if run > 0 {
          emitStackRun(o, run, returns: returns)
        } else if !emit(o, flagsLive: flagsLive[i], part.onward) {
          callout(o)
        }
        if forgets { state.flags = .saved(.unknown) }
        i += max(run, 1)
      }
    }
  }

  mutating func mark(_ o: MicroOpPointer) {
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
  /// The round just written asked the TLB once for each operand, and the interpreter for nothing.
  private var isPlain: Bool { probes == accesses.count && callouts == calloutsBefore }
  /// The same where `again` is as good a place to go on at as behind all of the round just written. The jump at `early`,
  /// taken with a round charged, need not do that round as the others do.
  private mutating func loop(to again: Int, start: Int, early: Int? = nil) {
    guard isPlain, again != start || state == HostState(), let streams = Streams(accesses, trace) else {
      if let early { asm.land(early, at: again) }
      return loop(to: again)
    }
    charge()
    if let early { asm.land(early) }
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

  mutating func call(_ o: MicroOpPointer) {
    giveBack()
    asm.load(Self.a, UInt64(UInt(bitPattern: o)))
    asm.load(Self.b, UInt64(UInt(bitPattern: block)))
    asm.call(to: rewriter.calloutAt)
    if excess != 0 { asm.alu(5, .register(Self.budget), excess, size: 8) }
  }
  /// The budget as if only this block had been charged.
  mutating func giveBack() {
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
}
