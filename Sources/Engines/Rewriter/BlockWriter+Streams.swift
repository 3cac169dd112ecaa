/// Loops whose memory operands go on by equal distances (`Streams`): each operand's page is looked up once, rounds then go
/// without, as many as stay on all pages. Of a stream with long strides the pages that follow are looked up as well.
extension BlockWriter {
  /// log2 of how far a 32-bit register must be from wrapping, which is more than it moves while its operand stays on the pages
  /// that were looked up: upwards and downwards.
  private static let (upperMargin, lowerMargin): (UInt8, UInt8) = (17, 14)
  /// log2 of what strides are divided into.
  private static let fraction: UInt8 = 30
  /// A look-up is to last for so many rounds.
  private static let rounds: Int64 = 64

  /// Code that is reached with a round charged. `again` does one the usual way.
  mutating func writeStreams(_ found: Streams, again: Int, start: Int) {
    let (streams, isSteady) = settled(found)
    let lookUp = asm.count
    asm.store(offsets.field(offsets.streamsEnd), 0, size: 8)
    var misses: [Int] = []
    for (index, stream) in streams.all.enumerated() { misses += enter(stream, index) }
    // Less what it may go down to, the budget is negative where the rounds are over.
    asm.alu(5, Self.budget, offsets.field(offsets.streamsEnd), size: 8)
    for (index, home) in streams.homes.sorted(by: { $0.key < $1.key }) { asm.move(home, offsets.stream(index), size: 8) }
    host = .none
    if isSteady {
      writeSteadyRounds(streams, lookUp: lookUp)
    } else {
      writeRound(streams)
      takeBudget()
      settle()
      loop(to: start)
    }
    for miss in misses { asm.land(miss) }
    asm.jump(to: again)
  }

  /// Rounds that leave everything as they find it, small ones several by several. One has been charged, which fits.
  private mutating func writeSteadyRounds(_ streams: Streams, lookUp: Int) {
    let copies = Streams.copies(of: trace)
    let total = Int32(truncatingIfNeeded: trace.total)
    let others = total * Int32(copies - 1)
    var isOver: Int?
    if copies > 1 {
      asm.alu(5, .register(Self.budget), others, size: 8)
      let few = asm.jumpAhead(12)
      writeRounds(streams, count: copies)
      asm.land(few)
      asm.alu(0, .register(Self.budget), others, size: 8)
      isOver = asm.jumpAhead(8)
    }
    writeRounds(streams, count: 1)
    if let isOver { asm.land(isOver) }
    takeBudget()
    asm.test(.register(Self.budget), Self.budget, size: 8)
    later(.spent, from: asm.jumpAhead(8))
    asm.jump(to: lookUp)
  }

  /// A loop of so many rounds at once, which are charged; so are those that do not fit any more behind it.
  private mutating func writeRounds(_ streams: Streams, count: Int) {
    let total = Int32(truncatingIfNeeded: trace.total)
    let first = asm.count
    for behind in (0..<Int32(count)).reversed() {
      chargedAhead = behind * total
      writeRound(streams)
      host = .none
    }
    asm.alu(5, .register(Self.budget), total * Int32(count), size: 8)
    asm.jump(13, to: first)
  }

  private mutating func writeRound(_ streams: Streams) {
    self.streams = streams
    writeRound()
    self.streams = nil
  }

  /// The streams with those that stay in a register of the host, where rounds leave one free, and whether these leave
  /// everything as they find it. A register is known to be free when a round was written that does not name it.
  private func settled(_ streams: Streams) -> (Streams, isSteady: Bool) {
    var rehearsal = self
    rehearsal.writeRound(streams)
    guard rehearsal.state == state else { return (streams, false) }
    guard rehearsal.stubs[stubs.count...].allSatisfy({ $0.isFinal }) else { return (streams, true) }
    for homes in streams.possibleHomes {
      var housed = streams
      housed.homes = homes
      rehearsal = self
      rehearsal.asm.named = 0
      rehearsal.writeRound(housed)
      if homes.values.allSatisfy({ rehearsal.asm.named >> UInt16($0.number) & 1 == 0 }) { return (housed, true) }
    }
    return (streams, true)
  }

  /// The budget is whole again, as everywhere outside those rounds.
  mutating func takeBudget() { asm.alu(0, Self.budget, offsets.field(offsets.streamsEnd), size: 8) }

  /// Looks up where a stream is now: what is added to its register to reach it, and how far down the budget may go before it
  /// leaves its page. Gives the jumps that are taken where that cannot be said.
  private mutating func enter(_ stream: Streams.Stream, _ index: Int) -> [Int] {
    let (a, b) = (Self.a, Self.b)
    var misses: [Int] = []
    if stream.isNarrow, let register = stream.register { misses.append(whereItMayWrap(register, stream.stride)) }
    let span = Int(stream.high - stream.low)
    var model = stream.model.pointee
    model.disp = stream.low
    let miss = withUnsafeMutablePointer(to: &model) { reach($0, size: span, write: stream.isWrite) }
    if let miss { misses.append(miss.jump) }
    let pages = stream.stride * Self.rounds / 4096
    if pages > 0 { lookFurther(stream, pages: Int(pages)) }
    if stream.stride != 0 { bound(stream.stride, span: span, isFurther: pages > 0) }
    if stream.low != 0 { asm.alu(5, .register(b), Int32(truncatingIfNeeded: stream.low), size: 8) }
    if let register = stream.register {
      let value = value(register, a, size: 8)
      if stream.scale == 0 {
        asm.alu(5, b, .register(value), size: 8)
      } else {
        if value != a { asm.move(a, .register(value), size: 8) }
        asm.shift(4, .register(a), by: stream.scale, size: 8)
        asm.alu(5, b, .register(a), size: 8)
      }
    }
    asm.move(offsets.stream(index), b, size: 8)
    return misses
  }

