import Engines
import Testing
import VMCore
import X86

/// One vCPU in 64-bit VMX root operation with a VMCS in memory that is good to enter, for tests of VMX one instruction
/// or one guest at a time.
///
/// Map: GDT 1000h; the guest's IDT 4000h (64-bit), 4800h (32-bit), its TSS 5000h, the monitor's stack below 7000h, the
/// guest's below 6000h; the monitor's code 8000h and, after exits, 9000h (HLT); the guest's code A000h, its handlers
/// from B000h (16 bytes a vector, VMCALL); page tables from 10000h; VMX structures from 20000h; EPT from 30000h.
final class VMXBench {
  let memory: GuestMemory
  let events = EventSink(capacity: 1024)
  let engine: InterpreterEngine
  let vcpu: any VCPU

  static let code: UInt64 = 0x8000
  static let hostEntry: UInt64 = 0x9000
  static let guestCode: UInt64 = 0xA000
  static let handlers: UInt64 = 0xB000
  static let scratch: UInt64 = 0xE000
  static let vmxon: UInt64 = 0x20000
  static let vmcs: UInt64 = 0x21000
  static let otherVMCS: UInt64 = 0x22000
  static let ioBitmapA: UInt64 = 0x23000
  static let ioBitmapB: UInt64 = 0x24000
  static let msrBitmap: UInt64 = 0x25000
  static let virtualAPIC: UInt64 = 0x26000
  static let msrArea: UInt64 = 0x27000
  static let ept: UInt64 = 0x30000

  static let vmlaunch: [UInt8] = [0x0F, 0x01, 0xC2], vmresume: [UInt8] = [0x0F, 0x01, 0xC3]
  static let vmcall: [UInt8] = [0x0F, 0x01, 0xC1], vmxoff: [UInt8] = [0x0F, 0x01, 0xC4]

  init() throws {
    memory = try GuestMemory(ramSize: 4 << 20)
    engine = try InterpreterEngine(memory: memory, events: events, configuration: EngineConfiguration())
    vcpu = engine.vcpus[0]
    buildTables()
    for region in [Self.vmxon, Self.vmcs, Self.otherVMCS] { put(region, VMXCapabilities.revision) }
    enterRoot()
    fillVMCS()
  }

  func put<T: FixedWidthInteger>(_ address: UInt64, _ value: T) { memory.store(GPA(address), value) }
  func get<T: FixedWidthInteger>(_ address: UInt64, as type: T.Type = T.self) -> T {
    memory.load(GPA(address), as: T.self) ?? 0
  }

  private func buildTables() {
    let descriptors: [UInt64] = [0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0, 0, 0x0000_8B00_5000_0067, 0]
    for (i, d) in descriptors.enumerated() { put(0x1000 + UInt64(i) * 8, d) }
    // 32-bit code at 38h, a 32-bit TSS that is free at 40h, a task gate to it at 48h.
    put(0x1038, UInt64(0x00CF_9B00_0000_FFFF))
    put(0x1040, UInt64(0x0000_8900_5800_0067))
    put(0x1048, UInt64(0x0000_8500_0040_0000))
    for vector in 0..<UInt64(256) {
      let handler = Self.handlers + vector * 16
      put(0x4000 + vector * 16, handler & 0xFFFF | 0x08 << 16 | 0x8E << 40)
      put(0x4000 + vector * 16 + 8, UInt64(0))
      memory.write(GPA(handler), Self.vmcall)
    }
    memory.write(GPA(Self.hostEntry), [0xF4])
    // A and D are set already.
    put(0x10000, UInt64(0x11027))
    put(0x11000, UInt64(0x12027))
    for i in 0..<UInt64(4) { put(0x12000 + i * 8, i << 21 | 0xE7) }
    // EPT: 4 KiB pages for the first 2 MiB, then 2 MiB pages; write-back, everything allowed.
    put(Self.ept, Self.ept + 0x1007)
    put(Self.ept + 0x1000, Self.ept + 0x2007)
    put(Self.ept + 0x2000, Self.ept + 0x3007)
    for i in 1..<UInt64(4) { put(Self.ept + 0x2000 + i * 8, i << 21 | 0xB7) }
    for i in 0..<UInt64(512) { put(Self.ept + 0x3000 + i * 8, i << 12 | 0x37) }
  }
  /// The EPT entry of a page among the first 512.
  func eptPage(_ page: UInt64, _ entry: UInt64) { put(Self.ept + 0x3000 + (page >> 12) * 8, entry) }

  // MARK: The monitor

