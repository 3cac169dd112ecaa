import Machine
import Testing
import VMCore
import X86

struct LocalAPICTests {
  static let base: UInt64 = 0xFEE0_0000

  /// APICs switched on by software.
  func bench(vcpus: Int = 1) throws -> Bench {
    let bench = try Bench(vcpus: vcpus)
    for index in 0..<vcpus { bench.store(Self.base + 0xF0, 0x1FF, on: index) }
    return bench
  }
  func eoi(_ bench: Bench) { bench.store(Self.base + 0xB0, 0) }
  func selfIPI(_ bench: Bench, _ vector: UInt64) { bench.store(Self.base + 0x300, 0x4_4000 | vector) }

  @Test(arguments: [
    (0x20, 0), (0x30, 0x5_0014), (0x80, 0), (0xD0, 0), (0xE0, 0xFFFF_FFFF), (0xF0, 0xFF), (0x320, 0x1_0000),
    (0x350, 0x700), (0x360, 0x1_0000), (0x380, 0), (0x100, 0),
  ] as [(UInt64, UInt64)])
  func `registers after power-on`(offset: UInt64, value: UInt64) throws {
    #expect(try Bench().load(Self.base + offset) == value)
  }

  @Test func `the PIC passes through at power-on`() throws {
    let bench = try Bench()
    bench.initializePICs()
    bench.line(4, true)
    #expect(bench.takeInterrupt() == 0x24)
    bench.out(0x20, 0x20)
    bench.line(4, false)
    bench.store(Self.base + 0xF0, 0x1FF)
    bench.store(Self.base + 0x350, 0x1_0700)
    bench.line(4, true)
    #expect(bench.takeInterrupt() == nil)
    bench.store(Self.base + 0x350, 0x700)
    #expect(bench.takeInterrupt() == 0x24)
  }

  @Test func `priorities nest and EOI ends the highest`() throws {
    let bench = try bench()
    selfIPI(bench, 0x45)
    #expect(bench.takeInterrupt() == 0x45)
    #expect(bench.load(Self.base + 0xA0) == 0x40)
    selfIPI(bench, 0x4F)
    #expect(bench.takeInterrupt() == nil, "same class")
    selfIPI(bench, 0x81)
    #expect(bench.takeInterrupt() == 0x81)
    #expect(bench.load(Self.base + 0x120) == 0x20)
    #expect(bench.load(Self.base + 0x140) == 0x02)
    #expect(bench.load(Self.base + 0x220) == 0x8000)
    _ = bench.drainEvents()
    eoi(bench)
    #expect(bench.drainEvents().filter { $0.kind == .eoi }.map(\.a) == [0x81])
    eoi(bench)
    #expect(bench.takeInterrupt() == 0x4F)
  }

  @Test func `the task priority holds lower classes off, also by CR8`() throws {
    let bench = try bench()
    let write = ExitQualification.cr(number: 8, access: .write, gpr: 0, value: 4)
    #expect(bench.pc.handle(bench.vcpu.exit(.crAccess, write), on: bench.vcpu) == .emulate)
    #expect(bench.load(Self.base + 0x80) == 0x40)
    selfIPI(bench, 0x4F)
    #expect(bench.takeInterrupt() == nil)
    bench.store(Self.base + 0x80, 0x30)
    let read = ExitQualification.cr(number: 8, access: .read, gpr: 0, value: 0)
    #expect(bench.pc.handle(bench.vcpu.exit(.crAccess, read), on: bench.vcpu) == .complete(3))
    #expect(bench.takeInterrupt() == 0x4F)
    let wrong = ExitQualification.cr(number: 8, access: .write, gpr: 0, value: 16)
    #expect(bench.pc.handle(bench.vcpu.exit(.crAccess, wrong), on: bench.vcpu) == .fault(13, errorCode: 0))
  }

