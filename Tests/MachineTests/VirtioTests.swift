import Machine
import Testing
import VMCore

/// A driver: rings in guest memory and the registers, as a guest reaches them.
struct VirtioDriver {
  let bench: Bench
  let base: UInt64
  var next: UInt16 = 0
  static let descriptors: UInt64 = 0x1_0000
  static let available: UInt64 = 0x1_2000
  static let used: UInt64 = 0x1_3000
  static let size: UInt64 = 16

  init(_ bench: Bench, slot: Int) {
    self.bench = bench
    base = VirtioSlot(slot).base.value
  }

  func register(_ offset: UInt64) -> UInt64 { bench.load(base + offset) }
  func set(_ offset: UInt64, _ value: UInt64) { bench.store(base + offset, value) }

  /// Everything up to DRIVER_OK, with the one queue.
  func start(queue: UInt64 = 0) {
    set(0x70, 1)
    set(0x70, 3)
    set(0x24, 1)
    set(0x20, 1)
    set(0x70, 11)
    set(0x30, queue)
    set(0x38, Self.size)
    for (offset, address) in [(0x80, Self.descriptors), (0x90, Self.available), (0xA0, Self.used)] as [(UInt64, UInt64)] {
      set(offset, address)
      set(offset + 4, 0)
    }
    set(0x44, 1)
    set(0x70, 15)
  }

  func put(_ index: Int, _ address: UInt64, _ length: UInt32, flags: UInt16, next: UInt16 = 0) {
    let at = Self.descriptors + UInt64(index) * 16
    bench.memory.store(GPA(at), address)
    bench.memory.store(GPA(at + 8), length)
    bench.memory.store(GPA(at + 12), flags)
    bench.memory.store(GPA(at + 14), next)
  }

  /// Makes the chain at `head` available and says so.
  mutating func submit(_ head: UInt16 = 0, queue: UInt64 = 0) {
    bench.memory.store(GPA(Self.available + 4 + UInt64(next) % Self.size * 2), head)
    next &+= 1
    bench.memory.store(GPA(Self.available + 2), next)
    set(0x50, queue)
  }

  var usedIndex: UInt16 { bench.memory.load(GPA(Self.used + 2)) ?? 0 }
  func usedLength(_ entry: UInt64) -> UInt32 { bench.memory.load(GPA(Self.used + 8 + entry * 8)) ?? 0 }
  func byte(_ address: UInt64) -> UInt8 { bench.memory.load(GPA(address)) ?? 0xEE }

  /// A block request of one buffer; its status byte.
  mutating func request(_ type: UInt32, sector: UInt64, _ data: UInt64, _ length: UInt32) -> UInt8 {
    bench.memory.store(GPA(0x2_0000), type)
    bench.memory.store(GPA(0x2_0004), 0 as UInt32)
    bench.memory.store(GPA(0x2_0008), sector)
    bench.memory.store(GPA(0x2_0010), 0xEE as UInt8)
    put(0, 0x2_0000, 16, flags: 1, next: length == 0 ? 2 : 1)
    put(1, data, length, flags: type == 1 ? 1 : 3, next: 2)
    put(2, 0x2_0010, 1, flags: 2)
    submit()
    return byte(0x2_0010)
  }
}

@Suite("Virtio")
struct VirtioTests {
  private let file = MemoryFile((0..<64 * 512).map { UInt8(truncatingIfNeeded: $0 / 512) })

  private func machine(_ disk: Disk?) throws -> Bench {
    let bench = try Bench(model: .p1)
    VirtioDevices.attach(to: bench.pc, disk: disk)
    return bench
  }

  @Test func `each slot says what it is`() throws {
    let bench = try machine(Disk(file))
    for (slot, id) in [(0, 3), (1, 4), (2, 2)] as [(Int, UInt64)] {
      let driver = VirtioDriver(bench, slot: slot)
      #expect(driver.register(0) == 0x7472_6976 && driver.register(4) == 2 && driver.register(8) == id)
    }
    #expect(bench.pc.mmioName(GPA(0xFEB0_2050), write: true) == "virtio-blk QueueNotify")
  }

  @Test func `a driver reads, writes and flushes sectors, and gets an interrupt for each`() throws {
    let bench = try machine(Disk(file))
    var driver = VirtioDriver(bench, slot: 2)
    driver.start()
    #expect(driver.register(0x100) == 64 && driver.register(0x70) == 15)
    #expect(driver.request(0, sector: 5, 0x3_0000, 1024) == 0)
    #expect(driver.byte(0x3_0000) == 5 && driver.byte(0x3_03FF) == 6)
    #expect(driver.usedIndex == 1 && driver.usedLength(0) == 1025 && driver.register(0x60) == 1)
    #expect(bench.pc.router.level(18))
    driver.set(0x64, 1)
    #expect(!bench.pc.router.level(18))
    bench.memory.write(GPA(0x3_0000), [UInt8](repeating: 0xAB, count: 512))
    #expect(driver.request(1, sector: 7, 0x3_0000, 512) == 0)
    #expect(file.bytes[7 * 512] == 0xAB && file.bytes[8 * 512] == 8)
    #expect(driver.request(4, sector: 0, 0, 0) == 0 && file.log.last == "sync")
    #expect(driver.request(8, sector: 0, 0x3_0000, 20) == 0)
    #expect(driver.byte(0x3_0000) == UInt8(ascii: "r"))
  }

