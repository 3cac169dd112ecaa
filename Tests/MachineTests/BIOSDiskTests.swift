import Machine
import Testing
import VMCore
import X86

@Suite("BIOS: INT 13h")
struct BIOSDiskTests {
  /// A disk whose every sector begins with its own number.
  static func numbered(_ sectors: Int) -> [UInt8] {
    var image = bootImage(size: sectors * 512)
    for sector in 1..<sectors { image.replaceSubrange(sector * 512..<sector * 512 + 4, with: le(UInt32(sector))) }
    return image
  }

  @Test(arguments: [
    (163_840, 40, 1, 8, true), (368_640, 40, 2, 9, true), (737_280, 80, 2, 9, true), (1_228_800, 80, 2, 15, true),
    (1_474_560, 80, 2, 18, true), (2_949_120, 80, 2, 36, true), (512, 80, 2, 18, true), (1_500_000, 80, 2, 36, true),
    (10_321_920, 20, 16, 63, false), (3_000_000, 6, 16, 63, false), (600 << 20, 77, 255, 63, false),
  ])
  func `geometry follows from the image's size`(size: Int, cylinders: Int, heads: Int, sectors: Int, floppy: Bool) {
    let geometry = DiskGeometry(imageSize: size)
    #expect([geometry.cylinders, geometry.heads, geometry.sectors] == [cylinders, heads, sectors])
    #expect(geometry.isFloppy == floppy)
  }

  @Test(arguments: [
    (UInt64(0x0001), UInt64(0x0000), UInt32(0x00EB_F4FD)), (0x0002, 0, 1), (0x0012, 0, 17), (0x0001, 0x0100, 18),
    (0x0101, 0, 36), (0x4F12, 0x0100, 2879),
  ])
  func `sectors are read by cylinder, head and sector`(cx: UInt64, dx: UInt64, number: UInt32) throws {
    let bench = try BIOSBench(Self.numbered(2880))
    let answer = bench.call(0x13, ax: 0x0201, bx: 0x9000, cx: cx, dx: dx, flags: 0x203)
    #expect(!answer.carry)
    #expect(answer.ax == 0x0001)
    let word = bench.memory.u32(0x9000)
    #expect(number > 2880 ? word & 0xFFFFFF == 0xFDEBF4 : word == number)
  }

