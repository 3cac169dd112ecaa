import Engines
import Testing
import VMCore
import X86

private typealias B = SystemBench

/// Debug exceptions and NMIs around the instructions that put them off or take their place.
@Suite("Debug traps and NMIs") struct DebugTrapTests {
  static let engines = ["interpreter", "rewriter"]

  /// INT n clears TF before its handler, in which no single step of its own arrives (SDM 3B 18.3.1.4).
  @Test(arguments: engines, [[0xCD, 0x18], [0xCC], [0xF1]] as [[UInt8]])
  func `no single step follows a software interrupt`(engine: String, code: [UInt8]) throws {
    let b = try SystemBench(engine: engine)
    b.enterProtected()
    b.vector(0x18)
    b.change { $0.rflags |= RFLAGS.tf }
    b.step(code)
    let vector: UInt64 = code == [0xF1] ? 1 : code == [0xCC] ? 3 : 0x18
    #expect(b.state.rip == B.handlers + vector * 16)
    #expect(b.delivered() == [] && b.state.dr6 & 1 << 14 == 0)
    // The image on the stack has TF: stepping goes on behind IRET.
    #expect(b.get(b.state[.rsp] + 8, as: UInt32.self) & UInt32(RFLAGS.tf) != 0)
  }

  /// DR0 watches the word at 5000h; EIP stands at MOV SS, [5000h].
  private func watchedStackLoad(_ engine: String) throws -> SystemBench {
    let b = try SystemBench(engine: engine)
    b.enterProtected()
    b.put(0x5000, B.data0)
    b.change {
      $0.dr[0] = 0x5000
      $0.dr7 = 0x0007_0402
    }
    b.step([0x8E, 0x15, 0x00, 0x50, 0, 0])
    #expect(b.delivered() == [])
    return b
  }

  @Test(arguments: engines) func `a data breakpoint on MOV SS comes one instruction later`(engine: String) throws {
    let b = try watchedStackLoad(engine)
    b.step([0x90])
    #expect(b.delivered() == [Seen(1, nil, 1)])
    #expect(b.stack(1) as [UInt32] == [UInt32(B.code) + 7])
  }

  @Test(arguments: engines) func `INT1 behind such a MOV SS is one #DB`(engine: String) throws {
    let b = try watchedStackLoad(engine)
    b.step([0xF1])
    #expect(b.delivered() == [] && b.state.dr6 & 0xF == 1 && b.state.rip == B.handlers + 16)
    _ = b.vcpu.run(.resume, limit: 1)
    #expect(b.delivered() == [])
  }

  @Test(arguments: engines) func `INT3 behind such a MOV SS is followed by #DB`(engine: String) throws {
    let b = try watchedStackLoad(engine)
    b.step([0xCC])
    #expect(b.delivered() == [Seen(1, nil, 1)])
    #expect(b.stack(1) as [UInt32] == [UInt32(B.handlers) + 3 * 16])
  }

  @Test(arguments: engines) func `a breakpoint on the instruction behind MOV SS is passed over`(engine: String) throws {
    for (code, isHit) in [([0x8E, 0xD0], false), ([0xFB, 0x90], true)] as [([UInt8], Bool)] {
      let b = try SystemBench(engine: engine)
      b.enterProtected()
      b.vcpu.setGPR(.rax, UInt64(B.data0))
      b.change {
        $0.dr[0] = B.code + 2
        $0.dr7 = 0x402
      }
      // MOV SS, EAX, or STI and NOP; then INC ECX.
      b.memory.write(GPA(B.code), code + [0x41, 0x90])
      _ = b.vcpu.run(.resume, limit: 3)
      #expect(b.delivered() == (isHit ? [Seen(1, nil, 1)] : []))
      #expect(b.state[.rcx] == (isHit ? 0 : 1))
    }
  }

  @Test(arguments: engines) func `an NMI waits for the IRET of the last one, whose window exits`(engine: String) throws {
    let b = try SystemBench(engine: engine)
    b.enterLong()
    // The handler: out 10h, al; iretq
    b.memory.write(GPA(B.handlers + 2 * 16), [0xE6, 0x10, 0x48, 0xCF])
    b.memory.write(GPA(B.code), [0x90, 0x90, 0xF4])
    #expect(b.vcpu.canTakeNMI)
    #expect(b.vcpu.run(VMEntry(.resume, inject: .nmi), limit: 10).reason == .io)
    #expect(!b.vcpu.canTakeNMI)
    _ = b.vcpu.run(VMEntry(.complete(0)), limit: 0)
    #expect(!b.vcpu.canTakeNMI)
    var entry = VMEntry.resume
    entry.nmiWindow = true
    let exit = b.vcpu.run(entry, limit: 10)
    #expect(exit.reason == .nmiWindow && exit.rip == B.code && b.vcpu.canTakeNMI)
  }

  @Test(arguments: engines) func `an NMI is not taken behind STI and MOV SS`(engine: String) throws {
    let b = try SystemBench(engine: engine)
    b.enterLong()
    for code in [[0xFB], [0x8E, 0xD0]] as [[UInt8]] {
      b.vcpu.setGPR(.rax, UInt64(B.data0))
      b.step(code)
      #expect(!b.vcpu.canTakeNMI)
      b.step([0x90])
      #expect(b.vcpu.canTakeNMI)
    }
  }

  /// Kernels set GS's base by MSR over a data segment of ring 0, and find it again after ring 3.
  @Test(arguments: engines) func `a return to ring 3 makes GS null and leaves its base`(engine: String) throws {
    let b = try SystemBench(engine: engine)
    b.enterLong()
    b.change { $0[.gs].base = 0x1234_5000 }
    let frame = [0x8100, UInt64(B.code3), RFLAGS.fixed1, B.outerStack, UInt64(B.data3)]
    for (i, word) in frame.enumerated() { b.put(0x6F00 + UInt64(i) * 8, word) }
    b.vcpu.setGPR(.rsp, 0x6F00)
    b.step([0x48, 0xCF])
    let gs = b.state[.gs]
    #expect(b.state.cpl == 3 && gs.selector == 0 && gs.unusable && gs.base == 0x1234_5000)
  }
}
