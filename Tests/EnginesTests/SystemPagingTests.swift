import Engines
import Testing
import VMCore
import X86

/// One access to one page, and what SDM 3A 4.6 and 4.7 say of it.
struct PageCase: Sendable, CustomTestStringConvertible {
  enum Kind: Sendable { case read, write, fetch }
  var format: SystemBench.Format
  var cpl: UInt8
  var kind: Kind
  /// Flags of the leaf entry (bit 63 NX); the page frame is 50000h.
  var leaf: UInt64
  /// The #PF error code, or nil where the access is allowed.
  var error: UInt32?
  var wp = true
  var smep = false
  var smap = false
  var ac = false
  var nxe = true

  var testDescription: String {
    let bits = "wp \(wp) smep \(smep) smap \(smap) ac \(ac) nxe \(nxe)"
    return "\(format) ring \(cpl) \(kind) leaf \(String(leaf, radix: 16)) \(bits)"
  }
}

private let nx: UInt64 = 1 << 63
private let page: UInt64 = 0x1F_0000

private func all(_ cpl: UInt8, _ kind: PageCase.Kind, _ leaf: UInt64, _ error: UInt32?) -> [PageCase] {
  SystemBench.Format.allCases.map { PageCase(format: $0, cpl: cpl, kind: kind, leaf: leaf, error: error) }
}

/// Present, user and writable bits in every combination that matters.
private let plainCases: [PageCase] = [
  all(3, .read, 7, nil), all(3, .write, 7, nil), all(3, .read, 6, 0b100), all(3, .write, 6, 0b110),
  all(3, .read, 5, nil), all(3, .write, 5, 0b111), all(3, .read, 3, 0b101), all(3, .write, 3, 0b111),
  all(3, .read, 1, 0b101), all(0, .read, 0, 0), all(0, .write, 0, 0b010), all(0, .read, 7, nil),
  all(0, .write, 7, nil), all(0, .read, 1, nil), all(0, .write, 1, 0b011), all(0, .write, 5, 0b011),
  all(0, .read, 5, nil), all(0, .write, 3, nil),
].flatMap { $0 }

