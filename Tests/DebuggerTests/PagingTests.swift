import Debugger
import Testing
import VMCore
import X86

@Suite("Page walks and mappings")
struct PagingTests {
  @Test("without paging linear is physical")
  func off() throws {
    let guest = try Guest.real()
    let walk = PageWalk(GVA(0x7C00), state: guest.state, memory: guest.memory)
    #expect(walk.result == GPA(0x7C00) && walk.steps.isEmpty && walk.fault == nil)
    #expect(walk.lines == ["linear 00007c00: paging off, physical 00007c00"])
  }

  @Test("4-level: large page, small page, missing page, non-canonical address")
  func level4() throws {
    let guest = try Guest.long()
    guest.memory.store(GPA(0x3008), UInt64(0x4027))
    guest.memory.store(GPA(0x4000 + 8 * 3), UInt64(0x8000_0000_0012_3061))
    let large = PageWalk(GVA(0x12_3456), state: guest.state, memory: guest.memory)
    #expect(large.result == GPA(0x12_3456) && large.pageSize == 2 << 20 && large.steps.count == 3)
    #expect(large.writable && !large.user && large.executable)
    let small = PageWalk(GVA(0x20_3ABC), state: guest.state, memory: guest.memory)
    #expect(small.result == GPA(0x12_3ABC) && small.pageSize == 4096 && small.steps.count == 4)
    #expect(!small.writable && !small.user && !small.executable)
    #expect(small.steps.map(\.flags) == ["P RW SV", "P RW SV", "P RW US A", "P RO SV A D NX"])
    #expect(small.lines.last == "  -> physical 00123abc, 4 KiB page, read-only, supervisor, no-execute")
    let missing = PageWalk(GVA(0x4000_0000), state: guest.state, memory: guest.memory)
    #expect(missing.result == nil && missing.fault == .notPresent(.pdpte))
    #expect(missing.lines.last == "  -> page fault: PDPTE not present")
    let strange = PageWalk(GVA(0x8000_0000_0000), state: guest.state, memory: guest.memory)
    #expect(strange.fault == .nonCanonical)
  }

  @Test("a walk leaves the tables alone")
  func noSideEffects() throws {
    let guest = try Guest.long()
    _ = PageWalk(GVA(0x1000), state: guest.state, memory: guest.memory)
    #expect(guest.memory.load(GPA(0x3000), as: UInt64.self) == 0x83)
  }

  @Test("32-bit: 4 KiB pages, 4 MiB pages with PSE-36, PS ignored without CR4.PSE")
  func bits32() throws {
    var guest = try Guest.protected()
    guest.state.cr0 |= CR0.pg
    guest.state.cr3 = 0x1000
    guest.memory.store(GPA(0x1000), UInt32(0x2007))
    guest.memory.store(GPA(0x2004), UInt32(0x5005))
    guest.memory.store(GPA(0x1004), UInt32(0x0040_2083))
    let small = PageWalk(GVA(0x1234), state: guest.state, memory: guest.memory)
    #expect(small.result == GPA(0x5234) && !small.writable && small.user)
    #expect(PageWalk(GVA(0x40_1234), state: guest.state, memory: guest.memory).fault != nil)
    guest.state.cr4 = CR4.pse
    let large = PageWalk(GVA(0x40_1234), state: guest.state, memory: guest.memory)
    #expect(large.result == GPA(0x1_0040_1234) && large.pageSize == 4 << 20)
  }

  @Test("PAE: four pointers without rights of their own")
  func pae() throws {
    var guest = try Guest.protected()
    guest.state.cr0 |= CR0.pg
    guest.state.cr4 = CR4.pae
    guest.state.cr3 = 0x1020
    guest.memory.store(GPA(0x1020 + 8 * 3), UInt64(0x2001))
    guest.memory.store(GPA(0x2000), UInt64(0x20_0087))
    let walk = PageWalk(GVA(0xC000_0010), state: guest.state, memory: guest.memory)
    #expect(walk.result == GPA(0x20_0010) && walk.writable && walk.user && walk.steps.count == 2)
    guest.memory.store(GPA(0x1020 + 8 * 3), UInt64(0x2003))
    #expect(PageWalk(GVA(0xC000_0010), state: guest.state, memory: guest.memory).fault == .reservedBit(.pdpte))
  }

