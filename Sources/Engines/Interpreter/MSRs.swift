import VMCore
import X86

/// Power-on values.
enum MSRDefaults {
  /// Fast strings on; no branch trace store, no PEBS (SDM 4 table 2-2).
  static let miscEnable: UInt64 = 1 << 0 | 1 << 11 | 1 << 12
  /// Memory types of a PAT entry: 2 and 3 and above 7 are reserved (SDM 3A table 11-10).
  static func isValidPAT(_ value: UInt64) -> Bool {
    for i in 0..<8 {
      let type = value >> UInt64(8 * i) & 0xFF
      if type > 7 || type == 2 || type == 3 { return false }
    }
    return true
  }
}

/// RDMSR and WRMSR. The processor's own registers are done here; every other index, the local APIC's among
/// them, is the monitor's, which completes the access or lets it fault.
extension UnsafeMutablePointer<CPU> {
  func readMSRInstruction(_ o: MicroOpPointer) throws(Stop) {
    try requireRing0()
    let index: UInt32 = get(8)
    try intercept(.rdmsr(index), .rdmsr)
    if let answer = takeAnswer() {
      setPair(answer)
      return
    }
    let exit = ExitQualification.msr(index: index, write: false, value: 0)
    if mayExit(index, write: false), let cause = monitorCause(.rdmsr(index)) { throw leave(.rdmsr, exit, cause) }
    guard let value = readMSR(index, now: virtualTime(o)) else {
      if pointee.emulating { throw raise(.gp, 0) }
      throw access(.rdmsr(index), .rdmsr, exit)
    }
    setPair(index == MSR.tsc ? value &+ monitorTSCOffset : value)
  }

  func writeMSRInstruction(_ o: MicroOpPointer) throws(Stop) {
    try requireRing0()
    let index: UInt32 = get(8)
    let value = pair
    try intercept(.wrmsr(index), .wrmsr)
    if takeAnswer() != nil { return }
    let exit = ExitQualification.msr(index: index, write: true, value: value)
    if mayExit(index, write: true), let cause = monitorCause(.wrmsr(index)) { throw leave(.wrmsr, exit, cause) }
    guard try writeMSR(index, value, now: virtualTime(o)) else {
      if pointee.emulating { throw raise(.gp, 0) }
      throw access(.wrmsr(index), .wrmsr, exit)
    }
  }

  /// False where the MSR bitmap lets the guest go on.
  private func mayExit(_ index: UInt32, write: Bool) -> Bool {
    guard !pointee.emulating else { return false }
    let isHigh = index >> 30 == 3
    let isInBitmap = (isHigh || index >> 30 == 0) && index & 0x3FFF_FFFF < 0x2000
    guard isInBitmap, !pointee.quick.contains(.everyMSR) else { return true }
    let quarter = (write ? 0x800 : 0) + (isHigh ? 0x400 : 0)
    let byte = pointee.ownBitmaps[VMCSBitmaps.start(.msrBitmap) + quarter + Int(index & 0x1FFF) >> 3]
    return byte >> UInt8(index & 7) & 1 != 0
  }

  /// The value of one of the processor's own MSRs at virtual time `now`; nil for any other index.
  func readMSR(_ index: UInt32, now: UInt64) -> UInt64? {
    switch index {
    case MSR.tsc: return now &+ pointee.tscOffset
    case MSR.tscAdjust: return pointee.tscOffset &- pointee.vmx.addedTSCOffset
    // Locked, with VMXON allowed outside SMX.
    case MSR.featureControl: return 1 | 1 << 2
    case 0x480...0x490: return VMXCapabilities.msr(index, cr4: supportedCR4)
    case MSR.biosSignature: return 0
    case MSR.sysenterCS: return pointee.sysenterCS
    case MSR.sysenterESP: return pointee.sysenterESP
    case MSR.sysenterEIP: return pointee.sysenterEIP
    // No banks, no control register, no check in progress.
    case MSR.machineCheckCap, MSR.machineCheckStatus: return hasMachineCheck ? 0 : nil
    case MSR.miscEnable: return pointee.miscEnable
    case MSR.debugControl: return pointee.debugControl
    case MSR.pat: return pointee.pat
    case MSR.efer: return pointee.efer
    case MSR.star: return pointee.star
    case MSR.lstar: return pointee.lstar
    case MSR.cstar: return pointee.cstar
    case MSR.sfmask: return pointee.sfmask
    case MSR.fsBase: return self[slot: Slot.fsBase]
    case MSR.gsBase: return self[slot: Slot.gsBase]
    case MSR.kernelGSBase: return pointee.kernelGSBase
    case MSR.tscAux: return pointee.tscAux
    default: return nil
    }
  }

