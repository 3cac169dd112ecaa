import VMCore
import X86

/// The architectural state as a value, out of the inner state and back.
extension InterpreterVCPU {
  package var state: VCPUState {
    get { read() }
    set { write(newValue) }
  }

  package func capture(into capture: inout RegisterCapture) {
    for i in 0..<16 { capture.gpr[i] = c[slot: i] }
    capture.rip = c.pointee.rip
    capture.rflags = c.materializeFlags()
    let cs = c.pointee.segments[Int(SegmentName.cs.rawValue)]
    capture.csBase = cs.base
    capture.csSelector = cs.selector
    capture.mode = c.mode
  }

  package var codeBase: UInt64 {
    let base = c.pointee.segments[1].base
    return base != 0 && c.isLong64 ? 0 : base
  }

  private func read() -> VCPUState {
    var s = VCPUState()
    for i in 0..<16 { s.gpr[i] = c[slot: i] }
    s.rip = c.pointee.rip
    s.rflags = c.materializeFlags()
    for i in 0..<8 { s.segments[i] = c.pointee.segments[i] }
    s.segments[4].base = c[slot: Slot.fsBase]
    s.segments[5].base = c[slot: Slot.gsBase]
    s.gdtr = c.pointee.gdtr
    s.idtr = c.pointee.idtr
    s.cr0 = c.pointee.cr0
    s.cr2 = c.pointee.cr2
    s.cr3 = c.pointee.cr3
    s.cr4 = c.pointee.cr4
    s.cr8 = c.pointee.cr8
    for i in 0..<4 { s.dr[i] = c.pointee.dr[i] }
    s.dr6 = c.pointee.dr6
    s.dr7 = c.pointee.dr7
    s.efer = c.pointee.efer
    s.star = c.pointee.star
    s.lstar = c.pointee.lstar
    s.cstar = c.pointee.cstar
    s.sfmask = c.pointee.sfmask
    s.kernelGSBase = c.pointee.kernelGSBase
    s.sysenterCS = c.pointee.sysenterCS
    s.sysenterESP = c.pointee.sysenterESP
    s.sysenterEIP = c.pointee.sysenterEIP
    s.pat = c.pointee.pat
    s.tscAux = c.pointee.tscAux
    s.debugControl = c.pointee.debugControl
    s.xcr0 = c.pointee.xcr0
    s.tscOffset = c.pointee.tscOffset
    s.activity = c.pointee.activity
    s.interruptShadow = c.pointee.shadowAt == c.retired
    s.shadowIsMOVSS = s.interruptShadow && c.pointee.shadowIsMOVSS
    s.nmiBlocked = c.pointee.nmiBlocked
    readFPU(&s.fpu)
    s.vmx = c.pointee.vmx.operation
    return s
  }

  private func readFPU(_ f: inout FPUState) {
    f.control = c.pointee.fpuControl
    f.status = c.pointee.fpuStatus | UInt16(c.pointee.fpuTop) << 11
    f.tag = c.pointee.fpuTag
    f.opcode = c.pointee.fpuOpcode
    f.instructionPointer = c.pointee.fpuInstructionPointer
    f.dataPointer = c.pointee.fpuDataPointer
    for i in 0..<8 {
      let physical = (i + Int(c.pointee.fpuTop)) & 7
      f.significand[i] = c.pointee.fpuSignificand[physical]
      f.signExponent[i] = c.pointee.fpuSignExponent[physical]
    }
    f.mxcsr = c.pointee.mxcsr
    for i in 0..<32 { f.xmm[i] = c.pointee.xmm[i] }
    for i in 0..<32 { f.ymmHigh[i] = c.pointee.ymmHigh[i] }
  }

  private func write(_ s: VCPUState) {
    for i in 0..<16 { c[slot: i] = s.gpr[i] }
    c.pointee.rip = s.rip
    c.replaceFlags(s.rflags)
    for i in 0..<8 { c.setSegment(i, s.segments[i]) }
    c.pointee.gdtr = s.gdtr
    c.pointee.idtr = s.idtr
    c.pointee.cr0 = s.cr0
    c.pointee.cr2 = s.cr2
    c.pointee.cr3 = s.cr3
    c.pointee.cr4 = s.cr4
    c.pointee.cr8 = s.cr8
    for i in 0..<4 { c.pointee.dr[i] = s.dr[i] }
    c.pointee.dr6 = s.dr6
    c.pointee.dr7 = s.dr7
    c.pointee.efer = s.efer
    c.pointee.star = s.star
    c.pointee.lstar = s.lstar
    c.pointee.cstar = s.cstar
    c.pointee.sfmask = s.sfmask
    c.pointee.kernelGSBase = s.kernelGSBase
    c.pointee.sysenterCS = s.sysenterCS
    c.pointee.sysenterESP = s.sysenterESP
    c.pointee.sysenterEIP = s.sysenterEIP
    c.pointee.pat = s.pat
    c.pointee.tscAux = s.tscAux
    c.pointee.debugControl = s.debugControl
    c.pointee.xcr0 = s.xcr0
    c.pointee.tscOffset = s.tscOffset
    c.pointee.activity = s.activity
    c.pointee.shadowAt = s.interruptShadow ? c.retired : .max
    c.pointee.shadowIsMOVSS = s.shadowIsMOVSS
    c.pointee.nmiBlocked = s.nmiBlocked
    c.pointee.cpl = s.cpl
    writeFPU(s.fpu)
    c.pointee.vmx = VMXState(s.vmx)
    if s.vmx.isNonRoot {
      if let region = c.currentVMCS { c.startNonRoot(region) } else { c.pointee.vmx.nonRoot = false }
    }
    c.refreshPaging()
    c.updateContext()
    afterExit = .nothing
    completed = []
  }

  private func writeFPU(_ f: FPUState) {
    c.pointee.fpuControl = f.control
    c.pointee.fpuStatus = f.status & ~0x3800
    c.pointee.fpuTop = UInt8(f.status >> 11 & 7)
    c.pointee.fpuTag = f.tag
    c.pointee.fpuOpcode = f.opcode
    c.pointee.fpuInstructionPointer = f.instructionPointer
    c.pointee.fpuDataPointer = f.dataPointer
    for i in 0..<8 {
      let physical = (i + Int(c.pointee.fpuTop)) & 7
      c.pointee.fpuSignificand[physical] = f.significand[i]
      c.pointee.fpuSignExponent[physical] = f.signExponent[i]
    }
    c.pointee.mxcsr = f.mxcsr & MXCSR.mask
    for i in 0..<32 { c.pointee.xmm[i] = f.xmm[i] }
    for i in 0..<32 { c.pointee.ymmHigh[i] = f.ymmHigh[i] }
  }
}
