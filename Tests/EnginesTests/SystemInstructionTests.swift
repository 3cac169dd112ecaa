import Engines
import Testing
import VMCore
import X86

private typealias B = SystemBench

@Suite struct SystemInstructionTests {
  @Test("ring 3 may not", arguments: [
    [0xF4], [0x0F, 0x01, 0x15, 0, 0, 0, 0], [0x0F, 0x20, 0xC0], [0x0F, 0x22, 0xC0], [0x0F, 0x23, 0xC0],
    [0x0F, 0x30], [0x0F, 0x32], [0x0F, 0x06], [0x0F, 0x08], [0x0F, 0x09], [0x0F, 0x01, 0xF0], [0x0F, 0x00, 0xD0],
    [0x0F, 0x00, 0xD8], [0x0F, 0x01, 0x38], [0xFA], [0xFB], [0xE4, 0x10], [0xEE], [0x6C],
  ] as [[UInt8]])
  func privileged(_ code: [UInt8]) throws {
    let b = try SystemBench()
    b.enterProtected(cpl: 3)
    #expect(b.fault(code) == gp(0))
  }

  @Test("real mode has no", arguments: [
    [0x0F, 0x00, 0xC0], [0x0F, 0x00, 0xD0], [0x0F, 0x02, 0xC0], [0x0F, 0x03, 0xC0], [0x0F, 0x00, 0xE0], [0x63, 0xC0],
    [0x0F, 0x05], [0x0F, 0x07], [0x0F, 0x01, 0xC1], [0x0F, 0xAA], [0x0F, 0x01, 0xD0],
  ] as [[UInt8]])
  func realUndefined(_ code: [UInt8]) throws {
    let b = try SystemBench()
    b.change {
      $0[.cs] = SegmentState(selector: 0x800, base: 0x8000, access: 0x9B)
      $0.rip = 0
    }
    #expect(b.fault(code) == ud)
  }

  @Test("MOV CR0 refuses impossible values", arguments: [
    (0x8000_0000, false), (0x2000_0001, false), (0x6000_0001, true), (0x1_0001, true), (0, true),
  ] as [(UInt64, Bool)])
  func cr0(_ value: UInt64, _ allowed: Bool) throws {
    let b = try SystemBench()
    b.enterProtected()
    b.vcpu.setGPR(.rax, value)
    #expect(b.fault([0x0F, 0x22, 0xC0]) == (allowed ? nil : gp(0)))
    if allowed { #expect(b.state.cr0 == value | CR0.et) }
  }

  @Test("reserved bits of CR4, EFER and friends are #GP", arguments: [
    (0, 0, 0x1000), (0, 0, 0x2000), (0, 0, 0x2_0000), (0, 0, 0x4_0000), (0, 0, 0x80_0000), (0, 0, 0),
    (0xC000_0080, 0, 2), (0xC000_0080, 0, 0), (0xC000_0100, 0x8000, 0), (0x277, 0, 2), (0x176, 0x8000, 0),
  ] as [(UInt32, UInt64, UInt64)])
  func reserved(_ msr: UInt32, _ high: UInt64, _ low: UInt64) throws {
    let b = try SystemBench()
    b.enterLong()
    b.vcpu.setGPR(.rax, low)
    b.vcpu.setGPR(.rdx, high)
    b.vcpu.setGPR(.rcx, UInt64(msr))
    let code: [UInt8] = msr == 0 ? [0x0F, 0x22, 0xE0] : [0x0F, 0x30]
    #expect(b.fault(code) == gp(0))
  }

  @Test("long mode is entered step by step") func enterLong() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.buildTables(.long)
    b.segment(B.free, access: 0x9B, flags: 0xA)
    b.change { $0.cr3 = 0x10000 }
    b.vcpu.setGPR(.rcx, 0xC000_0080)
    b.vcpu.setGPR(.rax, EFER.lme)
    b.step([0x0F, 0x30])
    b.vcpu.setGPR(.rax, CR0.pe | CR0.pg)
    // Without PAE it is refused.
    #expect(b.fault([0x0F, 0x22, 0xC0]) == gp(0))
    b.change { $0.cr4 |= CR4.pae }
    b.step([0x0F, 0x22, 0xC0])
    #expect(b.state.efer == EFER.lme | EFER.lma && b.state.mode == .compatibility32)
    b.step([0xEA] + le32(0x8400) + [UInt8(B.free), 0])
    #expect(b.state.mode == .long64)
    // Paging cannot be switched off in 64-bit code, nor PAE.
    b.vcpu.setGPR(.rax, CR0.pe)
    #expect(b.fault([0x0F, 0x22, 0xC0]) == gp(0))
    b.vcpu.setGPR(.rax, 0)
    #expect(b.fault([0x0F, 0x22, 0xE0]) == gp(0))
  }

