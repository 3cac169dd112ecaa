import VMCore
import X86

/// VM exit to the guest's own monitor (SDM 3C chapter 28).
extension UnsafeMutablePointer<CPU> {
  /// Leaves non-root operation for the exit in `vmx.exit`, with RIP where the guest is to go on. `length` is
  /// that of the instruction the exit belongs to.
  func leaveGuest(length: UInt8) {
    guard let region = currentVMCS else {
      // The VMCS is gone from memory: nothing can be told to the monitor.
      pointee.vmx = VMXState()
      pointee.activity = .shutdown
      return
    }
    let exit = pointee.vmx.exit
    recordExit(exit, region, length: length)
    saveGuest(region)
    emitVMX(.exit, UInt32(exit.reason.rawValue), exit.qualification)
    pointee.vmx.nonRoot = false
    pointee.vmx.eptPointer = 0
    pointee.vmx.preemptionDeadline = .max
    pointee.vmx.vectoring = 0
    pointee.vmx.injection = 0
    pointee.vmx.isTPRBelowThreshold = false
    pointee.tscOffset &-= pointee.vmx.addedTSCOffset
    pointee.vmx.addedTSCOffset = 0
    var aborts = storeMSRs(region[.exitMSRStoreAddress], region[.exitMSRStoreCount]) ? UInt32(0) : 1
    loadHost(region)
    if aborts == 0, loadMSRs(region[.exitMSRLoadAddress], region[.exitMSRLoadCount]) != nil { aborts = 4 }
    if aborts != 0 {
      // A VMX abort is a shutdown (SDM 3C 28.7).
      region.abort(aborts)
      pointee.activity = .shutdown
    }
  }

  /// The exit-information fields (SDM 3C 28.2).
  private func recordExit(_ exit: VMXExit, _ region: VMCSRegion, length: UInt8) {
    region[.exitReason] = UInt64(exit.reason.rawValue)
    region[.exitQualification] = exit.qualification
    region[.exitInterruption] = UInt64(exit.interruption)
    if exit.interruption & VMXFormat.hasErrorCode != 0 { region[.exitErrorCode] = UInt64(exit.errorCode) }
    region[.idtVectoring] = UInt64(pointee.vmx.vectoring)
    if pointee.vmx.vectoring & VMXFormat.hasErrorCode != 0 {
      region[.idtVectoringErrorCode] = UInt64(pointee.vmx.vectoringErrorCode)
    }
    region[.guestLinearAddress] = exit.linear
    region[.guestPhysicalAddress] = exit.physical
    if exit.isInstruction || exit.interruption >> 8 & 7 >= 4 || pointee.vmx.vectoring >> 8 & 7 >= 4 {
      region[.exitInstructionLength] = UInt64(length)
    }
    region[.exitInstructionInformation] = exit.isInstruction ? UInt64(instructionInformation(exit.reason)) : 0
    // An injected event is there for one entry.
    region[.entryInterruption] = region[.entryInterruption] & 0x7FFF_FFFF
  }

  /// The guest-state area (SDM 3C 28.3).
  private func saveGuest(_ region: VMCSRegion) {
    region[.guestCR0] = pointee.cr0
    region[.guestCR3] = pointee.cr3
    region[.guestCR4] = pointee.cr4
    region[.guestSysenterCS] = pointee.sysenterCS
    region[.guestSysenterESP] = pointee.sysenterESP
    region[.guestSysenterEIP] = pointee.sysenterEIP
    if region.has(.saveDebugControls) {
      region[.guestDR7] = pointee.dr7
      region[.guestDebugControl] = 0
    }
    if region.has(.savePAT) { region[.guestPAT] = pointee.pat }
    if region.has(.saveEFER) { region[.guestEFER] = pointee.efer }
    let long = pointee.efer & EFER.lma != 0
    let mode = VMXControlBit.ia32eModeGuest.mask
    region[.entryControls] = long ? region[.entryControls] | mode : region[.entryControls] & ~mode
    for i in 0..<8 {
      let segment = pointee.segments[i]
      region[.selector(i)] = UInt64(segment.selector)
      region[.limit(i)] = UInt64(segment.limit)
      region[.access(i)] = UInt64(segment.access)
      region[.base(i)] = i == 4 ? self[slot: Slot.fsBase] : i == 5 ? self[slot: Slot.gsBase] : segment.base
    }
    region[.guestGDTRBase] = pointee.gdtr.base
    region[.guestGDTRLimit] = UInt64(pointee.gdtr.limit)
    region[.guestIDTRBase] = pointee.idtr.base
    region[.guestIDTRLimit] = UInt64(pointee.idtr.limit)
    region[.guestRIP] = pointee.rip
    region[.guestRSP] = self[slot: Slot.rsp]
    region[.guestRFLAGS] = materializeFlags()
    region[.guestActivity] = 0
    region[.guestPendingDebug] = 0
    let shadow = pointee.shadowAt == retired || pointee.interruptShadow
    region[.guestInterruptibility] = (shadow ? 1 : 0) | (pointee.nmiBlocked ? 8 : 0)
    if region.has(.savePreemptionTimer) {
      let now = retired &+ pointee.slept
      let left = pointee.vmx.preemptionDeadline > now ? pointee.vmx.preemptionDeadline - now : 0
      region[.preemptionTimer] = left >> VMXCapabilities.preemptionTimerShift
    }
    let pdptes: [VMCSField] = [.guestPDPTE0, .guestPDPTE1, .guestPDPTE2, .guestPDPTE3]
    if region.has(.enableEPT) {
      for (i, field) in pdptes.enumerated() { region[field] = pointee.paging.pdpte[i] }
    }
  }

