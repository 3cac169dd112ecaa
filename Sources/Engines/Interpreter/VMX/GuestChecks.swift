import VMCore
import X86

/// The checks of VM entry on the guest-state area (SDM 3C 27.3.1): what fails here has happened after the
/// entry began, and comes back as a VM exit with reason 33.
struct GuestChecks<Fields: VMCSFields> {
  let region: Fields
  let cr4Allowed: UInt64
  /// Eight bytes of guest memory; all ones where none is.
  let quad: (UInt64) -> UInt64

  private func value(_ field: VMCSField) -> UInt64 { region[field] }
  private func has(_ bit: VMXControlBit) -> Bool { region.has(bit) }
  private var isUnrestricted: Bool { has(.unrestrictedGuest) }
  private var isLong: Bool { has(.ia32eModeGuest) }
  private var isVirtual8086: Bool { value(.guestRFLAGS) & RFLAGS.vm != 0 }

  func check() -> EntryFailure? {
    controlRegisters() ?? msrs() ?? virtual8086Mode() ?? segments() ?? tables() ?? ripAndFlags() ?? nonRegister()
  }

  private func controlRegisters() -> EntryFailure? {
    let cr0 = value(.guestCR0)
    let fixed = isUnrestricted ? CR0.ne : VMXCapabilities.cr0Fixed0
    if cr0 & fixed != fixed || cr0 & ~VMXCapabilities.cr0Fixed1 != 0 {
      return EntryFailure(.guestCR0, "a bit that is fixed in VMX operation")
    }
    if cr0 & CR0.pg != 0 && cr0 & CR0.pe == 0 { return EntryFailure(.guestCR0, "PG without PE") }
    let cr4 = value(.guestCR4)
    if cr4 & CR4.vmxe == 0 || cr4 & ~cr4Allowed != 0 {
      return EntryFailure(.guestCR4, "VMXE is 0, or a reserved bit is 1")
    }
    if isLong && cr0 & CR0.pg == 0 { return EntryFailure(.guestCR0, "PG is 0 in an IA-32e guest") }
    if isLong && cr4 & CR4.pae == 0 { return EntryFailure(.guestCR4, "PAE is 0 in an IA-32e guest") }
    if value(.guestCR3) & ~AddressWidth.physicalMask != 0 { return EntryFailure(.guestCR3, "too wide") }
    if has(.loadDebugControls) {
      if value(.guestDebugControl) & ~DebugControl.all != 0 { return EntryFailure(.guestDebugControl, "a reserved bit is 1") }
      if value(.guestDR7) >> 32 != 0 { return EntryFailure(.guestDR7, "bits 63:32 are not 0") }
    }
    return nil
  }

  private func msrs() -> EntryFailure? {
    for field in [VMCSField.guestSysenterESP, .guestSysenterEIP] where !AddressWidth.isCanonical(value(field)) {
      return EntryFailure(field, "not canonical")
    }
    if has(.loadPAT) && !MSRDefaults.isValidPAT(value(.guestPAT)) { return EntryFailure(.guestPAT, "a memory type") }
    guard has(.loadEFER) else { return nil }
    let efer = value(.guestEFER)
    let known = EFER.sce | EFER.lme | EFER.lma | EFER.nxe
    if efer & ~known != 0 { return EntryFailure(.guestEFER, "a reserved bit is 1") }
    if (efer & EFER.lma != 0) != isLong { return EntryFailure(.guestEFER, "LMA is not \"IA-32e mode guest\"") }
    if value(.guestCR0) & CR0.pg != 0 && (efer & EFER.lme != 0) != (efer & EFER.lma != 0) {
      return EntryFailure(.guestEFER, "LME and LMA differ with paging on")
    }
    return nil
  }

  /// First, as the segments of v8086 mode have rules of their own.
  private func virtual8086Mode() -> EntryFailure? {
    let cannotBe = isLong || value(.guestCR0) & CR0.pe == 0
    return isVirtual8086 && cannotBe ? EntryFailure(.guestRFLAGS, "VM in IA-32e or real mode") : nil
  }

  // MARK: Segments (SDM 3C 27.3.1.2)

  private func access(_ i: Int) -> UInt64 { value(.access(i)) }
  private func selector(_ i: Int) -> UInt64 { value(.selector(i)) }
  private func isUsable(_ i: Int) -> Bool { access(i) & 0x1_0000 == 0 }

  private func segments() -> EntryFailure? {
    if selector(7) & 4 != 0 { return EntryFailure(.guestTR, "TI is 1") }
    if isUsable(6) && selector(6) & 4 != 0 { return EntryFailure(.guestLDTR, "TI is 1") }
    if !isVirtual8086 && !isUnrestricted && selector(2) & 3 != selector(1) & 3 {
      return EntryFailure(.guestSS, "RPL is not that of CS")
    }
    for i in [7, 4, 5] where !AddressWidth.isCanonical(value(.base(i))) {
      return EntryFailure(.base(i), "not canonical")
    }
    if isUsable(6) && !AddressWidth.isCanonical(value(.base(6))) { return EntryFailure(.base(6), "not canonical") }
    if value(.base(1)) >> 32 != 0 { return EntryFailure(.base(1), "bits 63:32 are not 0") }
    for i in [2, 3, 0] where isUsable(i) && value(.base(i)) >> 32 != 0 {
      return EntryFailure(.base(i), "bits 63:32 are not 0")
    }
    if isVirtual8086 { return virtual8086Segments() }
    return codeSegment() ?? stackSegment() ?? dataSegments() ?? systemSegments()
  }