  @Test(
    "what would stop an access",
    arguments: [
      (0x83, false, false, 0, nil), (0x83, false, false, 3, "page is for the supervisor only"),
      (0x81, true, false, 0, "page is read-only (CR0.WP)"), (0x85, true, false, 3, "page is read-only"),
      (0x87, false, true, 0, "SMEP: ring 0 may not execute a user page"),
      (0x87, false, false, 0, "SMAP: ring 0 may not access a user page"),
      (0x8000_0000_0000_0083, false, true, 0, "page is no-execute"),
    ] as [(UInt64, Bool, Bool, UInt8, String?)])
  func obstacles(_ entry: UInt64, _ write: Bool, _ execute: Bool, _ cpl: UInt8, _ text: String?) throws {
    var guest = try Guest.long()
    guest.state.cr0 |= CR0.wp
    guest.state.cr4 |= CR4.smep | CR4.smap
    guest.memory.store(GPA(0x1000), UInt64(0x2007))
    guest.memory.store(GPA(0x2000), UInt64(0x3007))
    guest.memory.store(GPA(0x3000), entry)
    let walk = PageWalk(GVA(0x1000), state: guest.state, memory: guest.memory)
    #expect(walk.obstacle(write: write, execute: execute, cpl: cpl, state: guest.state)?.text == text)
  }

  @Test("mappings are listed in ranges")
  func mappings() throws {
    let guest = try Guest.long()
    guest.memory.store(GPA(0x3008), UInt64(0x20_0083))
    guest.memory.store(GPA(0x3018), UInt64(0x4003))
    guest.memory.store(GPA(0x4000), UInt64(0x8003))
    guest.memory.store(GPA(0x4008), UInt64(0x9003))
    guest.memory.store(GPA(0x4010), UInt64(0xA001))
    guest.memory.store(GPA(0x1FF8), UInt64(0x2003))
    let list = MappingList(guest.state, guest.memory)
    #expect(list.isComplete)
    #expect(
      list.ranges.prefix(3).map(\.text) == [
        "00000000-003fffff -> 00000000  2M RW SV X", "00600000-00601fff -> 00008000  4K RW SV X",
        "00602000-00602fff -> 0000a000  4K RO SV X",
      ])
    #expect(list.ranges[3].start == 0xFFFF_FF80_0000_0000)
    #expect(!MappingList(guest.state, guest.memory, maximumRanges: 2).isComplete)
    #expect(MappingList(guest.state, guest.memory, from: 0x60_0000).ranges.first?.start == 0x60_0000)
    #expect(MappingList(try Guest.real().state, guest.memory).ranges.count == 1)
  }

  @Test("tables that point to themselves end at the budget")
  func recursive() throws {
    let guest = try Guest.long()
    for index in UInt64(0)..<512 { guest.memory.store(GPA(0x1000 + index * 8), UInt64(0x1003)) }
    let list = MappingList(guest.state, guest.memory, maximumTables: 64)
    #expect(!list.isComplete)
  }

  @Test("20,000 random tables and addresses are walked to an end")
  func fuzz() throws {
    var random = SplitMix(seed: 4)
    for _ in 0..<40 {
      var guest = try Guest.long()
      for page in UInt64(0)..<8 {
        let noise = (0..<512).flatMap { _ -> [UInt8] in
          let entry = (random.next() & 0x8000_0000_0000_0FFF | 1) &+ (random.next() & 0xF) << 12
          return withUnsafeBytes(of: (random.next() & 7 == 0 ? random.next() : entry).littleEndian) { Array($0) }
        }
        guest.memory.write(GPA(page * 4096), noise)
      }
      for _ in 0..<500 {
        guest.state.cr3 = random.next() & (random.next() & 1 == 0 ? 0x7FE0 : .max)
        guest.state.cr4 = random.next()
        guest.state.efer = random.next()
        guest.state.cr0 = random.next() | CR0.pe
        let address = random.next() >> (random.next() & 63)
        let walk = PageWalk(GVA(address), state: guest.state, memory: guest.memory)
        #expect((walk.result == nil) == (walk.fault != nil) && walk.steps.count <= 4)
      }
      guest.state.cr0 |= CR0.pg
      _ = MappingList(guest.state, guest.memory, maximumRanges: 64, maximumTables: 64)
    }
  }
}
