import Engines
import Testing
import VMCore
import X86

/// What the rewriter does beside executing code rightly, which the conformance suite and the comparison look after.
@Suite("Rewriter") struct RewriterTests {
  private static let start: UInt64 = 0x1_0000

  /// A machine with `code` at 1_0000h in flat 32-bit mode without paging.
  private func machine(_ code: [UInt8], warmth: Int) throws -> InterpreterEngine {
    let memory = try GuestMemory(ramSize: 2 << 20)
    memory.write(GPA(Self.start), code)
    let made = try EngineRegistry.makeEngine(
      named: "rewriter", memory: memory, events: EventSink(), configuration: EngineConfiguration(warmth: warmth))
    let engine = try #require(made as? InterpreterEngine)
    var state = VCPUState()
    state.cr0 = CR0.pe | CR0.et
    for name in [SegmentName.es, .ss, .ds, .fs, .gs] {
      state[name] = SegmentState(selector: 0x10, base: 0, limit: 0xFFFF_FFFF, access: 0xC093)
    }
    state[.cs] = SegmentState(selector: 8, base: 0, limit: 0xFFFF_FFFF, access: 0xC09B)
    state.rip = Self.start
    state[.rsp] = 0x8000
    engine.vcpus[0].state = state
    return engine
  }

  /// MOV ECX, 100; again: MOV EAX, [0xA0000000]; ADD EBX, EAX; DEC ECX; JNZ again; HLT
  private static let readsMMIO: [UInt8] = [
    0xB9, 100, 0, 0, 0, 0x8B, 0x05, 0, 0, 0, 0xA0, 0x01, 0xC3, 0x49, 0x75, 0xF5, 0xF4,
  ]

  @Test("a load that always ends at a device becomes a callout", arguments: [1, 3, 40])
  func adapts(warmth: Int) throws {
    let engine = try machine(Self.readsMMIO, warmth: warmth)
    let vcpu = engine.vcpus[0]
    var reads = 0
    var exit = vcpu.run(.resume, limit: 10_000)
    while case .mmio = exit.qualification {
      reads += 1
      var entry = VMEntry.resume
      entry.action = .complete(3)
      exit = vcpu.run(entry, limit: 10_000)
    }
    #expect(exit.reason == .hlt)
    #expect(reads == 100)
    #expect(vcpu.state[.rbx] == 300)
    // MOV ECX, then four instructions a round.
    #expect(vcpu.instructionCount == 401)
    #expect(engine.rewriting?.adaptive == 1)
  }

  /// Over the end of a page the TLB never helps either; but it is memory.
  @Test func `a load of ordinary memory stays what it is`() throws {
    var code = Self.readsMMIO
    code.replaceSubrange(7..<11, with: [0xFD, 0x7F, 0, 0])
    let engine = try machine(code, warmth: 1)
    let exit = engine.vcpus[0].run(.resume, limit: 10_000)
    #expect(exit.reason == .hlt)
    #expect(engine.rewriting?.adaptive == 0)
  }

  @Test func `dropping all code in the middle changes nothing but the count of flushes`() throws {
    // MOV ECX, 1000; again: ADD EAX, ECX; DEC ECX; JNZ again; HLT
    let engine = try machine([0xB9, 0xE8, 3, 0, 0, 0x01, 0xC8, 0x49, 0x75, 0xFB, 0xF4], warmth: 2)
    let vcpu = engine.vcpus[0]
    var exit = vcpu.run(.resume, limit: 100)
    while exit.reason == .budget {
      engine.forgetCode()
      exit = vcpu.run(.resume, limit: 100)
    }
    #expect(exit.reason == .hlt)
    #expect(vcpu.state[.rax] == 500_500)
    #expect(vcpu.instructionCount == 3001)
    #expect(engine.rewriting?.flushes == 30)
  }

  /// A loop whose body goes on in the next page: the far part is mapped elsewhere while it runs.
  @Test func `code over two pages follows its pages`() throws {
    // At 1_0FF0h: again: INC EAX; JMP far part; at 1_1010h: ADD EBX, 1; DEC ECX; JNZ again; HLT
    var code = [UInt8](repeating: 0x90, count: 0x1100)
    code.replaceSubrange(0..<2, with: [0xE9, 0xEB])
    code.replaceSubrange(2..<5, with: [0x0F, 0, 0])
    code.replaceSubrange(0xFF0..<0xFF3, with: [0x40, 0xEB, 0x1D])
    code.replaceSubrange(0x1010..<0x1017, with: [0x83, 0xC3, 1, 0x49, 0x75, 0xDA, 0xF4])
    let engine = try machine(code, warmth: 3)
    let vcpu = engine.vcpus[0]
    var state = vcpu.state
    state[.rcx] = 600
    vcpu.state = state
    _ = vcpu.run(.resume, limit: 1000)
    // The monitor changes the constant in the far part.
    let before = vcpu.state[.rbx]
    engine.memory.write(GPA(Self.start + 0x1012), [2])
    let exit = vcpu.run(.resume, limit: 10_000)
    #expect(exit.reason == .hlt)
    #expect(vcpu.state[.rax] == 600)
    let after = vcpu.state[.rbx] - before
    #expect(after == 2 * (600 - before))
  }
}
