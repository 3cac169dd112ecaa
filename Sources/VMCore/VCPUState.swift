import X86

/// A segment register with its hidden part.
@usableFromInline package struct SegmentState: Equatable, Sendable {
  @usableFromInline package var selector: UInt16
  @usableFromInline package var base: UInt64
  /// The limit in bytes, granularity already applied.
  @usableFromInline package var limit: UInt32
  /// Access rights as in a VMCS (SDM 3C 25.4.1): 3:0 type, 4 S, 6:5 DPL, 7 P, 12 AVL, 13 L, 14 D/B,
  /// 15 G, 16 unusable.
  @usableFromInline package var access: UInt32

  @inlinable
  package init(selector: UInt16 = 0, base: UInt64 = 0, limit: UInt32 = 0xFFFF, access: UInt32 = 0x93) {
    self.selector = selector
    self.base = base
    self.limit = limit
    self.access = access
  }

  @inlinable package var type: UInt8 { UInt8(access & 0xF) }
  @inlinable package var isCodeOrData: Bool { access & 0x10 != 0 }
  @inlinable package var dpl: UInt8 { UInt8(access >> 5 & 3) }
  @inlinable package var present: Bool { access & 0x80 != 0 }
  @inlinable package var long: Bool { access & 0x2000 != 0 }
  @inlinable package var big: Bool { access & 0x4000 != 0 }
  @inlinable package var unusable: Bool { access & 0x1_0000 != 0 }
}

/// GDTR or IDTR.
package struct TableRegister: Equatable, Sendable {
  package var base: UInt64
  package var limit: UInt16
  package init(base: UInt64 = 0, limit: UInt16 = 0xFFFF) {
    self.base = base
    self.limit = limit
  }
}

/// x87, MMX, SSE and AVX state (SDM 1 chapters 8, 10 and 14).
package struct FPUState: Equatable, Sendable {
  package var control: UInt16 = 0x37F
  package var status: UInt16 = 0
  /// Full tag word: two bits a physical register, 3 = empty.
  package var tag: UInt16 = 0xFFFF
  package var opcode: UInt16 = 0
  package var instructionPointer: UInt64 = 0
  package var dataPointer: UInt64 = 0
  /// ST(0)..ST(7) in stack order: significands.
  package var significand: [UInt64] = Array(repeating: 0, count: 8)
  /// ST(0)..ST(7) in stack order: sign and exponent.
  package var signExponent: [UInt16] = Array(repeating: 0, count: 8)
  package var mxcsr: UInt32 = 0x1F80
  /// XMM0..XMM15, low quadword then high quadword.
  package var xmm: [UInt64] = Array(repeating: 0, count: 32)
  /// The upper halves of YMM0..YMM15, laid out alike.
  package var ymmHigh: [UInt64] = Array(repeating: 0, count: 32)
  package init() {}
}

/// What a vCPU is doing when it does not retire instructions (SDM 3C 25.4.2).
@usableFromInline package enum ActivityState: UInt8, Sendable {
  case active, halted, shutdown, waitForSIPI
}

/// VMX operation of a guest that is itself a monitor (SDM 3C chapter 24). Its VMCSs lie in guest memory.
package struct VMXOperation: Equatable, Sendable {
  /// Physical address of the VMXON region; nil outside VMX operation.
  package var vmxon: UInt64?
  /// The current-VMCS pointer; nil if there is none.
  package var current: UInt64?
  /// In non-root operation: the guest's guest runs.
  package var isNonRoot = false
  /// The event VM entry has still to deliver, as interruption information, error code and instruction
  /// length; 0 if there is none.
  package var injection: UInt32 = 0
  package var injectionErrorCode: UInt32 = 0
  package var injectionLength: UInt8 = 0
  /// An external interrupt that made the guest's guest exit without being acknowledged.
  package var heldInterrupt: Vector?
  /// Virtual time at which the VMX-preemption timer runs out.
  package var preemptionDeadline: UInt64?
  /// What VM entry added to the TSC's offset.
  package var addedTSCOffset: UInt64 = 0
  /// Debug exceptions that VM entry has still to deliver, as in the pending-debug-exceptions field.
  package var pendingDebug: UInt64 = 0
  /// The last instruction, a MOV to CR8, went below the TPR threshold.
  package var isTPRBelowThreshold = false
  /// An INIT signal came in root operation: it waits for a guest, which it makes exit, or for VMXOFF.
  package var isInitPending = false
  package init() {}
}

