import Machine
import Testing
import VMCore

struct ClockTests {
  func cmos(_ bench: Bench, _ register: UInt64) -> UInt64 {
    bench.out(0x70, register)
    return bench.in(0x71)
  }
  func set(_ bench: Bench, _ register: UInt64, _ value: UInt64) {
    bench.out(0x70, register)
    bench.out(0x71, value)
  }
  /// Century, year, month, day, weekday, hours, minutes, seconds as the registers hold them.
  func date(_ bench: Bench) -> [UInt64] { [0x32, 9, 8, 7, 6, 4, 2, 0].map { cmos(bench, $0) } }

  static let second: UInt64 = 1_000_000_000

  @Test(arguments: [
    (0, [0x20, 0x26, 1, 1, 5, 0, 0, 0]), (59, [0x20, 0x26, 1, 1, 5, 0, 0, 0x59]),
    (86399, [0x20, 0x26, 1, 1, 5, 0x23, 0x59, 0x59]), (86400, [0x20, 0x26, 1, 2, 6, 0, 0, 0]),
    (58 * 86400, [0x20, 0x26, 2, 0x28, 7, 0, 0, 0]), (59 * 86400, [0x20, 0x26, 3, 1, 1, 0, 0, 0]),
    (365 * 86400 + 3661, [0x20, 0x27, 1, 1, 6, 1, 1, 1]), (789 * 86400, [0x20, 0x28, 2, 0x29, 3, 0, 0, 0]),
  ] as [(UInt64, [UInt64])])
  func `the clock starts at 2026-01-01 and counts virtual time`(seconds: UInt64, registers: [UInt64]) throws {
    let bench = try Bench()
    bench.wait(seconds * Self.second)
    #expect(date(bench) == registers)
  }

  @Test func `binary and twelve-hour forms`() throws {
    let bench = try Bench()
    bench.wait((13 * 3600 + 45 * 60) * Self.second)
    #expect(cmos(bench, 4) == 0x13)
    set(bench, 0x0B, 0x06)
    #expect(cmos(bench, 2) == 45)
    #expect(cmos(bench, 9) == 26)
    set(bench, 0x0B, 0x00)
    #expect(cmos(bench, 4) == 0x81)
    set(bench, 0x0B, 0x04)
    #expect(cmos(bench, 4) == 0x81)
    bench.wait(11 * 3600 * Self.second)
    #expect(cmos(bench, 4) == 12)
  }

  @Test func `the guest sets the clock under SET and it goes on from there`() throws {
    let bench = try Bench()
    set(bench, 0x0B, 0x82)
    for (register, value) in [(9, 0x99), (8, 0x12), (7, 0x31), (4, 0x23), (2, 0x59), (0, 0x58), (0x32, 0x19)] {
      set(bench, UInt64(register), UInt64(value))
    }
    bench.wait(5 * Self.second)
    #expect(cmos(bench, 0) == 0x58)
    set(bench, 0x0B, 0x02)
    bench.wait(3 * Self.second)
    #expect(date(bench) == [0x20, 0, 1, 1, 7, 0, 0, 1])
  }

  @Test func `the update-in-progress bit shows the last 244 us of each second`() throws {
    let bench = try Bench()
    #expect(cmos(bench, 0x0A) == 0x26)
    bench.wait(Self.second - 244_001)
    #expect(cmos(bench, 0x0A) == 0x26)
    bench.wait(1)
    #expect(cmos(bench, 0x0A) == 0xA6)
    bench.wait(244_000)
    #expect(cmos(bench, 0x0A) == 0x26)
  }

  @Test func `periodic interrupts on line 8 until register C is read`() throws {
    let bench = try Bench(hasLocalAPIC: false)
    bench.initializePICs()
    set(bench, 0x0B, 0x42)
    // 1,024 Hz.
    #expect(bench.pc.nextDeadline == 976_563)
    bench.wait(976_563)
    #expect(bench.takeInterrupt() == 0x28)
    bench.out(0xA0, 0x20)
    bench.out(0x20, 0x20)
    #expect(bench.pc.nextDeadline == nil)
    bench.wait(10_000_000)
    #expect(bench.takeInterrupt() == nil)
    #expect(cmos(bench, 0x0C) == 0xC0)
    #expect(cmos(bench, 0x0C) == 0x00)
    #expect(bench.pc.nextDeadline == 11_718_750)
  }

