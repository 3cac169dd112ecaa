import Testing
import VMCore
import X86

private typealias Mode = Conformance.Mode

/// Every kind of exit: what it says, that its instruction has not executed, and what each answer does.
@Suite("Engines agree: exits") struct ExitConformance {
  struct Row: Sendable, CustomTestStringConvertible {
    var name: String
    var modes: [Conformance.Mode] = [.real, .protected, .paged, .long]
    var code: [UInt8]
    var rax: UInt64 = 0x1122_3344
    var rdx: UInt64 = 0x3F8
    var reason: ExitReason = .io
    var qualification: ExitQualification
    /// The answer, and what RAX is after it.
    var answer: VMEntry.Action = .complete(0)
    var after: UInt64 = 0x1122_3344
    var testDescription: String { name }
  }

  private static func io(_ port: UInt16, _ size: UInt8, write: Bool, value: UInt64 = 0) -> ExitQualification {
    .io(port: port, size: size, write: write, string: false, rep: false, value: value)
  }
  /// 16-bit operands in real mode are 32-bit ones elsewhere; with the prefix it is the other way round.
  private static let wide: [Conformance.Mode] = [.protected, .paged, .long]

  static let rows: [Row] = [
    Row(name: "OUT imm8, AL", code: [0xE6, 0x70], qualification: io(0x70, 1, write: true, value: 0x44)),
    Row(name: "OUT DX, AL", code: [0xEE], qualification: io(0x3F8, 1, write: true, value: 0x44)),
    Row(name: "OUT DX, AX", modes: [.real], code: [0xEF], qualification: io(0x3F8, 2, write: true, value: 0x3344)),
    Row(name: "OUT DX, AX with a prefix", modes: wide, code: [0x66, 0xEF], qualification: io(0x3F8, 2, write: true, value: 0x3344)),
    Row(name: "OUT DX, EAX", modes: wide, code: [0xEF], qualification: io(0x3F8, 4, write: true, value: 0x1122_3344)),
    Row(name: "OUT to the last port", code: [0xEE], rdx: 0xFFFF, qualification: io(0xFFFF, 1, write: true, value: 0x44)),
    Row(name: "IN AL, imm8", code: [0xE4, 0x71], qualification: io(0x71, 1, write: false), answer: .complete(0xA5), after: 0x1122_33A5),
    Row(name: "IN AL, DX", code: [0xEC], qualification: io(0x3F8, 1, write: false), answer: .complete(0xFFFF_FFA5), after: 0x1122_33A5),
    Row(name: "IN AX, DX", modes: [.real], code: [0xED], qualification: io(0x3F8, 2, write: false), answer: .complete(0xBEEF), after: 0x1122_BEEF),
    Row(name: "IN AX, DX with a prefix", modes: wide, code: [0x66, 0xED], qualification: io(0x3F8, 2, write: false), answer: .complete(0xBEEF), after: 0x1122_BEEF),
    Row(name: "IN EAX, DX", modes: wide, code: [0xED], qualification: io(0x3F8, 4, write: false), answer: .complete(0xDEAD_BEEF), after: 0xDEAD_BEEF),
    Row(name: "IN skipped", code: [0xEC], qualification: io(0x3F8, 1, write: false), answer: .skip),
    Row(name: "OUT skipped", code: [0xEE], qualification: io(0x3F8, 1, write: true, value: 0x44), answer: .skip),
    Row(name: "HLT", code: [0xF4], reason: .hlt, qualification: .hlt, answer: .skip),
  ]

  @Test("an exit says what it is about, before it is done", arguments: Conformance.engines, rows)
  func row(engine: String, row: Row) throws {
    for mode in row.modes {
      guard let b = try Conformance.applicableBench(engine, mode) else { continue }
      b.change {
        $0[.rax] = row.rax
        $0[.rdx] = row.rdx
      }
      let exit = b.execute(row.code)
      #expect(exit.reason == row.reason && exit.qualification == row.qualification, "\(mode): \(exit)")
      #expect(exit.rip == SystemBench.code, "\(mode)")
      #expect(exit.vcpu == 0)
      #expect(b.vcpu.gpr(.rax) == row.rax)
      #expect(b.carryOut(row.answer).reason == .budget)
      #expect(b.vcpu.gpr(.rax) == row.after, "\(mode)")
      #expect(b.state.rip == SystemBench.code + UInt64(row.code.count), "\(mode)")
    }
  }

