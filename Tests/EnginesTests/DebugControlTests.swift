import Engines
import Testing
import VMCore
import X86

private typealias B = SystemBench

/// IA32_DEBUGCTL (SDM 3B 18.4) and the machine-check registers of a processor without banks (SDM 3B 16.3.1).
@Suite("Debug control and machine check") struct DebugControlTests {
  static let engines = ["interpreter", "rewriter"]
  private static let rdmsr: [UInt8] = [0x0F, 0x32], wrmsr: [UInt8] = [0x0F, 0x30]

  private func select(_ b: SystemBench, _ index: UInt32, _ value: UInt64 = 0) {
    b.vcpu.setGPR(.rcx, UInt64(index))
    b.vcpu.setGPR(.rax, value & 0xFFFF_FFFF)
    b.vcpu.setGPR(.rdx, value >> 32)
  }

  @Test(arguments: engines) func `with BTF a single step goes to the next branch taken`(engine: String) throws {
    let b = try SystemBench(engine: engine)
    b.enterProtected()
    b.change {
      $0.rflags |= RFLAGS.tf
      $0.debugControl = DebugControl.btf
    }
    b.step([0x90])
    #expect(b.delivered() == [] && b.state.debugControl == DebugControl.btf)
    b.step([0xEB, 0x10])
    #expect(b.delivered() == [Seen(1, nil, 1 << 14)])
    #expect(b.state.debugControl == 0)
  }

  @Test func `the register takes LBR and BTF alone`() throws {
    let b = try SystemBench()
    b.enterProtected()
    for (value, isTaken) in [(3, true), (0, true), (4, false), (1 << 14, false)] as [(UInt64, Bool)] {
      select(b, MSR.debugControl, value)
      #expect((b.fault(Self.wrmsr) == nil) == isTaken)
      if isTaken { #expect(b.state.debugControl == value) }
    }
  }

  @Test func `VM entry loads it, VM exit saves it and leaves 0`() throws {
    let b = try VMXBench()
    b.set(.loadDebugControls, .saveDebugControls)
    b[.guestDebugControl] = 3
    #expect(b.exit(VMXBench.vmcall) == .vmcall)
    #expect(b[.guestDebugControl] == 3 && b.state.debugControl == 0)
  }

  @Test(arguments: [(CPUModel.baseline, true), (.p0, false)])
  func `MCG_CAP says that there are no banks, where there is machine check`(cpu: CPUModel, isThere: Bool) throws {
    let b = try SystemBench(cpu: cpu)
    b.enterProtected()
    select(b, MSR.machineCheckCap, 0xFFFF)
    if isThere {
      b.step(Self.rdmsr)
      #expect(b.vcpu.gpr(.rax) == 0 && b.vcpu.gpr(.rdx) == 0)
      // To the monitor, which hands it back.
      #expect(b.step(Self.wrmsr).reason == .wrmsr)
      _ = b.vcpu.run(VMEntry(.emulate), limit: 0)
      #expect(b.delivered() == [gp(0)])
      b.change { $0.rip = B.code }
      // MOV CR4, EAX
      b.vcpu.setGPR(.rax, CR4.mce)
      b.step([0x0F, 0x22, 0xE0])
      #expect(b.state.cr4 & CR4.mce != 0)
    } else {
      // The monitor is asked, and hands it back.
      #expect(b.step(Self.rdmsr).reason == .rdmsr)
      _ = b.vcpu.run(VMEntry(.emulate), limit: 0)
      #expect(b.delivered() == [gp(0)])
    }
  }
}
