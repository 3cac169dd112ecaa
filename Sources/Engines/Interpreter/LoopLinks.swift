import X86

/// How the hot loop goes on from one block to the next.
extension UnsafeMutablePointer<CPU> {
  @inline(__always) func nextRIP(_ block: BlockPointer, _ o: MicroOpPointer) -> UInt64 {
    let offset = UInt64(o.pointee.offset) &+ UInt64(o.pointee.length)
    return (block.pointee.rip &+ offset) & pointee.addressMask
  }

  /// After an instruction that may have changed what runs next: must the driver look?
  @inline(__always) var wantsAttention: Bool {
    let flags = pointee.rflags
    let trap = flags & RFLAGS.tf != 0 || pointee.dr7 & 0xFF != 0
    let window = pointee.windowRequested && flags & RFLAGS.interruptEnable != 0
    if pointee.interruptShadow { noteShadow() }
    return trap || window || pointee.activity != .active || pointee.leaveSoon
  }

  /// Goes on by a direct transfer. False with `rip` set if the next block is not known, was dropped or the budget does
  /// not reach to its end. A link that was of no use is given up: it may lead to a block that was dropped.
  @inline(__always)
  func follow(_ block: inout BlockPointer, taken: Bool) -> Bool {
    let from = block
    if taken {
      if from.pointee.takenStamp == pointee.stamp, let next = from.pointee.taken {
        if enter(&block, next) { return true }
        from.pointee.takenStamp = .max
        return false
      }
      guard let next = cached(from.pointee.takenRIP) else { return false }
      from.pointee.taken = next
      from.pointee.takenStamp = pointee.stamp
      return enter(&block, next)
    }
    if from.pointee.fallStamp == pointee.stamp, let next = from.pointee.fall {
      if enter(&block, next) { return true }
      from.pointee.fallStamp = .max
      return false
    }
    guard let next = cached(from.pointee.endRIP) else { return false }
    from.pointee.fall = next
    from.pointee.fallStamp = pointee.stamp
    return enter(&block, next)
  }

  /// Goes on at a RIP known only now.
  @inline(__always)
  func jump(_ block: inout BlockPointer, to rip: UInt64) -> Bool {
    guard let next = cached(rip) else { return false }
    return enter(&block, next)
  }

  /// The block at `rip` if the jump cache knows it; else nil, with `rip` set.
  @inline(__always)
  func cached(_ rip: UInt64) -> BlockPointer? {
    let entry = pointee.jumpCache + JumpEntry.index(rip)
    if entry.pointee.rip == rip, entry.pointee.stamp == pointee.stamp { return entry.pointee.block }
    pointee.rip = rip
    return nil
  }

  /// Charges `next` to the budget; false with `rip` set if it does not reach.
  @inline(__always)
  func enter(_ block: inout BlockPointer, _ next: BlockPointer) -> Bool {
    let left = pointee.budget &- next.pointee.count
    if left < 0 {
      pointee.rip = next.pointee.rip
      return false
    }
    pointee.budget = left
    block = next
    return true
  }
}

/// A direct-mapped memory of where blocks start, by RIP: 40 bytes.
struct JumpEntry {
  var rip: UInt64 = 0
  var stamp: UInt64 = .max
  var block: BlockPointer?
  /// Of the block, for generated code: where there is none, no budget reaches to its end.
  var host: UInt = 0
  var hostCount = Block.unreachable

  init() {}
  init(stamp: UInt64, _ block: BlockPointer) {
    rip = block.pointee.rip
    self.stamp = stamp
    self.block = block
    host = block.pointee.host
    if host != 0 { hostCount = block.pointee.hostCount }
  }

  static let count = 1 << 15
  /// Where a block that is to run alone is remembered: elsewhere than the whole one, which it would drive out.
  @inline(__always) static func apart(_ index: Int) -> Int { index ^ count / 2 }
  @inline(__always) static func index(_ rip: UInt64) -> Int {
    Int(truncatingIfNeeded: (rip ^ rip &>> 12) & UInt64(count - 1))
  }
}

@inline(__always) func isCanonical(_ address: UInt64) -> Bool {
  UInt64(bitPattern: Int64(bitPattern: address &<< 16) &>> 16) == address
}
