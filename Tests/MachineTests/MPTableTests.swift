import Machine
import Testing
import VMCore

/// What a kernel finds of the machine without ACPI.
@Suite("The table of processors, and two ATA disks")
struct MPTableTests {
  private func load(_ bytes: [UInt8], vcpus: Int) throws -> GuestMemory {
    let memory = try GuestMemory(ramSize: 64 << 20)
    var request = LoadRequest(name: "k", bytes: bytes, memory: memory)
    request.vcpuCount = vcpus
    _ = try ImageLoader.load(request)
    return memory
  }
  private func bytes(_ memory: GuestMemory, _ at: UInt64, _ count: Int) -> [UInt8] {
    (0..<UInt64(count)).map { memory.load(GPA(at + $0), as: UInt8.self) ?? 0xFF }
  }

  /// A kernel in an ELF file has it in RAM, a boot sector in its BIOS's ROM.
  @Test(arguments: [false, true]) func `it names processors, IOAPIC and lines, and its sums are right`(isBootSector: Bool) throws {
    let image = isBootSector ? [UInt8](repeating: 0x90, count: 510) + [0x55, 0xAA] : ELFBuilder.elf32.bytes
    let memory = try load(image, vcpus: 3)
    let pointer = bytes(memory, 0xF_0000, 16)
    #expect(Array(pointer.prefix(4)) == Array("_MP_".utf8) && pointer.reduce(0, &+) == 0)
    let at = UInt64(try #require(memory.load(GPA(0xF_0004), as: UInt32.self)))
    let length = Int(try #require(memory.load(GPA(at + 4), as: UInt16.self)))
    let table = bytes(memory, at, length)
    #expect(Array(table.prefix(4)) == Array("PCMP".utf8) && table.reduce(0, &+) == 0)
    // Entries of 20 bytes for processors, of 8 for all else.
    var (place, kinds) = (44, [Int](repeating: 0, count: 5))
    while place < length {
      kinds[Int(table[place])] += 1
      place += table[place] == 0 ? 20 : 8
    }
    #expect(kinds == [3, 1, 1, 15, 2] && place == length)
    #expect(Int(table[34]) == kinds.reduce(0, +))
    #expect(table[44 + 3] == 3 && table[64 + 3] == 1 && table[64 + 1] == 1)
  }

  @Test func `the data area has the size of conventional memory`() throws {
    let memory = try load(ELFBuilder.elf32.bytes, vcpus: 1)
    #expect(memory.load(GPA(0x413), as: UInt16.self) == 639 && memory.load(GPA(0x40E), as: UInt16.self) == 0x9FC0)
  }

  /// A boot sector on a hard disk, and `--disk` beside it: both on the ATA channel, by their own drivers.
  @Test func `the boot disk and the other are devices 0 and 1`() throws {
    let bench = try Bench()
    var image = [UInt8](repeating: 0x11, count: 20 << 20)
    image[510] = 0x55
    image[511] = 0xAA
    var request = LoadRequest(
      name: "disk", bytes: image, memory: bench.memory, disk: Disk(MemoryFile([UInt8](repeating: 0x22, count: 4096))))
    request.vcpuCount = 1
    try ImageLoader.load(request).attach(to: bench.pc)
    for (device, byte) in [(0xE0, 0x1111), (0xF0, 0x2222)] as [(UInt64, UInt64)] {
      bench.out(0x1F6, device)
      for (port, value) in [(0x1F2, 1), (0x1F3, 2), (0x1F4, 0), (0x1F5, 0), (0x1F7, 0x20)] { bench.out(UInt16(port), UInt64(value)) }
      #expect(bench.in(0x1F7) == 0x58)
      #expect(bench.in(0x1F0, size: 2) == byte)
      for _ in 1..<256 { _ = bench.in(0x1F0, size: 2) }
      #expect(bench.in(0x1F7) == 0x50)
    }
  }
}
