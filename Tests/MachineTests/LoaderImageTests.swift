import Machine
import Testing
import VMCore
import X86

@Suite("Loaders: images that load")
struct LoaderImageTests {
  @Test func `an ELF32 kernel is placed by p_paddr, its rest zeroed, and starts in flat protected mode`() throws {
    let memory = try guestMemory()
    memory.write(GPA(0x10_0000), [UInt8](repeating: 0xEE, count: 0x2000))
    let loaded = try ImageLoader.load(LoadRequest(name: "k.elf", bytes: ELFBuilder.elf32.bytes, memory: memory))
    #expect(loaded.kind == .elf32)
    #expect(loaded.state.mode == .protected32)
    #expect(loaded.state.rip == 0x10_0000)
    #expect(loaded.state.cr0 == CR0.pe | CR0.et)
    #expect(loaded.state.rflags == 2)
    #expect(loaded.state[.cs] == SegmentState(selector: 8, base: 0, limit: 0xFFFF_FFFF, access: 0xC09B))
    #expect(loaded.state[.ss] == SegmentState(selector: 0x10, base: 0, limit: 0xFFFF_FFFF, access: 0xC093))
    #expect(memory.bytes(0x10_0000, 4) == [0xF4, 0xEB, 0xFD, 0])
    #expect(memory.bytes(0x10_0000, 0x2000).dropFirst(3).allSatisfy { $0 == 0 })
    #expect(loaded.symbolsImage == ELFBuilder.elf32.bytes)
    #expect(loaded.description == "k.elf: ELF32 kernel, 1 segment, 32-bit entry 0x100000")
  }

  @Test func `the descriptors in memory match the loaded segment registers`() throws {
    let memory = try guestMemory()
    let state = try ImageLoader.load(LoadRequest(name: "k", bytes: ELFBuilder.elf32.bytes, memory: memory)).state
    #expect(state.gdtr.base < 0x9F000)
    #expect(state.gdtr.limit == 31)
    #expect(state[.rsp] == state.gdtr.base)
    #expect(memory.u64(state.gdtr.base) == 0)
    #expect(memory.u64(state.gdtr.base + 0x08) == 0x00CF_9B00_0000_FFFF)
    #expect(memory.u64(state.gdtr.base + 0x10) == 0x00CF_9300_0000_FFFF)
    #expect(memory.u64(state.gdtr.base + 0x18) == 0x00AF_9B00_0000_FFFF)
  }

  @Test func `an ELF64 kernel starts in long mode with the first 4 GiB mapped to themselves`() throws {
    let memory = try guestMemory()
    let loaded = try ImageLoader.load(LoadRequest(name: "k", bytes: ELFBuilder.elf64.bytes, memory: memory))
    let state = loaded.state
    #expect(loaded.kind == .elf64)
    #expect(state.mode == .long64)
    #expect(state[.cs].access == 0xA09B)
    #expect(state[.cs].selector == 0x18)
    #expect(state.efer == EFER.lme | EFER.lma)
    #expect(state.cr4 == CR4.pae)
    #expect(state.cr0 == CR0.pe | CR0.et | CR0.pg)
    for address: UInt64 in [0, 0x1FFFFF, 0x20_0000, 0x4000_0000, 0xFEE0_0000, 0xFFFF_F000] {
      let level3 = memory.u64(state.cr3 + (address >> 39 & 511) * 8)
      let level2 = memory.u64((level3 & ~0xFFF) + (address >> 30 & 511) * 8)
      let level1 = memory.u64((level2 & ~0xFFF) + (address >> 21 & 511) * 8)
      #expect(level3 & 3 == 3 && level2 & 3 == 3 && level1 & 0x83 == 0x83)
      #expect(level1 & ~0xFFF == address & ~0x1F_FFFF)
    }
    #expect(memory.u64(state.cr3 + 8) == 0)
  }

  @Test func `a virtual entry in a high half leads to the segment's physical address`() throws {
    var elf = ELFBuilder.elf64
    elf.segments[0].virtualAddress = 0xFFFF_FFFF_8010_0000
    elf.entry = 0xFFFF_FFFF_8010_0001
    let loaded = try ImageLoader.load(LoadRequest(name: "k", bytes: elf.bytes, memory: try guestMemory()))
    #expect(loaded.entry == 0x10_0001)
  }

