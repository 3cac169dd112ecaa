import Engines
import Testing
import VMCore
import X86

private typealias B = VMXBench

/// Extended page tables (SDM 3C 29.3).
@Suite struct VMXPagingTests {
  private static let page: UInt64 = 0x50000
  /// MOV AL, [RBX]; MOV [RBX], AL; JMP RBX.
  private static let read: [UInt8] = [0x8A, 0x03], write: [UInt8] = [0x88, 0x03], jump: [UInt8] = [0xFF, 0xE3]

  private func bench() throws -> VMXBench {
    let b = try VMXBench()
    b.set(.enableEPT)
    b.vcpu.setGPR(.rbx, Self.page + 0x123)
    return b
  }

  @Test("addresses are translated twice: reads, writes, fetches, and the monitor's own are not") func mapped() throws {
    let b = try bench()
    b.eptPage(Self.page, 0x60037)
    b.put(0x60123, UInt8(0x77))
    b.put(0x50123, UInt8(0x11))
    #expect(b.exit(Self.read + [0x04, 0x01] + Self.write + B.vmcall) == .vmcall)
    #expect(b.get(0x60123) == UInt8(0x78) && b.get(0x50123) == UInt8(0x11))
    b.memory.write(GPA(0x60123), B.vmcall)
    b[.guestRIP] = B.guestCode
    #expect(b.exit(Self.jump) == .vmcall && b[.guestRIP] == Self.page + 0x123)
    #expect(b.host(Self.read) == .success && b.vcpu.gpr(.rax) & 0xFF == 0x11)
  }

  @Test("violations: what was wanted, what is allowed", arguments: [
    (read, 0, 1), (write, 0, 2), (jump, 0, 4), (write, 1, 2), (jump, 1, 4), (jump, 3, 4), (write, 5, 2),
  ] as [([UInt8], UInt64, UInt64)])
  func violations(_ code: [UInt8], _ rights: UInt64, _ wanted: UInt64) throws {
    let b = try bench()
    b.eptPage(Self.page, rights == 0 ? 0 : Self.page | 0x30 | rights)
    #expect(b.exit(code) == .eptViolation)
    #expect(b[.exitQualification] == wanted | rights << 3 | 1 << 7 | 1 << 8)
    #expect(b[.guestLinearAddress] == Self.page + 0x123 && b[.guestPhysicalAddress] == Self.page + 0x123)
    let isFetch = wanted == 4
    #expect(b[.guestRIP] == (isFetch ? Self.page + 0x123 : B.guestCode) && b[.guestRFLAGS] & RFLAGS.rf != 0)
    #expect(b[.exitInstructionInformation] == 0 && b[.idtVectoring] == 0)
  }

  @Test("rights are those of all levels together", arguments: [0, 1, 2] as [UInt64])
  func levels(_ level: UInt64) throws {
    let b = try bench()
    // Writing is forbidden at one upper level: everything the guest writes, its stack among it, is read-only.
    let at = B.ept + level * 0x1000
    b.put(at, b.get(at, as: UInt64.self) & ~2)
    #expect(b.exit(Self.read + Self.write) == .eptViolation && b[.guestRIP] == B.guestCode + 2)
    #expect(b[.exitQualification] == 2 | 5 << 3 | 1 << 7 | 1 << 8)
    // Not there at all: the first access is to the guest's own root table.
    b.put(at, UInt64(0))
    #expect(b.exit(Self.read) == .eptViolation && b[.exitQualification] == 1 | 1 << 7)
    #expect(b[.guestPhysicalAddress] == 0x10000 + (B.guestCode >> 39) * 8 && b[.guestLinearAddress] == B.guestCode + 2)
  }

  @Test("misconfigurations: rights, memory types and reserved bits", arguments: [
    2, 4, 6, 7 | 2 << 3, 7 | 3 << 3, 7 | 7 << 3, 0x37 | 1 << 40, 0x37 | 1 << 51,
  ] as [UInt64])
  func misconfigurations(_ bits: UInt64) throws {
    let b = try bench()
    b.eptPage(Self.page, Self.page | bits)
    #expect(b.exit(Self.read) == .eptMisconfiguration)
    #expect(b[.exitQualification] == 0 && b[.guestPhysicalAddress] == Self.page + 0x123 && b[.exitInstructionLength] == 0)
  }

