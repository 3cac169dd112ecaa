import VMCore
import X86

/// A guest that is itself a monitor: in VMX root operation, with a VMCS that is good or nearly so, random bitmaps,
/// dented extended page tables and a random program for its own guest. Its monitor steps over whatever exits and goes
/// back in.
struct NestedGuest {
  /// Whose program the guest of the guest runs, and in which mode it starts.
  enum Start: CaseIterable { case long64, protected32, real }

  private static let code: UInt64 = 0x8000
  private static let exitPoint: UInt64 = 0x8100
  private static let program: UInt64 = 0xA000
  private static let tables: UInt64 = 0x1_0000
  private static let vmxon: UInt64 = 0x2_0000
  private static let vmcs: UInt64 = 0x2_1000
  /// I/O bitmaps A and B, MSR bitmap, virtual APIC page, MSR lists.
  private static let pages: UInt64 = 0x2_2000
  private static let ept: UInt64 = 0x3_0000

  private let memory: GuestMemory
  private let start: Start
  private(set) var state = VCPUState()

  init(in memory: GuestMemory, _ random: inout Random) {
    self.memory = memory
    start = random.pick(Start.allCases)
    setRoot()
    installTables()
    installMonitor(&random)
    fillVMCS(&random)
    spoil(&random)
    let bits = start == .long64 ? 64 : start == .protected32 ? 32 : 16
    memory.write(GPA(Self.program), ProgramGenerator.program(bits: bits, &random))
  }

  private func put<T: FixedWidthInteger>(_ address: UInt64, _ value: T) { memory.store(GPA(address), value) }
  private func put(_ field: VMCSField, _ value: UInt64) { put(Self.vmcs + 16 + UInt64(field.slot) * 8, value) }
  private func get(_ field: VMCSField) -> UInt64 {
    memory.load(GPA(Self.vmcs + 16 + UInt64(field.slot) * 8), as: UInt64.self) ?? 0
  }

  // MARK: the monitor

  private mutating func setRoot() {
    state.cr0 = CR0.pe | CR0.et | CR0.ne | CR0.pg | CR0.wp
    state.cr3 = Self.tables
    state.cr4 = CR4.pae | CR4.vmxe | CR4.osfxsr
    state.efer = EFER.lme | EFER.lma | EFER.nxe | EFER.sce
    state.gdtr = TableRegister(base: 0x1000, limit: 0x3F)
    state.idtr = TableRegister(base: 0x4000, limit: 0xFFF)
    state[.cs] = SegmentState(selector: 8, limit: .max, access: 0xA09B)
    for name in [SegmentName.ds, .es, .ss, .fs, .gs] {
      state[name] = SegmentState(selector: 0x10, limit: .max, access: 0xC093)
    }
    state[.ldtr] = SegmentState(limit: 0, access: 0x1_0082)
    state[.tr] = SegmentState(selector: 0x28, base: 0x5000, limit: 0x67, access: 0x8B)
    state[.rsp] = 0x7000
    state.rip = Self.code
    state.vmx.vmxon = Self.vmxon
    state.vmx.current = Self.vmcs
  }

  private func installTables() {
    let descriptors: [UInt64] = [
      0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_F300_0000_FFFF, 0x00AF_FB00_0000_FFFF,
      0x0000_8B00_5000_0067, 0, 0x00CF_9B00_0000_FFFF,
    ]
    for (i, descriptor) in descriptors.enumerated() { put(0x1000 + UInt64(i) * 8, descriptor) }
    for vector in 0..<UInt64(256) {
      put(0x4000 + vector * 16, Self.program & 0xFFFF | 8 << 16 | 0x8E << 40)
      put(0x4000 + vector * 16 + 8, UInt64(0))
    }
    put(Self.tables, Self.tables + 0x1007)
    put(Self.tables + 0x1000, Self.tables + 0x2007)
    put(Self.tables + 0x2000, UInt64(0x87))
    put(Self.ept, Self.ept + 0x1007)
    put(Self.ept + 0x1000, Self.ept + 0x2007)
    put(Self.ept + 0x2000, Self.ept + 0x3007)
    for i in 0..<UInt64(512) { put(Self.ept + 0x3000 + i * 8, i << 12 | 0x37) }
    for region in [Self.vmxon, Self.vmcs] { put(region, VMXCapabilities.revision) }
  }

