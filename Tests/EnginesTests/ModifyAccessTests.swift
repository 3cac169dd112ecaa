import Engines
import Testing
import VMCore
import X86

private typealias B = SystemBench

/// Instructions that read memory and write it back make one access: it is checked as a write, before anything changes.
@Suite("Read-modify-write accesses") struct ModifyAccessTests {
  /// 32-bit forms on [EBX].
  private static let forms: [(String, [UInt8])] = [
    ("inc", [0xFF, 0x03]), ("add", [0x01, 0x03]), ("neg", [0xF7, 0x1B]), ("shl", [0xD1, 0x23]), ("xchg", [0x87, 0x03]),
    ("lock xadd", [0xF0, 0x0F, 0xC1, 0x03]), ("cmpxchg", [0x0F, 0xB1, 0x0B]), ("bts", [0x0F, 0xBA, 0x2B, 3]),
    ("shld", [0x0F, 0xA4, 0x03, 5]), ("cmpxchg8b", [0x0F, 0xC7, 0x0B]), ("cmpxchg16b", [0x48, 0x0F, 0xC7, 0x0B]),
  ]

  private func bench(_ engine: String, _ entry: UInt64) throws -> SystemBench {
    let b = try SystemBench(engine: engine, cpu: .v2)
    b.enterLong()
    b.setPage(.long, 0x6000, entry)
    b.change {
      $0.cr0 |= CR0.wp
      $0[.rbx] = 0x6000
      $0[.rax] = 0x1111
      $0.rflags |= RFLAGS.cf
    }
    return b
  }

  @Test(arguments: DebugTrapTests.engines, [(UInt64(0), UInt32(2)), (0x6001, 3)])
  func `a page that cannot be written faults as a write and leaves registers and flags`(
    _ engine: String, _ page: (entry: UInt64, code: UInt32)
  ) throws {
    for (name, code) in Self.forms {
      let b = try bench(engine, page.entry)
      let before = b.state
      #expect(b.fault(code) == Seen(14, page.code, 0x6000), "\(name)")
      let after = b.state
      #expect(after.gpr == before.gpr && after.rflags == before.rflags, "\(name)")
    }
  }

  @Test(arguments: DebugTrapTests.engines)
  func `the half that can be written stays as it was where the other cannot`(_ engine: String) throws {
    for (name, code) in Self.forms where name != "cmpxchg16b" {
      let b = try bench(engine, 0x6001)
      b.put(0x5FFC, UInt64(0x0102_0304_0506_0708))
      b.change { $0[.rbx] = 0x5FFE }
      #expect(b.fault(code) == Seen(14, 3, 0x6000), "\(name)")
      #expect(b.get(0x5FFC, as: UInt64.self) == 0x0102_0304_0506_0708, "\(name)")
    }
  }

  /// The page goes away in memory, but nothing was invalidated: the write's translation still serves all of the access,
  /// whatever became of the one for reads.
  @Test(arguments: DebugTrapTests.engines)
  func `where the TLB has the write, the read is no access of its own`(_ engine: String) throws {
    let b = try bench(engine, 0x6007)
    b.put(0x6000, UInt32(41))
    b.step([0x89, 0x43, 0x08])
    b.setPage(.long, 0x6000, 0)
    #expect(b.fault([0xFF, 0x03]) == nil)
    #expect(b.get(0x6000, as: UInt32.self) == 42)
    #expect(b.fault([0x8B, 0x03]) == Seen(14, 0, 0x6000))
  }

  @Test(arguments: DebugTrapTests.engines) func `a step over HLT traps behind it and wakes the processor`(_ engine: String) throws {
    let b = try SystemBench(engine: engine)
    b.enterProtected()
    b.change { $0.rflags |= RFLAGS.tf | RFLAGS.interruptEnable }
    #expect(b.step([0xF4]).reason == .hlt)
    _ = b.vcpu.run(VMEntry(.emulate), limit: 1)
    #expect(b.delivered() == [Seen(1, nil, 1 << 14)])
    #expect(b.state.activity == .active && b.stack(1) as [UInt32] == [UInt32(B.code) + 1])
  }
}
