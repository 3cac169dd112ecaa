import VMCore
import X86

/// A VM entry that fails: the field at fault and the rule it breaks (SDM 3C 27.2, 27.3).
struct EntryFailure: Equatable {
  var field: VMCSField
  var rule: String
  init(_ field: VMCSField, _ rule: String) {
    self.field = field
    self.rule = rule
  }
}

/// The checks of VM entry on a VMCS, in the manual's order within each part.
struct EntryChecks<Fields: VMCSFields> {
  let region: Fields
  /// Bits CR4 may have.
  let cr4Allowed: UInt64
  /// The monitor that enters runs in 64-bit mode.
  let hostIsLong: Bool
  /// Eight bytes of guest memory; all ones where none is.
  let quad: (UInt64) -> UInt64

  private func value(_ field: VMCSField) -> UInt64 { region[field] }
  private func has(_ bit: VMXControlBit) -> Bool { region.has(bit) }
  private func isCanonical(_ field: VMCSField) -> Bool { AddressWidth.isCanonical(value(field)) }
  private func isPhysical(_ field: VMCSField, aligned mask: UInt64) -> Bool {
    value(field) & (mask | ~AddressWidth.physicalMask) == 0
  }

  // MARK: Controls (SDM 3C 27.2.1)

  func controls() -> EntryFailure? {
    for field in [VMCSField.pinControls, .primaryControls, .exitControls, .entryControls] {
      if let failure = reserved(field) { return failure }
    }
    if has(.activateSecondary), let failure = reserved(.secondaryControls) { return failure }
    return executionControls() ?? exitAndEntryControls() ?? injection()
  }

  private func reserved(_ field: VMCSField) -> EntryFailure? {
    let one = VMXCapabilities.mustBeOne(field)
    if value(field) & one != one { return EntryFailure(field, "a bit that must be 1 is 0") }
    if value(field) & ~VMXCapabilities.mayBeOne(field) != 0 { return EntryFailure(field, "a bit that must be 0 is 1") }
    return nil
  }

  private func executionControls() -> EntryFailure? {
    if value(.cr3TargetCount) > 4 { return EntryFailure(.cr3TargetCount, "more than four CR3 targets") }
    if has(.useIOBitmaps) {
      for field in [VMCSField.ioBitmapA, .ioBitmapB] where !isPhysical(field, aligned: 0xFFF) {
        return EntryFailure(field, "not a page's physical address")
      }
    }
    if has(.useMSRBitmaps) && !isPhysical(.msrBitmap, aligned: 0xFFF) {
      return EntryFailure(.msrBitmap, "not a page's physical address")
    }
    if has(.useTPRShadow) {
      if !isPhysical(.virtualAPICAddress, aligned: 0xFFF) {
        return EntryFailure(.virtualAPICAddress, "not a page's physical address")
      }
      if value(.tprThreshold) & ~0xF != 0 { return EntryFailure(.tprThreshold, "bits 31:4 are not 0") }
      let virtual = quad(value(.virtualAPICAddress) + 0x80) >> 4 & 0xF
      if value(.tprThreshold) > virtual { return EntryFailure(.tprThreshold, "above the virtual TPR") }
    }
    if !has(.nmiExiting) && has(.virtualNMIs) { return EntryFailure(.pinControls, "virtual NMIs without NMI exiting") }
    if !has(.virtualNMIs) && has(.nmiWindowExiting) {
      return EntryFailure(.primaryControls, "NMI-window exiting without virtual NMIs")
    }
    if has(.enableVPID) && value(.virtualProcessorID) == 0 { return EntryFailure(.virtualProcessorID, "VPID 0") }
    if has(.enableEPT) && !EPTPointer(raw: value(.eptPointer)).isValid {
      return EntryFailure(.eptPointer, "memory type, walk length or a reserved bit")
    }
    if has(.unrestrictedGuest) && !has(.enableEPT) {
      return EntryFailure(.secondaryControls, "unrestricted guest without EPT")
    }
    return nil
  }

  private func exitAndEntryControls() -> EntryFailure? {
    if !has(.preemptionTimer) && has(.savePreemptionTimer) {
      return EntryFailure(.exitControls, "the preemption timer is to be saved but is not active")
    }
    let lists: [(VMCSField, VMCSField)] = [
      (.exitMSRStoreCount, .exitMSRStoreAddress), (.exitMSRLoadCount, .exitMSRLoadAddress),
      (.entryMSRLoadCount, .entryMSRLoadAddress),
    ]
    for (count, address) in lists where value(count) != 0 {
      if !isPhysical(address, aligned: 0xF) { return EntryFailure(address, "not aligned to 16 bytes, or too wide") }
      let end = value(address) &+ value(count) &* 16 &- 1
      if end & ~AddressWidth.physicalMask != 0 { return EntryFailure(count, "the list reaches beyond physical memory") }
      if value(count) > 512 { return EntryFailure(count, "more than 512 MSRs") }
    }
    return nil
  }

