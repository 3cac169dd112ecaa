import Engines
import Testing
import VMCore
import X86

/// What the rewriter does beside executing code rightly, which the conformance suite and the comparison look after.
@Suite("Rewriter") struct RewriterTests {
  private func machine(_ code: [UInt8], warmth: Int, engine name: String = "rewriter") throws -> InterpreterEngine {
    try FlatMachine.make(code, warmth: warmth, engine: name).engine
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

  @Test("SWAPGS several times in a row exchanges the bases each time", arguments: 1...4)
  func swapgs(times: Int) throws {
    let states = try ["interpreter", "rewriter"].map { engine in
      let b = try SystemBench(engine: engine)
      b.enterLong()
      b.change {
        $0.kernelGSBase = 0xFFFF_8000_0000_0000
        $0[.gs].base = 0x1000
        $0[.rcx] = 301
      }
      let swaps = Array([[UInt8]](repeating: [0x0F, 0x01, 0xF8], count: times).joined())
      b.memory.write(GPA(SystemBench.code), MappedLoop.rounds(swaps) + [0xF4])
      #expect(b.vcpu.run(.resume, limit: 10_000).reason == .hlt)
      return b.state
    }
    #expect(states[0] == states[1])
    #expect(states[1].kernelGSBase == (times % 2 == 0 ? 0xFFFF_8000_0000_0000 : 0x1000))
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
    engine.memory.write(GPA(FlatMachine.start + 0x1012), [2])
    let exit = vcpu.run(.resume, limit: 10_000)
    #expect(exit.reason == .hlt)
    #expect(vcpu.state[.rax] == 600)
    let after = vcpu.state[.rbx] - before
    #expect(after == 2 * (600 - before))
  }

  /// Straight code, each block once, of which the cache does not hold all.
  @Test func `the oldest code makes room for new, and the guest does not notice`() throws {
    // ADD EAX, ECX; MOV [EBX+16], EAX; MOV EDX, [EBX+20]; XOR EAX, EDX; ADD ECX, 7; SHL EAX, 3; SUB EAX, ECX;
    // CMP EAX, EDX; JNZ to the next
    let block: [UInt8] = [
      0x01, 0xC8, 0x89, 0x43, 0x10, 0x8B, 0x53, 0x14, 0x31, 0xD0, 0x83, 0xC1, 0x07, 0xC1, 0xE0, 0x03, 0x29, 0xC8, 0x39, 0xD0,
      0x75, 0x00,
    ]
    var code: [UInt8] = []
    for _ in 0..<200_000 { code += block }
    let rewriter = try machine(code, warmth: 1)
    let interpreter = try machine(code, warmth: 1, engine: "interpreter")
    let sides = [rewriter, interpreter].map { engine in
      var state = engine.vcpus[0].state
      state[.rbx] = 0x4000
      engine.vcpus[0].state = state
      for _ in 0..<16 { _ = engine.vcpus[0].run(.resume, limit: 100_000) }
      return engine.vcpus[0].state
    }
    #expect(sides[0] == sides[1])
    let totals = try #require(rewriter.rewritingTotals)
    #expect(totals.flushes > 0)
    #expect(totals.used <= totals.size)
  }

  /// MOV ECX, 1000; again: UD2; DEC ECX; JNZ again; HLT; the handler: ADD DWORD [ESP], 2; IRETD
  private static let faults: [UInt8] = [0xB9, 0xE8, 3, 0, 0, 0x0F, 0x0B, 0x49, 0x75, 0xFB, 0xF4, 0x83, 0x04, 0x24, 2, 0xCF]

  @Test func `a fault is delivered, and its handler returns, without leaving the code cache`() throws {
    let ends = try ["rewriter", "interpreter"].map { name in
      let engine = try machine(Self.faults, warmth: 2, engine: name)
      engine.memory.write(GPA(0x1008), [0xFF, 0xFF, 0, 0, 0, 0x9B, 0xCF, 0])
      // Of vector 6, to the handler.
      engine.memory.write(GPA(0x2030), [0x0B, 0, 8, 0, 0, 0x8E, 1, 0])
      var state = engine.vcpus[0].state
      state.gdtr = TableRegister(base: 0x1000, limit: 0xF)
      state.idtr = TableRegister(base: 0x2000, limit: 0x7FF)
      engine.vcpus[0].state = state
      #expect(engine.vcpus[0].run(.resume, limit: 100_000).reason == .hlt)
      return engine
    }
    #expect(ends[0].vcpus[0].state == ends[1].vcpus[0].state)
    // MOV ECX; a round retires DEC, JNZ, ADD and IRETD.
    #expect(ends[0].vcpus[0].instructionCount == 4001)
    let totals = try #require(ends[0].rewritingTotals)
    #expect(totals.interpreted < 100)
  }
}