  @Test("an I/O instruction can be made to fault instead", arguments: Conformance.engines, Mode.allCases)
  func faulted(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    let exit = b.execute([0xE6, 0x10])
    #expect(exit.reason == .io)
    let error: UInt32? = mode == .real ? nil : 0
    #expect(b.carryOut(.fault(Exception.gp.rawValue, errorCode: error)).reason == .budget)
    #expect(b.linearRIP() == SystemBench.handlers + 13 * 16)
    // The frame names the instruction itself.
    switch mode {
    case .real: #expect(b.stack(1, as: UInt16.self) == [UInt16(SystemBench.code)])
    case .protected, .paged: #expect(b.stack(2, as: UInt32.self) == [0, UInt32(SystemBench.code)])
    case .long: #expect(b.stack(2, as: UInt64.self) == [0, SystemBench.code])
    }
  }

  @Test("string I/O exits once an element", arguments: Conformance.engines, [Mode.real, .protected, .long])
  func strings(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    b.memory.write(GPA(0x5000), Array("AB".utf8))
    b.change {
      $0[.rsi] = 0x5000
      $0[.rdi] = 0x5800
      $0[.rcx] = 2
      $0[.rdx] = 0x80
    }
    // rep outsb; mov cl, 2; rep insb; hlt
    var exit = b.execute([0xF3, 0x6E, 0xB1, 0x02, 0xF3, 0x6C, 0xF4])
    for letter in [UInt64(0x41), 0x42] {
      #expect(exit.qualification == .io(port: 0x80, size: 1, write: true, string: true, rep: true, value: letter), "\(exit)")
      #expect(exit.rip == SystemBench.code)
      exit = b.goOn(VMEntry(.complete(0)))
    }
    #expect(b.vcpu.gpr(.rsi) == 0x5002)
    for letter in [UInt64(0x43), 0x44] {
      #expect(exit.qualification == .io(port: 0x80, size: 1, write: false, string: true, rep: true, value: 0), "\(exit)")
      #expect(exit.rip == SystemBench.code + 4)
      exit = b.goOn(VMEntry(.complete(letter)))
    }
    #expect(exit.reason == .hlt)
    #expect(b.get(0x5800, as: UInt16.self) == 0x4443)
    #expect(b.vcpu.gpr(.rcx) == 0 && b.vcpu.gpr(.rdi) == 0x5802)
  }

  static let device: UInt64 = 0xFEB0_0000
  /// A machine whose linear page 100000h is a device's.
  private func withDevice(_ engine: String, _ mode: Conformance.Mode) throws -> SystemBench {
    let b = try Conformance.bench(engine, mode)
    if mode == .long { b.setPage(.long, 0x10_0000, Self.device | 7) }
    b.change {
      $0[.rbx] = mode == .long ? 0x10_0000 : Self.device
      $0[.rax] = 0x1122_3344_5566_7788
      if mode != .long { $0[.rax] = 0x5566_7788 }
    }
    return b
  }
  private func mmio(
    _ mode: Conformance.Mode, _ offset: UInt64, _ size: UInt8, write: Bool, value: UInt64 = 0
  ) -> ExitQualification {
    let linear = (mode == .long ? 0x10_0000 : Self.device) + offset
    return .mmio(gpa: GPA(Self.device + offset), linear: GVA(linear), size: size, write: write, value: value)
  }

  /// REP STOSB, LODSB, MOVSB and CMPSB over a device: what each element reads (false) or writes (true).
  struct Repeated: Sendable {
    var code: UInt8
    var accesses: [Bool]
  }
  @Test("a repeated string instruction over a device exits once an access", arguments: ["interpreter", "rewriter"], [
    Repeated(code: 0xAA, accesses: [true]), Repeated(code: 0xAC, accesses: [false]),
    Repeated(code: 0xA4, accesses: [false, true]), Repeated(code: 0xA6, accesses: [false, false]),
  ])
  func repeatedStrings(engine: String, row: Repeated) throws {
    let b = try withDevice(engine, .long)
    b.change {
      $0[.rsi] = 0x10_0000
      $0[.rdi] = 0x10_0000 + (row.code == 0xAA ? 0 : 0x100)
      $0[.rcx] = 3
    }
    var exit = b.execute([0xF3, row.code, 0xF4])
    for element in 0..<3 as Range<UInt64> {
      for (index, write) in row.accesses.enumerated() {
        let offset = element + (index == 1 ? 0x100 : 0)
        let value: UInt64 = !write ? 0 : row.code == 0xAA ? 0x88 : 0x5A
        #expect(exit.qualification == mmio(.long, offset, 1, write: write, value: value), "\(exit)")
        exit = b.goOn(VMEntry(.complete(write ? 0 : 0x5A)))
      }
    }
    #expect(exit.reason == .hlt && b.vcpu.gpr(.rcx) == 0 && b.vcpu.instructionCount == 1)
  }