  @Test("SYSCALL and SYSRET") func syscall() throws {
    let b = try SystemBench()
    b.enterLong(cpl: 3)
    b.change {
      $0.star = 0x0013_0008 << 32
      $0.lstar = 0x8500
      $0.sfmask = RFLAGS.interruptEnable
      $0.rflags = 0x202
    }
    b.step([0x0F, 0x05])
    var s = b.state
    #expect(s.rip == 0x8500 && s[.rcx] == B.code + 2 && s[.r11] == 0x202 && s.rflags == 2)
    #expect(s[.cs].selector == 8 && s[.ss].selector == 0x10 && s.cpl == 0)
    b.step([0x48, 0x0F, 0x07])
    s = b.state
    #expect(s.rip == B.code + 2 && s[.cs].selector == 0x23 && s[.ss].selector == 0x1B && s.cpl == 3)
    #expect(s.rflags == 0x202)
  }

  @Test("SYSENTER and SYSEXIT") func sysenter() throws {
    let b = try SystemBench()
    b.enterProtected(cpl: 3)
    #expect(b.fault([0x0F, 0x34]) == gp(0))
    b.change {
      $0.sysenterCS = 8
      $0.sysenterESP = 0x7000
      $0.sysenterEIP = 0x8500
    }
    b.step([0x0F, 0x34])
    #expect(b.state.rip == 0x8500 && b.state[.rsp] == 0x7000 && b.state.cpl == 0)
    b.vcpu.setGPR(.rdx, 0x8600)
    b.vcpu.setGPR(.rcx, 0x6000)
    b.step([0x0F, 0x35])
    #expect(b.state.rip == 0x8600 && b.state[.rsp] == 0x6000 && b.state[.cs].selector == 0x1B && b.state.cpl == 3)
  }

  @Test("SWAPGS and the base MSRs") func swapgs() throws {
    let b = try SystemBench()
    b.enterLong()
    b.change { $0.kernelGSBase = 0xFFFF_8000_0000_0000 }
    b.step([0x0F, 0x01, 0xF8])
    #expect(b.state[.gs].base == 0xFFFF_8000_0000_0000 && b.state.kernelGSBase == 0)
  }

  @Test("POPF changes what the privilege allows", arguments: [
    (UInt8(0), UInt64(0), UInt64(0x3202)), (3, 0, 0x0002), (3, 3, 0x3202),
  ])
  func popf(_ cpl: UInt8, _ iopl: UInt64, _ expected: UInt64) throws {
    let b = try SystemBench()
    b.enterProtected(cpl: cpl)
    b.change { $0.rflags = 2 | iopl << 12 }
    b.put(b.state[.rsp], UInt32(0x3202))
    b.step([0x9D])
    #expect(b.state.rflags == expected)
  }

  @Test("the I/O bitmap opens ports to ring 3", arguments: [
    (UInt8(0x10), true), (0x11, false), (0x0F, true), (0x12, true),
  ])
  func ioBitmap(_ port: UInt8, _ open: Bool) throws {
    let b = try SystemBench()
    b.enterProtected(cpl: 3)
    b.change { $0[.tr].limit = 0x80 }
    b.put(B.tss + 102, UInt16(0x68))
    b.put(B.tss + 0x68 + 2, UInt8(0x02))
    b.vcpu.controls.wishes.vectors = .all
    let exit = b.step([0xE4, port])
    #expect(exit.reason == (open ? .io : .exception))
  }

