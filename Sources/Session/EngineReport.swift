import Engines
import Machine
import VMCore
import X86

/// What an engine can do here, for `ringside engines`.
package struct EngineReport: Sendable {
  package var name: String
  /// Why it cannot be used; nil where it can.
  package var unavailable: String?
  package var capabilities: EngineCapabilities
  /// Millions of guest instructions a second, measured with `loop`; 0 where it cannot be used or does
  /// not count them.
  package var mips: Double
  package var measuredInstructions: UInt64
  /// What was found out about the host for it.
  package var traits: [EngineTrait] = []

  /// What the measurement runs, in words.
  package static let measuredWith =
    "a 64-bit loop of loads, stores, arithmetic, a multiplication, a call and a branch that depends on data"

  /// The loop, from 1 MiB on. RSI points to 1,024 quadwords.
  private static let loop: [UInt8] = [
    0x48, 0x8B, 0x04, 0xCE,  // mov rax, [rsi+rcx*8]
    0x48, 0x01, 0xD8,  // add rax, rbx
    0x48, 0x89, 0x04, 0xCE,  // mov [rsi+rcx*8], rax
    0x48, 0x69, 0xD0, 0xB1, 0x79, 0x37, 0x1E,  // imul rdx, rax, 1e3779b1h
    0x48, 0xC1, 0xEA, 0x07,  // shr rdx, 7
    0x48, 0x31, 0xD3,  // xor rbx, rdx
    0x53,  // push rbx
    0xE8, 0x1C, 0x00, 0x00, 0x00,  // call mix
    0x5B,  // pop rbx
    0x48, 0x8D, 0x7C, 0x93, 0x08,  // lea rdi, [rbx+rdx*4+8]
    0xF7, 0xC7, 0x01, 0x00, 0x00, 0x00,  // test edi, 1
    0x74, 0x04,  // jz even
    0x48, 0x83, 0xD3, 0x03,  // adc rbx, 3
    0xFF, 0xC1,  // even: inc ecx
    0x81, 0xE1, 0xFF, 0x03, 0x00, 0x00,  // and ecx, 1023
    0xEB, 0xC5,  // jmp to the start
    0x0F, 0xB6, 0xC2,  // mix: movzx eax, dl
    0x48, 0x29, 0xC2,  // sub rdx, rax
    0xC3,  // ret
  ]
  private static let data: UInt64 = 0x18_0000

  /// Every engine of this program, measured for about a fifth of a second each.
  package static func all() -> [EngineReport] {
    EngineRegistry.rows.map { row in
      var report = EngineReport(
        name: row.name, unavailable: row.unavailable, capabilities: [], mips: 0, measuredInstructions: 0)
      if row.unavailable == nil { report.measure() }
      return report
    }
  }

  /// Why the named engine cannot be used here; nil where it can.
  package static func refusal(of name: String) -> VMError? {
    EngineRegistry.rows.first { $0.name == name }?.refusal
  }
  package static func traits(of name: String) -> [EngineTrait] { EngineRegistry.traits(of: name) }

  private mutating func measure() {
    do throws(VMError) {
      let memory = try GuestMemory(ramSize: 2 << 20)
      let engine = try EngineRegistry.makeEngine(
        named: name, memory: memory, events: EventSink(), configuration: EngineConfiguration())
      capabilities = engine.capabilities
      traits = engine.traits
      // Without a count there is nothing to divide by.
      guard capabilities.contains(.instructionBudget) else { return }
      guard let vcpu = engine.vcpus.first else { return }
      var state = try ImageLoader.load(LoadRequest(name: name, bytes: Self.loop, memory: memory, mode: .long)).state
      state[.rsi] = Self.data
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
