import Machine
import Testing
import VMCore
import X86

struct DoorbellTests {
  func ring(_ bench: Bench, _ number: UInt64, _ rbx: UInt64 = 0, _ rcx: UInt64 = 0) -> UInt64 {
    bench.vcpu.setGPR(.rax, number)
    bench.vcpu.setGPR(.rbx, rbx)
    bench.vcpu.setGPR(.rcx, rcx)
    bench.out(HypercallABI.port, number, size: 4)
    return bench.vcpu.gpr(.rax)
  }
  func longMode() throws -> Bench {
    let bench = try Bench()
    bench.vcpu.state.cr0 |= CR0.pe
    bench.vcpu.state.efer = EFER.lma | EFER.lme
    bench.vcpu.state[.cs].access = 0xA09B
    return bench
  }
  static let fault = UInt64(bitPattern: -14)
  static let noSuchCall = UInt64(bitPattern: -38)

  @Test func `probe, time and unknown numbers`() throws {
    let bench = try longMode()
    #expect(ring(bench, 0) == 1)
    bench.wait(12345)
    #expect(ring(bench, 4) == 12345)
    #expect(ring(bench, 6) == Self.noSuchCall)
    #expect(ring(bench, 0xFFFF_FFFF) == Self.noSuchCall)
    let calls = bench.drainEvents().filter { $0.kind == .hypercall }
    #expect(calls.map(\.a) == [0, 4, 6, 0xFFFF_FFFF])
    #expect(calls.map(\.b) == [1, 12345, Self.noSuchCall, Self.noSuchCall])
  }

  @Test func `console_write goes page by page`() throws {
    let bench = try longMode()
    bench.vcpu.pages = [0x7000: 0x30_0000, 0x8000: 0x10_0000]
    bench.memory.write(GPA(0x30_0FFE), Array("Hi".utf8))
    bench.memory.write(GPA(0x10_0000), Array(" there".utf8))
    #expect(ring(bench, 1, 0x7FFE, 8) == 8)
    #expect(bench.pc.takeConsoleOutput() == Array("Hi there".utf8))
  }

  /// Address, length, result, bytes that came out.
  @Test(arguments: [
    (0x9000, 5, fault, 0), (0x8FFE, 8, 2, 2), (0x8000, 0, 0, 0), (0x8000, .max, 4096, 4096),
    (.max, .max, fault, 0), (.max - 3, 8, fault, 0), (0xB000, 4, fault, 0),
  ] as [(UInt64, UInt64, UInt64, Int)])
  func `hostile pointers and lengths`(address: UInt64, length: UInt64, result: UInt64, count: Int) throws {
    let bench = try longMode()
    // 8000h is RAM; B000h leads to where no memory is.
    bench.vcpu.pages = [0x8000: 0x10_0000, 0xB000: 0xFFFF_FFFF_F000]
    #expect(ring(bench, 1, address, length) == result)
    #expect(bench.pc.takeConsoleOutput().count == count)
  }

  @Test func `console_write stops at its limit`() throws {
    let bench = try longMode()
    for page in 0..<32 as Range<UInt64> { bench.vcpu.pages[page << 12] = page << 12 }
    #expect(ring(bench, 1, 0, 0x2_0000) == 65536)
  }

  @Test func `map_query, yield and shutdown`() throws {
    let bench = try longMode()
    bench.vcpu.pages = [0xFFFF_8000_0000_0000: 0x12_3000]
    #expect(ring(bench, 5, 0xFFFF_8000_0000_0456) == 0x12_3456)
    #expect(ring(bench, 5, 0x1000) == Self.fault)
    #expect(ring(bench, 2) == 0)
    #expect(ring(bench, 3, 0) == 0)
    #expect(ring(bench, 3, 0x107) == 0)
    #expect(bench.pc.takeRequests() == [.yield, .shutdown, .exit(status: 7)])
  }

  @Test func `in 16- and 32-bit code the low halves count`() throws {
    let bench = try Bench()
    bench.vcpu.pages = [0x8000: 0x10_0000]
    #expect(ring(bench, 5, 0xDEAD_0000_0000_8123) == 0x10_0123)
    #expect(ring(bench, 5, 0x9000) == 0xFFFF_FFF2)
    #expect(ring(bench, 9) == 0xFFFF_FFDA)
  }