  @Test(arguments: [false, true])
  func `a Multiboot ELF kernel starts in protected mode with EAX and EBX set`(is64: Bool) throws {
    var elf = ELFBuilder.multiboot
    elf.is64 = is64
    let memory = try guestMemory(32 << 20)
    let loaded = try ImageLoader.load(LoadRequest(name: "dir/k.elf", bytes: elf.bytes, memory: memory))
    #expect(loaded.kind == .multiboot)
    #expect(loaded.state.mode == .protected32)
    #expect(loaded.state[.rax] == 0x2BAD_B002)
    #expect(loaded.state.rip == 0x10_000C)
    let info = loaded.state[.rbx]
    #expect(info >= 0x2000 && info < 0x9F000)
    #expect(memory.u32(info) == 0x245)
    #expect(memory.u32(info + 4) == 639)
    #expect(memory.u32(info + 8) == 31 << 10)
    #expect(memory.u32(info + 20) == 0)
    #expect(memory.string(UInt64(memory.u32(info + 16))) == "k.elf")
    #expect(memory.string(UInt64(memory.u32(info + 64))) == "Ringside")
  }

  @Test func `the Multiboot memory map lists conventional memory, the BIOS and what lies above 1 MiB`() throws {
    let memory = try guestMemory(5 << 30)
    let loaded = try ImageLoader.load(LoadRequest(name: "k", bytes: ELFBuilder.multiboot.bytes, memory: memory))
    let info = loaded.state[.rbx]
    let map = UInt64(memory.u32(info + 48))
    #expect(memory.u32(info + 44) == 5 * 24)
    let expected: [(UInt64, UInt64, UInt32)] = [
      (0, 0x9FC00, 1), (0x9FC00, 0x400, 2), (0xF0000, 0x10000, 2), (0x10_0000, 0xBFF0_0000, 1),
      (0x1_0000_0000, 0x8000_0000, 1),
    ]
    for (index, entry) in expected.enumerated() {
      let at = map + UInt64(index * 24)
      #expect(memory.u32(at) == 20)
      #expect(memory.u64(at + 4) == entry.0)
      #expect(memory.u64(at + 12) == entry.1)
      #expect(memory.u32(at + 20) == entry.2)
    }
  }

  @Test func `the command line and the modules reach a Multiboot kernel`() throws {
    let memory = try guestMemory()
    let modules = [NamedImage(name: "one", bytes: [1, 2, 3]), NamedImage(name: "two x", bytes: [4])]
    let request = LoadRequest(
      name: "my kernel", bytes: ELFBuilder.multiboot.bytes, memory: memory, commandLine: "a b", modules: modules)
    let info = try ImageLoader.load(request).state[.rbx]
    #expect(memory.u32(info) == 0x24D)
    #expect(memory.string(UInt64(memory.u32(info + 16))) == "my_kernel a b")
    #expect(memory.u32(info + 20) == 2)
    let list = UInt64(memory.u32(info + 24))
    var lastEnd: UInt64 = 0
    for (index, module) in modules.enumerated() {
      let at = list + UInt64(index * 16)
      let start = UInt64(memory.u32(at))
      #expect(start & 0xFFF == 0 && start >= 0x10_1000 && start >= lastEnd)
      lastEnd = UInt64(memory.u32(at + 4))
      #expect(lastEnd - start == UInt64(module.bytes.count))
      #expect(memory.bytes(start, module.bytes.count) == module.bytes)
      #expect(memory.string(UInt64(memory.u32(at + 8))) == module.name)
    }
  }

  @Test func `a Multiboot kernel with address fields is placed by them`() throws {
    let memory = try guestMemory()
    memory.write(GPA(0x20_3FFF), [0xEE, 0xEE])
    let image = multibootFlat()
    let loaded = try ImageLoader.load(LoadRequest(name: "k", bytes: image, memory: memory))
    #expect(loaded.entry == 0x20_0030)
    #expect(memory.bytes(0x20_0000, image.count) == image)
    #expect(memory.bytes(0x20_3FFF, 2) == [0, 0xEE])
    #expect(loaded.symbolsImage == nil)
  }

  @Test func `what the loader adds stays clear of a kernel in low memory`() throws {
    var elf = ELFBuilder.multiboot
    elf.segments[0].address = 0x9D000
    elf.segments[0].virtualAddress = 0x9D000
    elf.segments[0].memorySize = 0x1F00
    elf.entry = 0x9D00C
    let memory = try guestMemory()
    let loaded = try ImageLoader.load(LoadRequest(name: "k", bytes: elf.bytes, memory: memory, commandLine: "x"))
    #expect(memory.bytes(0x9D000, elf.segments[0].bytes.count) == elf.segments[0].bytes)
    for address in [loaded.state[.rbx], loaded.state.gdtr.base] {
      #expect(address < 0x9D000 || address >= 0x9EF00)
    }
  }

