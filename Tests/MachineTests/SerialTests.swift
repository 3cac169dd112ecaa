import Machine
import Testing
import VMCore

struct SerialTests {
  /// COM1 with interrupts let out (OUT2) and the given IER and FCR.
  func bench(ier: UInt64 = 0, fcr: UInt64 = 0) throws -> Bench {
    let bench = try Bench(hasLocalAPIC: false)
    bench.initializePICs()
    bench.out(0x3FB, 0x03)
    bench.out(0x3FC, 0x0B)
    bench.out(0x3FA, fcr)
    bench.out(0x3F9, ier)
    return bench
  }

  @Test func `bytes written come out at once`() throws {
    let bench = try bench()
    for byte in "Hello".utf8 {
      #expect(bench.in(0x3FD) & 0x60 == 0x60)
      bench.out(0x3F8, UInt64(byte))
    }
    #expect(bench.pc.takeConsoleOutput() == Array("Hello".utf8))
  }

  @Test func `the sequence by which Linux finds a 16550A`() throws {
    let bench = try bench()
    bench.out(0x3F9, 0x0F)
    #expect(bench.in(0x3F9) == 0x0F)
    bench.out(0x3F9, 0)
    #expect(bench.in(0x3FA) == 0x01)
    bench.out(0x3FA, 0x01)
    #expect(bench.in(0x3FA) == 0xC1)
    bench.out(0x3FA, 0x07)
    #expect(bench.in(0x3FE) == 0xB0)
    // The THR-empty test: at once, and again after IER went 0 to 2.
    bench.out(0x3F9, 0x02)
    #expect(bench.in(0x3FA) == 0xC2)
    #expect(bench.in(0x3FA) == 0xC1)
    bench.out(0x3F9, 0x00)
    bench.out(0x3F9, 0x02)
    #expect(bench.in(0x3FA) == 0xC2)
  }

  @Test func `an empty transmitter interrupts and reading IIR ends it`() throws {
    let bench = try bench(ier: 0x02)
    #expect(bench.takeInterrupt() == 0x24)
    bench.out(0x20, 0x20)
    #expect(bench.in(0x3FA) == 0x02)
    bench.out(0x3F8, 0x41)
    #expect(bench.takeInterrupt() == 0x24)
  }

  @Test func `received data interrupts and wins over the transmitter`() throws {
    let bench = try bench(ier: 0x03)
    bench.pc.consoleInput([0x61, 0x62])
    #expect(bench.in(0x3FA) == 0x04)
    #expect(bench.in(0x3FD) & 1 == 1)
    #expect(bench.in(0x3F8) == 0x61)
    #expect(bench.in(0x3F8) == 0x62)
    #expect(bench.in(0x3FD) & 1 == 0)
    #expect(bench.in(0x3F8) == 0)
    #expect(bench.drainEvents().filter { $0.kind == .input }.map(\.a) == [0x61, 0x62])
  }

  @Test(arguments: [(UInt64(0x01), 1), (0x41, 4), (0x81, 8), (0xC1, 14)])
  func `the FIFO interrupts at its trigger level`(fcr: UInt64, trigger: Int) throws {
    let bench = try bench(ier: 0x01, fcr: fcr)
    bench.pc.consoleInput(Array(repeating: 1, count: trigger - 1))
    #expect(bench.in(0x3FA) == 0xC1)
    bench.pc.consoleInput([1])
    #expect(bench.in(0x3FA) == 0xC4)
  }

  @Test func `fewer bytes interrupt after four character times`() throws {
    let bench = try bench(ier: 0x01, fcr: 0xC1)
    // 115,200 baud, 8N1: 86.8 us a character.
    bench.pc.consoleInput([1, 2])
    let due = try #require(bench.pc.nextDeadline)
    #expect((347_000...348_000).contains(due))
    bench.wait(due - 1)
    #expect(bench.in(0x3FA) == 0xC1)
    bench.wait(1)
    #expect(bench.takeInterrupt() == 0x24)
    #expect(bench.in(0x3FA) == 0xCC)
    _ = bench.in(0x3F8)
    #expect(bench.in(0x3FA) == 0xC1)
  }

  @Test func `more than sixteen bytes wait and lose nothing`() throws {
    let bench = try bench(fcr: 0x01)
    let text = (0..<200).map { UInt8($0) }
    bench.pc.consoleInput(text)
    var got: [UInt8] = []
    while bench.in(0x3FD) & 1 != 0 { got.append(UInt8(bench.in(0x3F8))) }
    #expect(got == text)
  }

  @Test func `loopback turns bytes and modem lines round and lets nothing out`() throws {
    let bench = try bench()
    for (mcr, msr) in [(UInt64(0x10), UInt64(0)), (0x11, 0x20), (0x12, 0x10), (0x14, 0x40), (0x18, 0x80)] {
      bench.out(0x3FC, mcr)
      #expect(bench.in(0x3FE) & 0xF0 == msr)
    }
    bench.out(0x3F8, 0x55)
    #expect(bench.in(0x3FD) & 1 == 1)
    bench.out(0x3F8, 0xAA)
    #expect(bench.in(0x3FD) & 2 == 2, "overrun without FIFO")
    #expect(bench.in(0x3F8) == 0xAA)
    #expect(bench.pc.takeConsoleOutput().isEmpty)
    #expect(!bench.pc.interruptPending(vcpu: 0))
  }

  @Test func `modem changes interrupt once`() throws {
    let bench = try bench(ier: 0x08)
    #expect(bench.in(0x3FA) == 0x01)
    bench.out(0x3FC, 0x18)
    #expect(bench.in(0x3FA) == 0x00)
    #expect(bench.in(0x3FE) & 0x0F != 0)
    #expect(bench.in(0x3FA) == 0x01)
  }

  @Test func `OUT2 gates the interrupt line`() throws {
    let bench = try bench()
    bench.out(0x3FC, 0x03)
    bench.out(0x3F9, 0x02)
    #expect(!bench.pc.interruptPending(vcpu: 0))
    bench.out(0x3FC, 0x0B)
    #expect(bench.takeInterrupt() == 0x24)
  }

  @Test func `the divisor latch hides data and interrupt enable`() throws {
    let bench = try bench(ier: 0x05)
    bench.out(0x3FB, 0x83)
    bench.out(0x3F8, 0x0C)
    bench.out(0x3F9, 0x01)
    #expect(bench.in(0x3F8) == 0x0C)
    #expect(bench.in(0x3F9) == 0x01)
    #expect(bench.pc.portName(0x3F8) == "COM1 DLL")
    bench.out(0x3FB, 0x03)
    #expect(bench.in(0x3F9) == 0x05)
  }
}