  private func instructionInformation(_ reason: ExitReason) -> UInt32 {
    switch reason {
    case .io, .gdtrIdtrAccess, .ldtrTrAccess, .vmclear, .vmptrld, .vmptrst, .vmread, .vmwrite, .vmxon, .invept, .invvpid:
      InstructionInformation.field(of: vcpu.codeBytes(15), mode: mode)
    default: 0
    }
  }

  // MARK: The monitor's state (SDM 3C 28.5)

  func loadHost(_ region: VMCSRegion) {
    let long = region.has(.hostAddressSpaceSize)
    let kept = CR0.et | CR0.nw | CR0.cd
    pointee.cr0 = pointee.cr0 & kept | region[.hostCR0] & ~kept
    pointee.cr3 = region[.hostCR3]
    pointee.cr4 = region[.hostCR4] | (long ? CR4.pae : 0)
    pointee.dr7 = 0x400
    pointee.sysenterCS = region[.hostSysenterCS]
    pointee.sysenterESP = region[.hostSysenterESP]
    pointee.sysenterEIP = region[.hostSysenterEIP]
    if region.has(.loadHostPAT) { pointee.pat = region[.hostPAT] }
    if region.has(.loadHostEFER) { pointee.efer = region[.hostEFER] }
    let mode = EFER.lma | EFER.lme
    pointee.efer = long ? pointee.efer | mode : pointee.efer & ~mode
    loadHostSegments(region, long: long)
    pointee.gdtr = TableRegister(base: region[.hostGDTRBase], limit: 0xFFFF)
    pointee.idtr = TableRegister(base: region[.hostIDTRBase], limit: 0xFFFF)
    self[slot: Slot.rsp] = region[.hostRSP]
    pointee.rip = region[.hostRIP]
    replaceFlags(RFLAGS.fixed1)
    pointee.cpl = 0
    pointee.shadowAt = .max
    pointee.interruptShadow = false
    if pointee.cr4 & CR4.pae != 0 && !long { _ = loadPDPTEs(from: pointee.cr3) }
    updateAll()
  }

  private func loadHostSegments(_ region: VMCSRegion, long: Bool) {
    let data: [(Int, VMCSField)] = [(0, .hostES), (2, .hostSS), (3, .hostDS), (4, .hostFS), (5, .hostGS)]
    for (i, field) in data {
      let selector = UInt16(region[field])
      let base = i == 4 ? region[.hostFSBase] : i == 5 ? region[.hostGSBase] : 0
      // A null selector makes the segment unusable; SS keeps DPL 0.
      let access: UInt32 = selector == 0 ? 0x1_0000 : 0xC093
      setSegment(i, SegmentState(selector: selector, base: base, limit: 0xFFFF_FFFF, access: access))
    }
    let code: UInt32 = long ? 0xA09B : 0xC09B
    setSegment(1, SegmentState(selector: UInt16(region[.hostCS]), base: 0, limit: 0xFFFF_FFFF, access: code))
    setSegment(6, SegmentState(selector: 0, base: 0, limit: 0, access: 0x1_0000))
    setSegment(
      7, SegmentState(selector: UInt16(region[.hostTR]), base: region[.hostTRBase], limit: 0x67, access: 0x8B))
  }
}
