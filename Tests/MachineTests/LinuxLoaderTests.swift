import Machine
import Testing
import VMCore
import X86

@Suite("Loaders: Linux")
struct LinuxLoaderTests {
  private static func request(
    _ builder: LinuxBuilder = LinuxBuilder(), memory: GuestMemory, append: String = "", initrd: [UInt8]? = nil
  ) -> LoadRequest {
    let modules = initrd.map { [NamedImage(name: "initrd.gz", bytes: $0)] } ?? []
    return LoadRequest(name: "vmlinuz", bytes: builder.bytes, memory: memory, commandLine: append, modules: modules)
  }

  @Test func `a kernel with the PVH note starts there, with the start information in EBX`() throws {
    let memory = try guestMemory()
    let guest = try ImageLoader.load(Self.request(memory: memory, append: "quiet", initrd: [1, 2, 3]))
    let state = guest.state
    #expect(guest.kind == .linux && guest.platform == .p0 && guest.bios == nil)
    #expect(state.rip == 0x20_0010 && state.cr0 == CR0.pe | CR0.et && state.cr4 == 0)
    #expect(state.mode == .protected32 && state.rflags == RFLAGS.fixed1)
    #expect(state[.tr] == SegmentState(limit: 0x67, access: 0x8B))
    let info = state[.rbx]
    #expect(memory.u32(info) == 0x336E_C578 && memory.u32(info + 4) == 1 && memory.u32(info + 8) == 0)
    #expect(memory.u32(info + 12) == 1 && memory.u64(info + 32) == 0)
    let module = memory.u64(info + 16)
    let initrd = memory.u64(module)
    #expect(memory.u64(module + 8) == 3 && initrd == 0xFF_F000 && memory.bytes(initrd, 3) == [1, 2, 3])
    let line = memory.u64(info + 24)
    #expect(memory.bytes(line, 1000).prefix { $0 != 0 } == Array("\(LinuxCommandLine.standard(on: .p0)) quiet".utf8)[...])
    #expect(guest.description.hasPrefix("vmlinuz: Linux kernel (bzImage, LZ4), PVH entry 0x200010, start information at 0x"))
    #expect(guest.description.hasSuffix(", initrd at 0xfff000"))
  }

  @Test func `the memory map says what is RAM`() throws {
    let memory = try guestMemory()
    let info = try ImageLoader.load(Self.request(memory: memory)).state[.rbx]
    let map = memory.u64(info + 40)
    let entries = (0..<UInt64(memory.u32(info + 48))).map { index -> [UInt64] in
      [memory.u64(map + index * 24), memory.u64(map + index * 24 + 8), UInt64(memory.u32(map + index * 24 + 16))]
    }
    #expect(entries == [[0, 0x9FC00, 1], [0x9FC00, 0x400, 2], [0xF0000, 0x10000, 2], [0x10_0000, 0xF0_0000, 1]])
    #expect(memory.u32(info + 12) == 0 && memory.u64(info + 16) == 0)
  }

  @Test func `the command line can be replaced`() throws {
    let memory = try guestMemory()
    var request = Self.request(memory: memory, append: "only this")
    request.replacesCommandLine = true
    let info = try ImageLoader.load(request).state[.rbx]
    #expect(memory.string(memory.u64(info + 24)) == "only this")
  }

  @Test(arguments: [4, 8])
  func `the entry of the note has four bytes or eight`(_ size: Int) throws {
    let guest = try ImageLoader.load(Self.request(LinuxBuilder(pvhEntrySize: size), memory: try guestMemory()))
    #expect(guest.state.rip == 0x20_0010)
  }

  @Test func `by the 64-bit protocol the bzImage itself starts, with boot_params in RSI`() throws {
    let memory = try guestMemory()
    var request = Self.request(memory: memory, initrd: [9, 9])
    request.linuxBoot = .bzImage
    let guest = try ImageLoader.load(request)
    let state = guest.state
    #expect(state.mode == .long64 && state.rip == 0x20_0200 && state[.cs].selector == 0x10 && state[.ss].selector == 0x18)
    #expect(memory.u64(state.gdtr.base + 0x10) == 0x00AF_9B00_0000_FFFF)
    let page = state[.rsi]
    #expect(page & 0xFFF == 0 && memory.u32(page + 0x202) == 0x5372_6448)
    #expect(memory.bytes(page + 0x210, 1) == [0xFF] && memory.bytes(page + 0x1E8, 1) == [4])
    #expect(memory.u32(page + 0x218) == 0xFF_F000 && memory.u32(page + 0x21C) == 2)
    #expect(memory.string(UInt64(memory.u32(page + 0x228))).hasPrefix("console=ttyS0"))
    #expect(memory.u64(page + 0x2D0 + 60) == 0x10_0000 && memory.u64(page + 0x2D0 + 68) == 0xF0_0000)
    #expect(memory.bytes(0x20_0000, 0x300) == Array(LinuxBuilder().bytes[0x600..<0x900]))
  }