  @Test(arguments: [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)] as [(UInt64, UInt64)])
  func `one-shot timer by divisor`(code: UInt64, divisor: UInt64) throws {
    let bench = try bench()
    bench.store(Self.base + 0x3E0, code)
    bench.store(Self.base + 0x320, 0x31)
    bench.store(Self.base + 0x380, 1000)
    #expect(bench.pc.nextDeadline == 1000 * divisor)
    bench.wait(600 * divisor)
    #expect(bench.load(Self.base + 0x390) == 400)
    bench.wait(400 * divisor)
    #expect(bench.takeInterrupt() == 0x31)
    #expect(bench.load(Self.base + 0x390) == 0)
    #expect(bench.pc.nextDeadline == nil)
  }

  @Test func `periodic timer`() throws {
    let bench = try bench()
    bench.store(Self.base + 0x3E0, 11)
    bench.store(Self.base + 0x320, 0x2_0031)
    bench.store(Self.base + 0x380, 10_000)
    for tick in 1...5 as ClosedRange<UInt64> {
      #expect(bench.pc.nextDeadline == tick * 10_000)
      bench.wait(10_000)
      #expect(bench.takeInterrupt() == 0x31)
      eoi(bench)
    }
    bench.store(Self.base + 0x320, 0x3_0031)
    #expect(bench.pc.nextDeadline == nil, "masked")
    bench.wait(1 << 60)
    bench.store(Self.base + 0x320, 0x2_0031)
    bench.store(Self.base + 0x380, 1)
    #expect(bench.pc.nextDeadline == bench.vcpu.virtualTime + 1000, "never faster than 1 us")
  }

  @Test func `TSC-deadline timer`() throws {
    let bench = try bench()
    #expect(bench.wrmsr(MSR.tscDeadline, 5000) == .complete(0))
    #expect(bench.rdmsr(MSR.tscDeadline) == .complete(0), "not in this mode")
    bench.store(Self.base + 0x320, 0x4_0040)
    bench.vcpu.state.tscOffset = 1000
    #expect(bench.wrmsr(MSR.tscDeadline, 5000) == .complete(0))
    #expect(bench.rdmsr(MSR.tscDeadline) == .complete(5000))
    #expect(bench.pc.nextDeadline == 4000)
    bench.wait(4000)
    #expect(bench.takeInterrupt() == 0x40)
    #expect(bench.rdmsr(MSR.tscDeadline) == .complete(0))
    eoi(bench)
    #expect(bench.wrmsr(MSR.tscDeadline, 10) == .complete(0))
    #expect(bench.takeInterrupt() == 0x40, "a deadline in the past")
    #expect(bench.wrmsr(MSR.tscDeadline, .max) == .complete(0))
    #expect(bench.pc.nextDeadline == nil, "beyond the end of time")
  }

  @Test func `IA32_APIC_BASE switches off and on again`() throws {
    let bench = try bench()
    #expect(bench.rdmsr(MSR.apicBase) == .complete(0xFEE0_0900))
    #expect(bench.wrmsr(MSR.apicBase, 0xFEE0_0100) == .complete(0))
    #expect(bench.load(Self.base + 0x30) == 0xFFFF_FFFF)
    #expect(cpuidEDX(bench) & 1 << 9 == 0)
    #expect(bench.wrmsr(MSR.apicBase, 0xFEE0_0900) == .complete(0))
    #expect(bench.load(Self.base + 0x30) == 0x5_0014)
    #expect(bench.load(Self.base + 0xF0) == 0xFF)
    #expect(cpuidEDX(bench) & 1 << 9 != 0)
    #expect(bench.wrmsr(MSR.apicBase, 0x1000_0900) == .complete(0))
    #expect(bench.load(0x1000_0030) == 0x5_0014)
    #expect(bench.load(Self.base + 0x30) == 0xFFFF_FFFF)
  }

  func cpuidEDX(_ bench: Bench) -> UInt64 {
    _ = bench.pc.handle(bench.vcpu.exit(.cpuid, .cpuid(leaf: 1, subleaf: 0)), on: bench.vcpu)
    return bench.vcpu.gpr(.rdx)
  }

  /// From, to, allowed (SDM 3A figure 11-27).
  @Test(arguments: [
    (0x900, 0xD00, true), (0xD00, 0x900, false), (0xD00, 0x100, true), (0x100, 0xD00, false), (0x900, 0x500, false),
    (0x100, 0x500, false), (0xD00, 0x500, false), (0xD00, 0xD00, true), (0x900, 0xB00, false),
    (0x900, 0x100_0000_0000_0900, false),
  ] as [(UInt64, UInt64, Bool)])
  func `mode changes`(from: UInt64, to: UInt64, allowed: Bool) throws {
    let bench = try Bench()
    _ = bench.wrmsr(MSR.apicBase, 0xFEE0_0000 | from)
    let expected = allowed ? VMEntry.Action.complete(0) : .fault(13, errorCode: 0)
    #expect(bench.wrmsr(MSR.apicBase, 0xFEE0_0000 | to) == expected)
  }

  @Test func `x2APIC registers by MSR`() throws {
    let bench = try bench(vcpus: 3)
    #expect(bench.rdmsr(0x802) == .fault(13, errorCode: 0), "not in x2APIC mode")
    #expect(bench.wrmsr(MSR.apicBase, 0xFEE0_0D00) == .complete(0))
    #expect(bench.load(Self.base + 0x20) == 0xFFFF_FFFF)
    #expect(bench.rdmsr(0x802) == .complete(0))
    #expect(bench.rdmsr(0x803) == .complete(0x5_0014))
    #expect(bench.rdmsr(0x80D) == .complete(1))
    #expect(bench.wrmsr(0x83F, 0x99) == .complete(0))
    #expect(bench.takeInterrupt() == 0x99)
    #expect(bench.wrmsr(0x80B, 0) == .complete(0))
    #expect(bench.wrmsr(0x830, 2 << 32 | 0x4055) == .complete(0))
    #expect(bench.rdmsr(0x830) == .complete(2 << 32 | 0x4055))
    #expect(bench.takeInterrupt(vcpu: 2) == 0x55)
  }

  @Test(arguments: [
    (0x80B, 1), (0x802, 0), (0x80E, 0), (0x831, 0), (0x808, 0x100), (0x80F, 0x1_0000), (0x832, 1 << 20),
    (0x838, 1 << 32), (0x828, 1), (0x810, 0), (0x8FF, 0),
  ] as [(UInt32, UInt64)])
  func `x2APIC faults on what is reserved`(index: UInt32, value: UInt64) throws {
    let bench = try Bench()
    _ = bench.wrmsr(MSR.apicBase, 0xFEE0_0D00)
    #expect(bench.wrmsr(index, value) == .fault(13, errorCode: 0))
  }

  @Test func `INIT, SIPI and NMI go out as requests`() throws {
    let bench = try bench(vcpus: 2)
    bench.store(Self.base + 0x310, 1 << 24)
    bench.store(Self.base + 0x300, 0x4500)
    bench.store(Self.base + 0x300, 0x8500)
    bench.store(Self.base + 0x300, 0x4608)
    bench.store(Self.base + 0x300, 0x4400)
    #expect(bench.pc.takeRequests() == [.initialize(vcpu: 1), .startup(vcpu: 1, vector: 8), .nmi(vcpu: 1)])
    #expect(bench.load(Self.base + 0xF0, on: 1) == 0xFF, "INIT resets the APIC")
    bench.store(Self.base + 0x300, 0xC_4500)
    #expect(bench.pc.takeRequests() == [.initialize(vcpu: 1)])
  }

  @Test func `a vCPU that leaves for an INIT signal that had waited is to be initialized`() throws {
    let bench = try bench(vcpus: 2)
    let exit = VMExit(
      vcpu: 0, reason: .initSignal, qualification: .none, rip: 0, instructionLength: 3, instructionCount: 0)
    #expect(bench.pc.handle(exit, on: bench.vcpu) == .resume)
    #expect(bench.pc.takeRequests() == [.initialize(vcpu: 0)])
  }

  /// ICR high, ICR low, who gets it.
  @Test(arguments: [
    (0x0100_0000, 0x4050, [1]), (0xFF00_0000, 0x4050, [0, 1, 2, 3]), (0, 0x4_4050, [0]), (0, 0x8_4050, [0, 1, 2, 3]),
    (0, 0xC_4050, [1, 2, 3]), (0x0500_0000, 0x4850, [0, 2]), (0x0C00_0000, 0x4950, [2]), (0x0900_0000, 0x4050, []),
  ] as [(UInt64, UInt64, [Int])])
  func `IPI destinations`(high: UInt64, low: UInt64, targets: [Int]) throws {
    let bench = try bench(vcpus: 4)
    for index in 0..<4 { bench.store(Self.base + 0xD0, 1 << UInt64(24 + index), on: index) }
    bench.store(Self.base + 0x310, high)
    bench.store(Self.base + 0x300, low)
    #expect((0..<4).filter { bench.pc.interruptPending(vcpu: $0) } == targets)
  }

  @Test func `cluster destinations`() throws {
    let bench = try bench(vcpus: 4)
    for index in 0..<4 {
      bench.store(Self.base + 0xE0, 0x0FFF_FFFF, on: index)
      bench.store(Self.base + 0xD0, UInt64(index / 2) << 28 | 1 << UInt64(24 + index % 2), on: index)
    }
    bench.store(Self.base + 0x310, 0x1200_0000)
    bench.store(Self.base + 0x300, 0x4850)
    #expect((0..<4).filter { bench.pc.interruptPending(vcpu: $0) } == [3])
  }

  @Test func `illegal vectors and registers show in ESR`() throws {
    let bench = try bench()
    bench.store(Self.base + 0x370, 0xFE)
    selfIPI(bench, 0x05)
    bench.store(Self.base + 0x280, 0)
    #expect(bench.load(Self.base + 0x280) == 0x20)
    #expect(bench.takeInterrupt() == 0xFE)
    _ = bench.load(Self.base + 0x3F0)
    bench.store(Self.base + 0x280, 0)
    #expect(bench.load(Self.base + 0x280) == 0x80)
  }

  @Test func `switching off by SVR masks the local interrupts`() throws {
    let bench = try bench()
    bench.store(Self.base + 0x320, 0x31)
    bench.store(Self.base + 0xF0, 0xFF)
    #expect(bench.load(Self.base + 0x320) == 0x1_0031)
    bench.store(Self.base + 0x320, 0x31)
    #expect(bench.load(Self.base + 0x320) == 0x1_0031)
  }

  @Test func `CPUID carries APIC id, count and features`() throws {
    let bench = try Bench(vcpus: 3)
    let second = bench.vcpus[1]
    #expect(bench.pc.handle(second.exit(.cpuid, .cpuid(leaf: 1, subleaf: 0)), on: second) == .skip)
    #expect(second.gpr(.rbx) == 0x0103_0800)
    #expect(second.gpr(.rcx) == 1 << 21 | 1 << 24)
    #expect(second.gpr(.rdx) == 0x1780_FBFF)
    let leaves: [(UInt32, [UInt64])] = [(0, [0, 1, 0x100, 1]), (1, [2, 3, 0x201, 1]), (2, [0, 0, 2, 1])]
    for (subleaf, expected) in leaves {
      _ = bench.pc.handle(second.exit(.cpuid, .cpuid(leaf: 0x0B, subleaf: subleaf)), on: second)
      #expect([GPR.rax, .rbx, .rcx, .rdx].map(second.gpr) == expected)
    }
    #expect(bench.pc.handle(second.exit(.cpuid, .cpuid(leaf: 0, subleaf: 0)), on: second) == .emulate)
  }

  @Test func `without APICs there are none`() throws {
    let bench = try Bench(hasLocalAPIC: false)
    #expect(bench.load(Self.base + 0x30) == 0xFFFF_FFFF)
    #expect(bench.rdmsr(MSR.apicBase) == .fault(13, errorCode: 0))
    #expect(bench.pc.handle(bench.vcpu.exit(.cpuid, .cpuid(leaf: 1, subleaf: 0)), on: bench.vcpu) == .emulate)
  }
}

