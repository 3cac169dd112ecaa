import VMCore
import X86

/// MOV to and from control and debug registers (SDM 2B MOV, 3A 2.5, 3B 17.2).
extension UnsafeMutablePointer<CPU> {
  /// CR4 bits this processor has.
  var supportedCR4: UInt64 {
    let common = CR4.pse | CR4.pae | CR4.pge | CR4.osfxsr | CR4.osxmmexcpt | CR4.tsd | CR4.de | CR4.pce
    let owner = vcpu
    let features = owner.engine.configuration.cpu.features
    var supported = common
    if features.contains(.protection) { supported |= CR4.smep | CR4.smap | CR4.umip | CR4.fsgsbase }
    if features.contains(.vmx) { supported |= CR4.vmxe }
    if features.contains(.xsave) { supported |= CR4.osxsave }
    if features.contains(.machineCheck) { supported |= CR4.mce }
    return supported
  }

  private func control(_ number: Int) -> QuickExits {
    switch number {
    case 0: .cr0
    case 3: .cr3
    case 4: .cr4
    case 8: .cr8
    default: []
    }
  }

  func readControlRegister(_ number: Int, _ o: MicroOpPointer) throws(Stop) {
    try requireRing0()
    let own: UInt64
    switch number {
    case 0: own = visibleCR0
    case 2: own = pointee.cr2
    case 3: own = pointee.cr3
    case 4: own = visibleCR4
    case 8: own = shadowedCR8 ?? pointee.cr8
    default: throw raise(.ud)
    }
    let register = o.pointee.dst
    try intercept(
      .movFromCR(number: UInt8(number)), .crAccess, VMXFormat.cr(number: UInt8(number), access: 1, gpr: register / 8))
    var value = own
    if let answer = takeAnswer() {
      value = answer
    } else if number != 8 || shadowedCR8 == nil {
      let q = ExitQualification.cr(number: UInt8(number), access: .read, gpr: register / 8, value: own)
      try offerControlRegister(number, .movFromCR(number: UInt8(number)), q)
    }
    if isLong64 { set(register, value) } else { set(register, UInt32(truncatingIfNeeded: value)) }
  }

  func writeControlRegister(_ number: Int, _ o: MicroOpPointer) throws(Stop) {
    try requireRing0()
    guard [0, 2, 3, 4, 8].contains(number) else { throw raise(.ud) }
    let register = o.pointee.src
    let value = isLong64 ? get(register, as: UInt64.self) : UInt64(get(register, as: UInt32.self))
    try intercept(
      .movToCR(number: UInt8(number), value: value), .crAccess,
      VMXFormat.cr(number: UInt8(number), access: 0, gpr: register / 8))
    if number == 8, try writeShadowedCR8(value) { return }
    let done = takeAnswer() != nil
    if !done {
      let q = ExitQualification.cr(number: UInt8(number), access: .write, gpr: register / 8, value: value)
      try offerControlRegister(number, .movToCR(number: UInt8(number), value: value), q)
    }
    switch number {
    case 0 where !done:
      guard value >> 32 == 0 else { throw raise(.gp, 0) }
      try changeCR0(to: writtenCR0(value))
    case 2: pointee.cr2 = value
    case 3 where !done: try changeCR3(to: value)
    case 4 where !done:
      try changeCR4(to: writtenCR4(value))
    case 8:
      guard value & ~0xF == 0 else { throw raise(.gp, 0) }
      pointee.cr8 = value
    default: break
    }
  }

  /// Leaves where the monitor wants this access. CR8 is the platform's: an access that does not exit goes
  /// straight there.
  private func offerControlRegister(_ number: Int, _ event: VMXEvent, _ q: ExitQualification) throws(Stop) {
    let quick = control(number)
    guard !quick.isEmpty, exits(on: quick) else { return }
    if let cause = controlRegisterCause(number, event) { throw leave(.crAccess, q, cause) }
    if number == 8 { throw access(event, .crAccess, q) }
  }

