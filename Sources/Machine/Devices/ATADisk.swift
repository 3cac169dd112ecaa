import VMCore

/// A hard disk on an ATA channel (ATA/ATAPI-6): PIO alone, addressed by cylinder, head and sector, by 28 or by 48 bits.
/// Commands take no time: what a guest asks for is there when it looks.
/// Offsets: 0...7 the command block (1F0h), 8 the control block's register (3F6h).
final class ATADisk {
  private enum Status {
    static let error: UInt8 = 0x01
    static let dataRequest: UInt8 = 0x08
    static let seekComplete: UInt8 = 0x10
    static let ready: UInt8 = 0x40
  }
  private enum ErrorCode {
    static let aborted: UInt8 = 0x04
    static let notFound: UInt8 = 0x10
    /// UNC: the sector cannot be read, or written.
    static let failed: UInt8 = 0x40
  }
  private enum Transfer: UInt8 { case none, read, write }
  private static let sectorSize = DiskGeometry.sectorSize
  private static let secondDevice: UInt8 = 0x10
  private static let usesLBA: UInt8 = 0x40
  /// The one command that goes to both devices.
  private static let executeDiagnostics: UInt8 = 0x90

  private let line: InterruptLine
  private let drive: BIOSDrive
  /// 0 or 1, of so many.
  private let number: UInt8
  private let count: Int
  /// What is on the drive is saved and reset with the disk.
  private let ownsContents: Bool
  /// Features, sector count, and the three address registers, each with the value written before: 48-bit commands
  /// take both. Index 0 is register 1.
  private var current = [UInt8](repeating: 0, count: 5)
  private var previous = [UInt8](repeating: 0, count: 5)
  private var device: UInt8 = 0
  private var status: UInt8 = Status.ready | Status.seekComplete
  private var error: UInt8 = 1
  /// Device control: bit 1 no interrupts, bit 2 software reset, bit 7 previous values are read.
  private var control: UInt8 = 0
  private var transfer = Transfer.none
  private var buffer: [UInt8] = []
  private var position = 0
  private var block: UInt64 = 0
  /// Sectors of the command still to come, with the one in the buffer.
  private var remaining: UInt32 = 0

  init(_ drive: BIOSDrive, number: UInt8, of count: Int, line: InterruptLine, ownsContents: Bool) {
    (self.drive, self.number, self.count, self.line, self.ownsContents) = (drive, number, count, line, ownsContents)
  }

  var isSelected: Bool { device & Self.secondDevice == number << 4 }

  // MARK: Registers

  func read(_ offset: UInt64, size: UInt8) -> UInt64 {
    // A device 1 that is not there is answered for with zeros.
    guard isSelected || offset == 6 else { return 0 }
    switch offset {
    case 0: return readData(Int(size))
    case 1: return UInt64(error)
    case 2...5:
      let registers = control & 0x80 != 0 ? previous : current
      return UInt64(registers[Int(offset) - 1])
    case 6: return UInt64(device)
    case 7:
      line.set(false)
      return UInt64(status)
    default: return UInt64(status)
    }
  }

  func write(_ offset: UInt64, size: UInt8, value: UInt64) {
    let byte = UInt8(truncatingIfNeeded: value)
    switch offset {
    case 0: writeData(value, Int(size))
    case 1...5:
      previous[Int(offset) - 1] = current[Int(offset) - 1]
      current[Int(offset) - 1] = byte
    case 6: device = byte | 0xA0
    case 7: if isSelected || byte == Self.executeDiagnostics { execute(byte) }
    default: writeControl(byte)
    }
    if offset < 8 { control &= 0x7F }
  }

  private func writeControl(_ byte: UInt8) {
    if byte & 4 != 0, control & 4 == 0 { resetDevice() }
    control = byte
    if control & 2 != 0 { line.set(false) }
  }

  // MARK: Commands