  @Test func `a kernel without the note starts by the 64-bit protocol, and says so where PVH was asked for`() throws {
    var request = Self.request(LinuxBuilder(pvhEntry: nil), memory: try guestMemory())
    #expect(try ImageLoader.load(request).state.mode == .long64)
    request.linuxBoot = .pvh
    let error = #expect(throws: VMError.self) { try ImageLoader.load(request) }
    #expect(
      error?.description
        == "vmlinuz: the kernel's Xen notes is without PHYS32_ENTRY (18) of 4 or 8 bytes; expected a kernel with CONFIG_PVH (use --boot bzimage)"
    )
  }

  @Test func `what does not fit is refused with the size that would do`() throws {
    let small = #expect(throws: VMError.self) { try ImageLoader.load(Self.request(memory: try guestMemory(1 << 20))) }
    #expect(small?.description.hasSuffix("expected it inside RAM (--memory 3M would do)") == true)
    let full = [UInt8](repeating: 0, count: 15 << 20)
    let crowded = #expect(throws: VMError.self) {
      try ImageLoader.load(Self.request(memory: try guestMemory(), initrd: full))
    }
    #expect(
      crowded?.description
        == "initrd.gz: no room for 15728640 bytes of initrd in 16 MiB beside the kernel (--memory 31M would do)")
  }

  @Test func `options for Linux are refused for other guests`() throws {
    var request = LoadRequest(name: "k", bytes: ELFBuilder.elf64.bytes, memory: try guestMemory())
    request.linuxBoot = .pvh
    let error = #expect(throws: VMError.self) { try ImageLoader.load(request) }
    #expect(error?.code == .usage)
    #expect(error?.description == "k: --boot and --append-only are for Linux kernels; expected neither with a ELF64 kernel, 1 segment")
  }

  @Test func `a command line longer than kernels take is refused`() throws {
    let long = String(repeating: "a", count: 2000)
    let error = #expect(throws: VMError.self) {
      try ImageLoader.load(Self.request(memory: try guestMemory(), append: long))
    }
    #expect(error?.code == .usage)
  }

  static let hostile: [[UInt8]] =
    [KernelCompression.lz4, .gzip, .xz, .zstd, .none].map { LinuxBuilder(compression: $0).bytes } + [LinuxBuilder().elf]

  /// Where fields are: the setup header, the payload's beginning and end, the notes.
  private static func mutate(_ image: [UInt8], _ random: inout LoaderRandom) -> [UInt8] {
    var image = image
    let edges: [UInt8] = [0, 1, 2, 4, 7, 0x7F, 0x80, 0xFE, 0xFF]
    for _ in 0...random.below(5) where !image.isEmpty {
      let places = [0x1F1 + random.below(0x80), 0x900 + random.below(0x40), image.count - 1 - random.below(300), random.below(image.count)]
      let at = min(max(places[random.below(4)], 0), image.count - 1)
      switch random.below(6) {
      case 0, 1: image[at] = edges[random.below(edges.count)]
      case 2: image[at] ^= 1 << UInt8(random.below(8))
      case 3: for index in at..<min(at + 4, image.count) { image[index] = edges[random.below(edges.count)] }
      case 4: image[at] = UInt8(truncatingIfNeeded: random.next())
      default: if random.below(5) == 0 { image.removeLast(random.below(image.count)) }
      }
    }
    return image
  }

  @Test func `twenty thousand mutated kernels load or are refused in one line that names the file`() throws {
    var random = LoaderRandom(seed: 3)
    var loaded = 0
    var refused = 0
    let memory = try guestMemory(8 << 20)
    for round in 0..<20_000 {
      let image = Self.mutate(Self.hostile[round % Self.hostile.count], &random)
      var request = LoadRequest(name: "fuzz", bytes: image, memory: memory)
      if round % 3 == 0 { request.modules = [NamedImage(name: "fuzz", bytes: image)] }
      if round % 7 == 0 { request.linuxBoot = .bzImage }
      do throws(VMError) {
        let guest = try ImageLoader.load(request)
        #expect(!guest.description.contains("\n"))
        loaded += 1
      } catch {
        #expect(error.code == .image || error.code == .usage)
        #expect(error.message.hasPrefix("fuzz: ") || error.message.hasPrefix("fuzz "), "\(error.message)")
        #expect(!error.description.contains("\n"))
        refused += 1
      }
    }
    #expect(loaded > 1000 && refused > 1000)
  }
}