  /// The event to be injected (SDM 3C 27.2.1.3).
  private func injection() -> EntryFailure? {
    let info = UInt32(value(.entryInterruption))
    guard info & VMXFormat.valid != 0 else { return nil }
    let field = VMCSField.entryInterruption
    let vector = UInt8(truncatingIfNeeded: info)
    guard let type = VMXFormat.EventType(rawValue: info >> 8 & 7) else { return EntryFailure(field, "event type 1") }
    if type == .other && vector != 0 { return EntryFailure(field, "another event than a pending MTF exit") }
    if info & 0x7FFF_F000 != 0 { return EntryFailure(field, "bits 30:12 are not 0") }
    if type == .nmi && vector != 2 { return EntryFailure(field, "an NMI with another vector than 2") }
    if type == .hardwareException && vector > 31 { return EntryFailure(field, "an exception above vector 31") }
    // Only an unrestricted guest can be in real mode, where there are no error codes.
    let isProtected = !has(.unrestrictedGuest) || value(.guestCR0) & CR0.pe != 0
    let pushes = type == .hardwareException && isProtected && [8, 10, 11, 12, 13, 14, 17].contains(vector)
    let hasCode = info & VMXFormat.hasErrorCode != 0
    if hasCode != pushes { return EntryFailure(field, "the error code does not go with vector \(vector)") }
    if hasCode && value(.entryErrorCode) & ~0x7FFF != 0 { return EntryFailure(.entryErrorCode, "bits 31:15 are not 0") }
    let isSoftware = type == .softwareInterrupt || type == .privilegedSoftwareException || type == .softwareException
    if isSoftware && !(1...15).contains(value(.entryInstructionLength)) {
      return EntryFailure(.entryInstructionLength, "not 1 to 15")
    }
    return nil
  }

  // MARK: Host state (SDM 3C 27.2.2 to 27.2.4)

  func hostState() -> EntryFailure? {
    let fixed = VMXCapabilities.cr0Fixed0
    if value(.hostCR0) & fixed != fixed || value(.hostCR0) & ~VMXCapabilities.cr0Fixed1 != 0 {
      return EntryFailure(.hostCR0, "PE, NE or PG is 0, or a reserved bit is 1")
    }
    if value(.hostCR4) & CR4.vmxe == 0 || value(.hostCR4) & ~cr4Allowed != 0 {
      return EntryFailure(.hostCR4, "VMXE is 0, or a reserved bit is 1")
    }
    if value(.hostCR3) & ~AddressWidth.physicalMask != 0 { return EntryFailure(.hostCR3, "too wide") }
    let canonical: [VMCSField] = [
      .hostSysenterESP, .hostSysenterEIP, .hostFSBase, .hostGSBase, .hostGDTRBase, .hostIDTRBase, .hostTRBase,
    ]
    for field in canonical where !isCanonical(field) { return EntryFailure(field, "not canonical") }
    if has(.loadHostPAT) && !MSRDefaults.isValidPAT(value(.hostPAT)) { return EntryFailure(.hostPAT, "a memory type") }
    let long = has(.hostAddressSpaceSize)
    if has(.loadHostEFER), let failure = efer(.hostEFER, long: long, paging: true) { return failure }
    return hostSelectors() ?? hostMode(long)
  }

  private func efer(_ field: VMCSField, long: Bool, paging: Bool) -> EntryFailure? {
    let value = value(field)
    let known = EFER.sce | EFER.lme | EFER.lma | EFER.nxe
    if value & ~known != 0 { return EntryFailure(field, "a reserved bit is 1") }
    if (value & EFER.lma != 0) != long { return EntryFailure(field, "LMA does not agree with the controls") }
    if paging && (value & EFER.lme != 0) != (value & EFER.lma != 0) {
      return EntryFailure(field, "LME and LMA differ with paging on")
    }
    return nil
  }

  private func hostSelectors() -> EntryFailure? {
    let fields: [VMCSField] = [.hostES, .hostCS, .hostSS, .hostDS, .hostFS, .hostGS, .hostTR]
    for field in fields where value(field) & 7 != 0 { return EntryFailure(field, "RPL or TI is not 0") }
    if value(.hostCS) == 0 { return EntryFailure(.hostCS, "null") }
    if value(.hostTR) == 0 { return EntryFailure(.hostTR, "null") }
    if !has(.hostAddressSpaceSize) && value(.hostSS) == 0 { return EntryFailure(.hostSS, "null with a 32-bit host") }
    return nil
  }

  private func hostMode(_ long: Bool) -> EntryFailure? {
    if long != hostIsLong { return EntryFailure(.exitControls, "host address-space size is not the monitor's mode") }
    if !hostIsLong && has(.ia32eModeGuest) { return EntryFailure(.entryControls, "an IA-32e guest of a 32-bit host") }
    if long {
      if value(.hostCR4) & CR4.pae == 0 { return EntryFailure(.hostCR4, "PAE is 0 with a 64-bit host") }
      if !isCanonical(.hostRIP) { return EntryFailure(.hostRIP, "not canonical") }
    } else if value(.hostRIP) >> 32 != 0 {
      return EntryFailure(.hostRIP, "above 4 GiB with a 32-bit host")
    }
    return nil
  }
}