  private func virtual8086Segments() -> EntryFailure? {
    for i in 0..<6 {
      if value(.base(i)) != selector(i) << 4 { return EntryFailure(.base(i), "not the selector times 16 in v8086 mode") }
      if value(.limit(i)) != 0xFFFF { return EntryFailure(.limit(i), "not FFFFh in v8086 mode") }
      if access(i) != 0xF3 { return EntryFailure(.access(i), "not F3h in v8086 mode") }
    }
    return systemSegments()
  }

  private func codeSegment() -> EntryFailure? {
    let rights = access(1)
    let type = rights & 0xF
    let dpl = rights >> 5 & 3
    let stackDPL = access(2) >> 5 & 3
    let field = VMCSField.guestCSAccess
    switch type {
    case 9, 11: if dpl != stackDPL { return EntryFailure(field, "DPL is not SS's") }
    case 13, 15: if dpl > stackDPL { return EntryFailure(field, "DPL is above SS's") }
    case 3 where isUnrestricted: if dpl != 0 { return EntryFailure(field, "DPL is not 0 with a data type") }
    default: return EntryFailure(field, "type \(type) is not accessed code")
    }
    if let failure = common(1) { return failure }
    if isLong && rights & 0x2000 != 0 && rights & 0x4000 != 0 { return EntryFailure(field, "L and D are both 1") }
    return nil
  }

  private func stackSegment() -> EntryFailure? {
    let rights = access(2)
    let dpl = rights >> 5 & 3
    if isUsable(2) {
      if rights & 0xF != 3 && rights & 0xF != 7 { return EntryFailure(.guestSSAccess, "not accessed writable data") }
      if let failure = common(2) { return failure }
    }
    if !isUnrestricted && dpl != selector(2) & 3 { return EntryFailure(.guestSSAccess, "DPL is not RPL") }
    if (access(1) & 0xF == 3 || value(.guestCR0) & CR0.pe == 0) && dpl != 0 {
      return EntryFailure(.guestSSAccess, "DPL is not 0 in real mode")
    }
    return nil
  }

  private func dataSegments() -> EntryFailure? {
    for i in [3, 0, 4, 5] where isUsable(i) {
      let rights = access(i)
      if rights & 1 == 0 { return EntryFailure(.access(i), "not accessed") }
      if rights & 8 != 0 && rights & 2 == 0 { return EntryFailure(.access(i), "code that cannot be read") }
      if !isUnrestricted && rights & 0xF <= 11 && rights >> 5 & 3 < selector(i) & 3 {
        return EntryFailure(.access(i), "DPL is below RPL")
      }
      if let failure = common(i) { return failure }
    }
    return nil
  }

  /// S, P, reserved bits, and granularity against the limit.
  private func common(_ i: Int) -> EntryFailure? {
    let rights = access(i)
    if rights & 0x10 == 0 { return EntryFailure(.access(i), "a system segment") }
    if rights & 0x80 == 0 { return EntryFailure(.access(i), "not present") }
    if rights & 0xFFFE_0F00 != 0 { return EntryFailure(.access(i), "a reserved bit is 1") }
    return granularity(i)
  }

  private func granularity(_ i: Int) -> EntryFailure? {
    let limit = value(.limit(i))
    let isPages = access(i) & 0x8000 != 0
    if limit & 0xFFF != 0xFFF && isPages { return EntryFailure(.access(i), "G is 1 but the limit ends inside a page") }
    if limit >> 20 != 0 && !isPages { return EntryFailure(.access(i), "G is 0 but the limit is above 1 MiB") }
    return nil
  }

  private func systemSegments() -> EntryFailure? {
    let rights = access(7)
    let type = rights & 0xF
    if type != 11 && (type != 3 || isLong) { return EntryFailure(.guestTRAccess, "not a busy TSS") }
    if rights & 0x10 != 0 { return EntryFailure(.guestTRAccess, "not a system segment") }
    if rights & 0x80 == 0 { return EntryFailure(.guestTRAccess, "not present") }
    if rights & 0xFFFF_0F00 != 0 { return EntryFailure(.guestTRAccess, "unusable, or a reserved bit is 1") }
    if let failure = granularity(7) { return failure }
    guard isUsable(6) else { return nil }
    let local = access(6)
    if local & 0x1F != 2 { return EntryFailure(.guestLDTRAccess, "not an LDT") }
    if local & 0x80 == 0 { return EntryFailure(.guestLDTRAccess, "not present") }
    if local & 0xFFFE_0F00 != 0 { return EntryFailure(.guestLDTRAccess, "a reserved bit is 1") }
    return granularity(6)
  }

