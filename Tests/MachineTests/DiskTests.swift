import Machine
import Testing
import VMCore

/// A file in memory.
final class MemoryFile: DiskFile {
  let name = "memory"
  let isReadOnly: Bool
  var bytes: [UInt8]
  private(set) var log: [String] = []
  var size: UInt64 { UInt64(bytes.count) }
  /// Every access fails from now on.
  var isBroken = false

  init(_ bytes: [UInt8], isReadOnly: Bool = false) {
    self.bytes = bytes
    self.isReadOnly = isReadOnly
  }

  func read(at offset: UInt64, into buffers: [UnsafeMutableRawBufferPointer]) -> Bool {
    var at = Int(offset)
    log.append("read")
    for buffer in buffers {
      for index in 0..<buffer.count { buffer[index] = at + index < bytes.count ? bytes[at + index] : 0 }
      at += buffer.count
    }
    return !isBroken
  }

  func write(at offset: UInt64, from buffers: [UnsafeRawBufferPointer]) -> Bool {
    guard !isBroken else { return false }
    var at = Int(offset)
    log.append("write")
    for buffer in buffers {
      if at + buffer.count > bytes.count { bytes += [UInt8](repeating: 0, count: at + buffer.count - bytes.count) }
      bytes.replaceSubrange(at..<at + buffer.count, with: buffer)
      at += buffer.count
    }
    return true
  }

  func sync() -> Bool {
    log.append("sync")
    return !isBroken
  }
}

@Suite("A disk")
struct DiskTests {
  private static let sectors = 64
  private let file = MemoryFile((0..<sectors * 512).map { UInt8(truncatingIfNeeded: $0 / 512) })

  private func write(_ disk: Disk, _ sector: Int, _ byte: UInt8) -> Bool {
    let bytes = [UInt8](repeating: byte, count: 512)
    return bytes.withUnsafeBytes { disk.write(at: UInt64(sector * 512), from: [$0]) }
  }
  private func read(_ disk: Disk, _ sector: Int) -> UInt8 {
    var bytes = [UInt8](repeating: 0xEE, count: 512)
    _ = bytes.withUnsafeMutableBytes { disk.read(at: UInt64(sector * 512), into: [$0]) }
    return bytes[0] == bytes[511] ? bytes[0] : 0xEE
  }
  private func moment(_ disk: Disk) -> [UInt8] {
    var coder = StateCoder()
    disk.code(&coder)
    return coder.bytes
  }
  private func restore(_ disk: Disk, _ moment: [UInt8]) -> Bool {
    var coder = StateCoder(restoring: moment)
    disk.code(&coder)
    return coder.isComplete
  }

  @Test func `what is written is in the file at once`() {
    let disk = Disk(file)
    #expect(write(disk, 3, 0xAA) && file.bytes[3 * 512] == 0xAA && read(disk, 3) == 0xAA && read(disk, 4) == 4)
    #expect(disk.flush() && file.log.last == "sync")
  }

  @Test func `put back, it is what it was, and writing the same again touches the file no more`() {
    let disk = Disk(file)
    #expect(write(disk, 1, 0x11))
    let early = moment(disk)
    #expect(write(disk, 1, 0x22) && write(disk, 2, 0x33) && write(disk, 9, 0x99))
    #expect(restore(disk, early))
    #expect(read(disk, 1) == 0x11 && read(disk, 2) == 2 && read(disk, 9) == 9)
    let writes = file.log.count { $0 == "write" }
    #expect(write(disk, 1, 0x22) && write(disk, 2, 0x33) && disk.flush() && write(disk, 9, 0x99))
    #expect(file.log.count { $0 == "write" } == writes)
    #expect(!file.log.contains("sync"))
    #expect(read(disk, 1) == 0x22 && read(disk, 9) == 0x99 && file.bytes[9 * 512] == 0x99)
    #expect(write(disk, 10, 0x10) && file.bytes[10 * 512] == 0x10)
  }

  @Test func `a guest that goes another way has its own disk in the file, and the old way is gone`() {
    let disk = Disk(file)
    let start = moment(disk)
    #expect(write(disk, 1, 0x22) && write(disk, 2, 0x33))
    let late = moment(disk)
    #expect(restore(disk, start))
    #expect(write(disk, 5, 0x55))
    #expect(file.bytes[512] == 1 && file.bytes[2 * 512] == 2 && file.bytes[5 * 512] == 0x55)
    #expect(write(disk, 6, 0x66))
    #expect(!restore(disk, late))
    #expect(disk.refusal?.contains("another way") == true)
    #expect(read(disk, 5) == 0x55 && read(disk, 1) == 1)
    #expect(restore(disk, start) && read(disk, 5) == 5)
  }

  @Test func `many random writes, returns and repetitions leave the file as the guest's own memory of it`() {
    let disk = Disk(file)
    var random = LCG(state: 7)
    var model = (0..<Self.sectors).map { UInt8($0) }
    var moments: [(bytes: [UInt8], model: [UInt8])] = [(moment(disk), model)]
    for _ in 0..<400 {
      if random.next() % 8 == 0, let kept = moments.randomKept(&random), restore(disk, kept.bytes) { model = kept.model }
      let sector = Int(random.next() % UInt64(Self.sectors))
      let byte = UInt8(truncatingIfNeeded: random.next() % 4)
      #expect(write(disk, sector, byte))
      model[sector] = byte
      moments.append((moment(disk), model))
      #expect((0..<Self.sectors).map { read(disk, $0) } == model)
    }
    #expect(restore(disk, moments[moments.count - 1].bytes))
    #expect(write(disk, 0, 0x77))
    model = moments[moments.count - 1].model
    model[0] = 0x77
    #expect((0..<Self.sectors).map { file.bytes[$0 * 512] } == model)
  }

  @Test func `a temporary disk leaves its file alone, and its writes are part of the moment`() {
    let disk = Disk(MemoryFile(file.bytes, isReadOnly: true), isTemporary: true)
    #expect(!disk.isReadOnly)
    let start = moment(disk)
    #expect(write(disk, 1, 0x22))
    let late = moment(disk)
    #expect(restore(disk, start) && read(disk, 1) == 1)
    #expect(restore(disk, late) && read(disk, 1) == 0x22)
  }

  @Test func `a file that ends inside a sector has that sector, and no more`() {
    let disk = Disk(MemoryFile([UInt8](repeating: 9, count: 700)))
    #expect(disk.sectorCount == 2)
    #expect(disk.offset(sector: 1, bytes: 512) == 512)
    #expect(disk.offset(sector: 2, bytes: 512) == nil && disk.offset(sector: 1, bytes: 1024) == nil)
    #expect(disk.offset(sector: .max, bytes: 512) == nil && disk.offset(sector: 2, bytes: 0) == 1024)
  }
}

extension [(bytes: [UInt8], model: [UInt8])] {
  fileprivate func randomKept(_ random: inout LCG) -> Element? { self[Int(random.next() % UInt64(count))] }
}
