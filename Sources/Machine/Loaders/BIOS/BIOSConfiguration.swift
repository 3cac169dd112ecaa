import VMCore

/// What a guest's BIOS services know of the machine.
package struct BIOSConfiguration: Sendable {
  package struct Drive: Sendable {
    package enum Content: Sendable {
      /// The guest's own file: what is written stays in memory.
      case image([UInt8])
      /// `--disk`.
      case disk(Disk)
    }
    /// As in DL: 0 a floppy, 80h the first hard disk.
    package var number: UInt8
    package var content: Content
    package var geometry: DiskGeometry
  }
  /// The boot drive first.
  package var drives: [Drive]
  /// Bytes.
  package var ramSize: UInt64
  package var vcpuCount = 1

  /// Puts the ROM at F0000h and fills the vector table, the data area and the screen.
  func install(in memory: GuestMemory) throws(VMError) {
    try BIOSROM.install(in: memory, vcpuCount: vcpuCount)
    BIOSData.install(in: memory, self)
  }

  package var bootDrive: UInt8 { drives.first?.number ?? 0 }
  var hardDisks: UInt8 { UInt8(drives.count { $0.number >= 0x80 }) }
  var floppies: UInt8 { UInt8(drives.count { $0.number < 0x80 }) }
}