  @Test(arguments: [
    (512, UInt8(0)), (1_474_560, 0), (1024, 0), (2_949_120, 0), (2_949_121, 0x80), (10 << 20, 0x80),
  ])
  func `a boot sector starts at 0000-7C00 with its drive in DL`(size: Int, drive: UInt8) throws {
    let memory = try guestMemory()
    let loaded = try ImageLoader.load(LoadRequest(name: "b.img", bytes: bootImage(size: size), memory: memory))
    #expect(loaded.kind == .bootSector)
    #expect(loaded.state.mode == .real16)
    #expect(loaded.state[.cs] == SegmentState(selector: 0, base: 0, limit: 0xFFFF, access: 0x9B))
    #expect(loaded.state.rip == 0x7C00)
    #expect(loaded.state[.rdx] == UInt64(drive))
    #expect(loaded.state.rflags == RFLAGS.fixed1 | RFLAGS.interruptEnable)
    #expect(memory.bytes(0x7C00, 3) == [0xF4, 0xEB, 0xFD])
    #expect(loaded.bios?.bootDrive == drive)
  }

  @Test(arguments: [
    (FlatMode.real, nil, nil, UInt64(0x7C00), UInt64(0x7C00), UInt16(0)), (.real, 0x2_0000, 0x2_0010, 0x2_0000, 0x2_0010, 0x2001),
    (.protected, nil, nil, 0x10_0000, 0x10_0000, 8), (.protected, 0x20_0000, nil, 0x20_0000, 0x20_0000, 8),
    (.long, 0x30_0000, 0x30_0004, 0x30_0000, 0x30_0004, 0x18), (.long, nil, nil, 0x10_0000, 0x10_0000, 0x18),
  ] as [(FlatMode, UInt64?, UInt64?, UInt64, UInt64, UInt16)])
  func `a flat image goes where it is told, or to the default`(
    mode: FlatMode, load: UInt64?, entry: UInt64?, loaded address: UInt64, start: UInt64, selector: UInt16
  ) throws {
    let memory = try guestMemory()
    // Content that would be recognised as something else is taken as it is.
    let bytes = ELFBuilder.elf32.bytes
    let request = LoadRequest(name: "f", bytes: bytes, memory: memory, mode: mode, loadAddress: load, entry: entry)
    let guest = try ImageLoader.load(request)
    #expect(guest.kind == .flat)
    #expect(guest.state.linearRIP == GVA(start))
    #expect(guest.state[.cs].selector == selector)
    #expect(memory.bytes(address, bytes.count) == bytes)
    #expect((guest.bios != nil) == (mode == .real))
  }

  @Test(arguments: [4 << 10, 64 << 10, 128 << 10, 256 << 10, 8 << 20])
  func `firmware ends at 4 GiB and, by an alias of at most 128 KiB, at 1 MiB`(size: Int) throws {
    var rom = [UInt8](repeating: 0x11, count: size)
    rom.replaceSubrange(size - 16..<size, with: Array("reset vector at.".utf8))
    let memory = try guestMemory()
    let firmware = NamedImage(name: "bios.bin", bytes: rom)
    let loaded = try ImageLoader.load(LoadRequest(name: "", bytes: [], memory: memory, firmware: firmware))
    #expect(loaded.kind == .firmware)
    #expect(loaded.state == VCPUState())
    #expect(loaded.state.linearRIP == GVA(0xFFFF_FFF0))
    #expect(memory.bytes(0xFFFF_FFF0, 16) == Array(rom.suffix(16)))
    #expect(memory.bytes(0xFFFF0, 16) == Array(rom.suffix(16)))
    let alias = UInt64(min(size, 128 << 10))
    // The copy is RAM, which firmware may unpack itself into.
    #expect(memory.bytes(0x10_0000 - alias, 16) == Array(rom.suffix(Int(alias)).prefix(16)))
    #expect(memory.slot(at: GPA(0x10_0000 - alias))?.kind == .ram)
    #expect(memory.slot(at: GPA((1 << 32) - UInt64(size)))?.kind == .rom)
  }

  @Test func `loading the same image twice gives the same memory and state`() throws {
    let memory = try guestMemory()
    let request = LoadRequest(name: "b", bytes: bootImage(), memory: memory)
    let first = try ImageLoader.load(request)
    memory.write(GPA(0x410), [0xEE, 0xEE])
    let second = try ImageLoader.load(request)
    #expect(first.state == second.state)
    #expect(memory.bytes(0x410, 2) == [0x23, 0x02])
  }
}