  @Test func `update and alarm interrupts`() throws {
    let bench = try Bench(hasLocalAPIC: false)
    bench.initializePICs()
    set(bench, 0x0B, 0x12)
    #expect(bench.pc.nextDeadline == Self.second)
    bench.wait(Self.second)
    #expect(bench.takeInterrupt() == 0x28)
    #expect(cmos(bench, 0x0C) & 0xB0 == 0x90)
    // Alarm at 00:01:05, every hour.
    set(bench, 0x0B, 0x22)
    for (register, value) in [(1, 0x05), (3, 0x01), (5, 0xFF)] { set(bench, UInt64(register), UInt64(value)) }
    #expect(bench.pc.nextDeadline == 65 * Self.second)
    bench.wait(64 * Self.second)
    #expect(cmos(bench, 0x0C) & 0xA0 == 0xA0)
    #expect(bench.pc.nextDeadline == (3600 + 65) * Self.second)
    // Daily at 06:00:00, and an hour that never comes.
    for (register, value) in [(1, 0x00), (3, 0x00), (5, 0x06)] { set(bench, UInt64(register), UInt64(value)) }
    #expect(bench.pc.nextDeadline == 6 * 3600 * Self.second)
    set(bench, 5, 0x25)
    #expect(bench.pc.nextDeadline == nil)
  }

  @Test(arguments: [
    (1, 0, 0, 0), (16, 0x3C00, 0, 0), (64, 0xFC00, 0x300, 0), (256, 0xFFFF, 0xF00, 0), (4096, 0xFFFF, 0xBF00, 0x4000),
  ] as [(UInt64, UInt64, UInt64, UInt64)])
  func `CMOS tells the memory size`(mib: UInt64, extended: UInt64, above16: UInt64, above4G: UInt64) throws {
    let bench = try Bench(ram: mib << 20)
    func word(_ register: UInt64) -> UInt64 { cmos(bench, register) | cmos(bench, register + 1) << 8 }
    #expect(word(0x15) == 640)
    #expect(word(0x17) == extended)
    #expect(word(0x30) == extended)
    #expect(word(0x34) == above16)
    #expect(word(0x5B) == above4G)
    #expect(cmos(bench, 0x0D) == 0x80)
  }
}

struct KeyboardTests {
  @Test func `the controller's tests and command byte`() throws {
    let bench = try Bench()
    #expect(bench.in(0x64) & 3 == 0)
    bench.out(0x64, 0xAA)
    #expect(bench.in(0x64) & 1 == 1)
    #expect(bench.in(0x60) == 0x55)
    bench.out(0x64, 0xAB)
    #expect(bench.in(0x60) == 0x00)
    bench.out(0x64, 0x60)
    bench.out(0x60, 0x47)
    bench.out(0x64, 0x20)
    #expect(bench.in(0x60) == 0x47)
    bench.out(0x64, 0xAD)
    bench.out(0x64, 0x20)
    #expect(bench.in(0x60) == 0x57)
    #expect(bench.in(0x64) & 1 == 0)
  }

  @Test func `each key is an interrupt of its own`() throws {
    let bench = try Bench(hasLocalAPIC: false)
    bench.initializePICs()
    bench.pc.keyboardInput([0x1E, 0x9E])
    for code in [0x1E, 0x9E] as [UInt64] {
      #expect(bench.takeInterrupt() == 0x21)
      #expect(bench.in(0x64) & 1 == 1)
      #expect(bench.in(0x60) == code)
      bench.out(0x20, 0x20)
    }
    #expect(bench.takeInterrupt() == nil)
    #expect(bench.in(0x60) == 0x9E)
  }

  @Test(arguments: [
    ([0xFF], [0xFA, 0xAA]), ([0xF2], [0xFA, 0xAB, 0x41]), ([0xED, 0x02], [0xFA, 0xFA]), ([0xEE], [0xEE]),
    ([0xF4], [0xFA]), ([0xF3, 0x20], [0xFA, 0xFA]), ([0xF0, 0x00], [0xFA, 0xFA, 0x02]), ([0x12], [0xFE]),
  ] as [([UInt64], [UInt64])])
  func `keyboard commands are answered`(bytes: [UInt64], answers: [UInt64]) throws {
    let bench = try Bench()
    for byte in bytes { bench.out(0x60, byte) }
    var got: [UInt64] = []
    while bench.in(0x64) & 1 != 0 { got.append(bench.in(0x60)) }
    #expect(got == answers)
  }

  @Test func `without translation keys come as set 2`() throws {
    let bench = try Bench()
    bench.out(0x64, 0x60)
    bench.out(0x60, 0x05)
    bench.pc.keyboardInput([0x1E, 0x9E, 0xE0, 0x48])
    var got: [UInt64] = []
    while bench.in(0x64) & 1 != 0 { got.append(bench.in(0x60)) }
    #expect(got == [0x1C, 0xF0, 0x1C, 0xE0, 0x75])
  }

  @Test func `A20 by the output port and by port 92h`() throws {
    let bench = try Bench()
    bench.out(0x92, 0x00)
    #expect(bench.in(0x92) & 2 == 0)
    bench.out(0x64, 0xD1)
    bench.out(0x60, 0xDF)
    #expect(bench.in(0x92) & 2 == 2)
    bench.out(0x64, 0xD0)
    #expect(bench.in(0x60) & 2 == 2)
    #expect(bench.pc.takeRequests().isEmpty)
  }
}
