import VMCore

/// The interrupt vector table and the BIOS data area at 400h, with the addresses every PC has used since
/// 1981.
enum BIOSData {
  static let ports: UInt64 = 0x400
  static let extendedSegment: UInt64 = 0x40E
  static let equipment: UInt64 = 0x410
  static let memorySize: UInt64 = 0x413
  static let shiftFlags: UInt64 = 0x417
  static let shiftFlags2: UInt64 = 0x418
  static let keyHead: UInt64 = 0x41A
  static let keyTail: UInt64 = 0x41C
  static let floppyStatus: UInt64 = 0x441
  static let videoMode: UInt64 = 0x449
  static let columns: UInt64 = 0x44A
  static let pageSize: UInt64 = 0x44C
  static let pageStart: UInt64 = 0x44E
  /// One word a page: column, row.
  static let cursors: UInt64 = 0x450
  static let cursorShape: UInt64 = 0x460
  static let activePage: UInt64 = 0x462
  static let crtcPort: UInt64 = 0x463
  static let ticks: UInt64 = 0x46C
  static let midnight: UInt64 = 0x470
  static let diskStatus: UInt64 = 0x474
  static let diskCount: UInt64 = 0x475
  static let keyBufferStart: UInt64 = 0x480
  static let keyBufferEnd: UInt64 = 0x482
  static let lastRow: UInt64 = 0x484
  static let characterHeight: UInt64 = 0x485
  static let keyboardFlags: UInt64 = 0x496

  /// The key buffer's offsets in segment 40h: 16 words.
  static let keyBuffer: Range<UInt16> = 0x1E..<0x3E
  static let screen: UInt64 = 0xB8000
  static let screenSize = 0x8000

  /// Writes both, and clears the screen.
  static func install(in memory: GuestMemory, _ configuration: BIOSConfiguration) {
    for vector in UInt8.min...UInt8.max {
      let pointer = UInt32(BIOSROM.segment) << 16 | UInt32(BIOSROM.handler(vector))
      memory.store(GPA(UInt64(vector) * 4), pointer)
    }
    memory.write(GPA(ports), [UInt8](repeating: 0, count: 0x100))
    func word(_ at: UInt64, _ value: UInt16) { memory.store(GPA(at), value) }
    func byte(_ at: UInt64, _ value: UInt8) { memory.store(GPA(at), value) }
    word(ports, 0x3F8)
    // One serial port, 80x25 colour text, a coprocessor, and a floppy drive where there is one.
    word(equipment, 0x0222 | (configuration.floppies > 0 ? 1 : 0))
    word(keyHead, keyBuffer.lowerBound)
    word(keyTail, keyBuffer.lowerBound)
    word(keyBufferStart, keyBuffer.lowerBound)
    word(keyBufferEnd, keyBuffer.upperBound)
    byte(videoMode, 3)
    word(columns, 80)
    word(pageSize, 0x1000)
    word(cursorShape, 0x0607)
    word(crtcPort, 0x3D4)
    byte(lastRow, 24)
    word(characterHeight, 16)
    byte(diskCount, configuration.hardDisks)
    // An enhanced keyboard.
    byte(keyboardFlags, 0x10)
    installSizes(in: memory)
    clearScreen(memory)
  }

  /// Where conventional memory ends, and the extended data area begins, of 1 KiB.
  static func installSizes(in memory: GuestMemory) {
    memory.store(GPA(extendedSegment), UInt16(MemoryMap.conventionalEnd >> 4))
    memory.store(GPA(memorySize), UInt16(MemoryMap.conventionalEnd >> 10))
    memory.store(GPA(MemoryMap.conventionalEnd), UInt8(1))
  }

  static func clearScreen(_ memory: GuestMemory) {
    var cells = [UInt8](repeating: 0x07, count: screenSize)
    for index in stride(from: 0, to: screenSize, by: 2) { cells[index] = 0x20 }
    memory.write(GPA(screen), cells)
  }
}
