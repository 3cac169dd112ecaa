import Engines
import Testing
import VMCore
import X86

/// Repeatable random numbers (xorshift64*).
private struct Random {
  var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_F491_4F6C_DD1D
  }
  mutating func below(_ limit: UInt64) -> UInt64 { next() % limit }
}

/// Guests made of random bytes: whatever they do, `run` comes back.
@Suite struct SystemHostileTests {
  enum Start: CaseIterable, Sendable { case real, protected, virtual8086, pae, long, ring3 }

  /// First bytes of system instructions, so that they turn up often.
  private static let openings: [[UInt8]] = [
    [0xCF], [0x48, 0xCF], [0x66, 0xCF], [0xCD], [0xCC], [0xCE], [0xF1], [0xEA], [0x9A], [0xCB], [0xCA], [0xFF, 0x1C],
    [0xFF, 0x2C], [0x8E], [0x8C], [0x0F, 0x00], [0x0F, 0x01], [0x0F, 0x02], [0x0F, 0x03], [0x0F, 0x20], [0x0F, 0x22],
    [0x0F, 0x21], [0x0F, 0x23], [0x0F, 0x05], [0x0F, 0x07], [0x0F, 0x34], [0x0F, 0x35], [0x0F, 0x30], [0x0F, 0x32],
    [0x0F, 0xB2], [0x0F, 0xB4], [0xC4], [0xC5], [0x1F], [0x07], [0x17], [0x0F, 0xA1], [0x9D], [0x9C], [0xF3, 0x6C],
    [0xF3, 0x6E], [0x63], [0xFA], [0xFB], [0xF4], [0x0F, 0x06], [0xA0], [0xA2], [0x50], [0x58], [0x61], [0xC8],
  ]

  private func prepare(_ b: SystemBench, _ start: Start, _ random: inout Random) {
    switch start {
    case .real: break
    case .protected, .virtual8086: b.enterProtected()
    case .pae: b.enterPaged(.pae, cpl: 0)
    case .long: b.enterLong()
    case .ring3: b.enterLong(cpl: 3)
    }
    // Dents in the tables.
    for _ in 0..<random.below(24) {
      let table = [SystemBench.gdt, SystemBench.idt, SystemBench.tss, 0x10000, 0x12000, 0x13000][Int(random.below(6))]
      b.put(table + random.below(0x120), UInt8(truncatingIfNeeded: random.next()))
    }
    var at = SystemBench.code
    while at < SystemBench.code + 0x200 {
      for byte in Self.openings[Int(random.below(UInt64(Self.openings.count)))] {
        b.put(at, byte)
        at += 1
      }
      for _ in 0..<random.below(7) {
        b.put(at, UInt8(truncatingIfNeeded: random.below(3) == 0 ? random.below(0x40) : random.next()))
        at += 1
      }
    }
    b.change { s in
      if start == .real || start == .virtual8086 {
        for name in [SegmentName.cs, .ds, .es, .ss, .fs, .gs] {
          let selector = UInt16(random.below(0x900))
          s[name] = SegmentState(selector: selector, base: UInt64(selector) << 4, access: start == .real ? 0x93 : 0xF3)
        }
        s[.cs] = SegmentState(selector: 0x800, base: 0x8000, access: start == .real ? 0x9B : 0xF3)
        s.rip = 0
        s.rflags = start == .real ? 2 : 2 | RFLAGS.vm | (random.next() & RFLAGS.iopl)
      }
      for i in 0..<16 where i != 4 || random.below(4) == 0 {
        s.gpr[i] = random.below(2) == 0 ? random.below(0x1_0000) : random.next()
      }
      if random.below(4) == 0 { s.rflags |= RFLAGS.tf }
      if random.below(4) == 0 { s.dr7 = random.next() & 0xFFFF_03FF | 0x400 }
      for i in 0..<4 { s.dr[i] = random.below(0xA000) }
      s.cr4 |= random.next() & (CR4.smep | CR4.smap | CR4.umip | CR4.pge | CR4.de | CR4.tsd)
    }
  }

  /// An answer such as a monitor gives, sometimes a strange one.
  private func answer(_ exit: VMExit, _ random: inout Random) -> VMEntry {
    switch random.below(8) {
    case 0: return VMEntry(.skip)
    case 1: return VMEntry(.complete(random.next()))
    case 2: return VMEntry(.fault(13, errorCode: 0))
    case 3: return VMEntry(.resume, inject: .externalInterrupt(UInt8(random.below(256))))
    case 4: return VMEntry(.complete(random.next()), interruptWindow: true)
    default: return VMEntry(.emulate)
    }
  }

  @Test("random programs over dented tables always come back", arguments: Start.allCases)
  func programs(_ start: Start) throws {
    for seed in 1...120 as ClosedRange<UInt64> {
      let b = try SystemBench()
      var random = Random(seed)
      prepare(b, start, &random)
      var entry = VMEntry.resume
      for _ in 0..<30 {
        let before = b.vcpu.instructionCount
        let exit = b.vcpu.run(entry, limit: 50)
        #expect(b.vcpu.instructionCount - before <= 51)
        if exit.reason == .tripleFault { break }
        if b.state.activity != .active { b.change { $0.activity = .active } }
        entry = answer(exit, &random)
        b.events.consume { _ in }
      }
    }
  }
}
