import VMCore
import X86

/// A drive of INT 13h, and of the ATA channel: an image as loaded, with the sectors written since, or a disk.
final class BIOSDrive {
  let number: UInt8
  let geometry: DiskGeometry
  private let content: BIOSConfiguration.Drive.Content
  private var written: [Int: [UInt8]] = [:]

  init(_ drive: BIOSConfiguration.Drive) {
    number = drive.number
    geometry = drive.geometry
    content = drive.content
  }

  var writtenSectors: Int { written.count }

  func has(_ block: UInt64, count: Int) -> Bool {
    block < UInt64(geometry.totalSectors) && Int(block) + count <= geometry.totalSectors
  }

  /// One sector, with zeros where the image is short; nil where the host failed.
  func read(_ block: Int) -> [UInt8]? {
    switch content {
    case .image(let image): return read(block, in: image)
    case .disk(let disk):
      var sector = [UInt8](repeating: 0, count: DiskGeometry.sectorSize)
      let isRead = sector.withUnsafeMutableBytes { disk.read(at: UInt64(block * DiskGeometry.sectorSize), into: [$0]) }
      return isRead ? sector : nil
    }
  }

  private func read(_ block: Int, in image: [UInt8]) -> [UInt8] {
    if let sector = written[block] { return sector }
    let start = block * DiskGeometry.sectorSize
    var sector = start < image.count ? Array(image[start..<min(start + DiskGeometry.sectorSize, image.count)]) : []
    sector.append(contentsOf: repeatElement(0, count: DiskGeometry.sectorSize - sector.count))
    return sector
  }

  var isReadOnly: Bool { if case .disk(let disk) = content { disk.isReadOnly } else { false } }

  /// False where the host failed.
  func write(_ block: Int, _ sector: [UInt8]) -> Bool {
    guard case .disk(let disk) = content else {
      written[block] = sector
      return true
    }
    return sector.withUnsafeBytes { disk.write(at: UInt64(block * DiskGeometry.sectorSize), from: [$0]) }
  }

  /// What was written is safe.
  func flush() -> Bool { if case .disk(let disk) = content { disk.flush() } else { true } }

  func reset() { written = [:] }

  func code(_ coder: inout StateCoder) {
    if case .disk(let disk) = content { return disk.code(&coder) }
    var blocks = written.keys.sorted().map { UInt32($0) }
    coder.code(&blocks)
    if coder.isRestoring { written = [:] }
    for block in blocks {
      var sector = written[Int(block)] ?? []
      coder.code(&sector)
      written[Int(block)] = sector.count == DiskGeometry.sectorSize ? sector : nil
    }
  }
}

/// INT 13h: floppies and hard disks by cylinder, head and sector, and the extensions by block (EDD 3.0,
/// fixed disk access).
struct BIOSDisk {
  /// INT 13h status codes.
  private enum Status {
    static let badParameter: UInt8 = 0x01
    static let writeProtected: UInt8 = 0x03
    static let controllerFailed: UInt8 = 0x20
    static let sectorNotFound: UInt8 = 0x04
    static let noMemory: UInt8 = 0x09
    static let timeout: UInt8 = 0x80
  }
  private enum Direction { case read, write, verify }

  let memory: GuestMemory
  private(set) var drives: [BIOSDrive]

  init(memory: GuestMemory, _ configuration: BIOSConfiguration) {
    self.memory = memory
    drives = configuration.drives.map(BIOSDrive.init)
  }

  mutating func reset() { for index in drives.indices { drives[index].reset() } }
  mutating func code(_ coder: inout StateCoder) { for index in drives.indices { drives[index].code(&coder) } }

  mutating func serve(_ call: BIOSCall) {
    let statusAddress = call.dl < 0x80 ? BIOSData.floppyStatus : BIOSData.diskStatus
    if call.ah == 0x01 {
      let last = memory.byte(statusAddress)
      call.ah = last
      call.setFlag(RFLAGS.cf, last != 0)
      return
    }
    let error = status(of: call)
    memory.store(GPA(statusAddress), error)
    guard error != 0 else {
      call.setFlag(RFLAGS.cf, false)
      return
    }
    call.fail(error)
  }

  /// Carries out a function; gives its error, or 0 with the registers set.
  private mutating func status(of call: BIOSCall) -> UInt8 {
    if call.ah == 0x00 {
      call.ah = 0
      return drives.allSatisfy { $0.flush() } ? 0 : Status.controllerFailed
    }
    guard let index = drives.firstIndex(where: { $0.number == call.dl }) else {
      if call.ah == 0x15 {
        call.ah = 0
        return 0
      }
      return call.dl < 0x80 ? Status.timeout : Status.badParameter
    }
    switch call.ah {
    case 0x02: return transferByCylinder(call, index, .read)
    case 0x03: return transferByCylinder(call, index, .write)
    case 0x04: return transferByCylinder(call, index, .verify)
    case 0x08: parameters(call, drives[index].geometry)
    case 0x15: driveType(call, drives[index].geometry)
    case 0x09, 0x0C, 0x0D, 0x10, 0x11, 0x16, 0x47: call.ah = 0
    case 0x41:
      guard call.bx == 0x55AA else { return Status.badParameter }
      call.bx = 0xAA55
      call.ah = 0x30
      call.cx = 0x0001
    case 0x42: return transferByBlock(call, index, .read)
    case 0x43: return transferByBlock(call, index, .write)
    case 0x44: return transferByBlock(call, index, .verify)
    case 0x48: return extendedParameters(call, drives[index].geometry)
    default: return Status.badParameter
    }
    return 0
  }

