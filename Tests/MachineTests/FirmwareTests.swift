import Machine
import Testing
import VMCore

/// A PC that starts from a ROM, with a disk of three sectors and a half.
private struct FirmwareBench {
  static let disk = (0..<3 * 512 + 256).map { UInt8(truncatingIfNeeded: $0 / 512 * 16 + $0 % 16) }
  let bench: Bench

  init(disk: [UInt8]? = Self.disk) throws {
    bench = try Bench()
    let loaded = try ImageLoader.load(request(bench.memory, disk))
    loaded.attach(to: bench.pc)
    bench.initializePICs()
  }

  func command(_ command: UInt64, block: UInt64 = 0, count: UInt64 = 1, device: UInt64 = 0xE0) {
    for (index, value) in [count, block & 0xFF, block >> 8 & 0xFF, block >> 16 & 0xFF].enumerated() {
      bench.out(UInt16(0x1F2 + index), value)
    }
    bench.out(0x1F6, device | block >> 24 & 15)
    bench.out(0x1F7, command)
  }

  func words(_ count: Int) -> [UInt16] { (0..<count).map { _ in UInt16(bench.in(0x1F0, size: 2)) } }
}

private func request(_ memory: GuestMemory, _ disk: [UInt8]?) -> LoadRequest {
  var rom = [UInt8](repeating: 0x90, count: 128 << 10)
  rom[0x1FFF0] = 0xEA
  return LoadRequest(
    name: "", bytes: [], memory: memory, firmware: NamedImage(name: "bios", bytes: rom),
    disk: disk.map { Disk(MemoryFile($0)) })
}

