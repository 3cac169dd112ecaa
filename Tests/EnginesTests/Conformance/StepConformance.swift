import Testing
import VMCore
import X86

private typealias Mode = Conformance.Mode

/// One step is one instruction, whatever the instruction is.
@Suite("Engines agree: stepping") struct StepConformance {
  struct Row: Sendable, CustomTestStringConvertible {
    var name: String
    var modes: [Conformance.Mode] = [.real, .protected, .paged, .long]
    var code: [UInt8]
    /// Registers beside EAX 1, EBX 2, ECX 3, EDX 0, ESI 5000h, EDI 5800h.
    var set: [GPR: UInt64] = [:]
    var flags: UInt64 = RFLAGS.fixed1
    /// RIP after it, from the start; the code's length if nil.
    var to: Int64?
    var expect: [GPR: UInt64] = [:]
    /// Of RSP, in words of the mode.
    var stack: Int64 = 0
    var flagsAfter: UInt64?
    var cpu = CPUModel.baseline
    var testDescription: String { name }
  }
  private static let narrow: [Conformance.Mode] = [.real]
  private static let wide: [Conformance.Mode] = [.protected, .paged, .long]

  static let rows: [Row] = [
    Row(name: "NOP", code: [0x90]),
    Row(name: "ADD", code: [0x01, 0xD8], expect: [.rax: 3]),
    Row(name: "SUB to zero", code: [0x29, 0xD8], set: [.rax: 2], expect: [.rax: 0], flagsAfter: 0x46),
    Row(name: "MUL", code: [0xF7, 0xE1], set: [.rax: 5], expect: [.rax: 15]),
    Row(name: "DIV", code: [0xF7, 0xF1], set: [.rax: 10], expect: [.rax: 3, .rdx: 1]),
    Row(name: "SHL", code: [0xD1, 0xE0], expect: [.rax: 2]),
    Row(name: "XCHG", code: [0x93], expect: [.rax: 2, .rbx: 1]),
    Row(name: "LAHF", code: [0x9F], set: [.rax: 0], flags: 0x46, expect: [.rax: 0x4600]),
    Row(name: "CMOVZ not moved", code: [0x0F, 0x44, 0xC3], expect: [.rax: 1]),
    Row(name: "BSF", code: [0x0F, 0xBC, 0xC3], expect: [.rax: 1]),
    Row(name: "PUSH", code: [0x50], stack: -1),
    Row(name: "POP", code: [0x58], expect: [.rax: 0x8010], stack: 1),
    Row(name: "CALL", modes: narrow, code: [0xE8, 0x10, 0x00], to: 0x13, stack: -1),
    Row(name: "CALL", modes: wide, code: [0xE8, 0x10, 0, 0, 0], to: 0x15, stack: -1),
    Row(name: "RET", code: [0xC3], to: 0x10, stack: 1),
    Row(name: "JMP", code: [0xEB, 0x20], to: 0x22),
    Row(name: "JZ taken", code: [0x74, 0x20], flags: 0x42, to: 0x22),
    Row(name: "JZ not taken", code: [0x74, 0x20]),
    Row(name: "LOOP to itself", code: [0xE2, 0xFE], to: 0, expect: [.rcx: 2]),
    Row(name: "LOOP that ends", code: [0xE2, 0xFE], set: [.rcx: 1], expect: [.rcx: 0]),
    Row(name: "MOVSB", code: [0xA4], expect: [.rsi: 0x5001, .rdi: 0x5801]),
    Row(name: "REP MOVSB is one instruction", code: [0xF3, 0xA4], expect: [.rcx: 0, .rsi: 0x5003, .rdi: 0x5803]),
    Row(name: "REP STOSB of nothing", code: [0xF3, 0xAA], set: [.rcx: 0], expect: [.rdi: 0x5800]),
    Row(name: "REPNE SCASB", code: [0xF2, 0xAE], set: [.rax: 0], expect: [.rcx: 2, .rdi: 0x5801]),
    Row(name: "PUSHF", code: [0x9C], stack: -1),
    Row(name: "POPF", code: [0x9D], stack: 1, flagsAfter: 0x8010 & 0xFD5 | 2),
    Row(name: "CLI", code: [0xFA], flags: 0x202, flagsAfter: 2),
    Row(name: "STI", code: [0xFB], flagsAfter: 0x202),
    Row(name: "CLD", code: [0xFC], flags: 0x402, flagsAfter: 2),
    Row(name: "MOV SS", modes: [.protected, .paged, .long], code: [0x8E, 0xD0], set: [.rax: 0x10]),
    Row(name: "MOV DS", modes: [.protected, .paged, .long], code: [0x8E, 0xD8], set: [.rax: 0x10]),
    Row(name: "MOV DS in real mode", modes: narrow, code: [0x8E, 0xD8], set: [.rax: 0x10]),
    Row(name: "MOV from CR0", code: [0x0F, 0x20, 0xC0], set: [.rax: 0]),
    Row(name: "SGDT", modes: narrow, code: [0x0F, 0x01, 0x06, 0x00, 0x58]),
    Row(name: "SMSW", code: [0x0F, 0x01, 0xE0]),
    Row(name: "CLTS", code: [0x0F, 0x06]),
    Row(name: "INVLPG", modes: [.long], code: [0x0F, 0x01, 0x3B]),
    Row(name: "WBINVD", code: [0x0F, 0x09]),
    Row(name: "RDTSC", code: [0x0F, 0x31]),
    Row(name: "INT3", modes: [.real, .protected, .long], code: [0xCC], to: 0x9000 + 3 * 16 - 0x8000, stack: -3),
    Row(name: "INT 1Eh", modes: [.real, .protected, .long], code: [0xCD, 0x1E], to: 0x9000 + 0x1E * 16 - 0x8000, stack: -3),
    Row(name: "SWAPGS", modes: [.long], code: [0x0F, 0x01, 0xF8]),
    Row(name: "MOVUPS", modes: [.long], code: [0x0F, 0x10, 0x06]),
    Row(name: "PADDD", modes: [.long], code: [0x66, 0x0F, 0xFE, 0xC1]),
    Row(name: "FLD1", modes: [.real, .protected, .long], code: [0xD9, 0xE8]),
    Row(name: "CMPXCHG8B", modes: [.long], code: [0x0F, 0xC7, 0x0E], set: [.rsi: 0x5000]),
    Row(name: "CMPXCHG16B", modes: [.long], code: [0x48, 0x0F, 0xC7, 0x0E], set: [.rsi: 0x5000], cpu: .v2),
    Row(name: "LOCK XADD", code: [0xF0, 0x0F, 0xC1, 0x1E, 0x00, 0x50], set: [.rbx: 1]),
  ]

