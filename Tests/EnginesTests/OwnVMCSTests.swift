import Engines
import Testing
import VMCore
import X86

private typealias B = SystemBench

/// One instruction under one bit of the VMCS.
struct ControlCase: Sendable, CustomTestStringConvertible {
  var name: String
  var bytes: [UInt8]
  var reason: ExitReason
  var qualification: ExitQualification
  var cause: VMXCause
  /// Turns the bit on and off.
  var set: @Sendable (inout ExitControls, Bool) -> Void
  var rax: UInt64
  var rcx: UInt64
  var rdx: UInt64
  var testDescription: String { name }

  init(
    _ name: String, _ bytes: [UInt8], _ reason: ExitReason, _ qualification: ExitQualification = .none, _ cause: VMXCause,
    rax: UInt64 = 0, rcx: UInt64 = 0, rdx: UInt64 = 0, set: @escaping @Sendable (inout ExitControls, Bool) -> Void
  ) {
    (self.name, self.bytes, self.reason, self.qualification, self.cause) = (name, bytes, reason, qualification, cause)
    (self.rax, self.rcx, self.rdx, self.set) = (rax, rcx, rdx, set)
  }

  /// One that a single control bit decides.
  init(
    _ name: String, _ bytes: [UInt8], _ reason: ExitReason, _ qualification: ExitQualification = .none,
    bit: VMXControlBit, rax: UInt64 = 0, rcx: UInt64 = 0
  ) {
    self.init(name, bytes, reason, qualification, .control(bit), rax: rax, rcx: rcx) { $0.vmcs[bit] = $1 }
  }
}

/// A guest state that VM entry refuses, made of a good one.
struct EntryCase: Sendable, CustomTestStringConvertible {
  var field: VMCSField
  var section: String
  var change: @Sendable (inout VCPUState) -> Void
  var testDescription: String { field.sdmName }
  init(_ field: VMCSField, _ section: String, _ change: @escaping @Sendable (inout VCPUState) -> Void) {
    (self.field, self.section, self.change) = (field, section, change)
  }
}

@Suite struct OwnVMCSTests {
  private static func cr(_ number: UInt8, _ access: RegisterAccess, _ value: UInt64) -> ExitQualification {
    .cr(number: number, access: access, gpr: 0, value: value)
  }
  private static let cr0: UInt64 = CR0.pe | CR0.et | CR0.ne