@Suite("Firmware: its shadow, its questions and its disk")
struct FirmwareTests {
  @Test func `the copy below 1 MiB is RAM and the ROM at 4 GiB is not`() throws {
    let bench = try FirmwareBench().bench
    for address in [0xF_FFF0, 0xFFFF_FFF0] as [UInt64] { #expect(bench.memory.load(GPA(address), as: UInt8.self) == 0xEA) }
    #expect(bench.memory.store(GPA(0xF_FFF0), 1 as UInt8))
    #expect(!bench.memory.store(GPA(0xFFFF_FFF0), 1 as UInt8))
  }

  @Test func `the configuration device names itself and the console's port`() throws {
    let bench = try FirmwareBench().bench
    func item(_ key: UInt64, _ count: Int) -> [UInt8] {
      bench.out(0x510, key, size: 2)
      return (0..<count).map { _ in UInt8(bench.in(0x511)) }
    }
    #expect(item(0, 6) == Array("QEMU".utf8) + [0, 0])
    let directory = item(0x19, 68)
    #expect(directory.prefix(12) == [0, 0, 0, 1, 0, 0, 0, 2, 0, 0x20, 0, 0])
    #expect(String(decoding: directory[12...].prefix { $0 != 0 }, as: UTF8.self) == "etc/sercon-port")
    #expect(item(0x20, 3) == [0xF8, 0x03, 0])
    #expect(item(0x7777, 2) == [0, 0])
  }

  @Test func `a PC without firmware has the configuration device too`() throws {
    let bench = try Bench(vcpus: 3)
    func item(_ key: UInt64, _ count: Int) -> [UInt64] {
      bench.out(0x510, key, size: 2)
      return (0..<count).map { _ in bench.in(0x511) }
    }
    #expect(item(5, 2) == [3, 0])
    let size = item(3, 8).reversed().reduce(UInt64(0)) { $0 << 8 | $1 }
    #expect(size == bench.memory.ramSize)
    #expect(item(0x19, 4) == [0, 0, 0, 0])
  }

  @Test func `CMOS tells of no floppy drive, for there is no controller`() throws {
    let bench = try FirmwareBench().bench
    bench.out(0x70, 0x10)
    #expect(bench.in(0x71) == 0)
  }

  @Test func `without --disk nobody answers on the channel`() throws {
    #expect(try FirmwareBench(disk: nil).bench.in(0x1F7) == 0xFF)
  }

  @Test func `IDENTIFY says what the disk is`() throws {
    let firmware = try FirmwareBench()
    firmware.command(0xEC)
    #expect(firmware.bench.in(0x1F7) == 0x58)
    let words = firmware.words(256)
    #expect(words[60] == 4 && words[61] == 0 && words[100] == 4)
    #expect(words[27] == 0x5269 && words[93] == 0x4041)
    #expect(firmware.bench.in(0x1F7) == 0x50)
  }

  /// Command, and the device register's address bits.
  @Test(arguments: [(0x20, 0xE0), (0x24, 0xE0), (0x20, 0xA0)] as [(UInt64, UInt64)])
  func `sectors are read, with an interrupt for each`(command: UInt64, device: UInt64) throws {
    let firmware = try FirmwareBench()
    let bench = firmware.bench
    // By cylinder, head and sector, sectors count from 1.
    let first: UInt64 = device & 0x40 == 0 ? 2 : 1
    if command == 0x24 { for port in 0x1F2...0x1F5 as ClosedRange<UInt16> { bench.out(port, 0) } }
    firmware.command(command, block: first, count: 2, device: device)
    for sector in 1...2 {
      #expect(bench.takeInterrupt() == 0x2E)
      #expect(bench.in(0x1F7) == 0x58)
      bench.out(0xA0, 0x20)
      bench.out(0x20, 0x20)
      let start = sector * 512
      let expected = (0..<256).map { UInt16(FirmwareBench.disk[start + 2 * $0]) | UInt16(FirmwareBench.disk[start + 2 * $0 + 1]) << 8 }
      #expect(firmware.words(256) == expected)
    }
    #expect(bench.in(0x1F7) == 0x50)
    #expect(bench.takeInterrupt() == nil)
  }

  @Test func `what is written is read back, and stays through a reset`() throws {
    let firmware = try FirmwareBench()
    let bench = firmware.bench
    firmware.command(0x30, block: 3)
    #expect(bench.in(0x1F7) == 0x58)
    for value in 0..<128 as Range<UInt64> { bench.out(0x1F0, value << 16 | 0xABCD, size: 4) }
    #expect(bench.in(0x1F7) == 0x50)
    firmware.command(0x20, block: 3)
    #expect(firmware.words(4) == [0xABCD, 0, 0xABCD, 1])
    bench.pc.reset()
    firmware.command(0xE7)
    #expect(bench.in(0x1F7) == 0x50)
    firmware.command(0x20, block: 3)
    #expect(firmware.words(1) == [0xABCD])
  }

  /// Commands that must fail: beyond the end, over the end, no such sector, and none of the disk's.
  @Test(arguments: [
    (0x20, 4, 1, 0xE0, 0x10), (0x20, 3, 2, 0xE0, 0x10), (0x24, 0xFF_FFFF, 1, 0xE0, 0x10), (0x20, 0, 1, 0xA0, 0x10),
    (0xA1, 0, 1, 0xE0, 0x04), (0xC4, 0, 1, 0xE0, 0x04),
  ] as [(UInt64, UInt64, UInt64, UInt64, UInt64)])
  func `a command that cannot be says so`(
    command: UInt64, block: UInt64, count: UInt64, device: UInt64, error: UInt64
  ) throws {
    let firmware = try FirmwareBench()
    firmware.command(command, block: block, count: count, device: device)
    #expect(firmware.bench.in(0x1F7) == 0x51)
    #expect(firmware.bench.in(0x1F1) == error)
    #expect(firmware.bench.in(0x1F0, size: 2) == 0xFFFF)
  }

  @Test func `device 1 is not there, and a software reset leaves the signature of a disk`() throws {
    let bench = try FirmwareBench().bench
    bench.out(0x1F6, 0xB0)
    #expect(bench.in(0x1F7) == 0)
    bench.out(0x3F6, 0x06)
    bench.out(0x3F6, 0x02)
    #expect([0x1F1, 0x1F2, 0x1F3, 0x1F4, 0x1F5, 0x1F7].map { bench.in($0) } == [1, 1, 1, 0, 0, 0x50])
  }

  @Test func `any registers at all, any data: it answers and keeps inside the disk`() throws {
    let firmware = try FirmwareBench()
    var random = LoaderRandom(seed: 7)
    for _ in 0..<20_000 {
      let port = UInt16(random.below(9))
      let place: UInt16 = port == 8 ? 0x3F6 : 0x1F0 + port
      let size: UInt8 = port == 0 ? [1, 2, 4][random.below(3)] : 1
      let value = UInt64(random.below(1 << 32)) & PortBus.ones(size)
      if random.below(3) == 0 { _ = firmware.bench.in(place, size: size) } else { firmware.bench.out(place, value, size: size) }
    }
    let snapshot = firmware.bench.pc.snapshot()
    try firmware.bench.pc.restore(snapshot)
    #expect(firmware.bench.pc.snapshot() == snapshot)
  }
}

@Suite("Loaders: started as Linux, and none")
struct BootProtocolTests {
  /// A bzImage's header of this version before `code`, with no payload.
  private func image(version: UInt16, xloadflags: UInt16, code: [UInt8]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 0x600)
    func set(_ offset: Int, _ part: [UInt8]) { bytes.replaceSubrange(offset..<offset + part.count, with: part) }
    set(0x1F1, [2])
    set(0x1FE, [0x55, 0xAA, 0xEB, 0x66])
    set(0x202, Array("HdrS".utf8) + le(version))
    set(0x211, [1])
    set(0x22C, le(0xFFFF_FFFF as UInt32))
    set(0x236, le(xloadflags))
    set(0x238, le(255 as UInt32))
    set(0x258, le(0x10_0000 as UInt64) + le(0x2000 as UInt32))
    return bytes + code
  }