  private func execute(_ command: UInt8) {
    line.set(false)
    (transfer, error) = (.none, 0)
    status = Status.ready | Status.seekComplete
    switch command {
    case 0x20, 0x21: begin(.read, extended: false)
    case 0x24: begin(.read, extended: true)
    case 0x30, 0x31: begin(.write, extended: false)
    case 0x34: begin(.write, extended: true)
    case 0x40, 0x41: verify(extended: false)
    case 0x42: verify(extended: true)
    case 0xEC:
      (buffer, position, remaining, transfer) = (identity, 0, 1, .read)
      status |= Status.dataRequest
      interrupt()
    case Self.executeDiagnostics: diagnose()
    case 0xE7, 0xEA: drive.flush() ? interrupt() : fail(ErrorCode.aborted)
    // Recalibrate, seek, parameters, standby and idle, features: nothing to wait for.
    case 0x10...0x1F, 0x70...0x7F, 0x91, 0xE0...0xE3, 0xE5, 0xEF: interrupt()
    default: fail(ErrorCode.aborted)
    }
  }

  private func begin(_ kind: Transfer, extended: Bool) {
    guard let (first, count) = target(extended: extended) else { return fail(ErrorCode.notFound) }
    if kind == .write, drive.isReadOnly { return fail(ErrorCode.aborted) }
    (block, remaining, transfer, position) = (first, count, kind, 0)
    if kind == .read { return readSector() }
    // A write asks for its first sector without an interrupt.
    buffer = [UInt8](repeating: 0, count: Self.sectorSize)
    status |= Status.dataRequest
  }

  /// Puts the next sector out to be read.
  private func readSector() {
    guard let sector = drive.read(Int(block)) else { return fail(ErrorCode.failed) }
    buffer = sector
    status |= Status.dataRequest
    interrupt()
  }

  private func verify(extended: Bool) {
    guard target(extended: extended) != nil else { return fail(ErrorCode.notFound) }
    interrupt()
  }

  /// The sectors a command is about; nil where the disk has not all of them.
  private func target(extended: Bool) -> (first: UInt64, count: UInt32)? {
    let low = UInt64(current[2]) | UInt64(current[3]) << 8 | UInt64(current[4]) << 16
    var first = low | UInt64(device & 15) << 24
    var count = UInt32(current[1])
    if extended {
      let high = UInt64(previous[2]) | UInt64(previous[3]) << 8 | UInt64(previous[4]) << 16
      first = low | high << 24
      count |= UInt32(previous[1]) << 8
      if count == 0 { count = 65536 }
    } else {
      if count == 0 { count = 256 }
      if device & Self.usesLBA == 0 {
        let cylinder = Int(current[3]) | Int(current[4]) << 8
        guard let place = drive.geometry.block(cylinder: cylinder, head: Int(device & 15), sector: Int(current[2])) else {
          return nil
        }
        first = UInt64(place)
      }
    }
    return drive.has(first, count: Int(count)) ? (first, count) : nil
  }

  private func fail(_ code: UInt8) {
    (transfer, buffer, position, remaining) = (.none, [], 0, 0)
    error = code
    status = status & ~Status.dataRequest | Status.error
    interrupt()
  }

  private func interrupt() { if control & 2 == 0, isSelected { line.set(true) } }

  // MARK: Data

  private func readData(_ size: Int) -> UInt64 {
    guard transfer == .read, position + size <= buffer.count else { return .max }
    var value: UInt64 = 0
    for index in 0..<size { value |= UInt64(buffer[position + index]) << UInt64(8 * index) }
    position += size
    if position == buffer.count { finishSector() }
    return value
  }