  @Test("misconfigurations of upper levels", arguments: [
    (0, 0xF, true), (0, 0x87, true), (1, 0xF, true), (1, 0x47, true), (2, 0xF, true), (1, 0x20_0087 | 6 << 3, true),
    (2, 0x1087 | 6 << 3, true), (2, 0x87 | 2 << 3, true), (2, 0x107, false), (0, 0x107, false),
  ] as [(UInt64, UInt64, Bool)])
  func upperMisconfigurations(_ level: UInt64, _ bits: UInt64, _ bad: Bool) throws {
    let b = try bench()
    let at = B.ept + level * 0x1000
    let next = bits & 0x80 != 0 && level > 0 ? 0 : b.get(at, as: UInt64.self) & ~0xFFF
    b.put(at, next | bits)
    #expect(b.exit(B.vmcall) == (bad ? .eptMisconfiguration : .vmcall))
  }

  @Test("2 MiB and 1 GiB pages") func largePages() throws {
    let b = try bench()
    b.vcpu.setGPR(.rbx, 0x20_0123)
    b.put(0x20_0123, UInt8(0x5A))
    b.put(0x123, UInt8(0xA5))
    #expect(b.exit(Self.read + B.vmcall) == .vmcall && b.vcpu.gpr(.rax) & 0xFF == 0x5A)
    b.put(B.ept + 0x2008, UInt64(0xB7))
    b[.guestRIP] = B.guestCode
    #expect(b.exit(Self.read + B.vmcall) == .vmcall && b.vcpu.gpr(.rax) & 0xFF == 0xA5)
    b.put(B.ept + 0x1000, UInt64(0xB7))
    b[.guestRIP] = B.guestCode
    #expect(b.exit(Self.read + B.vmcall) == .vmcall && b.vcpu.gpr(.rax) & 0xFF == 0x5A)
  }

  @Test("page tables that may not be written: setting A or D is a violation of the table's page") func readOnlyTables() throws {
    let b = try bench()
    b.eptPage(0x12000, 0x12000 | 0x31)
    // A is not set in the directory's second entry, D not in its first.
    b.put(0x12008, UInt64(0x20_0087))
    b.vcpu.setGPR(.rbx, 0x20_0123)
    #expect(b.exit(Self.read) == .eptViolation && b[.exitQualification] == 3 | 1 << 3 | 1 << 7)
    #expect(b[.guestPhysicalAddress] == 0x12008 && b[.guestLinearAddress] == 0x20_0123)
    b.vcpu.setGPR(.rbx, Self.page + 0x123)
    b.put(0x12000, UInt64(0xA7))
    #expect(b.exit(Self.read + Self.write) == .eptViolation && b[.guestRIP] == B.guestCode + 2)
    #expect(b[.guestPhysicalAddress] == 0x12000 && b[.guestLinearAddress] == Self.page + 0x123)
    b.put(0x12000, UInt64(0xE7))
    b[.guestRIP] = B.guestCode
    #expect(b.exit(Self.read + Self.write + B.vmcall) == .vmcall)
  }

  @Test("a violation on the way to a page fault comes first; the guest's own page fault is its own") func order() throws {
    let b = try bench()
    b.put(0x12000, UInt64(0xE5))
    b.eptPage(Self.page, 0)
    #expect(b.exit(Self.write) == .exception && b[.exitInterruption] == 0x8000_0B0E && b[.exitQualification] == Self.page + 0x123)
  }

  @Test("a violation while an event is delivered keeps the event") func duringDelivery() throws {
    let b = try bench()
    b.eptPage(0x5000, 0)
    b[.exceptionBitmap] = 0
    #expect(b.exit([0x0F, 0x0B]) == .eptViolation && b[.idtVectoring] == 0x8000_0306)
    #expect(b[.guestPhysicalAddress] & ~0xFFF == 0x5000 && b[.exitQualification] == 2 | 1 << 7 | 1 << 8 && b[.guestRIP] == B.guestCode)
    b[.entryInterruption] = 0x8000_0430
    b[.entryInstructionLength] = 2
    #expect(b.exit() == .eptViolation && b[.idtVectoring] == 0x8000_0430 && b[.exitInstructionLength] == 2)
    b.eptPage(0x5000, 0x5037)
    b[.entryInterruption] = b[.idtVectoring]
    b[.entryInstructionLength] = b[.exitInstructionLength]
    #expect(b.exit() == .vmcall && b[.guestRIP] == B.handlers + 0x300)
  }

