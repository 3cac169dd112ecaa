import Machine
import Testing
import VMCore
import X86

/// What the VGA shows of what programs put into its memory and registers.
@Suite("VGA: modes and picture")
struct VGATests {
  private func picture(_ bench: BIOSBench) -> VGAPicture { bench.pc.vga.picture(of: bench.memory) }
  private func out(_ bench: BIOSBench, _ port: UInt16, _ value: UInt64, size: UInt8 = 1) {
    bench.pc.ports.write(port, size: size, value: value)
  }

  @Test(arguments: [
    (UInt64(0x00), "text, 40x25", 40), (0x01, "text, 40x25", 40), (0x02, "text, 80x25", 80), (0x03, "text, 80x25", 80),
    (0x04, "graphics, 320x200 in 4 colours", 40), (0x05, "graphics, 320x200 in 4 colours", 40),
    (0x06, "graphics, 640x200 in 2 colours", 80), (0x0D, "graphics, 320x200 by planes, which are not shown", 40),
    (0x0E, "graphics, 640x200 by planes, which are not shown", 80),
    (0x10, "graphics, 640x350 by planes, which are not shown", 80),
    (0x12, "graphics, 640x480 by planes, which are not shown", 80), (0x13, "graphics, 320x200 in 256 colours", 40),
  ] as [(UInt64, String, UInt16)])
  func `INT 10h sets a mode, which the registers and the data area then say`(
    _ number: UInt64, _ shown: String, _ columns: UInt16
  ) throws {
    let bench = try BIOSBench()
    bench.call(0x10, ax: number)
    #expect(bench.pc.vga.mode.description == shown)
    #expect(bench.u8(0x449) == UInt8(number))
    #expect(bench.u16(0x44A) == columns)
    #expect(bench.call(0x10, ax: 0x0F00).ax == columns << 8 | UInt16(number))
    let picture = picture(bench)
    #expect(picture.cells.count == picture.columns * picture.rows)
    bench.call(0x10, ax: 3)
    #expect(bench.pc.vga.mode == .text(columns: 80, rows: 25))
  }

  @Test func `a mode that no VGA has changes nothing`() throws {
    let bench = try BIOSBench()
    bench.teletype("text")
    bench.call(0x10, ax: 0x0065)
    #expect(bench.row(0) == "text")
    #expect(bench.call(0x10, ax: 0x0F00).ax == 0x5003)
  }

  @Test func `40 columns wrap at the 40th, and each page begins 2 KiB behind the one before`() throws {
    let bench = try BIOSBench()
    bench.call(0x10, ax: 1)
    bench.teletype(String(repeating: "a", count: 41))
    #expect(bench.u16(0x450) == 0x0101)
    #expect(bench.u16(0xB8000 + 80) == 0x0761)
    #expect(picture(bench).cells[40] == 0x0761)
    bench.call(0x10, ax: 0x0501)
    #expect(bench.pc.vga.startAddress == 0x400)
    bench.teletype("b")
    #expect(bench.u16(0xB8800) == 0x0762)
    #expect(picture(bench).cells[0] == 0x0762)
  }

  @Test func `a font of 8 lines makes 50 rows`() throws {
    let bench = try BIOSBench()
    bench.call(0x10, ax: 0x1112)
    #expect(bench.pc.vga.mode == .text(columns: 80, rows: 50))
    bench.teletype(String(repeating: "\n", count: 30) + "x")
    #expect(bench.row(30) == "x")
    bench.call(0x10, ax: 3)
    #expect(bench.u8(0x484) == 24)
  }

  /// Character and attribute of a cell half or all of which is of one colour.
  @Test(arguments: [
    ([0, 1, 2, 3], [UInt8](repeating: 4, count: 4), UInt16(0x04DF)),
    ([4, 5, 6, 7], [UInt8](repeating: 4, count: 4), 0x40DF), ([4, 5, 6, 7], [UInt8](repeating: 12, count: 4), 0x0CDC),
    (Array(0..<8), [UInt8](repeating: 15, count: 4), 0x0FDB),
    // A line of one pixel's width stays visible, one point of sixteen does not.
    (Array(0..<8), [14, 0, 0, 0], 0x0EDB), ([2], [15, 0, 0, 0], 0x0720),
  ] as [([Int], [UInt8], UInt16)])
  func `blocks of 4x4 pixels in 256 colours are shown two in a cell`(
    _ lines: [Int], _ pixels: [UInt8], _ cell: UInt16
  ) throws {
    let bench = try BIOSBench()
    bench.call(0x10, ax: 0x13)
    for line in lines { bench.memory.write(GPA(0xA0000 + UInt64((16 + line) * 320 + 12)), pixels) }
    #expect(picture(bench).cells[2 * 80 + 3] == cell)
    #expect(picture(bench).cells.count { $0 != 0x0720 } == (cell == 0x0720 ? 0 : 1))
  }

  @Test func `colours the guest mixes itself are shown as the nearest of sixteen`() throws {
    let bench = try BIOSBench()
    bench.call(0x10, ax: 0x13)
    bench.memory.write(GPA(0xA0000), [UInt8](repeating: 200, count: 320 * 8))
    for value: UInt64 in [200, 60, 2, 3] { out(bench, value == 200 ? 0x3C8 : 0x3C9, value) }
    #expect(picture(bench).cells[0] == 0x04DB)
    bench.call(0x10, ax: 0x1010, bx: 200, cx: 0x023F, dx: 0x0300)
    #expect(picture(bench).cells[0] == 0x01DB)
    bench.call(0x10, ax: 0x1015, bx: 200)
    #expect(bench.word(.rcx) == 0x023F && bench.word(.rdx) >> 8 == 3)
    out(bench, 0x3C7, 200)
    #expect((0..<3).map { _ in bench.pc.ports.read(0x3C9, size: 1) } == [3, 2, 0x3F])
  }

