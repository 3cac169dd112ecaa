import Machine
import Testing
import VMCore
import X86

@Suite("The machine for Linux")
struct P0Tests {
  @Test func `it has the PIC pair, the PIT, one serial port, the clock and a reset, and nothing else`() throws {
    let bench = try Bench(model: .p0)
    #expect(bench.pc.inspection.map(\.device).contains { $0.contains("16550A") })
    #expect(bench.pc.locals.isEmpty && bench.pc.ioapic == nil)
    for port in [0x2F8, 0x92, 0xE9, 0xF4, 0x3D4, 0x604, 0x402] as [UInt16] { #expect(bench.in(port) == 0xFF) }
    #expect(bench.in(0xCF8, size: 4) == 0xFFFF_FFFF)
    #expect(bench.pc.portName(0x64, write: true) == "reset command")
    // The probe for a PIC: a mask reads back.
    bench.out(0xA1, 0xFF)
    bench.out(0x21, 0xFB)
    #expect(bench.in(0x21) == 0xFB)
  }

  @Test func `port 64h resets, is always ready for that, and shows no keyboard controller`() throws {
    let bench = try Bench(model: .p0)
    #expect(bench.in(0x64) == 0x01 && bench.in(0x60) == 0)
    for command in [0xAA, 0x60, 0xFF, 0xF1] as [UInt64] { bench.out(0x64, command) }
    #expect(bench.pc.takeRequests() == [])
    bench.out(0x64, 0xFE)
    #expect(bench.pc.takeRequests() == [.reset])
  }

  @Test func `its state is saved and restored, and a PC's state is refused`() throws {
    let bench = try Bench(model: .p0)
    bench.out(0x80, 0x42)
    let saved = bench.pc.snapshot()
    bench.out(0x80, 0)
    try bench.pc.restore(saved)
    #expect(bench.in(0x80) == 0x42)
    #expect(throws: VMError.self) { try bench.pc.restore(try Bench().pc.snapshot()) }
  }
}
