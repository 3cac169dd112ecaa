import VMCore
import X86

/// VMXON, VMXOFF, VMCLEAR, VMPTRLD, VMPTRST, VMREAD, VMWRITE, VMLAUNCH, VMRESUME, VMCALL, INVEPT and INVVPID
/// (SDM 3C chapter 31).
extension UnsafeMutablePointer<CPU> {
  func vmxInstruction(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    if op == .vmxon {
      try vmxon(o)
      return
    }
    // VMCALL leaves a guest in any mode.
    if op == .vmcall { try intercept(.vmxInstruction, .vmcall) }
    guard isProtected, pointee.vmx.vmxon != VMXState.none, pointee.efer & EFER.lma == 0 || isLong64 else {
      throw raise(.ud)
    }
    try intercept(.vmxInstruction, reason(op))
    try requireRing0()
    switch op {
    case .vmxoff: try vmxoff()
    case .vmclear: try vmclear(o)
    case .vmptrld: try vmptrld(o)
    case .vmptrst:
      try store(address(o), pointee.vmx.current)
      succeed()
    case .vmread, .vmreadM: try vmread(op, o)
    case .vmwrite, .vmwriteM: try vmwrite(op, o)
    case .vmlaunch: try enterGuest(launching: true)
    case .vmresume: try enterGuest(launching: false)
    case .vmcall: failValid(.vmcallInRoot)
    default: try invalidate(op, o)
    }
  }

  private func reason(_ op: SystemOp) -> ExitReason {
    switch op {
    case .vmclear: .vmclear
    case .vmptrld: .vmptrld
    case .vmptrst: .vmptrst
    case .vmread, .vmreadM: .vmread
    case .vmwrite, .vmwriteM: .vmwrite
    case .vmlaunch: .vmlaunch
    case .vmresume: .vmresume
    case .vmxoff: .vmxoff
    case .invept: .invept
    case .invvpid: .invvpid
    default: .vmcall
    }
  }

  // MARK: Success and failure (SDM 3C 31.2)

  func succeed() { replaceFlags(materializeFlags() & ~RFLAGS.arithmetic) }
  private func failInvalid() { replaceFlags(materializeFlags() & ~RFLAGS.arithmetic | RFLAGS.cf) }
  func failValid(_ error: VMInstructionError) {
    guard let region = currentVMCS else { return failInvalid() }
    region[.instructionError] = UInt64(error.rawValue)
    replaceFlags(materializeFlags() & ~RFLAGS.arithmetic | RFLAGS.zf)
  }

  // MARK: Regions

  /// Aligned, within the physical-address width, and RAM.
  private func isRegion(_ gpa: UInt64) -> Bool { gpa & ~AddressWidth.physicalMask == 0 && vmcsRegion(gpa) != nil }

  private func vmxon(_ o: MicroOpPointer) throws(Stop) {
    guard isProtected, pointee.cr4 & CR4.vmxe != 0, pointee.efer & EFER.lma == 0 || isLong64 else { throw raise(.ud) }
    try intercept(.vmxInstruction, .vmxon)
    try requireRing0()
    guard pointee.vmx.vmxon == VMXState.none else { return failValid(.vmxonInRoot) }
    let fixed = VMXCapabilities.cr0Fixed0
    guard pointee.cr0 & fixed == fixed else { throw raise(.gp, 0) }
    let pointer: UInt64 = try load(address(o))
    guard isRegion(pointer), vmcsRegion(pointer)?.revision == VMXCapabilities.revision else { return failInvalid() }
    startVMX(pointer)
    succeed()
  }

  /// Into or out of VMX operation; an interrupt that waits for the monitor goes on waiting.
  private func startVMX(_ region: UInt64) {
    let held = pointee.vmx.heldInterrupt
    pointee.vmx = VMXState()
    pointee.vmx.vmxon = region
    pointee.vmx.heldInterrupt = held
    pointee.leaveSoon = held != nil
  }

  /// An INIT signal that waited is taken at once: the platform resets the vCPU.
  private func vmxoff() throws(Stop) {
    let isInitPending = pointee.vmx.isInitPending
    startVMX(VMXState.none)
    succeed()
    if isInitPending { throw leave(.initSignal, .none, .always) }
  }

