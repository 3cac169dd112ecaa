import VMCore
import X86

/// VM entry (SDM 3C chapter 27).
extension UnsafeMutablePointer<CPU> {
  /// VMLAUNCH and VMRESUME: into the guest of the current VMCS, or a VMfail, or the exit of a failed entry.
  func enterGuest(launching: Bool) throws(Stop) {
    guard let region = currentVMCS else {
      replaceFlags(materializeFlags() & ~RFLAGS.arithmetic | RFLAGS.cf)
      return
    }
    // What is injected comes before the guest's first instruction, between blocks.
    guard pointee.alone else { throw .alone }
    if pointee.shadowAt == retired &- 1 && pointee.shadowIsMOVSS { return failValid(.entryMOVSS) }
    if launching && region.isLaunched { return failValid(.launchNotClear) }
    if !launching && !region.isLaunched { return failValid(.resumeNotLaunched) }
    let checks = EntryChecks(
      region: region, cr4Allowed: supportedCR4, hostIsLong: isLong64, quad: { self.physicalQuad($0) })
    if let failure = checks.controls() { return refuse(failure, .entryControls) }
    if let failure = checks.hostState() { return refuse(failure, .entryHostState) }
    let guest = GuestChecks(region: region, cr4Allowed: supportedCR4, quad: { self.physicalQuad($0) })
    if let failure = guest.check() {
      noteFailure(failure)
      let qualification: UInt64 = failure.field == .linkPointer ? 4 : 0
      return failEntry(region, .entryFailure, qualification)
    }
    guard let pointers = entryPDPTEs(region) else {
      noteFailure(EntryFailure(.guestPDPTE0, "a present PDPTE has a reserved bit set"))
      return failEntry(region, .entryFailure, 2)
    }
    let wereNMIsBlocked = pointee.nmiBlocked
    loadGuest(region, pointers)
    if let index = loadMSRs(region[.entryMSRLoadAddress], region[.entryMSRLoadCount]) {
      pointee.nmiBlocked = wereNMIsBlocked
      noteFailure(EntryFailure(.entryMSRLoadAddress, "entry \(index) of the list cannot be loaded"))
      return failEntry(region, .entryMSRFailure, index)
    }
    if launching { region.isLaunched = true }
    beginGuest(region)
  }

  private func refuse(_ failure: EntryFailure, _ error: VMInstructionError) {
    noteFailure(failure)
    failValid(error)
  }

  /// Names the field at fault for whoever watches: hardware does not.
  private func noteFailure(_ failure: EntryFailure) {
    vcpu.lastEntryFailure = "\(failure.field): \(failure.rule)"
    emitVMX(.entryRefused, UInt32(failure.field.rawValue), 0)
  }

  func emitVMX(_ kind: NestedTransition, _ detail: UInt32, _ qualification: UInt64) {
    unloadMXCSR()
    let owner = vcpu
    owner.events.emit(
      Event(
        .nested, vcpu: UInt8(truncatingIfNeeded: owner.index), rip: pointee.rip, a: detail, b: qualification,
        flags: kind.rawValue, count: retired))
  }

  /// The exit of an entry that had begun: nothing of the guest is saved, the monitor goes on at its host RIP
  /// (SDM 3C 27.8).
  private func failEntry(_ region: VMCSRegion, _ reason: ExitReason, _ qualification: UInt64) {
    region[.exitReason] = UInt64(reason.rawValue) | 1 << 31
    region[.exitQualification] = qualification
    emitVMX(.exit, UInt32(reason.rawValue) | 1 << 31, qualification)
    returnToHost(region)
  }

  /// The PDPTEs of a PAE guest: from the VMCS with EPT, else from memory; nil if one has a reserved bit set.
  private func entryPDPTEs(_ region: VMCSRegion) -> InlineArray<4, UInt64>? {
    var pointers = InlineArray<4, UInt64>(repeating: 0)
    let isPAE = region[.guestCR0] & CR0.pg != 0 && region[.guestCR4] & CR4.pae != 0 && !region.has(.ia32eModeGuest)
    guard isPAE else { return pointers }
    let fields: [VMCSField] = [.guestPDPTE0, .guestPDPTE1, .guestPDPTE2, .guestPDPTE3]
    for (i, field) in fields.enumerated() {
      let entry =
        region.has(.enableEPT) ? region[field] : physicalQuad((region[.guestCR3] & 0xFFFF_FFE0) + UInt64(i) * 8)
      if entry & PageEntry.present != 0 && entry & PageEntry.reservedInPDPTE != 0 { return nil }
      pointers[i] = entry
    }
    return pointers
  }