  /// VMLAUNCH; at each exit RIP moves on by the instruction's length or by a byte, and VMRESUME.
  private func installMonitor(_ random: inout Random) {
    memory.write(GPA(Self.code), [0x0F, 0x01, 0xC2, 0xF4])
    var code: [UInt8] = [0xB8, 0x1E, 0x68, 0, 0, 0x0F, 0x78, 0xC1]
    if random.one(in: 2) {
      // ADD ECX, 1.
      code += [0x83, 0xC1, 0x01]
    } else {
      // VMREAD of the length; ADD ECX, EDX.
      code += [0xBA, 0x0C, 0x44, 0, 0, 0x0F, 0x78, 0xD2, 0x01, 0xD1]
    }
    // VMWRITE of RIP; STI or NOP; VMRESUME; VMLAUNCH; HLT.
    code += [0x0F, 0x79, 0xC1] + (random.one(in: 2) ? [0xFB] : [0x90]) + [0x0F, 0x01, 0xC3, 0x0F, 0x01, 0xC2, 0xF4]
    memory.write(GPA(Self.exitPoint), code)
  }

  // MARK: the VMCS

  private func fillVMCS(_ random: inout Random) {
    let words: [VMCSField] = [.pinControls, .primaryControls, .secondaryControls, .exitControls, .entryControls]
    for field in words {
      let must = VMXCapabilities.mustBeOne(field)
      // Some of what may be: rarely everything.
      let chosen = random.next() & (random.one(in: 4) ? .max : random.next())
      put(field, must | VMXCapabilities.mayBeOne(field) & chosen)
    }
    let fixed: [VMXControlBit] = [.hostAddressSpaceSize, .loadHostEFER, .saveEFER, .loadEFER]
    for bit in fixed { set(bit) }
    if !random.one(in: 8) { reconcile() }
    fillAddresses(&random)
    fillHost()
    fillGuest(&random)
  }

  private func set(_ bit: VMXControlBit) { put(bit.field, get(bit.field) | bit.mask) }
  private func has(_ bit: VMXControlBit) -> Bool { get(bit.field) & bit.mask != 0 }

  /// What one control wants of another.
  private func reconcile() {
    if has(.nmiWindowExiting) { set(.virtualNMIs) }
    if has(.virtualNMIs) { set(.nmiExiting) }
    if has(.savePreemptionTimer) { set(.preemptionTimer) }
    if has(.unrestrictedGuest) { set(.enableEPT) }
  }

  private func fillAddresses(_ random: inout Random) {
    let lists: [VMCSField] = [.ioBitmapA, .ioBitmapB, .msrBitmap, .virtualAPICAddress]
    for (i, field) in lists.enumerated() {
      let page = Self.pages + UInt64(i) << 12
      put(field, page)
      let density = random.below(4)
      for offset in 0..<UInt64(density == 0 ? 0 : 512) {
        let word = density == 3 ? random.next() : random.next() & random.next() & random.next()
        put(page + offset * 8, word)
      }
    }
    put(.eptPointer, Self.ept | 6 | 3 << 3)
    put(.virtualProcessorID, 1)
    put(.linkPointer, .max)
    put(.exceptionBitmap, random.one(in: 2) ? random.next() : 0xFFFF_FFFF)
    for field in [VMCSField.pageFaultMask, .pageFaultMatch] { put(field, random.next() & 0x1F) }
    for field in [VMCSField.cr0Mask, .cr4Mask, .cr0Shadow, .cr4Shadow, .tscOffset] { put(field, random.edgy()) }
    put(.preemptionTimer, UInt64(random.below(8)))
  }

