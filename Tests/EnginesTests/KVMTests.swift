import Engines
import Foundation
import Synchronization
import Testing
import VMCore
import X86

/// What the KVM engine does beyond what every engine does.
@Suite("KVM", .serialized, .needsKVM) struct KVMTests {
  // MARK: the host

  @Test("a host with VT-x or AMD-V has every trait")
  func hardware() throws {
    let host = try #require(try? KVMHost.shared.get())
    guard host.hasProcessorExtensions else {
      try Test.cancel("not applicable: no VT-x or AMD-V with kvm_intel or kvm_amd")
    }
    #expect(KVMHere.traits == .all, "missing: \(KVMTraits.allCases.filter { !KVMHere.traits.contains($0) }.map(\.name))")
  }

  @Test func `the probe takes less than 300 ms`() { #expect(KVMFindings.shared.duration < 300_000_000) }

  @Test("every trait has a name and a sentence for having and for lacking it", arguments: KVMTraits.allCases)
  func words(trait: KVMTraits) {
    #expect(trait.name != "several" && trait.explanation(true) != "" && trait.explanation(true) != trait.explanation(false))
  }

  @Test func `auto takes KVM only where a processor's virtualization is behind it`() throws {
    let choice = EngineRegistry.automatic
    #expect(choice.name == (KVMHere.traits.showHardware ? "kvm" : "rewriter"))
    if choice.name == "rewriter" { #expect(choice.why == "embedded, rewriting: /dev/kvm here is a software KVM") }
  }

  // MARK: what KVM cannot execute

  struct Handed: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var code: [UInt8]
    var rax: UInt64
  }
  @Test(
    "an instruction KVM's emulator lacks is executed all the same",
    arguments: [
      Handed(testDescription: "BSWAP", code: [0x0F, 0xC8], rax: 0x0000_00F0),
      Handed(testDescription: "MOVD and back", code: [0x66, 0x0F, 0x6E, 0xC0, 0x66, 0x0F, 0x7E, 0xC0], rax: 0xF000_0000),
      Handed(testDescription: "FLD1, FISTP", code: [0xD9, 0xE8, 0xDB, 0x1E, 0x8B, 0x06], rax: 1),
      Handed(testDescription: "PXOR", code: [0x66, 0x0F, 0xEF, 0xC0, 0x66, 0x0F, 0x7E, 0xC0], rax: 0),
    ])
  func handed(row: Handed) throws {
    let b = try KVMHere.bench()
    b.change {
      $0[.rax] = 0xF000_0000
      $0[.rsi] = 0x5000
      $0.cr4 |= CR4.osfxsr
    }
    let exit = b.execute(row.code + [0xF4])
    #expect(exit.reason == .hlt && b.vcpu.gpr(.rax) == row.rax, "\(exit)")
  }

  @Test func `INT3 and INT n reach their handlers from ring 0`() throws {
    for (code, vector) in [([UInt8(0xCC)], UInt64(3)), ([0xCD, 0x1E], 0x1E)] {
      let b = try KVMHere.bench()
      b.haltInHandlers()
      #expect(b.execute(code).reason == .hlt)
      #expect(b.linearRIP() == SystemBench.handlers + vector * 16)
    }
  }

  @Test func `SYSCALL enters ring 0, and INT n of ring 3 goes through its gate`() throws {
    let b = try KVMHere.bench()
    b.haltInHandlers()
    b.enterLong(cpl: 3)
    b.longVector(0x1E, access: 0xEE)
    b.change {
      $0.star = UInt64(SystemBench.code0) << 32
      $0.lstar = SystemBench.handlers + 0x800
      $0.sfmask = 0
    }
    // Kernel pages are the supervisor's.
    b.setPage(.long, SystemBench.handlers, SystemBench.handlers | 3)
    b.memory.write(GPA(SystemBench.handlers + 0x800), [0x0F, 0x20, 0xC0, 0xF4])
    let call = b.execute([0x0F, 0x05])
    #expect(call.reason == .hlt && b.state.cpl == 0 && call.rip == SystemBench.handlers + 0x803, "\(call) \(b.state)")
    #expect(b.vcpu.gpr(.rcx) == SystemBench.code + 2)

    b.enterLong(cpl: 3)
    b.longVector(0x1E, access: 0xEE)
    b.setPage(.long, SystemBench.handlers, SystemBench.handlers | 3)
    let interrupt = b.execute([0xCD, 0x1E])
    #expect(interrupt.reason == .hlt && b.linearRIP() == SystemBench.handlers + 0x1E * 16, "\(interrupt)")
    #expect(b.stack(2) == [SystemBench.code + 2, UInt64(SystemBench.code3)])
  }

  @Test func `VMCALL is an undefined instruction, not an endless one`() throws {
    let b = try KVMHere.bench()
    b.haltInHandlers()
    for code in [[UInt8(0x0F), 0x01, 0xC1], [0x0F, 0x01, 0xD9]] {
      b.enterLong()
      b.memory.write(GPA(SystemBench.code), code + [0xF4])
      let exit = b.vcpu.run(.resume, limit: 200_000_000)
      #expect(exit.reason == .hlt, "\(exit)")
    }
  }

  @Test func `32-bit paging runs, or ends with a sentence that names the trait`() throws {
    let b = try SystemBench(engine: "kvm")
    b.enterPaged(.legacy, cpl: 0)
    let exit = b.execute([0xF4])
    if KVMHere.traits.contains(.paging32) {
      #expect(exit.reason == .hlt)
    } else {
      #expect(exit.reason == .unknown, "\(exit) cr0 \(String(b.state.cr0, radix: 16)) efer \(b.state.efer)")
      let sentence = try #require(b.vcpu.failureSentence)
      #expect(sentence.contains("paging32") && sentence.contains("--engine interpreter"))
    }
  }

  // MARK: breakpoints and watches

  @Test func `more breakpoints than debug registers, whose bytes nobody sees`() throws {
    let b = try KVMHere.bench()
    b.memory.write(GPA(SystemBench.code), Array(repeating: 0x90, count: 40) + [0xF4])
    b.vcpu.traps.execution = Set((0..<10).map { SystemBench.code + 4 * UInt64($0) })
    for i in UInt64(0)..<10 {
      let exit = b.goOn()
      #expect(exit.reason == .debug && exit.rip == SystemBench.code + 4 * i, "\(exit)")
      #expect(b.memory.readBytes(GPA(SystemBench.code), count: 40).allSatisfy { $0 == 0x90 })
    }
    #expect(b.goOn().reason == .hlt)
  }

  @Test func `a store to ROM changes nothing and the guest goes on`() throws {
    let b = try KVMHere.bench()
    try KVMHere.need(.readonlySlots)
    try b.memory.addROM([UInt8](repeating: 0xAA, count: 4096), at: [GPA(0xF_0000)])
    b.change { $0[.rbx] = 0xF_0000 }
    #expect(b.execute([0xC6, 0x03, 0x55, 0x8A, 0x0B, 0xF4]).reason == .hlt)
    #expect(b.vcpu.gpr(.rcx) & 0xFF == 0xAA)
  }

  @Test func `stores beside a watch on its page do not stop`() throws {
    let b = try KVMHere.bench()
    b.vcpu.traps.watches = [WatchRange(address: GVA(0x5010), length: 8, onRead: false, onWrite: true)]
    b.change { $0[.rbx] = 0x5000 }
    // mov byte [rbx], 1; mov byte [rbx+18h], 2; mov dword [rbx+0Eh], 3; hlt
    let code: [UInt8] = [0xC6, 0x03, 1, 0xC6, 0x43, 0x18, 2, 0xC7, 0x43, 0x0E, 3, 0, 0, 0, 0xF4]
    let exit = b.execute(code)
    #expect(exit.reason == .debug && exit.rip == SystemBench.code + 7, "\(exit)")
    #expect(b.get(0x5000, as: UInt8.self) == 1 && b.get(0x5018, as: UInt8.self) == 2)
    b.vcpu.traps.watches = []
    #expect(b.goOn().reason == .hlt)
  }

  // MARK: processors

  @Test func `a processor waits for its SIPI, and starts where its state says`() throws {
    let b = try KVMHere.bench(vcpus: 2)
    let second = b.engine.vcpus[1]
    #expect(second.state.activity == .waitForSIPI)
    #expect(second.run(.resume, limit: 1_000_000).reason == .budget)
    b.memory.write(GPA(0x4000), [0xE6, 0x80, 0xF4])
    var state = VCPUState()
    state[.cs] = SegmentState(selector: 0x400, base: 0x4000, access: 0x9B)
    state.rip = 0
    second.state = state
    let exit = second.run(.resume, limit: SystemBench.patience)
    #expect(exit.reason == .io && exit.vcpu == 1 && exit.rip == 0, "\(exit)")
  }

  @Test func `no signal of the host's is lost while guests are kicked`() throws {
    let b = try KVMHere.bench()
    b.memory.write(GPA(SystemBench.code), [0xEB, 0xFE])
    signal(SIGUSR2) { _ in KVMTests.seen.add(1, ordering: .relaxed) }
    defer { signal(SIGUSR2, SIG_DFL) }
    nonisolated(unsafe) let vcpu = b.vcpu
    for turn in 1...50 {
      let kicker = Thread {
        usleep(300)
        var set = sigset_t()
        sigaddset(&set, SIGUSR2)
        pthread_sigmask(SIG_UNBLOCK, &set, nil)
        raise(SIGUSR2)
        vcpu.kick()
      }
      kicker.start()
      #expect(vcpu.run(.resume, limit: 2_000_000_000).reason == .kicked)
      while !kicker.isFinished { usleep(50) }
      #expect(Self.seen.load(ordering: .relaxed) == turn)
    }
  }
  private static let seen = Atomic<Int>(0)

  @Test func `a limit is host time, and ends close to it`() throws {
    let b = try KVMHere.bench()
    b.memory.write(GPA(SystemBench.code), [0xEB, 0xFE])
    let before = b.vcpu.virtualTime
    for _ in 0..<20 { #expect(b.vcpu.run(.resume, limit: 1_000_000).reason == .budget) }
    let passed = b.vcpu.virtualTime - before
    #expect(passed >= 20_000_000 && passed < 2_000_000_000, "\(passed)")
    #expect(b.vcpu.instructionCount == 0)
  }

  // MARK: pages

  @Test func `the pages that change are known`() throws {
    let b = try KVMHere.bench()
    let engine = try #require(b.engine as? KVMEngine)
    b.change { $0[.rbx] = 0x5_0000 }
    engine.startDirtyLog()
    // mov [rbx], al; mov [rbx+2000h], al; hlt
    #expect(b.execute([0x88, 0x03, 0x88, 0x83, 0, 0x20, 0, 0, 0xF4]).reason == .hlt)
    let pages = engine.takeDirtyPages()
    #expect(pages.contains(GPA(0x5_0000)) && pages.contains(GPA(0x5_2000)) && !pages.contains(GPA(0x5_1000)), "\(pages)")
    #expect(pages.contains(GPA(SystemBench.code)), "the monitor's own write")
    #expect(engine.takeDirtyPages().isEmpty)
    engine.stopDirtyLog()
  }
}