  static let cases: [ControlCase] = [
    ControlCase("HLT", [0xF4], .hlt, .hlt, bit: .hltExiting),
    ControlCase("INVLPG", [0x0F, 0x01, 0x3D] + le32(0x30_0000), .invlpg, .invlpg(GVA(0x30_0000)), bit: .invlpgExiting),
    ControlCase("RDTSC", [0x0F, 0x31], .rdtsc, bit: .rdtscExiting),
    ControlCase("RDTSCP", [0x0F, 0x01, 0xF9], .rdtscp, bit: .rdtscExiting),
    ControlCase("RDPMC", [0x0F, 0x33], .rdpmc, bit: .rdpmcExiting),
    ControlCase(
      "MOV to CR3", [0x0F, 0x22, 0xD8], .crAccess, cr(3, .write, 0x1_0000), .cr3Load, rax: 0x1_0000) {
      $0.vmcs[.cr3LoadExiting] = $1
    },
    ControlCase("MOV from CR3", [0x0F, 0x20, 0xD8], .crAccess, cr(3, .read, 0), bit: .cr3StoreExiting),
    ControlCase(
      "MOV to DR", [0x0F, 0x23, 0xC0], .drAccess, .dr(number: 0, access: .write, gpr: 0, value: 0x77), bit: .movDRExiting,
      rax: 0x77),
    ControlCase(
      "MOV from DR", [0x0F, 0x21, 0xF0], .drAccess, .dr(number: 6, access: .read, gpr: 0, value: 0xFFFF_0FF0),
      bit: .movDRExiting),
    ControlCase("PAUSE", [0xF3, 0x90], .pause, bit: .pauseExiting),
    ControlCase("WBINVD", [0x0F, 0x09], .wbinvd, bit: .wbinvdExiting),
    ControlCase(
      "SGDT", [0x0F, 0x01, 0x05] + le32(0x7100), .gdtrIdtrAccess, .descriptorTable(table: 0, write: false),
      bit: .descriptorTableExiting),
    ControlCase(
      "LIDT", [0x0F, 0x01, 0x1D] + le32(0x7200), .gdtrIdtrAccess, .descriptorTable(table: 1, write: true),
      bit: .descriptorTableExiting),
    ControlCase(
      "SLDT", [0x0F, 0x00, 0xC0], .ldtrTrAccess, .descriptorTable(table: 2, write: false), bit: .descriptorTableExiting),
    ControlCase(
      "STR", [0x0F, 0x00, 0xC8], .ldtrTrAccess, .descriptorTable(table: 3, write: false), bit: .descriptorTableExiting),
    ControlCase(
      "#UD by the exception bitmap", [0x0F, 0x0B], .exception, .exception(vector: 6, errorCode: nil, linear: 0),
      .exceptionBitmap(vector: 6)) { $0.vmcs.exceptions = $1 ? 1 << 6 : 0 },
    ControlCase(
      "#BP by the exception bitmap", [0xCC], .exception, .exception(vector: 3, errorCode: nil, linear: 0),
      .exceptionBitmap(vector: 3)) { $0.vmcs.exceptions = $1 ? 1 << 3 : 0 },
    ControlCase(
      "MOV to CR0 under the mask", [0x0F, 0x22, 0xC0], .crAccess, cr(0, .write, cr0 | CR0.wp),
      .guestHostMask(.cr0Mask, bits: CR0.wp), rax: cr0 | CR0.wp) { $0.vmcs.cr0Mask = $1 ? CR0.wp : 0 },
    ControlCase(
      "CLTS under the mask", [0x0F, 0x06], .crAccess, .cr(number: 0, access: .clts, gpr: 0, value: 0),
      .guestHostMask(.cr0Mask, bits: CR0.ts)) {
      $0.vmcs.cr0Mask = $1 ? CR0.ts : 0
      $0.vmcs.cr0Shadow = CR0.ts
    },
    ControlCase(
      "LMSW under the mask", [0x0F, 0x01, 0xF0], .crAccess, .cr(number: 0, access: .lmsw, gpr: 0, value: 3),
      .guestHostMask(.cr0Mask, bits: CR0.mp), rax: 3) {
      $0.vmcs.cr0Mask = $1 ? CR0.mp : 0
    },
    ControlCase(
      "MOV to CR4 under the mask", [0x0F, 0x22, 0xE0], .crAccess, cr(4, .write, CR4.de),
      .guestHostMask(.cr4Mask, bits: CR4.de), rax: CR4.de) { $0.vmcs.cr4Mask = $1 ? CR4.de : 0 },
    ControlCase(
      "RDMSR", [0x0F, 0x32], .rdmsr, .msr(index: MSR.efer, write: false, value: 0), .msrBitmap(index: MSR.efer, write: false),
      rcx: UInt64(MSR.efer)) { $0.bitmaps.set(msr: MSR.efer, write: false, $1) },
    ControlCase(
      "WRMSR", [0x0F, 0x30], .wrmsr, .msr(index: MSR.lstar, write: true, value: 0x9_0000_1234),
      .msrBitmap(index: MSR.lstar, write: true), rax: 0x1234, rcx: UInt64(MSR.lstar), rdx: 9) {
      $0.bitmaps.set(msr: MSR.lstar, write: true, $1)
    },
    ControlCase(
      "RDMSR without bitmaps", [0x0F, 0x32], .rdmsr, .msr(index: MSR.efer, write: false, value: 0),
      .controlOff(.useMSRBitmaps), rcx: UInt64(MSR.efer)) { $0.vmcs[.useMSRBitmaps] = !$1 },
  ]

  private func bench(_ test: ControlCase, on: Bool) throws -> SystemBench {
    let b = try B()
    b.enterProtected()
    // What LIDT loads is what is there.
    b.put(0x7200, UInt16(0x7FF))
    b.put(0x7202, UInt32(B.idt))
    b.vcpu.setGPR(.rax, test.rax)
    b.vcpu.setGPR(.rcx, test.rcx)
    b.vcpu.setGPR(.rdx, test.rdx)
    var controls = b.vcpu.controls
    test.set(&controls, on)
    b.vcpu.controls = controls
    return b
  }

  @Test("on, an instruction exits with its reason; off, it runs to the same result", arguments: cases)
  func onAndOff(_ test: ControlCase) throws {
    let on = try bench(test, on: true)
    let exit = on.step(test.bytes)
    #expect(exit.reason == test.reason && exit.qualification == test.qualification)
    #expect(on.vcpu.exitCause == test.cause)
    #expect(on.state.rip == B.code && exit.instructionCount == 0)
    // A fault-like exit is carried out as if there had been none.
    #expect(on.vcpu.run(VMEntry(.emulate), limit: 1).reason == .budget)

    let off = try bench(test, on: false)
    #expect(off.step(test.bytes).reason == .budget)
    if off.state.activity == .active, off.state.rip != on.state.rip { _ = off.vcpu.run(.resume, limit: 1) }
    #expect(off.delivered() == on.delivered())
    var (x, y) = (off.state, on.state)
    // HLT does not let the vCPU go on.
    if x.activity == .active { (x.rip, y.rip) = (0, 0) }
    #expect(x == y)
    #expect(off.get(0x7100, as: UInt64.self) == on.get(0x7100, as: UInt64.self))
  }

