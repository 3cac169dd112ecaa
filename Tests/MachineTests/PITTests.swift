import Machine
import Testing
import VMCore

struct PITTests {
  /// ns after which `clocks` clocks of 1.193182 MHz have passed.
  static func time(_ clocks: UInt64) -> UInt64 { (clocks * 1_000_000_000 + 1_193_181) / 1_193_182 }

  func program(_ bench: Bench, channel: UInt64, mode: UInt64, count: UInt64, bcd: UInt64 = 0) {
    bench.out(0x43, channel << 6 | 0x30 | mode << 1 | bcd)
    bench.out(UInt16(0x40 + channel), count & 0xFF)
    bench.out(UInt16(0x40 + channel), count >> 8)
  }

  func count(_ bench: Bench, channel: UInt64) -> UInt64 {
    bench.out(0x43, channel << 6)
    let low = bench.in(UInt16(0x40 + channel))
    return low | bench.in(UInt16(0x40 + channel)) << 8
  }

  @Test func `250 interrupts a second come at exact times`() throws {
    let bench = try Bench(hasLocalAPIC: false)
    bench.initializePICs()
    program(bench, channel: 0, mode: 2, count: 4773)
    for tick in 1...1000 as ClosedRange<UInt64> {
      let due = Self.time(1 + tick * 4773)
      #expect(bench.pc.nextDeadline == due)
      bench.wait(due - 1 - bench.vcpu.virtualTime)
      #expect(bench.takeInterrupt() == nil)
      bench.wait(1)
      #expect(bench.takeInterrupt() == 0x20)
      bench.out(0x20, 0x20)
    }
  }

  @Test func `a thousand missed periods are one interrupt and no delay`() throws {
    let bench = try Bench(hasLocalAPIC: false)
    bench.initializePICs()
    program(bench, channel: 0, mode: 3, count: 2)
    bench.wait(1 << 61)
    #expect(bench.takeInterrupt() == 0x20)
    bench.out(0x20, 0x20)
    #expect(bench.takeInterrupt() == nil)
    #expect(bench.pc.nextDeadline.map { $0 > bench.vcpu.virtualTime } == true)
  }

  /// Mode, count, and OUT2 after each number of clocks since the write (data sheet figures 15 to 20).
  @Test(arguments: [
    (0, 4, [0, 0, 0, 0, 0, 1, 1, 1]), (2, 3, [1, 1, 1, 0, 1, 1, 0, 1]),
    (3, 4, [1, 1, 1, 0, 0, 1, 1, 0]), (3, 5, [1, 1, 1, 1, 0, 0, 1, 1]), (4, 3, [1, 1, 1, 1, 0, 1, 1, 1]),
  ] as [(UInt64, UInt64, [Int])])
  func `OUT follows the mode's figure`(mode: UInt64, count: UInt64, levels: [Int]) throws {
    let bench = try Bench(model: .p0)
    bench.out(0x61, 1)
    program(bench, channel: 2, mode: mode, count: count)
    for (clock, level) in levels.enumerated() {
      bench.wait(Self.time(UInt64(clock)) - bench.vcpu.virtualTime)
      #expect(bench.in(0x61) >> 5 & 1 == UInt64(level), "clock \(clock)")
    }
  }

  @Test(arguments: [(1, [1, 0, 0, 0, 1]), (5, [1, 1, 1, 1, 0])] as [(UInt64, [Int])])
  func `modes 1 and 5 start at the gate's rise`(mode: UInt64, levels: [Int]) throws {
    let bench = try Bench(model: .p0)
    program(bench, channel: 2, mode: mode, count: 3)
    #expect(bench.in(0x61) >> 5 & 1 == 1)
    bench.out(0x61, 1)
    for (clock, level) in levels.enumerated() where clock > 0 {
      bench.wait(Self.time(UInt64(clock)) - bench.vcpu.virtualTime)
      #expect(bench.in(0x61) >> 5 & 1 == UInt64(level), "clock \(clock)")
    }
  }

