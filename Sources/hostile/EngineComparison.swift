import Engines
import Glibc
import VMCore
import X86

/// The same random program on two engines in step: each must leave for the monitor at the same instruction, for the
/// same reason, with the same registers, and leave the same memory behind.
package struct EngineComparison {
  let maker: GuestMaker
  let mode: GuestMode
  let number: Int
  private static let memorySize: UInt64 = 2 << 20

  package init(maker: GuestMaker, mode: GuestMode, number: Int) {
    self.maker = maker
    self.mode = mode
    self.number = number
  }

  /// One engine's machine.
  private struct Side {
    let memory: GuestMemory
    let engine: any Engine
    var vcpu: any VCPU { engine.vcpus[0] }
  }

  private func side(_ engine: String, guarding: EngineConfiguration.Guarding = .none) throws(VMError) -> Side {
    var random = maker.random(.program(mode), number)
    let memory = try GuestMemory(ramSize: Self.memorySize)
    let tables = GuestTables(mode, in: memory)
    tables.install(&random)
    let isCompiled = number % 2 == 0
    let program = isCompiled
      ? ComparisonProgram.program(mode, hasStreams: number % 8 == 6, &random)
      : ProgramGenerator.program(bits: mode.bits, &random)
    memory.write(GPA(GuestTables.program), program)
    var state = tables.state
    maker.scatter(&state, &random)
    // Rewritten code is at work from each block's first execution on, or from one on that knows where it leads.
    var configuration = EngineConfiguration(warmth: guarding == .none ? 1 + number / 2 % 3 : 1)
    configuration.guarding = guarding
    let made = try EngineRegistry.makeEngine(
      named: engine, memory: memory, events: EventSink(capacity: 1024), configuration: configuration)
    made.vcpus[0].state = state
    return Side(memory: memory, engine: made)
  }

  /// Where they part, in words; nil if they do not.
  /// What rewriting was done is added to `work`.
  package func divergence(
    _ one: String = "interpreter", _ other: String = "rewriter", work: inout RewritingStatistics
  ) throws(VMError) -> String? {
    let a = try side(one)
    let b = try side(other)
    defer { if let done = (b.engine as? InterpreterEngine)?.rewriting { work += done } }
    var seed = maker.random(.program(mode), number)
    var random = Random(seed.next() ^ 0xC0FF_EE00)
    var entry = VMEntry.resume
    var turns = 0
    // A guest that has shut down retires nothing more.
    while a.vcpu.instructionCount < maker.limit, turns < 200 {
      turns += 1
      let limit = 1 + UInt64(random.below(random.one(in: 4) ? 8 : 400))
      let exits = (a.vcpu.run(entry, limit: limit), b.vcpu.run(entry, limit: limit))
      guard exits.0 == exits.1 else { return "\(one) left with \(exits.0), \(other) with \(exits.1)" }
      let states = (a.vcpu.state, b.vcpu.state)
      if states.0 != states.1 { return difference(states.0, states.1, at: exits.0) }
      if exits.0.reason == .tripleFault { break }
      entry = answer(exits.0, a.vcpu, &random)
    }
    for page in stride(from: 0, to: Self.memorySize, by: 4096) {
      guard let x = a.memory.hostPage(GPA(page))?.host, let y = b.memory.hostPage(GPA(page))?.host else { continue }
      if memcmp(x, y, 4096) != 0 { return "memory differs in the page at \(String(page, radix: 16))h" }
    }
    return nil
  }

  /// Runs the program under the rewriter alone, with its code kept from all memory that is not the guest's.
  package func guarded(_ guarding: EngineConfiguration.Guarding, work: inout RewritingStatistics) throws(VMError) {
    let a = try side("rewriter", guarding: guarding)
    var seed = maker.random(.program(mode), number)
    var random = Random(seed.next() ^ 0xC0FF_EE00)
    var entry = VMEntry.resume
    var turns = 0
    while a.vcpu.instructionCount < maker.limit, turns < 200 {
      turns += 1
      let exit = a.vcpu.run(entry, limit: 1 + UInt64(random.below(400)))
      if exit.reason == .tripleFault { break }
      entry = answer(exit, a.vcpu, &random)
    }
    if let done = (a.engine as? InterpreterEngine)?.rewriting { work += done }
  }

  /// What a monitor might say to this exit.
  private func answer(_ exit: VMExit, _ vcpu: any VCPU, _ random: inout Random) -> VMEntry {
    var entry = VMEntry.resume
    let number = random.next()
    switch exit.qualification {
    case .budget, .kicked, .debug, .interruptWindow: break
    case .io, .mmio: entry.action = .complete(number)
    case .msr: entry.action = number & 1 == 0 ? .complete(number) : .fault(Exception.gp.rawValue, errorCode: 0)
    case .hlt:
      entry.action = .skip
    case .unknownInstruction: entry.action = .fault(Exception.ud.rawValue, errorCode: nil)
    case .hypercall: entry.action = .skip
    default: entry.action = .emulate
    }
    if entry.action == .resume, vcpu.canTakeInterrupt, number % 3 == 0 {
      entry.inject = .externalInterrupt(UInt8(32 + number >> 8 & 31))
    }
    entry.interruptWindow = number & 0x30 == 0
    return entry
  }

  private func difference(_ a: VCPUState, _ b: VCPUState, at exit: VMExit) -> String {
    var parts: [String] = []
    func compare(_ name: String, _ x: UInt64, _ y: UInt64) {
      if x != y { parts.append("\(name) \(String(x, radix: 16)) / \(String(y, radix: 16))") }
    }
    for register in GPR.allCases { compare("\(register)", a[register], b[register]) }
    compare("rip", a.rip, b.rip)
    compare("rflags", a.rflags, b.rflags)
    if parts.isEmpty { parts.append("system or floating-point state") }
    return "after \(exit): \(parts.joined(separator: ", "))"
  }
}