  @Test("a port whose bit is 0 goes straight to its device, value and all", arguments: [true, false])
  func directPort(_ isOn: Bool) throws {
    let b = try B()
    b.enterProtected()
    b.vcpu.controls.bitmaps[port: 0x3F8] = isOn
    b.vcpu.setGPR(.rax, 0x4B)
    b.vcpu.setGPR(.rdx, 0x3F8)
    let exit = b.step([0xEE])
    #expect(exit.qualification == .io(port: 0x3F8, size: 1, write: true, string: false, rep: false, value: 0x4B))
    #expect(exit.isDirect == !isOn)
    #expect(b.vcpu.exitCause == (isOn ? .ioBitmap(port: 0x3F8) : nil))
    #expect(b.vcpu.run(VMEntry(.complete(0)), limit: 0).reason == .budget)
    #expect(b.state.rip == B.code + 1)
    // One port of several is enough.
    b.vcpu.setGPR(.rdx, 0x3F7)
    b.vcpu.controls.bitmaps[port: 0x3F7] = false
    #expect(b.step([0x66, 0xEF]).isDirect == !isOn)
  }

  @Test("without bitmaps one bit decides for all ports") func unconditional() throws {
    let b = try B()
    b.enterProtected()
    b.vcpu.controls.vmcs[.useIOBitmaps] = false
    #expect(b.step([0xE4, 0x20]).isDirect)
    _ = b.vcpu.run(VMEntry(.complete(0x5A)), limit: 0)
    #expect(b.state[.rax] & 0xFF == 0x5A)
    b.vcpu.controls.vmcs[.unconditionalIOExiting] = true
    #expect(!b.step([0xE4, 0x20]).isDirect)
    #expect(b.vcpu.exitCause == .control(.unconditionalIOExiting))
  }

  @Test("MOV CR8 without exiting goes straight to the local APIC", arguments: [true, false])
  func directCR8(_ isLoad: Bool) throws {
    let b = try B()
    b.enterLong()
    b.vcpu.setGPR(.rax, 5)
    let bytes: [UInt8] = isLoad ? [0x44, 0x0F, 0x22, 0xC0] : [0x44, 0x0F, 0x20, 0xC0]
    let bit = isLoad ? VMXControlBit.cr8LoadExiting : .cr8StoreExiting
    #expect(!b.step(bytes).isDirect)
    #expect(b.vcpu.exitCause == .control(bit))
    b.vcpu.controls.vmcs[bit] = false
    let exit = b.vcpu.run(.resume, limit: 1)
    #expect(exit.isDirect && exit.reason == .crAccess && b.vcpu.exitCause == nil)
    _ = b.vcpu.run(isLoad ? VMEntry(.emulate) : VMEntry(.complete(9)), limit: 1)
    #expect(isLoad ? b.state.cr8 == 5 : b.state[.rax] == 9)
  }

  @Test("an MSR that is not the processor's goes to the platform without an exit") func directMSR() throws {
    let b = try B()
    b.enterProtected()
    b.vcpu.setGPR(.rcx, UInt64(MSR.apicBase))
    #expect(!b.step([0x0F, 0x32]).isDirect)
    b.vcpu.controls.bitmaps.set(msr: MSR.apicBase, write: false, false)
    #expect(b.vcpu.run(.resume, limit: 1).isDirect)
    _ = b.vcpu.run(VMEntry(.complete(0xFEE0_0900)), limit: 0)
    #expect(b.state[.rax] == 0xFEE0_0900)
  }

  @Test("CPUID and INVD exit without a bit") func always() throws {
    let b = try B()
    b.enterProtected()
    b.vcpu.controls = ExitControls(vmcs: VMXControls(), bitmaps: VMCSBitmaps(all: false))
    for (bytes, reason) in [([0x0F, 0xA2], .cpuid), ([0x0F, 0x08], .invd)] as [([UInt8], ExitReason)] {
      #expect(b.step(bytes).reason == reason)
      #expect(b.vcpu.exitCause == .always)
      _ = b.vcpu.run(VMEntry(.emulate), limit: 0)
    }
  }