  @Test(arguments: [
    (UInt64(0), UInt64(0x1000), UInt64(0), UInt64(0x10), UInt64(0xFF1)), (2, 10, 0, 14, 7), (3, 8, 0, 3, 4),
    (0, 5, 0, 8, 0xFFFE), (0, 0x0100, 1, 2, 0x0099), (0, 0x0001, 1, 4, 0x9998), (0, 0, 0, 2, 0xFFFF),
  ])
  func `counts read back by mode and base`(
    mode: UInt64, count initial: UInt64, bcd: UInt64, clocks: UInt64, expected: UInt64
  ) throws {
    let bench = try Bench()
    program(bench, channel: 0, mode: mode, count: initial, bcd: bcd)
    bench.wait(Self.time(clocks))
    #expect(count(bench, channel: 0) == expected)
  }

  @Test func `a latched count stays until it is read`() throws {
    let bench = try Bench()
    program(bench, channel: 0, mode: 2, count: 0x8000)
    bench.wait(Self.time(0x101))
    bench.out(0x43, 0x00)
    bench.wait(Self.time(0x100))
    bench.out(0x43, 0x00)
    #expect(bench.in(0x40) == 0x00)
    #expect(bench.in(0x40) == 0x7F)
  }

  @Test func `read-back latches status and count of several counters`() throws {
    let bench = try Bench()
    program(bench, channel: 0, mode: 2, count: 0x1234)
    bench.out(0x43, 0xC2 | 0x20)
    // Null count: not loaded before the next clock. Mode 2, both bytes, output high.
    #expect(bench.in(0x40) == 0xF4)
    bench.wait(Self.time(3))
    bench.out(0x43, 0xC2)
    #expect(bench.in(0x40) == 0xB4)
    #expect(bench.in(0x40) == 0x32)
    #expect(bench.in(0x40) == 0x12)
  }

  @Test func `the gate stops mode 0 and restarts mode 2`() throws {
    let bench = try Bench()
    bench.out(0x61, 1)
    program(bench, channel: 2, mode: 0, count: 1000)
    bench.wait(Self.time(101))
    bench.out(0x61, 0)
    bench.wait(Self.time(500))
    #expect(count(bench, channel: 2) == 900)
    program(bench, channel: 2, mode: 2, count: 1000)
    bench.wait(Self.time(200))
    bench.out(0x61, 1)
    bench.wait(Self.time(11))
    #expect((989...991).contains(count(bench, channel: 2)))
  }

  @Test func `a new count in mode 2 waits for the end of the period`() throws {
    let bench = try Bench()
    program(bench, channel: 0, mode: 2, count: 1000)
    bench.wait(Self.time(501))
    bench.out(0x40, 100)
    bench.out(0x40, 0)
    #expect(count(bench, channel: 0) == 500)
    bench.wait(Self.time(1001 + 30) - bench.vcpu.virtualTime)
    #expect(count(bench, channel: 0) == 70)
  }

  @Test func `mode 0 interrupts once`() throws {
    let bench = try Bench(hasLocalAPIC: false)
    bench.initializePICs()
    program(bench, channel: 0, mode: 0, count: 100)
    #expect(bench.pc.nextDeadline == Self.time(101))
    bench.wait(Self.time(101))
    #expect(bench.takeInterrupt() == 0x20)
    #expect(bench.pc.nextDeadline == nil)
  }

  @Test func `port 61h keeps its low bits and toggles refresh`() throws {
    let bench = try Bench(model: .p0)
    bench.out(0x61, 0x03)
    #expect(bench.in(0x61) & 0x0F == 0x03)
    let before = bench.in(0x61) & 0x10
    bench.wait(15_100)
    #expect(bench.in(0x61) & 0x10 != before)
  }

  @Test func `reading port 61h takes the time of a cycle of the old bus, so that waits by it are short`() throws {
    let bench = try Bench()
    bench.out(0x61, 1)
    program(bench, channel: 2, mode: 0, count: 0)
    var reads = 0
    while bench.in(0x61) & 0x20 == 0, reads < 100_000 { reads += 1 }
    // 65,536 clocks are 54.9 ms.
    #expect((57_000...57_400).contains(reads))
  }
}
