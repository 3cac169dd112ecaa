import Machine
import Testing
import VMCore
import X86

@Suite("BIOS: INT 10h")
struct BIOSVideoTests {
  @Test func `teletype writes to the screen, moves the cursor and reaches the console`() throws {
    let bench = try BIOSBench()
    bench.teletype("Hi\r\nyou\u{8}\u{8}o\u{7}")
    #expect(bench.row(0) == "Hi")
    #expect(bench.row(1) == "you")
    #expect(bench.u16(0x450) == 0x0102)
    #expect(bench.pc.vga.cursor == 82)
    #expect(bench.console == "Hi\r\nyou\u{8}\u{8}o\u{7}")
  }

  @Test func `a line too long goes on in the next, and the last line scrolls`() throws {
    let bench = try BIOSBench()
    bench.teletype(String(repeating: "a", count: 81))
    #expect(bench.u16(0x450) == 0x0101)
    bench.teletype("\r" + String(repeating: "\n", count: 23) + "x\n")
    #expect(bench.row(0) == "a")
    #expect(bench.row(23) == "x")
    #expect(bench.row(24) == "")
    #expect(bench.u16(0x450) == 0x1801)
  }

  @Test func `setting a mode clears the screen unless bit 7 is set`() throws {
    let bench = try BIOSBench()
    bench.teletype("text")
    bench.call(0x10, ax: 0x0083)
    #expect(bench.row(0) == "text")
    #expect(bench.u16(0x450) == 0)
    bench.call(0x10, ax: 0x0003)
    #expect(bench.row(0) == "")
    let answer = bench.call(0x10, ax: 0x0F00, bx: 0x12)
    #expect(answer.ax == 0x5003)
    #expect(bench.word(.rbx) == 0x0012)
  }

  @Test func `the cursor is set and read by page`() throws {
    let bench = try BIOSBench()
    bench.call(0x10, ax: 0x0100, cx: 0x2000)
    #expect(bench.pc.vga.cursor == nil)
    bench.call(0x10, ax: 0x0100, cx: 0x0E0F)
    bench.call(0x10, ax: 0x0200, bx: 0x0000, dx: 0x0A14)
    bench.call(0x10, ax: 0x0200, bx: 0x0100, dx: 0x0102)
    bench.call(0x10, ax: 0x0300, bx: 0x0000)
    #expect(bench.word(.rdx) == 0x0A14)
    #expect(bench.word(.rcx) == 0x0E0F)
    #expect(bench.pc.vga.cursor == 820)
    bench.call(0x10, ax: 0x0501)
    #expect(bench.pc.vga.startAddress == 0x800)
    #expect(bench.pc.vga.cursor == 0x800 + 82)
  }

  @Test func `characters with attributes are written without moving the cursor, and read back`() throws {
    let bench = try BIOSBench()
    bench.call(0x10, ax: 0x0941, bx: 0x001E, cx: 3)
    #expect(bench.row(0) == "AAA")
    #expect(bench.u16(0x450) == 0)
    #expect(bench.call(0x10, ax: 0x0800, bx: 0).ax == 0x1E41)
    bench.call(0x10, ax: 0x0A42, bx: 0, cx: 1)
    #expect(bench.call(0x10, ax: 0x0800, bx: 0).ax == 0x1E42)
    bench.call(0x10, ax: 0x0958, bx: 0x07, cx: 0xFFFF)
    #expect(bench.row(24) == String(repeating: "X", count: 80))
    #expect(bench.u8(0xB8000 + 4000) == 0x20)
  }

  @Test(arguments: [
    (UInt64(0x0601), ["two", "three", "four", ""]), (0x0602, ["three", "four", "", ""]), (0x0600, ["", "", "", ""]),
    (0x06FF, ["", "", "", ""]), (0x0701, ["", "one", "two", "three"]), (0x0703, ["", "", "", "one"]),
  ] as [(UInt64, [String])])
  func `a window scrolls up and down`(ax: UInt64, rows: [String]) throws {
    let bench = try BIOSBench()
    bench.teletype("one\r\ntwo\r\nthree\r\nfour\r\nfive")
    bench.call(0x10, ax: ax, bx: 0x4700, cx: 0, dx: 0x034F)
    #expect((0..<4).map(bench.row) == rows)
    #expect(bench.row(4) == "five")
    let blank = rows.firstIndex(of: "") ?? 0
    #expect(bench.u16(0xB8000 + UInt64(blank * 160)) == 0x4720)
  }

  @Test func `a string is written at its place, with attributes of its own if asked`() throws {
    let bench = try BIOSBench()
    bench.memory.write(GPA(0x500), Array("ok\r\nA\u{2}B\u{4}".utf8))
    bench.call(0x10, ax: 0x1301, bx: 0x0031, cx: 4, dx: 0x0205, bp: 0x500)
    #expect(bench.row(2) == "     ok")
    #expect(bench.u8(0xB8000 + 2 * 160 + 11) == 0x31)
    #expect(bench.u16(0x450) == 0x0300)
    bench.call(0x10, ax: 0x1302, bx: 0, cx: 2, dx: 0x0500, bp: 0x504)
    #expect(bench.memory.bytes(0xB8000 + 5 * 160, 4) == [0x41, 2, 0x42, 4])
    #expect(bench.u16(0x450) == 0x0300)
    #expect(bench.console == "ok\r\nAB")
  }

  @Test func `a VGA is reported, other display functions change nothing`() throws {
    let bench = try BIOSBench()
    #expect(bench.call(0x10, ax: 0x1A00).al == 0x1A)
    #expect(bench.word(.rbx) == 8)
    for ax: UInt64 in [0x1000, 0x1130, 0x4F00, 0xFE00, 0x0B00, 0x0C01] {
      #expect(bench.call(0x10, ax: ax).ax == UInt16(ax))
    }
  }
}
