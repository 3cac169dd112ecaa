import Testing
import VMCore
import X86

private typealias Mode = Conformance.Mode

/// Faults of the guest's own, events put into it, and when it can take an interrupt.
@Suite("Engines agree: faults and injected events") struct EventConformance {
  struct Fault: Sendable, CustomTestStringConvertible {
    var name: String
    var vector: UInt64
    var modes: [Conformance.Mode] = [.real, .protected, .long]
    var code: [UInt8]
    /// On the stack where the vector has one.
    var errorCode: UInt32?
    /// RIP in the frame, from the start of the code.
    var offset: UInt64 = 0
    var testDescription: String { name }
  }

  static let faults: [Fault] = [
    Fault(name: "#DE of DIV by zero", vector: 0, code: [0x31, 0xC9, 0xF7, 0xF1], offset: 2),
    Fault(name: "#BP", vector: 3, code: [0xCC], offset: 1),
    Fault(name: "INT 40h", vector: 0x40, modes: [.real], code: [0xCD, 0x40], offset: 2),
    Fault(name: "INT 1Eh", vector: 0x1E, modes: [.protected, .long], code: [0xCD, 0x1E], offset: 2),
    Fault(name: "#UD", vector: 6, code: [0x0F, 0x0B]),
    Fault(name: "#GP of a selector beyond the GDT", vector: 13, modes: [.protected, .long], code: [0xB8, 0xF0, 0xFF, 0, 0, 0x8E, 0xD8], errorCode: 0xFFF0, offset: 5),
    Fault(name: "#GP of a non-canonical address", vector: 13, modes: [.long], code: [0x48, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x8B, 0x00], errorCode: 0, offset: 10),
    Fault(name: "#NP of an absent segment", vector: 11, modes: [.protected, .long], code: [0xB8, 0x48, 0, 0, 0, 0x8E, 0xD8], errorCode: 0x48, offset: 5),
    Fault(name: "#SS of an absent stack segment", vector: 12, modes: [.protected, .long], code: [0xB8, 0x48, 0, 0, 0, 0x8E, 0xD0], errorCode: 0x48, offset: 5),
    Fault(name: "#PF of a read", vector: 14, modes: [.long], code: [0xA1, 0, 0, 0, 0x40, 0, 0, 0, 0], errorCode: 0),
    Fault(name: "#PF of a write", vector: 14, modes: [.long], code: [0xA3, 0, 0, 0, 0x40, 0, 0, 0, 0], errorCode: 2),
    Fault(name: "#PF of a write to a read-only page", vector: 14, modes: [.long], code: [0xA3, 0, 0, 8, 0, 0, 0, 0, 0], errorCode: 3),
  ]