  // MARK: Loading the guest (SDM 3C 27.3.2)

  private func loadGuest(_ region: VMCSRegion, _ pointers: InlineArray<4, UInt64>) {
    pointee.cr0 = pointee.cr0 & ~Self.loadedCR0 | region[.guestCR0] & Self.loadedCR0
    pointee.cr3 = region[.guestCR3]
    pointee.cr4 = region[.guestCR4]
    pointee.paging.pdpte = pointers
    if region.has(.loadDebugControls) {
      pointee.dr7 = region[.guestDR7] & 0xFFFF_23FF | 0x400
      pointee.debugControl = region[.guestDebugControl]
    }
    pointee.sysenterCS = region[.guestSysenterCS]
    pointee.sysenterESP = region[.guestSysenterESP]
    pointee.sysenterEIP = region[.guestSysenterEIP]
    if region.has(.loadPAT) { pointee.pat = region[.guestPAT] }
    if region.has(.loadEFER) {
      pointee.efer = region[.guestEFER]
    } else {
      let long = region.has(.ia32eModeGuest)
      let paging = pointee.cr0 & CR0.pg != 0
      if long { pointee.efer |= EFER.lma } else { pointee.efer &= ~EFER.lma }
      if paging { pointee.efer = long ? pointee.efer | EFER.lme : pointee.efer & ~EFER.lme }
    }
    for i in 0..<8 {
      let access = UInt32(region[.access(i)])
      setSegment(
        i,
        SegmentState(
          selector: UInt16(region[.selector(i)]), base: region[.base(i)], limit: UInt32(region[.limit(i)]),
          access: access))
    }
    pointee.gdtr = TableRegister(base: region[.guestGDTRBase], limit: UInt16(truncatingIfNeeded: region[.guestGDTRLimit]))
    pointee.idtr = TableRegister(base: region[.guestIDTRBase], limit: UInt16(truncatingIfNeeded: region[.guestIDTRLimit]))
    self[slot: Slot.rsp] = region[.guestRSP]
    pointee.rip = region[.guestRIP]
    replaceFlags(region[.guestRFLAGS])
    pointee.cpl = pointee.cr0 & CR0.pe == 0 ? 0 : pointee.rflags & RFLAGS.vm != 0 ? 3 : pointee.segments[2].dpl
    let blocking = region[.guestInterruptibility]
    pointee.nmiBlocked = blocking & 8 != 0
    // The shadow holds before the guest's first instruction.
    pointee.interruptShadow = blocking & 3 != 0
    pointee.shadowIsMOVSS = blocking & 2 != 0
  }

  /// VM entry and exit leave ET, NW, CD and the reserved bits of CR0 alone.
  static var loadedCR0: UInt64 { CR0.pe | CR0.mp | CR0.em | CR0.ts | CR0.ne | CR0.wp | CR0.am | CR0.pg }

  /// The guest runs: controls, timer, event injection.
  private func beginGuest(_ region: VMCSRegion) {
    startNonRoot(region)
    pointee.vmx.addedTSCOffset = region.has(.useTSCOffsetting) ? region[.tscOffset] : 0
    pointee.tscOffset &+= pointee.vmx.addedTSCOffset
    if region.has(.preemptionTimer) {
      let ticks = region[.preemptionTimer] << VMXCapabilities.preemptionTimerShift
      pointee.vmx.preemptionDeadline = retired &+ pointee.slept &+ ticks
    }
    let info = UInt32(region[.entryInterruption])
    if info & VMXFormat.valid != 0 {
      pointee.vmx.injection = info
      pointee.vmx.injectionErrorCode = UInt32(region[.entryErrorCode])
      pointee.vmx.injectionLength = UInt8(truncatingIfNeeded: region[.entryInstructionLength])
    }
    pointee.vmx.pendingDebug = pendingDebug(region, info)
    if region[.guestActivity] == 1 { pointee.activity = .halted }
    updateAll()
    emitVMX(.entry, info, region[.guestRIP])
  }