  /// CR0 as the program sees it: bits that a monitor owns come from its read shadow, our own monitor's below
  /// the guest's.
  var visibleCR0: UInt64 {
    let own = pointee.ownVMCS.visibleCR0(pointee.cr0)
    return isNonRoot ? pointee.vmx.controls.visibleCR0(own) : own
  }
  private var visibleCR4: UInt64 {
    let own = pointee.ownVMCS.visibleCR4(pointee.cr4)
    return isNonRoot ? pointee.vmx.controls.visibleCR4(own) : own
  }
  /// What a write of `value` makes of CR0: only bits that no monitor owns change. The monitor itself, which
  /// carries an instruction out that exited, changes all of its own.
  func writtenCR0(_ value: UInt64) -> UInt64 {
    let own = pointee.emulating ? value : pointee.ownVMCS.writtenCR0(pointee.cr0, value)
    return isNonRoot ? pointee.vmx.controls.writtenCR0(pointee.cr0, own) : own
  }
  private func writtenCR4(_ value: UInt64) -> UInt64 {
    let own = pointee.emulating ? value : pointee.ownVMCS.writtenCR4(pointee.cr4, value)
    return isNonRoot ? pointee.vmx.controls.writtenCR4(pointee.cr4, own) : own
  }
  /// PE, NE and PG stay 1 in VMX operation (SDM 3C 24.8); an unrestricted guest may clear PE and PG.
  private func keepsVMXBits(cr0: UInt64) -> Bool {
    guard pointee.vmx.vmxon != VMXState.none else { return true }
    let isFree = isNonRoot && pointee.vmx.controls.has(.unrestrictedGuest)
    let fixed = isFree ? CR0.ne : VMXCapabilities.cr0Fixed0
    return cr0 & fixed == fixed
  }

  /// Loads CR0 with all its checks, entering or leaving protected mode, paging and IA-32e mode
  /// (SDM 3A 9.8.5, 9.9).
  func changeCR0(to value: UInt64) throws(Stop) {
    let known = CR0.pe | CR0.mp | CR0.em | CR0.ts | CR0.ne | CR0.wp | CR0.am | CR0.nw | CR0.cd | CR0.pg
    let new = value & known | CR0.et
    let old = pointee.cr0
    let pagingOn = new & CR0.pg != 0 && old & CR0.pg == 0
    let pagingOff = new & CR0.pg == 0 && old & CR0.pg != 0
    guard keepsVMXBits(cr0: new) else { throw raise(.gp, 0) }
    guard new & CR0.pg == 0 || new & CR0.pe != 0, new & CR0.nw == 0 || new & CR0.cd != 0 else {
      throw raise(.gp, 0)
    }
    if pagingOff && isLong64 { throw raise(.gp, 0) }
    var efer = pointee.efer
    if pagingOn && efer & EFER.lme != 0 {
      let tssIs16Bit = pointee.segments[7].access & 0xD == 1
      let codeIsLong = old & CR0.pe != 0 && pointee.segments[1].long
      guard pointee.cr4 & CR4.pae != 0, !tssIs16Bit, !codeIsLong else { throw raise(.gp, 0) }
      efer |= EFER.lma
    }
    if pagingOff { efer &= ~EFER.lma }
    let cached = CR0.pg | CR0.cd | CR0.nw
    if new & CR0.pg != 0 && pointee.cr4 & CR4.pae != 0 && efer & EFER.lma == 0 && (new ^ old) & cached != 0 {
      guard try loadPDPTEs(from: pointee.cr3) else { throw raise(.gp, 0) }
    }
    pointee.efer = efer
    pointee.cr0 = new
    if (new ^ old) & CR0.pe != 0 { pointee.cpl = 0 }
    if (new ^ old) & (CR0.pg | CR0.wp | CR0.pe) != 0 {
      flushTLB(keepGlobal: false)
      bumpGeneration()
    }
    updateContext()
  }

