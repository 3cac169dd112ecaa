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
    let isNMI = exit.interruption & 0x8000_0700 == VMXFormat.interruption(.nmi, vector: 0)
    // Blocking of virtual NMIs is the guest's alone.
    if pointee.vmx.controls.has(.virtualNMIs) { pointee.nmiBlocked = false }
    if isNMI { pointee.nmiBlocked = true }
    let wasLong = pointee.efer & EFER.lma != 0
    emitVMX(.exit, UInt32(exit.reason.rawValue), exit.qualification)
    pointee.vmx.nonRoot = false
    pointee.vmx.eptPointer = 0
    pointee.vmx.preemptionDeadline = .max
    pointee.vmx.vectoring = 0
    pointee.vmx.injection = 0
    pointee.vmx.pendingDebug = 0
    pointee.activity = .active
    pointee.vmx.isTPRBelowThreshold = false
    if exit.reason == .initSignal { pointee.vmx.isInitPending = false }
    pointee.tscOffset &-= pointee.vmx.addedTSCOffset
    pointee.vmx.addedTSCOffset = 0
    if !storeMSRs(region[.exitMSRStoreAddress], region[.exitMSRStoreCount]) { return abort(region, 1) }
    // A 32-bit monitor cannot get a guest in IA-32e mode back.
    if wasLong && !region.has(.hostAddressSpaceSize) { return abort(region, 6) }
    returnToHost(region)
  }

  /// A VMX abort is a shutdown (SDM 3C 28.7).
  private func abort(_ region: VMCSRegion, _ code: UInt32) {
    region.abort(code)
    pointee.activity = .shutdown
  }

  /// The monitor's registers and MSRs.
  func returnToHost(_ region: VMCSRegion) {
    guard loadHost(region) else { return abort(region, 2) }
    if loadMSRs(region[.exitMSRLoadAddress], region[.exitMSRLoadCount]) != nil { abort(region, 4) }
  }

  /// The exit-information fields (SDM 3C 28.2).
  private func recordExit(_ exit: VMXExit, _ region: VMCSRegion, length: UInt8) {
    region[.exitReason] = UInt64(exit.reason.rawValue)
    let operands = exit.isInstruction ? instructionInformation(exit.reason) : nil
    region[.exitQualification] = operands?.displacement ?? exit.qualification
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
    region[.exitInstructionInformation] = UInt64(operands?.field ?? ioInformation(exit))
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
      region[.guestDebugControl] = pointee.debugControl
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
    region[.guestRFLAGS] = savedFlags(pointee.vmx.exit)
    region[.guestActivity] = pointee.activity == .halted ? 1 : 0
    saveBlocking(region)
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

  /// RF as an exception's flags image has it; 0 for instructions that exit, 1 for what EPT does not let
  /// happen (SDM 3C 28.3.3).
  private func savedFlags(_ exit: VMXExit) -> UInt64 {
    let flags = materializeFlags()
    if exit.isInstruction { return flags & ~RFLAGS.rf }
    switch exit.reason {
    case .exception where exit.interruption >> 8 & 7 == VMXFormat.EventType.hardwareException.rawValue:
      return pushedFlags(UInt8(truncatingIfNeeded: exit.interruption), .exception)
    case .exception where exit.interruption >> 8 & 7 > VMXFormat.EventType.hardwareException.rawValue:
      return flags & ~RFLAGS.rf
    case .eptViolation, .eptMisconfiguration:
      let isFault = pointee.vmx.vectoring == 0 || pointee.vmx.vectoring >> 8 & 7 == 3
      return isFault ? flags | RFLAGS.rf : flags
    default: return flags
    }
  }

  /// Blocking by STI, MOV SS and NMI, and the debug traps it or this exit holds back (SDM 3C 28.3.4).
  private func saveBlocking(_ region: VMCSRegion) {
    let hasShadow = pointee.shadowAt == retired || pointee.interruptShadow
    let shadow: UInt64 = !hasShadow ? 0 : pointee.shadowIsMOVSS ? 2 : 1
    region[.guestInterruptibility] = shadow | (pointee.nmiBlocked ? 8 : 0)
    var pending = pointee.vmx.exit.pendingDebug
    if hasShadow && pointee.shadowIsMOVSS { pending |= pointee.vmx.pendingDebug }
    let isHeld = hasShadow || pointee.activity == .halted
    if isHeld && pointee.rflags & RFLAGS.tf != 0 { pending |= 1 << 14 }
    region[.guestPendingDebug] = pending
  }

  /// Information and displacement of the instructions whose exit qualification is a displacement; nil for
  /// others.
  private func instructionInformation(_ reason: ExitReason) -> InstructionInformation? {
    switch reason {
    case .gdtrIdtrAccess, .ldtrTrAccess, .vmclear, .vmptrld, .vmptrst, .vmread, .vmwrite, .vmxon, .invept, .invvpid:
      InstructionInformation(of: vcpu.codeBytes(15), mode: mode, rip: pointee.rip)
    default: nil
    }
  }

  /// Information about INS and OUTS.
  private func ioInformation(_ exit: VMXExit) -> UInt32 {
    guard exit.reason == .io, exit.qualification & 1 << 4 != 0 else { return 0 }
    return InstructionInformation(of: vcpu.codeBytes(15), mode: mode, rip: pointee.rip).field
  }

  // MARK: The monitor's state (SDM 3C 28.5)

  /// False where the PDPTEs of a monitor with PAE paging cannot be loaded.
  private func loadHost(_ region: VMCSRegion) -> Bool {
    let long = region.has(.hostAddressSpaceSize)
    pointee.cr0 = pointee.cr0 & ~Self.loadedCR0 | region[.hostCR0] & Self.loadedCR0
    pointee.cr3 = region[.hostCR3]
    pointee.cr4 = region[.hostCR4] | (long ? CR4.pae : 0)
    pointee.dr7 = 0x400
    pointee.debugControl = 0
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
    updateAll()
    guard pointee.cr4 & CR4.pae != 0 && !long else { return true }
    return (try? loadPDPTEs(from: pointee.cr3)) ?? false
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