  /// The debug exceptions that are pending after VM entry (SDM 3C 27.7.3): none beside an injected event. Behind a
  /// MOV SS they wait for the next instruction's end, and its own single step takes the place of theirs.
  private func pendingDebug(_ region: VMCSRegion, _ info: UInt32) -> UInt64 {
    let pending = region[.guestPendingDebug]
    let isOther = info >> 8 & 7 == VMXFormat.EventType.other.rawValue
    guard info & VMXFormat.valid == 0 || isOther else { return 0 }
    if region[.guestInterruptibility] & 2 != 0 { return pending & 0x1000 == 0 ? 0 : pending & 0x100F }
    return pending & 0x5000 == 0 ? 0 : pending
  }

  /// Non-root operation under a region's controls: at VM entry, and when a vCPU's state is put back.
  func startNonRoot(_ region: VMCSRegion) {
    pointee.vmx.nonRoot = true
    pointee.vmx.controls = controls(of: region)
    pointee.vmx.eptPointer = region.has(.enableEPT) ? region[.eptPointer] : 0
  }

  private func controls(of region: VMCSRegion) -> VMXControls {
    var controls = VMXControls()
    controls.pin = region[.pinControls]
    controls.primary = region[.primaryControls]
    controls.secondary = region.has(.activateSecondary) ? region[.secondaryControls] : 0
    controls.exceptions = UInt32(region[.exceptionBitmap])
    controls.pageFaultMask = UInt32(region[.pageFaultMask])
    controls.pageFaultMatch = UInt32(region[.pageFaultMatch])
    controls.cr0Mask = region[.cr0Mask]
    controls.cr0Shadow = region[.cr0Shadow]
    controls.cr4Mask = region[.cr4Mask]
    controls.cr4Shadow = region[.cr4Shadow]
    let targets: [VMCSField] = [.cr3Target0, .cr3Target1, .cr3Target2, .cr3Target3]
    controls.cr3Targets = targets.prefix(Int(min(region[.cr3TargetCount], 4))).map { region[$0] }
    return controls
  }

  /// Mappings, context and caches after everything changed.
  func updateAll() {
    flushTLB(keepGlobal: false)
    bumpGeneration()
    updateContext()
  }

  // MARK: MSR areas (SDM 3C 27.4, 28.4, 28.6)

  /// Loads a list of MSRs; the 1-based number of the entry that cannot be loaded, or nil.
  func loadMSRs(_ list: UInt64, _ count: UInt64) -> UInt64? {
    for i in 0..<min(count, 512) {
      let index = physicalQuad(list &+ i &* 16)
      let value = physicalQuad(list &+ i &* 16 &+ 8)
      let number = UInt32(truncatingIfNeeded: index)
      let isBase = number == MSR.fsBase || number == MSR.gsBase
      let forbidden = isBase || number == 0x9B || (0x800...0x8FF).contains(number)
      guard index >> 32 == 0, !forbidden, canWriteMSR(number, value) else { return i + 1 }
    }
    return nil
  }

  private func canWriteMSR(_ index: UInt32, _ value: UInt64) -> Bool {
    do throws(Stop) {
      return try writeMSR(index, value, now: retired &+ pointee.slept)
    } catch {
      return false
    }
  }

  func storeMSRs(_ list: UInt64, _ count: UInt64) -> Bool {
    for i in 0..<min(count, 512) {
      let at = list &+ i &* 16
      let index = physicalQuad(at)
      guard index >> 32 == 0, let value = readMSR(UInt32(index), now: retired &+ pointee.slept),
        let page = hostPage(at &+ 8), page.writable
      else { return false }
      codeWritten(at &+ 8, 8)
      page.host.storeBytes(of: value, toByteOffset: Int((at &+ 8) & 0xFFF), as: UInt64.self)
    }
    return true
  }
}
