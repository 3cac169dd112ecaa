/// Writes the host code of one block.
struct BlockWriter {
  let rewriter: Rewriter
  let block: BlockPointer
  var asm: Assembler
  let offsets: HostOffsets
  /// The micro-ops without the one that counts executions.
  let first: MicroOpPointer
  let opCount: Int
  let isLong: Bool
  let tlb: Int32
  /// Whether somebody may see the flags that hold after a micro-op.
  private(set) var flagsLive: [Bool] = []
  /// What is known of the flags saved in `CPU`.
  var saved = SavedFlags.unknown
  /// What of the guest's flags is in the host's.
  var host = HostFlags.none
  /// SSE was found switched on, or the guest's MXCSR loaded, earlier in the block, and nothing has come between.
  var isSSEReady = false
  var isMXCSRReady = false
  /// Micro-ops that the interpreter carries out.
  private(set) var callouts = 0
  /// Where the code of each micro-op begins, for showing it.
  private(set) var marks: [RewrittenCode.Mark] = []
  private(set) var straightEnd = 0
  /// Pieces off the straight path, written behind it.
  private var stubs: [Stub] = []

  /// A way of saving the flags, with the size of operands in bytes.
  enum SavedFlags: Equatable { case unknown, add(Int), sub(Int), logic(Int), step }
  /// Which flags the host's are the guest's.
  enum HostFlags { case none, all, allButCarry, allButOverflow }

  private enum Stub {
    /// Carries out a micro-op and comes back.
    case callout(from: Int, MicroOpPointer, back: Int)
    /// Goes on in the interpreter.
    case interpret(from: Int, MicroOpPointer)
    case edge(from: [Int], over: Int?, UnsafeMutablePointer<HostEdge>)
    /// RIP is in `HostLayout.c`; with `over` the budget, charged by `a`, is put back first.
    case find(from: [Int], over: Int)
  }

  static var a: HostRegister { HostLayout.a }
  static var b: HostRegister { HostLayout.b }
  static var c: HostRegister { HostLayout.c }

  init(_ rewriter: Rewriter, _ block: BlockPointer) {
    self.rewriter = rewriter
    self.block = block
    asm = Assembler(rewriter.buffer.writable, at: rewriter.buffer.used)
    offsets = rewriter.offsets
    first = block.pointee.ops + 1
    opCount = block.pointee.capacity - 1
    let context = Context(bits: block.pointee.context)
    isLong = context.isLong64
    let user = context.cpl == 3 ? TLB.entries * MemoryLayout<TLBEntry>.stride : 0
    tlb = Int32(HostLayout.tlbOffset + user)
  }

  /// Not where most of the work would be callouts.
  var isWorthwhile: Bool {
    var callouts = 0
    for i in 0..<opCount where !(first + i).pointee.isRewritten { callouts += 1 }
    return callouts * 4 <= opCount
  }

  mutating func write() {
    findLiveFlags()
    for i in 0..<opCount {
      let o = first + i
      marks.append(RewrittenCode.Mark(offset: o.pointee.offset, at: asm.count))
      if !emit(o, flagsLive: flagsLive[i]) { callout(o) }
    }
    straightEnd = asm.count
    for stub in stubs { write(stub) }
  }

  /// From the end backwards: flags are dead where a later micro-op sets them all before anything reads them or
  /// can stop.
  private mutating func findLiveFlags() {
    flagsLive = Array(repeating: true, count: opCount)
    var live = true
    for i in (0..<opCount).reversed() {
      flagsLive[i] = live
      switch (first + i).pointee.effectOnFlags {
      case .setsAll: live = false
      case .none: break
      case .other: live = !(first + i).pointee.comparesAndJumps
      }
    }
  }

  // MARK: Callouts and edges

  /// The interpreter carries out this micro-op; all others of the block stay here.
  mutating func callout(_ o: MicroOpPointer) {
    callouts += 1
    asm.load(HostLayout.a, UInt64(UInt(bitPattern: o)))
    asm.load(HostLayout.b, UInt64(UInt(bitPattern: block)))
    asm.call(to: rewriter.calloutAt)
    forgetFlags()
    isSSEReady = false
    isMXCSRReady = false
  }

  mutating func forgetFlags() {
    saved = .unknown
    host = .none
  }

  /// A micro-op's slow way, taken by the jump at `from`, back to here.
  mutating func slowWay(from: Int, _ o: MicroOpPointer) {
    stubs.append(.callout(from: from, o, back: asm.count))
  }
  /// The carry is brought into `CPU.flagA` by the interpreter, then on to here.
  mutating func carryWay(from: Int) {
    stubs.append(.callout(from: from, rewriter.carryOp, back: asm.count))
  }
  mutating func interpretInstead(from: Int, _ o: MicroOpPointer) { stubs.append(.interpret(from: from, o)) }

