import Machine
import Testing
import VMCore

/// What is wrong with an image, and the one line that says so.
struct BrokenImage: Sendable, CustomTestStringConvertible {
  var bytes: [UInt8]
  var line: String
  var testDescription: String { line }

  init(_ bytes: [UInt8], _ line: String) {
    self.bytes = bytes
    self.line = line
  }
}

@Suite("Loaders: images that are refused")
struct LoaderErrorTests {
  private static func error(_ request: LoadRequest) -> VMError? {
    do throws(VMError) {
      _ = try ImageLoader.load(request)
      return nil
    } catch { return error }
  }

  static let elf32 = ELFBuilder.elf32.bytes
  static let elf64 = ELFBuilder.elf64.bytes

  static let brokenELF: [BrokenImage] = [
    .init(Array(elf32.prefix(10)), "k: the end of e_ident is 0x10 but the file has 0xa bytes; expected it inside the file"),
    .init(elf32.patched(4, [7]), "k: e_ident[EI_CLASS] is 0x7; expected 1 (32-bit) or 2 (64-bit)"),
    .init(elf32.patched(5, [2]), "k: e_ident[EI_DATA] is 0x2; expected 1 (little-endian)"),
    .init(elf32.patched(6, [0]), "k: e_ident[EI_VERSION] is 0x0; expected 1"),
    .init(
      Array(elf64.prefix(60)),
      "k: the end of the ELF header is 0x40 but the file has 0x3c bytes; expected it inside the file"),
    .init(
      elf32.patched(16, [3]),
      "k: e_type is 0x3; expected 2 (ET_EXEC) (it is a program or library of an operating system: a kernel is linked -static -no-pie)"),
    .init(elf32.patched(16, [1]), "k: e_type is 0x1; expected 2 (ET_EXEC) (it is an object file: link it)"),
    .init(elf32.patched(18, [0x28]), "k: e_machine is 0x28; expected 0x3 (EM_386) (it is for ARM; take one for x86)"),
    .init(elf64.patched(18, [0xB7]), "k: e_machine is 0xb7; expected 0x3e (EM_X86_64) (it is for AArch64; take one for x86)"),
    .init(elf32.patched(44, le(UInt16(0))), "k: e_phnum is 0x0; expected 1 to 0xfffe program headers"),
    .init(elf32.patched(42, le(UInt16(40))), "k: e_phentsize is 0x28; expected 0x20"),
    .init(
      elf32.patched(28, le(UInt32(0x5000))),
      "k: e_phoff+e_phnum*e_phentsize is 0x5020 but the file has 0x57 bytes; expected it inside the file"),
    .init(
      elf64.patched(32, le(UInt64.max - 3)),
      "k: e_phoff+e_phnum*e_phentsize is 0xffffffffffffffff but the file has 0x7b bytes; expected it inside the file"),
    .init(elf32.patched(24, le(UInt32(0x20_0000))), "k: e_entry is 0x200000; expected an address inside a PT_LOAD segment"),
    .init(elf32.patched(52, le(UInt32(6))), "k: the number of PT_LOAD program headers is 0; expected at least one with a size"),
    .init(
      elf32.patched(52, le(UInt32(3))),
      "k: program header 0: p_type is PT_INTERP (3); expected a kernel, not a program for Linux"),
    .init(
      elf32.patched(56, le(UInt32(0x9000))),
      "k: program header 0: p_offset+p_filesz is 0x9003 but the file has 0x57 bytes; expected it inside the file"),
    .init(elf32.patched(72, le(UInt32(1))), "k: program header 0: p_filesz is 0x3; expected at most p_memsz, 0x1"),
    .init(
      elf64.patched(88, le(UInt64.max - 1)),
      "k: program header 0: p_paddr is 0xfffffffffffffffe; expected p_paddr+p_memsz (0x2000 more) within 64 bits"),
    .init(
      elf32.patched(72, le(UInt32(0x0200_0000))),
      "k: program header 0: p_paddr to p_paddr+p_memsz is 0x100000 to 0x2100000 but the guest has 16 MiB; expected it inside RAM (--memory 33M would do)"
    ),
    .init(
      elf32.patched(64, le(UInt32(0xE000_0000))),
      "k: program header 0: p_paddr to p_paddr+p_memsz is 0xe0000000 to 0xe0002000; expected a range below 0xc0000000, or in RAM above 4 GiB"
    ),
  ]

