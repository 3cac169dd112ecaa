import Engines
import Testing
import VMCore
import X86

/// Decoded code is found by RIP; CS's base must count all the same.
@Suite struct SegmentBaseTests {
  @Test("the same offset in two code segments is two different instructions")
  func sameOffsetInTwoSegments() throws {
    let memory = try GuestMemory(ramSize: 1 << 20)
    // 1000:0000  inc ax; jmp far 2000:0000     2000:0000  inc bx; jmp far 1000:0000
    memory.write(GPA(0x10000), [0x40, 0xEA, 0x00, 0x00, 0x00, 0x20])
    memory.write(GPA(0x20000), [0x43, 0xEA, 0x00, 0x00, 0x00, 0x10])
    let engine = try EngineRegistry.makeEngine(
      named: "interpreter", memory: memory, events: EventSink(capacity: 64), configuration: EngineConfiguration())
    let vcpu = engine.vcpus[0]
    var state = VCPUState()
    state[.cs] = SegmentState(selector: 0x1000, base: 0x10000, access: 0x9B)
    state.rip = 0
    vcpu.state = state
    let exit = vcpu.run(.resume, limit: 4_000)
    #expect(exit.reason == .budget)
    #expect(vcpu.gpr(.rax) == 1_000)
    #expect(vcpu.gpr(.rbx) == 1_000)
  }

  @Test("a mapping that changes 70,000 times is followed every time")
  func generationsWrapRound() throws {
    let memory = try GuestMemory(ramSize: 1 << 20)
    // Self-modifying: inc byte [next instruction's immediate]; mov al, imm; add bx, 1; jmp back
    let code: [UInt8] = [0xFE, 0x06, 0x05, 0x70, 0xB0, 0x00, 0x83, 0xC3, 0x01, 0xEB, 0xF5]
    memory.write(GPA(0x7000), code)
    let engine = try EngineRegistry.makeEngine(
      named: "interpreter", memory: memory, events: EventSink(capacity: 64), configuration: EngineConfiguration())
    let vcpu = engine.vcpus[0]
    var state = VCPUState()
    state[.cs] = SegmentState(selector: 0, base: 0, access: 0x9B)
    state.rip = 0x7000
    vcpu.state = state
    _ = vcpu.run(.resume, limit: 4 * 70_000)
    #expect(vcpu.gpr(.rbx) & 0xFFFF == 70_000 & 0xFFFF)
    #expect(UInt8(truncatingIfNeeded: vcpu.gpr(.rax)) == UInt8(truncatingIfNeeded: 70_000))
  }
}
