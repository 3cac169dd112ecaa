import Engines
import Testing
import VMCore
import X86

private typealias B = VMXBench

/// Events at the border of non-root operation: injection, windows, interrupts, NMIs, the preemption timer, the monitor
/// trap flag and the TPR shadow (SDM 3C 26.2, 26.5, 27.6, 27.7).
@Suite struct VMXEventTests {
  private static let valid: UInt64 = 1 << 31
  private static let nops = [UInt8](repeating: 0x90, count: 64)

  // MARK: Injection

  /// Interruption information, what stands on the handler's stack above the return address, and how far the return
  /// address lies behind RIP.
  @Test("events of every type reach a 64-bit guest's handler", arguments: [
    (0x20, nil, 0), (0x202, nil, 0), (0x306, nil, 0), (0xB0D, 0x58, 0), (0xB0E, 3, 0), (0x430, nil, 2), (0x603, nil, 1),
    (0x501, nil, 1),
  ] as [(UInt64, UInt64?, UInt64)])
  func inject64(_ info: UInt64, _ code: UInt64?, _ length: UInt64) throws {
    let b = try VMXBench()
    b[.guestRFLAGS] = 2 | RFLAGS.interruptEnable
    b[.entryInterruption] = Self.valid | info
    b[.entryErrorCode] = code ?? 0
    b[.entryInstructionLength] = length
    #expect(b.exit(Self.nops) == .vmcall)
    #expect(b[.guestRIP] == B.handlers + (info & 0xFF) * 16)
    var stack = b[.guestRSP]
    if let code {
      #expect(b.get(stack) == code)
      stack += 8
    }
    #expect(b.get(stack) == B.guestCode + length && b.get(stack + 8) == UInt64(8))
    #expect(b.get(stack + 24) == UInt64(0x6000) && b.state.cr2 == 0)
    // It is there for one entry; an NMI blocks others.
    #expect(b[.entryInterruption] == info && b[.guestInterruptibility] == (info == 0x202 ? 8 : 0))
    #expect(b[.guestRFLAGS] & RFLAGS.interruptEnable == 0)
  }

  @Test("events reach a 32-bit guest's handler", arguments: [
    (0x20, nil, 0), (0x202, nil, 0), (0x306, nil, 0), (0xB0D, 0x58, 0), (0x430, nil, 2), (0x603, nil, 1), (0x501, nil, 1),
  ] as [(UInt64, UInt32?, UInt64)])
  func inject32(_ info: UInt64, _ code: UInt32?, _ length: UInt64) throws {
    let b = try VMXBench()
    b.make32BitGuest()
    b[.guestRFLAGS] = 2 | RFLAGS.interruptEnable
    b[.entryInterruption] = Self.valid | info
    b[.entryErrorCode] = UInt64(code ?? 0)
    b[.entryInstructionLength] = length
    #expect(b.exit(Self.nops) == .vmcall && b[.guestRIP] == B.handlers + (info & 0xFF) * 16)
    var stack = b[.guestRSP]
    if let code {
      #expect(b.get(stack) == code)
      stack += 4
    }
    #expect(b.get(stack) == UInt32(B.guestCode + length) && b.get(stack + 4) == UInt32(0x38))
  }

  @Test("events reach a real-mode guest's handler, never with an error code", arguments: [
    (0x20, 0), (0x202, 0), (0x306, 0), (0x30D, 0), (0x421, 2), (0x603, 1),
  ] as [(UInt64, UInt64)])
  func injectReal(_ info: UInt64, _ length: UInt64) throws {
    let b = try VMXBench()
    b.makeRealGuest()
    b[.guestRFLAGS] = 2 | RFLAGS.interruptEnable
    b[.entryInterruption] = Self.valid | info
    b[.entryInstructionLength] = length
    #expect(b.exit(Self.nops) == .vmcall)
    #expect(b[.guestCS] == 0xB00 && b[.guestRIP] == (info & 0xFF) * 16)
    #expect(b.get(b[.guestRSP]) == UInt16(length) && b.get(b[.guestRSP] + 2) == UInt16(0xA00))
  }

