import Debugger
import VMCore
import X86

/// The control area of the VM's VMCS as the person set it, and what it was before each change.
package struct VMCSModel: Sendable {
  package private(set) var controls = ExitControls.standard
  /// What the changes so far did, oldest first, with the controls before each.
  private var undos: [(change: VMCSChange, before: ExitControls)] = []
  private static let undoLimit = 100
  package init() {}

  package mutating func apply(_ change: VMCSChange) {
    undos.append((change, controls))
    if undos.count > Self.undoLimit { undos.removeFirst() }
    change.apply(to: &controls)
  }

  /// Takes the last change back; what it was, or nil where there is none.
  package mutating func undo() -> VMCSChange? {
    guard let last = undos.popLast() else { return nil }
    controls = last.before
    return last.change
  }
  package var undoCount: Int { undos.count }
}

/// One change of the control area.
package enum VMCSChange: Equatable, Sendable {
  case bit(VMXControlBit, Bool)
  /// One of the 32 exceptions; nil for all.
  case exception(UInt8?, Bool)
  case ports(ClosedRange<UInt16>, Bool)
  /// An MSR; nil for all that the bitmaps cover.
  case msr(UInt32?, AccessKinds, Bool)
  /// Bits of the CR0 or CR4 guest/host mask.
  case mask(VMCSField, UInt64, Bool)
  /// A field that holds a number.
  case field(VMCSField, UInt64)
  case preset(VMCSPreset)

  package func apply(to controls: inout ExitControls) {
    switch self {
    case .bit(.savePreemptionTimer, let on): controls.savesPreemptionTimer = on
    case .bit(let bit, let on): controls.vmcs[bit] = on
    case .exception(let vector, let on):
      let bits = vector.map { UInt32(1) << UInt32($0) } ?? .max
      controls.vmcs.exceptions = on ? controls.vmcs.exceptions | bits : controls.vmcs.exceptions & ~bits
    case .ports(let range, let on):
      if range == 0...0xFFFF { controls.bitmaps.setAllPorts(on) }
      for port in range where range.count < 0x10000 { controls.bitmaps[port: port] = on }
    case .msr(nil, _, let on): controls.bitmaps.setAllMSRs(on)
    case .msr(let index?, let kinds, let on):
      if kinds.contains(.read) { controls.bitmaps.set(msr: index, write: false, on) }
      if kinds.contains(.write) { controls.bitmaps.set(msr: index, write: true, on) }
    case .mask(.cr0Mask, let bits, let on):
      controls.vmcs.cr0Mask = on ? controls.vmcs.cr0Mask | bits : controls.vmcs.cr0Mask & ~bits
    case .mask(_, let bits, let on):
      controls.vmcs.cr4Mask = on ? controls.vmcs.cr4Mask | bits : controls.vmcs.cr4Mask & ~bits
    case .field(let field, let value): Self.put(value, field, &controls)
    case .preset(let preset): controls = preset.controls
    }
  }

  private static func put(_ value: UInt64, _ field: VMCSField, _ controls: inout ExitControls) {
    let targets: [VMCSField] = [.cr3Target0, .cr3Target1, .cr3Target2, .cr3Target3]
    switch field {
    case .exceptionBitmap: controls.vmcs.exceptions = UInt32(truncatingIfNeeded: value)
    case .pageFaultMask: controls.vmcs.pageFaultMask = UInt32(truncatingIfNeeded: value)
    case .pageFaultMatch: controls.vmcs.pageFaultMatch = UInt32(truncatingIfNeeded: value)
    case .cr0Mask: controls.vmcs.cr0Mask = value
    case .cr4Mask: controls.vmcs.cr4Mask = value
    case .tscOffset: controls.tscOffset = value
    case .preemptionTimer: controls.preemptionTimer = UInt32(truncatingIfNeeded: value)
    case .cr3TargetCount:
      let count = Int(min(value, 4))
      let held = controls.vmcs.cr3Targets
      controls.vmcs.cr3Targets = (0..<count).map { $0 < held.count ? held[$0] : 0 }
    default:
      guard let index = targets.firstIndex(of: field) else { return }
      while controls.vmcs.cr3Targets.count <= index { controls.vmcs.cr3Targets.append(0) }
      controls.vmcs.cr3Targets[index] = value
    }
  }

  /// Fields of the control area that hold a number the person may set.
  package static let numbers: [VMCSField] = [
    .exceptionBitmap, .pageFaultMask, .pageFaultMatch, .cr0Mask, .cr4Mask, .cr3TargetCount, .cr3Target0, .cr3Target1,
    .cr3Target2, .cr3Target3, .tscOffset, .preemptionTimer,
  ]

  /// Why a control bit cannot be changed; nil where it can.
  package static func whyFixed(_ bit: VMXControlBit) -> String? {
    switch bit {
    case .interruptWindowExiting, .nmiWindowExiting:
      "run control's own: it sets it while an interrupt waits for the guest to take it"
    case .virtualNMIs: "the model delivers NMIs to the guest itself and blocks them until IRET"
    case .mwaitExiting, .monitorExiting: "the embedded processor has no MONITOR and MWAIT: they raise #UD"
    case .useTPRShadow: "there is no virtual-APIC page: CR8 is the platform's local APIC"
    case .activateSecondary: "EPT and the unrestricted guest need the secondary controls"
    case .enableEPT: "guest-physical memory is the monitor's map; without EPT a guest would need shadow tables"
    case .enableVPID: "the model's TLB has no tags: there is nothing to tell apart"
    case .unrestrictedGuest: "guests start in real mode"
    case .savePreemptionTimer: nil
    default: bit.field == .exitControls || bit.field == .entryControls ? "the model's entry and exit always do so" : nil
    }
  }
}