  /// Writes one of the processor's own MSRs: #GP(0) for reserved bits and non-canonical addresses, false
  /// for any other index.
  func writeMSR(_ index: UInt32, _ value: UInt64, now: UInt64) throws(Stop) -> Bool {
    switch index {
    // The offset of a VMCS is not the guest's to change (SDM 3C 26.3).
    case MSR.tsc: pointee.tscOffset = value &- now &+ pointee.vmx.addedTSCOffset
    case MSR.tscAdjust: pointee.tscOffset = value &+ pointee.vmx.addedTSCOffset
    case MSR.biosSignature: break
    case MSR.sysenterCS: pointee.sysenterCS = value & 0xFFFF_FFFF
    case MSR.sysenterESP: pointee.sysenterESP = try canonical(value)
    case MSR.sysenterEIP: pointee.sysenterEIP = try canonical(value)
    case MSR.machineCheckStatus where hasMachineCheck: if value != 0 { throw raise(.gp, 0) }
    case MSR.miscEnable: pointee.miscEnable = value
    case MSR.featureControl, 0x480...0x490: throw raise(.gp, 0)
    case MSR.debugControl:
      guard value & ~DebugControl.all == 0 else { throw raise(.gp, 0) }
      pointee.debugControl = value
    case MSR.pat:
      guard MSRDefaults.isValidPAT(value) else { throw raise(.gp, 0) }
      pointee.pat = value
    case MSR.efer: try writeEFER(value)
    case MSR.star: pointee.star = value
    case MSR.lstar: pointee.lstar = try canonical(value)
    case MSR.cstar: pointee.cstar = try canonical(value)
    case MSR.sfmask:
      guard value >> 32 == 0 else { throw raise(.gp, 0) }
      pointee.sfmask = value
    case MSR.fsBase: setBase(4, try canonical(value))
    case MSR.gsBase: setBase(5, try canonical(value))
    case MSR.kernelGSBase: pointee.kernelGSBase = try canonical(value)
    case MSR.tscAux:
      guard value >> 32 == 0 else { throw raise(.gp, 0) }
      pointee.tscAux = value
    default: return false
    }
    return true
  }

  private var hasMachineCheck: Bool { supportedCR4 & CR4.mce != 0 }

  private func canonical(_ value: UInt64) throws(Stop) -> UInt64 {
    guard AddressWidth.isCanonical(value) else { throw raise(.gp, 0) }
    return value
  }

  /// The base of FS (4) or GS (5), keeping selector and rights.
  func setBase(_ index: Int, _ base: UInt64) {
    pointee.segments[index].base = base
    self[slot: index == 4 ? Slot.fsBase : Slot.gsBase] = base
  }

  private func writeEFER(_ value: UInt64) throws(Stop) {
    let known = EFER.sce | EFER.lme | EFER.lma | EFER.nxe
    guard value & ~known == 0 else { throw raise(.gp, 0) }
    let pagingOn = pointee.cr0 & CR0.pg != 0
    if pagingOn && (value ^ pointee.efer) & EFER.lme != 0 { throw raise(.gp, 0) }
    let new = value & ~EFER.lma | pointee.efer & EFER.lma
    let changed = new ^ pointee.efer
    pointee.efer = new
    if changed & EFER.nxe != 0 {
      flushTLB(keepGlobal: false)
      bumpGeneration()
    }
  }
}
