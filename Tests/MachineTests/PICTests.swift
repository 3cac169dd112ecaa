import Machine
import Testing
import VMCore

struct PICTests {
  /// What each test needs: a PC without APICs, so that only the PIC delivers.
  func bench(_ masks: (UInt64, UInt64) = (0, 0), icw4: UInt64 = 1) throws -> Bench {
    let bench = try Bench(hasLocalAPIC: false)
    bench.initializePICs(masks, icw4: icw4)
    return bench
  }

  @Test(arguments: [(UInt8(1), UInt8(0x21)), (4, 0x24), (7, 0x27), (8, 0x28), (12, 0x2C), (15, 0x2F)])
  func `each line comes at its vector`(line: UInt8, vector: UInt8) throws {
    let bench = try bench()
    #expect(!bench.pc.interruptPending(vcpu: 0))
    bench.line(line, true)
    #expect(bench.takeInterrupt() == vector)
    #expect(!bench.pc.interruptPending(vcpu: 0))
  }

  @Test func `the mask reads back and holds requests until it is lifted`() throws {
    let bench = try bench()
    bench.out(0xA1, 0xFF)
    bench.out(0x21, 0xFB)
    #expect(bench.in(0x21) == 0xFB)
    bench.line(4, true)
    #expect(!bench.pc.interruptPending(vcpu: 0))
    bench.out(0x21, 0)
    #expect(bench.takeInterrupt() == 0x24)
  }

  @Test func `a higher line interrupts a lower one in service and not the other way round`() throws {
    let bench = try bench()
    bench.line(4, true)
    #expect(bench.takeInterrupt() == 0x24)
    bench.line(5, true)
    #expect(bench.takeInterrupt() == nil)
    bench.line(1, true)
    #expect(bench.takeInterrupt() == 0x21)
    bench.out(0x20, 0x20)
    #expect(bench.takeInterrupt() == nil)
    bench.out(0x20, 0x20)
    #expect(bench.takeInterrupt() == 0x25)
  }

  @Test func `OCW3 chooses between IRR and ISR`() throws {
    let bench = try bench((0x02, 0))
    bench.line(1, true)
    bench.line(4, true)
    _ = bench.takeInterrupt()
    bench.out(0x20, 0x0A)
    #expect(bench.in(0x20) == 0x02)
    bench.out(0x20, 0x0B)
    #expect(bench.in(0x20) == 0x10)
  }

  @Test func `the slave needs an end of interrupt in both chips`() throws {
    let bench = try bench()
    bench.line(8, true)
    #expect(bench.takeInterrupt() == 0x28)
    bench.line(9, true)
    #expect(bench.takeInterrupt() == nil)
    bench.out(0xA0, 0x20)
    // The slave asks again, but line 2 is still in service in the master.
    #expect(bench.takeInterrupt() == nil)
    bench.out(0x20, 0x20)
    #expect(bench.takeInterrupt() == 0x29)
  }

  @Test func `in special fully nested mode a higher line of the slave comes through`() throws {
    let bench = try bench(icw4: 0x11)
    bench.line(12, true)
    #expect(bench.takeInterrupt() == 0x2C)
    bench.line(8, true)
    #expect(bench.takeInterrupt() == 0x28)
  }

  @Test func `specific EOI ends the line it names and says so`() throws {
    let bench = try bench()
    bench.line(4, true)
    bench.line(1, true)
    #expect(bench.takeInterrupt() == 0x21)
    _ = bench.drainEvents()
    bench.out(0x20, 0x61)
    #expect(bench.drainEvents().filter { $0.kind == .eoi }.map(\.a) == [0x21])
    #expect(bench.takeInterrupt() == 0x24)
  }

  @Test func `automatic EOI leaves nothing in service`() throws {
    let bench = try bench(icw4: 3)
    bench.line(4, true)
    #expect(bench.takeInterrupt() == 0x24)
    bench.out(0x20, 0x0B)
    #expect(bench.in(0x20) == 0)
    bench.line(5, true)
    #expect(bench.takeInterrupt() == 0x25)
  }

  @Test func `rotation gives the line just served the lowest priority`() throws {
    let bench = try bench()
    bench.line(4, true)
    #expect(bench.takeInterrupt() == 0x24)
    bench.out(0x20, 0xA0)
    bench.line(4, false)
    bench.line(4, true)
    bench.line(5, true)
    #expect(bench.takeInterrupt() == 0x25)
    bench.out(0x20, 0x65)
    // Set priority: line 3 lowest, so 4 is the highest.
    bench.out(0x20, 0xC3)
    bench.line(1, true)
    #expect(bench.takeInterrupt() == 0x24)
  }

  @Test func `special mask mode lets lower lines through a masked one in service`() throws {
    let bench = try bench()
    bench.line(1, true)
    #expect(bench.takeInterrupt() == 0x21)
    bench.line(6, true)
    #expect(bench.takeInterrupt() == nil)
    bench.out(0x21, 0x02)
    bench.out(0x20, 0x68)
    #expect(bench.takeInterrupt() == 0x26)
  }

  @Test func `a poll acknowledges`() throws {
    let bench = try bench()
    bench.line(3, true)
    bench.out(0x20, 0x0C)
    #expect(bench.in(0x20) == 0x83)
    #expect(!bench.pc.interruptPending(vcpu: 0))
    bench.out(0x20, 0x0C)
    #expect(bench.in(0x20) == 0)
  }

  @Test func `a request that went away gives the spurious vector and nothing in service`() throws {
    let bench = try bench()
    bench.line(4, true)
    bench.line(4, false)
    #expect(!bench.pc.interruptPending(vcpu: 0))
    #expect(bench.pc.pic.acknowledge() == 0x27)
    bench.out(0x20, 0x0B)
    #expect(bench.in(0x20) == 0)
  }

  @Test func `an edge counts once and a level as long as it is up`() throws {
    let bench = try bench()
    bench.line(5, true)
    #expect(bench.takeInterrupt() == 0x25)
    bench.out(0x20, 0x20)
    #expect(bench.takeInterrupt() == nil)
    bench.out(0x4D0, 0xFF)
    #expect(bench.in(0x4D0) == 0xF8)
    bench.out(0x4D1, 0xFF)
    #expect(bench.in(0x4D1) == 0xDE)
    #expect(bench.takeInterrupt() == 0x25)
    bench.out(0x20, 0x20)
    #expect(bench.takeInterrupt() == 0x25)
    bench.line(5, false)
    bench.out(0x20, 0x20)
    #expect(bench.takeInterrupt() == nil)
  }

  @Test func `initialization forgets edges and masks`() throws {
    let bench = try bench((0xFF, 0xFF))
    bench.line(4, true)
    bench.initializePICs()
    #expect(bench.in(0x21) == 0)
    #expect(!bench.pc.interruptPending(vcpu: 0))
  }
}
