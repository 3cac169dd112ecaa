import Paravirtual
import Testing
import VMCore

/// A disk in memory.
private final class MemoryDisk: XenDisk {
  var bytes: [UInt8]
  var isReadOnly = false
  var flushes = 0
  init(sectors: Int) { bytes = (0..<sectors * 512).map { UInt8(truncatingIfNeeded: $0 / 512 + 1) } }
  var sectorCount: UInt64 { UInt64(bytes.count / 512) }
  func read(at offset: UInt64, into buffers: [UnsafeMutableRawBufferPointer]) -> Bool {
    var at = Int(offset)
    for buffer in buffers {
      buffer.copyBytes(from: bytes[at..<at + buffer.count])
      at += buffer.count
    }
    return true
  }
  func write(at offset: UInt64, from buffers: [UnsafeRawBufferPointer]) -> Bool {
    var at = Int(offset)
    for buffer in buffers {
      bytes.replaceSubrange(at..<at + buffer.count, with: buffer)
      at += buffer.count
    }
    return true
  }
  func flush() -> Bool {
    flushes += 1
    return true
  }
  func code(_ coder: inout StateCoder) { coder.code(fixed: &bytes) }
}

/// The front end a guest would have, in a domain of the test's.
private struct FrontEnd {
  let bench: XenBench
  let disk: MemoryDisk
  private(set) var port: UInt64 = 0
  private let ringPage: UInt64 = 0x60
  let dataPage: UInt64 = 0x61
  private let is32Bit: Bool

  init(_ abi: GuestABI, sectors: Int = 64, isReadOnly: Bool = false) throws {
    disk = MemoryDisk(sectors: sectors)
    disk.isReadOnly = isReadOnly
    is32Bit = abi.is32Bit
    bench = try XenBench(abi: abi, disk: disk)
    let at = bench.address(0x24)
    var position: UInt32 = 0
    let node = "device/vbd/51712"
    #expect(bench.ask(1, "device\0", at: &position) == (1, "vbd\0"))
    let backEnd = bench.ask(2, "\(node)/backend\0", at: &position).1
    #expect(bench.ask(2, "\(backEnd)/state\0", at: &position) == (2, "2"))
    #expect(bench.ask(2, "\(backEnd)/sectors\0", at: &position) == (2, "\(sectors)"))
    // Two frames lent: the ring's and the data's.
    bench.putWords(at, [0x7FF0 | (is32Bit ? 0 : 1 << 32)])
    if is32Bit { bench.putWords(at + 4, [1, 0, bench.address(0x25)]) } else { bench.putWords(at + 8, [0, bench.address(0x25)]) }
    #expect(bench.call(.grantTableOp, 2, at, 1) == 0)
    #expect(bench.getWord(bench.address(0x25)) == bench.xen.tables.layout.grantTable)
    grant(8, ringPage)
    grant(9, dataPage)
    bench.put(at, 0x7FF0)
    #expect(bench.call(.eventChannelOp, 6, at) == 0)
    port = bench.get(at) >> 32
    for (name, value) in [("ring-ref", "8"), ("event-channel", "\(port)"), ("protocol", is32Bit ? "x86_32-abi" : "x86_64-abi")] {
      #expect(bench.ask(11, "\(node)/\(name)\u{0}\(value)", at: &position).0 == 11)
    }
    #expect(bench.ask(11, "\(node)/state\u{0}3", at: &position).0 == 11)
    #expect(bench.ask(2, "\(backEnd)/state\0", at: &position) == (2, "4"))
  }

  func grant(_ reference: UInt64, _ pfn: UInt64, flags: UInt64 = 1) {
    bench.memory.store(GPA(bench.xen.tables.layout.grantTable << 12 + reference * 8), flags | bench.machine(pfn) << 32)
  }

  /// Puts a request into the ring's next slot, announces it, and gives its status; nil where none came.
  func ask(_ operation: UInt8, sector: UInt64, segments: [(UInt32, UInt8, UInt8)], number: UInt32 = 0, count: UInt8? = nil) -> Int16? {
    let ring = bench.address(ringPage)
    let slot = ring + 64 + UInt64(number % 32) * (is32Bit ? 108 : 112)
    var bytes: [UInt8] = [operation, count ?? UInt8(segments.count), 0, 0] + (is32Bit ? [] : [0, 0, 0, 0])
    bytes += XenBench.littleEndian(UInt64(number) + 77) + XenBench.littleEndian(sector)
    for segment in segments { bytes += XenBench.littleEndian(segment.0) + [segment.1, segment.2, 0, 0] }
    bench.memory.write(bench.place(slot), bytes)
    bench.memory.store(bench.place(ring), number &+ 1)
    bench.put(bench.address(0x24), port)
    #expect(bench.call(.eventChannelOp, 4, bench.address(0x24)) == 0)
    guard bench.memory.load(bench.place(ring + 8), as: UInt32.self) == number &+ 1 else { return nil }
    #expect(bench.get(slot) == UInt64(number) + 77)
    return bench.memory.load(bench.place(slot + 10), as: Int16.self)
  }
}