  private func writeData(_ value: UInt64, _ size: Int) {
    guard isSelected, transfer == .write, position + size <= buffer.count else { return }
    for index in 0..<size { buffer[position + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index)) }
    position += size
    guard position == buffer.count else { return }
    guard drive.write(Int(block), buffer) else { return fail(ErrorCode.failed) }
    finishSector()
    interrupt()
  }

  private func finishSector() {
    (position, remaining) = (0, remaining - 1)
    guard remaining > 0 else {
      (transfer, buffer) = (.none, [])
      status &= ~Status.dataRequest
      return
    }
    block += 1
    if transfer == .read { readSector() }
  }

  /// IDENTIFY DEVICE (ATA/ATAPI-6 8.15): an ATA-6 disk with PIO, LBA and 48-bit addresses.
  private var identity: [UInt8] {
    var words = [UInt16](repeating: 0, count: 256)
    let geometry = drive.geometry
    let total = UInt64(geometry.totalSectors)
    words[0] = 0x0040
    (words[1], words[3], words[6]) = (UInt16(geometry.cylinders), UInt16(geometry.heads), UInt16(geometry.sectors))
    put("1", at: 10, count: 10, &words)
    put("1.0", at: 23, count: 4, &words)
    put("Ringside disk", at: 27, count: 20, &words)
    // LBA; words 54 to 58 hold; the sectors that 28 bits reach.
    (words[49], words[53]) = (0x0200, 0x0001)
    (words[54], words[55], words[56]) = (words[1], words[3], words[6])
    let byGeometry = UInt32(geometry.cylinders * geometry.heads * geometry.sectors)
    (words[57], words[58]) = (UInt16(truncatingIfNeeded: byGeometry), UInt16(truncatingIfNeeded: byGeometry >> 16))
    let short = UInt32(min(total, 0x0FFF_FFFF))
    (words[60], words[61]) = (UInt16(truncatingIfNeeded: short), UInt16(truncatingIfNeeded: short >> 16))
    // ATA-2 to ATA-6; flush and 48-bit addresses, both on.
    words[80] = 0x007C
    for word in [83, 86] { words[word] = 0x7400 }
    for part in 0..<4 { words[100 + part] = UInt16(truncatingIfNeeded: total >> UInt64(16 * part)) }
    // Device 0 passed its reset, and answers for a device 1 that is not there; device 1 knows its number by a jumper.
    words[93] = number == 1 ? 0x4300 : count > 1 ? 0x4001 : 0x4041
    return words.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
  }

  /// Text in words of two characters, the first in the high byte, filled with blanks.
  private func put(_ text: String, at word: Int, count: Int, _ words: inout [UInt16]) {
    var bytes = Array(text.utf8)
    bytes += [UInt8](repeating: 0x20, count: count * 2 - bytes.count)
    for index in 0..<count { words[word + index] = UInt16(bytes[2 * index]) << 8 | UInt16(bytes[2 * index + 1]) }
  }

  // MARK: Reset and state

  private func diagnose() {
    resetDevice()
    interrupt()
  }

  /// The signature of a disk in the registers, as after power-on and software reset.
  private func resetDevice() {
    current = [0, 1, 1, 0, 0]
    previous = [UInt8](repeating: 0, count: 5)
    (device, error, transfer, buffer, position, remaining) = (0xA0, 1, .none, [], 0, 0)
    status = Status.ready | Status.seekComplete
    line.set(false)
  }

  func reset() {
    resetDevice()
    control = 0
    if ownsContents { drive.reset() }
  }

  func code(_ coder: inout StateCoder) {
    coder.code(fixed: &current)
    coder.code(fixed: &previous)
    for field in [\ATADisk.device, \.status, \.error, \.control] { coder.code(&self[keyPath: field]) }
    var kind = transfer.rawValue
    coder.code(&kind)
    coder.code(&buffer)
    var place = UInt32(position)
    coder.code(&place)
    coder.code(&block)
    coder.code(&remaining)
    if ownsContents { drive.code(&coder) }
    let isWhole = buffer.count == Self.sectorSize && place < UInt32(Self.sectorSize) && remaining > 0
    transfer = isWhole ? Transfer(rawValue: kind) ?? .none : .none
    position = isWhole ? Int(place) : 0
    if !drive.has(block, count: Int(remaining)) { transfer = .none }
  }

  var rows: [(name: String, value: String)] {
    let total = drive.geometry.totalSectors
    return [
      ("device \(number)", "\(total) sectors\(drive.isReadOnly ? ", read-only" : "")"), ("status", bits(status)),
      ("error", bits(error)), ("device", bits(device)), ("device control", bits(control)),
      ("transfer", transfer == .none ? "none" : "\(transfer) sector \(block), \(remaining) left"),
    ]
  }
}
