/// One bit of a VM-execution, VM-exit or VM-entry control word (SDM 3C 25.6 to 25.8).
@usableFromInline package struct VMXControlBit: Hashable, Sendable {
  @usableFromInline package let field: VMCSField
  @usableFromInline package let bit: UInt8
  @inlinable @inline(__always) package var mask: UInt64 { 1 &<< UInt64(bit) }
  /// The SDM's name.
  package var name: String { Self.names[self] ?? "bit \(bit)" }

  @inlinable @inline(__always) package init(_ field: VMCSField, _ bit: UInt8) {
    self.field = field
    self.bit = bit
  }

  // Constants are computed, so that other modules see their values, not a call.
  @inlinable @inline(__always) package static var externalInterruptExiting: Self { Self(.pinControls, 0) }
  @inlinable @inline(__always) package static var nmiExiting: Self { Self(.pinControls, 3) }
  @inlinable @inline(__always) package static var virtualNMIs: Self { Self(.pinControls, 5) }
  @inlinable @inline(__always) package static var preemptionTimer: Self { Self(.pinControls, 6) }

  @inlinable @inline(__always) package static var interruptWindowExiting: Self { Self(.primaryControls, 2) }
  @inlinable @inline(__always) package static var useTSCOffsetting: Self { Self(.primaryControls, 3) }
  @inlinable @inline(__always) package static var hltExiting: Self { Self(.primaryControls, 7) }
  @inlinable @inline(__always) package static var invlpgExiting: Self { Self(.primaryControls, 9) }
  @inlinable @inline(__always) package static var mwaitExiting: Self { Self(.primaryControls, 10) }
  @inlinable @inline(__always) package static var rdpmcExiting: Self { Self(.primaryControls, 11) }
  @inlinable @inline(__always) package static var rdtscExiting: Self { Self(.primaryControls, 12) }
  @inlinable @inline(__always) package static var cr3LoadExiting: Self { Self(.primaryControls, 15) }
  @inlinable @inline(__always) package static var cr3StoreExiting: Self { Self(.primaryControls, 16) }
  @inlinable @inline(__always) package static var cr8LoadExiting: Self { Self(.primaryControls, 19) }
  @inlinable @inline(__always) package static var cr8StoreExiting: Self { Self(.primaryControls, 20) }
  @inlinable @inline(__always) package static var useTPRShadow: Self { Self(.primaryControls, 21) }
  @inlinable @inline(__always) package static var nmiWindowExiting: Self { Self(.primaryControls, 22) }
  @inlinable @inline(__always) package static var movDRExiting: Self { Self(.primaryControls, 23) }
  @inlinable @inline(__always) package static var unconditionalIOExiting: Self { Self(.primaryControls, 24) }
  @inlinable @inline(__always) package static var useIOBitmaps: Self { Self(.primaryControls, 25) }
  @inlinable @inline(__always) package static var monitorTrapFlag: Self { Self(.primaryControls, 27) }
  @inlinable @inline(__always) package static var useMSRBitmaps: Self { Self(.primaryControls, 28) }
  @inlinable @inline(__always) package static var monitorExiting: Self { Self(.primaryControls, 29) }
  @inlinable @inline(__always) package static var pauseExiting: Self { Self(.primaryControls, 30) }
  @inlinable @inline(__always) package static var activateSecondary: Self { Self(.primaryControls, 31) }

  @inlinable @inline(__always) package static var enableEPT: Self { Self(.secondaryControls, 1) }
  @inlinable @inline(__always) package static var descriptorTableExiting: Self { Self(.secondaryControls, 2) }
  @inlinable @inline(__always) package static var enableRDTSCP: Self { Self(.secondaryControls, 3) }
  @inlinable @inline(__always) package static var enableVPID: Self { Self(.secondaryControls, 5) }
  @inlinable @inline(__always) package static var wbinvdExiting: Self { Self(.secondaryControls, 6) }
  @inlinable @inline(__always) package static var unrestrictedGuest: Self { Self(.secondaryControls, 7) }

  @inlinable @inline(__always) package static var saveDebugControls: Self { Self(.exitControls, 2) }
  @inlinable @inline(__always) package static var hostAddressSpaceSize: Self { Self(.exitControls, 9) }
  @inlinable @inline(__always) package static var acknowledgeInterrupt: Self { Self(.exitControls, 15) }
  @inlinable @inline(__always) package static var savePAT: Self { Self(.exitControls, 18) }
  @inlinable @inline(__always) package static var loadHostPAT: Self { Self(.exitControls, 19) }
  @inlinable @inline(__always) package static var saveEFER: Self { Self(.exitControls, 20) }
  @inlinable @inline(__always) package static var loadHostEFER: Self { Self(.exitControls, 21) }
  @inlinable @inline(__always) package static var savePreemptionTimer: Self { Self(.exitControls, 22) }

  @inlinable @inline(__always) package static var loadDebugControls: Self { Self(.entryControls, 2) }
  @inlinable @inline(__always) package static var ia32eModeGuest: Self { Self(.entryControls, 9) }
  @inlinable @inline(__always) package static var loadPAT: Self { Self(.entryControls, 14) }
  @inlinable @inline(__always) package static var loadEFER: Self { Self(.entryControls, 15) }

  /// Every bit this processor lets a monitor set, with the SDM's names, in the order of field and bit.
  package static let all: [VMXControlBit] = named.map(\.0)
  private static let names: [VMXControlBit: String] = Dictionary(uniqueKeysWithValues: named)
  private static let named: [(VMXControlBit, String)] = [
    (externalInterruptExiting, "external-interrupt exiting"), (nmiExiting, "NMI exiting"),
    (virtualNMIs, "virtual NMIs"), (preemptionTimer, "activate VMX-preemption timer"),
    (interruptWindowExiting, "interrupt-window exiting"), (useTSCOffsetting, "use TSC offsetting"),
    (hltExiting, "HLT exiting"), (invlpgExiting, "INVLPG exiting"), (mwaitExiting, "MWAIT exiting"),
    (rdpmcExiting, "RDPMC exiting"), (rdtscExiting, "RDTSC exiting"), (cr3LoadExiting, "CR3-load exiting"),
    (cr3StoreExiting, "CR3-store exiting"), (cr8LoadExiting, "CR8-load exiting"),
    (cr8StoreExiting, "CR8-store exiting"), (useTPRShadow, "use TPR shadow"),
    (nmiWindowExiting, "NMI-window exiting"), (movDRExiting, "MOV-DR exiting"),
    (unconditionalIOExiting, "unconditional I/O exiting"), (useIOBitmaps, "use I/O bitmaps"),
    (monitorTrapFlag, "monitor trap flag"), (useMSRBitmaps, "use MSR bitmaps"),
    (monitorExiting, "MONITOR exiting"), (pauseExiting, "PAUSE exiting"),
    (activateSecondary, "activate secondary controls"), (enableEPT, "enable EPT"),
    (descriptorTableExiting, "descriptor-table exiting"), (enableRDTSCP, "enable RDTSCP"),
    (enableVPID, "enable VPID"), (wbinvdExiting, "WBINVD exiting"), (unrestrictedGuest, "unrestricted guest"),
    (saveDebugControls, "save debug controls"), (hostAddressSpaceSize, "host address-space size"),
    (acknowledgeInterrupt, "acknowledge interrupt on exit"), (savePAT, "save IA32_PAT"),
    (loadHostPAT, "load IA32_PAT"), (saveEFER, "save IA32_EFER"), (loadHostEFER, "load IA32_EFER"),
    (savePreemptionTimer, "save VMX-preemption timer value"), (loadDebugControls, "load debug controls"),
    (ia32eModeGuest, "IA-32e mode guest"), (loadPAT, "load IA32_PAT"), (loadEFER, "load IA32_EFER"),
  ]
}