/// Everything architecturally visible of one vCPU. A value: taken at a stop, shown, changed, put back.
package struct VCPUState: Equatable, Sendable {
  /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8..R15 (the order of `GPR`).
  package var gpr: [UInt64] = Array(repeating: 0, count: 16)
  package var rip: UInt64 = 0
  package var rflags: UInt64 = RFLAGS.fixed1
  /// ES, CS, SS, DS, FS, GS, LDTR, TR (the order of `SegmentName`).
  package var segments: [SegmentState]
  package var gdtr = TableRegister()
  package var idtr = TableRegister(base: 0, limit: 0x3FF)
  package var cr0: UInt64 = CR0.et
  package var cr2: UInt64 = 0
  package var cr3: UInt64 = 0
  package var cr4: UInt64 = 0
  package var cr8: UInt64 = 0
  /// DR0..DR3.
  package var dr: [UInt64] = [0, 0, 0, 0]
  package var dr6: UInt64 = 0xFFFF_0FF0
  package var dr7: UInt64 = 0x400
  package var efer: UInt64 = 0
  package var star: UInt64 = 0
  package var lstar: UInt64 = 0
  package var cstar: UInt64 = 0
  package var sfmask: UInt64 = 0
  package var kernelGSBase: UInt64 = 0
  package var sysenterCS: UInt64 = 0
  package var sysenterESP: UInt64 = 0
  package var sysenterEIP: UInt64 = 0
  package var pat: UInt64 = 0x0007_0406_0007_0406
  package var tscAux: UInt64 = 0
  /// IA32_DEBUGCTL.
  package var debugControl: UInt64 = 0
  package var xcr0: UInt64 = 1
  /// IA32_TIME_STAMP_COUNTER minus virtual time.
  package var tscOffset: UInt64 = 0
  package var fpu = FPUState()
  package var activity = ActivityState.active
  /// STI or MOV/POP SS retired last: interrupts wait for one instruction.
  package var interruptShadow = false
  /// It was MOV or POP SS: the shadow also holds back debug exceptions, and VM entry fails in it.
  package var shadowIsMOVSS = false
  /// NMIs are blocked until IRET.
  package var nmiBlocked = false
  package var vmx = VMXOperation()

  /// The state after a reset (SDM 3A table 10-1): real mode at F000:FFF0.
  package init() {
    segments = Array(repeating: SegmentState(), count: 8)
    segments[Int(SegmentName.cs.rawValue)] = SegmentState(selector: 0xF000, base: 0xFFFF_0000, access: 0x9B)
    segments[Int(SegmentName.ldtr.rawValue)] = SegmentState(access: 0x82)
    segments[Int(SegmentName.tr.rawValue)] = SegmentState(access: 0x8B)
    rip = 0xFFF0
    cr0 = CR0.et | CR0.nw | CR0.cd
  }

  package subscript(_ register: GPR) -> UInt64 {
    get { gpr[Int(register.rawValue)] }
    set { gpr[Int(register.rawValue)] = newValue }
  }
  package subscript(_ name: SegmentName) -> SegmentState {
    get { segments[Int(name.rawValue)] }
    set { segments[Int(name.rawValue)] = newValue }
  }

  package var cpl: UInt8 {
    if cr0 & CR0.pe == 0 { return 0 }
    if rflags & RFLAGS.vm != 0 { return 3 }
    return self[.ss].dpl
  }

  package var mode: ProcessorMode {
    if cr0 & CR0.pe == 0 { return .real16 }
    if rflags & RFLAGS.vm != 0 { return .virtual8086 }
    let cs = self[.cs]
    if efer & EFER.lma != 0 { return cs.long ? .long64 : cs.big ? .compatibility32 : .compatibility16 }
    return cs.big ? .protected32 : .protected16
  }

  /// Linear address of the next instruction.
  package var linearRIP: GVA {
    if mode == .long64 { return GVA(rip) }
    return GVA((self[.cs].base &+ rip) & 0xFFFF_FFFF)
  }
}
