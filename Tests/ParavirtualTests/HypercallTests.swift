import Paravirtual
import Testing
import VMCore
import X86

@Suite("Hypercalls") struct HypercallTests {
  @Test("wrong arguments give the ABI's error numbers", arguments: [
    (99, [], -38), (17, [42], -38), (12, [1], -38), (30, [2], -38), (21, [0, 17], -22), (21, [7, 0], -38),
    (24, [3, 1], -2), (24, [6, 0, 0], -14), (24, [99, 0], -38), (25, [4, 0], -22), (25, [0, 1 << 63], -22),
    (32, [11, 0], -14), (32, [4, 0], -14), (8, [9, 0], -22), (8, [0, 0xFFFF_8000_0000_0000], -1), (40, [4, 0], -95),
    (20, [8, 0, 1], -14), (13, [0, 1], -14), (26, [0, 1, 0, 0x7FF0], -14), (33, [28, 0], -38), (29, [7, 0], -38),
    (0, [8], -14), (14, [0xFFFF_8000_0000_0000, 0, 0], -22), (10, [3, 0], -22),
  ] as [(UInt64, [UInt64], Int64)])
  func errorNumbers(_ number: UInt64, _ arguments: [UInt64], _ error: Int64) throws {
    let bench = try XenBench()
    #expect(bench.call(number, arguments) == error)
    #expect(ShadowModel(bench).problem() == nil)
  }

  @Test func `the call's result is in RAX and the guest goes on behind SYSCALL`() throws {
    let bench = try XenBench()
    let rip = bench.vcpu.state.rip
    #expect(bench.call(.xenVersion, 0) == 4 << 16 | 17)
    #expect(bench.vcpu.state.rip == rip + 2 && bench.vcpu.state[.rcx] == rip + 2)
  }

  @Test func `calls are events with number, operation, result and arguments`() throws {
    let bench = try XenBench()
    bench.events.consume { _ in }
    bench.call(.vcpuOp, 3, 7)
    var seen: [Event] = []
    bench.events.consume { seen.append(contentsOf: $0) }
    let event = try #require(seen.first { $0.kind == .hypercall })
    #expect(event.a == XenPlatform.code(24, 3) && event.b == UInt64(bitPattern: -2))
    #expect(event.c == 3 && event.d == 7)
  }

  @Test func `what the guest says in its console ring is heard, and what is typed is put there`() throws {
    let bench = try XenBench()
    let ring = bench.address(bench.layout.consoleRing)
    bench.memory.write(bench.place(ring + 1024), Array("hi\n".utf8))
    bench.put(ring + 3080, 3 << 32)
    bench.put(bench.address(0x24), 2)
    #expect(bench.call(.eventChannelOp, 4, bench.address(0x24)) == 0)
    #expect(bench.xen.takeConsoleOutput() == Array("hi\n".utf8))
    #expect(bench.get(ring + 3080) == 3 << 32 | 3)
    bench.xen.consoleInput(Array("ls".utf8))
    #expect(bench.get(ring) & 0xFFFF == 0x736C)
    #expect(bench.get(ring + 3072) == 2 << 32)
  }

  @Test func `a console ring with lying counters gives one ring's worth`() throws {
    let bench = try XenBench()
    let ring = bench.address(bench.layout.consoleRing)
    bench.put(ring + 3080, 0xFFFF_0000 << 32 | 5)
    bench.put(ring + 3072, 0xFFFF_FFFF)
    bench.put(bench.address(0x24), 2)
    #expect(bench.call(.eventChannelOp, 4, bench.address(0x24)) == 0)
    #expect(bench.xen.takeConsoleOutput().count == 2048)
  }

  @Test func `xenstore answers reads, lists, writes and watches`() throws {
    let bench = try XenBench()
    var at: UInt32 = 0
    #expect(bench.ask(2, "memory/target\0", at: &at) == (2, "16384"))
    #expect(bench.ask(2, "nowhere\0", at: &at) == (16, "ENOENT\0"))
    #expect(bench.ask(1, "device\0", at: &at) == (1, ""))
    #expect(bench.ask(1, "memory\0", at: &at) == (1, "static-max\0target\0"))
    #expect(bench.ask(11, "control/feature-poweroff\u{0}1", at: &at) == (11, "OK\0"))
    #expect(bench.ask(2, "control/feature-poweroff\0", at: &at) == (2, "1"))
    #expect(bench.ask(6, "\0", at: &at) == (6, "1\0"))
    #expect(bench.ask(4, "control/shutdown\0token\0", at: &at) == (4, "OK\0"))
    bench.xen.askForShutdown("poweroff")
    #expect(bench.ask(2, "control/shutdown\0", at: &at).0 == 15)
  }