/// Which bits of the control words must be 1 and which may be (SDM 3D appendix A): what the capability
/// MSRs report and VM entry checks.
package enum VMXCapabilities {
  /// The revision identifier of VMCS regions; never 0, bit 31 clear.
  package static let revision: UInt32 = 0x5253_0001
  /// VMX-preemption timer ticks at the TSC's rate shifted right by this.
  package static let preemptionTimerShift: UInt64 = 5

  /// Bits that must be 1 ("default1 settings"; `isTrue` for the TRUE capability MSRs, where CR3 load and
  /// store exiting and the debug controls may be cleared).
  package static func mustBeOne(_ field: VMCSField, isTrue: Bool = true) -> UInt64 {
    switch field {
    case .pinControls: 0x16
    case .primaryControls: isTrue ? 0x0400_6172 : 0x0401_E172
    case .exitControls: isTrue ? 0x3_6DFB : 0x3_6DFF
    case .entryControls: isTrue ? 0x11FB : 0x11FF
    default: 0
    }
  }
  package static func mayBeOne(_ field: VMCSField) -> UInt64 {
    switch field {
    case .pinControls: allowed.pin
    case .primaryControls: allowed.primary
    case .secondaryControls: allowed.secondary
    case .exitControls: allowed.exit
    case .entryControls: allowed.entry
    default: 0
    }
  }
  private static let allowed = (
    pin: union(.pinControls), primary: union(.primaryControls), secondary: union(.secondaryControls),
    exit: union(.exitControls), entry: union(.entryControls)
  )
  private static func union(_ field: VMCSField) -> UInt64 {
    VMXControlBit.all.filter { $0.field == field }.reduce(mustBeOne(field, isTrue: false)) { $0 | $1.mask }
  }

  /// CR0 bits that are 1 in VMX operation: PE, NE, PG.
  package static let cr0Fixed0: UInt64 = CR0.pe | CR0.ne | CR0.pg
  package static let cr0Fixed1: UInt64 = 0xFFFF_FFFF
  package static let cr4Fixed0: UInt64 = CR4.vmxe

  /// Page-walk length 4, uncacheable and write-back, 2 MiB and 1 GiB pages, INVEPT and INVVPID of all types;
  /// neither execute-only translations nor accessed and dirty flags.
  private static let eptAndVPID: UInt64 = {
    let bits: [UInt64] = [6, 8, 14, 16, 17, 20, 25, 26, 32, 40, 41, 42, 43]
    return bits.reduce(0) { $0 | 1 << $1 }
  }()

  /// The value of capability MSR 480h to 490h; nil for others. `cr4` are the bits CR4 may have.
  package static func msr(_ index: UInt32, cr4: UInt64) -> UInt64? {
    func controls(_ field: VMCSField, isTrue: Bool) -> UInt64 {
      mustBeOne(field, isTrue: isTrue) | mayBeOne(field) << 32
    }
    switch index {
    // Regions of 4 KiB, write-back; INS and OUTS report instruction information; TRUE MSRs exist.
    case 0x480: return UInt64(revision) | 4096 << 32 | 6 << 50 | 1 << 54 | 1 << 55
    case 0x481: return controls(.pinControls, isTrue: false)
    case 0x482: return controls(.primaryControls, isTrue: false)
    case 0x483: return controls(.exitControls, isTrue: false)
    case 0x484: return controls(.entryControls, isTrue: false)
    // EFER.LMA is stored at exit; HLT activity; 4 CR3 targets.
    case 0x485: return preemptionTimerShift | 1 << 5 | 1 << 6 | 4 << 16
    case 0x486: return cr0Fixed0
    case 0x487: return cr0Fixed1
    case 0x488: return cr4Fixed0
    case 0x489: return cr4
    case 0x48A: return UInt64(0x2E)
    case 0x48B: return mayBeOne(.secondaryControls) << 32
    case 0x48C: return eptAndVPID
    case 0x48D: return controls(.pinControls, isTrue: true)
    case 0x48E: return controls(.primaryControls, isTrue: true)
    case 0x48F: return controls(.exitControls, isTrue: true)
    case 0x490: return controls(.entryControls, isTrue: true)
    default: return nil
    }
  }
}

