import Engines
import VMCore
import X86

/// Puts one vector's state into a fresh real-mode vCPU, runs it to its HLT, and compares.
struct VectorRunner {
  private let memory: GuestMemory
  private let vcpu: any VCPU
  private static let gprs: [Int: GPR] = [
    0: .rax, 1: .rbx, 2: .rcx, 3: .rdx, 8: .rsp, 9: .rbp, 10: .rsi, 11: .rdi,
  ]
  private static let segments: [Int: SegmentName] = [4: .cs, 5: .ss, 6: .ds, 7: .es]
  private static let names = ["ax", "bx", "cx", "dx", "cs", "ss", "ds", "es", "sp", "bp", "si", "di", "ip", "flags"]

  init() throws {
    memory = try GuestMemory(ramSize: 16 << 20)
    let engine = try EngineRegistry.makeEngine(
      named: "interpreter", memory: memory, events: EventSink(), configuration: EngineConfiguration())
    vcpu = engine.vcpus[0]
    keep = engine
  }
  private let keep: any Engine

  /// What differs, in words; empty if nothing does.
  func run(_ vector: Vector, mnemonic: String) -> [String] {
    for (address, value) in vector.memoryBefore { memory.write(GPA(UInt64(address)), [value]) }
    defer {
      for (address, _) in vector.memoryBefore + vector.memoryAfter { memory.write(GPA(UInt64(address)), [0]) }
    }
    if vector.exception?.vector == 13 { aliasStackFault() }
    defer { memory.write(GPA(48), [0, 0, 0, 0]) }
    vcpu.state = initialState(vector)
    if let trouble = runToHalt() { return [trouble] }
    return compare(vector, mnemonic)
  }

  /// Where the 286 raises 13 for a word that reaches over the end of the stack segment, later processors
  /// raise 12: both vectors lead to the recorded handler.
  private func aliasStackFault() {
    let entry: UInt32 = memory.load(GPA(13 * 4)) ?? 0
    memory.store(GPA(12 * 4), entry)
  }

  private func initialState(_ vector: Vector) -> VCPUState {
    var state = VCPUState()
    for (index, register) in Self.gprs { state[register] = UInt64(vector.before[index] ?? 0) }
    for (index, name) in Self.segments {
      let selector = vector.before[index] ?? 0
      state[name] = SegmentState(
        selector: selector, base: UInt64(selector) << 4, access: name == .cs ? 0x9B : 0x93)
    }
    state.rip = UInt64(vector.before[12] ?? 0)
    state.rflags = UInt64(vector.before[13] ?? 0) & 0xFD5 | RFLAGS.fixed1
    return state
  }

  private func runToHalt() -> String? {
    var entry = VMEntry.resume
    let start = vcpu.instructionCount
    while vcpu.instructionCount - start < 10_000 {
      let exit = vcpu.run(entry, limit: 10_000)
      switch exit.qualification {
      case .hlt: return nil
      case .io(_, let size, let write, _, _, _):
        entry = VMEntry(.complete(write ? 0 : ~0 >> (64 - UInt64(size) * 8)))
      default: entry = VMEntry(.emulate)
      }
      if exit.reason == .tripleFault { return "triple fault" }
    }
    return "never halted"
  }

  private func compare(_ vector: Vector, _ mnemonic: String) -> [String] {
    var differences: [String] = []
    var final = vcpu.state
    // The vectors' IP is after the HLT.
    final.rip = (final.rip + 1) & 0xFFFF
    let loose = Rules.undefinedFlags(vector, mnemonic: mnemonic)
    for index in 0..<Vector.registerCount {
      guard let wanted = vector.after[index] ?? vector.before[index] else { continue }
      let got: UInt16
      var mask: UInt16 = 0xFFFF
      if let register = Self.gprs[index] {
        got = UInt16(truncatingIfNeeded: final[register])
      } else if let segment = Self.segments[index] {
        got = final[segment].selector
      } else if index == 12 {
        got = UInt16(truncatingIfNeeded: final.rip)
      } else {
        got = UInt16(truncatingIfNeeded: final.rflags)
        mask = 0x0FD5 & ~loose
      }
      if got & mask != wanted & mask { differences.append("\(Self.names[index]) \(hex(got)), wanted \(hex(wanted))") }
    }
    var last: [UInt32: UInt8] = [:]
    for (address, value) in vector.memoryBefore + vector.memoryAfter { last[address] = value }
    for (address, value) in last.sorted(by: { $0.key < $1.key }) {
      let got: UInt8 = memory.load(GPA(UInt64(address))) ?? 0
      var mask: UInt8 = 0xFF
      if vector.exception != nil {
        if address == pushedFlags(final, 0) { mask = ~UInt8(truncatingIfNeeded: loose) }
        if address == pushedFlags(final, 1) { mask = 0x0F & ~UInt8(truncatingIfNeeded: loose >> 8) }
      }
      if got & mask != value & mask {
        differences.append("[\(String(address, radix: 16))] \(hex(UInt16(got))), wanted \(hex(UInt16(value)))")
      }
    }
    return differences
  }

  /// Where the handler finds a byte of the flags word: third on its stack.
  private func pushedFlags(_ state: VCPUState, _ byte: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: state[.ss].base + ((state[.rsp] + 4 + byte) & 0xFFFF))
  }

  private func hex(_ value: UInt16) -> String { String(value, radix: 16) }
}
