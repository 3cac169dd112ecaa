import Paravirtual
import Testing
import VMCore
import X86

@Suite("Traps, events and the way back") struct TrapTests {
  private let handler = XenBench.entry + 0x800

  @Test func `a fault in the kernel pushes RCX, R11, code, RIP, CS with the mask, RFLAGS, RSP, SS`() throws {
    let bench = try XenBench()
    bench.setTrap(.gp, handler)
    bench.vcpu.state.rip = XenBench.entry
    bench.vcpu.state[.rcx] = 0x11
    bench.vcpu.state[.r11] = 0x22
    bench.vcpu.state[.rsp] = bench.address(0x40) + 0x808
    bench.vcpu.state.rflags = 0x3246
    bench.raise(.gp, code: 0x1234)
    let state = bench.vcpu.state
    #expect(state.rip == handler)
    #expect(state[.rsp] == bench.address(0x40) + 0x800 - 64)
    let words = (0..<8 as Range<UInt64>).map { bench.get(state[.rsp] + $0 * 8) }
    // The mask is on at the start: IF reads 0, and IOPL is nobody's.
    #expect(words == [0x11, 0x22, 0x1234, XenBench.entry, 0x1_0000_E030, 0x46, bench.address(0x40) + 0x808, 0xE02B])
    #expect(state[.cs].selector == 0xE033 && state[.ss].selector == 0xE02B)
    #expect(state.rflags & 0x200 != 0)
  }

  @Test func `a trap without error code has a frame of seven words, and CR2 goes by vcpu_info`() throws {
    let bench = try XenBench()
    bench.setTrap(.ud, handler)
    bench.vcpu.state.rip = XenBench.entry
    bench.vcpu.state[.rsp] = bench.address(0x40) + 0x800
    bench.raise(.ud)
    #expect(bench.vcpu.state[.rsp] == bench.address(0x40) + 0x800 - 56)
    bench.setTrap(.pf, handler)
    bench.vcpu.state.rip = XenBench.entry
    bench.raise(.pf, code: 6, linear: 0xDEAD_B000)
    // The hardware says "user"; the guest's kernel is none.
    #expect(bench.get(bench.vcpu.state[.rsp] + 16) == 2)
    let shared = GPA(bench.xen.tables.layout.sharedInfo << 12)
    #expect(bench.memory.load(shared + 16, as: UInt64.self) == 0xDEAD_B000)
  }

  /// A user address space with nothing in it, and the kernel's stack for traps.
  private func giveUserSpace(_ bench: XenBench) {
    bench.map(0x50, bench.machine(0x50) << 12 | 0x65)
    #expect(bench.extended(.newUserBase, bench.machine(0x50)) == 0)
    #expect(bench.call(.stackSwitch, 0xE02B, bench.address(0x41) + 0x1000 - 8) == 0)
  }

  private func goToUser(_ bench: XenBench) {
    let frame = bench.address(0x40)
    bench.put(frame, 0xAA, 0xB11, 0xCC, 0, 0x40_0000, 0xE033, 0x202, 0x7FFF_0000, 0xE02B)
    bench.vcpu.state[.rsp] = frame
    bench.vcpu.state[.gs].base = 0x1111
    bench.vcpu.state.kernelGSBase = 0x2222
    _ = bench.call(23, [])
  }

  @Test func `IRET to a program changes address space and GS base, and restores registers`() throws {
    let bench = try XenBench()
    giveUserSpace(bench)
    goToUser(bench)
    let state = bench.vcpu.state
    #expect(state.rip == 0x40_0000 && state[.rsp] == 0x7FFF_0000)
    #expect(state[.rax] == 0xAA && state[.r11] == 0xB11 && state[.rcx] == 0xCC)
    #expect(state.cr3 == bench.machine(0x50) << 12)
    #expect(state[.gs].base == 0x2222 && state.kernelGSBase == 0x1111)
    #expect(!bench.xen.isKernel)
  }

