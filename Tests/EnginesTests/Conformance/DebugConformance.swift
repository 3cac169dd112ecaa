import Testing
import VMCore
import X86

private typealias Mode = Conformance.Mode

/// Breakpoints and watches of the debugger's.
@Suite("Engines agree: breakpoints") struct DebugConformance {
  @Test("a breakpoint stops before its instruction, and goes on over it", arguments: Conformance.engines, [Mode.real, .protected, .long])
  func execution(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    // nop; again: inc ax/eax (FF C0); jmp again
    b.memory.write(GPA(SystemBench.code), [0x90, 0xFF, 0xC0, 0xEB, 0xFC])
    b.change { $0[.rax] = 0 }
    let at = SystemBench.code + 1
    b.vcpu.traps.execution = [at]
    for turn in UInt64(0)..<5 {
      let exit = b.goOn()
      #expect(exit.reason == .debug && exit.qualification == .debug(.execution(GVA(at))), "\(exit)")
      #expect(exit.rip == at && b.state.rip == at)
      #expect(b.vcpu.gpr(.rax) == turn)
    }
    b.vcpu.traps.execution = []
    #expect(b.memory.readBytes(GPA(at), count: 2) == [0xFF, 0xC0])
    #expect(b.vcpu.run(.resume, limit: 1000).reason == .budget)
  }

  @Test("a step from a breakpoint is one instruction", arguments: Conformance.engines, [Mode.real, .long])
  func stepFrom(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode, needs: [.capability(.singleStep)])
    b.memory.write(GPA(SystemBench.code), [0x90, 0xFF, 0xC0, 0x90])
    b.vcpu.traps.execution = [SystemBench.code + 1]
    #expect(b.goOn().reason == .debug)
    #expect(b.vcpu.run(.resume, limit: 1).reason == .budget)
    #expect(b.state.rip == SystemBench.code + 3)
  }

  @Test("a hundred breakpoints at once", arguments: Conformance.engines)
  func many(engine: String) throws {
    let b = try Conformance.bench(engine, .long, needs: [.capability(.unlimitedBreakpoints)])
    b.memory.write(GPA(SystemBench.code), Array(repeating: 0x90, count: 200) + [0xF4])
    b.vcpu.traps.execution = Set((0..<100).map { SystemBench.code + 2 * UInt64($0) })
    for i in UInt64(0)..<100 {
      let exit = b.goOn()
      #expect(exit.reason == .debug && exit.rip == SystemBench.code + 2 * i)
    }
    #expect(b.goOn().reason == .hlt)
  }

  @Test("the guest reads its own bytes where a breakpoint stands", arguments: Conformance.engines)
  func unseen(engine: String) throws {
    let b = try Conformance.bench(engine, .long)
    b.vcpu.traps.execution = [SystemBench.code + 10]
    b.memory.write(GPA(SystemBench.code + 10), [0x90])
    #expect(b.memory.readBytes(GPA(SystemBench.code + 10), count: 1) == [0x90])
    let exit = b.execute([0x90, 0x90])
    #expect(exit.reason == .debug)
    #expect(b.memory.readBytes(GPA(SystemBench.code + 10), count: 1) == [0x90])
  }

  @Test("a watched write stops after it", arguments: Conformance.engines, [Mode.protected, .long])
  func write(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode, needs: [.capability(.memoryWatch)])
    b.vcpu.traps.watches = [WatchRange(address: GVA(0x5000), length: 4, onRead: false, onWrite: true)]
    b.change {
      $0[.rbx] = 0x5000
      $0[.rax] = 0xAB
    }
    // mov cl, [rbx]; mov [rbx+8], al; mov [rbx+2], al; hlt
    let exit = b.execute([0x8A, 0x0B, 0x88, 0x43, 0x08, 0x88, 0x43, 0x02, 0xF4])
    #expect(exit.reason == .debug && exit.qualification == .debug(.data(GVA(0x5002), size: 1, write: true)), "\(exit)")
    #expect(b.state.rip == SystemBench.code + 8)
    #expect(b.get(0x5002, as: UInt8.self) == 0xAB && b.get(0x5008, as: UInt8.self) == 0xAB)
    #expect(b.goOn().reason == .hlt)
  }

  @Test("a watched read stops after it", arguments: Conformance.engines, [Mode.protected, .long])
  func read(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode, needs: [.capability(.memoryWatch), .dataWatchpoints])
    b.vcpu.traps.watches = [WatchRange(address: GVA(0x5000), length: 4, onRead: true, onWrite: false)]
    b.change { $0[.rbx] = 0x5000 }
    // mov [rbx], al; mov cl, [rbx+1]; hlt
    let exit = b.execute([0x88, 0x03, 0x8A, 0x4B, 0x01, 0xF4])
    #expect(exit.qualification == .debug(.data(GVA(0x5001), size: 1, write: false)), "\(exit)")
    #expect(b.state.rip == SystemBench.code + 5)
    #expect(b.goOn().reason == .hlt)
  }
}
