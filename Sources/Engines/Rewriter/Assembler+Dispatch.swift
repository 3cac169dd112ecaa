/// Code that several others have in common.
extension Assembler {
  /// Goes on at the RIP in `b`, everything else settled, where the jump cache knows host code for it and the budget reaches to
  /// its end. Gives the jump that is taken where not, with that RIP in `CPU.rip`.
  mutating func dispatch(_ offsets: HostOffsets) -> Int {
    let (a, b, budget) = (HostLayout.a, HostLayout.b, HostLayout.budget)
    func entry(_ distance: Int32) -> HostOperand { .memory(.rsp, index: a, displacement: distance) }
    let (rip, stamp) = (entry(Int32(HostLayout.jumpOffset)), entry(Int32(HostLayout.jumpOffset) + 8))
    bits(from: 12, of: b, into: a)
    alu(6, .register(a), b, size: 4)
    alu(4, .register(a), Int32(JumpEntry.count - 1), size: 4)
    // Times the size of an entry.
    lea(a, .memory(a, index: a, scale: 2), size: 8)
    shift(4, .register(a), by: 3, size: 4)
    alu(7, b, rip, size: 8)
    let other = jumpAhead(5)
    move(b, offsets.field(offsets.stamp), size: 8)
    alu(7, b, stamp, size: 8)
    let stale = jumpAhead(5)
    move(b, entry(offsets.jumpHost), size: 8)
    // No budget reaches to the end of what has no host code.
    alu(5, budget, entry(offsets.jumpCount), size: 8)
    let over = jumpAhead(8)
    jump(.register(b))
    land(over)
    alu(0, budget, entry(offsets.jumpCount), size: 8)
    land(stale)
    move(b, rip, size: 8)
    land(other)
    move(offsets.field(offsets.rip), b, size: 8)
    return jumpAhead()
  }
}