  @Test func `a block of colours goes in and out, and no further than there are`() throws {
    let bench = try BIOSBench()
    bench.memory.write(GPA(0x600), [1, 2, 3, 4, 5, 6, 7, 8, 9])
    bench.vcpu.state[.es] = SegmentState(selector: 0, base: 0, access: 0x93)
    bench.call(0x10, ax: 0x1012, bx: 254, cx: 3, dx: 0x600)
    bench.call(0x10, ax: 0x1017, bx: 253, cx: 0xFFFF, dx: 0x700)
    #expect(bench.memory.bytes(0x703, 7) == [1, 2, 3, 4, 5, 6, 0])
  }

  @Test(arguments: [
    (UInt64(0x13), UInt64(0xA0000 + 3 * 320 + 5), UInt8(0x57), UInt8(0x57)), (0x04, 0xBA000 + 80 + 1, 0x20, 0x57),
    (0x06, 0xBA000 + 80, 0x04, 0x57),
  ] as [(UInt64, UInt64, UInt8, UInt8)])
  func `pixels are written and read by INT 10h where their mode has them`(
    _ mode: UInt64, _ address: UInt64, _ byte: UInt8, _ value: UInt8
  ) throws {
    let bench = try BIOSBench()
    bench.call(0x10, ax: mode)
    let written = mode == 4 ? UInt64(value & 2) : UInt64(value & (mode == 6 ? 1 : 0xFF))
    bench.call(0x10, ax: 0x0C00 | written, cx: 5, dx: 3)
    #expect(bench.u8(address) == byte)
    #expect(bench.call(0x10, ax: 0x0D00, cx: 5, dx: 3).al == UInt8(written))
    bench.call(0x10, ax: 0x0CFF, cx: 0xFFFF, dx: 3)
    bench.call(0x10, ax: 0x0CFF, cx: 5, dx: 200)
    #expect(bench.call(0x10, ax: 0x0D00, cx: 5, dx: 3).al == UInt8(written))
    if mode != 0x13 {
      bench.call(0x10, ax: 0x0C80 | written, cx: 5, dx: 3)
      #expect(bench.u8(address) == 0)
    }
  }

  @Test func `a window of pixels scrolls by rows of characters`() throws {
    let bench = try BIOSBench()
    bench.call(0x10, ax: 0x13)
    bench.memory.write(GPA(0xA0000 + 8 * 320), [UInt8](repeating: 9, count: 320 * 8))
    bench.call(0x10, ax: 0x0601, bx: 0x0C00, cx: 0, dx: 0x0127)
    #expect(bench.u8(0xA0000) == 9 && bench.u8(0xA0000 + 7 * 320 + 319) == 9)
    #expect(bench.u8(0xA0000 + 8 * 320) == 12)
    bench.call(0x10, ax: 0x0600, bx: 0, cx: 0, dx: 0xFFFF)
    #expect(bench.memory.bytes(0xA0000, 64000).allSatisfy { $0 == 0 })
  }

  @Test func `CGA's four colours are of one of two palettes, on a background of sixteen`() throws {
    let bench = try BIOSBench()
    bench.call(0x10, ax: 4)
    for line in UInt64(0)..<4 { bench.memory.write(GPA(0xB8000 + line * 80), [0x55]) }
    for line in UInt64(0)..<4 { bench.memory.write(GPA(0xBA000 + line * 80), [0x55]) }
    #expect(picture(bench).cells[0] == 0x0BDB)
    bench.call(0x10, ax: 0x0B00, bx: 0x0100)
    #expect(picture(bench).cells[0] == 0x0ADB)
    bench.call(0x10, ax: 0x0B00, bx: 0x0009)
    #expect(picture(bench).cells[1] == 0x09DB)
  }

  @Test func `modes made of planes say so in place of a picture`() throws {
    let bench = try BIOSBench()
    bench.call(0x10, ax: 0x12)
    let text = String(decoding: picture(bench).cells.map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
    #expect(text.contains("640x480 by planes, which are not shown"))
    bench.teletype("said")
    #expect(bench.console == "said")
  }

  @Test func `indexed registers read back what was written`() throws {
    let bench = try BIOSBench()
    for (port, index): (UInt16, UInt64) in [(0x3C4, 4), (0x3CE, 5), (0x3D4, 0x13)] {
      out(bench, port, index | 0x5A00, size: 2)
      #expect(bench.pc.ports.read(port, size: 2) == index | 0x5A00)
    }
    _ = bench.pc.ports.read(0x3DA, size: 1)
    for value: UInt64 in [0x10, 0x41] { out(bench, 0x3C0, value) }
    #expect(bench.pc.ports.read(0x3C1, size: 1) == 0x41)
  }

  @Test func `whatever the registers hold, there is a picture`() throws {
    let bench = try BIOSBench()
    var seed: UInt64 = 7
    for _ in 0..<300 {
      seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let ports: [(UInt16, UInt64)] = [(0x3C4, 8), (0x3CE, 9), (0x3D4, 25)]
      let (port, count) = ports[Int(seed >> 60) % 3]
      out(bench, port, (seed >> 40) % count | (seed >> 20 & 0xFF) << 8, size: 2)
      let picture = picture(bench)
      #expect(picture.columns > 0 && picture.cells.count == picture.columns * picture.rows)
    }
    bench.teletype("still there")
  }
}