/// Control areas to start from.
package enum VMCSPreset: String, CaseIterable, Sendable {
  case minimal, standard, nested, shadow, everything

  package var help: String {
    switch self {
    case .minimal: "only what always exits: the devices as if assigned to the guest"
    case .standard: "HLT, CR8, every port, and the MSRs the processor does not have itself"
    case .nested: "as a monitor with nested paging sets it: page tables are the guest's own"
    case .shadow: "as a monitor with shadow paging sets it: CR3, INVLPG, #PF and the paging bits of CR0 and CR4"
    case .everything: "every bit that can be 1, every port, MSR and exception"
    }
  }

  package var controls: ExitControls {
    var controls = ExitControls.standard
    func on(_ bits: VMXControlBit...) { for bit in bits { controls.vmcs[bit] = true } }
    switch self {
    case .standard: break
    case .minimal:
      for bit in [VMXControlBit.hltExiting, .cr8LoadExiting, .cr8StoreExiting] { controls.vmcs[bit] = false }
      controls.bitmaps = VMCSBitmaps(all: false)
    case .nested:
      on(.externalInterruptExiting, .nmiExiting, .wbinvdExiting, .rdpmcExiting, .movDRExiting)
      controls.vmcs.cr0Mask = Self.cr0 & ~(CR0.ts | CR0.wp)
      controls.vmcs.cr4Mask = Self.cr4 & ~(CR4.de | CR4.pce | CR4.osfxsr | CR4.osxmmexcpt | CR4.pge | CR4.tsd | CR4.fsgsbase)
    case .shadow:
      on(.cr3LoadExiting, .cr3StoreExiting, .invlpgExiting)
      controls.vmcs.exceptions = 1 << UInt32(Exception.pf.rawValue)
      controls.vmcs.cr0Mask = CR0.pe | CR0.wp | CR0.pg
      controls.vmcs.cr4Mask = CR4.pse | CR4.pae | CR4.pge | CR4.smep | CR4.smap
    case .everything:
      on(
        .externalInterruptExiting, .nmiExiting, .invlpgExiting, .rdpmcExiting, .rdtscExiting, .cr3LoadExiting,
        .cr3StoreExiting, .movDRExiting, .pauseExiting, .descriptorTableExiting, .wbinvdExiting)
      controls.vmcs.exceptions = .max
      controls.vmcs.cr0Mask = Self.cr0
      controls.vmcs.cr4Mask = Self.cr4
      controls.bitmaps = VMCSBitmaps(all: true)
    }
    return controls
  }

  private static let cr0: UInt64 =
    CR0.pe | CR0.mp | CR0.em | CR0.ts | CR0.ne | CR0.wp | CR0.am | CR0.nw | CR0.cd | CR0.pg
  private static let cr4: UInt64 = {
    let system = CR4.tsd | CR4.de | CR4.pse | CR4.pae | CR4.pge | CR4.pce | CR4.vmxe
    return system | CR4.osfxsr | CR4.osxmmexcpt | CR4.umip | CR4.fsgsbase | CR4.smep | CR4.smap
  }()
}
