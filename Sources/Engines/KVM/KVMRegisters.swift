import CHost
import VMCore
import X86

/// The kernel's register structures as a `VCPUState`, and back.
enum KVMRegisters {
  // MARK: general registers

  /// By number, as `GPR` has them.
  @inline(__always)
  static func gpr(_ regs: borrowing kvm_regs, _ register: GPR) -> UInt64 {
    switch register {
    case .rax: regs.rax
    case .rcx: regs.rcx
    case .rdx: regs.rdx
    case .rbx: regs.rbx
    case .rsp: regs.rsp
    case .rbp: regs.rbp
    case .rsi: regs.rsi
    case .rdi: regs.rdi
    case .r8: regs.r8
    case .r9: regs.r9
    case .r10: regs.r10
    case .r11: regs.r11
    case .r12: regs.r12
    case .r13: regs.r13
    case .r14: regs.r14
    case .r15: regs.r15
    }
  }

  /// All of them, in the order of `GPR`.
  @inline(__always)
  static func get(_ gpr: inout InlineArray<16, UInt64>, from regs: UnsafePointer<kvm_regs>) {
    (gpr[0], gpr[1], gpr[2], gpr[3]) = (regs.pointee.rax, regs.pointee.rcx, regs.pointee.rdx, regs.pointee.rbx)
    (gpr[4], gpr[5], gpr[6], gpr[7]) = (regs.pointee.rsp, regs.pointee.rbp, regs.pointee.rsi, regs.pointee.rdi)
    (gpr[8], gpr[9], gpr[10], gpr[11]) = (regs.pointee.r8, regs.pointee.r9, regs.pointee.r10, regs.pointee.r11)
    (gpr[12], gpr[13], gpr[14], gpr[15]) = (regs.pointee.r12, regs.pointee.r13, regs.pointee.r14, regs.pointee.r15)
  }

  static func setGPR(_ regs: inout kvm_regs, _ register: GPR, _ value: UInt64) {
    switch register {
    case .rax: regs.rax = value
    case .rcx: regs.rcx = value
    case .rdx: regs.rdx = value
    case .rbx: regs.rbx = value
    case .rsp: regs.rsp = value
    case .rbp: regs.rbp = value
    case .rsi: regs.rsi = value
    case .rdi: regs.rdi = value
    case .r8: regs.r8 = value
    case .r9: regs.r9 = value
    case .r10: regs.r10 = value
    case .r11: regs.r11 = value
    case .r12: regs.r12 = value
    case .r13: regs.r13 = value
    case .r14: regs.r14 = value
    case .r15: regs.r15 = value
    }
  }

  // MARK: segments

  static func segment(_ s: kvm_segment) -> SegmentState {
    let low = UInt32(s.type & 15) | UInt32(s.s & 1) << 4 | UInt32(s.dpl & 3) << 5 | UInt32(s.present & 1) << 7
    let high = UInt32(s.avl & 1) << 12 | UInt32(s.l & 1) << 13 | UInt32(s.db & 1) << 14 | UInt32(s.g & 1) << 15
    return SegmentState(
      selector: s.selector, base: s.base, limit: s.limit, access: low | high | UInt32(s.unusable & 1) << 16)
  }

  static func segment(_ s: SegmentState) -> kvm_segment {
    func bit(_ at: UInt32) -> UInt8 { UInt8(s.access >> at & 1) }
    var result = kvm_segment()
    result.base = s.base
    result.limit = s.limit
    result.selector = s.selector
    result.type = s.type
    result.s = bit(4)
    result.dpl = s.dpl
    result.present = bit(7)
    result.avl = bit(12)
    result.l = bit(13)
    result.db = bit(14)
    result.g = bit(15)
    result.unusable = bit(16)
    return result
  }

  // MARK: what comes with kvm_run

