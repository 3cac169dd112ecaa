import Engines
import Testing
import VMCore
import X86

/// The guest's MXCSR stays loaded on the host while the guest computes; nobody else may notice.
@Suite struct FloatStateTests {
  private func bench(_ code: [UInt8]) throws -> SystemBench {
    let bench = try SystemBench()
    bench.enterProtected()
    bench.memory.write(GPA(SystemBench.code), code)
    var state = bench.vcpu.state
    state.cr4 |= CR4.osfxsr
    state.rip = SystemBench.code
    bench.vcpu.state = state
    return bench
  }

  @Test("rounding upwards works in the guest and is gone after the run", arguments: [UInt32(0x1F80), 0x5F80])
  func roundingIsTheGuestsOwn(_ mxcsr: UInt32) throws {
    let bench = try bench([0xF2, 0x0F, 0x5E, 0xC1])  // divsd xmm0, xmm1
    let vcpu = bench.vcpu
    var state = vcpu.state
    state.fpu.mxcsr = mxcsr
    state.fpu.xmm[0] = (1.0).bitPattern
    state.fpu.xmm[2] = (3.0).bitPattern
    vcpu.state = state
    _ = vcpu.run(.resume, limit: 1)
    let nearest = (1.0 / 3.0).bitPattern
    #expect(vcpu.state.fpu.xmm[0] == (mxcsr == 0x1F80 ? nearest : nearest + 1))
    // PE was raised, and lies in the state.
    #expect(vcpu.state.fpu.mxcsr == mxcsr | 0x20)
    var one = 1.0
    var three = 3.0
    withUnsafeMutablePointer(to: &one) { a in
      withUnsafeMutablePointer(to: &three) { b in #expect((a.pointee / b.pointee).bitPattern == nearest) }
    }
  }

  @Test("flags raised before LDMXCSR are forgotten, those after it are stored")
  func flagsFollowLoads() throws {
    // divsd xmm0, xmm1 (inexact); ldmxcsr [6000h]; addsd xmm2, xmm3 (exact); stmxcsr [6004h];
    // divsd xmm1, xmm4 (by zero); stmxcsr [6008h]
    let bench = try bench([
      0xF2, 0x0F, 0x5E, 0xC1, 0x0F, 0xAE, 0x15, 0x00, 0x60, 0x00, 0x00, 0xF2, 0x0F, 0x58, 0xD3, 0x0F, 0xAE, 0x1D,
      0x04, 0x60, 0x00, 0x00, 0xF2, 0x0F, 0x5E, 0xCC, 0x0F, 0xAE, 0x1D, 0x08, 0x60, 0x00, 0x00,
    ])
    let vcpu = bench.vcpu
    let memory = bench.memory
    memory.store(GPA(0x6000), UInt32(0x1F80))
    var state = vcpu.state
    state.fpu.xmm[0] = (1.0).bitPattern
    state.fpu.xmm[2] = (3.0).bitPattern
    state.fpu.xmm[4] = (1.0).bitPattern
    state.fpu.xmm[6] = (1.0).bitPattern
    vcpu.state = state
    _ = vcpu.run(.resume, limit: 6)
    #expect(memory.load(GPA(0x6004), as: UInt32.self) == 0x1F80)
    #expect(memory.load(GPA(0x6008), as: UInt32.self) == 0x1F84)
    #expect(vcpu.state.fpu.mxcsr == 0x1F84)
  }
}