  @Test("guests without paging: real and 32-bit, translated once") func withoutPaging() throws {
    let b = try VMXBench()
    b.makeRealGuest()
    b.eptPage(0x50000, 0x60037)
    b.put(0x60010, UInt8(0x42))
    // MOV AX, 5000h; MOV DS, AX; MOV AL, [10h].
    #expect(b.exit([0xB8, 0, 0x50, 0x8E, 0xD8, 0xA0, 0x10, 0] + B.vmcall) == .vmcall && b.vcpu.gpr(.rax) & 0xFF == 0x42)
    let c = try VMXBench()
    c.make32BitGuest()
    c.eptPage(0x50000, 0)
    #expect(c.exit([0xA0, 0x10, 0, 5, 0]) == .eptViolation && c[.guestPhysicalAddress] == 0x50010 && c[.guestLinearAddress] == 0x50010)
  }

  @Test("an unrestricted guest turns protection and paging on by itself, and off again") func unrestricted() throws {
    let b = try VMXBench()
    b.make32BitGuest()
    // A page directory of 4 MiB pages at 14000h.
    b.put(0x14000, UInt32(0x87))
    let on: [UInt8] = [
      0xB8, 0, 0x40, 1, 0, 0x0F, 0x22, 0xD8, 0x0F, 0x20, 0xE0, 0x0C, 0x10, 0x0F, 0x22, 0xE0, 0x0F, 0x20, 0xC0, 0x0D, 0, 0, 0, 0x80,
      0x0F, 0x22, 0xC0,
    ]
    let off: [UInt8] = [0x25, 0xFF, 0xFF, 0xFF, 0x7F, 0x0F, 0x22, 0xC0]
    #expect(b.exit(on + B.vmcall) == .vmcall && b[.guestCR0] & CR0.pg != 0)
    b[.guestRIP] = B.guestCode
    #expect(b.exit(on + off + B.vmcall) == .vmcall && b[.guestCR0] & CR0.pg == 0)
  }

  @Test("PDPTEs: from the VMCS at entry, through EPT at MOV CR3") func pdptes() throws {
    let b = try bench()
    b.clear(.ia32eModeGuest)
    b[.guestEFER] = 0
    b[.guestCS] = 0x38
    b[.guestCSAccess] = 0xC09B
    b[.guestCR3] = 0x14000
    b[.guestPDPTE0] = 0x12001
    b.put(0x15000, UInt64(0x12001))
    #expect(b.exit([0xB8, 0, 0x50, 1, 0, 0x0F, 0x22, 0xD8] + B.vmcall) == .vmcall)
    #expect(b[.guestPDPTE0] == 0x12001 && b[.guestCR3] == 0x15000)
    b.eptPage(0x15000, 0)
    b[.guestRIP] = B.guestCode
    #expect(b.exit() == .eptViolation && b[.exitQualification] == 1 && b[.guestPhysicalAddress] == 0x15000)
  }

  @Test("INVEPT, and a VM exit and entry, see changed tables") func invalidation() throws {
    let b = try bench()
    #expect(b.exit(Self.read + B.vmcall) == .vmcall)
    b.eptPage(Self.page, 0)
    b.put(B.scratch, UInt64(0))
    b.put(B.scratch + 8, UInt64(0))
    b.vcpu.setGPR(.rax, 2)
    b.vcpu.setGPR(.rbx, B.scratch)
    #expect(b.host([0x66, 0x0F, 0x38, 0x80, 0x03]) == .success)
    b.vcpu.setGPR(.rbx, Self.page + 0x123)
    b[.guestRIP] = B.guestCode
    #expect(b.exit() == .eptViolation)
  }

  @Test("code on a page that EPT moves is the moved page's code, self-modified too") func movedCode() throws {
    let b = try bench()
    b.eptPage(Self.page, 0x60037)
    // At the moved page: MOV BYTE [RBX+8], 0Fh over the NOP at +8, which then begins a VMCALL.
    b.memory.write(GPA(0x60123), [0xC6, 0x43, 0x08, 0x0F, 0x90, 0x90, 0x90, 0x90, 0x90, 0x01, 0xC1])
    #expect(b.exit(Self.jump) == .vmcall && b[.guestRIP] == Self.page + 0x12B)
  }
}