  @Test func `a program's SYSCALL is the guest kernel's, on the kernel's stack`() throws {
    let bench = try XenBench()
    giveUserSpace(bench)
    bench.put(bench.address(0x24), 2, handler)
    #expect(bench.call(.callbackOp, 0, bench.address(0x24)) == 0)
    goToUser(bench)
    _ = bench.call(39, [])
    let state = bench.vcpu.state
    #expect(state.rip == handler && bench.xen.isKernel)
    #expect(state[.gs].base == 0x1111 && state.cr3 == bench.machine(bench.layout.pageTables) << 12)
    let top = bench.address(0x41) + 0x1000 - 16
    #expect(state[.rsp] == top - 56)
    let words = (0..<7 as Range<UInt64>).map { bench.get(state[.rsp] + $0 * 8) }
    #expect(words == [0x40_0002, 0x202, 0x40_0002, 0xE033, 0x202, 0x7FFF_0000, 0xE02B])
    #expect(state[.rax] == 39)
  }

  @Test func `a program's page fault says user, and INT n needs a gate of ring 3`() throws {
    let bench = try XenBench()
    giveUserSpace(bench)
    bench.setTrap(.pf, handler)
    bench.setTrap(.gp, handler + 16)
    let at = bench.address(0x22)
    bench.put(at, 0x80 | 3 << 8 | 0xE033 << 16, handler + 32, 0x81 | 0xE033 << 16, handler + 48, 0, 0)
    #expect(bench.call(.setTrapTable, at) == 0)
    goToUser(bench)
    bench.raise(.pf, code: 4, linear: 0x40_0000)
    #expect(bench.get(bench.vcpu.state[.rsp] + 16) == 4)
    goToUser(bench)
    _ = bench.xen.handle(bench.exit(.softwareInterrupt, .softwareInterrupt(vector: 0x80), length: 2), on: bench.vcpu)
    #expect(bench.vcpu.state.rip == handler + 32)
    #expect(bench.get(bench.vcpu.state[.rsp] + 16) == 0x40_0002)
    goToUser(bench)
    _ = bench.xen.handle(bench.exit(.softwareInterrupt, .softwareInterrupt(vector: 0x81), length: 2), on: bench.vcpu)
    #expect(bench.vcpu.state.rip == handler + 16)
    #expect(bench.get(bench.vcpu.state[.rsp] + 16) == 0x81 << 3 | 2)
  }

  @Test("bad IRET frames end the domain", arguments: [
    [0, 0, 0, 0, 0x40_0000, 0x10, 0x202, 0, 0xE02B], [0, 0, 0, 0, 0x40_0000, 0xE033, 0x202, 0, 0xE033],
    [0, 0, 0, 0, 0x8000_0000_0000_0000, 0xE030, 0x202, 0, 0xE02B], [0, 0, 0, 0, 0, 0xE033, 0x202, 0, 0xE02B],
  ] as [[UInt64]])
  func badIretFrames(_ words: [UInt64]) throws {
    let bench = try XenBench()
    let frame = bench.address(0x40)
    for (index, word) in words.enumerated() { bench.put(frame + UInt64(index) * 8, word) }
    bench.vcpu.state[.rsp] = frame
    _ = bench.call(23, [])
    #expect(bench.takeCrash() != nil)
  }

  @Test func `IRET gives no flag that is not the guest's`() throws {
    let bench = try XenBench()
    let frame = bench.address(0x40)
    bench.put(frame, 0, 0, 0, 0, XenBench.entry, 0xE030, ~UInt64(0), frame, 0xE02B)
    bench.vcpu.state[.rsp] = frame
    _ = bench.call(23, [])
    #expect(bench.vcpu.state.rflags & (RFLAGS.iopl | RFLAGS.vm) == 0)
    #expect(bench.vcpu.state.cpl == 3)
  }

  @Test func `a trap without a handler, or without a stack, ends the domain with the reason`() throws {
    let first = try XenBench()
    first.raise(.de)
    #expect(first.takeCrash()?.contains("#DE") == true)
    let second = try XenBench()
    second.setTrap(.de, handler)
    second.vcpu.state[.rsp] = 0xFFFF_8000_0000_1000
    second.raise(.de)
    #expect(second.takeCrash()?.contains("stack") == true)
  }