  @Test func `a read of the doorbell gives the version`() throws {
    #expect(try Bench().in(HypercallABI.port, size: 4) == 1)
  }

  @Test func `calls have names`() {
    #expect((0...6).map { HypercallABI.name($0) } == [
      "probe", "console_write", "yield", "shutdown", "get_time", "map_query", "hypercall_6",
    ])
    #expect(HypercallABI.argumentNames(1) == ["ptr", "len"])
  }
}

struct PCTests {
  @Test(arguments: [
    (.hlt, .hlt, .emulate), (.cpuid, .cpuid(leaf: 7, subleaf: 0), .emulate),
    (.crAccess, .cr(number: 3, access: .write, gpr: 0, value: 0), .emulate), (.rdtsc, .none, .emulate),
    (.exception, .exception(vector: 14, errorCode: 0, linear: 0), .emulate), (.budget, .budget, .resume),
    (.kicked, .kicked, .resume), (.interruptWindow, .interruptWindow, .resume),
    (.unknownInstruction, .unknownInstruction(bytes: 0, length: 3), .fault(6, errorCode: nil)),
    (.rdmsr, .msr(index: 0x1234, write: false, value: 0), .fault(13, errorCode: 0)),
    (.wrmsr, .msr(index: 0xC001_0000, write: true, value: 0), .fault(13, errorCode: 0)),
  ] as [(ExitReason, ExitQualification, VMEntry.Action)])
  func `exits that are not a device's`(
    reason: ExitReason, qualification: ExitQualification, action: VMEntry.Action
  ) throws {
    let bench = try Bench()
    #expect(bench.pc.handle(bench.vcpu.exit(reason, qualification), on: bench.vcpu) == action)
  }

  @Test func `with every MSR told to exit the engine goes on with its own`() throws {
    let bench = try Bench()
    #expect(bench.rdmsr(MSR.efer) == .emulate)
    #expect(bench.rdmsr(MSR.apicBase) == .complete(0xFEE0_0900))
  }

  /// A PC in the middle of everything.
  func busy(_ bench: Bench) {
    bench.initializePICs((0x10, 0))
    for (port, value) in [
      (0x43, 0x34), (0x40, 0x55), (0x40, 0x12), (0x61, 0x01), (0x43, 0xB6), (0x42, 0x00), (0x3FB, 0x03), (0x3FC, 0x0B),
      (0x3FA, 0xC1), (0x3F9, 0x07), (0x70, 0x0B), (0x71, 0x52), (0x64, 0xD1), (0x60, 0xDD), (0x3D4, 0x0E),
      (0x3D5, 0x02), (0xE1, 0x77), (0x80, 0x42), (0xCF9, 0x02), (0x70, 0x0C), (0x8900, 0x53),
    ] { bench.out(UInt16(port), UInt64(value)) }
    bench.pc.consoleInput(Array(1...40))
    bench.pc.keyboardInput([0x1E, 0x9E, 0x1F])
    for (offset, value) in [(0xF0, 0x1FF), (0x320, 0x2_0041), (0x3E0, 0x2), (0x380, 77777), (0x310, 0x0100_0000)] {
      bench.store(0xFEE0_0000 + UInt64(offset), UInt64(value))
    }
    bench.store(0xFEE0_0300, 0x4_4066)
    bench.store(0xFEC0_0000, 0x18)
    bench.store(0xFEC0_0010, 0x8044)
    bench.wait(1_234_567)
  }

  /// What a guest sees of a PC over some time.
  func trace(_ bench: Bench) -> [UInt64] {
    var seen: [UInt64] = []
    for _ in 0..<200 {
      for port in [0x20, 0x21, 0xA0, 0x40, 0x42, 0x61, 0x71, 0x60, 0x64, 0x3F8, 0x3FA, 0x3FD, 0xE0, 0x3D5, 0xCF9] {
        seen.append(bench.in(UInt16(port)))
      }
      for offset in [0x80, 0xA0, 0x100, 0x220, 0x390, 0x300] { seen.append(bench.load(0xFEE0_0000 + UInt64(offset))) }
      seen.append(bench.load(0xFEC0_0010))
      seen.append(bench.pc.nextDeadline ?? 0)
      while let vector = bench.takeInterrupt() { seen.append(UInt64(vector)) }
      bench.store(0xFEE0_00B0, 0)
      bench.out(0x20, 0x20)
      bench.wait(333_333)
    }
    return seen
  }

