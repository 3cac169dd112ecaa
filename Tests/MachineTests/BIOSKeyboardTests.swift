import Machine
import Testing
import VMCore
import X86

@Suite("BIOS: keyboard")
struct BIOSKeyboardTests {
  private static func typed(_ codes: [UInt8]) throws -> [UInt16] {
    let bench = try BIOSBench()
    bench.receive(codes)
    var keys: [UInt16] = []
    while !bench.call(0x16, ax: 0x1100).zero, keys.count < 32 { keys.append(bench.call(0x16, ax: 0x1000).ax) }
    return keys
  }

  @Test(arguments: [
    ([0x1E, 0x9E], [0x1E61]), ([0x2A, 0x1E, 0x9E, 0xAA, 0x1E], [0x1E41, 0x1E61]), ([0x36, 0x03], [0x0340]),
    ([0x3A, 0xBA, 0x1E, 0x02, 0x2A, 0x1E], [0x1E41, 0x0231, 0x1E61]), ([0x1D, 0x2E], [0x2E03]), ([0x1D, 0x03], [0x0300]),
    ([0x38, 0x1E], [0x1E00]), ([0x38, 0x02], [0x7800]), ([0x1C], [0x1C0D]), ([0x1D, 0x1C], [0x1C0A]), ([0x0E], [0x0E08]),
    ([0x2A, 0x0F], [0x0F00]), ([0x3B], [0x3B00]), ([0x2A, 0x3B], [0x5400]), ([0x1D, 0x3B], [0x5E00]),
    ([0x38, 0x3B], [0x6800]), ([0x57], [0x8500]), ([0x48], [0x4800]), ([0x45, 0x48], [0x4838]), ([0xE0, 0x48], [0x48E0]),
    ([0xE0, 0x2A, 0xE0, 0x48, 0xE0, 0xC8, 0xE0, 0xAA], [0x48E0]), ([0xE0, 0x1C], [0xE00D]), ([0x39], [0x3920]), ([0x01], [0x011B]),
    ([0x7F], []), ([0x00], []), ([0x2A], []),
  ] as [([UInt8], [UInt16])])
  func `scan codes become keys`(codes: [UInt8], keys: [UInt16]) throws {
    #expect(try Self.typed(codes) == keys)
  }

  @Test func `every printable character can be typed and comes back`() throws {
    for character in UInt8(0x20)...0x7E {
      let keys = try Self.typed(ScanCodes.typing(character))
      #expect(keys.map { UInt8($0 & 0xFF) } == [character])
    }
    #expect(ScanCodes.typing(0x0A) == ScanCodes.typing(0x0D))
    #expect(try Self.typed(ScanCodes.typing(3)) == [0x2E03])
    #expect(ScanCodes.typing(0xC3).isEmpty)
  }

  @Test func `a key can be looked at before it is taken, and old functions know no E0h`() throws {
    let bench = try BIOSBench()
    #expect(bench.call(0x16, ax: 0x0100).zero)
    bench.receive([0xE0, 0x48])
    let peeked = bench.call(0x16, ax: 0x0100, flags: 0x242)
    #expect(!peeked.zero && peeked.ax == 0x4800)
    #expect(bench.call(0x16, ax: 0x1100).ax == 0x48E0)
    #expect(bench.call(0x16, ax: 0x0000).ax == 0x4800)
    #expect(bench.call(0x16, ax: 0x0100).zero)
  }

  @Test func `the buffer holds fifteen keys and loses the rest`() throws {
    let bench = try BIOSBench()
    for _ in 0..<20 { bench.receive([0x1E, 0x9E]) }
    #expect(bench.call(0x16, ax: 0x0500, cx: 0x1234).al == 1)
    var count = 0
    while !bench.call(0x16, ax: 0x0100).zero {
      bench.call(0x16)
      count += 1
    }
    #expect(count == 15)
    #expect(bench.call(0x16, ax: 0x0500, cx: 0x1234).al == 0)
    #expect(bench.call(0x16).ax == 0x1234)
  }

  @Test func `text typed to the guest waits until the buffer has room`() throws {
    let bench = try BIOSBench()
    let text = Array("The quick brown fox jumps over the lazy dog; 0123456789!".utf8)
    bench.pc.consoleInput(text)
    /// INT 09h for every byte the keyboard has.
    func interrupt() {
      while bench.pc.ports.read(0x64, size: 1) & 1 != 0 {
        bench.call(0x09, ax: bench.pc.ports.read(0x60, size: 1))
      }
    }
    var taken: [UInt8] = []
    interrupt()
    #expect(bench.u16(0x41C) == 0x3C, "the buffer is full")
    while taken.count < text.count, !bench.call(0x16, ax: 0x0100).zero {
      taken.append(bench.call(0x16).al)
      interrupt()
    }
    #expect(taken == text)
    #expect(bench.call(0x16, ax: 0x0100).zero)
  }

  @Test func `keys wait for no buffer but the BIOS's own`() throws {
    let bench = try BIOSBench()
    bench.memory.store(GPA(0x24), UInt32(0x1000_0000))
    bench.memory.store(GPA(0x41C), UInt16(0x3C))
    bench.pc.consoleInput(Array("ab".utf8))
    var codes: [UInt64] = []
    while bench.pc.ports.read(0x64, size: 1) & 1 != 0, codes.count < 8 { codes.append(bench.pc.ports.read(0x60, size: 1)) }
    #expect(codes == [0x1E, 0x9E, 0x30, 0xB0])
  }

  @Test func `shift flags are kept and told`() throws {
    let bench = try BIOSBench()
    bench.receive([0x2A, 0x1D, 0x38, 0x45])
    #expect(bench.call(0x16, ax: 0x0200).al == 0x2E)
    bench.receive([0xAA, 0x9D, 0xB8, 0xC5])
    #expect(bench.call(0x16, ax: 0x0200).al == 0x20)
  }

  @Test func `a buffer the guest has spoilt is emptied`() throws {
    let bench = try BIOSBench()
    for spoilt: UInt16 in [0xFFFF, 0, 0x1F, 0x3E] {
      bench.memory.store(GPA(0x41A), spoilt)
      #expect(bench.call(0x16, ax: 0x0100).zero)
      #expect(bench.u16(0x41A) == 0x1E)
    }
  }
}
