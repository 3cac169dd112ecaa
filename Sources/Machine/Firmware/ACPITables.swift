import VMCore

/// What hardware-reduced ACPI says of the machine P1 (ACPI 6.5, chapter 5): RSDP, XSDT, FADT, MADT and a DSDT with COM1,
/// the virtio devices and `\_S5`. They lie at F0000h, where a BIOS would be.
package enum ACPITables {
  package static let base: UInt64 = 0xF_0000

  /// All tables, the RSDP first, for `base`.
  package static func build(vcpuCount: Int, virtioCount: Int) -> [UInt8] {
    let descriptor = dsdt(virtioCount)
    let dsdtAt = base + 64
    let fadtAt = aligned(dsdtAt + UInt64(descriptor.count))
    let fixed = fadt(dsdt: dsdtAt)
    let madtAt = aligned(fadtAt + UInt64(fixed.count))
    let interrupts = madt(vcpuCount)
    let xsdtAt = aligned(madtAt + UInt64(interrupts.count))
    let root = table("XSDT", revision: 1, little(fadtAt) + little(madtAt))
    var bytes: [UInt8] = []
    for (address, table) in [(base, rsdp(xsdt: xsdtAt)), (dsdtAt, descriptor), (fadtAt, fixed), (madtAt, interrupts), (xsdtAt, root)] {
      bytes += Array(repeating: 0, count: Int(address - base) - bytes.count) + table
    }
    return bytes
  }

  private static func aligned(_ address: UInt64) -> UInt64 { (address + 15) & ~15 }

  // MARK: Tables

  /// 5.2.5.3.
  private static func rsdp(xsdt: UInt64) -> [UInt8] {
    var bytes = Array("RSD PTR ".utf8)
    bytes.append(0)
    bytes += Array("RINGSD".utf8)
    bytes.append(2)
    bytes += little(UInt32(0))
    bytes[8] = checksum(bytes)
    bytes += little(UInt32(36))
    bytes += little(xsdt)
    bytes += little(UInt32(0))
    bytes[32] = checksum(bytes)
    return bytes
  }

  /// A table with its header (5.2.6).
  private static func table(_ signature: String, revision: UInt8, _ content: [UInt8]) -> [UInt8] {
    let length = UInt32(36 + content.count)
    var bytes = Array(signature.utf8)
    bytes += little(length)
    bytes += [revision, 0]
    bytes += Array("RINGSDRINGSIDE".utf8)
    bytes += little(UInt32(1))
    bytes += Array("RING".utf8)
    bytes += little(UInt32(1))
    bytes += content
    bytes[9] = checksum(bytes)
    return bytes
  }

  /// What makes the sum of all bytes 0.
  private static func checksum(_ bytes: [UInt8]) -> UInt8 { 0 &- bytes.reduce(0, &+) }

  private enum FADT {
    static let bytes = 268
    static let dsdt = 40
    static let bootFlags = 109
    static let flags = 112
    static let resetRegister = 116
    static let resetValue = 128
    static let longDSDT = 140
    static let sleepControl = 244
    static let sleepStatus = 256
    /// No VGA; the flags for older devices and an 8042 stay 0.
    static let noVGA: UInt16 = 1 << 2
    /// WBINVD works; no fixed power and sleep buttons; there is a reset register; the hardware is reduced.
    static let features: UInt32 = 1 << 0 | 1 << 4 | 1 << 5 | 1 << 10 | 1 << 20
  }

  /// Revision 5 (5.2.9).
  private static func fadt(dsdt: UInt64) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: FADT.bytes)
    func put(_ value: [UInt8], at offset: Int) { bytes.replaceSubrange(offset..<offset + value.count, with: value) }
    let first = SleepPorts.ports.lowerBound
    put(little(UInt32(dsdt)), at: FADT.dsdt)
    put(little(FADT.noVGA), at: FADT.bootFlags)
    put(little(FADT.features), at: FADT.flags)
    put(bytePort(first + 2), at: FADT.resetRegister)
    put([SleepPorts.resetValue], at: FADT.resetValue)
    put(little(dsdt), at: FADT.longDSDT)
    put(bytePort(first), at: FADT.sleepControl)
    put(bytePort(first + 1), at: FADT.sleepStatus)
    return table("FACP", revision: 5, Array(bytes[36...]))
  }

  /// The address of a port of one byte (5.2.3.2).
  private static func bytePort(_ port: UInt16) -> [UInt8] { [1, 8, 0, 1] + little(UInt64(port)) }

  /// Local APICs by vCPU, and the IOAPIC (5.2.12); no PIC.
  private static func madt(_ vcpuCount: Int) -> [UInt8] {
    var content = little(UInt32(0xFEE0_0000)) + little(UInt32(0))
    for index in 0..<vcpuCount {
      let id = UInt8(truncatingIfNeeded: index)
      content += [0, 8, id, id] + little(UInt32(1))
    }
    content += [1, 12, 0, 0] + little(UInt32(truncatingIfNeeded: IOAPIC.base.value)) + little(UInt32(0))
    return table("APIC", revision: 4, content)
  }

  private static func dsdt(_ virtioCount: Int) -> [UInt8] {
    var devices = AML.device(
      "COM1",
      AML.name("_HID", AML.eisaID("PNP0501")) + AML.name("_UID", AML.integer(0))
        + AML.name("_CRS", AML.resources([ACPIResource.ports(0x3F8, count: 8), ACPIResource.interrupt(4, isEdge: true)])))
    for index in 0..<virtioCount { devices += virtio(index) }
    let off = AML.integer(UInt32(SleepPorts.offType))
    let s5 = AML.name("_S5_", AML.package([off, off, AML.integer(0), AML.integer(0)]))
    return table("DSDT", revision: 2, AML.scope("\\_SB_", devices) + s5)
  }

  private static func virtio(_ index: Int) -> [UInt8] {
    let place = VirtioSlot(index)
    return AML.device(
      "VR0\(index)",
      AML.name("_HID", AML.string("LNRO0005")) + AML.name("_UID", AML.integer(UInt32(index)))
        + AML.name(
          "_CRS",
          AML.resources([
            ACPIResource.memory(UInt32(truncatingIfNeeded: place.base.value), size: UInt32(VirtioSlot.size)),
            ACPIResource.interrupt(UInt32(place.gsi), isEdge: false),
          ])))
  }
}

/// Where the machine P1 has its virtio devices.
package struct VirtioSlot: Equatable, Sendable {
  /// 0 to 7.
  package let index: Int
  package static let count = 8
  package static let size: UInt64 = 0x1000

  package init(_ index: Int) {
    precondition((0..<Self.count).contains(index), "the IOAPIC has eight pins for virtio devices")
    self.index = index
  }

  package var base: GPA { GPA(0xFEB0_0000 + UInt64(index) * Self.size) }
  package var gsi: UInt8 { UInt8(16 + index) }
}