  @Test func `a snapshot holds every device and restores it exactly`() throws {
    let first = try Bench(vcpus: 2)
    busy(first)
    let snapshot = first.pc.snapshot()
    let time = first.vcpu.virtualTime
    let expected = trace(first)
    let second = try Bench(vcpus: 2)
    try second.pc.restore(snapshot)
    #expect(second.pc.snapshot() == snapshot)
    for vcpu in second.vcpus { vcpu.virtualTime = time }
    #expect(trace(second) == expected)
    // Back in time on the same machine.
    try first.pc.restore(snapshot)
    for vcpu in first.vcpus { vcpu.virtualTime = time }
    #expect(trace(first) == expected)
  }

  @Test func `what is no snapshot of this PC is refused and changes nothing`() throws {
    let bench = try Bench(vcpus: 2)
    busy(bench)
    let before = bench.pc.snapshot()
    let other = try Bench(vcpus: 1).pc.snapshot()
    for bytes in [[], [1, 2, 3], Array(before.dropLast()), before + [0], other, Array(before.reversed())] {
      #expect(throws: VMError.self) { try bench.pc.restore(bytes) }
      #expect(bench.pc.snapshot() == before)
    }
  }

  @Test func `damaged snapshots neither crash nor hang`() throws {
    let bench = try Bench(vcpus: 2)
    busy(bench)
    let good = bench.pc.snapshot()
    var random = LCG(state: 7)
    for _ in 0..<2000 {
      var bytes = good
      for _ in 0..<8 {
        let position = 8 + Int(random.next() % UInt64(bytes.count - 8))
        bytes[position] = UInt8(truncatingIfNeeded: random.next())
      }
      guard (try? bench.pc.restore(bytes)) != nil else { continue }
      bench.wait(random.next() % 1_000_000_000)
      for port in 0...0x3FF as ClosedRange<UInt16> { _ = bench.in(port) }
      for offset in 0..<64 as Range<UInt64> { _ = bench.load(0xFEE0_0000 + offset * 16) }
      _ = bench.pc.inspection
    }
  }

  @Test func `a reset is the power-on state, with time going on`() throws {
    let bench = try Bench()
    busy(bench)
    bench.pc.reset()
    let fresh = try Bench()
    fresh.wait(bench.vcpu.virtualTime)
    fresh.pc.reset()
    #expect(bench.pc.snapshot() == fresh.pc.snapshot())
    #expect(!bench.pc.interruptPending(vcpu: 0))
    #expect(bench.pc.takeRequests().isEmpty)
  }

  @Test func `timers fire in the order of time however far time jumps`() throws {
    func run(step: UInt64) throws -> [UInt32] {
      let bench = try Bench(hasLocalAPIC: false)
      bench.initializePICs()
      for (port, value) in [
        (0x43, 0x30), (0x40, 0x00), (0x40, 0x10), (0x70, 0x0A), (0x71, 0x2A), (0x70, 0x0B), (0x71, 0x42),
      ] { bench.out(UInt16(port), UInt64(value)) }
      _ = bench.drainEvents()
      while bench.vcpu.virtualTime < 40_000_000 { bench.wait(step) }
      return bench.drainEvents().filter { $0.kind == .interruptLine && $0.b == 1 }.map(\.a)
    }
    // PIT mode 0 at 3.4 ms, clock at 15.6 ms.
    #expect(try run(step: 40_000_000) == [0, 8])
    #expect(try run(step: 1000) == [0, 8])
  }

  @Test func `every device shows rows`() throws {
    let bench = try Bench(vcpus: 2)
    let names = bench.pc.inspection.map(\.device)
    #expect(names.contains("16550A COM1") && names.contains("IOAPIC") && names.contains("local APIC 1"))
    #expect(Set(names).count == names.count)
  }