  @Test("IN takes the monitor's answer; REP OUTS exits once an element") func ports() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.vcpu.setGPR(.rax, 0xFFFF_FFFF)
    let exit = b.step([0xE4, 0x60])
    #expect(exit.qualification == .io(port: 0x60, size: 1, write: false, string: false, rep: false, value: 0))
    _ = b.vcpu.run(VMEntry(.complete(0x1AB)), limit: 1)
    #expect(b.state[.rax] == 0xFFFF_FFAB)
    b.change {
      $0.rip = B.code
      $0[.rsi] = 0x5000
      $0[.rcx] = 2
      $0[.rdx] = 0x3F8
    }
    b.put(0x5000, UInt16(0x4241))
    var at = b.step([0xF3, 0x6E])
    #expect(at.qualification == .io(port: 0x3F8, size: 1, write: true, string: true, rep: true, value: 0x41))
    at = b.vcpu.run(VMEntry(.complete(0)), limit: 1)
    #expect(at.qualification == .io(port: 0x3F8, size: 1, write: true, string: true, rep: true, value: 0x42))
    #expect(b.state[.rcx] == 1 && b.state[.rsi] == 0x5001)
    at = b.vcpu.run(VMEntry(.complete(0)), limit: 1)
    #expect(at.reason == .budget && b.state[.rcx] == 0 && b.state.rip == B.code + 2)
  }

  @Test("RDTSC counts instructions") func tsc() throws {
    let b = try SystemBench()
    b.enterLong()
    b.memory.write(GPA(B.code), [0x90, 0x90, 0x0F, 0x31, 0x89, 0xC3, 0x90, 0x0F, 0x31])
    _ = b.vcpu.run(.resume, limit: 6)
    #expect(b.state[.rbx] == 2 && b.state[.rax] == 5)
  }

  @Test("CPUID says GenuineIntel and only what there is") func cpuid() throws {
    let b = try SystemBench()
    let zero = b.vcpu.cpuid(leaf: 0, subleaf: 0)
    #expect(zero == CPUIDResult(eax: 0x16, ebx: 0x756E_6547, ecx: 0x6C65_746E, edx: 0x4965_6E69))
    // VMX, and nothing else of ECX.
    #expect(b.vcpu.cpuid(leaf: 1, subleaf: 0).ecx == 1 << 5)
    #expect(b.vcpu.cpuid(leaf: 0x8000_0008, subleaf: 0).eax == 0x3028)
    let brand = b.vcpu.cpuid(leaf: 0x8000_0002, subleaf: 0)
    #expect(brand.eax == 0x676E_6952)
  }

  @Test("debug registers: DR4 by CR4.DE, GD, reserved bits") func debugRegisters() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.vcpu.setGPR(.rax, 0xFFFF_FFFF)
    b.step([0x0F, 0x23, 0xF0])
    #expect(b.state.dr6 == 0xFFFF_EFFF)
    b.change { $0.cr4 |= CR4.de }
    #expect(b.fault([0x0F, 0x21, 0xE0]) == ud)
    b.change { $0.dr7 |= 1 << 13 }
    #expect(b.fault([0x0F, 0x21, 0xC0]) == Seen(1, nil, 1 << 13))
  }

  @Test("UMIP hides the tables from ring 3", arguments: [
    [0x0F, 0x01, 0x05, 0, 0x50, 0, 0], [0x0F, 0x01, 0x0D, 0, 0x50, 0, 0], [0x0F, 0x00, 0xC0], [0x0F, 0x00, 0xC8],
    [0x0F, 0x01, 0xE0],
  ] as [[UInt8]])
  func umip(_ code: [UInt8]) throws {
    let b = try SystemBench()
    b.enterProtected(cpl: 3)
    #expect(b.fault(code) == nil)
    b.change { $0.cr4 |= CR4.umip }
    #expect(b.fault(code) == gp(0))
  }

  @Test("MSRs of others go to the monitor") func foreignMSR() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.vcpu.setGPR(.rcx, 0x1B)
    let exit = b.step([0x0F, 0x32])
    #expect(exit.qualification == .msr(index: 0x1B, write: false, value: 0))
    _ = b.vcpu.run(VMEntry(.complete(0x1_FEE0_0900)), limit: 1)
    #expect(b.state[.rax] == 0xFEE0_0900 && b.state[.rdx] == 1)
    b.change { $0.rip = B.code }
    _ = b.step([0x0F, 0x32])
    _ = b.vcpu.run(VMEntry(.fault(13, errorCode: 0)), limit: 1)
    #expect(b.delivered() == [gp(0)])
  }

  @Test("STI and MOV SS hold interrupts off for one instruction") func shadow() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.step([0xFB])
    #expect(b.state.interruptShadow && !b.vcpu.canTakeInterrupt)
    b.step([0x90])
    #expect(b.vcpu.canTakeInterrupt)
    b.vcpu.setGPR(.rax, UInt64(B.data0))
    b.step([0x8E, 0xD0])
    #expect(!b.vcpu.canTakeInterrupt)
  }

  @Test("a guest's data breakpoint traps after the access") func dataBreakpoint() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.change {
      $0.dr[0] = 0x5000
      $0.dr7 = 0xD_0402
    }
    b.step([0xA3] + le32(0x4FFE))
    #expect(b.delivered() == [Seen(1, nil, 1)])
    #expect(b.state.dr6 & 0xF == 1)
  }
}