  private func vmclear(_ o: MicroOpPointer) throws(Stop) {
    let pointer: UInt64 = try load(address(o))
    guard isRegion(pointer), let region = vmcsRegion(pointer) else { return failValid(.clearInvalidAddress) }
    guard pointer != pointee.vmx.vmxon else { return failValid(.clearVMXONPointer) }
    region.isLaunched = false
    if pointer == pointee.vmx.current { pointee.vmx.current = VMXState.none }
    succeed()
  }

  private func vmptrld(_ o: MicroOpPointer) throws(Stop) {
    let pointer: UInt64 = try load(address(o))
    guard isRegion(pointer), let region = vmcsRegion(pointer) else { return failValid(.loadInvalidAddress) }
    guard pointer != pointee.vmx.vmxon else { return failValid(.loadVMXONPointer) }
    guard region.revision == VMXCapabilities.revision else { return failValid(.loadRevision) }
    pointee.vmx.current = pointer
    succeed()
  }

  // MARK: Fields

  /// A field and whether its upper half is meant; nil where there is none of that encoding.
  private func field(_ encoding: UInt64) -> (VMCSField, high: Bool)? {
    guard encoding >> 32 == 0, let field = VMCSField(encoding: UInt32(encoding) & ~1) else { return nil }
    let high = encoding & 1 != 0
    return high && !field.hasHighHalf ? nil : (field, high)
  }
  private var operandBytes: Int { isLong64 ? 8 : 4 }

  private func vmread(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    guard let region = currentVMCS else { return failInvalid() }
    let encoding: UInt64 = get(o.pointee.src)
    guard let (field, high) = field(isLong64 ? encoding : encoding & 0xFFFF_FFFF) else {
      return failValid(.unsupportedField)
    }
    let value = high ? region[field] >> 32 : region[field]
    if op == .vmreadM {
      try storeSized(address(o), value, bytes: operandBytes)
    } else if isLong64 {
      set(o.pointee.dst, value)
    } else {
      set(o.pointee.dst, UInt32(truncatingIfNeeded: value))
    }
    succeed()
  }

  private func vmwrite(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    guard let region = currentVMCS else { return failInvalid() }
    let full: UInt64 = op == .vmwriteM ? try loadSized(address(o), bytes: operandBytes) : get(o.pointee.src)
    let value = isLong64 ? full : full & 0xFFFF_FFFF
    let encoding: UInt64 = get(o.pointee.dst)
    guard let (field, high) = field(isLong64 ? encoding : encoding & 0xFFFF_FFFF) else {
      return failValid(.unsupportedField)
    }
    guard field.area != .exitInformation else { return failValid(.readOnlyField) }
    if high {
      region[field] = region[field] & 0xFFFF_FFFF | value << 32
    } else if field.hasHighHalf && !isLong64 {
      region[field] = region[field] & ~0xFFFF_FFFF | value
    } else {
      region[field] = value
    }
    succeed()
  }

  // MARK: INVEPT and INVVPID

  /// Types 1 and 2 of INVEPT, 0 to 3 of INVVPID. Translations are not tagged, so all of them go.
  private func invalidate(_ op: SystemOp, _ o: MicroOpPointer) throws(Stop) {
    let register: UInt64 = get(o.pointee.dst)
    let type = isLong64 ? register : register & 0xFFFF_FFFF
    let at = address(o)
    let first: UInt64 = try load(at)
    let second: UInt64 = try load((at &+ 8) & pointee.addressMask)
    let valid: Bool
    if op == .invept {
      valid = type == 2 || (type == 1 && EPTPointer(raw: first).isValid)
    } else {
      let id = first & 0xFFFF
      let isClean = first >> 16 == 0
      let isNamed = type <= 3 && id != 0 && (type != 0 || AddressWidth.isCanonical(second))
      valid = isClean && (type == 2 || isNamed)
    }
    guard valid else { return failValid(.invalidOperand) }
    flushTLB(keepGlobal: false)
    bumpGeneration()
    succeed()
  }
}
