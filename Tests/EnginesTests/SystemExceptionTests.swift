import Engines
import Testing
import VMCore
import X86

private typealias B = SystemBench

@Suite struct SystemExceptionTests {
  @Test("a fault in ring 0 pushes EFLAGS with RF, CS, EIP and the error code") func sameLevel() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.change { $0.rflags |= RFLAGS.interruptEnable }
    // MOV DS, 7F8h: beyond the table.
    b.vcpu.setGPR(.rax, 0x7F8)
    b.step([0x8E, 0xD8])
    #expect(b.delivered() == [gp(0x7F8)])
    #expect(b.stack(4) as [UInt32] == [0x7F8, UInt32(B.code), 8, 0x1_0202])
    #expect(b.state.rip == B.handlers + 13 * 16 + 1)
    #expect(b.state.rflags & RFLAGS.interruptEnable == 0)
  }

  @Test("a trap gate leaves IF alone") func trapGate() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.vector(3, access: 0x8F)
    b.change { $0.rflags |= RFLAGS.interruptEnable | RFLAGS.nt }
    b.step([0xCC])
    #expect(b.state.rflags & (RFLAGS.interruptEnable | RFLAGS.nt) == RFLAGS.interruptEnable)
    #expect(b.stack(2) as [UInt32] == [UInt32(B.code) + 1, 8])
    #expect(b.state.rip == B.handlers + 3 * 16)
  }

  @Test("from ring 3 the stack comes from the TSS") func innerLevel() throws {
    let b = try SystemBench()
    b.enterProtected(cpl: 3)
    b.step([0x0F, 0x0B])
    #expect(b.stack(5) as [UInt32] == [UInt32(B.code), 0x1B, 0x1_0002, UInt32(B.outerStack), 0x23])
    #expect(b.state.cpl == 0)
    #expect(b.state[.ss].selector == B.data0)
    #expect(b.state[.cs].selector == B.code0)
  }

  @Test("a 286 gate pushes words") func gate286() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.vector(3, access: 0x86)
    b.step([0xCC])
    #expect(b.stack(3) as [UInt16] == [UInt16(B.code) + 1, 8, 2])
    #expect(b.state[.rsp] == B.innerStack - 6)
  }

  /// INT n against the gate found there.
  struct GateCase: Sendable {
    var cpl: UInt8
    var code: [UInt8]
    var access: UInt64
    var selector: UInt16
    var expected: Seen?
  }

  @Test("software interrupts check their gate", arguments: [
    GateCase(cpl: 3, code: [0xCD, 0x18], access: 0x8E, selector: 8, expected: gp(0xC2)),
    GateCase(cpl: 3, code: [0xCD, 0x18], access: 0xEE, selector: 8, expected: nil),
    GateCase(cpl: 0, code: [0xCD, 0x18], access: 0x0E, selector: 8, expected: np(0xC2)),
    GateCase(cpl: 0, code: [0xCD, 0x18], access: 0x8C, selector: 8, expected: gp(0xC2)),
    GateCase(cpl: 0, code: [0xCD, 0x18], access: 0x92, selector: 8, expected: gp(0xC2)),
    GateCase(cpl: 0, code: [0xCD, 0x18], access: 0x8E, selector: 0, expected: gp(0)),
    GateCase(cpl: 0, code: [0xCD, 0x18], access: 0x8E, selector: 0x10, expected: gp(0x10)),
    GateCase(cpl: 0, code: [0xCD, 0x18], access: 0x8E, selector: 0x1B, expected: gp(0x18)),
    GateCase(cpl: 0, code: [0xCD, 0x18], access: 0x8E, selector: 0x7F8, expected: gp(0x7F8)),
  ])
  func gates(_ test: GateCase) throws {
    let b = try SystemBench()
    b.enterProtected(cpl: test.cpl)
    b.vector(Int(test.code[1]), access: test.access, selector: test.selector)
    #expect(b.fault(test.code) == test.expected)
  }

  @Test("INT3 from ring 3 needs a gate of ring 3") func breakpointGate() throws {
    let b = try SystemBench()
    b.enterProtected(cpl: 3)
    b.step([0xCC])
    #expect(b.delivered() == [gp(0x1A)])
  }

  @Test("a bad inner stack is #TS with its selector", arguments: [
    (0x00, ts(0)), (0x13, ts(0x10)), (0x08, ts(8)), (0x20, ts(0x20)), (0x7F8, ts(0x7F8)),
  ] as [(UInt16, Seen)])
  func innerStackChecks(_ selector: UInt16, _ expected: Seen) throws {
    let b = try SystemBench()
    b.enterProtected(cpl: 3)
    b.vector(0x18, access: 0xEE)
    b.put(B.tss + 8, UInt32(selector))
    #expect(b.fault([0xCD, 0x18]) == expected)
  }

  /// How a second exception while delivering the first comes out (SDM 3A table 6-5): the first one's gate
  /// is broken in the way given, and the vectors that reach a handler are listed.
  struct NestedCase: Sendable {
    var first: [UInt8]
    var vector: Int
    var access: UInt64
    var expected: [Seen]
  }

  @Test("exceptions while delivering exceptions combine", arguments: [
    // #UD then #NP: one after the other, with EXT set.
    NestedCase(first: [0x0F, 0x0B], vector: 6, access: 0x0E, expected: [np(6 << 3 | 3)]),
    // #DE then #NP, #GP then #NP: double fault.
    NestedCase(first: [0xF7, 0xF3], vector: 0, access: 0x0E, expected: [Seen(8, 0)]),
    NestedCase(first: [0x8E, 0xD8], vector: 13, access: 0x0E, expected: [Seen(8, 0)]),
    NestedCase(first: [0x8E, 0xD8], vector: 13, access: 0x80, expected: [Seen(8, 0)]),
  ])
  func nested(_ test: NestedCase) throws {
    let b = try SystemBench()
    b.enterProtected()
    b.vcpu.setGPR(.rax, 0x7F8)
    b.vector(test.vector, access: test.access)
    b.step(test.first)
    #expect(b.delivered() == test.expected)
  }

  @Test("a page fault on the way to a page-fault handler is a double fault") func pageFaultTwice() throws {
    let b = try SystemBench()
    b.enterPaged(.long, cpl: 0)
    b.put(B.tss + 36, UInt64(0x30_0000))
    b.longVector(14, ist: 1)
    b.step([0x8A, 0x04, 0x25] + le32(0x31_0000))
    #expect(b.delivered() == [Seen(8, 0)])
    #expect(b.state.cr2 == 0x2F_FFD0)
  }

  @Test("#GP on the way to a page-fault handler is a double fault, #PF on the way to #GP too")
  func contributory() throws {
    let b = try SystemBench()
    b.enterPaged(.long, cpl: 0)
    b.longVector(14, access: 0x0E)
    b.step([0x8A, 0x04, 0x25] + le32(0x31_0000))
    #expect(b.delivered() == [Seen(8, 0)])
    // #GP then #PF is handled serially.
    b.put(B.tss + 36, UInt64(0x30_0000))
    b.longVector(13, ist: 1)
    b.longVector(14)
    b.vcpu.setGPR(.rax, 0x7F8)
    b.step([0x8E, 0xD8])
    #expect(b.delivered() == [Seen(14, 2, 0x2F_FFD0)])
  }

  @Test("without a double-fault handler the processor shuts down") func triple() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.change { $0.idtr.limit = 0x37 }
    b.vcpu.setGPR(.rax, 0x7F8)
    let exit = b.step([0x8E, 0xD8])
    #expect(exit.reason == .tripleFault)
    #expect(b.state.activity == .shutdown)
  }

  // MARK: 64-bit

  @Test("64-bit delivery aligns RSP and pushes five quadwords") func longFrame() throws {
    let b = try SystemBench()
    b.enterLong()
    b.vcpu.setGPR(.rsp, 0x6FF7)
    b.step([0x0F, 0x0B])
    #expect(b.state[.rsp] == 0x6FC8)
    #expect(b.stack(5) as [UInt64] == [B.code, 8, 0x1_0002, 0x6FF7, 0x10])
  }

  @Test("IST replaces the stack, at any level") func ist() throws {
    let b = try SystemBench()
    b.enterLong(cpl: 3)
    b.put(B.tss + 36, UInt64(0x5008))
    b.longVector(6, ist: 1)
    b.step([0x0F, 0x0B])
    #expect(b.state[.rsp] == 0x5000 - 40)
    #expect(b.stack(5) as [UInt64] == [B.code, 0x1B, 0x1_0002, B.outerStack, 0x23])
    #expect(b.state[.ss].selector == 0)
    #expect(b.state.cpl == 0)
  }

  @Test("IRETQ goes back to ring 3") func iretq() throws {
    let b = try SystemBench()
    b.enterLong()
    let frame: [UInt64] = [0x8100, 0x1B, 0x202, 0x5F00, 0x23]
    for (i, word) in frame.enumerated() { b.put(0x6F00 + UInt64(i) * 8, word) }
    b.vcpu.setGPR(.rsp, 0x6F00)
    b.step([0x48, 0xCF])
    let s = b.state
    #expect(s.rip == 0x8100 && s[.cs].selector == 0x1B && s[.rsp] == 0x5F00 && s[.ss].selector == 0x23)
    #expect(s.cpl == 3 && s.rflags == 0x202)
  }

  @Test("IRET checks where it goes", arguments: [
    (0, 0x10, gp(0)), (0x10, 0x10, gp(0x10)), (0x1B, 0x10, gp(0x10)), (0x1B, 0, gp(0)),
    (0x7F8, 0x10, gp(0x7F8)), (0x0B, 0x10, gp(8)),
  ] as [(UInt64, UInt64, Seen)])
  func iretChecks(_ cs: UInt64, _ stack: UInt64, _ expected: Seen) throws {
    let b = try SystemBench()
    b.enterLong()
    let frame: [UInt64] = [0x8100, cs, 0x202, 0x5F00, stack]
    for (i, word) in frame.enumerated() { b.put(0x6F00 + UInt64(i) * 8, word) }
    b.vcpu.setGPR(.rsp, 0x6F00)
    #expect(b.fault([0x48, 0xCF]) == expected)
    #expect(b.state[.rsp] == 0x6F00)
  }

  // MARK: Virtual-8086 and real mode

  private func enterV86(_ b: SystemBench, iopl: UInt64) {
    b.enterProtected()
    b.change {
      $0.rflags |= RFLAGS.vm | iopl << 12
      for (i, name) in [SegmentName.es, .cs, .ss, .ds, .fs, .gs].enumerated() {
        let selector = UInt16(name == .cs ? 0x800 : 0x500 + i)
        $0[name] = SegmentState(selector: selector, base: UInt64(selector) << 4, limit: 0xFFFF, access: 0xF3)
      }
      $0.rip = 0
      $0[.rsp] = 0x800
    }
  }

  @Test("INT from virtual-8086 mode pushes nine words and clears the data segments") func v86() throws {
    let b = try SystemBench()
    enterV86(b, iopl: 3)
    b.vector(0x18, access: 0xEE)
    b.step([0xCD, 0x18])
    let frame: [UInt32] = [2, 0x800, 0x2_3002, 0x800, 0x502, 0x500, 0x503, 0x504, 0x505]
    #expect(b.stack(9) as [UInt32] == frame)
    #expect(b.state[.ds].unusable && b.state[.gs].unusable)
    #expect(b.state.rflags & RFLAGS.vm == 0 && b.state.cpl == 0)
    // And back again.
    b.step([0xCF])
    #expect(b.state.mode == .virtual8086 && b.state[.cs].base == 0x8000 && b.state.rip == 2)
    #expect(b.state[.gs].selector == 0x505 && b.state[.rsp] == 0x800)
  }

  @Test("INT in virtual-8086 mode needs IOPL 3", arguments: [
    [0xCD, 0x18], [0xFA], [0xFB], [0x9C], [0x9D], [0xCF], [0xF4],
  ] as [[UInt8]])
  func v86Sensitive(_ code: [UInt8]) throws {
    let b = try SystemBench()
    enterV86(b, iopl: 0)
    b.vector(0x18, access: 0xEE)
    #expect(b.fault(code) == gp(0))
  }

  @Test("real mode goes through the vector table, and IRET back") func real() throws {
    let b = try SystemBench()
    b.change {
      $0[.cs] = SegmentState(selector: 0x800, base: 0x8000, access: 0x9B)
      $0.rip = 0
      $0[.rsp] = 0x1_0700
      $0.rflags = 0x302
    }
    b.put(0x18 * 4, UInt32(0x0900_0010))
    b.change { $0.rflags = 0x202 }
    b.step([0xCD, 0x18])
    #expect(b.stack(3) as [UInt16] == [2, 0x800, 0x202] || b.get(0x6FA, as: UInt16.self) == 2)
    #expect(b.state[.cs].base == 0x9000 && b.state.rip == 0x10 && b.state.rflags == 2)
    #expect(b.state[.rsp] == 0x1_06FA)
    b.step([0xCF])
    #expect(b.state[.cs].base == 0x8000 && b.state.rip == 2 && b.state.rflags == 0x202)
  }

  @Test("an injected interrupt arrives with its vector") func external() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.vector(0x18)
    b.change { $0.rflags |= RFLAGS.interruptEnable }
    b.step([0x90], VMEntry(.resume, inject: .externalInterrupt(0x18)))
    #expect(b.stack(3) as [UInt32] == [UInt32(B.code), 8, 0x202])
    #expect(b.state.rip == B.handlers + 0x18 * 16 + 1)
  }

  @Test("handlers that fault at their first instruction still reach every limit") func storm() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.put(SystemBench.handlers + 6 * 16, UInt16(0x0B0F))
    b.memory.write(GPA(SystemBench.code), [0x0F, 0x0B])
    let exit = b.vcpu.run(.resume, limit: 100)
    #expect(exit.reason == .budget && b.vcpu.instructionCount == 100)
  }

  @Test("IRET with RF set passes a breakpoint on the instruction it returns to") func resumeFlag() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.change {
      $0.dr[0] = 0x8100
      $0.dr7 = 0x402
    }
    b.put(0x8100, UInt16(0x9090))
    for (i, word) in ([0x8100, 8, 0x1_0002] as [UInt32]).enumerated() { b.put(0x6F00 + UInt64(i) * 4, word) }
    b.vcpu.setGPR(.rsp, 0x6F00)
    b.step([0xCF])
    #expect(b.state.rflags & RFLAGS.rf != 0)
    _ = b.vcpu.run(.resume, limit: 1)
    #expect(b.delivered() == [] && b.state.rip == 0x8101 && b.state.rflags & RFLAGS.rf == 0)
    b.change { $0.rip = 0x8100 }
    _ = b.vcpu.run(.resume, limit: 1)
    #expect(b.delivered() == [Seen(1, nil, 1)])
  }
}