  @Test func `with a 64-bit entry it starts there, on a PC, told only what --append says`() throws {
    let memory = try GuestMemory(ramSize: 16 << 20)
    let bytes = image(version: 0x020C, xloadflags: 1, code: [UInt8](repeating: 0xF4, count: 0x400))
    let guest = try ImageLoader.load(LoadRequest(name: "m", bytes: bytes, memory: memory, commandLine: "nosmp"))
    #expect(guest.kind == .bootProtocol && guest.platform == .pc && guest.bios == nil)
    #expect(guest.entry == 0x10_0200)
    let line = memory.load(GPA(guest.state[.rsi] + 0x228), as: UInt32.self) ?? 0
    #expect(memory.readBytes(GPA(UInt64(line)), count: 6).map { $0 ?? 1 } == Array("nosmp".utf8) + [0])
    #expect(guest.description.hasPrefix("m: bzImage without a kernel inside (boot protocol 2.0c), 64-bit entry 0x100200"))
  }

  @Test func `without one it starts in real mode, with a BIOS under it`() throws {
    let memory = try GuestMemory(ramSize: 16 << 20)
    let bytes = image(version: 0x0207, xloadflags: 0, code: [0xF4, 0xEB])
    let guest = try ImageLoader.load(LoadRequest(name: "m", bytes: bytes, memory: memory, commandLine: "a b"))
    #expect(guest.bios != nil && guest.entry == 0x9_0200)
    #expect(guest.state[.cs].selector == 0x9020 && guest.state[.ds].selector == 0x9000)
    #expect(memory.load(GPA(0x10_0000), as: UInt16.self) == 0xEBF4)
    let line = memory.load(GPA(0x9_0228), as: UInt32.self) ?? 0
    #expect(memory.readBytes(GPA(UInt64(line)), count: 4).map { $0 ?? 1 } == Array("a b".utf8) + [0])
  }

  @Test func `GRUB's core image, a Multiboot program that is no ELF file, finds a BIOS`() throws {
    let memory = try GuestMemory(ramSize: 16 << 20)
    let flags: UInt32 = 0x1_0000
    var header = le(0x1BAD_B002 as UInt32) + le(flags) + le(0 &- 0x1BAD_B002 &- flags)
    header += le(0x10_0000 as UInt32) + le(0x10_0000 as UInt32) + le(0 as UInt32) + le(0 as UInt32) + le(0x10_0020 as UInt32)
    let guest = try ImageLoader.load(LoadRequest(name: "m", bytes: header + [0xF4, 0xF4, 0xF4, 0xF4], memory: memory))
    #expect(guest.kind == .multiboot && guest.bios != nil)
    // On a disk, it is the boot sector that starts.
    var disk = [UInt8](repeating: 0, count: 1024)
    disk.replaceSubrange(510..<512, with: [0x55, 0xAA])
    let booted = try ImageLoader.load(LoadRequest(name: "m", bytes: disk + header + [0xF4, 0xF4, 0xF4, 0xF4], memory: try GuestMemory(ramSize: 16 << 20)))
    #expect(booted.kind == .bootSector)
  }
}
