import X86

/// What can be asked for the fields of a VMCS.
package protocol VMCSFields {
  subscript(field: VMCSField) -> UInt64 { get }
}

extension VMCSFields {
  /// True where a control bit is 1; secondary controls count only when the primary ones activate them.
  package func has(_ bit: VMXControlBit) -> Bool {
    if bit.field == .secondaryControls && !has(.activateSecondary) { return false }
    return self[bit.field] & bit.mask != 0
  }
}

/// The VMCS of one of our own guests as a value: the guest-state area from a vCPU's state, the control area
/// from what makes it exit. The model keeps no such region in memory; this is what one would hold.
package struct VMCSImage: VMCSFields, Equatable, Sendable {
  private var values: [UInt64]

  package init() { values = [UInt64](repeating: 0, count: VMCSField.allCases.count) }

  package subscript(field: VMCSField) -> UInt64 {
    get { values[field.slot] }
    set { values[field.slot] = newValue & field.mask }
  }

  package init(state: VCPUState, controls: ExitControls) {
    self.init()
    putRegisters(state)
    putSegments(state)
    putBlocking(state)
    put(controls, isLong: state.efer & EFER.lma != 0)
  }

  // MARK: the guest-state area (SDM 3C 25.4)

  private mutating func putRegisters(_ state: VCPUState) {
    self[.guestCR0] = state.cr0
    self[.guestCR3] = state.cr3
    self[.guestCR4] = state.cr4
    self[.guestDR7] = state.dr7
    self[.guestDebugControl] = state.debugControl
    self[.guestRSP] = state[.rsp]
    self[.guestRIP] = state.rip
    self[.guestRFLAGS] = state.rflags
    self[.guestSysenterCS] = state.sysenterCS
    self[.guestSysenterESP] = state.sysenterESP
    self[.guestSysenterEIP] = state.sysenterEIP
    self[.guestPAT] = state.pat
    self[.guestEFER] = state.efer
    self[.linkPointer] = .max
  }

  private mutating func putSegments(_ state: VCPUState) {
    for (i, segment) in state.segments.enumerated() {
      self[.selector(i)] = UInt64(segment.selector)
      self[.base(i)] = segment.base
      self[.limit(i)] = UInt64(segment.limit)
      self[.access(i)] = UInt64(segment.access)
    }
    self[.guestGDTRBase] = state.gdtr.base
    self[.guestGDTRLimit] = UInt64(state.gdtr.limit)
    self[.guestIDTRBase] = state.idtr.base
    self[.guestIDTRLimit] = UInt64(state.idtr.limit)
  }

  private mutating func putBlocking(_ state: VCPUState) {
    let activity: UInt64
    switch state.activity {
    case .active: activity = 0
    case .halted: activity = 1
    case .shutdown: activity = 2
    case .waitForSIPI: activity = 3
    }
    self[.guestActivity] = activity
    let shadow: UInt64 = !state.interruptShadow ? 0 : state.shadowIsMOVSS ? 2 : 1
    self[.guestInterruptibility] = shadow | (state.nmiBlocked ? 8 : 0)
    let isHeld = shadow != 0 || activity == 1
    let step: UInt64 = isHeld && state.rflags & RFLAGS.tf != 0 ? 1 << 14 : 0
    self[.guestPendingDebug] = step | (state.vmx.isNonRoot ? 0 : state.vmx.pendingDebug)
  }

  // MARK: the control areas (SDM 3C 25.6 to 25.8)

  private mutating func put(_ controls: ExitControls, isLong: Bool) {
    let vmcs = controls.vmcs
    self[.pinControls] = vmcs.pin
    self[.primaryControls] = vmcs.primary
    self[.secondaryControls] = vmcs.secondary
    self[.exceptionBitmap] = UInt64(vmcs.exceptions)
    self[.pageFaultMask] = UInt64(vmcs.pageFaultMask)
    self[.pageFaultMatch] = UInt64(vmcs.pageFaultMatch)
    self[.cr0Mask] = vmcs.cr0Mask
    self[.cr0Shadow] = vmcs.cr0Shadow
    self[.cr4Mask] = vmcs.cr4Mask
    self[.cr4Shadow] = vmcs.cr4Shadow
    self[.cr3TargetCount] = UInt64(vmcs.cr3Targets.count)
    let targets: [VMCSField] = [.cr3Target0, .cr3Target1, .cr3Target2, .cr3Target3]
    for (field, value) in zip(targets, vmcs.cr3Targets) { self[field] = value }
    self[.tscOffset] = controls.tscOffset
    self[.preemptionTimer] = UInt64(controls.preemptionTimer)
    // Write-back, a walk of four levels; the tables are the monitor's and lie in no guest memory.
    self[.eptPointer] = 0x1E
    let exit: [VMXControlBit] = [
      .saveDebugControls, .hostAddressSpaceSize, .acknowledgeInterrupt, .savePAT, .saveEFER, .loadHostPAT, .loadHostEFER,
    ]
    self[.exitControls] = exit.reduce(VMXCapabilities.mustBeOne(.exitControls)) { $0 | $1.mask }
    if controls.savesPreemptionTimer { self[.exitControls] |= VMXControlBit.savePreemptionTimer.mask }
    let entry: [VMXControlBit] = [.loadDebugControls, .loadPAT, .loadEFER]
    self[.entryControls] = entry.reduce(VMXCapabilities.mustBeOne(.entryControls)) { $0 | $1.mask }
    if isLong { self[.entryControls] |= VMXControlBit.ia32eModeGuest.mask }
  }

  /// With the bits that VMX operation fixes in CR0 and CR4: a monitor owns them and shows the guest its own.
  package var withFixedBits: VMCSImage {
    var copy = self
    copy[.guestCR0] |= CR0.ne
    copy[.guestCR4] |= CR4.vmxe
    return copy
  }
}
