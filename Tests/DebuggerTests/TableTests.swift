import Debugger
import Testing
import VMCore
import X86

@Suite("Descriptor tables")
struct TableTests {
  @Test("a GDT in words, empty rows left out")
  func gdt() throws {
    var guest = try Guest.protected()
    guest.state.gdtr = TableRegister(base: 0x800, limit: 0x27)
    guest.memory.store(GPA(0x808), UInt64(0x00CF_9A00_0000_FFFF))
    guest.memory.store(GPA(0x810), UInt64(0x00CF_F312_3456_FFFF))
    guest.memory.store(GPA(0x820), UInt64(0x0000_8B00_1000_0067))
    let rows = DescriptorTables.gdt(guest.state, guest.memory)
    #expect(
      rows.map(\.text) == [
        "0008  32-bit code R/X  base 00000000 limit ffffffff DPL0 P",
        "0010  32-bit data RW A  base 00123456 limit ffffffff DPL3 P",
        "0020  TSS 32 busy  base 00001000 limit 00000067 DPL0 P",
      ])
    #expect(DescriptorTables.gdt(guest.state, guest.memory, limit: 1).count == 1)
  }

  @Test("in long mode a TSS takes two rows")
  func longGDT() throws {
    var guest = try Guest.long()
    guest.state.gdtr = TableRegister(base: 0x800, limit: 0x1F)
    guest.memory.store(GPA(0x808), UInt64(0x0000_8900_1000_0067))
    guest.memory.store(GPA(0x810), UInt64(0xFFFF_8000))
    guest.memory.store(GPA(0x818), UInt64(0x00AF_9B00_0000_FFFF))
    let rows = DescriptorTables.gdt(guest.state, guest.memory)
    #expect(rows.map(\.selector) == [8, 0x18])
    #expect(rows[0].descriptor.base == 0xFFFF_8000_0000_1000)
  }

  @Test("an IDT with symbols, an IVT with pairs")
  func interrupts() throws {
    var guest = try Guest.protected()
    let symbols = SymbolTable([Symbol(name: "fault", address: 0x1234, size: 16)])
    guest.state.idtr = TableRegister(base: 0x800, limit: 0x7F)
    guest.memory.store(GPA(0x868), UInt64(0x0000_8E00_0008_1234))
    let rows = DescriptorTables.idt(guest.state, guest.memory, symbols: symbols)
    #expect(rows.map(\.text) == ["0d  interrupt gate 32 -> 0008:00001234 DPL0 P <fault>  #GP"])
    let real = try Guest.real()
    real.memory.store(GPA(0x40), UInt32(0xF000_F065))
    let vectors = DescriptorTables.ivt(real.state, real.memory)
    #expect(vectors.count == 256 && vectors[0x10].text == "10  f000:f065" && vectors[0x10].address == GVA(0xFF065))
  }

  @Test("TSS fields by its kind")
  func tss() throws {
    var guest = try Guest.long()
    guest.state[.tr] = SegmentState(selector: 8, base: 0x5000, limit: 0x67, access: 0x8B)
    guest.memory.store(GPA(0x5004), UInt64(0xFFFF_8000_0000_9000))
    let fields = DescriptorTables.tss(guest.state, guest.memory)
    #expect(fields.first?.text == "RSP0 ffff800000009000" && fields.count == 11)
    guest.state[.tr].limit = 0x20
    #expect(DescriptorTables.tss(guest.state, guest.memory).last?.text == "I/O map outside the limit")
    #expect(DescriptorTables.tss(try Guest.real().state, guest.memory).isEmpty)
    guest = try Guest.protected()
    guest.state[.tr] = SegmentState(selector: 8, base: 0x5000, limit: 0x67, access: 0x8B)
    #expect(DescriptorTables.tss(guest.state, guest.memory).contains { $0.name == "EIP" })
    guest.state[.tr].access = 0x83
    #expect(DescriptorTables.tss(guest.state, guest.memory).contains { $0.name == "FLAGS" })
  }

  @Test("the LDT is read through LDTR")
  func ldt() throws {
    var guest = try Guest.protected()
    #expect(DescriptorTables.ldt(guest.state, guest.memory).isEmpty)
    guest.state[.ldtr] = SegmentState(selector: 0x28, base: 0x900, limit: 0xF, access: 0x82)
    guest.memory.store(GPA(0x908), UInt64(0x00CF_9A00_0000_FFFF))
    #expect(DescriptorTables.ldt(guest.state, guest.memory).map(\.selector) == [0xC])
    #expect(throws: Never.self) { try DescriptorTables.segment(0xC, state: guest.state, memory: guest.memory) }
  }

  @Test("2,000 random table registers are shown without harm")
  func fuzz() throws {
    var random = SplitMix(seed: 5)
    for round in 0..<2000 {
      var guest = round & 1 == 0 ? try Guest.long() : try Guest.protected()
      guest.memory.write(GPA(0x10_0000), random.bytes(512))
      let base = random.next() & 1 == 0 ? random.next() : 0x10_0000
      guest.state.gdtr = TableRegister(base: base, limit: UInt16(truncatingIfNeeded: random.next()) & 0x1FF)
      guest.state.idtr = TableRegister(base: base, limit: UInt16(truncatingIfNeeded: random.next()) & 0x1FF)
      guest.state[.tr] = SegmentState(selector: 8, base: base, limit: UInt32(random.next() & 0xFF), access: 0x8B)
      _ = DescriptorTables.gdt(guest.state, guest.memory)
      _ = DescriptorTables.idt(guest.state, guest.memory)
      _ = DescriptorTables.ivt(guest.state, guest.memory)
      _ = DescriptorTables.tss(guest.state, guest.memory)
    }
  }
}