/// The mode of a local APIC's timer is changed while it counts (SDM 3A 11.5.4).
struct APICTimerModeTests {
  private func bench(_ entry: UInt64, _ count: UInt64) throws -> Bench {
    let bench = try Bench()
    bench.store(0xFEE0_00F0, 0x1FF)
    bench.store(0xFEE0_03E0, 0xB)
    bench.store(0xFEE0_0320, entry)
    bench.store(0xFEE0_0380, count)
    return bench
  }
  private static let oneShot: UInt64 = 0x1_0040, periodic: UInt64 = 0x3_0040

  @Test func `a count that ran out stays at 0 in periodic mode`() throws {
    let bench = try bench(Self.oneShot, 1000)
    bench.wait(5000)
    #expect(bench.load(0xFEE0_0390) == 0)
    bench.store(0xFEE0_0320, Self.periodic)
    #expect(bench.load(0xFEE0_0390) == 0 && bench.load(0xFEE0_0380) == 1000)
    bench.wait(300)
    #expect(bench.load(0xFEE0_0390) == 0)
    bench.store(0xFEE0_0380, 1000)
    bench.wait(300)
    #expect((600...700).contains(bench.load(0xFEE0_0390)))
  }

  @Test func `a periodic count goes on to its end in one-shot mode`() throws {
    let bench = try bench(Self.periodic, 1000)
    bench.wait(3300)
    let before = bench.load(0xFEE0_0390)
    #expect((600...800).contains(before))
    bench.store(0xFEE0_0320, Self.oneShot)
    #expect(bench.load(0xFEE0_0390) == before)
    bench.wait(5700)
    #expect(bench.load(0xFEE0_0390) == 0)
  }
}