  @Test func `what a disk cannot do is answered by a status, not by a stop`() throws {
    let bench = try machine(Disk(file))
    var driver = VirtioDriver(bench, slot: 2)
    driver.start()
    #expect(driver.request(0, sector: 64, 0x3_0000, 512) == 1)
    #expect(driver.request(0, sector: .max, 0x3_0000, 512) == 1)
    #expect(driver.request(0, sector: 63, 0x3_0000, 1024) == 1)
    #expect(driver.request(0, sector: 0, 0x3_0000, 500) == 1)
    #expect(driver.request(77, sector: 0, 0x3_0000, 512) == 2)
    file.isBroken = true
    #expect(driver.request(0, sector: 0, 0x3_0000, 512) == 1 && driver.request(4, sector: 0, 0, 0) == 1)
    #expect(driver.register(0x70) == 15)
  }

  @Test func `a disk that is only read says so and is not written to`() throws {
    let bench = try machine(Disk(MemoryFile(file.bytes, isReadOnly: true)))
    var driver = VirtioDriver(bench, slot: 2)
    #expect(driver.register(0x10) >> 5 & 1 == 1)
    driver.start()
    #expect(driver.request(1, sector: 0, 0x3_0000, 512) == 1 && driver.request(0, sector: 3, 0x3_0000, 512) == 0)
  }

  @Test func `the entropy source gives the same numbers in every run`() throws {
    func numbers() throws -> [UInt8] {
      let bench = try machine(nil)
      var driver = VirtioDriver(bench, slot: 1)
      driver.start()
      driver.put(0, 0x3_0000, 64, flags: 2)
      driver.submit()
      #expect(driver.usedLength(0) == 64)
      return (0..<64).map { driver.byte(0x3_0000 + $0) }
    }
    let first = try numbers()
    #expect(try numbers() == first && Set(first).count > 32)
  }

  @Test func `the console says what the guest sends, and then hears what is typed`() throws {
    let bench = try machine(nil)
    var driver = VirtioDriver(bench, slot: 0)
    driver.start(queue: 1)
    bench.memory.write(GPA(0x3_0000), Array("hello".utf8))
    driver.put(0, 0x3_0000, 5, flags: 0)
    driver.submit(queue: 1)
    #expect(bench.pc.takeConsoleOutput() == Array("hello".utf8))
    bench.pc.consoleInput(Array("x".utf8))
    // No receive queue is ready: it waits.
    #expect(bench.in(0x3FD) & 1 == 0)
    bench.out(0x3F8, UInt64(UInt8(ascii: "s")))
    bench.pc.consoleInput(Array("y".utf8))
    #expect(bench.in(0x3FD) & 1 == 1)
  }

  enum Malice: CaseIterable { case loop, outsideTable, outsideMemory, device, order, noStatus, indirectInChain, tooMany, head }

  @Test(arguments: Malice.allCases)
  func `a chain that cannot be puts the device in need of a reset, and a reset heals it`(_ malice: Malice) throws {
    let bench = try machine(Disk(file))
    var driver = VirtioDriver(bench, slot: 2)
    driver.start()
    switch malice {
    case .loop:
      driver.put(0, 0x3_0000, 16, flags: 1, next: 1)
      driver.put(1, 0x3_0000, 16, flags: 1, next: 0)
    case .outsideTable: driver.put(0, 0x3_0000, 16, flags: 1, next: 999)
    case .outsideMemory: driver.put(0, 0x0400_0000 - 8, 16, flags: 0)
    case .device: driver.put(0, 0xFEB0_2000, 512, flags: 2)
    case .order:
      driver.put(0, 0x3_0000, 16, flags: 3, next: 1)
      driver.put(1, 0x3_0000, 16, flags: 0)
    case .noStatus: driver.put(0, 0x3_0000, 16, flags: 0)
    case .indirectInChain:
      driver.put(0, 0x3_0000, 16, flags: 1, next: 1)
      driver.put(1, 0x3_0000, 16, flags: 4)
    case .tooMany: driver.next = 500
    case .head: break
    }
    driver.submit(malice == .head ? 16 : 0)
    #expect(driver.register(0x70) & 64 != 0)
    #expect(driver.register(0x60) & 2 != 0)
    #expect(bench.pc.inspection.contains { $0.rows.contains { $0.name == "needs reset" } })
    driver.set(0x70, 0)
    driver.next = 0
    bench.memory.store(GPA(VirtioDriver.available), 0 as UInt64)
    driver.start()
    #expect(driver.request(0, sector: 5, 0x3_0000, 512) == 0)
  }

