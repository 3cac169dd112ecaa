import Foundation
import Testing
import VMCore
import X86

private typealias Mode = Conformance.Mode

/// Pause, kick, limits, threads.
@Suite("Engines agree: running", .serialized) struct RunConformance {
  @Test("a kick ends a run that would not end", arguments: Conformance.engines, [Mode.real, .protected, .long])
  func kicks(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    // again: inc word; jmp again
    b.memory.write(GPA(SystemBench.code), [0xFF, 0xC0, 0xEB, 0xFC])
    nonisolated(unsafe) let vcpu = b.vcpu
    for _ in 0..<20 {
      let kicker = Thread {
        Thread.sleep(forTimeInterval: 0.002)
        vcpu.kick()
      }
      kicker.start()
      let exit = vcpu.run(.resume, limit: .max / 4)
      #expect(exit.reason == .kicked && exit.qualification == .kicked)
      let rip = b.state.rip
      #expect(rip == SystemBench.code || rip == SystemBench.code + 2)
      while !kicker.isFinished { Thread.sleep(forTimeInterval: 0.001) }
    }
  }

  @Test("a kick with nothing running ends the next run", arguments: Conformance.engines)
  func earlyKick(engine: String) throws {
    let b = try Conformance.bench(engine, .long)
    b.memory.write(GPA(SystemBench.code), [0xEB, 0xFE])
    b.vcpu.kick()
    #expect(b.goOn().reason == .kicked)
  }

  @Test("a limit of nothing does nothing", arguments: Conformance.engines, [Mode.real, .protected, .long])
  func nothing(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    b.memory.write(GPA(SystemBench.code), [0x90])
    let before = b.state
    #expect(b.vcpu.run(.resume, limit: 0).reason == .budget)
    #expect(b.state == before)
  }

  @Test("exactly as many instructions as were asked for", arguments: Conformance.engines, [UInt64(1), 2, 3, 7, 100, 9999])
  func budget(engine: String, limit: UInt64) throws {
    let b = try Conformance.bench(engine, .long, needs: [.capability(.instructionBudget)])
    b.memory.write(GPA(SystemBench.code), [0x48, 0xFF, 0xC0, 0xEB, 0xFB])
    b.change { $0[.rax] = 0 }
    #expect(b.vcpu.run(.resume, limit: limit).reason == .budget)
    #expect(b.vcpu.instructionCount == limit)
    #expect(b.vcpu.gpr(.rax) == (limit + 1) / 2)
  }

  @Test("virtual time goes forward, and idling moves it", arguments: Conformance.engines)
  func time(engine: String) throws {
    let b = try Conformance.bench(engine, .long)
    let start = b.vcpu.virtualTime
    _ = b.execute([0x90, 0x90, 0xF4])
    let after = b.vcpu.virtualTime
    #expect(after > start)
    b.vcpu.idle(until: after + 1_000_000)
    #expect(b.vcpu.virtualTime >= after + 1_000_000)
    b.vcpu.idle(until: 1)
    #expect(b.vcpu.virtualTime >= after + 1_000_000)
  }

  @Test("code the guest or the monitor changes is executed as changed", arguments: Conformance.engines, [Mode.real, .protected, .long])
  func changedCode(engine: String, mode: Conformance.Mode) throws {
    let b = try Conformance.bench(engine, mode)
    // again: mov al, 1; out 10h, al; jmp again
    var exit = b.execute([0xB0, 0x01, 0xE6, 0x10, 0xEB, 0xFA])
    for round in UInt64(1)..<5 {
      guard case .io(_, _, _, _, _, let value) = exit.qualification else {
        Issue.record("\(exit)")
        return
      }
      #expect(value == round)
      b.memory.write(GPA(SystemBench.code + 1), [UInt8(round + 1)])
      exit = b.goOn(VMEntry(.complete(0)))
    }
    // The guest changes its next instruction: mov byte [8020h], 0F4h by way of BX.
    let c = try Conformance.bench(engine, mode)
    c.change { $0[.rbx] = SystemBench.code + 4 }
    let store: [UInt8] = mode == .real ? [0xC6, 0x07, 0xF4] : [0xC6, 0x03, 0xF4]
    exit = c.execute(store + [0x90, 0x90, 0x90, 0xE6, 0x10])
    #expect(exit.reason == .hlt && exit.rip == SystemBench.code + 4, "\(exit)")
  }

  @Test("two vCPUs in two threads count one word together", arguments: Conformance.engines)
  func threads(engine: String) throws {
    let b = try Conformance.bench(engine, .long, needs: [.capability(.multipleVCPUs), .capability(.parallelVCPUs)], vcpus: 2)
    // mov ecx, 2000; again: lock inc dword [rbx]; loop again; hlt
    b.memory.write(GPA(SystemBench.code), [0xB9, 0xD0, 0x07, 0, 0, 0xF0, 0xFF, 0x03, 0xE2, 0xFB, 0xF4])
    b.change { $0[.rbx] = 0x5000 }
    b.put(0x5000, UInt32(0))
    var other = b.state
    other[.rsp] = SystemBench.outerStack
    b.engine.vcpus[1].state = other
    nonisolated(unsafe) let vcpus = b.engine.vcpus
    nonisolated(unsafe) var ended = [false, false]
    let threads = (0..<2).map { i in
      Thread { ended[i] = vcpus[i].run(.resume, limit: SystemBench.patience).reason == .hlt }
    }
    for thread in threads { thread.start() }
    for thread in threads { while !thread.isFinished { Thread.sleep(forTimeInterval: 0.005) } }
    #expect(ended == [true, true])
    #expect(b.get(0x5000, as: UInt32.self) == 4000)
  }

  @Test("a 32-bit move clears the upper half, also where it is carried out often", arguments: Conformance.engines)
  func narrowMoves(engine: String) throws {
    let b = try Conformance.bench(engine, .long)
    for to in [3, 8, 11, 12, 13, 14, 15] as [UInt8] {
      for from in [0, 5, 9, 12, 15] as [UInt8] where from != to {
        let moveAll: UInt8 = 0x48 | (to >> 3)
        let move: UInt8 = 0x40 | (to >> 3) | ((from >> 3) << 2)
        // mov ecx, 200; again: mov TO, -1; mov TO32, FROM32; dec ecx; jnz again; hlt
        let body: [UInt8] = [moveAll, 0xC7, 0xC0 | (to & 7), 0xFF, 0xFF, 0xFF, 0xFF, move, 0x89, 0xC0 | ((from & 7) << 3) | (to & 7), 0xFF, 0xC9]
        b.change {
          $0.rip = SystemBench.code
          $0.gpr[Int(from)] = 0x6_8000_0001
        }
        let exit = b.execute([0xB9, 200, 0, 0, 0] + body + [0x75, UInt8(truncatingIfNeeded: -(body.count + 2)), 0xF4])
        #expect(exit.reason == .hlt)
        #expect(b.state.gpr[Int(to)] == 0x8000_0001, "mov of register \(from) to \(to)")
      }
    }
  }
}