struct IOAPICTests {
  static let base: UInt64 = 0xFEC0_0000

  func read(_ bench: Bench, _ register: UInt64) -> UInt64 {
    bench.store(Self.base, register)
    return bench.load(Self.base + 0x10)
  }
  func write(_ bench: Bench, _ register: UInt64, _ value: UInt64) {
    bench.store(Self.base, register)
    bench.store(Self.base + 0x10, value)
  }
  func bench(vcpus: Int = 1) throws -> Bench {
    let bench = try Bench(vcpus: vcpus)
    for index in 0..<vcpus { bench.store(0xFEE0_00F0, 0x1FF, on: index) }
    bench.store(0xFEE0_0350, 0x1_0000)
    return bench
  }

  @Test func `identity and entries at power-on`() throws {
    let bench = try Bench()
    #expect(read(bench, 1) == 0x0017_0020)
    write(bench, 0, 0x0500_0000)
    #expect(read(bench, 0) == 0x0500_0000)
    for pin in 0..<24 as Range<UInt64> { #expect(read(bench, 0x10 + pin * 2) == 0x1_0000) }
    #expect(read(bench, 0x40) == 0)
  }

  @Test func `line 0 comes in at pin 2 and edges on masked pins are lost`() throws {
    let bench = try bench()
    write(bench, 0x14, 0x30)
    bench.line(0, false)
    bench.line(0, true)
    #expect(bench.takeInterrupt() == 0x30)
    bench.store(0xFEE0_00B0, 0)
    bench.line(4, true)
    write(bench, 0x18, 0x34)
    #expect(bench.takeInterrupt() == nil)
    bench.line(4, false)
    bench.line(4, true)
    #expect(bench.takeInterrupt() == 0x34)
  }

  @Test func `a level comes again after EOI while it is up`() throws {
    let bench = try bench()
    write(bench, 0x10 + 20, 0x8050)
    bench.line(10, true)
    #expect(bench.takeInterrupt() == 0x50)
    #expect(read(bench, 0x10 + 20) == 0xC050, "remote IRR")
    bench.store(0xFEE0_00B0, 0)
    #expect(bench.takeInterrupt() == 0x50)
    bench.line(10, false)
    bench.store(0xFEE0_00B0, 0)
    #expect(bench.takeInterrupt() == nil)
    #expect(read(bench, 0x10 + 20) == 0x8050)
  }

  @Test func `destinations and delivery modes`() throws {
    let bench = try bench(vcpus: 2)
    write(bench, 0x10 + 9 * 2 + 1, 0x0100_0000)
    write(bench, 0x10 + 9 * 2, 0x60)
    bench.line(9, true)
    #expect(bench.takeInterrupt(vcpu: 0) == nil)
    #expect(bench.takeInterrupt(vcpu: 1) == 0x60)
    write(bench, 0x10 + 11 * 2 + 1, 0x0100_0000)
    write(bench, 0x10 + 11 * 2, 0x0400)
    bench.line(11, true)
    #expect(bench.pc.takeRequests() == [.nmi(vcpu: 1)])
  }

  @Test func `pin 0 passes the PIC on`() throws {
    let bench = try bench()
    bench.initializePICs()
    bench.line(3, true)
    #expect(bench.takeInterrupt() == nil)
    write(bench, 0x10, 0x0700)
    #expect(bench.takeInterrupt() == 0x23)
  }
}