  @Test("the bits that a monitor owns read from its shadow and are not written") func shadows() throws {
    let b = try B()
    b.enterProtected()
    b.vcpu.controls.vmcs.cr0Mask = CR0.wp | CR0.ts
    b.vcpu.controls.vmcs.cr0Shadow = CR0.wp
    b.step([0x0F, 0x20, 0xC0])
    #expect(b.state[.rax] == Self.cr0 | CR0.wp)
    // What agrees with the shadow does not exit, and changes only the guest's own bits.
    b.vcpu.setGPR(.rax, Self.cr0 | CR0.wp | CR0.mp)
    #expect(b.step([0x0F, 0x22, 0xC0]).reason == .budget)
    #expect(b.state.cr0 == Self.cr0 | CR0.mp)
    b.vcpu.setGPR(.rax, 0)
    b.step([0x0F, 0x01, 0xE0])
    #expect(b.state[.rax] & 0xFFFF == Self.cr0 | CR0.mp)
  }

  @Test("CR3 targets load without an exit") func targets() throws {
    let b = try B()
    b.enterProtected()
    b.vcpu.controls.vmcs[.cr3LoadExiting] = true
    b.vcpu.controls.vmcs.cr3Targets = [0x2000]
    b.vcpu.setGPR(.rax, 0x2000)
    #expect(b.step([0x0F, 0x22, 0xD8]).reason == .budget && b.state.cr3 == 0x2000)
    b.vcpu.setGPR(.rax, 0x3000)
    #expect(b.step([0x0F, 0x22, 0xD8]).reason == .crAccess && b.vcpu.exitCause == .cr3Load)
  }

  @Test("page faults exit by mask and match", arguments: [
    // bit 14, mask, match, write access: exits?
    (true, 0, 0, false, true), (false, 0, 0, false, false), (true, 2, 2, true, true), (true, 2, 2, false, false),
    (false, 2, 2, false, true), (false, 2, 2, true, false),
  ] as [(Bool, UInt32, UInt32, Bool, Bool)])
  func pageFaults(_ bit: Bool, _ mask: UInt32, _ match: UInt32, _ write: Bool, _ exits: Bool) throws {
    let b = try B()
    b.enterPaged(.legacy, cpl: 0)
    b.vcpu.controls.vmcs.exceptions = bit ? 1 << 14 : 0
    b.vcpu.controls.vmcs.pageFaultMask = mask
    b.vcpu.controls.vmcs.pageFaultMatch = match
    let exit = b.step((write ? [0xA3] : [0xA1]) + le32(0x80_0000))
    #expect((exit.reason == .exception) == exits)
    if exits {
      #expect(exit.qualification == .exception(vector: 14, errorCode: write ? 2 : 0, linear: 0x80_0000))
      #expect(b.vcpu.exitCause == .exceptionBitmap(vector: 14) && b.state.cr2 == 0)
    } else {
      #expect(b.state.cr2 == 0x80_0000)
    }
  }

  @Test("the monitor trap flag exits after each instruction, fault and delivery") func monitorTrap() throws {
    let b = try B()
    b.enterProtected()
    b.vcpu.controls.vmcs[.monitorTrapFlag] = true
    b.memory.write(GPA(B.code), [0x90, 0x40, 0x0F, 0x0B])
    for rip in [B.code + 1, B.code + 2, B.handlers + 6 * 16, B.handlers + 6 * 16 + 1] {
      let exit = b.vcpu.run(.resume, limit: 100)
      #expect(exit.reason == .monitorTrap && exit.rip == rip)
      #expect(b.vcpu.exitCause == .control(.monitorTrapFlag))
    }
    #expect(b.vcpu.run(VMEntry(inject: .nmi), limit: 100).rip == B.handlers + 2 * 16)
    b.vcpu.controls.vmcs[.monitorTrapFlag] = false
    #expect(b.vcpu.run(.resume, limit: 3).reason == .budget)
  }