  @Test("reads of a device", arguments: Conformance.engines, [Mode.protected, .long])
  func deviceReads(engine: String, mode: Conformance.Mode) throws {
    var rows: [([UInt8], UInt8, UInt64)] = [([0x8A, 0x03], 1, 0x5566_77EF), ([0x66, 0x8B, 0x03], 2, 0x5566_CDEF), ([0x8B, 0x03], 4, 0x89AB_CDEF)]
    if mode == .long {
      rows[0].2 |= 0x1122_3344_0000_0000
      rows[1].2 |= 0x1122_3344_0000_0000
      rows.append(([0x48, 0x8B, 0x03], 8, 0x0123_4567_89AB_CDEF))
    }
    for (code, size, after) in rows {
      let b = try withDevice(engine, mode)
      let exit = b.execute(code)
      #expect(exit.reason == .eptViolation && exit.qualification == mmio(mode, 0, size, write: false), "\(exit)")
      #expect(exit.rip == SystemBench.code)
      #expect(b.carryOut(.complete(0x0123_4567_89AB_CDEF)).reason == .budget)
      #expect(b.vcpu.gpr(.rax) == after)
      #expect(b.state.rip == SystemBench.code + UInt64(code.count))
    }
  }

  @Test("writes to a device", arguments: Conformance.engines, [Mode.protected, .long])
  func deviceWrites(engine: String, mode: Conformance.Mode) throws {
    var rows: [([UInt8], UInt8, UInt64)] = [([0x88, 0x43, 0x10], 1, 0x88), ([0x66, 0x89, 0x43, 0x10], 2, 0x7788), ([0x89, 0x43, 0x10], 4, 0x5566_7788)]
    if mode == .long { rows.append(([0x48, 0x89, 0x43, 0x10], 8, 0x1122_3344_5566_7788)) }
    for (code, size, value) in rows {
      let b = try withDevice(engine, mode)
      let exit = b.execute(code)
      #expect(exit.reason == .eptViolation && exit.qualification == mmio(mode, 0x10, size, write: true, value: value), "\(exit)")
      #expect(exit.rip == SystemBench.code)
      #expect(b.carryOut(.complete(0)).reason == .budget)
      #expect(b.state.rip == SystemBench.code + UInt64(code.count))
    }
  }

  @Test("a read-modify-write of a device reads, then writes", arguments: Conformance.engines, [Mode.protected, .long])
  func deviceUpdate(engine: String, mode: Conformance.Mode) throws {
    let b = try withDevice(engine, mode)
    // add [rbx], al; hlt
    var exit = b.execute([0x00, 0x03, 0xF4])
    #expect(exit.qualification == mmio(mode, 0, 1, write: false), "\(exit)")
    exit = b.goOn(VMEntry(.complete(0x11)))
    #expect(exit.qualification == mmio(mode, 0, 1, write: true, value: 0x99), "\(exit)")
    #expect(b.goOn(VMEntry(.complete(0))).reason == .hlt)
    // 99h: negative, even parity.
    #expect(b.state.rflags & 0xC5 == 0x84)
  }

  @Test("the platform's MSRs exit, and any the engine does not have", arguments: Conformance.engines, [Mode.real, .protected, .long])
  func msrs(engine: String, mode: Conformance.Mode) throws {
    for index in [UInt32(0x1B), 0xDEAD] {
      let b = try Conformance.bench(engine, mode)
      b.haltInHandlers()
      b.change {
        $0[.rcx] = UInt64(index)
        $0[.rax] = 0x5566_7788
        $0[.rdx] = 0x1122_3344
      }
      // wrmsr; rdmsr; rdmsr
      var exit = b.execute([0x0F, 0x30, 0x0F, 0x32, 0x0F, 0x32])
      #expect(exit.reason == .wrmsr && exit.qualification == .msr(index: index, write: true, value: 0x1122_3344_5566_7788), "\(exit)")
      #expect(exit.rip == SystemBench.code)
      exit = b.goOn(VMEntry(.complete(0)))
      #expect(exit.reason == .rdmsr && exit.qualification == .msr(index: index, write: false, value: 0), "\(exit)")
      exit = b.goOn(VMEntry(.complete(0xAABB_CCDD_0102_0304)))
      #expect(exit.reason == .rdmsr)
      #expect(b.vcpu.gpr(.rax) == 0x0102_0304 && b.vcpu.gpr(.rdx) == 0xAABB_CCDD)
      exit = b.goOn(VMEntry(.fault(Exception.gp.rawValue, errorCode: mode == .real ? nil : 0)))
      #expect(exit.reason == .hlt)
      #expect(b.linearRIP() == SystemBench.handlers + 13 * 16)
    }
  }

  @Test("three faults on end are a triple fault", arguments: Conformance.engines, [Mode.protected, .long])
  func tripleFault(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    b.change { $0.idtr.limit = 0 }
    let exit = b.execute([0x0F, 0x0B])
    #expect(exit.reason == .tripleFault && exit.qualification == .tripleFault, "\(exit)")
  }
}