  /// RIP, flags, general and system registers and what is being delivered.
  static func get(_ s: inout VCPUState, from sync: UnsafePointer<kvm_sync_regs>) {
    for register in GPR.allCases { s[register] = gpr(sync.pointee.regs, register) }
    s.rip = sync.pointee.regs.rip
    s.rflags = sync.pointee.regs.rflags
    let system = sync.pointee.sregs
    s[.es] = segment(system.es)
    s[.cs] = segment(system.cs)
    s[.ss] = segment(system.ss)
    s[.ds] = segment(system.ds)
    s[.fs] = segment(system.fs)
    s[.gs] = segment(system.gs)
    s[.ldtr] = segment(system.ldt)
    s[.tr] = segment(system.tr)
    s.gdtr = TableRegister(base: system.gdt.base, limit: system.gdt.limit)
    s.idtr = TableRegister(base: system.idt.base, limit: system.idt.limit)
    s.cr0 = system.cr0
    s.cr2 = system.cr2
    s.cr3 = system.cr3
    s.cr4 = system.cr4
    s.cr8 = system.cr8
    s.efer = system.efer
    let shadow = sync.pointee.events.interrupt.shadow
    s.interruptShadow = shadow != 0
    s.shadowIsMOVSS = shadow & UInt8(KVM_X86_SHADOW_INT_MOV_SS) != 0
    s.nmiBlocked = sync.pointee.events.nmi.masked != 0
  }

  static func put(_ s: VCPUState, into cpu: KVMProcessor) {
    for register in GPR.allCases { setGPR(&cpu.regs.pointee, register, s[register]) }
    cpu.regs.pointee.rip = s.rip
    cpu.regs.pointee.rflags = s.rflags | RFLAGS.fixed1
    putSystem(s, &cpu.sync.pointee.sregs)
    cpu.run.pointee.cr8 = s.cr8
    putEvents(s, &cpu.sync.pointee.events)
    cpu.changed(KVMProcessor.allRegisters)
  }

  private static func putSystem(_ s: VCPUState, _ system: inout kvm_sregs) {
    system.es = segment(s[.es])
    system.cs = segment(s[.cs])
    system.ss = segment(s[.ss])
    system.ds = segment(s[.ds])
    system.fs = segment(s[.fs])
    system.gs = segment(s[.gs])
    system.ldt = segment(s[.ldtr])
    system.tr = segment(s[.tr])
    system.gdt.base = s.gdtr.base
    system.gdt.limit = s.gdtr.limit
    system.idt.base = s.idtr.base
    system.idt.limit = s.idtr.limit
    system.cr0 = s.cr0
    system.cr2 = s.cr2
    system.cr3 = s.cr3
    system.cr4 = s.cr4
    system.cr8 = s.cr8
    system.efer = s.efer
    system.interrupt_bitmap = (0, 0, 0, 0)
  }

  /// Nothing is being delivered; only what blocks events is set.
  private static func putEvents(_ s: VCPUState, _ events: inout kvm_vcpu_events) {
    events = kvm_vcpu_events()
    let shadow = s.shadowIsMOVSS ? KVM_X86_SHADOW_INT_MOV_SS : KVM_X86_SHADOW_INT_STI
    events.interrupt.shadow = s.interruptShadow ? UInt8(shadow) : 0
    events.nmi.masked = s.nmiBlocked ? 1 : 0
    events.flags = UInt32(KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW)
  }

  /// The mode the registers after the last run mean.
  static func mode(_ sync: UnsafePointer<kvm_sync_regs>) -> ProcessorMode {
    if sync.pointee.sregs.cr0 & CR0.pe == 0 { return .real16 }
    if sync.pointee.regs.rflags & RFLAGS.vm != 0 { return .virtual8086 }
    let isBig = sync.pointee.sregs.cs.db != 0
    if sync.pointee.sregs.efer & EFER.lma != 0 {
      return sync.pointee.sregs.cs.l != 0 ? .long64 : isBig ? .compatibility32 : .compatibility16
    }
    return isBig ? .protected32 : .protected16
  }

  // MARK: x87, SSE and AVX, as XSAVE lays them out (SDM 1 13.4)