  @Test func `events wait for the mask, then come with it set`() throws {
    let bench = try XenBench()
    let shared = GPA(bench.xen.tables.layout.sharedInfo << 12)
    bench.put(bench.address(0x24), 1 << 16, handler)
    #expect(bench.call(.callbackOp, 0, bench.address(0x24)) == 0)
    bench.put(bench.address(0x24), 0, 0)
    #expect(bench.call(.eventChannelOp, 1, bench.address(0x24)) == 0)
    let port = bench.get(bench.address(0x24) + 8) & 0xFFFF_FFFF
    #expect(port == 3)
    #expect(bench.call(.eventChannelOp, 1, bench.address(0x24)) == -17)
    bench.put(bench.address(0x24), 5000, 0)
    #expect(bench.call(.vcpuOp, 8, 0, bench.address(0x24)) == 0)
    #expect(bench.xen.nextDeadline == 5000)
    bench.xen.advance(to: 5000)
    #expect(bench.memory.load(shared + 0x800, as: UInt64.self) == 1 << 3)
    // Masked by its bit, then by the upcall mask.
    #expect(!bench.xen.interruptPending(vcpu: 0))
    bench.put(bench.address(0x24), port)
    #expect(bench.call(.eventChannelOp, 9, bench.address(0x24)) == 0)
    #expect(!bench.xen.interruptPending(vcpu: 0))
    bench.memory.store(shared + 1, UInt8(0))
    #expect(bench.xen.interruptPending(vcpu: 0))
    bench.vcpu.state[.rsp] = bench.address(0x40) + 0x800
    #expect(bench.xen.deliverInterrupt(to: bench.vcpu) == XenPlatform.upcallVector)
    #expect(bench.vcpu.state.rip == handler)
    #expect(bench.memory.load(shared + 1, as: UInt8.self) == 1)
    #expect(!bench.xen.interruptPending(vcpu: 0))
  }

  @Test func `queued events are linked in the order they came, and raised again when unmasked`() throws {
    let bench = try XenBench()
    let (control, array) = (bench.address(0x60), bench.address(0x61))
    let at = bench.address(0x24)
    // Raised before there are queues.
    bench.put(at, 2)
    bench.xen.consoleInput([0x41])
    bench.put(at, bench.machine(0x60), 64, 0)
    #expect(bench.call(.eventChannelOp, 11, at) == 0)
    #expect(bench.get(at + 16) & 0xFF == 17)
    #expect(bench.call(.eventChannelOp, 11, at) == -22)
    for word in 0..<64 as Range<UInt64> { bench.memory.store(bench.place(array + word * 4), UInt32(1) << 30) }
    bench.memory.store(bench.place(array + 8), UInt32(0))
    bench.put(at, bench.machine(0x61))
    #expect(bench.call(.eventChannelOp, 12, at) == 0)
    func word(_ port: UInt64) -> UInt32 { bench.memory.load(bench.place(array + port * 4), as: UInt32.self) ?? 0 }
    #expect(word(2) == 0xA000_0000)
    #expect(bench.get(control + 64) & 0xFFFF_FFFF == 1 << 7)
    #expect(bench.memory.load(bench.place(control + 72 + 28), as: UInt32.self) == 2)
    // An IPI of the guest's own, masked at first.
    bench.put(at, 0)
    #expect(bench.call(.eventChannelOp, 7, at) == 0)
    bench.put(at, 3)
    #expect(bench.call(.eventChannelOp, 4, at) == 0)
    #expect(word(3) == 0xC000_0000)
    #expect(bench.call(.eventChannelOp, 9, at) == 0)
    #expect(word(3) == 0xA000_0000 && word(2) == 0xA000_0003)
    bench.put(at, 3 | 20 << 32)
    #expect(bench.call(.eventChannelOp, 13, at) == -22)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `block sleeps until an event, and clears the mask`() throws {
    let bench = try XenBench()
    #expect(bench.call(.schedOp, 1) == 0)
    #expect(bench.xen.takeRequests() == [.block(vcpu: 0)])
    #expect(bench.memory.load(GPA(bench.xen.tables.layout.sharedInfo << 12) + 1, as: UInt8.self) == 0)
  }

  @Test("what the guest asks for at its end", arguments: [(0, .shutdown), (1, .reset)] as [(UInt64, PlatformRequest)])
  func shutdownReasons(_ reason: UInt64, _ request: PlatformRequest) throws {
    let bench = try XenBench()
    bench.put(bench.address(0x24), reason)
    bench.call(.schedOp, 2, bench.address(0x24))
    #expect(bench.xen.takeRequests() == [request])
  }
}