  private func enterRoot() {
    var s = VCPUState()
    s.cr0 = CR0.pe | CR0.et | CR0.ne | CR0.pg | CR0.wp
    s.cr3 = 0x10000
    s.cr4 = CR4.pae | CR4.vmxe
    s.efer = EFER.lme | EFER.lma | EFER.nxe | EFER.sce
    s.gdtr = TableRegister(base: 0x1000, limit: 0x4F)
    s.idtr = TableRegister(base: 0x4000, limit: 0xFFF)
    s[.cs] = SegmentState(selector: 8, limit: .max, access: 0xA09B)
    for name in [SegmentName.ds, .es, .ss, .fs, .gs] {
      s[name] = SegmentState(selector: 0x10, limit: .max, access: 0xC093)
    }
    s[.ldtr] = SegmentState(limit: 0, access: 0x1_0082)
    s[.tr] = SegmentState(selector: 0x28, base: 0x5000, limit: 0x67, access: 0x8B)
    s[.rsp] = 0x7000
    s.rip = Self.code
    s.vmx.vmxon = Self.vmxon
    s.vmx.current = Self.vmcs
    vcpu.state = s
  }

  var state: VCPUState { vcpu.state }
  func change(_ body: (inout VCPUState) -> Void) {
    var s = vcpu.state
    body(&s)
    vcpu.state = s
  }

  /// How a VMX instruction of the monitor ended.
  enum Outcome: Equatable {
    case success, invalid, valid(UInt64), fault(UInt8, UInt32?)
  }

  /// Executes one instruction of the monitor at 8000h.
  func host(_ bytes: [UInt8]) -> Outcome {
    memory.write(GPA(Self.code), bytes)
    change { $0.rip = Self.code }
    vcpu.controls.wishes.vectors = .all
    defer { vcpu.controls.wishes.vectors = .none }
    let exit = vcpu.run(.resume, limit: 1)
    if case .exception(let vector, let code, _) = exit.qualification { return .fault(vector, code) }
    return flagOutcome
  }

  private var flagOutcome: Outcome {
    switch state.rflags & RFLAGS.arithmetic {
    case 0: .success
    case RFLAGS.cf: .invalid
    case RFLAGS.zf: .valid(self[.instructionError])
    default: .fault(255, nil)
    }
  }

  // MARK: The VMCS

  func address(_ field: VMCSField) -> UInt64 { Self.vmcs + 16 + UInt64(field.slot) * 8 }
  subscript(field: VMCSField) -> UInt64 {
    get { get(address(field)) }
    set { put(address(field), newValue) }
  }
  func set(_ bits: VMXControlBit...) { for bit in bits { self[bit.field] |= bit.mask } }
  func clear(_ bits: VMXControlBit...) { for bit in bits { self[bit.field] &= ~bit.mask } }

  /// A 64-bit guest in ring 0 that shares the monitor's page tables. Every exception exits, nothing else that need not.
  private func fillVMCS() {
    self[.pinControls] = VMXCapabilities.mustBeOne(.pinControls)
    self[.primaryControls] = VMXCapabilities.mustBeOne(.primaryControls)
    self[.exitControls] = VMXCapabilities.mustBeOne(.exitControls)
    self[.entryControls] = VMXCapabilities.mustBeOne(.entryControls)
    set(.activateSecondary, .hostAddressSpaceSize, .saveEFER, .loadHostEFER, .ia32eModeGuest, .loadEFER)
    set(.useIOBitmaps, .useMSRBitmaps, .enableRDTSCP)
    self[.exceptionBitmap] = 0xFFFF_FFFF
    self[.pageFaultMatch] = 0
    self[.ioBitmapA] = Self.ioBitmapA
    self[.ioBitmapB] = Self.ioBitmapB
    self[.msrBitmap] = Self.msrBitmap
    self[.eptPointer] = Self.ept | 6 | 3 << 3
    self[.virtualAPICAddress] = Self.virtualAPIC
    self[.virtualProcessorID] = 1
    self[.linkPointer] = .max
    let s = state
    for (host, guest) in [(VMCSField.hostCR0, VMCSField.guestCR0), (.hostCR3, .guestCR3), (.hostCR4, .guestCR4)] {
      let value = host == .hostCR0 ? s.cr0 : host == .hostCR3 ? s.cr3 : s.cr4
      self[host] = value
      self[guest] = value
    }
    for field in [VMCSField.hostEFER, .guestEFER] { self[field] = s.efer }
    for field in [VMCSField.hostPAT, .guestPAT] { self[field] = s.pat }
    for field in [VMCSField.hostES, .hostSS, .hostDS, .hostFS, .hostGS] { self[field] = 0x10 }
    self[.hostCS] = 8
    self[.hostTR] = 0x28
    self[.hostTRBase] = 0x5000
    self[.hostFSBase] = 0x1111_0000
    self[.hostGSBase] = 0x2222_0000
    for field in [VMCSField.hostGDTRBase, .guestGDTRBase] { self[field] = 0x1000 }
    for field in [VMCSField.hostIDTRBase, .guestIDTRBase] { self[field] = 0x4000 }
    self[.hostSysenterCS] = 0x77
    self[.hostSysenterESP] = 0x7700
    self[.hostSysenterEIP] = 0x7780
    self[.hostRSP] = 0x7000
    self[.hostRIP] = Self.hostEntry
    for i in 0..<8 {
      let segment = s.segments[i]
      self[.selector(i)] = UInt64(segment.selector)
      self[.limit(i)] = UInt64(segment.limit)
      self[.access(i)] = UInt64(segment.access)
      self[.base(i)] = segment.base
    }
    self[.guestGDTRLimit] = 0x4F
    self[.guestIDTRLimit] = 0xFFF
    self[.guestRIP] = Self.guestCode
    self[.guestRSP] = 0x6000
    self[.guestRFLAGS] = RFLAGS.fixed1
    self[.guestDR7] = 0x400
  }