  @Test("a fault reaches its handler with the right frame", arguments: Conformance.engines, faults)
  func fault(engine: String, fault: Fault) throws {
    for mode in fault.modes {
      let b = try Conformance.bench(engine, mode)
      b.haltInHandlers()
      b.segment(0x48, access: 0x13)
      if mode == .long {
        b.setPage(.long, 0x80000, 0x80001)
        b.change { $0.cr0 |= CR0.wp }
      }
      let flags = b.state.rflags
      let exit = b.execute(fault.code)
      #expect(exit.reason == .hlt, "\(mode): \(exit)")
      #expect(b.linearRIP() == SystemBench.handlers + fault.vector * 16, "\(mode)")
      let rip = SystemBench.code + fault.offset
      let selector: UInt64 = mode == .real ? 0 : UInt64(SystemBench.code0)
      var frame: [UInt64] = fault.errorCode.map { [UInt64($0)] } ?? []
      frame += [rip, selector]
      let seen: [UInt64]
      switch mode {
      case .real: seen = b.stack(3, as: UInt16.self).map(UInt64.init)
      case .protected, .paged: seen = b.stack(4, as: UInt32.self).map(UInt64.init)
      case .long: seen = b.stack(4)
      }
      #expect(Array(seen.prefix(frame.count)) == frame, "\(mode)")
      #expect(seen[frame.count] & (RFLAGS.interruptEnable | RFLAGS.fixed1) == flags & (RFLAGS.interruptEnable | RFLAGS.fixed1))
      if fault.vector == 14 { #expect(b.state.cr2 == (fault.errorCode == 3 ? 0x80000 : 0x4000_0000)) }
    }
  }

  @Test("an interrupt that is put in goes to its handler before anything else", arguments: Conformance.engines, [Mode.real, .protected, .long])
  func interrupt(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    b.change { $0.rflags |= RFLAGS.interruptEnable }
    #expect(b.vcpu.canTakeInterrupt)
    b.haltInHandlers()
    let exit = b.execute([0x90, 0x90], VMEntry(.resume, inject: .externalInterrupt(0x1F)))
    #expect(exit.reason == .hlt)
    #expect(b.linearRIP() == SystemBench.handlers + 0x1F * 16)
    #expect(b.state.rflags & RFLAGS.interruptEnable == 0)
    switch mode {
    case .real: #expect(b.stack(1, as: UInt16.self) == [UInt16(SystemBench.code)])
    case .protected, .paged: #expect(b.stack(1, as: UInt32.self) == [UInt32(SystemBench.code)])
    case .long: #expect(b.stack(1, as: UInt64.self) == [SystemBench.code])
    }
  }

  @Test("an exception that is put in has its error code", arguments: Conformance.engines, [Mode.protected, .long])
  func exception(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    b.haltInHandlers()
    let exit = b.execute([0x90], VMEntry(.resume, inject: .exception(13, errorCode: 0x1234)))
    #expect(exit.reason == .hlt)
    #expect(b.linearRIP() == SystemBench.handlers + 13 * 16)
    #expect(mode == .long ? b.stack(1, as: UInt64.self) == [0x1234] : b.stack(1, as: UInt32.self) == [0x1234])
  }

  @Test("an NMI blocks the next until IRET", arguments: Conformance.engines, [Mode.real, .long])
  func nmi(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    // The handler: out 10h, al; iret
    b.memory.write(GPA(SystemBench.handlers + 2 * 16), [0xE6, 0x10] + (mode == .long ? [0x48, 0xCF] : [0xCF]))
    var exit = b.execute([0x90, 0xF4], VMEntry(.resume, inject: .nmi))
    #expect(exit.reason == .io && b.state.nmiBlocked)
    exit = b.goOn(VMEntry(.complete(0)))
    #expect(exit.reason == .hlt && exit.rip == SystemBench.code + 1)
    #expect(!b.state.nmiBlocked)
  }

  @Test("the interrupt window opens after STI and one more instruction", arguments: Conformance.engines, [Mode.real, .protected, .long])
  func window(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode, needs: [.preciseInterrupts])
    #expect(!b.vcpu.canTakeInterrupt)
    let exit = b.execute([0xFB, 0x90, 0x90, 0xFA, 0xF4], VMEntry(.resume, interruptWindow: true))
    #expect(exit.reason == .interruptWindow && exit.qualification == .interruptWindow, "\(exit)")
    #expect(b.state.rip == SystemBench.code + 2)
    #expect(b.vcpu.canTakeInterrupt)
  }

  @Test("STI and HLT: the interrupt that is waiting comes after the HLT, not before", arguments: Conformance.engines, [Mode.real, .protected, .long])
  func halted(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    b.memory.write(GPA(SystemBench.handlers + 0x1F * 16), [0xE6, 0x10])
    let exit = b.execute([0xFB, 0xF4, 0x90])
    #expect(exit.reason == .hlt && exit.rip == SystemBench.code + 1)
    let next = b.goOn(VMEntry(.skip, inject: .externalInterrupt(0x1F)))
    #expect(next.reason == .io, "\(next)")
    #expect(mode == .long ? b.stack(1, as: UInt64.self) == [SystemBench.code + 2] : b.stack(1, as: UInt16.self) == [UInt16(SystemBench.code + 2)])
  }

  @Test("a read answered and an interrupt put in at once: the read is done first", arguments: Conformance.engines, [Mode.real, .protected, .long])
  func answeredAndInterrupted(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    b.haltInHandlers()
    b.change { $0.rflags |= RFLAGS.interruptEnable }
    var exit = b.execute([0xE4, 0x10, 0x90])
    #expect(exit.reason == .io)
    #expect(b.carryOut(.complete(0x77)).reason == .budget)
    #expect(b.vcpu.canTakeInterrupt)
    exit = b.goOn(VMEntry(.resume, inject: .externalInterrupt(0x1F)))
    #expect(exit.reason == .hlt && b.vcpu.gpr(.rax) & 0xFF == 0x77)
    #expect(mode == .long ? b.stack(1, as: UInt64.self) == [SystemBench.code + 2] : b.stack(1, as: UInt16.self) == [UInt16(SystemBench.code + 2)])
  }
}
