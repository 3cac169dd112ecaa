import VMCore

/// What the MultiProcessor Specification 1.4 says of the PC: its local APICs, the IOAPIC, and which of its pins the ISA
/// lines come in at. Systems without ACPI look for it at F0000h, where a BIOS would be.
enum MPTable {
  static let base: UInt64 = 0xF_0000
  private static let pointerSize = 16
  private static let revision: UInt8 = 4
  private static let allAPICs: UInt8 = 0xFF

  /// The floating pointer and, behind it, the configuration table, for `base`.
  static func build(vcpuCount: Int) -> [UInt8] {
    let entries = processors(vcpuCount) + buses + controllers + lines + localLines
    var table = header(entries)
    table[7] = 0 &- table.reduce(0, &+)
    let address = UInt32(truncatingIfNeeded: base) + UInt32(pointerSize)
    // Paragraphs, revision, checksum, feature bytes: a table, and virtual wire mode.
    var pointer = Array("_MP_".utf8) + little(address) + [1, revision, 0] + [UInt8](repeating: 0, count: 5)
    pointer[10] = 0 &- pointer.reduce(0, &+)
    return pointer + table
  }

  /// Table 4-2, without checksum.
  private static func header(_ entries: [[UInt8]]) -> [UInt8] {
    let content = entries.flatMap { $0 }
    var bytes = Array("PCMP".utf8)
    bytes += little(UInt16(44 + content.count)) + [revision, 0]
    bytes += Array("RINGSIDEPC          ".utf8)
    bytes += little(UInt32(0)) + little(UInt16(0)) + little(UInt16(entries.count))
    bytes += little(UInt32(0xFEE0_0000)) + little(UInt32(0))
    return bytes + content
  }

  /// Table 4-4: the first one boots.
  private static func processors(_ count: Int) -> [[UInt8]] {
    (0..<count).map { index in
      let flags: UInt8 = index == 0 ? 3 : 1
      let signature = little(UInt32(0x1_06A5)) + little(UInt32(0x0780_FBFF))
      return [0, UInt8(truncatingIfNeeded: index), 0x14, flags] + signature + [UInt8](repeating: 0, count: 8)
    }
  }

  private static let buses: [[UInt8]] = [[1, 0] + Array("ISA   ".utf8)]
  private static let controllers: [[UInt8]] = [[2, 0, 0x20, 1] + little(UInt32(truncatingIfNeeded: IOAPIC.base.value))]

  /// Table 4-10: line n at pin n, but the timer's at pin 2, where the second PIC's would be.
  private static var lines: [[UInt8]] {
    (0..<16 as Range<UInt8>).filter { $0 != 2 }.map { [3, 0, 0, 0, 0, $0, 0, $0 == 0 ? 2 : $0] }
  }

  /// Table 4-12: the PIC at LINT0, NMI at LINT1.
  private static let localLines: [[UInt8]] = [[4, 3, 0, 0, 0, 0, allAPICs, 0], [4, 1, 0, 0, 0, 0, allAPICs, 1]]

  private static func little(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }
}