private let specialCases: [PageCase] = [
  PageCase(format: .long, cpl: 0, kind: .write, leaf: 5, error: nil, wp: false),
  PageCase(format: .legacy, cpl: 0, kind: .write, leaf: 1, error: nil, wp: false),
  PageCase(format: .legacy, cpl: 3, kind: .write, leaf: 5, error: 0b111, wp: false),
  PageCase(format: .long, cpl: 3, kind: .fetch, leaf: 7, error: nil),
  PageCase(format: .long, cpl: 3, kind: .fetch, leaf: nx | 7, error: 0b10101),
  PageCase(format: .pae, cpl: 3, kind: .fetch, leaf: nx | 7, error: 0b10101),
  PageCase(format: .long, cpl: 0, kind: .fetch, leaf: nx | 3, error: 0b10001),
  PageCase(format: .long, cpl: 3, kind: .fetch, leaf: 3, error: 0b10101),
  PageCase(format: .legacy, cpl: 3, kind: .fetch, leaf: 3, error: 0b101),
  PageCase(format: .legacy, cpl: 0, kind: .fetch, leaf: 6, error: 0),
  PageCase(format: .long, cpl: 0, kind: .fetch, leaf: 6, error: 0b10000),
  PageCase(format: .long, cpl: 0, kind: .fetch, leaf: 6, error: 0, nxe: false),
  PageCase(format: .long, cpl: 0, kind: .read, leaf: nx | 3, error: nil),
  PageCase(format: .long, cpl: 0, kind: .read, leaf: nx | 3, error: 0b1001, nxe: false),
  PageCase(format: .pae, cpl: 0, kind: .write, leaf: nx | 3, error: 0b1011, nxe: false),
  PageCase(format: .long, cpl: 0, kind: .read, leaf: 1 << 41 | 3, error: 0b1001),
  PageCase(format: .long, cpl: 3, kind: .write, leaf: 1 << 51 | 7, error: 0b1111),
  PageCase(format: .pae, cpl: 0, kind: .read, leaf: 1 << 60 | 3, error: 0b1001),
  PageCase(format: .long, cpl: 0, kind: .read, leaf: 1 << 60 | 3, error: nil),
  PageCase(format: .long, cpl: 0, kind: .fetch, leaf: 7, error: 0b10001, smep: true),
  PageCase(format: .legacy, cpl: 0, kind: .fetch, leaf: 7, error: 0b10001, smep: true),
  PageCase(format: .legacy, cpl: 0, kind: .fetch, leaf: 3, error: nil, smep: true),
  PageCase(format: .long, cpl: 3, kind: .fetch, leaf: 7, error: nil, smep: true),
  PageCase(format: .long, cpl: 0, kind: .read, leaf: 7, error: 0b00001, smap: true),
  PageCase(format: .long, cpl: 0, kind: .write, leaf: 7, error: 0b00011, smap: true),
  PageCase(format: .legacy, cpl: 0, kind: .read, leaf: 7, error: 0b00001, smap: true),
  PageCase(format: .long, cpl: 0, kind: .read, leaf: 7, error: nil, smap: true, ac: true),
  PageCase(format: .pae, cpl: 0, kind: .write, leaf: 7, error: nil, smap: true, ac: true),
  PageCase(format: .long, cpl: 0, kind: .write, leaf: 5, error: 0b00011, smap: true, ac: true),
  PageCase(format: .long, cpl: 0, kind: .read, leaf: 3, error: nil, smap: true),
  PageCase(format: .long, cpl: 3, kind: .read, leaf: 7, error: nil, smap: true),
]

@Suite struct SystemPagingTests {
  private func readCode(_ format: SystemBench.Format, _ at: UInt64) -> [UInt8] {
    format == .long ? [0x8A, 0x04, 0x25] + le32(at) : [0xA0] + le32(at)
  }
  private func writeCode(_ format: SystemBench.Format, _ at: UInt64) -> [UInt8] {
    format == .long ? [0x88, 0x04, 0x25] + le32(at) : [0xA2] + le32(at)
  }

  @Test("a page's rights decide each access", arguments: plainCases + specialCases)
  func permissions(_ test: PageCase) throws {
    let b = try SystemBench()
    b.enterPaged(test.format, cpl: test.cpl, leaf: test.cpl == 3 ? 7 : 3)
    b.setPage(test.format, page, 0x50000 | test.leaf)
    b.put(0x50000, UInt8(0x90))
    b.change {
      if !test.wp { $0.cr0 &= ~CR0.wp }
      if test.smep { $0.cr4 |= CR4.smep }
      if test.smap { $0.cr4 |= CR4.smap }
      if test.ac { $0.rflags |= RFLAGS.ac }
      if !test.nxe { $0.efer &= ~EFER.nxe }
    }
    var seen: Seen?
    switch test.kind {
    case .read: seen = b.fault(readCode(test.format, page))
    case .write: seen = b.fault(writeCode(test.format, page))
    case .fetch:
      b.change { $0.rip = page }
      b.vcpu.controls.wishes.vectors = .all
      let exit = b.vcpu.run(.resume, limit: 1)
      if case .exception(let vector, let code, let linear) = exit.qualification { seen = Seen(vector, code, linear) }
    }
    #expect(seen == test.error.map { Seen(14, $0, page) })
  }

  @Test("A and D are set by use and by writing", arguments: SystemBench.Format.allCases)
  func accessedAndDirty(_ format: SystemBench.Format) throws {
    let b = try SystemBench()
    b.enterPaged(format, cpl: 0)
    #expect(b.page(format, page) & 0x60 == 0)
    b.step(readCode(format, page))
    #expect(b.page(format, page) & 0x60 == 0x20)
    // The write finds the page in the TLB, but not for writing.
    b.step(writeCode(format, page))
    #expect(b.page(format, page) & 0x60 == 0x60)
    #expect(b.get(0x12000, as: UInt8.self) & 0x20 == 0x20)
  }

