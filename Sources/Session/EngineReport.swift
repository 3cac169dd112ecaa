import Engines
import VMCore
import X86

/// What an engine can do here, for `ringside engines`.
package struct EngineReport: Sendable {
  package var name: String
  /// Why it cannot be used; nil where it can.
  package var unavailable: String?
  package var capabilities: EngineCapabilities
  /// Millions of guest instructions a second, measured with a loop of `INC`, `ADD`, `XOR`, `JMP` in real mode;
  /// 0 where it cannot be used.
  package var mips: Double
  package var measuredInstructions: UInt64

  /// Every engine of this program, measured for about a fifth of a second each.
  package static func all() -> [EngineReport] {
    EngineRegistry.rows.map { row in
      var report = EngineReport(
        name: row.name, unavailable: row.unavailable, capabilities: [], mips: 0, measuredInstructions: 0)
      if row.unavailable == nil { report.measure() }
      return report
    }
  }

  private mutating func measure() {
    do throws(VMError) {
      let memory = try GuestMemory(ramSize: 1 << 20)
      let engine = try EngineRegistry.makeEngine(
        named: name, memory: memory, events: EventSink(), configuration: EngineConfiguration())
      capabilities = engine.capabilities
      // inc ax; add bx, ax; xor cx, bx; jmp back
      memory.write(GPA(0x1000), [0x40, 0x01, 0xC3, 0x31, 0xD9, 0xEB, 0xF9])
      var state = VCPUState()
      state[.cs].selector = 0
      state[.cs].base = 0
      state.rip = 0x1000
      guard let vcpu = engine.vcpus.first else { return }
      vcpu.state = state
      _ = vcpu.run(.resume, limit: 100_000)
      let start = ExitCosts.now()
      while ExitCosts.now() &- start < 200_000_000 {
        _ = vcpu.run(.resume, limit: 2_000_000)
        measuredInstructions += 2_000_000
      }
      mips = Double(measuredInstructions) * 1000 / Double(ExitCosts.now() &- start)
    } catch {
      unavailable = error.description
    }
  }
}
