import Engines
import Testing
import VMCore
import X86

private typealias B = SystemBench

@Suite struct SystemSegmentTests {
  struct LoadCase: Sendable {
    var cpl: UInt8
    /// 8E /r: D8 DS, D0 SS, C0 ES, E0 FS from AX.
    var register: UInt8
    var access: UInt64
    var rpl: UInt16
    /// Error by selector, or nil where the load succeeds.
    var expected: Exception?
  }

  @Test("loading a data or stack segment checks type, privilege and presence", arguments: [
    LoadCase(cpl: 0, register: 0xD8, access: 0x92, rpl: 0, expected: nil),
    LoadCase(cpl: 0, register: 0xD8, access: 0x90, rpl: 0, expected: nil),
    LoadCase(cpl: 0, register: 0xD8, access: 0x98, rpl: 0, expected: .gp),
    LoadCase(cpl: 0, register: 0xD8, access: 0x9A, rpl: 0, expected: nil),
    LoadCase(cpl: 0, register: 0xD8, access: 0x92, rpl: 3, expected: .gp),
    LoadCase(cpl: 0, register: 0xD8, access: 0xF2, rpl: 3, expected: nil),
    LoadCase(cpl: 3, register: 0xD8, access: 0x92, rpl: 3, expected: .gp),
    LoadCase(cpl: 3, register: 0xC0, access: 0x9E, rpl: 3, expected: nil),
    LoadCase(cpl: 3, register: 0xC0, access: 0x9A, rpl: 3, expected: .gp),
    LoadCase(cpl: 3, register: 0xE0, access: 0xF2, rpl: 0, expected: nil),
    LoadCase(cpl: 0, register: 0xD8, access: 0x12, rpl: 0, expected: .np),
    LoadCase(cpl: 0, register: 0xD8, access: 0x82, rpl: 0, expected: .gp),
    LoadCase(cpl: 0, register: 0xD0, access: 0x92, rpl: 0, expected: nil),
    LoadCase(cpl: 0, register: 0xD0, access: 0x90, rpl: 0, expected: .gp),
    LoadCase(cpl: 0, register: 0xD0, access: 0x9A, rpl: 0, expected: .gp),
    LoadCase(cpl: 0, register: 0xD0, access: 0xB2, rpl: 0, expected: .gp),
    LoadCase(cpl: 0, register: 0xD0, access: 0x92, rpl: 1, expected: .gp),
    LoadCase(cpl: 0, register: 0xD0, access: 0x12, rpl: 0, expected: .ss),
    LoadCase(cpl: 3, register: 0xD0, access: 0xF2, rpl: 3, expected: nil),
  ])
  func loads(_ test: LoadCase) throws {
    let b = try SystemBench()
    b.enterProtected(cpl: test.cpl)
    b.segment(B.free, base: 0x1234, limit: 0x10, access: test.access)
    b.vcpu.setGPR(.rax, UInt64(B.free | test.rpl))
    let seen = b.fault([0x8E, test.register])
    #expect(seen == test.expected.map { Seen($0.rawValue, UInt32(B.free)) })
    // A successful load sets the accessed bit.
    let accessed = b.get(B.gdt + UInt64(B.free) + 5, as: UInt8.self) & 1
    if test.expected == nil { #expect(accessed == 1) }
  }

  @Test("null selectors: DS yes, SS no") func null() throws {
    let b = try SystemBench()
    b.enterProtected()
    b.vcpu.setGPR(.rax, 3)
    #expect(b.fault([0x8E, 0xD8]) == nil)
    #expect(b.state[.ds].unusable)
    #expect(b.fault([0xA0, 0, 0, 0, 0]) == gp(0))
    #expect(b.fault([0x8E, 0xD0]) == gp(0))
  }

  struct LimitCase: Sendable {
    var access: UInt32
    var limit: UInt32
    var offset: UInt64
    var write: Bool
    var ok: Bool
  }

  @Test("limits and types guard every access", arguments: [
    LimitCase(access: 0x4093, limit: 0xFFF, offset: 0xFFC, write: false, ok: true),
    LimitCase(access: 0x4093, limit: 0xFFF, offset: 0xFFD, write: false, ok: false),
    LimitCase(access: 0x4093, limit: 0xFFF, offset: 0xFFFF_FFFE, write: false, ok: false),
    LimitCase(access: 0x4091, limit: 0xFFF, offset: 0, write: false, ok: true),
    LimitCase(access: 0x4091, limit: 0xFFF, offset: 0, write: true, ok: false),
    LimitCase(access: 0x4097, limit: 0xFFF, offset: 0xFFF, write: false, ok: false),
    LimitCase(access: 0x4097, limit: 0xFFF, offset: 0x1000, write: true, ok: true),
    LimitCase(access: 0x0097, limit: 0xFFF, offset: 0xFFFC, write: false, ok: true),
    LimitCase(access: 0x0097, limit: 0xFFF, offset: 0xFFFD, write: false, ok: false),
    LimitCase(access: 0x4099, limit: 0xFFF, offset: 0, write: false, ok: false),
    LimitCase(access: 0x409B, limit: 0xFFF, offset: 0, write: false, ok: true),
    LimitCase(access: 0x409B, limit: 0xFFF, offset: 0, write: true, ok: false),
  ])
  func limits(_ test: LimitCase) throws {
    let b = try SystemBench()
    b.enterProtected()
    b.change { $0[.ds] = SegmentState(selector: 0x48, base: 0x2_0000, limit: test.limit, access: test.access) }
    let seen = b.fault([test.write ? 0xA3 : 0xA1] + le32(test.offset))
    #expect(seen == (test.ok ? nil : gp(0)))
  }

  @Test("LAR, LSL, VERR and VERW look without faulting", arguments: [
    (0x92, 0, true, true, true), (0x90, 0, true, true, false), (0x98, 0, true, false, false),
    (0x89, 0, true, false, false), (0x8C, 0, true, false, false), (0x8E, 0, false, false, false),
    (0x92, 3, false, false, false), (0x9E, 3, true, true, false),
  ] as [(UInt64, UInt16, Bool, Bool, Bool)])
  func queries(_ access: UInt64, _ rpl: UInt16, _ lar: Bool, _ verr: Bool, _ verw: Bool) throws {
    let b = try SystemBench()
    b.enterProtected()
    b.segment(B.free, limit: 0x123, access: access, flags: 4)
    b.vcpu.setGPR(.rax, UInt64(B.free | rpl))
    b.step([0x0F, 0x02, 0xD8])
    #expect((b.state.rflags & RFLAGS.zf != 0) == lar)
    if lar { #expect(b.state[.rbx] == (access << 8 | 0x40_0000)) }
    b.step([0x0F, 0x00, 0xE0])
    #expect((b.state.rflags & RFLAGS.zf != 0) == verr)
    b.step([0x0F, 0x00, 0xE8])
    #expect((b.state.rflags & RFLAGS.zf != 0) == verw)
  }

  // MARK: Far transfers

  struct FarCase: Sendable {
    var cpl: UInt8
    var access: UInt64
    var rpl: UInt16
    var expected: Exception?
  }

  @Test("a far jump checks the code segment", arguments: [
    FarCase(cpl: 0, access: 0x9A, rpl: 0, expected: nil), FarCase(cpl: 0, access: 0x9A, rpl: 1, expected: .gp),
    FarCase(cpl: 0, access: 0xFA, rpl: 0, expected: .gp), FarCase(cpl: 3, access: 0x9A, rpl: 3, expected: .gp),
    FarCase(cpl: 3, access: 0x9E, rpl: 3, expected: nil), FarCase(cpl: 3, access: 0xFA, rpl: 0, expected: nil),
    FarCase(cpl: 0, access: 0x92, rpl: 0, expected: .gp), FarCase(cpl: 0, access: 0x1A, rpl: 0, expected: .np),
    FarCase(cpl: 0, access: 0x82, rpl: 0, expected: .gp), FarCase(cpl: 0, access: 0xFE, rpl: 0, expected: .gp),
  ])
  func farJumps(_ test: FarCase) throws {
    let b = try SystemBench()
    b.enterProtected(cpl: test.cpl)
    b.segment(B.free, access: test.access)
    let selector = B.free | test.rpl
    let seen = b.fault([0xEA] + le32(0x8100) + [UInt8(selector & 0xFF), UInt8(selector >> 8)])
    #expect(seen == test.expected.map { Seen($0.rawValue, UInt32(B.free)) })
    if test.expected == nil { #expect(b.state.rip == 0x8100 && b.state.cpl == test.cpl) }
  }

  @Test("a call gate to ring 0 switches stacks and copies parameters; RETF undoes it") func callGate() throws {
    let b = try SystemBench()
    b.enterProtected(cpl: 3)
    b.gate(B.free, to: B.code0, 0x8200, access: 0xEC, parameters: 2)
    b.put(B.outerStack, UInt32(0x1111))
    b.put(B.outerStack + 4, UInt32(0x2222))
    b.step([0x9A, 0, 0, 0, 0, 0x4B, 0])
    let s = b.state
    #expect(s.cpl == 0 && s.rip == 0x8200 && s[.cs].selector == 8 && s[.ss].selector == 0x10)
    let frame: [UInt32] = [UInt32(B.code) + 7, 0x1B, 0x1111, 0x2222, UInt32(B.outerStack), 0x23]
    #expect(b.stack(6) as [UInt32] == frame)
    b.change { $0[.ds] = SegmentState(selector: 0x10, limit: .max, access: 0xC093) }
    b.step([0xCA, 8, 0])
    #expect(b.state.cpl == 3 && b.state[.rsp] == B.outerStack + 8 && b.state.rip == B.code + 7)
    // Ring 3 may not keep ring 0's DS.
    #expect(b.state[.ds].unusable && !b.state[.es].unusable)
  }

  @Test("call gates check themselves and their target", arguments: [
    (0xEC, 8, true, nil), (0x8C, 8, true, gp(0x48)), (0x6C, 8, true, np(0x48)),
    (0xEC, 0, true, gp(0)), (0xEC, 0x10, true, gp(0x10)), (0xEC, 8, false, gp(8)), (0xEC, 0x18, false, nil),
    (0xE4, 8, true, nil),
  ] as [(UInt64, UInt16, Bool, Seen?)])
  func callGates(_ access: UInt64, _ target: UInt16, _ call: Bool, _ expected: Seen?) throws {
    let b = try SystemBench()
    b.enterProtected(cpl: 3)
    b.gate(B.free, to: target, 0x8200, access: access)
    #expect(b.fault([call ? 0x9A : 0xEA, 0, 0, 0, 0, 0x4B, 0]) == expected)
  }

  @Test("a far jump enters and leaves compatibility mode") func compatibility() throws {
    let b = try SystemBench()
    b.enterLong()
    b.segment(B.free, access: 0x9B, flags: 0xC)
    b.put(0x8800, UInt32(0x8100))
    b.put(0x8804, B.free)
    b.step([0xFF, 0x2C, 0x25] + le32(0x8800))
    #expect(b.state.mode == .compatibility32 && b.state.rip == 0x8100)
    b.step([0xEA] + le32(0x8000) + [0x08, 0])
    #expect(b.state.mode == .long64 && b.state.rip == 0x8000)
  }

  // MARK: Task switches

  /// A TSS that runs ring 0 code at 8300h.
  private func prepareTask(_ b: SystemBench, cs: UInt32 = 8, ss: UInt32 = 0x10, ds: UInt32 = 0x10) {
    b.put(B.otherTSS + 32, UInt32(0x8300))
    b.put(B.otherTSS + 36, UInt32(2))
    b.put(B.otherTSS + 56, UInt32(0x5800))
    b.put(B.otherTSS + 52, UInt32(0xBEEF))
    let selectors: [UInt32] = [0x10, cs, ss, ds, 0, 0]
    for (i, selector) in selectors.enumerated() { b.put(B.otherTSS + 72 + UInt64(i) * 4, selector) }
  }
  private func tssType(_ b: SystemBench, _ selector: UInt16) -> UInt8 {
    b.get(B.gdt + UInt64(selector) + 5, as: UInt8.self) & 0xF
  }

  @Test("CALL to a TSS nests, IRET comes back") func callTask() throws {
    let b = try SystemBench()
    b.enterProtected()
    prepareTask(b)
    b.vcpu.setGPR(.rbx, 0x77)
    b.step([0x9A, 0, 0, 0, 0, UInt8(B.otherTask), 0])
    var s = b.state
    #expect(s.rip == 0x8300 && s[.rbx] == 0xBEEF && s[.rsp] == 0x5800 && s[.tr].selector == B.otherTask)
    #expect(s.rflags & RFLAGS.nt != 0 && s.cr0 & CR0.ts != 0)
    #expect(tssType(b, B.taskState) == 0xB && tssType(b, B.otherTask) == 0xB)
    #expect(b.get(B.otherTSS, as: UInt16.self) == B.taskState)
    b.step([0xCF])
    s = b.state
    #expect(s.rip == B.code + 7 && s[.rbx] == 0x77 && s[.tr].selector == B.taskState)
    #expect(s.rflags & RFLAGS.nt == 0)
    #expect(tssType(b, B.taskState) == 0xB && tssType(b, B.otherTask) == 9)
  }

  @Test("JMP to a TSS frees the old task") func jumpTask() throws {
    let b = try SystemBench()
    b.enterProtected()
    prepareTask(b)
    b.step([0xEA, 0, 0, 0, 0, UInt8(B.otherTask), 0])
    #expect(b.state.rip == 0x8300 && b.state.rflags & RFLAGS.nt == 0)
    #expect(tssType(b, B.taskState) == 9 && tssType(b, B.otherTask) == 0xB)
    #expect(b.get(B.tss + 32, as: UInt32.self) == UInt32(B.code) + 7)
  }

  @Test("a task gate in the IDT takes the error code along") func taskGate() throws {
    let b = try SystemBench()
    b.enterProtected()
    prepareTask(b)
    b.vector(13, access: 0x85, selector: B.otherTask)
    b.put(0x8300, UInt8(0x90))
    b.vcpu.setGPR(.rax, 0x7F8)
    b.step([0x8E, 0xD8])
    #expect(b.state.rip == 0x8301 && b.state[.rsp] == 0x57FC)
    #expect(b.stack(1) as [UInt32] == [0x7F8])
    #expect(b.get(B.tss + 32, as: UInt32.self) == UInt32(B.code))
  }

  @Test("the new TSS is checked before anything changes", arguments: [
    (0x8B, 0x67, gp(0x38)), (0x09, 0x67, np(0x38)), (0x89, 0x66, ts(0x38)), (0x82, 0x67, gp(0x38)),
    (0x81, 0x2A, ts(0x38)),
  ] as [(UInt64, UInt64, Seen)])
  func taskChecks(_ access: UInt64, _ limit: UInt64, _ expected: Seen) throws {
    let b = try SystemBench()
    b.enterProtected()
    prepareTask(b)
    b.segment(B.otherTask, base: B.otherTSS, limit: limit, access: access, flags: 0)
    #expect(b.fault([0xEA, 0, 0, 0, 0, UInt8(B.otherTask), 0]) == expected)
    #expect(b.state[.tr].selector == B.taskState)
  }

  @Test("bad segments of the new task fault in the new task", arguments: [
    (0, 0x10, 0x10, ts(0)), (0x10, 0x10, 0x10, ts(0x10)), (8, 0, 0x10, ts(0)),
    (8, 0x20, 0x10, ts(0x20)), (8, 0x10, 0x7F8, ts(0x7F8)),
  ] as [(UInt32, UInt32, UInt32, Seen)])
  func taskSegments(_ cs: UInt32, _ ss: UInt32, _ ds: UInt32, _ expected: Seen) throws {
    let b = try SystemBench()
    b.enterProtected()
    prepareTask(b, cs: cs, ss: ss, ds: ds)
    // The handler is a task of its own, since the new task may have no usable stack.
    let third: UInt64 = 0x3C00
    b.segment(0x40, base: third, limit: 0x67, access: 0x89, flags: 0)
    for i in 0..<UInt64(0x68) { b.put(third + i, b.get(B.otherTSS + i, as: UInt8.self)) }
    b.put(third + 56, UInt32(0x5800))
    for (i, selector) in ([0x10, 8, 0x10, 0x10] as [UInt32]).enumerated() {
      b.put(third + 72 + UInt64(i) * 4, selector)
    }
    b.vector(10, access: 0x85, selector: 0x40)
    b.step([0xEA, 0, 0, 0, 0, UInt8(B.otherTask), 0])
    #expect(b.delivered() == [expected])
    #expect(b.state[.tr].selector == 0x40)
    #expect(b.get(third, as: UInt16.self) == B.otherTask)
  }
}