  /// Leaves the block in a direction known now.
  mutating func edge(taken: Bool) {
    let target = taken ? block.pointee.takenRIP : block.pointee.endRIP
    if target == block.pointee.rip {
      // A loop of one block: while it runs nothing else can have changed what it is.
      asm.alu(5, offsets.field(offsets.budget), Int32(truncatingIfNeeded: block.pointee.count), size: 8)
      let over = asm.jumpAhead(8)
      asm.jump(to: rewriter.buffer.used)
      asm.land(over)
      asm.alu(0, offsets.field(offsets.budget), Int32(truncatingIfNeeded: block.pointee.count), size: 8)
      storeRIP(target)
      leave(.find)
      return
    }
    let edge = block.pointee.newEdge(block, taken: taken)
    asm.move(HostLayout.a, offsets.field(offsets.stamp), size: 8)
    // The stamp lies behind the code of this edge.
    asm.alu(7, HostLayout.a, .code(0), size: 8)
    let stampUse = asm.count
    let unlinked = asm.jumpAhead(5)
    asm.modRM(0x81, 5, offsets.field(offsets.budget), size: 8, immediate: 4)
    edge.pointee.countAt = asm.count
    asm.word32(0)
    let over = asm.jumpAhead(8)
    asm.byte(0xE9)
    asm.word32(0)
    edge.pointee.jumpEnd = asm.count
    edge.pointee.stampAt = asm.count
    asm.word64(.max)
    rewriter.buffer.store(Int32(edge.pointee.stampAt - stampUse), at: stampUse - 4)
    stubs.append(.edge(from: [unlinked], over: over, edge))
  }

  /// Goes on at the RIP in `HostLayout.c`, wherever that is.
  mutating func indirect() {
    let (a, b, c) = (HostLayout.a, HostLayout.b, HostLayout.c)
    asm.move(a, .register(c), size: 8)
    asm.shift(5, .register(a), by: 12, size: 8)
    asm.alu(6, .register(a), c, size: 4)
    asm.alu(4, .register(a), Int32(JumpEntry.count - 1), size: 4)
    asm.lea(a, .memory(a, index: a, scale: 1), size: 8)
    asm.shift(4, .register(a), by: 3, size: 8)
    asm.alu(0, a, offsets.field(offsets.jumpCache), size: 8)
    asm.alu(7, c, .memory(a), size: 8)
    let other = asm.jumpAhead(5)
    asm.move(b, offsets.field(offsets.stamp), size: 8)
    asm.alu(7, b, .memory(a, displacement: 8), size: 8)
    let stale = asm.jumpAhead(5)
    asm.move(a, .memory(a, displacement: 16), size: 8)
    asm.move(b, .memory(a, displacement: offsets.blockHost), size: 8)
    asm.test(.register(b), b, size: 8)
    let cold = asm.jumpAhead(4)
    asm.move(a, .memory(a, displacement: offsets.blockCount), size: 8)
    asm.alu(5, offsets.field(offsets.budget), a, size: 8)
    let over = asm.jumpAhead(8)
    asm.jump(.register(b))
    stubs.append(.find(from: [other, stale, cold], over: over))
  }

  private mutating func storeRIP(_ rip: UInt64) {
    asm.load(HostLayout.a, rip)
    asm.move(offsets.field(offsets.rip), HostLayout.a, size: 8)
  }
  private mutating func leave(_ end: HostEnd) {
    asm.load(HostLayout.c, end.rawValue)
    asm.jump(to: rewriter.leaveAt)
  }

  private mutating func write(_ stub: Stub) {
    switch stub {
    case .callout(let from, let o, let back):
      asm.land(from)
      asm.load(HostLayout.a, UInt64(UInt(bitPattern: o)))
      asm.load(HostLayout.b, UInt64(UInt(bitPattern: block)))
      asm.call(to: rewriter.calloutAt)
      asm.jump(to: back)
    case .interpret(let from, let o):
      asm.land(from)
      asm.load(HostLayout.a, UInt64(UInt(bitPattern: o)))
      asm.move(offsets.field(offsets.hostOp), HostLayout.a, size: 8)
      asm.load(HostLayout.a, UInt64(UInt(bitPattern: block)))
      asm.move(offsets.field(offsets.hostBlock), HostLayout.a, size: 8)
      leave(.interpret)
    case .edge(let from, let over, let edge):
      for jump in from { asm.land(jump) }
      asm.load(HostLayout.a, UInt64(UInt(bitPattern: edge)))
      asm.move(offsets.field(offsets.hostOp), HostLayout.a, size: 8)
      leave(.link)
      guard let over else { return }
      asm.land(over)
      // The count is known when the edge is linked: it is read from the instruction that charged it.
      asm.modRM(0x63, HostLayout.a.number, .code(edge.pointee.countAt), size: 8)
      asm.alu(0, offsets.field(offsets.budget), HostLayout.a, size: 8)
      storeRIP(edge.pointee.isTaken ? block.pointee.takenRIP : block.pointee.endRIP)
      leave(.find)
    case .find(let from, let over):
      asm.land(over)
      asm.alu(0, offsets.field(offsets.budget), HostLayout.a, size: 8)
      for jump in from { asm.land(jump) }
      asm.move(offsets.field(offsets.rip), HostLayout.c, size: 8)
      leave(.find)
    }
  }
}

extension Block {
  /// One of the two ways out, to be filled in.
  mutating func newEdge(_ block: BlockPointer, taken: Bool) -> UnsafeMutablePointer<HostEdge> {
    let all: UnsafeMutablePointer<HostEdge>
    if let edges {
      all = edges
    } else {
      all = .allocate(capacity: 2)
      all.initialize(repeating: HostEdge(block: block, isTaken: false), count: 2)
      edges = all
    }
    let edge = all + (taken ? 1 : 0)
    edge.pointee.isTaken = taken
    return edge
  }
}