  private func changeCR3(to value: UInt64) throws(Stop) {
    if isIA32e {
      guard value & ~AddressWidth.physicalMask == 0 else { throw raise(.gp, 0) }
    } else if pointee.cr0 & CR0.pg != 0 && pointee.cr4 & CR4.pae != 0 {
      guard try loadPDPTEs(from: value) else { throw raise(.gp, 0) }
    }
    pointee.cr3 = value
    flushTLB(keepGlobal: pointee.cr4 & CR4.pge != 0)
    // Code on global pages stays where it is (SDM 3A 4.10.2.4): a kernel that changes CR3 keeps its links.
    guard pointee.paging.hasLocalCode else { return }
    pointee.paging.hasLocalCode = false
    bumpGeneration()
  }

  private func changeCR4(to value: UInt64) throws(Stop) {
    guard value & ~supportedCR4 == 0 else { throw raise(.gp, 0) }
    if pointee.vmx.vmxon != VMXState.none && value & CR4.vmxe == 0 { throw raise(.gp, 0) }
    if isIA32e && value & CR4.pae == 0 { throw raise(.gp, 0) }
    let changed = value ^ pointee.cr4
    let paging = CR4.pae | CR4.pse | CR4.pge | CR4.smep | CR4.smap
    if changed & paging != 0 && pointee.cr0 & CR0.pg != 0 && value & CR4.pae != 0 && !isIA32e {
      guard try loadPDPTEs(from: pointee.cr3) else { throw raise(.gp, 0) }
    }
    pointee.cr4 = value
    if changed & paging != 0 {
      flushTLB(keepGlobal: false)
      bumpGeneration()
    }
    updateContext()
  }

  // MARK: Debug registers

  /// DR4 and DR5 stand for DR6 and DR7 unless CR4.DE forbids it; DR7.GD traps every access.
  private func debugRegister(_ number: Int) throws(Stop) -> Int {
    guard number < 8 else { throw raise(.ud) }
    var index = number
    if number == 4 || number == 5 {
      if pointee.cr4 & CR4.de != 0 { throw raise(.ud) }
      index += 2
    }
    try requireRing0()
    return index
  }

  private func checkGeneralDetect() throws(Stop) {
    if pointee.dr7 & (1 << 13) != 0 { throw raise(.db, linear: 1 << 13) }
  }

  func readDebugRegister(_ number: Int, _ o: MicroOpPointer) throws(Stop) {
    let index = try debugRegister(number)
    let register = o.pointee.dst
    let own = index < 4 ? pointee.dr[index] : index == 6 ? pointee.dr6 : pointee.dr7
    try intercept(.movDR, .drAccess, VMXFormat.dr(number: UInt8(number), isRead: true, gpr: register / 8))
    var value = own
    if let answer = takeAnswer() {
      value = answer
    } else if exits(on: .dr), let cause = monitorCause(.movDR) {
      let q = ExitQualification.dr(number: UInt8(index), access: .read, gpr: register / 8, value: own)
      throw leave(.drAccess, q, cause)
    }
    try checkGeneralDetect()
    if isLong64 { set(register, value) } else { set(register, UInt32(truncatingIfNeeded: value)) }
  }

  func writeDebugRegister(_ number: Int, _ o: MicroOpPointer) throws(Stop) {
    let index = try debugRegister(number)
    let register = o.pointee.src
    let value = isLong64 ? get(register, as: UInt64.self) : UInt64(get(register, as: UInt32.self))
    try intercept(.movDR, .drAccess, VMXFormat.dr(number: UInt8(number), isRead: false, gpr: register / 8))
    let q = ExitQualification.dr(number: UInt8(index), access: .write, gpr: register / 8, value: value)
    if try offer(.dr, .movDR, .drAccess, q) { return }
    try checkGeneralDetect()
    switch index {
    case 6:
      guard value >> 32 == 0 else { throw raise(.gp, 0) }
      pointee.dr6 = value & 0xE00F | 0xFFFF_0FF0
    case 7:
      guard value >> 32 == 0 else { throw raise(.gp, 0) }
      pointee.dr7 = value & 0xFFFF_23FF | 0x400
    default: pointee.dr[index] = value
    }
    // Pages with data breakpoints stay out of the TLB; decoded code may hold breakpoint checks.
    flushTLB(keepGlobal: false)
    bumpGeneration()
  }
}
