import VMCore

/// The guest's RAM as firmware tells of it (INT 15h E820h and the Multiboot memory map).
struct MemoryMap {
  struct Entry: Equatable {
    var base: UInt64
    var length: UInt64
    /// 1 RAM, 2 reserved (ACPI 6.4 table 15.4).
    var type: UInt32
  }

  /// Conventional memory ends here; the 1 KiB up to A0000h is the extended BIOS data area.
  static let conventionalEnd: UInt64 = 0x9FC00

  let entries: [Entry]
  /// End of RAM below 4 GiB.
  let lowEnd: UInt64
  /// End of RAM above 4 GiB; 4 GiB where there is none.
  let highEnd: UInt64

  init(ramSize: UInt64) {
    lowEnd = min(ramSize, GuestMemory.holeStart)
    highEnd = (1 << 32) + (ramSize - lowEnd)
    var entries = [
      Entry(base: 0, length: Self.conventionalEnd, type: 1),
      Entry(base: Self.conventionalEnd, length: 0xA0000 - Self.conventionalEnd, type: 2),
      Entry(base: 0xF0000, length: 0x10000, type: 2),
    ]
    if lowEnd > 0x10_0000 { entries.append(Entry(base: 0x10_0000, length: lowEnd - 0x10_0000, type: 1)) }
    if highEnd > 1 << 32 { entries.append(Entry(base: 1 << 32, length: highEnd - (1 << 32), type: 1)) }
    self.entries = entries
  }

  /// KiB of RAM from 1 MiB to the first hole.
  var upperKiB: UInt64 { (lowEnd - 0x10_0000) >> 10 }

  func isRAM(_ start: UInt64, _ end: UInt64) -> Bool { end <= lowEnd || (start >= 1 << 32 && end <= highEnd) }

  /// The RAM size with which the range would be RAM; nil where no size helps.
  static func sizeNeeded(_ start: UInt64, _ end: UInt64) -> UInt64? {
    if end <= GuestMemory.holeStart { return end }
    return start >= 1 << 32 && end < 1 << 46 ? end - (1 << 32) + GuestMemory.holeStart : nil
  }
}