  /// 100,000 accesses of every kind and width, with time passing and interrupts taken.
  @Test(arguments: [1, 2, 3, 4] as [UInt64])
  func `random accesses never crash`(seed: UInt64) throws {
    let bench = try Bench(vcpus: 2, hasLocalAPIC: seed != 4)
    let interesting: [UInt16] = [
      0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x60, 0x64, 0x92, 0x70, 0x71, 0x80, 0x190,
      0xE0, 0xE9, 0xF4, 0x3C0, 0x3D4, 0x3D5, 0x3DA, 0x3F8, 0x3F9, 0x3FA, 0x3FB, 0x3FC, 0x3FD, 0x604, 0x8900, 0xCF8,
      0xCF9, 0x4852, 0xFFFF, 0xFFFE,
    ]
    let sizes: [UInt8] = [1, 2, 4]
    var random = LCG(state: seed)
    for step in 0..<100_000 {
      let choice = random.next()
      let value = random.next() & random.next() << UInt64(choice >> 8 & 31)
      let size = sizes[Int(random.next() % 3)]
      let known = interesting[Int(random.next()) % interesting.count]
      let port = choice & 0x300 == 0 ? UInt16(truncatingIfNeeded: random.next()) : known
      let page: UInt64 = choice & 0x100 == 0 ? 0xFEE0_0000 : 0xFEC0_0000
      let address = page + random.next() % 0x1008
      let vcpu = Int(choice >> 16 & 1)
      switch choice & 15 {
      case 0...3: bench.out(port, value & (1 << (UInt64(size) * 8) - 1), size: size)
      case 4...6: _ = bench.in(port, size: size)
      case 7...8: bench.store(address & ~15, value & 0xFFFF_FFFF, on: vcpu)
      case 9: bench.store(address, value, size: size * 2, on: vcpu)
      case 10: _ = bench.load(address, size: size * 2, on: vcpu)
      case 11: _ = bench.wrmsr([0x1B, 0x6E0, 0x800 + UInt32(random.next() & 0xFF)][step % 3], value)
      case 12: _ = bench.rdmsr([0x1B, 0x6E0, 0x800 + UInt32(random.next() & 0xFF)][step % 3])
      case 13: bench.wait(random.next() & ((1 << (value & 40)) - 1))
      case 14: bench.pc.consoleInput([UInt8(truncatingIfNeeded: value)])
      default: bench.pc.keyboardInput([UInt8(truncatingIfNeeded: value)])
      }
      _ = bench.takeInterrupt(vcpu: vcpu)
      if let deadline = bench.pc.nextDeadline { #expect(deadline > bench.pc.context.now) }
      if step % 1000 == 0 { _ = (bench.pc.inspection, bench.pc.takeRequests(), bench.pc.takeConsoleOutput()) }
    }
  }
}

/// The next timer event is worked out where a timer changed, not at every exit.
struct DeadlineTests {
  @Test func `the next deadline follows every timer, and restored state`() throws {
    let bench = try Bench()
    let (before, atFirst) = (bench.pc.nextDeadline, bench.pc.snapshot())
    for (port, value) in [(0x43, 0x30), (0x40, 0x10), (0x40, 0)] as [(UInt16, UInt64)] { bench.out(port, value) }
    let pit = try #require(bench.pc.nextDeadline)
    #expect(pit < 20_000 && pit != before)
    for (register, value) in [(0xF0, 0x1FF), (0x320, 0x20), (0x380, 1000)] as [(UInt64, UInt64)] {
      bench.store(0xFEE0_0000 + register, value)
    }
    let local = try #require(bench.pc.nextDeadline)
    #expect(local < pit)
    let armed = bench.pc.snapshot()
    bench.store(0xFEE0_0380, 0)
    #expect(bench.pc.nextDeadline == pit)
    try bench.pc.restore(armed)
    #expect(bench.pc.nextDeadline == local)
    try bench.pc.restore(atFirst)
    #expect(bench.pc.nextDeadline == before)
    bench.pc.reset()
    #expect(bench.pc.nextDeadline == before)
  }
}