  // MARK: Guests of other modes

  private func flat(_ code: UInt64, _ data: UInt64) {
    self[.guestCSAccess] = code
    self[.guestCSLimit] = 0xFFFF_FFFF
    for i in [0, 2, 3, 4, 5] { self[.access(i)] = data }
  }
  /// 32-bit protected mode without paging: needs EPT and the unrestricted-guest control. With a 32-bit IDT at 4800h.
  func make32BitGuest() {
    clear(.ia32eModeGuest)
    set(.enableEPT, .unrestrictedGuest)
    self[.guestCR0] = CR0.pe | CR0.et | CR0.ne
    self[.guestCR4] = CR4.vmxe
    self[.guestEFER] = 0
    flat(0xC09B, 0xC093)
    self[.guestCS] = 0x38
    for vector in 0..<UInt64(64) {
      put(0x4800 + vector * 8, (Self.handlers + vector * 16) & 0xFFFF | 0x38 << 16 | 0x8E << 40)
    }
    self[.guestIDTRBase] = 0x4800
    self[.guestIDTRLimit] = 0x1FF
  }
  /// Real mode at A00:0000, with an interrupt vector table at 4C00h.
  func makeRealGuest() {
    make32BitGuest()
    self[.guestCR0] = CR0.et | CR0.ne
    for i in 0..<6 {
      self[.access(i)] = i == 1 ? 0x9B : 0x93
      self[.limit(i)] = 0xFFFF
      self[.selector(i)] = 0
      self[.base(i)] = 0
    }
    self[.guestCS] = 0xA00
    self[.guestCSBase] = 0xA000
    self[.guestRIP] = 0
    for vector in 0..<UInt64(64) { put(0x4C00 + vector * 4, UInt32(0xB00 << 16 | vector * 16)) }
    self[.guestIDTRBase] = 0x4C00
    self[.guestIDTRLimit] = 0xFF
  }

  // MARK: Running

  /// Enters the guest with its code, and runs until it has exited or `limit` instructions are over. True where the
  /// monitor has it back at its entry point.
  @discardableResult
  func enter(_ code: [UInt8] = [], resume: Bool = false, limit: UInt64 = 100) -> Bool {
    if !code.isEmpty { memory.write(GPA(self[.guestCSBase] + self[.guestRIP]), code) }
    memory.write(GPA(Self.code), resume ? Self.vmresume : Self.vmlaunch)
    if !resume { put(Self.vmcs + 8, UInt32(0)) }
    change {
      $0.rip = Self.code
      $0.activity = .active
    }
    return run(limit: limit)
  }
  /// Goes on.
  @discardableResult
  func run(_ entry: VMEntry = .resume, limit: UInt64 = 100) -> Bool {
    last = vcpu.run(entry, limit: limit)
    return last?.reason == .hlt && last?.rip == Self.hostEntry && !state.vmx.isNonRoot
  }
  /// The exit Ringside itself got last.
  private(set) var last: VMExit?

  /// The reason of the guest's exit; nil where it did not exit.
  func exit(_ code: [UInt8] = [], resume: Bool = false) -> ExitReason? {
    enter(code, resume: resume) ? ExitReason(rawValue: UInt16(truncatingIfNeeded: self[.exitReason])) : nil
  }
  var entryFailure: String? { (vcpu as? InterpreterVCPU)?.lastEntryFailure }

  /// The state after `vmlaunch` alone.
  func launchOutcome() -> Outcome {
    put(Self.vmcs + 8, UInt32(0))
    return host(Self.vmlaunch)
  }
}
