import VMCore
import X86

extension MicroOp {
  /// What becomes of the guest instruction this micro-op belongs to, as far as it goes.
  var rewritingKind: RewritingKind {
    switch op {
    case .sensitive:
      return RewritingPolicy.standard.inCache.contains(operationOfPolicy) ? .inCache : .callout
    case .system, .systemEnd:
      if op == .system ? isRewritten : isRewrittenEnd { return .inCache }
      return SystemOp(rawValue: aux)?.operation == nil ? .interpreted : .callout
    case .segmentAddress: return .interpreted
    default: break
    }
    guard isRewritten else { return .interpreted }
    return flags & MicroOp.hasMemory != 0 || isTransfer || touchesStack || op == .string ? .rewritten : .identity
  }

  private var operationOfPolicy: SensitiveOperation {
    SensitiveOperation(rawValue: UInt8(truncatingIfNeeded: aux)) ?? .hlt
  }

  private var isTransfer: Bool {
    switch op {
    case .jcc, .jmp, .next, .jmpR, .jmp64m, .decJnz32, .decJnz64: true
    default: op.rawValue >= Op.cmpJcc8rr.rawValue && op.rawValue <= Op.testJcc64ri.rawValue
    }
  }

  /// A transfer by the stack or memory.
  var reachesStack: Bool { isTransfer ? op == .jmp64m : touchesStack }

  private var touchesStack: Bool {
    switch op {
    case .push64r, .push64i, .pop64r, .push32r, .push32i, .pop32r, .leave64, .leave32, .call64, .call32, .ret64, .ret32,
      .call64R, .call64m:
      true
    default: false
    }
  }
}

extension RewritingKind {
  /// Of two parts of one instruction the one that costs more speaks for it.
  func joined(_ other: RewritingKind) -> RewritingKind { rawValue >= other.rawValue ? self : other }
}

extension Block {
  /// Every instruction with what becomes of it. Two fused into one micro-op stand as one.
  func instructionKinds() -> [RewrittenBlock.Instruction] {
    var result: [RewrittenBlock.Instruction] = []
    forEachInstruction { rip, length, kind in result.append(.init(rip: rip, length: length, kind: kind)) }
    return result
  }

  /// The same one by one: RIP, length, kind.
  func forEachInstruction(_ body: (UInt64, UInt64, RewritingKind) -> Void) {
    var pending: (offset: UInt16, length: UInt8, kind: RewritingKind)?
    func hand(_ one: (offset: UInt16, length: UInt8, kind: RewritingKind)) {
      body(rip &+ UInt64(one.offset), UInt64(one.length), one.kind)
    }
    for index in 0..<capacity {
      let o = (ops + index).pointee
      // What counts executions, or goes on to the next block, is no instruction.
      if o.length == 0 || o.op == .breakpoint { continue }
      if let one = pending, one.offset == o.offset {
        pending = (o.offset, max(one.length, o.length), one.kind.joined(o.rewritingKind))
      } else {
        if let pending { hand(pending) }
        pending = (o.offset, o.length, o.rewritingKind)
      }
    }
    if let pending { hand(pending) }
  }
}

/// What was made of blocks as they were rewritten.
struct RewritingTally {
  private var counts = InlineArray<5, UInt64>(repeating: 0)
  private(set) var guestBytes: UInt64 = 0
  /// Blocks left to the interpreter for good.
  var refused: UInt64 = 0

  var kinds: [RewritingKind: UInt64] {
    Dictionary(uniqueKeysWithValues: RewritingKind.allCases.map { ($0, counts[Int($0.rawValue)]) }).filter { $0.value > 0 }
  }

  mutating func add(_ trace: Trace) {
    for part in trace.parts {
      guestBytes += part.block.pointee.length
      part.block.pointee.forEachInstruction { _, _, kind in counts[Int(kind.rawValue)] += 1 }
    }
  }
}

/// How the code of a trace lies in the buffer.
struct RewrittenCode {
  struct Mark {
    /// Where in the buffer the instruction's code begins.
    var at: UInt32
    /// The instruction's RIP, from that of the trace's first.
    var distance: Int32
    var length: UInt8
    var kind: RewritingKind

    init(_ op: MicroOp, in block: BlockPointer, head: BlockPointer, at: Int) {
      self.at = UInt32(truncatingIfNeeded: at)
      let rip = block.pointee.rip &+ UInt64(op.offset)
      distance = Int32(truncatingIfNeeded: Int64(bitPattern: rip &- head.pointee.rip))
      length = op.length
      kind = op.rewritingKind
    }
  }
  /// Where it is entered, and where the pieces off the straight path begin.
  var entry: Int
  var straightEnd: Int
  /// Behind its last byte, those pieces included.
  var end: Int
  var marks: [Mark]
}

