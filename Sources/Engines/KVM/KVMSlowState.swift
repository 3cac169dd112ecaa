import CHost
import VMCore
import X86

/// The part of a vCPU's state that takes calls of its own: x87 and SSE, debug registers, XCR0 and MSRs. Read at
/// most once between two runs, and written only where it changed.
struct KVMSlowState {
  static let msrs: [UInt32] = [
    MSR.star, MSR.lstar, MSR.cstar, MSR.sfmask, MSR.kernelGSBase, MSR.sysenterCS, MSR.sysenterESP, MSR.sysenterEIP,
    MSR.pat, MSR.tscAux,
  ]
  private var xsave = [UInt8](repeating: 0, count: 4096)
  private var debug = kvm_debugregs()
  private var xcr0: UInt64 = 1
  private var values: [UInt64] = Array(repeating: 0, count: KVMSlowState.msrs.count)

  init(_ fd: Int32, _ host: KVMHost) {
    if host.hasXSave { _ = xsave.withUnsafeMutableBytes { $0.baseAddress.map { chost_kvm_get_xsave(fd, $0) } } }
    if host.hasDebugRegisters { _ = chost_kvm_get_debugregs(fd, &debug) }
    if host.hasXCRs { _ = chost_kvm_get_xcr0(fd, &xcr0) }
    let count = UInt32(Self.msrs.count)
    if chost_kvm_get_msrs(fd, Self.msrs, &values, count) < Int32(count) {
      for (index, msr) in Self.msrs.enumerated() { _ = chost_kvm_get_msr(fd, msr, &values[index]) }
    }
  }

  func get(_ s: inout VCPUState) {
    xsave.withUnsafeBytes { KVMRegisters.getFPU(&s.fpu, from: $0) }
    s.dr = [debug.db.0, debug.db.1, debug.db.2, debug.db.3]
    s.dr6 = debug.dr6
    s.dr7 = debug.dr7
    s.xcr0 = xcr0
    s.star = values[0]
    s.lstar = values[1]
    s.cstar = values[2]
    s.sfmask = values[3]
    s.kernelGSBase = values[4]
    s.sysenterCS = values[5]
    s.sysenterESP = values[6]
    s.sysenterEIP = values[7]
    s.pat = values[8]
    s.tscAux = values[9]
  }

  /// Writes what differs between `s` and `old`, the state that is there.
  mutating func put(_ s: VCPUState, over old: VCPUState, _ fd: Int32, _ host: KVMHost) {
    if s.xcr0 != old.xcr0, host.hasXCRs, chost_kvm_set_xcr0(fd, s.xcr0) >= 0 { xcr0 = s.xcr0 }
    if s.fpu != old.fpu, host.hasXSave {
      xsave.withUnsafeMutableBytes { KVMRegisters.putFPU(s.fpu, into: $0) }
      _ = xsave.withUnsafeBytes { $0.baseAddress.map { chost_kvm_set_xsave(fd, $0) } }
    }
    if s.dr != old.dr || s.dr6 != old.dr6 || s.dr7 != old.dr7, host.hasDebugRegisters {
      debug.db = (s.dr[0], s.dr[1], s.dr[2], s.dr[3])
      debug.dr6 = s.dr6
      debug.dr7 = s.dr7
      _ = chost_kvm_set_debugregs(fd, &debug)
    }
    let wanted = [
      s.star, s.lstar, s.cstar, s.sfmask, s.kernelGSBase, s.sysenterCS, s.sysenterESP, s.sysenterEIP, s.pat, s.tscAux,
    ]
    for index in wanted.indices where wanted[index] != values[index] {
      if chost_kvm_set_msr(fd, Self.msrs[index], wanted[index]) >= 0 { values[index] = wanted[index] }
    }
  }
}