  @Test("one instruction", arguments: Conformance.engines, rows)
  func row(engine: String, row: Row) throws {
    for mode in row.modes {
      guard let b = try Conformance.applicableBench(engine, mode, cpu: row.cpu) else { continue }
      try Need.capability(.singleStep).check(b.engine)
      var code = row.code
      // LOCK XADD's displacement is 16 bits in real mode only; elsewhere [ESI] does.
      if row.name == "LOCK XADD", mode != .real { code = [0xF0, 0x0F, 0xC1, 0x1E] }
      let top = SystemBench.innerStack - 0x20
      b.memory.write(GPA(top), [0x10, 0x80, 0, 0, 0, 0, 0, 0])
      b.change {
        ($0[.rax], $0[.rbx], $0[.rcx], $0[.rdx]) = (1, 2, 3, 0)
        ($0[.rsi], $0[.rdi], $0[.rsp]) = (0x5000, 0x5800, top)
        for (register, value) in row.set { $0[register] = value }
        $0.rflags = row.flags
        $0.cr4 |= CR4.osfxsr
      }
      let exit = b.step(code)
      let after = b.state
      #expect(exit.reason == .budget, "\(mode): \(exit)")
      let target = row.to.map { SystemBench.code &+ UInt64(bitPattern: $0) } ?? SystemBench.code + UInt64(code.count)
      #expect(after.linearRIP.value == target, "\(mode): \(String(after.linearRIP.value, radix: 16))")
      for (register, value) in row.expect { #expect(after[register] == value, "\(mode): \(register)") }
      let words = mode == .long && row.stack == -3 ? alignedFrame(top) : top &+ UInt64(bitPattern: row.stack) &* mode.wordSize
      #expect(after[.rsp] == words, "\(mode): rsp \(String(after[.rsp], radix: 16))")
      if let flags = row.flagsAfter { #expect(after.rflags & ~0x10 == flags & ~0x10, "\(mode): \(String(after.rflags, radix: 16))") }
    }
  }
  /// Where RSP is after delivery in 64-bit mode without an error code: aligned to 16, then five words.
  private func alignedFrame(_ top: UInt64) -> UInt64 { top & ~15 &- 40 }

  @Test("a step over OUT: the exit first, the step's end after it", arguments: Conformance.engines, Mode.allCases)
  func output(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode, needs: [.capability(.singleStep)])
    let exit = b.step([0xE6, 0x10, 0x40])
    #expect(exit.reason == .io && exit.rip == SystemBench.code)
    #expect(b.vcpu.run(VMEntry(.complete(0)), limit: 1).reason == .budget)
    #expect(b.state.rip == SystemBench.code + 2)
  }

  @Test("a hundred steps go the way a run goes", arguments: Conformance.engines, [Mode.real, .protected, .long])
  func manySteps(engine: String, mode: Conformance.Mode) throws {
    // mov cl, 20; again: add al, 7; push/pop; loop again; hlt
    let code: [UInt8] = [0xB9, 20, 0] + (mode == .real ? [] : [0, 0]) + [0x04, 0x07, 0x50, 0x5B, 0xE2, 0xFA, 0xF4]
    let stepped = try Conformance.bench(engine, mode, needs: [.capability(.singleStep)])
    let ran = try Conformance.bench(engine, mode)
    stepped.memory.write(GPA(SystemBench.code), code)
    var steps = 0
    var exit = stepped.vcpu.run(.resume, limit: 1)
    while exit.reason == .budget, steps < 200 {
      steps += 1
      exit = stepped.vcpu.run(.resume, limit: 1)
    }
    #expect(steps == 81 && exit.reason == .hlt)
    #expect(ran.execute(code).reason == .hlt)
    #expect(stepped.state.gpr == ran.state.gpr && stepped.state.rip == ran.state.rip)
    #expect(stepped.state.rflags == ran.state.rflags)
  }
}
