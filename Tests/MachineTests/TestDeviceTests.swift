import Machine
import Testing
import VMCore

@Suite("The test device")
struct TestDeviceTests {
  @Test func `its memory reads back by any width, and wraps at its end`() throws {
    let bench = try Bench()
    #expect(bench.load(0xFF00_0100) == 0)
    bench.store(0xFF00_0100, 0x1122_3344)
    #expect(bench.load(0xFF00_0100) == 0x1122_3344)
    bench.store(0xFF00_FFFF, 0xAABB, size: 2)
    #expect(bench.load(0xFF00_0000) & 0xFF == 0xAA)
  }

  @Test func `a port sets an interrupt line`() throws {
    let bench = try Bench()
    bench.initializePICs()
    bench.out(0x2003, 1)
    #expect(bench.takeInterrupt() == 0x23)
    bench.out(0x2003, 0)
    bench.out(0x20, 0x20)
    #expect(bench.takeInterrupt() == nil)
    // Of an access that is wide all bytes are one value.
    bench.out(0x2005, 0x100, size: 4)
    #expect(bench.takeInterrupt() == 0x25)
    bench.out(0xE4, 0x1234_5000, size: 4)
    #expect(bench.drainEvents().allSatisfy { $0.kind != .unclaimed })
  }
}
