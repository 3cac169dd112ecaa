import VMCore

/// What generated code calls for a micro-op that it does not carry out itself: 0 to go on, else a `HostEnd`.
let hostCallout:
  @convention(c) (UnsafeMutableRawPointer, UnsafeMutableRawPointer, UnsafeMutableRawPointer) -> UInt64 = {
    cpu, block, op in
    let c = cpu.assumingMemoryBound(to: CPU.self)
    let (op, block) = (op.assumingMemoryBound(to: MicroOp.self), block.assumingMemoryBound(to: Block.self))
    // Most exits come this way: they need not pass by all the others.
    switch op.pointee.op {
    case .system, .systemEnd: return c.carryOutSystem(op, of: block)
    default: return c.carryOut(op, of: block)
    }
  }

extension UnsafeMutablePointer<CPU> {
  /// Executes one micro-op that is no system instruction: one that ends its block leaves the way on in `rip`.
  fileprivate func carryOut(_ op: MicroOpPointer, of block: BlockPointer) -> UInt64 {
    switch op.pointee.op {
    case .keepCarry: keepCarry()
    case .rotateFlags: noteRotation(op.pointee.aux)
    default: return carryOutOther(op, of: block)
    }
    return 0
  }

  fileprivate func carryOutSystem(_ op: MicroOpPointer, of block: BlockPointer) -> UInt64 {
    let stamp = pointee.stamp
    pointee.rip = nextRIP(block, op)
    do throws(Stop) {
      try system(op)
    } catch {
      pointee.budget &+= Int64(op.pointee.remaining)
      pointee.rip = block.pointee.rip &+ UInt64(op.pointee.offset)
      pointee.stopLength = op.pointee.length
      pointee.stopOnStack = op.pointee.usesStack
      return stopped(error)
    }
    guard op.pointee.op == .systemEnd else { return goOn(behind: op, of: block, from: stamp) }
    guard wantsAttention else { return 0 }
    vcpu.hostStop = .attention
    return HostEnd.stop.rawValue
  }

  /// All but system instructions, by the interpreter's loop.
  private func carryOutOther(_ op: MicroOpPointer, of block: BlockPointer) -> UInt64 {
    // What has a host form is here for its memory operand alone.
    if op.pointee.isRewritten { pointee.slowAccesses &+= 1 }
    let stamp = pointee.stamp
    let isEnd = op.pointee.op == .integerEnd
    let single = pointee.singleOp
    single.pointee = op.pointee
    if isEnd {
      single.pointee.op = .integer
      pointee.rip = block.pointee.endRIP
    }
    let site = UnsafeMutablePointer<HostSite>(bitPattern: pointee.hostSite)
    let linear = site == nil ? 0 : address(op)
    pointee.hostSite = 0
    let end = vcpu.carryOut(single, of: block)
    if let site { notice(op, linear, end, site) }
    switch end {
    case .done: return isEnd ? 0 : goOn(behind: op, of: block, from: stamp)
    case .stop(let stop): return stopped(stop)
    case let end:
      vcpu.hostStop = end
      return HostEnd.stop.rawValue
    }
  }

  /// What follows in the block may have to be looked up anew: the interpreter does that.
  private func goOn(behind op: MicroOpPointer, of block: BlockPointer, from stamp: UInt64) -> UInt64 {
    guard pointee.stamp != stamp else { return 0 }
    pointee.hostOp = UInt(bitPattern: op + 1)
    pointee.hostBlock = UInt(bitPattern: block)
    return HostEnd.interpret.rawValue
  }

  /// The instruction was given up. Most faults are delivered at once, and generated code goes on with the handler's.
  private func stopped(_ stop: Stop) -> UInt64 {
    if stop == .fault, vcpu.deliverInPlace() { return HostEnd.onward.rawValue }
    vcpu.hostStop = .stop(stop)
    return HostEnd.stop.rawValue
  }

  /// A plain access to this address took its slow way. Where that did not bring its page into the TLB it was in vain,
  /// and after so many times the access becomes a callout.
  private func notice(_ op: MicroOpPointer, _ linear: UInt64, _ end: LoopEnd, _ site: UnsafeMutablePointer<HostSite>) {
    switch end {
    case .done:
      let entry = op.pointee.isPlainStore ? tlbWriteEntry(linear) : tlbEntry(linear)
      guard entry.pointee.tag != linear & ~0xFFF else { return }
    case .stop(.exit): break
    default: return
    }
    guard !site.pointee.isCallout else { return }
    site.pointee.misses += 1
    if site.pointee.isCallout { vcpu.engine.rewriter?.makeCallout(site.pointee) }
  }
}