  @Test("a faulting write leaves D alone") func faultKeepsDirty() throws {
    let b = try SystemBench()
    b.enterPaged(.long, cpl: 0)
    b.setPage(.long, page, 0x50001)
    #expect(b.fault(writeCode(.long, page)) == Seen(14, 3, page))
    #expect(b.page(.long, page) & 0x40 == 0)
  }

  @Test("a changed entry is seen after INVLPG") func invlpg() throws {
    let b = try SystemBench()
    b.enterPaged(.long, cpl: 0)
    b.put(0x50000, UInt8(0x11))
    b.put(0x51000, UInt8(0x22))
    b.setPage(.long, page, 0x50007)
    b.step(readCode(.long, page))
    #expect(b.state[.rax] & 0xFF == 0x11)
    b.setPage(.long, page, 0x51007)
    b.step([0x0F, 0x01, 0x3C, 0x25] + le32(page))
    b.step(readCode(.long, page))
    #expect(b.state[.rax] & 0xFF == 0x22)
  }

  @Test("global pages outlive a CR3 load, others do not", arguments: [true, false])
  func globalPages(_ global: Bool) throws {
    let b = try SystemBench()
    b.enterPaged(.long, cpl: 0)
    b.put(0x50000, UInt8(0x11))
    b.put(0x51000, UInt8(0x22))
    b.change { $0.cr4 |= CR4.pge }
    b.setPage(.long, page, 0x50007 | (global ? 0x100 : 0))
    b.step(readCode(.long, page))
    b.setPage(.long, page, 0x51007)
    b.vcpu.setGPR(.rcx, 0x10000)
    b.step([0x0F, 0x22, 0xD9])
    b.step(readCode(.long, page))
    #expect(b.state[.rax] & 0xFF == (global ? 0x11 : 0x22))
  }

  @Test("CLAC ends what STAC allowed, cached or not") func clac() throws {
    let b = try SystemBench()
    b.enterPaged(.long, cpl: 0, leaf: 3)
    b.setPage(.long, page, 0x50007)
    b.change { $0.cr4 |= CR4.smap }
    b.step([0x0F, 0x01, 0xCB])
    b.step(readCode(.long, page))
    b.step(readCode(.long, page))
    b.step([0x0F, 0x01, 0xCA])
    #expect(b.fault(readCode(.long, page)) == Seen(14, 1, page))
  }

  @Test("2 MiB, 4 MiB and 1 GiB pages map their offsets", arguments: SystemBench.Format.allCases)
  func largePages(_ format: SystemBench.Format) throws {
    let b = try SystemBench()
    b.enterPaged(format, cpl: 0)
    b.change { $0.cr4 |= CR4.pse }
    let linear: UInt64
    switch format {
    case .legacy:
      b.put(0x12004, UInt32(0x83))
      linear = 0x40_0000 + 0x5_0123
    case .pae:
      b.put(0x12008, UInt64(0x83))
      linear = 0x20_0000 + 0x5_0123
    case .long:
      b.put(0x11008, UInt64(0x83))
      linear = 0x4000_0000 + 0x5_0123
    }
    b.put(0x50123, UInt8(0x5A))
    b.step(readCode(format, linear))
    #expect(b.state[.rax] & 0xFF == 0x5A)
    #expect(b.vcpu.translate(GVA(linear)) == GPA(0x50123))
  }

