import Machine
import Testing
import VMCore
import X86

@Suite("The machine with ACPI")
struct P1Tests {
  @Test func `it has local APICs, the IOAPIC, a serial port and the clock, and nothing of an old PC`() throws {
    let bench = try Bench(vcpus: 2, model: .p1)
    #expect(bench.pc.locals.count == 2 && bench.pc.ioapic != nil)
    for port in [0x20, 0x21, 0xA1, 0x40, 0x61, 0x60, 0x64, 0x92, 0xF4, 0x604] as [UInt16] { #expect(bench.in(port) == 0xFF) }
    #expect(bench.pc.inspection.map(\.device).contains { $0.contains("16550A") })
    #expect(bench.pc.portName(0x600, write: true) == "ACPI sleep control")
  }

  @Test func `S5 in the sleep control register turns it off, and other sleep states do nothing`() throws {
    let bench = try Bench(model: .p1)
    bench.out(0x601, 0x80)
    for type in 0..<8 as Range<UInt64> where type != 5 { bench.out(0x600, type << 2 | 0x20) }
    bench.out(0x600, 5 << 2)
    #expect(bench.pc.takeRequests() == [])
    bench.out(0x600, 5 << 2 | 0x20)
    #expect(bench.pc.takeRequests() == [.shutdown])
    bench.out(0x602, 0x2A)
    #expect(bench.pc.takeRequests() == [.reset])
  }

  // MARK: ACPI

  private struct Tables {
    let bytes: [UInt8]
    init(vcpus: Int, virtio: Int) { bytes = ACPITables.build(vcpuCount: vcpus, virtioCount: virtio) }
    func number(_ at: UInt64, _ size: Int) -> UInt64 {
      let first = Int(at - ACPITables.base)
      return bytes[first..<first + size].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
    func table(_ at: UInt64) -> [UInt8] {
      let first = Int(at - ACPITables.base)
      return Array(bytes[first..<first + Int(number(at + 4, 4))])
    }
    func text(_ at: UInt64, _ count: Int) -> String {
      String(decoding: bytes[Int(at - ACPITables.base)...].prefix(count), as: UTF8.self)
    }
    /// Addresses in the XSDT.
    var roots: [UInt64] {
      let xsdt = number(ACPITables.base + 24, 8)
      return (0..<(number(xsdt + 4, 4) - 36) / 8).map { number(xsdt + 36 + $0 * 8, 8) }
    }
  }

  @Test(arguments: [(1, 2), (2, 3), (64, 8)])
  func `each ACPI table adds up to 0 and is found from the RSDP`(vcpus: Int, virtio: Int) throws {
    let tables = Tables(vcpus: vcpus, virtio: virtio)
    #expect(tables.bytes.prefix(20).reduce(0, &+) == 0 && tables.bytes.prefix(36).reduce(0, &+) == 0)
    #expect(tables.roots.map { tables.text($0, 4) } == ["FACP", "APIC"])
    let facp = try #require(tables.roots.first)
    #expect(tables.number(facp + 8, 1) == 5 && tables.table(facp).count == 268)
    #expect(tables.number(facp + 112, 4) >> 20 & 1 == 1)
    let dsdt = tables.number(facp + 140, 8)
    #expect(tables.text(dsdt, 4) == "DSDT")
    for at in tables.roots + [dsdt] { #expect(tables.table(at).reduce(0, &+) == 0) }
    // A local APIC is 8 bytes, the IOAPIC 12.
    #expect(tables.table(tables.roots[1]).count == 44 + 8 * vcpus + 12)
    #expect(tables.bytes.count < 0x1_0000)
  }

  @Test func `AML's lengths count themselves, in as many bytes as they need`() {
    #expect(AML.package([AML.integer(5)]) == [0x12, 0x04, 0x01, 0x0A, 0x05])
    #expect(AML.eisaID("PNP0501") == [0x0C, 0x41, 0xD0, 0x05, 0x01])
    #expect(AML.device("DEV0", [UInt8](repeating: 0, count: 58)).prefix(3) == [0x5B, 0x82, 0x3F])
    #expect(AML.device("DEV0", [UInt8](repeating: 0, count: 59)).prefix(4) == [0x5B, 0x82, 0x41, 0x04])
    #expect(AML.device("DEV0", [UInt8](repeating: 0, count: 4089)).prefix(4) == [0x5B, 0x82, 0x4F, 0xFF])
    #expect(AML.device("DEV0", [UInt8](repeating: 0, count: 4090)).prefix(5) == [0x5B, 0x82, 0x81, 0x00, 0x01])
    #expect(AML.integer(0x1234) == [0x0B, 0x34, 0x12])
  }
}