  @Test("the preemption timer exits after its ticks, and at every entry again") func timer() throws {
    let b = try B()
    b.enterProtected()
    b.memory.write(GPA(B.code), [0xEB, 0xFE])
    b.vcpu.controls.vmcs[.preemptionTimer] = true
    b.vcpu.controls.preemptionTimer = 4
    // A stop in between is no exit: the timer goes on.
    #expect(b.vcpu.run(.resume, limit: 100).reason == .budget)
    var exit = b.vcpu.run(.resume, limit: 100)
    #expect(exit.reason == .preemptionTimer && exit.instructionCount == 128)
    exit = b.vcpu.run(.resume, limit: 1000)
    #expect(exit.reason == .preemptionTimer && exit.instructionCount == 256)
    #expect(b.vcpu.exitCause == .control(.preemptionTimer))
    // Saved at the exit of a CPUID, the rest is what the next entry starts with.
    b.vcpu.controls.savesPreemptionTimer = true
    b.memory.write(GPA(B.code), [0x0F, 0xA2, 0xEB, 0xFE])
    #expect(b.vcpu.run(.resume, limit: 1000).reason == .cpuid)
    #expect(b.vcpu.run(VMEntry(.emulate), limit: 1000).instructionCount == 256 + 128)
    b.vcpu.controls.vmcs[.preemptionTimer] = false
    #expect(b.vcpu.run(.resume, limit: 1000).reason == .budget)
  }

  @Test("the TSC offset is added to what the guest reads") func offset() throws {
    let b = try B()
    b.enterProtected()
    b.vcpu.controls.tscOffset = 0x1_0000_0000
    b.step([0x0F, 0x31])
    #expect(b.state[.rdx] == 0)
    b.vcpu.controls.vmcs[.useTSCOffsetting] = true
    b.step([0x0F, 0x31])
    #expect(b.state[.rdx] == 1)
    b.vcpu.setGPR(.rcx, UInt64(MSR.tsc))
    b.step([0x0F, 0x32])
    #expect(b.state[.rdx] == 1)
  }

  @Test("without \"enable RDTSCP\" there is none") func noRDTSCP() throws {
    let b = try B()
    b.enterProtected()
    b.vcpu.controls.vmcs[.enableRDTSCP] = false
    #expect(b.fault([0x0F, 0x01, 0xF9]) == ud)
  }

  @Test("VM entry refuses what the manual says it refuses, and names field and section", arguments: [
    EntryCase(.guestCR0, "27.3.1.1") { $0.cr0 = CR0.pg | CR0.et },
    EntryCase(.guestRFLAGS, "27.3.1.4") { $0.rflags |= 1 << 30 },
    EntryCase(.guestRIP, "27.3.1.4") { $0.rip = 1 << 40 },
    EntryCase(.guestCSAccess, "27.3.1.2") { $0[.cs].access &= ~0x80 },
    EntryCase(.guestTRAccess, "27.3.1.2") { $0[.tr].access = 0x89 },
    EntryCase(.guestEFER, "27.3.1.1") { $0.efer = 1 << 20 }, EntryCase(.guestPAT, "27.3.1.1") { $0.pat = 3 },
    EntryCase(.guestCR4, "27.3.1.1") { $0.cr4 = 1 << 40 },
  ])
  func entryChecks(_ test: EntryCase) throws {
    let b = try B()
    b.enterProtected()
    b.change { $0[.cs].access = 0xC09B }
    #expect(b.vcpu.entryProblem() == nil)
    var state = b.state
    test.change(&state)
    b.vcpu.state = state
    let problem = b.vcpu.entryProblem()
    #expect(problem?.field == test.field && problem?.section == "SDM 3C \(test.section)")
  }

  @Test("controls that contradict each other are refused") func controlChecks() throws {
    let b = try B()
    b.enterProtected()
    b.vcpu.controls.vmcs[.virtualNMIs] = true
    #expect(b.vcpu.entryProblem()?.field == .pinControls)
    b.vcpu.controls = .standard
    b.vcpu.controls.vmcs[.enableEPT] = false
    #expect(b.vcpu.entryProblem()?.field == .secondaryControls)
  }

  @Test("a task gate for an interrupt exits and then takes the interrupt") func interruptTask() throws {
    let b = try B()
    b.enterProtected()
    b.put(B.otherTSS + 32, UInt32(0x8300))
    b.put(B.otherTSS + 36, UInt32(2))
    for (i, selector) in [0x10, 0x08, 0x10, 0x10, 0, 0].enumerated() {
      b.put(B.otherTSS + 72 + UInt64(i) * 4, UInt32(selector))
    }
    b.vector(0x20, access: 0x85, selector: B.otherTask)
    b.change { $0.rflags |= RFLAGS.interruptEnable }
    let exit = b.vcpu.run(VMEntry(inject: .externalInterrupt(0x20)), limit: 0)
    #expect(exit.reason == .taskSwitch && exit.qualification == .taskSwitch(selector: B.otherTask, source: 3))
    #expect(!b.vcpu.canTakeInterrupt)
    #expect(b.vcpu.run(VMEntry(.emulate), limit: 0).reason == .budget)
    #expect(b.state.rip == 0x8300 && b.state[.tr].selector == B.otherTask)
  }
}