  @Test("reserved bits of large pages fault") func largeReserved() throws {
    let b = try SystemBench()
    b.enterPaged(.long, cpl: 0)
    b.put(0x12008, UInt64(0x2083))
    #expect(b.fault(readCode(.long, 0x20_0000)) == Seen(14, 9, 0x20_0000))
    b.put(0x10008, UInt64(0x11083))
    #expect(b.fault([0x48, 0xA1, 0, 0, 0, 0, 0x80, 0, 0, 0]) == Seen(14, 9, 0x80_0000_0000))
  }

  @Test("an access across two pages checks both before it changes either") func crossing() throws {
    let b = try SystemBench()
    b.enterPaged(.long, cpl: 0)
    b.setPage(.long, page + 0x1000, 0x51000)
    b.put(0x1F_0FFE, UInt16(0x1234))
    b.vcpu.setGPR(.rax, 0xFFFF_FFFF)
    #expect(b.fault([0x89, 0x04, 0x25] + le32(page + 0xFFE)) == Seen(14, 2, page + 0x1000))
    #expect(b.get(0x1F_0FFE, as: UInt16.self) == 0x1234)
    b.setPage(.long, page + 0x1000, 0x51007)
    b.step([0x89, 0x04, 0x25] + le32(page + 0xFFE))
    #expect(b.get(0x51000, as: UInt16.self) == 0xFFFF)
  }

  @Test("a non-canonical address is #GP, on the stack #SS") func canonical() throws {
    let b = try SystemBench()
    b.enterLong()
    b.vcpu.setGPR(.rbx, 0x8000_0000_0000)
    #expect(b.fault([0x8A, 0x03]) == gp(0))
    b.vcpu.setGPR(.rsp, 0x8000_0000_0010)
    #expect(b.fault([0x50]) == ss(0))
  }

  @Test("reserved PDPTE bits make the CR3 load fault") func pdpte() throws {
    let b = try SystemBench()
    b.enterPaged(.pae, cpl: 0)
    b.put(0x11000, UInt64(0x12003))
    b.vcpu.setGPR(.rcx, 0x11000)
    #expect(b.fault([0x0F, 0x22, 0xD9]) == gp(0))
  }

  @Test("an address without memory exits, and is answered") func mmio() throws {
    let b = try SystemBench()
    b.enterProtected()
    let exit = b.step([0xA1] + le32(0xFEE0_0020))
    let wanted = ExitQualification.mmio(
      gpa: GPA(0xFEE0_0020), linear: GVA(0xFEE0_0020), size: 4, write: false, value: 0)
    #expect(exit.qualification == wanted)
    _ = b.vcpu.run(VMEntry(.complete(0x1234_5678)), limit: 1)
    #expect(b.state[.rax] == 0x1234_5678)
  }

  @Test("a store across a page border where many address bits change does not follow the second page alone")
  func borders() throws {
    for border in [0x8000_0000, 0x1_0000_0000] as [UInt64] {
      let b = try SystemBench()
      b.enterLong()
      // The pages on both sides of the border, far apart in memory.
      let low = border - 0x1000
      b.put(0x11000 + (low >> 30) * 8, UInt64(0x1_5007))
      b.put(0x1_5FF8, UInt64(0x1_6007))
      b.put(0x1_6FF8, UInt64(0x5_0007))
      b.put(0x11000 + (border >> 30) * 8, UInt64(0x1_7007))
      b.put(0x1_7000, UInt64(0x1_8007))
      b.put(0x1_8000, UInt64(0x3_0007))
      b.vcpu.setGPR(.rax, 0x4433_2211)
      b.vcpu.setGPR(.rbx, border)
      // MOV [RBX], EAX; MOV [RBX-2], EAX.
      b.memory.write(GPA(SystemBench.code), [0x89, 0x03, 0x89, 0x43, 0xFE])
      _ = b.vcpu.run(.resume, limit: 2)
      #expect(b.get(0x5_0FFE) == UInt16(0x2211) && b.get(0x3_0000) == UInt32(0x4433_4433))
      #expect(b.get(0x2_FFFE) == UInt16(0))
    }
  }
}