  // MARK: The rest (SDM 3C 27.3.1.3 to 27.3.1.6)

  private func tables() -> EntryFailure? {
    for field in [VMCSField.guestGDTRBase, .guestIDTRBase] where !AddressWidth.isCanonical(value(field)) {
      return EntryFailure(field, "not canonical")
    }
    for field in [VMCSField.guestGDTRLimit, .guestIDTRLimit] where value(field) >> 16 != 0 {
      return EntryFailure(field, "bits 31:16 are not 0")
    }
    return nil
  }

  private func ripAndFlags() -> EntryFailure? {
    let rip = value(.guestRIP)
    let isLongCode = isLong && access(1) & 0x2000 != 0
    if isLongCode {
      if !AddressWidth.isCanonical(rip) { return EntryFailure(.guestRIP, "not canonical") }
    } else if rip >> 32 != 0 {
      return EntryFailure(.guestRIP, "above 4 GiB outside 64-bit mode")
    }
    let flags = value(.guestRFLAGS)
    if flags & ~0x3F_7FD7 != 0 || flags & 2 == 0 { return EntryFailure(.guestRFLAGS, "a reserved bit") }
    let info = UInt32(value(.entryInterruption))
    let isExternal = info & VMXFormat.valid != 0 && info >> 8 & 7 == VMXFormat.EventType.externalInterrupt.rawValue
    if isExternal && flags & RFLAGS.interruptEnable == 0 {
      return EntryFailure(.guestRFLAGS, "IF is 0 but an external interrupt is injected")
    }
    return nil
  }

  private func nonRegister() -> EntryFailure? {
    let blocking = value(.guestInterruptibility)
    if let failure = activity(blocking) { return failure }
    if blocking & ~0xB != 0 { return EntryFailure(.guestInterruptibility, "a reserved bit, or blocking by SMI") }
    if blocking & 3 == 3 { return EntryFailure(.guestInterruptibility, "blocking by STI and by MOV SS") }
    if blocking & 1 != 0 && value(.guestRFLAGS) & RFLAGS.interruptEnable == 0 {
      return EntryFailure(.guestInterruptibility, "blocking by STI with IF 0")
    }
    let info = UInt32(value(.entryInterruption))
    let type = info & VMXFormat.valid != 0 ? VMXFormat.EventType(rawValue: info >> 8 & 7) : nil
    if type == .externalInterrupt && blocking & 3 != 0 {
      return EntryFailure(.guestInterruptibility, "an external interrupt is injected while blocked")
    }
    if type == .nmi && blocking & 2 != 0 {
      return EntryFailure(.guestInterruptibility, "an NMI is injected while blocked by MOV SS")
    }
    if type == .nmi && has(.virtualNMIs) && blocking & 8 != 0 {
      return EntryFailure(.guestInterruptibility, "an NMI is injected while virtual NMIs are blocked")
    }
    return pendingDebug(blocking) ?? linkPointer()
  }

  /// Active, or HLT where nothing forbids it.
  private func activity(_ blocking: UInt64) -> EntryFailure? {
    let state = value(.guestActivity)
    if state > 1 { return EntryFailure(.guestActivity, "neither active nor HLT") }
    guard state == 1 else { return nil }
    if access(2) >> 5 & 3 != 0 { return EntryFailure(.guestActivity, "HLT outside ring 0") }
    if blocking & 3 != 0 { return EntryFailure(.guestActivity, "HLT with blocking by STI or MOV SS") }
    let info = UInt32(value(.entryInterruption))
    guard info & VMXFormat.valid != 0 else { return nil }
    switch (VMXFormat.EventType(rawValue: info >> 8 & 7), info & 0xFF) {
    case (.externalInterrupt, _), (.nmi, _), (.hardwareException, 1), (.hardwareException, 18), (.other, _): return nil
    default: return EntryFailure(.guestActivity, "HLT with an event that does not wake")
    }
  }

  /// While something holds debug traps back, one must be pending exactly if TF is 1.
  private func pendingDebug(_ blocking: UInt64) -> EntryFailure? {
    let pending = value(.guestPendingDebug)
    if pending & ~0x500F != 0 { return EntryFailure(.guestPendingDebug, "a reserved bit is 1") }
    guard blocking & 3 != 0 || value(.guestActivity) == 1 else { return nil }
    let steps = value(.guestRFLAGS) & RFLAGS.tf != 0
    return steps == (pending & 1 << 14 != 0) ? nil : EntryFailure(.guestPendingDebug, "BS is not RFLAGS.TF while blocked")
  }

  private func linkPointer() -> EntryFailure? {
    let link = value(.linkPointer)
    guard link != .max else { return nil }
    if link & (0xFFF | ~AddressWidth.physicalMask) != 0 {
      return EntryFailure(.linkPointer, "not a page's physical address")
    }
    if UInt32(truncatingIfNeeded: quad(link)) != VMXCapabilities.revision {
      return EntryFailure(.linkPointer, "no VMCS there")
    }
    return nil
  }
}
