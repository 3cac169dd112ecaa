import Engines
import Testing
import VMCore
import X86

private typealias B = VMXBench

/// Exits of the guest and what they tell the monitor (SDM 3C 26.1, 28.2), against values worked out from the manual's
/// tables by hand.
@Suite struct VMXExitTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var code: [UInt8]
    var reason: ExitReason
    var qualification: UInt64 = 0
    var length: UInt64
    var information: UInt64 = 0
    var linear: UInt64 = 0
    /// Primary and secondary controls, CR0 or CR4 masks and shadows that make it exit.
    var bits: [VMXControlBit] = []
    var fields: [(VMCSField, UInt64)] = []
    var testDescription: String { name }
    init(
      _ name: String, _ code: [UInt8], _ reason: ExitReason, _ qualification: UInt64 = 0, length: Int? = nil,
      info: UInt64 = 0, linear: UInt64 = 0, by bits: [VMXControlBit] = [], fields: [(VMCSField, UInt64)] = []
    ) {
      self.name = name
      self.code = code
      self.reason = reason
      self.qualification = qualification
      self.length = UInt64(length ?? code.count)
      information = info
      self.linear = linear
      self.bits = bits
      self.fields = fields
    }
  }

  /// RAX 3, RBX E000h, RCX 1234h, RDX 3F8h, RSI 5000h, RDI 6000h, RBP D000h in the guest.
  private func prepare(_ b: VMXBench) {
    let values: [(GPR, UInt64)] = [
      (.rax, 3), (.rbx, B.scratch), (.rcx, 0x1234), (.rdx, 0x3F8), (.rsi, 0x5000), (.rdi, 0x6000), (.rbp, 0xD000),
    ]
    for (register, value) in values { b.vcpu.setGPR(register, value) }
  }

  private func run(_ c: Case) throws -> VMXBench {
    let b = try VMXBench()
    prepare(b)
    for bit in c.bits { b.set(bit) }
    for (field, value) in c.fields { b[field] = value }
    #expect(b.exit(c.code) == c.reason, "\(c.name): \(b[.exitReason]), \(b.last.map { "\($0)" } ?? "")")
    return b
  }

  private func check(_ c: Case) throws {
    let b = try run(c)
    #expect(b[.exitReason] == UInt64(c.reason.rawValue))
    #expect(b[.exitQualification] == c.qualification, "qualification \(String(b[.exitQualification], radix: 16))")
    #expect(b[.exitInstructionLength] == c.length)
    #expect(b[.exitInstructionInformation] == c.information, "info \(String(b[.exitInstructionInformation], radix: 16))")
    #expect(b[.guestLinearAddress] == c.linear)
    #expect(b[.exitInterruption] == 0 && b[.idtVectoring] == 0)
    // Fault-like: RIP stays at the instruction, RF is 0.
    #expect(b[.guestRIP] == B.guestCode && b[.guestRFLAGS] & RFLAGS.rf == 0)
  }

  // MARK: Instructions without operands

  @Test("instructions that exit always", arguments: [
    Case("CPUID", [0x0F, 0xA2], .cpuid), Case("INVD", [0x0F, 0x08], .invd), Case("VMCALL", B.vmcall, .vmcall),
    Case("VMLAUNCH", B.vmlaunch, .vmlaunch), Case("VMRESUME", B.vmresume, .vmresume), Case("VMXOFF", B.vmxoff, .vmxoff),
  ])
  func unconditional(_ c: Case) throws { try check(c) }

  @Test("instructions a control makes exit", arguments: [
    Case("HLT", [0xF4], .hlt, by: [.hltExiting]), Case("INVLPG", [0x0F, 0x01, 0x3B], .invlpg, B.scratch, by: [.invlpgExiting]),
    Case("INVLPG with index", [0x0F, 0x01, 0x7C, 0x8B, 0x10], .invlpg, B.scratch + 0x1234 * 4 + 0x10, by: [.invlpgExiting]),
    Case("RDPMC", [0x0F, 0x33], .rdpmc, by: [.rdpmcExiting]), Case("RDTSC", [0x0F, 0x31], .rdtsc, by: [.rdtscExiting]),
    Case("RDTSCP", [0x0F, 0x01, 0xF9], .rdtscp, by: [.rdtscExiting]), Case("PAUSE", [0xF3, 0x90], .pause, by: [.pauseExiting]),
    Case("WBINVD", [0x0F, 0x09], .wbinvd, by: [.wbinvdExiting]),
    Case("MOV DR7, RCX", [0x0F, 0x23, 0xF9], .drAccess, 7 | 1 << 8, by: [.movDRExiting]),
    Case("MOV R10, DR2", [0x41, 0x0F, 0x21, 0xD2], .drAccess, 2 | 1 << 4 | 10 << 8, by: [.movDRExiting]),
    Case("MOV CR3, RDX", [0x0F, 0x22, 0xDA], .crAccess, 3 | 2 << 8, by: [.cr3LoadExiting]),
    Case("MOV R15, CR3", [0x41, 0x0F, 0x20, 0xDF], .crAccess, 3 | 1 << 4 | 15 << 8, by: [.cr3StoreExiting]),
    Case("MOV CR8, RAX", [0x44, 0x0F, 0x22, 0xC0], .crAccess, 8, by: [.cr8LoadExiting]),
    Case("MOV RSI, CR8", [0x44, 0x0F, 0x20, 0xC6], .crAccess, 8 | 1 << 4 | 6 << 8, by: [.cr8StoreExiting]),
    Case("MOV CR0, RAX", [0x0F, 0x22, 0xC0], .crAccess, 0, fields: [(.cr0Mask, CR0.ne), (.cr0Shadow, CR0.ne)]),
    Case("MOV CR4, R9", [0x41, 0x0F, 0x22, 0xE1], .crAccess, 4 | 9 << 8, fields: [(.cr4Mask, CR4.vmxe), (.cr4Shadow, CR4.vmxe)]),
    Case("CLTS", [0x0F, 0x06], .crAccess, 2 << 4, fields: [(.cr0Mask, CR0.ts), (.cr0Shadow, CR0.ts)]),
    Case("LMSW AX", [0x0F, 0x01, 0xF0], .crAccess, 3 << 4 | 3 << 16, fields: [(.cr0Mask, CR0.mp)]),
    Case(
      "LMSW [RBP-8]", [0x0F, 0x01, 0x75, 0xF8], .crAccess, 3 << 4 | 1 << 6, linear: 0xCFF8,
      fields: [(.cr0Mask, CR0.ts), (.cr0Shadow, CR0.ts)]),
    Case("RDMSR", [0x0F, 0x32], .rdmsr, fields: [(.primaryControls, 0x8600_6172)]),
    Case("WRMSR", [0x0F, 0x30], .wrmsr, fields: [(.primaryControls, 0x8600_6172)]),
    Case("RDMSR outside", [0x0F, 0x32], .rdmsr, fields: [(.msrBitmap, B.msrBitmap)]),
  ])
  func conditional(_ c: Case) throws {
    var c = c
    if c.name == "RDMSR outside" { c.code = [0xB9, 0, 0x20, 0, 0, 0x0F, 0x32] }
    guard c.name == "RDMSR outside" else { return try check(c) }
    let b = try run(c)
    #expect(b[.guestRIP] == B.guestCode + 5 && b[.exitInstructionLength] == 2)
  }

  @Test("with its control off the same instruction runs", arguments: [
    [0x0F, 0x01, 0x3B], [0x0F, 0x31], [0x0F, 0x01, 0xF9], [0xF3, 0x90], [0x0F, 0x09], [0x0F, 0x21, 0xD0],
    [0x0F, 0x20, 0xD8], [0x0F, 0x06], [0x0F, 0x01, 0xF0],
    [0x0F, 0x00, 0xC8], [0x0F, 0x01, 0x03], [0x0F, 0x20, 0xC0], [0x0F, 0x20, 0xE0],
  ] as [[UInt8]])
  func runs(_ code: [UInt8]) throws {
    let b = try VMXBench()
    prepare(b)
    #expect(b.exit(code + B.vmcall) == .vmcall && b[.guestRIP] == B.guestCode + UInt64(code.count))
  }

  @Test("RDTSCP is #UD until it is enabled; MONITOR, MWAIT, XSETBV and GETSEC are not there", arguments: [
    [0x0F, 0x01, 0xF9], [0x0F, 0x01, 0xC8], [0x0F, 0x01, 0xC9], [0x0F, 0x01, 0xD1], [0x0F, 0x37], [0x0F, 0x01, 0xD4],
    [0x66, 0x0F, 0x38, 0x82, 0x03], [0x0F, 0xC7, 0xF0],
  ] as [[UInt8]])
  func absent(_ code: [UInt8]) throws {
    let b = try VMXBench()
    b.clear(.enableRDTSCP)
    prepare(b)
    #expect(b.exit(code) == .exception && b[.exitInterruption] == 0x8000_0306)
  }

  // MARK: Ports

  @Test("I/O: size, direction, string, REP, immediate and port", arguments: [
    Case("IN AL, 60h", [0xE4, 0x60], .io, 0 | 8 | 0x40 | 0x60 << 16),
    Case("IN EAX, 60h", [0xE5, 0x60], .io, 3 | 8 | 0x40 | 0x60 << 16),
    Case("OUT 80h, AL", [0xE6, 0x80], .io, 0x40 | 0x80 << 16), Case("IN AL, DX", [0xEC], .io, 8 | 0x3F8 << 16),
    Case("OUT DX, AX", [0x66, 0xEF], .io, 1 | 0x3F8 << 16), Case("OUT DX, EAX", [0xEF], .io, 3 | 0x3F8 << 16),
    Case("INSB", [0x6C], .io, 8 | 0x10 | 0x3F8 << 16, info: 2 << 7, linear: 0x6000),
    Case("OUTSB", [0x6E], .io, 0x10 | 0x3F8 << 16, info: 2 << 7 | 3 << 15, linear: 0x5000),
    Case("FS OUTSB", [0x64, 0x6E], .io, 0x10 | 0x3F8 << 16, info: 2 << 7 | 4 << 15, linear: 0x7000),
    Case("REP OUTSD", [0xF3, 0x6F], .io, 3 | 0x30 | 0x3F8 << 16, info: 2 << 7 | 3 << 15, linear: 0x5000),
    Case("A32 REP INSW", [0x67, 0x66, 0xF3, 0x6D], .io, 1 | 0x38 | 0x3F8 << 16, info: 1 << 7, linear: 0x6000),
  ])
  func ports(_ c: Case) throws {
    var c = c
    // Every port: bitmaps off.
    c.fields = [(.primaryControls, 0x9500_6172), (.guestFSBase, 0x2000)]
    try check(c)
  }

  @Test("an I/O bitmap's bit opens and closes one port") func ioBitmap() throws {
    for port in [0x60, 0x3F8, 0x7FFF, 0x8000, 0xFFFF] as [UInt64] {
      let b = try VMXBench()
      b.vcpu.setGPR(.rdx, port)
      let page = port < 0x8000 ? B.ioBitmapA : B.ioBitmapB
      b.put(page + (port & 0x7FFF) / 8, UInt8(1) << UInt8(port & 7))
      #expect(b.exit([0xEC]) == .io && b[.exitQualification] == 8 | port << 16)
      b.put(page + (port & 0x7FFF) / 8, UInt8(0))
      // Now it is Ringside that sees the port.
      #expect(!b.enter([0xEC], resume: true) && b.last?.reason == .io && b.state.vmx.isNonRoot)
    }
  }

  // MARK: Descriptor tables and VMX instructions: information and displacement

  @Test("descriptor-table and VMX instructions: operands taken apart", arguments: [
    // 64-bit addresses (2 in 9:7), DS (3 in 17:15), RBX base (3 in 26:23), no index (22).
    Case("SGDT [RBX]", [0x0F, 0x01, 0x03], .gdtrIdtrAccess, info: 1 << 22 | 3 << 23 | 3 << 15 | 2 << 7 | 1 << 11),
    Case("SIDT [RBX+8]", [0x0F, 0x01, 0x4B, 8], .gdtrIdtrAccess, 8, info: 1 << 28 | 1 << 22 | 3 << 23 | 3 << 15 | 2 << 7 | 1 << 11),
    Case(
      "LGDT [RBX+RCX*4-16]", [0x0F, 0x01, 0x54, 0x8B, 0xF0], .gdtrIdtrAccess, 0xFFFF_FFFF_FFFF_FFF0,
      info: 2 << 28 | 2 | 1 << 18 | 3 << 23 | 3 << 15 | 2 << 7 | 1 << 11),
    Case(
      "LIDT FS:[12345678h]", [0x64, 0x0F, 0x01, 0x1C, 0x25, 0x78, 0x56, 0x34, 0x12], .gdtrIdtrAccess, 0x1234_5678,
      info: 3 << 28 | 1 << 22 | 1 << 27 | 4 << 15 | 2 << 7 | 1 << 11),
    Case(
      "LGDT [RIP+100h]", [0x0F, 0x01, 0x15, 0, 1, 0, 0], .gdtrIdtrAccess, B.guestCode + 7 + 0x100,
      info: 2 << 28 | 1 << 22 | 1 << 27 | 3 << 15 | 2 << 7 | 1 << 11),
    Case("SLDT EAX", [0x0F, 0x00, 0xC0], .ldtrTrAccess, info: 1 << 10),
    Case("STR R9D", [0x41, 0x0F, 0x00, 0xC9], .ldtrTrAccess, info: 1 << 10 | 9 << 3 | 1 << 28),
    Case("LLDT CX", [0x0F, 0x00, 0xD1], .ldtrTrAccess, info: 1 << 10 | 1 << 3 | 2 << 28),
    Case("LTR [RBP+4]", [0x0F, 0x00, 0x5D, 4], .ldtrTrAccess, 4, info: 3 << 28 | 1 << 22 | 5 << 23 | 2 << 15 | 2 << 7),
    Case("VMREAD RCX, RAX", [0x0F, 0x78, 0xC1], .vmread, info: 1 << 10 | 1 << 3),
    Case("VMREAD [RBX], RDX", [0x0F, 0x78, 0x13], .vmread, info: 2 << 28 | 1 << 22 | 3 << 23 | 3 << 15 | 2 << 7),
    Case("VMWRITE R8, RSI", [0x44, 0x0F, 0x79, 0xC6], .vmwrite, info: 1 << 10 | 6 << 3 | 8 << 28),
    Case("VMWRITE RAX, [RBX+10h]", [0x0F, 0x79, 0x43, 0x10], .vmwrite, 0x10, info: 1 << 22 | 3 << 23 | 3 << 15 | 2 << 7),
    Case("VMPTRLD [RBX]", [0x0F, 0xC7, 0x33], .vmptrld, info: 1 << 22 | 3 << 23 | 3 << 15 | 2 << 7),
    Case("VMPTRST [RSI+RDI]", [0x0F, 0xC7, 0x3C, 0x3E], .vmptrst, info: 7 << 18 | 6 << 23 | 3 << 15 | 2 << 7),
    Case("VMCLEAR [EBX]", [0x67, 0x66, 0x0F, 0xC7, 0x33], .vmclear, info: 1 << 22 | 3 << 23 | 3 << 15 | 1 << 7),
    Case("VMXON GS:[RBX]", [0x65, 0xF3, 0x0F, 0xC7, 0x33], .vmxon, info: 1 << 22 | 3 << 23 | 5 << 15 | 2 << 7),
    Case("INVEPT RCX, [RBX]", [0x66, 0x0F, 0x38, 0x80, 0x0B], .invept, info: 1 << 28 | 1 << 22 | 3 << 23 | 3 << 15 | 2 << 7),
    Case("INVVPID RAX, [RBX-1]", [0x66, 0x0F, 0x38, 0x81, 0x43, 0xFF], .invvpid, .max, info: 1 << 22 | 3 << 23 | 3 << 15 | 2 << 7),
  ])
  func operands(_ c: Case) throws {
    var c = c
    c.bits = [.descriptorTableExiting]
    try check(c)
  }

  // MARK: Exceptions

  @Test("exceptions: vector, type, error code, and the address of a page fault") func exceptions() throws {
    let b = try VMXBench()
    prepare(b)
    // #UD, then INT3, then #GP with a selector, #PF by read and by write, INT1.
    #expect(b.exit([0x0F, 0x0B]) == .exception && b[.exitInterruption] == 0x8000_0306 && b[.exitQualification] == 0)
    #expect(b[.guestRFLAGS] & RFLAGS.rf != 0)
    #expect(b.exit([0xCC]) == .exception && b[.exitInterruption] == 0x8000_0603 && b[.exitInstructionLength] == 1)
    #expect(b[.guestRFLAGS] & RFLAGS.rf == 0 && b[.guestRIP] == B.guestCode)
    #expect(b.exit([0xF1]) == .exception && b[.exitInterruption] == 0x8000_0501 && b[.exitInstructionLength] == 1)
    b[.guestRFLAGS] = 2
    b.vcpu.setGPR(.rax, 0x70)
    #expect(b.exit([0x8E, 0xD8]) == .exception && b[.exitInterruption] == 0x8000_0B0D && b[.exitErrorCode] == 0x70)
    b[.guestRFLAGS] = 2
    b.vcpu.setGPR(.rbx, 0x4000_0123)
    #expect(b.exit([0x8A, 0x03]) == .exception && b[.exitInterruption] == 0x8000_0B0E && b[.exitErrorCode] == 0)
    #expect(b[.exitQualification] == 0x4000_0123 && b.state.cr2 == 0 && b[.idtVectoring] == 0)
    b[.guestRFLAGS] = 2
    #expect(b.exit([0x88, 0x03]) == .exception && b[.exitErrorCode] == 2)
    b[.guestRFLAGS] = 2 | RFLAGS.tf
    #expect(b.exit([0x90, 0x90]) == .exception && b[.exitInterruption] == 0x8000_0301 && b[.exitQualification] == 1 << 14)
    #expect(b[.guestRIP] == B.guestCode + 1)
  }

  @Test("INT n does not exit; what goes wrong in its delivery does, with the vectoring recorded") func vectoring() throws {
    let b = try VMXBench()
    prepare(b)
    #expect(b.exit([0xCD, 0x30]) == .vmcall && b[.guestRIP] == B.handlers + 0x300)
    // A gate that is not present: #NP.
    b.put(0x4000 + 0x31 * 16, 0x0000_0000_0008_0000 as UInt64)
    b[.guestRIP] = B.guestCode
    #expect(b.exit([0xCD, 0x31]) == .exception && b[.exitInterruption] == 0x8000_0B0D)
    b.put(0x4000 + 0x31 * 16, 0x0000_0E00_0008_0000 as UInt64)
    #expect(b.exit([0xCD, 0x31]) == .exception && b[.exitInterruption] == 0x8000_0B0B && b[.exitErrorCode] == 0x31 << 3 | 2)
    #expect(b[.idtVectoring] == 0x8000_0431 && b[.exitInstructionLength] == 2 && b[.guestRIP] == B.guestCode)
    // #UD whose gate is not present, with only #NP exiting.
    b[.exceptionBitmap] = 1 << 11
    b.put(0x4000 + 6 * 16, 0x0000_0E00_0008_0000 as UInt64)
    #expect(b.exit([0x0F, 0x0B]) == .exception && b[.exitInterruption] == 0x8000_0B0B && b[.idtVectoring] == 0x8000_0306)
    // #GP whose gate is not present: a double fault, whose exit is no exit during delivery.
    b[.exceptionBitmap] = 1 << 8
    b.put(0x4000 + 13 * 16, 0x0000_0E00_0008_0000 as UInt64)
    b.vcpu.setGPR(.rax, 0x70)
    #expect(b.exit([0x8E, 0xD8]) == .exception && b[.exitInterruption] == 0x8000_0B08 && b[.exitErrorCode] == 0)
    #expect(b[.idtVectoring] == 0)
    // And when that finds no gate either, a triple fault.
    b[.exceptionBitmap] = 0
    b.put(0x4000 + 8 * 16, 0x0000_0E00_0008_0000 as UInt64)
    #expect(b.exit([0x8E, 0xD8]) == .tripleFault && b[.exitQualification] == 0 && b[.idtVectoring] == 0)
  }

  @Test("without a bit in the bitmap the guest's own handler runs; page faults by mask and match") func bitmap() throws {
    let b = try VMXBench()
    b[.exceptionBitmap] = 0
    #expect(b.exit([0x0F, 0x0B]) == .vmcall && b[.guestRIP] == B.handlers + 0x60)
    b.vcpu.setGPR(.rbx, 0x4000_0000)
    b[.pageFaultMask] = 2
    b[.pageFaultMatch] = 2
    // Bit 0 and no match: it exits.
    b[.guestRIP] = B.guestCode
    #expect(b.exit([0x8A, 0x03]) == .exception && b[.exitErrorCode] == 0)
    #expect(b.exit([0x88, 0x03]) == .vmcall && b[.guestRIP] == B.handlers + 0xE0 && b.state.cr2 == 0x4000_0000)
  }

  @Test("real mode: no error codes in the VMCS") func realExceptions() throws {
    let b = try VMXBench()
    b.makeRealGuest()
    // LIDT with a limit of 0 makes INT3 a #GP.
    b[.guestIDTRLimit] = 0
    b[.exceptionBitmap] = 1 << 13
    #expect(b.exit([0xCD, 0x21]) == .exception && b[.exitInterruption] == 0x8000_030D)
    #expect(b[.idtVectoring] == 0x8000_0421)
  }

  // MARK: Task switches

  @Test("task switches: selector and source", arguments: [
    ([0x9A, 0, 0, 0, 0, 0x40, 0], 0x40, 0, 7), ([0xEA, 0, 0, 0, 0, 0x40, 0], 0x40, 2, 7),
    ([0x9A, 0, 0, 0, 0, 0x48, 0], 0x40, 0, 7), ([0xCF], 0x40, 1, 1), ([0xCD, 0x32], 0x40, 3, 2),
  ] as [([UInt8], UInt64, UInt64, UInt64)])
  func taskSwitch(_ code: [UInt8], _ selector: UInt64, _ source: UInt64, _ length: UInt64) throws {
    let b = try VMXBench()
    b.make32BitGuest()
    b[.exceptionBitmap] = 0xFFFF_FFFF
    b.put(0x4800 + 0x32 * 8, 0x0000_8500_0040_0000 as UInt64)
    if source == 1 {
      b[.guestRFLAGS] = 2 | RFLAGS.nt
      b.put(0x5000, UInt16(0x40))
      b.put(0x1040, UInt64(0x0000_8B00_5800_0067))
    }
    #expect(b.exit(code) == .taskSwitch && b[.exitQualification] == selector | source << 30)
    #expect(b[.exitInstructionLength] == length && b[.guestRIP] == B.guestCode)
    #expect(b[.idtVectoring] == (source == 3 ? 0x8000_0432 : 0))
    // A TSS that is busy already faults instead.
    if source != 1 {
      b.put(0x1040, UInt64(0x0000_8B00_5800_0067))
      #expect(b.exit(code) == .exception && b[.exitErrorCode] & 0xFFF8 == 0x40)
    }
  }

  // MARK: CR0, CR4, CR3

  @Test("masks and shadows: what the guest reads and what a write leaves") func shadows() throws {
    let b = try VMXBench()
    b[.cr0Mask] = CR0.ts | CR0.ne
    b[.cr0Shadow] = CR0.ts
    b[.cr4Mask] = CR4.vmxe
    b[.cr4Shadow] = 0
    // MOV RAX, CR0; MOV RBX, CR4; XOR EAX, MP; MOV CR0, RAX; SMSW ECX.
    let code: [UInt8] = [0x0F, 0x20, 0xC0, 0x0F, 0x20, 0xE3, 0x83, 0xF0, 0x02, 0x0F, 0x22, 0xC0, 0x0F, 0x01, 0xE1]
    #expect(b.exit(code + B.vmcall) == .vmcall)
    #expect(b.vcpu.gpr(.rbx) & CR4.vmxe == 0 && b[.guestCR4] & CR4.vmxe != 0)
    #expect(b[.guestCR0] & (CR0.ts | CR0.ne | CR0.mp) == CR0.ne | CR0.mp)
    #expect(b.vcpu.gpr(.rcx) & 0x2A == CR0.ts | CR0.mp)
    // CLTS with the mask and a shadow of 0 changes nothing and does not exit.
    b[.cr0Shadow] = 0
    b[.guestCR0] |= CR0.ts
    b[.guestRIP] = B.guestCode
    #expect(b.exit([0x0F, 0x06] + B.vmcall) == .vmcall && b[.guestCR0] & CR0.ts != 0)
  }

  @Test("CR3 targets are written without an exit") func targets() throws {
    let b = try VMXBench()
    b.set(.cr3LoadExiting)
    b[.cr3TargetCount] = 2
    b[.cr3Target1] = 0x10000
    b.vcpu.setGPR(.rax, 0x10000)
    #expect(b.exit([0x0F, 0x22, 0xD8] + B.vmcall) == .vmcall)
    b[.cr3TargetCount] = 1
    b[.guestRIP] = B.guestCode
    #expect(b.exit([0x0F, 0x22, 0xD8] + B.vmcall) == .crAccess)
  }

  // MARK: State in and out

  @Test("the guest's state is saved, and all of the monitor's is loaded") func states() throws {
    let b = try VMXBench()
    b.set(.saveDebugControls, .savePAT, .loadHostPAT, .loadPAT, .loadDebugControls)
    b[.guestPAT] = 0x0007_0406_0007_0401
    b[.guestDR7] = 0x455
    b[.guestRFLAGS] = 0x2 | RFLAGS.cf | RFLAGS.of
    b[.guestSysenterCS] = 0x11
    b[.guestSysenterESP] = 0x2200
    b[.guestSysenterEIP] = 0x3300
    b[.guestGSBase] = 0xFFFF_8000_0000_0000
    b.change { $0.dr7 = 0x4AA }
    // MOV RSP, 5555h.
    #expect(b.exit([0xBC, 0x55, 0x55, 0, 0] + B.vmcall) == .vmcall)
    #expect(b[.guestRSP] == 0x5555 && b[.guestRIP] == B.guestCode + 5 && b[.guestRFLAGS] == 0x2 | RFLAGS.cf | RFLAGS.of)
    #expect(b[.guestDR7] == 0x455 && b[.guestPAT] == 0x0007_0406_0007_0401 && b[.guestGSBase] == 0xFFFF_8000_0000_0000)
    #expect(b[.guestSysenterCS] == 0x11 && b[.guestSysenterESP] == 0x2200 && b[.guestSysenterEIP] == 0x3300)
    #expect(b[.guestCS] == 8 && b[.guestCSAccess] == 0xA09B && b[.guestTRAccess] == 0x8B && b[.guestLDTRAccess] & 1 << 16 != 0)
    #expect(b[.guestGDTRBase] == 0x1000 && b[.guestGDTRLimit] == 0x4F && b[.guestEFER] == b[.hostEFER])
    #expect(b[.entryControls] & VMXControlBit.ia32eModeGuest.mask != 0 && b[.guestActivity] == 0)
    let s = b.state
    #expect(s[.rsp] == 0x7000 && s.rflags == 2 && s.dr7 == 0x400 && s.pat == b[.hostPAT])
    #expect(s.sysenterCS == 0x77 && s.sysenterESP == 0x7700 && s.sysenterEIP == 0x7780)
    #expect(s.gdtr == TableRegister(base: 0x1000, limit: 0xFFFF) && s.idtr == TableRegister(base: 0x4000, limit: 0xFFFF))
    #expect(s[.fs].base == 0x1111_0000 && s[.gs].base == 0x2222_0000 && s[.ldtr].unusable && s[.ldtr].selector == 0)
    #expect(s[.tr] == SegmentState(selector: 0x28, base: 0x5000, limit: 0x67, access: 0x8B))
    #expect(s[.cs] == SegmentState(selector: 8, base: 0, limit: .max, access: 0xA09B))
    #expect(s[.ss].selector == 0x10 && s[.ss].limit == .max && !s[.ss].unusable)
  }

  @Test("reserved bits, ET, NW and CD of CR0 go neither in nor out") func cr0Kept() throws {
    let b = try VMXBench()
    b[.guestCR0] |= CR0.nw | 1 << 6 | 1 << 28
    b[.hostCR0] |= CR0.cd | 1 << 7
    #expect(b.exit([0x0F, 0x20, 0xC0] + B.vmcall) == .vmcall)
    let own = CR0.pe | CR0.et | CR0.ne | CR0.pg | CR0.wp
    #expect(b.vcpu.gpr(.rax) == own && b.state.cr0 == own)
  }

  @Test("MSR areas: stored, loaded at exit and at entry, and an abort where that fails") func msrAreas() throws {
    let b = try VMXBench()
    b[.entryMSRLoadCount] = 1
    b[.entryMSRLoadAddress] = B.msrArea
    b.put(B.msrArea, UInt64(0xC000_0102))
    b.put(B.msrArea + 8, UInt64(0x1234_5000))
    b[.exitMSRStoreCount] = 1
    b[.exitMSRStoreAddress] = B.msrArea + 0x100
    b.put(B.msrArea + 0x100, UInt64(0xC000_0102))
    b[.exitMSRLoadCount] = 1
    b[.exitMSRLoadAddress] = B.msrArea + 0x200
    b.put(B.msrArea + 0x200, UInt64(0xC000_0102))
    b.put(B.msrArea + 0x208, UInt64(0x9999_0000))
    #expect(b.exit(B.vmcall) == .vmcall)
    #expect(b.get(B.msrArea + 0x108) == UInt64(0x1234_5000) && b.state.kernelGSBase == 0x9999_0000)
    for (list, code) in [(UInt64(0x200), UInt32(4)), (0x100, 1)] {
      let b = try VMXBench()
      b[.exitMSRStoreCount] = 1
      b[.exitMSRStoreAddress] = B.msrArea + 0x100
      b.put(B.msrArea + 0x100, UInt64(0x174))
      b[.exitMSRLoadCount] = 1
      b[.exitMSRLoadAddress] = B.msrArea + 0x200
      b.put(B.msrArea + 0x200, UInt64(0x174))
      b.put(B.msrArea + list, UInt64(0x7777_7777))
      #expect(!b.enter(B.vmcall) && b.last?.reason == .tripleFault && b.state.activity == .shutdown)
      #expect(b.get(B.vmcs + 4) == code)
    }
  }

  @Test("the TSC offset counts for the guest's reads alone") func tscOffset() throws {
    let b = try VMXBench()
    b.set(.useTSCOffsetting)
    b[.tscOffset] = 1 << 40
    #expect(b.exit([0x0F, 0x31] + B.vmcall) == .vmcall)
    #expect(b.vcpu.gpr(.rdx) == 1 << 8 && b.state.tscOffset == 0)
    // What the guest writes to the TSC is the processor's.
    b.vcpu.setGPR(.rax, 0)
    b.vcpu.setGPR(.rdx, 2)
    b.vcpu.setGPR(.rcx, 0x10)
    b[.guestRIP] = B.guestCode
    #expect(b.exit([0x0F, 0x30, 0x0F, 0x31] + B.vmcall) == .vmcall)
    #expect(b.vcpu.gpr(.rdx) == 2 | 1 << 8 && b.state.tscOffset >> 32 == 1 || b.state.tscOffset >> 32 == 2)
  }

  @Test("VMCALL leaves a guest in real mode and in ring 3") func vmcallAnywhere() throws {
    let b = try VMXBench()
    b.makeRealGuest()
    #expect(b.exit(B.vmcall) == .vmcall && b[.guestRIP] == 0)
    let c = try VMXBench()
    for i in 0..<4 {
      c[.selector(i)] |= 3
      c[.access(i)] |= 0x60
    }
    #expect(c.exit(B.vmcall) == .vmcall && c[.guestSSAccess] & 0x60 == 0x60)
  }
}
