import Testing
import VMCore
import X86

/// State goes in and comes out unchanged, in every mode.
@Suite("Engines agree: state") struct StateConformance {
  @Test("general registers, RIP and flags come back", arguments: Conformance.engines, Conformance.Mode.allCases)
  func registers(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    var s = b.state
    for i in 0..<16 { s.gpr[i] = mode == .long ? 0x0123_4567_89AB_CDEF &* UInt64(i + 1) : UInt64(0x1234_5670 + i) }
    s.rip = 0x8123
    s.rflags = RFLAGS.fixed1 | 0xCD5 | RFLAGS.interruptEnable
    b.vcpu.state = s
    #expect(b.state.gpr == s.gpr)
    #expect(b.state.rip == s.rip && b.state.rflags == s.rflags)
    for register in GPR.allCases { #expect(b.vcpu.gpr(register) == s[register]) }
    b.vcpu.setGPR(.rsi, 77)
    #expect(b.state[.rsi] == 77)
    var capture = RegisterCapture()
    b.vcpu.capture(into: &capture)
    #expect(capture == RegisterCapture(b.state))
  }

  @Test("segments and tables come back", arguments: Conformance.engines, Conformance.Mode.allCases)
  func segments(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    var s = b.state
    s.gdtr = TableRegister(base: 0x1000, limit: 0x123)
    s.idtr = TableRegister(base: 0x2340, limit: 0x345)
    s[.fs].base = mode == .long ? 0x7FFF_1234_5000 : 0x12_3450
    s[.gs].base = 0x5000
    b.vcpu.state = s
    let back = b.state
    #expect(back.gdtr == s.gdtr && back.idtr == s.idtr)
    for name in [SegmentName.cs, .ds, .es, .ss, .fs, .gs, .tr] where !s[name].unusable {
      #expect(back[name] == s[name], "\(name)")
    }
    #expect(back.mode == s.mode && back.cpl == s.cpl)
  }

  @Test("control and debug registers and MSRs come back", arguments: Conformance.engines)
  func control(engine: String) throws {
    let b = try Conformance.bench(engine, .long)
    var s = b.state
    s.cr2 = 0xFFFF_8000_0000_1234
    s.cr8 = 5
    s.dr = [0x1000, 0x2000, 0x3000, 0x4000]
    s.star = 0x23_0008_0000_0000
    s.lstar = 0xFFFF_8000_0000_0100
    s.sfmask = 0x700
    s.kernelGSBase = 0xFFFF_8000_0000_2000
    s.sysenterCS = 8
    s.sysenterESP = 0x7000
    s.sysenterEIP = 0x8000
    b.vcpu.state = s
    let back = b.state
    #expect(back.cr0 == s.cr0 && back.cr2 == s.cr2 && back.cr3 == s.cr3 && back.cr4 == s.cr4 && back.cr8 == s.cr8)
    #expect(back.dr == s.dr && back.efer == s.efer && back.star == s.star && back.lstar == s.lstar)
    #expect(back.sfmask == s.sfmask && back.kernelGSBase == s.kernelGSBase && back.sysenterCS == s.sysenterCS)
    #expect(back.sysenterESP == s.sysenterESP && back.sysenterEIP == s.sysenterEIP && back.pat == s.pat)
  }

  @Test("x87 and SSE registers come back", arguments: Conformance.engines)
  func floats(engine: String) throws {
    let b = try Conformance.bench(engine, .long)
    var s = b.state
    for i in 0..<32 { s.fpu.xmm[i] = 0x1111_2222_3333_4444 &* UInt64(i + 1) }
    s.fpu.mxcsr = 0x1FA0
    s.fpu.control = 0x27F
    // One number on the stack: ST(0) is 1.0 in physical register 7.
    s.fpu.status = 7 << 11
    s.fpu.tag = 0x3FFF
    s.fpu.significand[0] = 1 << 63
    s.fpu.signExponent[0] = 0x3FFF
    b.vcpu.state = s
    let back = b.state.fpu
    #expect(back.xmm == s.fpu.xmm && back.mxcsr == s.fpu.mxcsr && back.control == s.fpu.control)
    #expect(back.status == s.fpu.status && back.tag == s.fpu.tag)
    #expect(back.significand[0] == 1 << 63 && back.signExponent[0] == 0x3FFF)
  }

  @Test("the interrupt shadow and blocked NMIs come back", arguments: Conformance.engines)
  func shadows(engine: String) throws {
    let b = try Conformance.bench(engine, .long)
    b.change {
      $0.rflags |= RFLAGS.interruptEnable
      $0.interruptShadow = true
      $0.nmiBlocked = true
    }
    #expect(b.state.interruptShadow && b.state.nmiBlocked)
    #expect(!b.vcpu.canTakeInterrupt)
    b.change {
      $0.interruptShadow = false
      $0.nmiBlocked = false
    }
    #expect(!b.state.interruptShadow && !b.state.nmiBlocked)
    #expect(b.vcpu.canTakeInterrupt)
  }

  @Test("registers changed at a stop are what the guest goes on with", arguments: Conformance.engines, Conformance.Mode.allCases)
  func changed(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    // out 10h, al; add eax, ebx; out 10h, al
    let first = b.execute([0xE6, 0x10, 0x00, 0xD8, 0xE6, 0x10])
    #expect(first.reason == .io)
    #expect(b.carryOut(.complete(0)).reason == .budget)
    b.change {
      $0[.rax] = 0x20
      $0[.rbx] = 0x03
    }
    let second = b.goOn()
    #expect(second.qualification == .io(port: 0x10, size: 1, write: true, string: false, rep: false, value: 0x23))
  }

  @Test("a linear address leads where the page tables say", arguments: Conformance.engines)
  func translation(engine: String) throws {
    let b = try Conformance.bench(engine, .long)
    b.setPage(.long, 0x5000, 0x6007)
    b.setPage(.long, 0x6000, 0)
    #expect(b.vcpu.translate(GVA(0x5123)) == GPA(0x6123))
    #expect(b.vcpu.translate(GVA(0x6123)) == nil)
    #expect(b.vcpu.translate(GVA(0x1_0000_0000)) == nil)
  }

  @Test("a machine saved at an exit goes on in a fresh one, alike", arguments: Conformance.engines, [Conformance.Mode.real, .protected, .long])
  func snapshot(engine: String, mode: Conformance.Mode) throws {
    // again: add al, 3; out 10h, al; mov [5000h], al (by moffs); jmp again
    let store: [UInt8] = mode == .real ? [0xA2, 0x00, 0x50] : mode == .long ? [0xA2] + le32(0x5000) + le32(0) : [0xA2] + le32(0x5000)
    let body: [UInt8] = [0x04, 0x03, 0xE6, 0x10] + store
    let loop = body + [0xEB, UInt8(truncatingIfNeeded: -(body.count + 2))]
    let first = try Conformance.bench(engine, mode)
    var seen: [UInt64] = []
    var exit = first.execute(loop)
    for _ in 0..<5 { exit = first.goOn(VMEntry(.complete(0))) }
    #expect(first.carryOut(.complete(0)).reason == .budget)
    let saved = first.state
    let memory = first.memory.readBytes(GPA(0), count: 0x20000).map { $0 ?? 0 }
    let second = try SystemBench(engine: engine)
    second.memory.write(GPA(0), memory)
    second.vcpu.state = saved
    for bench in [first, second] {
      exit = bench.goOn()
      for _ in 0..<5 {
        if case .io(_, _, _, _, _, let value) = exit.qualification { seen.append(value) }
        exit = bench.goOn(VMEntry(.complete(0)))
      }
    }
    #expect(seen == [21, 24, 27, 30, 33, 21, 24, 27, 30, 33])
    #expect(first.state.gpr == second.state.gpr && first.state.rip == second.state.rip)
    #expect(first.get(0x5000, as: UInt8.self) == second.get(0x5000, as: UInt8.self))
  }
}