  @Test func `several sectors come in one call, across tracks`() throws {
    let bench = try BIOSBench(Self.numbered(2880))
    #expect(bench.call(0x13, ax: 0x0220, bx: 0x1000, cx: 0x0010, dx: 0).ax == 0x0020)
    for index in 0..<UInt64(32) { #expect(bench.memory.u32(0x1000 + index * 512) == UInt32(15 + index)) }
  }

  @Test(arguments: [
    (UInt64(0x0201), UInt64(0x0000), UInt64(0), UInt16(0x0400)), (0x0201, 0x0013, 0, 0x0400), (0x0201, 0x5001, 0, 0x0400),
    (0x0201, 0x0001, 0x0200, 0x0400), (0x0200, 0x0001, 0, 0x0100), (0x0202, 0x4F12, 0x0100, 0x0400),
    (0x0201, 0x0001, 0x0001, 0x8001), (0x0201, 0x0001, 0x0080, 0x0101), (0x7700, 0x0001, 0, 0x0100),
  ])
  func `places and drives that are not there set carry and AH`(ax: UInt64, cx: UInt64, dx: UInt64, result: UInt16) throws {
    let bench = try BIOSBench()
    let answer = bench.call(0x13, ax: ax, bx: 0x9000, cx: cx, dx: dx)
    #expect(answer.carry)
    #expect(answer.ax == result)
    let last = bench.call(0x13, ax: 0x0100, dx: dx & 0xFF)
    #expect(last.ah == UInt8(result >> 8))
    #expect(last.carry)
  }

  @Test func `what is written is read back, in memory only, and is part of a snapshot`() throws {
    let bench = try BIOSBench()
    bench.memory.write(GPA(0x9000), [UInt8](repeating: 0xAB, count: 1024))
    #expect(!bench.call(0x13, ax: 0x0302, bx: 0x9000, cx: 0x0005, dx: 0).carry)
    let snapshot = bench.pc.snapshot()
    func sector() -> [UInt8] {
      bench.call(0x13, ax: 0x0201, bx: 0xA000, cx: 0x0006, dx: 0)
      return bench.memory.bytes(0xA000, 512)
    }
    #expect(sector() == [UInt8](repeating: 0xAB, count: 512))
    bench.pc.reset()
    #expect(sector() == [UInt8](repeating: 0, count: 512))
    try bench.pc.restore(snapshot)
    #expect(sector() == [UInt8](repeating: 0xAB, count: 512))
  }

  @Test func `drive parameters tell the geometry and the number of drives`() throws {
    let bench = try BIOSBench(bootImage(size: 1_474_560), disk: [UInt8](repeating: 0, count: 600 << 20))
    #expect(!bench.call(0x13, ax: 0x0800, dx: 0).carry)
    #expect(bench.word(.rcx) == 0x4F12)
    #expect(bench.word(.rdx) == 0x0101)
    #expect(bench.word(.rbx) == 0x0004)
    #expect(!bench.call(0x13, ax: 0x0800, dx: 0x80).carry)
    #expect(bench.word(.rcx) == 0x4C3F)
    #expect(bench.word(.rdx) == 0xFE01)
    #expect(bench.call(0x13, ax: 0x0800, dx: 0x81).carry)
    #expect(bench.call(0x13, ax: 0x1500, dx: 0).ah == 1)
    #expect(bench.call(0x13, ax: 0x1500, dx: 0x80).ah == 3)
    #expect(bench.word(.rcx) == 0x0012 && bench.word(.rdx) == 0xC000)
    #expect(bench.call(0x13, ax: 0x1500, dx: 0x85).ah == 0)
  }

  @Test func `the extensions read and write by block`() throws {
    let bench = try BIOSBench(Self.numbered(8000))
    let probe = bench.call(0x13, ax: 0x4100, bx: 0x55AA, dx: 0x80)
    #expect(!probe.carry && probe.ah == 0x30)
    #expect(bench.word(.rbx) == 0xAA55)
    #expect(bench.word(.rcx) == 1)
    func packet(_ count: UInt16, _ block: UInt64) {
      let bytes = le(UInt16(16)) + le(count) + le(UInt16(0)) + le(UInt16(0x2000)) + le(block)
      bench.memory.write(GPA(0x600), bytes)
    }
    packet(3, 7000)
    #expect(!bench.call(0x13, ax: 0x4200, dx: 0x80, si: 0x600).carry)
    #expect((0..<3).map { bench.memory.u32(0x20000 + $0 * 512) } == [7000, 7001, 7002])
    packet(1, 10)
    #expect(!bench.call(0x13, ax: 0x4300, dx: 0x80, si: 0x600).carry)
    packet(1, 10)
    bench.memory.store(GPA(0x20000), UInt32(0))
    #expect(!bench.call(0x13, ax: 0x4200, dx: 0x80, si: 0x600).carry)
    #expect(bench.memory.u32(0x20000) == 7000)
    packet(2, 7999)
    #expect(bench.call(0x13, ax: 0x4200, dx: 0x80, si: 0x600).ah == 0x04)
    #expect(bench.u16(0x602) == 0)
    packet(2, .max)
    #expect(bench.call(0x13, ax: 0x4200, dx: 0x80, si: 0x600).carry)
  }

  @Test func `the extended parameters give sizes by block`() throws {
    let bench = try BIOSBench(Self.numbered(8000))
    bench.memory.store(GPA(0x600), UInt16(0x1A))
    #expect(!bench.call(0x13, ax: 0x4800, dx: 0x80, si: 0x600).carry)
    #expect(bench.memory.u32(0x604) == 8)
    #expect(bench.memory.u32(0x608) == 16)
    #expect(bench.memory.u32(0x60C) == 63)
    #expect(bench.memory.u64(0x610) == 8000)
    #expect(bench.u16(0x618) == 512)
    bench.memory.store(GPA(0x600), UInt16(0x10))
    #expect(bench.call(0x13, ax: 0x4800, dx: 0x80, si: 0x600).carry)
  }

  @Test func `a transfer to no memory fails`() throws {
    let bench = try BIOSBench(ramSize: 1 << 20)
    bench.vcpu.state[.es] = SegmentState(selector: 0xFFFF, base: 0xFFFF0)
    #expect(bench.call(0x13, ax: 0x0201, bx: 0x8000, cx: 1, dx: 0).ah == 0x09)
    bench.vcpu.state[.es] = SegmentState(selector: 0xF000, base: 0xF0000)
    #expect(bench.call(0x13, ax: 0x0201, bx: 0, cx: 1, dx: 0).carry)
    #expect(bench.u8(0xFFFFE) == 0xFC)
  }
}
