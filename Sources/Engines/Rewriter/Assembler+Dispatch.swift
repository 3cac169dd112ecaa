/// Code that several others have in common.
extension Assembler {
  /// Goes on at `CPU.rip`, which `b` holds, everything settled, where the jump cache knows host code for it and the budget
  /// reaches to its end. Gives the jumps that are taken where not.
  mutating func dispatch(_ offsets: HostOffsets) -> [Int] {
    let (a, b, budget) = (HostLayout.a, HostLayout.b, HostLayout.budget)
    let entry = Int32(HostLayout.jumpOffset)
    move(a, .register(b), size: 8)
    shift(5, .register(a), by: 12, size: 8)
    alu(6, .register(a), b, size: 4)
    alu(4, .register(a), Int32(JumpEntry.count - 1), size: 4)
    // Times the size of an entry.
    lea(a, .memory(a, index: a, scale: 2), size: 8)
    shift(4, .register(a), by: 3, size: 4)
    alu(7, b, .memory(.rsp, index: a, displacement: entry), size: 8)
    let other = jumpAhead(5)
    move(b, offsets.field(offsets.stamp), size: 8)
    alu(7, b, .memory(.rsp, index: a, displacement: entry + 8), size: 8)
    let stale = jumpAhead(5)
    move(b, .memory(.rsp, index: a, displacement: offsets.jumpHost), size: 8)
    test(.register(b), b, size: 8)
    let cold = jumpAhead(4)
    alu(5, budget, .memory(.rsp, index: a, displacement: offsets.jumpCount), size: 8)
    let over = jumpAhead(8)
    jump(.register(b))
    land(over)
    alu(0, budget, .memory(.rsp, index: a, displacement: offsets.jumpCount), size: 8)
    return [jumpAhead(), other, stale, cold]
  }
}
