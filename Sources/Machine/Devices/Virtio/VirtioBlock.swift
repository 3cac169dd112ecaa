import VMCore

/// A disk (virtio 1.2, 5.2): reads, writes, flushes and the identification.
final class VirtioBlock: VirtioFunction {
  let name = "virtio-blk"
  let deviceID: UInt32 = 2
  let queueCount = 1
  private let disk: Disk
  private let memory: GuestMemory
  private var counts = [UInt64](repeating: 0, count: 4)

  private enum Request {
    static let read: UInt32 = 0
    static let write: UInt32 = 1
    static let flush: UInt32 = 4
    static let identify: UInt32 = 8
  }
  private enum Answer {
    static let done: UInt8 = 0
    static let failed: UInt8 = 1
    static let unsupported: UInt8 = 2
  }
  private static let headerSize = 16
  /// The most that one request moves, in bytes, as SIZE_MAX and SEG_MAX say: its buffers may overlap, and be more than
  /// all memory.
  private static let largest = Int(segmentSize * segmentsMaximum)
  private static let segmentSize: UInt32 = 64 << 10
  private static let segmentsMaximum: UInt32 = 126
  let turnSize = 8 << 20
  /// SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH; RO.
  private static let offered: UInt64 = 1 << 1 | 1 << 2 | 1 << 6 | 1 << 9
  private static let readOnly: UInt64 = 1 << 5
  private static let serial = Array("ringside-disk".utf8) + [UInt8](repeating: 0, count: 7)

  init(_ disk: Disk, memory: GuestMemory) {
    self.disk = disk
    self.memory = memory
  }

  var features: UInt64 { Self.offered | (disk.isReadOnly ? Self.readOnly : 0) }

  /// Capacity in sectors at 0, a segment's size at 8, the most segments of a request at 12, the block size at 20 (5.2.4).
  func configuration(_ offset: Int) -> UInt8 {
    func byte(_ value: UInt64, _ first: Int) -> UInt8 { UInt8(truncatingIfNeeded: value >> UInt64(8 * (offset - first))) }
    switch offset {
    case 0..<8: return byte(disk.sectorCount, 0)
    case 8..<12: return byte(UInt64(Self.segmentSize), 8)
    case 12..<16: return byte(UInt64(Self.segmentsMaximum), 12)
    case 20..<24: return byte(UInt64(Disk.sectorSize), 20)
    default: return 0
    }
  }

  /// A header to read, data either way, a status byte to write (5.2.6).
  func serve(_ chain: VirtioChain, queue: Int) throws(Virtqueue.Malformation) -> UInt32? {
    let room = chain.writableSize
    guard chain.readableSize >= Self.headerSize, room >= 1 else {
      throw Virtqueue.Malformation(text: "a request without header or status")
    }
    let header = chain.readable.part(0..<Self.headerSize).bytes(memory)
    func word(_ at: Int) -> UInt64 { header[at..<at + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) } }
    let data = chain.writable.part(0..<room - 1)
    let out = chain.readable.part(Self.headerSize..<chain.readableSize)
    var written = 0
    let answer: UInt8
    switch UInt32(truncatingIfNeeded: word(0)) {
    case Request.read:
      answer = read(sector: word(8), into: data)
      if answer == Answer.done { written = room - 1 }
    case Request.write: answer = write(sector: word(8), from: out)
    case Request.flush:
      counts[2] += 1
      answer = disk.flush() ? Answer.done : Answer.failed
    case Request.identify:
      written = data.put(Self.serial, memory)
      answer = Answer.done
    default: answer = Answer.unsupported
    }
    _ = chain.writable.part(room - 1..<room).put([answer], memory)
    return UInt32(truncatingIfNeeded: written + 1)
  }

  private func read(sector: UInt64, into data: [VirtioBuffer]) -> UInt8 {
    guard let (at, count) = place(sector, data) else { return refused() }
    guard disk.read(at: at, into: data.places(memory)) else { return refused() }
    data.noteWritten(memory)
    counts[0] += UInt64(count / Disk.sectorSize)
    return Answer.done
  }

  private func write(sector: UInt64, from data: [VirtioBuffer]) -> UInt8 {
    guard !disk.isReadOnly, let (at, count) = place(sector, data) else { return refused() }
    guard disk.write(at: at, from: data.places(memory).map { UnsafeRawBufferPointer($0) }) else { return refused() }
    counts[1] += UInt64(count / Disk.sectorSize)
    return Answer.done
  }

  /// Where whole sectors lie on the disk, and their bytes.
  private func place(_ sector: UInt64, _ data: [VirtioBuffer]) -> (at: UInt64, count: Int)? {
    let count = data.reduce(0) { $0 + $1.count }
    guard count % Disk.sectorSize == 0, count <= Self.largest else { return nil }
    return disk.offset(sector: sector, bytes: count).map { ($0, count) }
  }

  private func refused() -> UInt8 {
    counts[3] += 1
    return Answer.failed
  }

  func reset() {}

  func code(_ coder: inout StateCoder) {
    coder.code(fixed: &counts)
    disk.code(&coder)
  }

  var rows: [(name: String, value: String)] {
    [
      ("file", disk.description), ("sectors read", "\(counts[0])"), ("sectors written", "\(counts[1])"),
      ("flushes", "\(counts[2])"), ("refused", "\(counts[3])"),
    ]
  }
}