  @Test func `CPUID by ud2 xen shows the monitor, and hides what is not the guest's`() throws {
    let bench = try XenBench(code: [0x0F, 0x0B, 0x78, 0x65, 0x6E, 0x0F, 0xA2])
    bench.vcpu.state.rip = XenBench.entry
    bench.vcpu.state[.rax] = 0x4000_0000
    bench.raise(.ud)
    #expect(bench.vcpu.state.rip == XenBench.entry + 7)
    let text = [GPR.rbx, .rcx, .rdx].flatMap { XenBench.littleEndian(UInt32(bench.vcpu.state[$0])) }
    #expect(String(decoding: text, as: UTF8.self) == "XenVMMXenVMM")
    bench.vcpu.state.rip = XenBench.entry
    bench.vcpu.state[.rax] = 1
    bench.raise(.ud)
    let (ecx, edx) = (bench.vcpu.state[.rcx], bench.vcpu.state[.rdx])
    #expect(ecx >> 31 & 1 == 1 && ecx >> 5 & 1 == 0 && ecx >> 21 & 1 == 0)
    for bit in [1, 3, 9, 12, 13, 17] as [UInt64] { #expect(edx >> bit & 1 == 0) }
  }

  @Test("privileged instructions of the guest's kernel", arguments: [
    ([0xE4, 0x60], true, 2), ([0xEE], true, 1), ([0x66, 0xED], true, 2), ([0xFA], true, 1), ([0x0F, 0x20, 0xC0], true, 3),
    ([0x0F, 0x06], true, 2), ([0xF4], false, 0), ([0x0F, 0x01, 0x17], false, 0), ([0x0F, 0x22, 0xD8], false, 0),
  ] as [([UInt8], Bool, UInt64)])
  func privilegedInstructions(_ code: [UInt8], _ isEmulated: Bool, _ length: UInt64) throws {
    let bench = try XenBench(code: code)
    bench.put(bench.address(0x24), 1)
    #expect(bench.call(.physdevOp, 6, bench.address(0x24)) == 0)
    bench.setTrap(.gp, XenBench.entry + 0x800)
    bench.vcpu.state.rip = XenBench.entry
    bench.raise(.gp, code: 0)
    #expect(bench.vcpu.state.rip == (isEmulated ? XenBench.entry + length : XenBench.entry + 0x800))
  }

  @Test func `ports are #GP until the guest asked for them`() throws {
    let bench = try XenBench(code: [0xEC])
    bench.setTrap(.gp, XenBench.entry + 0x800)
    bench.vcpu.state.rip = XenBench.entry
    bench.raise(.gp, code: 0)
    #expect(bench.vcpu.state.rip == XenBench.entry + 0x800)
  }

  @Test func `a snapshot is the whole domain`() throws {
    let bench = try XenBench()
    bench.setTrap(.gp, XenBench.entry + 0x800)
    bench.put(bench.address(0x24), 5000, 0)
    bench.call(.vcpuOp, 8, 0, bench.address(0x24))
    bench.map(0x30, bench.machine(0x30) << 12 | 0x65)
    let kept = bench.xen.snapshot()
    #expect(bench.extended(.pinL1, bench.machine(0x30)) == 0)
    bench.call(.setTrapTable, 0)
    bench.call(.vcpuOp, 9, 0)
    #expect(bench.xen.snapshot() != kept)
    try bench.xen.restore(kept)
    #expect(bench.xen.snapshot() == kept)
    #expect(bench.xen.nextDeadline == 5000)
    for size in [0, 8, 100, kept.count - 1] {
      #expect(throws: VMError.self) { try bench.xen.restore(Array(kept.prefix(size))) }
    }
    #expect(bench.xen.snapshot() == kept)
  }
}