/// VM-instruction error numbers (SDM 3C 31.4).
package enum VMInstructionError: UInt32, CaseIterable, Sendable {
  case vmcallInRoot = 1, clearInvalidAddress = 2, clearVMXONPointer = 3, launchNotClear = 4, resumeNotLaunched = 5
  case resumeAfterVMXOFF = 6, entryControls = 7, entryHostState = 8, loadInvalidAddress = 9, loadVMXONPointer = 10
  case loadRevision = 11, unsupportedField = 12, readOnlyField = 13, vmxonInRoot = 15, entryExecutiveVMCS = 16
  case entryMOVSS = 26, invalidOperand = 28

  package var text: String {
    switch self {
    case .vmcallInRoot: "VMCALL executed in VMX root operation"
    case .clearInvalidAddress: "VMCLEAR with invalid physical address"
    case .clearVMXONPointer: "VMCLEAR with VMXON pointer"
    case .launchNotClear: "VMLAUNCH with non-clear VMCS"
    case .resumeNotLaunched: "VMRESUME with non-launched VMCS"
    case .resumeAfterVMXOFF: "VMRESUME after VMXOFF"
    case .entryControls: "VM entry with invalid control field(s)"
    case .entryHostState: "VM entry with invalid host-state field(s)"
    case .loadInvalidAddress: "VMPTRLD with invalid physical address"
    case .loadVMXONPointer: "VMPTRLD with VMXON pointer"
    case .loadRevision: "VMPTRLD with incorrect VMCS revision identifier"
    case .unsupportedField: "VMREAD/VMWRITE from/to unsupported VMCS component"
    case .readOnlyField: "VMWRITE to read-only VMCS component"
    case .vmxonInRoot: "VMXON executed in VMX root operation"
    case .entryExecutiveVMCS: "VM entry with invalid executive-VMCS pointer"
    case .entryMOVSS: "VM entry with events blocked by MOV SS"
    case .invalidOperand: "Invalid operand to INVEPT/INVVPID"
    }
  }
}