@Suite("The block back end") struct BlockTests {
  @Test("a request moves sectors between disk and granted pages", arguments: [GuestABI.x86_64, .x86_32p])
  func moves(_ abi: GuestABI) throws {
    let front = try FrontEnd(abi)
    let data = front.bench.address(front.dataPage)
    #expect(front.ask(0, sector: 8, segments: [(9, 0, 7)]) == 0)
    #expect(front.bench.get(data) & 0xFF == 9 && front.bench.get(data + 7 * 512) & 0xFF == 16)
    front.bench.put(data + 512, 0xABCD)
    #expect(front.ask(1, sector: 3, segments: [(9, 1, 1)], number: 1) == 0)
    #expect(Array(front.disk.bytes[3 * 512..<3 * 512 + 2]) == [0xCD, 0xAB] && front.disk.bytes[4 * 512] == 5)
    #expect(front.ask(3, sector: 0, segments: [], number: 2) == 0)
    #expect(front.disk.flushes == 1)
    #expect(front.ask(6, sector: 0, segments: [], number: 3) == -2)
    #expect(ShadowModel(front.bench).problem() == nil)
  }

  @Test("what a request may not do is an error", arguments: [
    (0, 64, 9, 0, 0), (0, 63, 9, 0, 1), (1, .max, 9, 0, 0), (0, 0, 9, 3, 2), (0, 0, 9, 0, 8), (0, 0, 10, 0, 0),
    (0, 0, 9999, 0, 0), (0, 0, .max, 0, 0),
  ] as [(UInt8, UInt64, UInt32, UInt8, UInt8)])
  func errors(_ operation: UInt8, _ sector: UInt64, _ reference: UInt32, _ first: UInt8, _ last: UInt8) throws {
    let front = try FrontEnd(.x86_64)
    let before = front.disk.bytes
    #expect(front.ask(operation, sector: sector, segments: [(reference, first, last)]) == -1)
    #expect(front.disk.bytes == before)
  }

  @Test func `a page table, a frame of the monitor's and a page granted read-only are not read into`() throws {
    let front = try FrontEnd(.x86_64)
    front.grant(10, front.bench.layout.pageTables)
    front.grant(11, front.dataPage, flags: 5)
    front.bench.memory.store(GPA(front.bench.xen.tables.layout.grantTable << 12 + 96), UInt64(1) | 3 << 32)
    for (number, reference) in ([10, 11, 12] as [UInt32]).enumerated() {
      #expect(front.ask(0, sector: 0, segments: [(reference, 0, 0)], number: UInt32(number)) == -1)
    }
    #expect(front.ask(1, sector: 0, segments: [(11, 0, 0)], number: 3) == 0)
    #expect(ShadowModel(front.bench).problem() == nil)
  }

  @Test func `a read-only disk is not written, and a ring with lying counters ends the connection`() throws {
    let front = try FrontEnd(.x86_32p, isReadOnly: true)
    #expect(front.ask(1, sector: 0, segments: [(9, 0, 0)]) == -1)
    #expect(front.ask(0, sector: 0, segments: [(9, 0, 0)], number: 1) == 0)
    #expect(front.ask(0, sector: 0, segments: [], number: 2, count: 12) == nil)
    #expect(front.ask(0, sector: 0, segments: [], number: 1000) == nil)
    #expect(front.disk.bytes[0] == 1)
  }

  @Test func `a snapshot has the connection and the disk`() throws {
    let front = try FrontEnd(.x86_64)
    let kept = front.bench.xen.snapshot()
    front.bench.put(front.bench.address(front.dataPage), 0)
    #expect(front.ask(1, sector: 0, segments: [(9, 0, 0)]) == 0)
    #expect(front.disk.bytes[0] == 0)
    try front.bench.xen.restore(kept)
    #expect(front.disk.bytes[0] == 1 && front.bench.xen.snapshot() == kept)
  }
}