  @Test(arguments: brokenELF)
  func `a broken ELF file is refused by its first wrong field`(_ image: BrokenImage) throws {
    let error = Self.error(LoadRequest(name: "k", bytes: image.bytes, memory: try guestMemory()))
    #expect(error?.code == .image)
    #expect(error?.description == image.line)
  }

  @Test func `overlapping segments are refused`() throws {
    var elf = ELFBuilder.elf32
    elf.segments.append(.init(address: 0x10_1000, bytes: [1]))
    let error = Self.error(LoadRequest(name: "k", bytes: elf.bytes, memory: try guestMemory()))
    #expect(
      error?.description
        == "k: program header 1: p_paddr is 0x101000; expected it clear of program header 0, which ends at 0x102000")
  }

  private static let program = [0x4D, 0x5A] + [UInt8](repeating: 0, count: 58) + [64, 0, 0, 0] + Array("PE".utf8) + [0, 0]
  static let foreign: [BrokenImage] = [
    .init([0x1F, 0x8B, 8, 0], "k: the file is a gzip file; expected a guest's image (unpack it: gunzip FILE)"),
    .init([0x28, 0xB5, 0x2F, 0xFD], "k: the file is a zstd file; expected a guest's image (unpack it: unzstd FILE)"),
    .init(
      [0x51, 0x46, 0x49, 0xFB, 0, 0, 0, 3],
      "k: the file is a QCOW image; expected a guest's image (qemu-img convert -f qcow2 -O raw FILE FILE.raw makes a raw image)"),
    .init(
      program + [UInt8](repeating: 0, count: 600),
      "k: the file is an EFI or Windows program; expected a guest's image (there is no EFI here: give a kernel's bzImage or ELF file, or a disk with a boot sector)"
    ),
  ]

  @Test(arguments: foreign)
  func `a file of another kind is refused by name`(_ image: BrokenImage) throws {
    #expect(Self.error(LoadRequest(name: "k", bytes: image.bytes, memory: try guestMemory()))?.description == image.line)
  }

  static let brokenMultiboot: [BrokenImage] = [
    .init(
      multibootHeader(flags: 0, checksumOff: 1), "k: Multiboot header at 0x0: checksum is 0xe4524fff; expected 0xe4524ffe"),
    .init(
      multibootHeader(flags: 0x10),
      "k: Multiboot header at 0x0: flags is 0x10; expected no required bits but 0, 1 and 2"),
    .init(
      multibootHeader(flags: 3),
      "k: Multiboot header at 0x0: flags is 0x3; expected bit 16 (address fields) in a file that is not ELF"),
    .init(
      multibootHeader(flags: 0x1_0000, addresses: [1, 2]),
      "k: Multiboot header at 0x0: the end of its address fields is 0x20 but the file has 0x14 bytes; expected it inside the file"
    ),
    .init(
      multibootFlat(load: 0x1F_0000),
      "k: Multiboot header at 0x10: load_addr is 0x1f0000; expected header_addr, 0x200010, less at most the header's place in the file"
    ),
    .init(
      multibootFlat(loadEnd: 0x10_0000),
      "k: Multiboot header at 0x10: load_end_addr is 0x100000; expected 0 or at least load_addr, 0x200000"),
    .init(
      multibootFlat(loadEnd: 0x20_1000),
      "k: Multiboot header at 0x10: the place of load_end_addr is 0x1000 but the file has 0x33 bytes; expected it inside the file"
    ),
    .init(
      multibootFlat(bssEnd: 0x20_0010), "k: Multiboot header at 0x10: bss_end_addr is 0x200010; expected 0 or at least 0x200033"),
    .init(
      multibootFlat(entry: 0x30_0000),
      "k: Multiboot header at 0x10: entry_addr is 0x300000; expected 0x200000 to 0x204000, what is loaded"),
    .init(
      le(UInt64(0)) + le(UInt32(0xE852_50D6)) + le(UInt32(0)) + le(UInt32(16)) + le(0 &- UInt32(0xE852_50E6)),
      "k: the boot protocol is Multiboot 2; expected Multiboot 1, plain ELF or a boot sector"),
  ]

  @Test(arguments: brokenMultiboot)
  func `a broken Multiboot header is refused by its first wrong field`(_ image: BrokenImage) throws {
    let error = Self.error(LoadRequest(name: "k", bytes: image.bytes, memory: try guestMemory()))
    #expect(error?.code == .image)
    #expect(error?.description == image.line)
  }

  static let unrecognised: [BrokenImage] = [
    .init([], "k: the size is 0 bytes; expected an image of a guest"),
    .init(
      Array("hello".utf8),
      "k: the size is 5 bytes; expected a Multiboot or ELF header, or a boot sector of 512 bytes (a flat image needs --mode real, protected or long)"
    ),
    .init(
      [UInt8](repeating: 0, count: 4096),
      "k: the boot signature at 0x1fe is 0x0; expected 0xaa55, or an ELF or Multiboot header (a flat image needs --mode real, protected or long)"
    ),
    .init(
      bootImage(size: 1024).patched(0x202, Array("HdrS".utf8)),
      "k: setup header: version is 0x0; expected 0x202 or later, which takes a command line"),
  ]

  @Test(arguments: unrecognised)
  func `anything else is refused with what was looked for`(_ image: BrokenImage) throws {
    let error = Self.error(LoadRequest(name: "k", bytes: image.bytes, memory: try guestMemory()))
    #expect(error?.description == image.line)
  }

  @Test func `a file's name cannot break the line`() throws {
    let error = Self.error(LoadRequest(name: "a\nb\u{1B}[2J", bytes: [1], memory: try guestMemory()))
    #expect(error?.message.hasPrefix("a?b?[2J: the size") == true)
  }

  @Test func `options that an image has no use for are refused`() throws {
    let memory = try guestMemory()
    func line(_ change: (inout LoadRequest) -> Void) -> String? {
      var request = LoadRequest(name: "b", bytes: bootImage(), memory: memory)
      change(&request)
      let error = Self.error(request)
      #expect(error?.code == .usage)
      return error?.description
    }
    #expect(
      line { $0.loadAddress = 1 } == "b: --load is for flat images; expected --mode real, protected or long with it")
    #expect(
      line { $0.entry = 1 }
        == "b: a boot sector, floppy 80/2/18 starts at a fixed address; expected no --load and no --entry")
    #expect(
      line { $0.commandLine = "x" }
        == "b: --append and --initrd are for Linux and Multiboot kernels; expected none with a boot sector, floppy 80/2/18")
    #expect(
      line {
        $0.mode = .long
        $0.disk = Disk(MemoryFile([0]))
      } == "b: --disk is for Linux, for firmware and for guests with BIOS services; expected none with a flat image, long mode")
    #expect(
      line { $0.firmware = NamedImage(name: "f", bytes: [UInt8](repeating: 0, count: 4096)) }
        == "--firmware f starts at the reset vector; expected no other guest and no --mode")
  }

  @Test(arguments: [0, 100, 4097, (8 << 20) + 4096])
  func `firmware of a size that cannot be is refused`(size: Int) throws {
    let rom = NamedImage(name: "f", bytes: [UInt8](repeating: 0, count: size))
    let error = Self.error(LoadRequest(name: "", bytes: [], memory: try guestMemory(), firmware: rom))
    #expect(
      error?.description == "f: the size of a ROM is \(size) bytes; expected a multiple of 4 KiB up to 8 MiB")
  }

  @Test func `a flat image or module that does not fit says how much memory would do`() throws {
    let memory = try guestMemory(1 << 20)
    let flat = LoadRequest(name: "f", bytes: [1, 2], memory: memory, mode: .protected)
    #expect(
      Self.error(flat)?.description
        == "f: --load, with the size of the image, is 0x100000 to 0x100002 but the guest has 1 MiB; expected it inside RAM (--memory 2M would do)"
    )
    let module = NamedImage(name: "initrd", bytes: [UInt8](repeating: 1, count: 20 << 20))
    let kernel = LoadRequest(
      name: "k", bytes: ELFBuilder.multiboot.bytes, memory: try guestMemory(), modules: [module])
    #expect(
      Self.error(kernel)?.description
        == "initrd: the place after the kernel is 0x101000 to 0x1501000 but the guest has 16 MiB; expected it inside RAM (--memory 22M would do)"
    )
  }

  @Test func `a command line too long for low memory is refused`() throws {
    let text = String(repeating: "x", count: 700_000)
    let request = LoadRequest(
      name: "k", bytes: ELFBuilder.multiboot.bytes, memory: try guestMemory(), commandLine: text)
    #expect(
      Self.error(request)?.description
        == "k: no room for the command line (700003 bytes) between 0x2000 and 0x9f000; expected the image to leave some")
  }
}