  private mutating func whereItMayWrap(_ register: UInt8, _ stride: Int64) -> Int {
    let value = value(register, Self.a, size: 8)
    if value != Self.a { asm.move(Self.a, .register(value), size: 8) }
    let margin = stride < 0 ? Self.lowerMargin : Self.upperMargin
    asm.shift(5, .register(Self.a), by: margin, size: 8)
    asm.alu(7, .register(Self.a), stride < 0 ? 0 : Int32(1) << Int32(32 - margin) - 1, size: 8)
    return asm.jumpAhead(stride < 0 ? 4 : 3)
  }

  /// Bytes behind the page of the operand at `b`, which `reach` has just found, that lie behind it in host memory, too, and are
  /// in the TLB: into `CPU.spare`. Uses `a`.
  private mutating func lookFurther(_ stream: Streams.Stream, pages: Int) {
    let (a, tag, addend) = (Self.a, HostRegister.r10, HostRegister.r11)
    let entry = MemoryLayout<TLBEntry>.stride
    func field(_ path: PartialKeyPath<TLBEntry>, page: Int) -> HostOperand {
      let distance = page * entry + (MemoryLayout<TLBEntry>.offset(of: path) ?? 0)
      return .memory(.rsp, index: a, displacement: table(write: stream.isWrite) + Int32(distance))
    }
    // The places where they go when generated code is left are free.
    for register in [tag, addend] { asm.move(HostLayout.register(Int(register.number)), register, size: 8) }
    asm.move(tag, field(\.tag, page: 0), size: 8)
    asm.move(addend, field(\.addend, page: 0), size: 8)
    asm.alu(0, .register(tag), 4096, size: 8)
    // Behind the table's end another one begins.
    asm.alu(7, .register(a), Int32((TLB.half - 1 - pages) * entry), size: 4)
    var ends = [asm.jumpAhead(7)]
    for page in 1...pages {
      asm.alu(7, tag, field(\.tag, page: page), size: 8)
      ends.append(asm.jumpAhead(5))
      asm.alu(7, addend, field(\.addend, page: page), size: 8)
      ends.append(asm.jumpAhead(5))
      asm.alu(0, .register(tag), 4096, size: 8)
    }
    for end in ends { asm.land(end) }
    asm.alu(5, .register(tag), 4096, size: 8)
    asm.alu(5, tag, field(\.tag, page: 0), size: 8)
    asm.move(offsets.field(offsets.spare), tag, size: 8)
    for register in [tag, addend] { asm.move(register, HostLayout.register(Int(register.number)), size: 8) }
  }

  /// The rounds that fit between the operands at `b` and the end they go to of what was looked up, behind this one. Uses `a`.
  private mutating func bound(_ stride: Int64, span: Int, isFurther: Bool) {
    let a = Self.a
    let size = abs(stride)
    asm.move(a, .register(Self.b), size: 4)
    asm.alu(4, .register(a), 4095, size: 4)
    if stride > 0 {
      asm.unary(3, .register(a), size: 8)
      asm.alu(0, .register(a), Int32(4096 - span), size: 8)
      if isFurther { asm.alu(0, a, offsets.field(offsets.spare), size: 8) }
    }
    if size & (size - 1) == 0 {
      asm.shift(5, .register(a), by: UInt8(size.trailingZeroBitCount), size: 8)
    } else {
      // Divided by multiplication: exact for so few bytes.
      let reciprocal = (Int64(1) << Int64(Self.fraction) + size - 1) / size
      asm.multiply(a, .register(a), Int32(truncatingIfNeeded: reciprocal), size: 8)
      asm.shift(5, .register(a), by: Self.fraction, size: 8)
    }
    asm.multiply(a, .register(a), Int32(truncatingIfNeeded: -trace.total), size: 8)
    asm.alu(0, a, .register(Self.budget), size: 8)
    let end = offsets.field(offsets.streamsEnd)
    asm.alu(7, a, end, size: 8)
    let sooner = asm.jumpAhead(14)
    asm.move(end, a, size: 8)
    asm.land(sooner)
  }

  /// Has an operand whose stream was looked up as `found`. Uses `a` where its register has no home, and `b` where it has none itself.
  mutating func reach(_ o: MicroOpPointer, stream index: Int, of streams: Streams) {
    let stream = streams.all[index]
    let displacement = Int32(truncatingIfNeeded: o.pointee.disp)
    let home = streams.homes[index]
    let base = home ?? Self.b
    if home == nil { asm.move(base, offsets.stream(index), size: 8) }
    if let register = stream.register {
      let value = value(register, Self.a, size: 8)
      found = .memory(base, index: value, scale: stream.scale, displacement: displacement)
      if value == Self.a { findAddress() }
    } else {
      found = .memory(base, displacement: displacement)
    }
    host = .none
  }
}