  static func getFPU(_ f: inout FPUState, from area: UnsafeRawBufferPointer) {
    f.control = area.loadUnaligned(fromByteOffset: 0, as: UInt16.self)
    f.status = area.loadUnaligned(fromByteOffset: 2, as: UInt16.self)
    let valid = area[4]
    f.opcode = area.loadUnaligned(fromByteOffset: 6, as: UInt16.self)
    f.instructionPointer = area.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    f.dataPointer = area.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
    f.mxcsr = area.loadUnaligned(fromByteOffset: 24, as: UInt32.self)
    let top = Int(f.status >> 11 & 7)
    f.tag = 0
    for i in 0..<8 {
      f.significand[i] = area.loadUnaligned(fromByteOffset: 32 + 16 * i, as: UInt64.self)
      f.signExponent[i] = area.loadUnaligned(fromByteOffset: 40 + 16 * i, as: UInt16.self)
      let physical = (i + top) & 7
      let isUsed = valid >> UInt8(physical) & 1 != 0
      f.tag |= (isUsed ? tag(f.significand[i], f.signExponent[i]) : 3) << UInt16(2 * physical)
    }
    for i in 0..<32 { f.xmm[i] = area.loadUnaligned(fromByteOffset: 160 + 8 * i, as: UInt64.self) }
    let hasUppers = area.loadUnaligned(fromByteOffset: 512, as: UInt64.self) & XCR0.avx != 0
    for i in 0..<32 {
      f.ymmHigh[i] = hasUppers ? area.loadUnaligned(fromByteOffset: XSaveArea.upper + 8 * i, as: UInt64.self) : 0
    }
  }

  /// The full tag of a register in use: 0 valid, 1 zero, 2 special (SDM 1 8.1.7).
  private static func tag(_ significand: UInt64, _ signExponent: UInt16) -> UInt16 {
    let exponent = signExponent & 0x7FFF
    if exponent == 0 { return significand == 0 ? 1 : 2 }
    return exponent == 0x7FFF || significand >> 63 == 0 ? 2 : 0
  }

  static func putFPU(_ f: FPUState, into area: UnsafeMutableRawBufferPointer) {
    area.storeBytes(of: f.control, toByteOffset: 0, as: UInt16.self)
    area.storeBytes(of: f.status, toByteOffset: 2, as: UInt16.self)
    var valid: UInt8 = 0
    for i in 0..<8 where f.tag >> UInt16(2 * i) & 3 != 3 { valid |= 1 << UInt8(i) }
    area[4] = valid
    area.storeBytes(of: f.opcode, toByteOffset: 6, as: UInt16.self)
    area.storeBytes(of: f.instructionPointer, toByteOffset: 8, as: UInt64.self)
    area.storeBytes(of: f.dataPointer, toByteOffset: 16, as: UInt64.self)
    area.storeBytes(of: f.mxcsr & MXCSR.mask, toByteOffset: 24, as: UInt32.self)
    for i in 0..<8 {
      area.storeBytes(of: f.significand[i], toByteOffset: 32 + 16 * i, as: UInt64.self)
      area.storeBytes(of: UInt64(f.signExponent[i]), toByteOffset: 40 + 16 * i, as: UInt64.self)
    }
    for i in 0..<32 { area.storeBytes(of: f.xmm[i], toByteOffset: 160 + 8 * i, as: UInt64.self) }
    // XSTATE_BV: x87 and SSE are in their places, and upper halves where there are some (SDM 1 13.4.2).
    let old = area.loadUnaligned(fromByteOffset: 512, as: UInt64.self)
    let hasUppers = old & XCR0.avx != 0 || f.ymmHigh.contains { $0 != 0 }
    if hasUppers {
      for i in 0..<32 { area.storeBytes(of: f.ymmHigh[i], toByteOffset: XSaveArea.upper + 8 * i, as: UInt64.self) }
    }
    area.storeBytes(of: old | (hasUppers ? 7 : 3), toByteOffset: 512, as: UInt64.self)
  }
}
