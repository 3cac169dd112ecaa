import X86

/// Something a guest does, or that happens to it, that a VMCS can make exit (SDM 3C 26.1, 26.2).
@usableFromInline package enum VMXEvent: Equatable, Sendable {
  /// A fault or trap of the guest's own, INT3 and INTO among them. `errorCode` counts for #PF alone.
  case exception(vector: UInt8, errorCode: UInt32)
  case nmi, externalInterrupt, tripleFault
  /// Nothing blocks an interrupt, or an NMI, any more.
  case interruptWindow, nmiWindow
  case taskSwitch, cpuid, getsec, hlt, invd, wbinvd, invlpg, rdpmc, rdtsc, rdtscp, pause, mwait, monitor, xsetbv
  /// VMCALL, VMLAUNCH and their kind.
  case vmxInstruction
  case movToCR(number: UInt8, value: UInt64)
  case movFromCR(number: UInt8)
  case clts
  case lmsw(UInt16)
  case movDR
  case io(port: UInt16, size: UInt8)
  case rdmsr(UInt32)
  case wrmsr(UInt32)
  /// LGDT, LIDT, SGDT, SIDT, LLDT, LTR, SLDT, STR.
  case descriptorTable
  /// An instruction has retired.
  case instructionRetired
  case preemptionTimer
}

/// What made an event exit: the answer to "why this exit?".
@usableFromInline package enum VMXCause: Equatable, Sendable {
  /// It always exits.
  case always
  /// A control bit that is 1.
  case control(VMXControlBit)
  /// A control bit that is 0: without bitmaps every access exits.
  case controlOff(VMXControlBit)
  /// A bit of the exception bitmap that is 1 or, for #PF, that together with the mask and match of error
  /// codes says so.
  case exceptionBitmap(vector: UInt8)
  /// A bit of I/O bitmap A or B.
  case ioBitmap(port: UInt16)
  /// The access goes beyond port FFFFh.
  case ioWrap
  /// A bit of the MSR bitmap.
  case msrBitmap(index: UInt32, write: Bool)
  /// An index that no bitmap covers.
  case msrOutside(index: UInt32)
  /// Bits of CR0 or CR4 that the monitor owns would differ from the read shadow.
  case guestHostMask(VMCSField, bits: UInt64)
  /// A CR3 value that is not among the CR3 targets.
  case cr3Load
  /// No bit of the VMCS: a debugger's wish beyond what VT-x can make exit.
  case debugger
  /// Extended page tables map nothing there.
  case ept
  /// Run control asked to be told when the guest can take an interrupt.
  case window
  /// No VMCS: the policy of binary rewriting, which calls out for this operation.
  case policy(SensitiveOperation)
}