  @Test func `a request in an indirect table is one request`() throws {
    let bench = try machine(Disk(file))
    var driver = VirtioDriver(bench, slot: 2)
    driver.start()
    bench.memory.store(GPA(0x2_0000), 0 as UInt64)
    bench.memory.store(GPA(0x2_0008), 9 as UInt64)
    driver.put(8, 0x2_0000, 16, flags: 1, next: 1)
    driver.put(9, 0x3_0000, 512, flags: 3, next: 2)
    driver.put(10, 0x2_0010, 1, flags: 2)
    driver.put(0, VirtioDriver.descriptors + 8 * 16, 48, flags: 4)
    driver.submit()
    #expect(driver.byte(0x2_0010) == 0 && driver.byte(0x3_0000) == 9)
  }

  @Test func `many large requests of one notification are served in turns, a little time apart`() throws {
    let bench = try machine(Disk(MemoryFile([UInt8](repeating: 7, count: 4 << 20))))
    var driver = VirtioDriver(bench, slot: 2)
    driver.start()
    bench.memory.store(GPA(0x2_0000), 0 as UInt64)
    bench.memory.store(GPA(0x2_0008), 0 as UInt64)
    driver.put(0, 0x2_0000, 16, flags: 1, next: 1)
    driver.put(1, 0x10_0000, 4 << 20, flags: 3, next: 2)
    driver.put(2, 0x2_0010, 1, flags: 2)
    for entry in 0..<7 as Range<UInt64> { bench.memory.store(GPA(VirtioDriver.available + 4 + entry * 2), 0 as UInt16) }
    driver.next = 6
    driver.submit()
    #expect(driver.usedIndex == 2 && driver.byte(0x10_0000) == 7)
    let saved = bench.pc.snapshot()
    var turns = 1
    while let deadline = bench.pc.nextDeadline, turns < 10 {
      bench.pc.advance(to: deadline)
      turns += 1
    }
    #expect(driver.usedIndex == 7 && turns == 4)
    try bench.pc.restore(saved)
    #expect(bench.pc.nextDeadline != nil)
    // A reset forgets what waited.
    driver.set(0x70, 0)
    #expect(bench.pc.nextDeadline == nil)
  }

  @Test func `no request is larger than the disk says`() throws {
    let bench = try machine(Disk(MemoryFile([UInt8](repeating: 7, count: 16 << 20))))
    var driver = VirtioDriver(bench, slot: 2)
    #expect(driver.register(0x108) == 64 << 10 && driver.register(0x10C) == 126 && driver.register(0x10) >> 1 & 1 == 1)
    driver.start()
    #expect(driver.request(0, sector: 0, 0x10_0000, 126 << 16) == 0)
    #expect(driver.request(0, sector: 0, 0x10_0000, 126 << 16 + 512) == 1)
  }

  @Test func `devices are saved and restored with their rings`() throws {
    let bench = try machine(Disk(file))
    var driver = VirtioDriver(bench, slot: 2)
    driver.start()
    #expect(driver.request(0, sector: 1, 0x3_0000, 512) == 0)
    let saved = bench.pc.snapshot()
    driver.set(0x70, 0)
    try bench.pc.restore(saved)
    #expect(driver.request(0, sector: 2, 0x3_0000, 512) == 0 && driver.usedIndex == 2)
  }

  @Test(arguments: 0..<8 as Range<UInt64>)
  func `a driver that writes anything anywhere breaks nothing`(seed: UInt64) throws {
    let bench = try machine(Disk(file))
    var random = LCG(state: seed)
    for _ in 0..<2500 {
      let slot = Int(random.next() % 3)
      let driver = VirtioDriver(bench, slot: slot)
      switch random.next() % 6 {
      case 0: driver.start(queue: random.next() % 2)
      case 1: driver.set(random.next() % 0x140, random.next())
      case 2:
        let address = [0x3_0000, 0x1_0000, 0x03FF_FFFF, 0xFEB0_0000, random.next()][Int(random.next() % 5)] as UInt64
        driver.put(
          Int(random.next() % 16), address, UInt32(truncatingIfNeeded: random.next() % 3 == 0 ? random.next() : random.next() % 2048),
          flags: UInt16(random.next() % 8), next: UInt16(random.next() % 18))
      case 3:
        let entry = random.next() % 16
        bench.memory.store(GPA(VirtioDriver.available + 4 + entry * 2), UInt16(random.next() % 17))
        bench.memory.store(GPA(VirtioDriver.available + 2), UInt16(random.next() % 20))
      case 4: driver.set(0x50, random.next() % 3)
      default: _ = bench.load(driver.base + random.next() % 0x1000, size: [1, 2, 4, 8][Int(random.next() % 4)])
      }
    }
    let bytes = file.bytes
    #expect(bytes.count == 64 * 512)
  }
}