  // MARK: Transfers

  /// AH=02h, 03h, 04h: AL sectors from cylinder CL7:6:CH, head DH, sector CL5:0 at ES:BX.
  private mutating func transferByCylinder(_ call: BIOSCall, _ index: Int, _ direction: Direction) -> UInt8 {
    let count = Int(call.al)
    let cylinder = Int(call.ch) | Int(call.cl & 0xC0) << 2
    let drive = drives[index]
    guard count > 0 else { return Status.badParameter }
    let place = drive.geometry.block(cylinder: cylinder, head: Int(call.dh), sector: Int(call.cl & 0x3F))
    guard let place, drive.has(UInt64(place), count: count) else {
      call.al = 0
      return Status.sectorNotFound
    }
    let status = transfer(call, index, place, count, at: call.linear(.es, call.bx), direction)
    guard status == 0 else {
      call.al = 0
      return status
    }
    call.ax = UInt16(count)
    return 0
  }

  /// AH=42h, 43h, 44h: the disk address packet at DS:SI.
  private mutating func transferByBlock(_ call: BIOSCall, _ index: Int, _ direction: Direction) -> UInt8 {
    let packetAddress = call.linear(.ds, call.si)
    guard let packet = call.read(packetAddress, count: 16), packet[0] >= 16 else { return Status.badParameter }
    func word(_ at: Int) -> UInt16 { BIOSCall.word(high: packet[at + 1], low: packet[at]) }
    let count = Int(word(2))
    let buffer = UInt64(word(6)) << 4 + UInt64(word(4))
    let block = packet[8..<16].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    if count > 0 {
      var status: UInt8 = 0
      if !drives[index].has(block, count: count) {
        status = Status.sectorNotFound
      } else {
        status = transfer(call, index, Int(block), count, at: buffer, direction)
      }
      if status != 0 {
        call.write(packetAddress &+ 2, [0, 0])
        return status
      }
    }
    call.ah = 0
    return 0
  }

  /// The error, or 0.
  private mutating func transfer(
    _ call: BIOSCall, _ index: Int, _ first: Int, _ count: Int, at linear: UInt64, _ direction: Direction
  ) -> UInt8 {
    if case .write = direction, drives[index].isReadOnly { return Status.writeProtected }
    for sector in 0..<count {
      let at = linear &+ UInt64(sector * DiskGeometry.sectorSize)
      switch direction {
      case .read:
        guard let bytes = drives[index].read(first + sector) else { return Status.controllerFailed }
        guard call.write(at, bytes) else { return Status.noMemory }
      case .write:
        guard let bytes = call.read(at, count: DiskGeometry.sectorSize) else { return Status.noMemory }
        guard drives[index].write(first + sector, bytes) else { return Status.controllerFailed }
      case .verify: break
      }
    }
    return 0
  }

  // MARK: What drives there are

  /// AH=08h. ES:DI stays: the diskette parameter table is where INT 1Eh points.
  private func parameters(_ call: BIOSCall, _ geometry: DiskGeometry) {
    let lastCylinder = geometry.cylinders - 1
    let high = UInt8(lastCylinder >> 2 & 0xC0)
    let drivesOfKind = drives.count { ($0.number < 0x80) == geometry.isFloppy }
    if geometry.isFloppy { call.bx = UInt16(geometry.floppyType) }
    call.ax = 0
    call.cx = BIOSCall.word(high: UInt8(lastCylinder & 0xFF), low: UInt8(geometry.sectors) | high)
    call.dx = BIOSCall.word(high: UInt8(geometry.heads - 1), low: UInt8(drivesOfKind))
  }

  /// AH=15h: 1 a floppy drive without a change line, 3 a hard disk with CX:DX sectors.
  private func driveType(_ call: BIOSCall, _ geometry: DiskGeometry) {
    guard !geometry.isFloppy else {
      call.ah = 1
      return
    }
    call.ah = 3
    call.cx = UInt16(truncatingIfNeeded: geometry.totalSectors >> 16)
    call.dx = UInt16(truncatingIfNeeded: geometry.totalSectors)
  }

  /// AH=48h: fills 26 bytes at DS:SI.
  private func extendedParameters(_ call: BIOSCall, _ geometry: DiskGeometry) -> UInt8 {
    let at = call.linear(.ds, call.si)
    guard let size = call.read(at, count: 2), BIOSCall.word(high: size[1], low: size[0]) >= 26 else {
      return Status.badParameter
    }
    var result: [UInt8] = []
    func append(_ value: UInt64, _ bytes: Int) {
      for byte in 0..<bytes { result.append(UInt8(value >> UInt64(8 * byte) & 0xFF)) }
    }
    append(26, 2)
    // The geometry below is valid.
    append(2, 2)
    append(UInt64(geometry.cylinders), 4)
    append(UInt64(geometry.heads), 4)
    append(UInt64(geometry.sectors), 4)
    append(UInt64(geometry.totalSectors), 8)
    append(UInt64(DiskGeometry.sectorSize), 2)
    guard call.write(at, result) else { return Status.noMemory }
    call.ah = 0
    return 0
  }
}