/// The VM-execution controls of a VMCS, read once at VM entry (SDM 3C 25.6).
package struct VMXControls: Equatable, Sendable {
  package var pin: UInt64 = VMXCapabilities.mustBeOne(.pinControls)
  package var primary: UInt64 = VMXCapabilities.mustBeOne(.primaryControls)
  /// All 0 unless the primary controls activate them.
  package var secondary: UInt64 = 0
  package var exceptions: UInt32 = 0
  package var pageFaultMask: UInt32 = 0
  package var pageFaultMatch: UInt32 = 0
  package var cr0Mask: UInt64 = 0
  package var cr0Shadow: UInt64 = 0
  package var cr4Mask: UInt64 = 0
  package var cr4Shadow: UInt64 = 0
  /// CR3 targets, in place: controls without a reference in them are copied by the word.
  private var targets: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
  private var targetCount = 0

  package init() {}

  package static func == (a: VMXControls, b: VMXControls) -> Bool {
    let words = a.pin == b.pin && a.primary == b.primary && a.secondary == b.secondary
    let faults = a.exceptions == b.exceptions && a.pageFaultMask == b.pageFaultMask && a.pageFaultMatch == b.pageFaultMatch
    let masks = a.cr0Mask == b.cr0Mask && a.cr4Mask == b.cr4Mask
    let shadows = a.cr0Shadow == b.cr0Shadow && a.cr4Shadow == b.cr4Shadow
    return words && faults && masks && shadows && a.targetCount == b.targetCount && a.targets == b.targets
  }

  /// At most four.
  package var cr3Targets: [UInt64] {
    get { Array([targets.0, targets.1, targets.2, targets.3].prefix(targetCount)) }
    set {
      func at(_ index: Int) -> UInt64 { index < newValue.count ? newValue[index] : 0 }
      targets = (at(0), at(1), at(2), at(3))
      targetCount = min(newValue.count, 4)
    }
  }
  private func isTarget(_ value: UInt64) -> Bool {
    value == targets.0 && targetCount > 0 || value == targets.1 && targetCount > 1
      || value == targets.2 && targetCount > 2 || value == targets.3 && targetCount > 3
  }

  package func has(_ bit: VMXControlBit) -> Bool {
    switch bit.field {
    case .pinControls: pin & bit.mask != 0
    case .primaryControls: primary & bit.mask != 0
    case .secondaryControls: secondary & bit.mask != 0
    default: false
    }
  }

  /// A bit of the pin-based, primary or secondary controls; those of other fields stay 0.
  package subscript(bit: VMXControlBit) -> Bool {
    get { has(bit) }
    set {
      func put(_ word: inout UInt64) { word = newValue ? word | bit.mask : word & ~bit.mask }
      switch bit.field {
      case .pinControls: put(&pin)
      case .primaryControls: put(&primary)
      case .secondaryControls: put(&secondary)
      default: break
      }
    }
  }

  /// Why `event` exits, or nil where the guest goes on by itself. `bitmap` gives the byte at an offset
  /// into I/O bitmap A or B or the MSR bitmap, and is asked only where the controls use them.
  package func cause(of event: VMXEvent, bitmap: (VMCSField, Int) -> UInt8) -> VMXCause? {
    switch event {
    case .tripleFault, .taskSwitch, .cpuid, .getsec, .invd, .xsetbv, .vmxInstruction: .always
    case .exception(let vector, let errorCode): exceptionCause(vector, errorCode)
    case .nmi: on(.nmiExiting)
    case .externalInterrupt: on(.externalInterruptExiting)
    case .interruptWindow: on(.interruptWindowExiting)
    case .nmiWindow: on(.nmiWindowExiting)
    case .hlt: on(.hltExiting)
    case .wbinvd: on(.wbinvdExiting)
    case .invlpg: on(.invlpgExiting)
    case .rdpmc: on(.rdpmcExiting)
    case .rdtsc, .rdtscp: on(.rdtscExiting)
    case .pause: on(.pauseExiting)
    case .mwait: on(.mwaitExiting)
    case .monitor: on(.monitorExiting)
    case .movDR: on(.movDRExiting)
    case .descriptorTable: on(.descriptorTableExiting)
    case .instructionRetired: on(.monitorTrapFlag)
    case .preemptionTimer: on(.preemptionTimer)
    case .movToCR, .movFromCR, .clts, .lmsw: controlRegisterCause(event)
    case .io(let port, let size): ioCause(port, size, bitmap)
    case .rdmsr(let index): msrCause(index, write: false, bitmap)
    case .wrmsr(let index): msrCause(index, write: true, bitmap)
    }
  }

  private func on(_ bit: VMXControlBit) -> VMXCause? { has(bit) ? .control(bit) : nil }

  /// For #PF the bitmap's bit is turned round where the error code does not match (SDM 3C 26.2).
  private func exceptionCause(_ vector: UInt8, _ errorCode: UInt32) -> VMXCause? {
    guard vector < 32 else { return nil }
    var exits = exceptions >> UInt32(vector) & 1 != 0
    if vector == Exception.pf.rawValue && errorCode & pageFaultMask != pageFaultMatch { exits.toggle() }
    return exits ? .exceptionBitmap(vector: vector) : nil
  }

  private func controlRegisterCause(_ event: VMXEvent) -> VMXCause? {
    switch event {
    case .movToCR(0, let value): masked(.cr0Mask, (value ^ cr0Shadow) & cr0Mask)
    case .movToCR(4, let value): masked(.cr4Mask, (value ^ cr4Shadow) & cr4Mask)
    case .movToCR(3, let value): has(.cr3LoadExiting) && !isTarget(value) ? .cr3Load : nil
    case .movFromCR(3): on(.cr3StoreExiting)
    case .movToCR(8, _): on(.cr8LoadExiting)
    case .movFromCR(8): on(.cr8StoreExiting)
    case .clts: masked(.cr0Mask, cr0Mask & cr0Shadow & CR0.ts)
    case .lmsw(let word): lmswCause(UInt64(word))
    default: nil
    }
  }

  private func masked(_ field: VMCSField, _ bits: UInt64) -> VMXCause? {
    bits == 0 ? nil : .guestHostMask(field, bits: bits)
  }

  /// LMSW can set PE, never clear it: a 0 for PE asks for nothing.
  private func lmswCause(_ word: UInt64) -> VMXCause? {
    var wanted = (word ^ cr0Shadow) & cr0Mask & 0xF
    if word & CR0.pe == 0 { wanted &= ~CR0.pe }
    return masked(.cr0Mask, wanted)
  }

  private func ioCause(_ port: UInt16, _ size: UInt8, _ bitmap: (VMCSField, Int) -> UInt8) -> VMXCause? {
    guard has(.useIOBitmaps) else { return on(.unconditionalIOExiting) }
    for i in 0..<Int(size) {
      let number = Int(port) + i
      guard number <= 0xFFFF else { return .ioWrap }
      let byte = bitmap(number < 0x8000 ? .ioBitmapA : .ioBitmapB, (number & 0x7FFF) >> 3)
      if byte >> UInt8(number & 7) & 1 != 0 { return .ioBitmap(port: UInt16(number)) }
    }
    return nil
  }

  private func msrCause(_ index: UInt32, write: Bool, _ bitmap: (VMCSField, Int) -> UInt8) -> VMXCause? {
    guard has(.useMSRBitmaps) else { return .controlOff(.useMSRBitmaps) }
    let quarter: Int
    switch index {
    case 0...0x1FFF: quarter = write ? 0x800 : 0
    case 0xC000_0000...0xC000_1FFF: quarter = write ? 0xC00 : 0x400
    default: return .msrOutside(index: index)
    }
    let byte = bitmap(.msrBitmap, quarter + Int(index & 0x1FFF) >> 3)
    return byte >> UInt8(index & 7) & 1 != 0 ? .msrBitmap(index: index, write: write) : nil
  }

  // MARK: What the guest sees of CR0 and CR4

  /// A read gives the shadow's bits where the monitor owns them (SDM 3C 26.3).
  package func visibleCR0(_ real: UInt64) -> UInt64 { real & ~cr0Mask | cr0Shadow & cr0Mask }
  package func visibleCR4(_ real: UInt64) -> UInt64 { real & ~cr4Mask | cr4Shadow & cr4Mask }
  /// A write that does not exit changes only the guest's own bits.
  package func writtenCR0(_ real: UInt64, _ value: UInt64) -> UInt64 { real & cr0Mask | value & ~cr0Mask }
  package func writtenCR4(_ real: UInt64, _ value: UInt64) -> UInt64 { real & cr4Mask | value & ~cr4Mask }
}