  @Test("16-bit protected mode: a 16-bit gate's frame") func inject16() throws {
    let b = try VMXBench()
    b.make32BitGuest()
    b[.guestCSAccess] = 0x9B
    b[.guestCSLimit] = 0xFFFF
    b.put(0x4800 + 0x20 * 8, (B.handlers + 0x200) & 0xFFFF | 0x38 << 16 | 0x86 << 40)
    b[.guestRFLAGS] = 2 | RFLAGS.interruptEnable
    b[.entryInterruption] = Self.valid | 0x20
    #expect(b.exit(Self.nops) == .vmcall && b[.guestRIP] == B.handlers + 0x200 && b[.guestRSP] == 0x6000 - 6)
    #expect(b.get(0x6000 - 6) == UInt16(0xA000))
  }

  @Test("an injected event that cannot be delivered: its own fault exits, with the event to inject again") func faults() throws {
    for (info, expected, code) in [
      (0x20, 0x8000_0B0B, 0x20 << 3 | 3), (0x430, 0x8000_0B0B, 0x30 << 3 | 2), (0x306, 0x8000_0B0B, 6 << 3 | 3),
      (0xB0D, 0x8000_0B08, 0),
    ] as [(UInt64, UInt64, UInt64)] {
      let b = try VMXBench()
      b.put(0x4000 + (info & 0xFF) * 16, 0x0000_0E00_0008_0000 as UInt64)
      b[.guestRFLAGS] = 2 | RFLAGS.interruptEnable
      b[.entryInterruption] = Self.valid | info
      b[.entryErrorCode] = 0x44
      b[.entryInstructionLength] = 2
      #expect(b.exit(Self.nops) == .exception && b[.exitInterruption] == expected)
      #expect(b[.exitErrorCode] == code && b[.guestRIP] == B.guestCode && b[.guestRSP] == 0x6000)
      #expect(b[.idtVectoring] == (expected == 0x8000_0B08 ? 0 : Self.valid | info))
      if info == 0x430 { #expect(b[.exitInstructionLength] == 2) }
    }
  }

  @Test("injection is offered to no bitmap, and leaves CR2 and DR6 alone") func unoffered() throws {
    let b = try VMXBench()
    b.change {
      $0.cr2 = 0x77
      $0.dr6 = 0xFFFF_0FF0
    }
    b[.entryInterruption] = Self.valid | 0x301
    #expect(b.exit(Self.nops) == .vmcall && b[.guestRIP] == B.handlers + 0x10 && b.state.dr6 == 0xFFFF_0FF0)
    b[.guestRIP] = B.guestCode
    b[.entryInterruption] = Self.valid | 0xB0E
    #expect(b.exit(Self.nops) == .vmcall && b.state.cr2 == 0x77)
  }

  @Test("a pending MTF exit can be injected") func injectMTF() throws {
    let b = try VMXBench()
    b[.entryInterruption] = Self.valid | 0x700
    #expect(b.exit(Self.nops) == .monitorTrap && b[.guestRIP] == B.guestCode && b[.entryInterruption] == 0x700)
  }

  @Test("pending debug exceptions are delivered first, unless something else is injected") func pendingDebug() throws {
    let b = try VMXBench()
    b[.guestPendingDebug] = 1 << 14
    #expect(b.exit(Self.nops) == .exception && b[.exitInterruption] == 0x8000_0301 && b[.exitQualification] == 1 << 14)
    #expect(b[.guestRIP] == B.guestCode && b[.guestPendingDebug] == 0)
    b[.guestPendingDebug] = 1 << 12 | 2
    #expect(b.exit(Self.nops) == .exception && b[.exitQualification] == 2)
    b[.guestPendingDebug] = 3
    #expect(b.exit(B.vmcall) == .vmcall)
    b[.guestPendingDebug] = 1 << 14
    b[.entryInterruption] = Self.valid | 0x306
    #expect(b.exit(Self.nops) == .vmcall && b[.guestRIP] == B.handlers + 0x60)
  }

  @Test("behind MOV SS they come after the next instruction, with its single step") func pendingBehindMOVSS() throws {
    let b = try VMXBench()
    b[.guestPendingDebug] = 1 << 14 | 1 << 12 | 1
    b[.guestInterruptibility] = 2
    b[.guestRFLAGS] = 2 | RFLAGS.tf
    #expect(b.exit(Self.nops) == .exception && b[.exitQualification] == 1 << 14 | 1)
    #expect(b[.guestRIP] == B.guestCode + 1 && b[.guestPendingDebug] == 0)
    // An exit before that finds them in the VMCS.
    let c = try VMXBench()
    c[.guestPendingDebug] = 1 << 12 | 1
    c[.guestInterruptibility] = 2
    #expect(c.exit(B.vmcall) == .vmcall && c[.guestPendingDebug] == 1 << 12 | 1 && c[.guestInterruptibility] == 2)
  }

  @Test("the preemption timer ends a guest's HLT") func timerEndsHalt() throws {
    let b = try VMXBench()
    b.set(.preemptionTimer)
    b[.preemptionTimer] = 100
    // HLT is Ringside's exit first, not the guest monitor's.
    #expect(!b.enter([0xF4]) && b.last?.reason == .hlt)
    #expect(!b.run(VMEntry(.emulate), limit: 0) && b.vcpu.activity == .halted)
    let deadline = try #require(b.vcpu.timerDeadline)
    b.vcpu.idle(until: deadline)
    #expect(b.run() && b[.exitReason] == UInt64(ExitReason.preemptionTimer.rawValue))
    #expect(b[.guestActivity] == 1 && b[.guestRIP] == B.guestCode + 1)
  }

  // MARK: The monitor trap flag

  @Test("MTF exits after every instruction, before debug traps, and after a delivery") func monitorTrap() throws {
    let b = try VMXBench()
    b.set(.monitorTrapFlag)
    #expect(b.exit([0x90, 0xB0, 0x01]) == .monitorTrap && b[.guestRIP] == B.guestCode + 1 && b[.exitQualification] == 0)
    #expect(b.exit(resume: true) == .monitorTrap && b[.guestRIP] == B.guestCode + 3)
    b[.guestRIP] = B.guestCode
    b[.guestRFLAGS] = 2 | RFLAGS.tf
    #expect(b.exit([0x90, 0x90]) == .monitorTrap && b[.guestPendingDebug] == 1 << 14)
    #expect(b.exit(resume: true) == .exception && b[.exitQualification] == 1 << 14 && b[.guestRIP] == B.guestCode + 1)
    b[.guestRFLAGS] = 2
    b[.entryInterruption] = Self.valid | 0x306
    #expect(b.exit() == .monitorTrap && b[.guestRIP] == B.handlers + 0x60)
    b[.exceptionBitmap] = 0
    b[.guestRIP] = B.guestCode
    #expect(b.exit([0x0F, 0x0B]) == .monitorTrap && b[.guestRIP] == B.handlers + 0x60)
    b[.guestRIP] = B.guestCode
    #expect(b.exit([0xCD, 0x30]) == .monitorTrap && b[.guestRIP] == B.handlers + 0x300)
  }

  // MARK: Interrupts and NMIs

  /// A guest that runs NOPs, entered and stopped after two of them.
  private func running(_ b: VMXBench, flags: UInt64 = 2) {
    b[.guestRFLAGS] = flags
    _ = b.enter(Self.nops, limit: 3)
    #expect(b.state.vmx.isNonRoot && b.state.rip == B.guestCode + 2)
  }

  @Test("an external interrupt exits whatever IF says, acknowledged or held for the monitor") func externalInterrupts() throws {
    let b = try VMXBench()
    b.set(.externalInterruptExiting, .acknowledgeInterrupt)
    running(b)
    #expect(b.vcpu.canTakeInterrupt)
    #expect(b.run(VMEntry(.resume, inject: .externalInterrupt(0x41))))
    #expect(b[.exitReason] == 1 && b[.exitInterruption] == 0x8000_0041 && b[.exitQualification] == 0)
    #expect(b.state.vmx.heldInterrupt == nil && b[.guestRIP] == B.guestCode + 2)
    b.clear(.acknowledgeInterrupt)
    _ = b.enter(resume: true, limit: 1)
    #expect(b.run(VMEntry(.resume, inject: .externalInterrupt(0x42))))
    #expect(b[.exitReason] == 1 && b[.exitInterruption] == 0 && b.state.vmx.heldInterrupt == 0x42)
    #expect(!b.vcpu.canTakeInterrupt)
    // Going back in with it pending comes straight out again.
    #expect(b.exit(resume: true) == .externalInterrupt && b[.guestRIP] == B.guestCode + 2)
    // The monitor's STI lets it in after one more instruction: NOP, then the handler.
    b.memory.write(GPA(B.code), [0xFB, 0x90, 0x90])
    b.change {
      $0.rip = B.code
      $0.activity = .active
    }
    _ = b.vcpu.run(.resume, limit: 2)
    _ = b.vcpu.run(.resume, limit: 0)
    b.change { _ in }
    _ = b.vcpu.run(.resume, limit: 1)
    #expect(b.state.vmx.heldInterrupt == nil)
    #expect(b.get(b.state[.rsp]) == B.code + 2)
  }

  @Test("with the control off a guest takes the interrupt by its own IDT, a held one too") func guestInterrupts() throws {
    let b = try VMXBench()
    running(b)
    #expect(!b.vcpu.canTakeInterrupt)
    let c = try VMXBench()
    running(c, flags: 2 | RFLAGS.interruptEnable)
    #expect(c.vcpu.canTakeInterrupt && c.run(VMEntry(.resume, inject: .externalInterrupt(0x41))))
    #expect(c[.exitReason] == 18 && c[.guestRIP] == B.handlers + 0x410)
    let d = try VMXBench()
    d[.guestRFLAGS] = 2 | RFLAGS.interruptEnable
    d.change { $0.vmx.heldInterrupt = 0x43 }
    #expect(d.exit(Self.nops) == .vmcall && d[.guestRIP] == B.handlers + 0x430)
  }

  @Test("INIT waits in root operation, makes a guest exit once, running or halted, and is taken at VMXOFF") func initSignal() throws {
    for activity: UInt64 in [0, 1] {
      let b = try VMXBench()
      b.change { $0.vmx.isInitPending = true }
      #expect(b.host([0x90]) == .success && b.state.vmx.isInitPending)
      b[.guestActivity] = activity
      #expect(b.exit(Self.nops) == .initSignal && b[.exitQualification] == 0 && b[.guestRIP] == B.guestCode)
      #expect(b[.guestActivity] == activity && !b.state.vmx.isInitPending)
      #expect(b.exit(B.vmcall) == (activity == 0 ? .vmcall : nil))
    }
    let b = try VMXBench()
    running(b)
    b.change { $0.vmx.isInitPending = true }
    #expect(b.run() && b[.exitReason] == 3 && b[.guestRIP] == B.guestCode + 2)
    b.change { $0.vmx.isInitPending = true }
    b.memory.write(GPA(B.code), B.vmxoff)
    b.change {
      $0.rip = B.code
      $0.activity = .active
    }
    #expect(b.vcpu.run(.resume, limit: 10).reason == .initSignal)
    #expect(b.state.vmx.vmxon == nil && !b.state.vmx.isInitPending)
  }

  @Test("NMIs: exit by their control and block the monitor's; else the guest's vector 2") func nmis() throws {
    let b = try VMXBench()
    b.set(.nmiExiting)
    running(b)
    #expect(b.run(VMEntry(.resume, inject: .nmi)))
    #expect(b[.exitReason] == 0 && b[.exitInterruption] == 0x8000_0202 && b.state.nmiBlocked)
    let c = try VMXBench()
    running(c)
    #expect(c.run(VMEntry(.resume, inject: .nmi)) && c[.exitReason] == 18 && c[.guestRIP] == B.handlers + 0x20)
    #expect(c[.guestInterruptibility] == 8 && c.state.nmiBlocked)
  }

  @Test("virtual NMIs: the guest's blocking is its own, and IRET ends it") func virtualNMIs() throws {
    let b = try VMXBench()
    b.set(.nmiExiting, .virtualNMIs)
    b[.entryInterruption] = Self.valid | 0x202
    #expect(b.exit(Self.nops) == .vmcall && b[.guestInterruptibility] == 8 && !b.state.nmiBlocked)
    // The handler's IRETQ: an NMI window opens behind it.
    b.set(.nmiWindowExiting)
    b.memory.write(GPA(B.handlers + 0x20), [0x48, 0xCF])
    #expect(b.exit(resume: true) == .nmiWindow && b[.guestRIP] == B.guestCode && b[.guestInterruptibility] == 0)
    #expect(b[.exitQualification] == 0 && b[.exitInstructionLength] != 2)
    // Without virtual NMIs, NMI exiting keeps IRET from unblocking.
    let c = try VMXBench()
    c.set(.nmiExiting)
    c[.entryInterruption] = Self.valid | 0x202
    c.memory.write(GPA(B.handlers + 0x20), [0x48, 0xCF])
    #expect(c.exit(B.vmcall) == .vmcall && c[.guestRIP] == B.guestCode && c[.guestInterruptibility] == 8)
  }

  @Test("the interrupt window opens with IF, one instruction behind STI and MOV SS") func interruptWindow() throws {
    let b = try VMXBench()
    b.set(.interruptWindowExiting)
    b[.guestRFLAGS] = 2 | RFLAGS.interruptEnable
    #expect(b.exit(Self.nops) == .interruptWindow && b[.guestRIP] == B.guestCode)
    b[.guestRFLAGS] = 2
    #expect(b.exit([0x90, 0xFB, 0x90, 0x90]) == .interruptWindow && b[.guestRIP] == B.guestCode + 3)
    b[.guestRIP] = B.guestCode
    b[.guestRFLAGS] = 2
    b[.guestInterruptibility] = 0
    // POPFQ has no shadow: PUSH 202h; POPFQ; NOP.
    #expect(b.exit([0x68, 0x02, 0x02, 0, 0, 0x9D, 0x90]) == .interruptWindow && b[.guestRIP] == B.guestCode + 6)
    b[.guestRIP] = B.guestCode
    b[.guestInterruptibility] = 2
    #expect(b.exit([0x90, 0x90]) == .interruptWindow && b[.guestRIP] == B.guestCode + 1)
  }

  @Test("blocking by STI and by MOV SS is saved, with a trap that waits") func blocking() throws {
    let b = try VMXBench()
    b.set(.hltExiting)
    #expect(b.exit([0xFB, 0xF4]) == .hlt && b[.guestInterruptibility] == 1 && b[.guestRIP] == B.guestCode + 1)
    b[.guestInterruptibility] = 0
    b[.guestRIP] = B.guestCode
    b[.guestRFLAGS] = 2 | RFLAGS.tf
    b.vcpu.setGPR(.rax, 0x10)
    #expect(b.exit([0x8E, 0xD0, 0x0F, 0xA2]) == .cpuid && b[.guestInterruptibility] == 2 && b[.guestPendingDebug] == 1 << 14)
    // Entered as it was saved, it exits again for the same instruction.
    #expect(b.exit(resume: true) == .cpuid)
  }

  // MARK: HLT

  @Test("a guest that halts by itself: what wakes it exits with activity HLT") func halted() throws {
    let b = try VMXBench()
    b.set(.externalInterruptExiting, .acknowledgeInterrupt)
    #expect(!b.enter([0xF4]) && b.last?.reason == .hlt && b.state.vmx.isNonRoot)
    _ = b.run(VMEntry(.emulate))
    #expect(b.state.activity == .halted)
    #expect(b.run(VMEntry(.resume, inject: .externalInterrupt(0x41))))
    #expect(b[.exitReason] == 1 && b[.guestActivity] == 1 && b[.guestRIP] == B.guestCode + 1)
    // Entered halted it stays so, until an injected interrupt wakes it.
    _ = b.enter(resume: true)
    #expect(b.state.vmx.isNonRoot && b.state.activity == .halted && b.state.rip == B.guestCode + 1)
    let c = try VMXBench()
    c[.guestActivity] = 1
    c[.guestRFLAGS] = 2 | RFLAGS.interruptEnable
    c[.entryInterruption] = Self.valid | 0x20
    #expect(c.exit(Self.nops) == .vmcall && c[.guestRIP] == B.handlers + 0x200 && c[.guestActivity] == 0)
  }

  // MARK: The preemption timer

  @Test("the preemption timer runs out after its ticks, and is saved if asked for") func preemption() throws {
    let b = try VMXBench()
    b.set(.preemptionTimer, .savePreemptionTimer)
    b[.preemptionTimer] = 0
    #expect(b.exit(Self.nops) == .preemptionTimer && b[.guestRIP] == B.guestCode && b[.preemptionTimer] == 0)
    b[.preemptionTimer] = 1
    let ticks = UInt64(1) << VMXCapabilities.preemptionTimerShift
    #expect(b.exit(Self.nops) == .preemptionTimer && b[.guestRIP] == B.guestCode + ticks)
    b[.preemptionTimer] = 4
    b[.guestRIP] = B.guestCode
    #expect(b.exit(Self.nops + B.vmcall) == .vmcall && b[.preemptionTimer] == 2)
    // An injected event comes first.
    b[.preemptionTimer] = 0
    b[.guestRIP] = B.guestCode
    b[.entryInterruption] = Self.valid | 0x306
    #expect(b.exit() == .preemptionTimer && b[.guestRIP] == B.handlers + 0x60)
    // It goes on in HLT.
    b[.preemptionTimer] = 4
    b[.guestRIP] = B.guestCode
    b[.guestActivity] = 1
    _ = b.enter()
    #expect(b.state.activity == .halted)
    b.vcpu.idle(until: b.vcpu.virtualTime + 1000)
    #expect(b.run() && b[.exitReason] == 52 && b[.guestActivity] == 1)
  }

  // MARK: The TPR shadow

  @Test("CR8 is the virtual TPR; below the threshold the guest leaves behind its MOV") func tprShadow() throws {
    let b = try VMXBench()
    b.set(.useTPRShadow)
    b[.tprThreshold] = 3
    b.put(B.virtualAPIC + 0x80, UInt32(0x50))
    b.change { $0.cr8 = 9 }
    // MOV RAX, CR8; MOV CR8, RCX.
    b.vcpu.setGPR(.rcx, 4)
    #expect(b.exit([0x44, 0x0F, 0x20, 0xC0, 0x44, 0x0F, 0x22, 0xC1] + B.vmcall) == .vmcall)
    #expect(b.vcpu.gpr(.rax) == 5 && b.get(B.virtualAPIC + 0x80) == UInt32(0x40) && b.state.cr8 == 9)
    b[.guestRIP] = B.guestCode + 4
    b.vcpu.setGPR(.rcx, 2)
    #expect(b.exit() == .tprBelowThreshold && b[.guestRIP] == B.guestCode + 8 && b[.exitQualification] == 0)
    b[.guestRIP] = B.guestCode + 4
    b[.tprThreshold] = 0
    b.vcpu.setGPR(.rcx, 16)
    #expect(b.exit() == .exception && b[.exitInterruption] == 0x8000_0B0D)
  }

  // MARK: Stopping in between

  @Test("a state taken and put back in non-root operation goes on the same, instruction by instruction") func statePutBack() throws {
    // Injection, a window, MTF off, a CR8 write, a page fault through the guest's IDT, a port.
    let code: [UInt8] = [0xFB, 0x90, 0x0F, 0x20, 0xC0, 0x0F, 0x31, 0x0F, 0x0B, 0x90]
    func prepared() throws -> VMXBench {
      let b = try VMXBench()
      b.set(.useTSCOffsetting, .preemptionTimer, .enableEPT, .useTPRShadow)
      b[.preemptionTimer] = 100
      b[.tscOffset] = 1 << 33
      b[.cr0Mask] = CR0.ts
      b[.cr0Shadow] = CR0.ts
      b[.exceptionBitmap] = 0
      b[.entryInterruption] = Self.valid | 0x430
      b[.entryInstructionLength] = 2
      // The handler: IRETQ.
      b.memory.write(GPA(B.handlers + 0x300), [0x48, 0xCF])
      return b
    }
    let straight = try prepared()
    #expect(straight.exit(code) == .vmcall)
    let halting = try prepared()
    _ = halting.enter(code, limit: 1)
    for _ in 0..<60 {
      halting.change { _ in }
      if halting.run(limit: 1) { break }
    }
    #expect(halting[.exitReason] == 18 && halting.vcpu.instructionCount == straight.vcpu.instructionCount)
    for field in VMCSField.allCases { #expect(halting[field] == straight[field], "\(field)") }
    #expect(halting.state == straight.state)
  }
}