  private func fillHost() {
    let values: [(VMCSField, UInt64)] = [
      (.hostCR0, state.cr0), (.hostCR3, state.cr3), (.hostCR4, state.cr4), (.hostEFER, state.efer), (.hostPAT, state.pat),
      (.hostCS, 8), (.hostSS, 0x10), (.hostDS, 0x10), (.hostES, 0x10), (.hostTR, 0x28), (.hostTRBase, 0x5000),
      (.hostGDTRBase, 0x1000), (.hostIDTRBase, 0x4000), (.hostRSP, 0x7000), (.hostRIP, Self.exitPoint),
    ]
    for (field, value) in values { put(field, value) }
  }

  private func fillGuest(_ random: inout Random) {
    for i in 0..<8 {
      let segment = state.segments[i]
      put(.selector(i), UInt64(segment.selector))
      put(.limit(i), UInt64(segment.limit))
      put(.access(i), UInt64(segment.access))
      put(.base(i), segment.base)
    }
    let values: [(VMCSField, UInt64)] = [
      (.guestCR0, state.cr0), (.guestCR3, state.cr3), (.guestCR4, state.cr4), (.guestEFER, state.efer),
      (.guestPAT, state.pat), (.guestGDTRBase, 0x1000), (.guestGDTRLimit, 0x3F), (.guestIDTRBase, 0x4000),
      (.guestIDTRLimit, 0xFFF), (.guestRSP, 0x6000), (.guestRIP, Self.program), (.guestDR7, 0x400),
      (.guestRFLAGS, RFLAGS.fixed1 | (random.one(in: 2) ? RFLAGS.interruptEnable : 0)),
    ]
    for (field, value) in values { put(field, value) }
    put(.entryControls, get(.entryControls) | VMXControlBit.ia32eModeGuest.mask)
    if start != .long64 { makeSmallGuest() }
  }

  /// 32-bit protected or real mode without paging.
  private func makeSmallGuest() {
    for bit in [VMXControlBit.activateSecondary, .enableEPT, .unrestrictedGuest] { set(bit) }
    put(.entryControls, get(.entryControls) & ~VMXControlBit.ia32eModeGuest.mask)
    put(.guestEFER, 0)
    put(.guestCR0, CR0.et | CR0.ne | (start == .protected32 ? CR0.pe : 0))
    put(.guestCS, start == .protected32 ? 0x38 : 0xA00)
    put(.guestCSAccess, start == .protected32 ? 0xC09B : 0x9B)
    guard start == .real else { return }
    for i in 0..<6 {
      put(.limit(i), 0xFFFF)
      if i != 1 { put(.access(i), 0x93) }
    }
    put(.guestCSBase, 0xA000)
    put(.guestRIP, 0)
    put(.guestIDTRBase, 0)
  }

  // MARK: what is wrong with it

  private func spoil(_ random: inout Random) {
    if random.one(in: 3) {
      let type = UInt64(random.below(8)) << 8
      put(.entryInterruption, 1 << 31 | UInt64(random.byte()) & 0x3F | type | UInt64(random.below(2)) << 11)
      put(.entryInstructionLength, UInt64(random.below(4)))
    }
    for _ in 0..<(random.one(in: 2) ? 0 : 1 + random.below(4)) {
      let field = random.pick(VMCSField.allCases)
      let value = random.one(in: 2) ? get(field) ^ 1 << UInt64(random.below(field.bits)) : random.edgy()
      put(field, value & field.mask)
    }
    for _ in 0..<(random.one(in: 2) ? 0 : 1 + random.below(6)) {
      let level = UInt64(random.below(4)) << 12
      let entry = level < 0x3000 ? 0 : UInt64(random.below(64))
      put(Self.ept + level + entry * 8, random.edgy())
    }
    // Anything at all.
    if random.one(in: 16) { for field in VMCSField.allCases { put(field, random.edgy() & field.mask) } }
    if random.one(in: 16) { put(.ioBitmapA, Self.vmcs) }
  }
}