extension InterpreterEngine: RewritingInspection {
  package var rewritingTotals: RewritingTotals? {
    var totals = RewritingTotals()
    totals.invalidations = invalidations
    (totals.interpreted, totals.cached) = (interpreted, cached)
    totals.slowAccesses = processors.reduce(0) { $0 &+ $1.c.pointee.slowAccesses }
    guard let rewriter else { return builder.policy == nil ? nil : totals }
    totals.blocks = rewriter.statistics.blocks
    totals.hostBytes = rewriter.statistics.hostBytes
    totals.flushes = rewriter.statistics.flushes
    totals.adaptive = rewriter.statistics.adaptive
    totals.streams = rewriter.statistics.streams
    totals.guestBytes = tally.guestBytes
    totals.kinds = tally.kinds
    totals.refused = tally.refused
    totals.used = UInt64(rewriter.buffer.filled)
    totals.size = UInt64(CodeBuffer.size)
    return totals
  }

  package var sensitiveSites: [SensitiveSite] { sites.all }

  package var siteCounts: [UInt64] {
    get { sites.counts }
    set { sites.counts = newValue }
  }

  package func block(at rip: UInt64, vcpu: Int) -> RewrittenBlock? {
    guard processors.indices.contains(vcpu) else { return nil }
    let c = processors[vcpu].c
    let linear = c.isLong64 ? rip : (c.pointee.segments[1].base &+ rip) & 0xFFFF_FFFF
    guard let gpa = c.translateQuietly(linear),
      let block = cache.find(gpa: gpa, rip: rip, context: c.context.bits) ?? cache.containing(gpa, context: c.context.bits)
    else { return nil }
    return describe(block, stamp: c.pointee.stamp)
  }

  private func describe(_ block: BlockPointer, stamp: UInt64) -> RewrittenBlock {
    let b = block.pointee
    var result = RewrittenBlock(rip: b.rip, gpa: GPA(b.gpa), length: b.length, status: status(b))
    result.instructions = b.instructionKinds()
    guard let rewriter, b.host != 0 else { return result }
    rewriter.show(block, in: &result)
    result.exits = b.liveEdges.map { edge in
      let target = edge.isTaken ? edge.block.pointee.takenRIP : edge.block.pointee.endRIP
      return .init(isTaken: edge.isTaken, target: target, isChained: rewriter.isChained(edge, stamp: stamp))
    }
    result.chainsIn = cache.count { from in
      from == block ? 0 : from.pointee.liveEdges.count { rewriter.leads($0, to: block, stamp: stamp) }
    }
    return result
  }

  private func status(_ block: Block) -> RewrittenBlock.Status {
    guard rewriter != nil else { return .interpreted }
    if block.host != 0 { return .rewritten(address: UInt64(block.host)) }
    let first = block.ops.pointee
    return first.op == .warm ? .cold(left: UInt64(max(first.imm, 0))) : .refused
  }
}

extension Rewriter {
  private func load<T>(_ type: T.Type, at offset: Int) -> T {
    UnsafeRawPointer(buffer.writable + offset).loadUnaligned(as: T.self)
  }

  func isChained(_ edge: HostEdge, stamp: UInt64) -> Bool {
    edge.jumpEnd != 0 && load(UInt64.self, at: edge.stampAt) == stamp
  }

  func leads(_ edge: HostEdge, to block: BlockPointer, stamp: UInt64) -> Bool {
    guard isChained(edge, stamp: stamp) else { return false }
    let distance = Int(load(Int32.self, at: edge.jumpEnd - 4))
    return buffer.address(edge.jumpEnd) &+ UInt(bitPattern: distance) == block.pointee.host
  }

  /// The host code reached by a block, and where in it that of each instruction begins.
  func show(_ block: BlockPointer, in result: inout RewrittenBlock) {
    let start = Int(block.pointee.host &- buffer.executable)
    guard let code = code(at: start) else { return }
    result.host = Array(UnsafeBufferPointer(start: buffer.writable + start, count: code.end - start))
    result.straightEnd = code.straightEnd - start
    // The last way out of a block that fell through is no instruction: its code is the instruction's before it.
    let marks = code.marks.filter { $0.length > 0 }
    result.instructions = marks.map { mark in
      let rip = block.pointee.rip &+ UInt64(bitPattern: Int64(mark.distance))
      return .init(rip: rip, length: UInt64(mark.length), kind: mark.kind)
    }
    result.stamps = block.pointee.liveEdges.map { $0.stampAt - start }.sorted()
    result.starts = marks.map { Int($0.at) - start }
  }
}

extension Block {
  /// The ways out of its code that are there.
  var liveEdges: [HostEdge] {
    guard let edges else { return [] }
    return (0..<edgeCount).map { edges[$0] }.filter { $0.jumpEnd != 0 }
  }
}
