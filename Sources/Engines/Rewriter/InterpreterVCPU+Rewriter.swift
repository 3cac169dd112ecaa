import CHost

/// Going back and forth between the interpreter and generated code.
extension InterpreterVCPU {
  /// Goes on from where the interpreter's loop ended, until something else than more code is wanted.
  func rewritten(_ end: LoopEnd) -> LoopEnd {
    var end = end
    while true {
      switch end {
      case .warm(let block): end = translate(block)
      case .host(let block): end = enter(block)
      default: return end
      }
    }
  }

  private func translate(_ block: BlockPointer) -> LoopEnd {
    guard let rewriter = engine.rewriter else { return .find }
    c.unloadMXCSR()
    guard rewriter.takes(block) else {
      engine.tally.refused += 1
      return c.execute(block, at: block.pointee.ops)
    }
    if rewriter.isFull {
      rewriter.makeRoom(engine.cache, warmth: Int64(engine.configuration.warmth))
      c.pointee.budget &+= block.pointee.count
      c.pointee.rip = block.pointee.rip
      return .find
    }
    let trace = Trace(from: block, c, warmth: Int64(engine.configuration.warmth))
    rewriter.translate(trace)
    engine.tally.add(trace)
    engine.cache.spread(block)
    return .host(block)
  }

  /// Runs the code of a block that was charged, if the budget reaches to the end of its trace.
  private func enter(_ block: BlockPointer) -> LoopEnd {
    let slot = c.pointee.jumpCache + JumpEntry.index(block.pointee.rip)
    if slot.pointee.block == block, slot.pointee.host != block.pointee.host {
      slot.pointee = JumpEntry(stamp: slot.pointee.stamp, block)
    }
    let rest = block.pointee.hostCount &- block.pointee.count
    guard c.pointee.budget >= rest else { return c.execute(block, at: block.pointee.ops + 1) }
    c.pointee.budget &-= rest
    return enter(block.pointee.host)
  }

  private func enter(_ code: UInt) -> LoopEnd {
    guard let rewriter = engine.rewriter else { return .find }
    var code = code
    while true {
      switch HostEnd(rawValue: chost_code_enter(rewriter.entry, c, code)) {
      case .stop: return hostStop
      case .interpret:
        guard let block = BlockPointer(bitPattern: c.pointee.hostBlock), let op = MicroOpPointer(bitPattern: c.pointee.hostOp)
        else { return .find }
        if op.pointee.reachesStack { c.pointee.slowAccesses &+= 1 }
        return c.execute(block, at: op)
      case .link:
        guard let next = follow(rewriter) else { return .find }
        code = next
      case .stale:
        guard let block = BlockPointer(bitPattern: c.pointee.hostBlock) else { return .find }
        guard block.pointee.hostStampAt != 0, c.stillMaps(block) else { return c.execute(block, at: block.pointee.ops + 1) }
        rewriter.approve(block, stamp: c.pointee.stamp)
        return enter(block)
      case .find, .onward, nil: return .find
      }
    }
  }

  /// Links the edge that generated code left by, if there is code behind it; the address to go on at.
  private func follow(_ rewriter: Rewriter) -> UInt? {
    guard let edge = UnsafeMutablePointer<HostEdge>(bitPattern: c.pointee.hostOp) else { return nil }
    let from = edge.pointee.block
    let target = edge.pointee.isTaken ? from.pointee.takenRIP : from.pointee.endRIP
    c.pointee.rip = target
    guard let next = c.cached(target), next.pointee.host != 0 else { return nil }
    rewriter.link(edge, to: next, stamp: c.pointee.stamp)
    guard c.pointee.budget >= next.pointee.hostCount else { return nil }
    c.pointee.budget &-= next.pointee.hostCount
    return next.pointee.host
  }
}

extension InterpreterEngine {
  /// What was rewritten so far; nil where nothing ever is.
  package var rewriting: RewritingStatistics? { rewriter?.statistics }

  /// Drops all decoded and generated code. Only while no vCPU is inside generated code.
  package func forgetCode() {
    cache.dropAll()
    rewriter?.empty()
    bumpGenerations()
  }
}
