import Session
import Testing
import VMCore
import X86

/// Two engines on the same guest in step: where they agree nothing is found, and where one is wrong the very
/// instruction is named.
@Suite("Comparing engines") struct ComparisonTests {
  private static func configuration(_ guest: String, _ technique: Technique = .hvm) -> SessionConfiguration {
    var configuration = SessionConfiguration()
    configuration.guest = guest
    configuration.technique = technique
    return configuration
  }

  @Test(
    "every sample is the same under interpreter and rewriter",
    arguments: [
      "hello-real", "protected-fault", "timer-keyboard", "mmio-device", "self-modifying", "triple-fault", "long-kernel",
      "hypercalls", "sensitive-parade", "tiny-hypervisor", "two-processors",
    ], [Technique.hvm, .rewrite])
  func samples(_ guest: String, _ technique: Technique) throws {
    var plan = ComparisonPlan()
    plan.every = 1_000
    plan.memoryEvery = 100_000
    let comparison = Comparison.ofEngines(["interpreter", "rewriter"], Self.configuration(guest, technique), plan: plan)
    let report = try comparison.run()
    #expect(report.divergence == nil, "\(report.rows.lines.joined(separator: "\n"))")
    #expect(report.end != nil && report.retired[0] == report.retired[1] && report.exits > 0)
  }

  @Test func `a paravirtual guest in ring 1 is the same under interpreter and rewriter`() throws { try samples("ring-one", .pv) }

  /// The rewriter with a planted fault.
  private struct FaultyMaker: MachineMaker {
    let name = "faulty"
    let inner: EngineMaker
    let count: UInt64
    let fault: FaultyEngine.Fault

    func make() throws(VMError) -> VirtualMachine {
      var machine = try inner.make()
      machine.engine = FaultyEngine(machine.engine, memory: machine.memory, after: count, fault)
      return machine
    }
  }

  private func planted(_ fault: FaultyEngine.Fault, after count: UInt64, in guest: String) throws -> ComparisonReport {
    let configuration = Self.configuration(guest)
    var plan = ComparisonPlan()
    plan.every = 1_000
    plan.memoryEvery = 10_000
    let faulty = FaultyMaker(inner: EngineMaker(configuration, engine: "rewriter"), count: count, fault: fault)
    return try Comparison(configuration, [EngineMaker(configuration, engine: "interpreter"), faulty], plan: plan).run()
  }

  @Test("a register altered once is found at its instruction", arguments: [UInt64(1), 999, 1_000, 1_001, 5_000, 17_777])
  func register(_ count: UInt64) throws {
    let report = try planted(.register(.r14, 1 << 40), after: count, in: "long-kernel")
    let divergence = try #require(report.divergence)
    #expect(divergence.count == count && divergence.isRepeatable)
    #expect(divergence.registers.map(\.name) == ["r14"])
    var configuration = Self.configuration("long-kernel")
    configuration.limit = count - 1
    let session = try Session(configuration)
    _ = session.perform("continue")
    #expect(divergence.instruction?.rip == session.currentSnapshot().vcpus[0].rip)
    #expect(report.verdict.contains("part with instruction \(count) at "))
    let rows = report.rows.lines.joined(separator: "\n")
    #expect(rows.contains(" => ") && rows.contains("r14") && rows.contains("  |  "))
  }

  @Test func `a byte of memory that nobody reads is found when memory is compared`() throws {
    let report = try planted(.byte(GPA(0xF_0123)), after: 4_321, in: "long-kernel")
    let divergence = try #require(report.divergence)
    #expect(divergence.count == 4_321 && divergence.registers.isEmpty)
    #expect(divergence.memory?.address == GPA(0xF_0123) && divergence.memory?.bytes[1].first == 0xEE)
  }

  @Test func `the table has every sensitive instruction with what each engine did`() throws {
    let comparison = Comparison.ofEngines(["interpreter", "rewriter"], Self.configuration("sensitive-parade", .rewrite))
    let report = try comparison.run()
    #expect(report.divergence == nil)
    for kind in ["PUSHF", "SGDT, SIDT", "CPUID", "OUT, OUTS"] {
      let tallies = report.tallies.map { $0[kind] }
      #expect(tallies[0]?.count ?? 0 > 0 && tallies[0]?.count == tallies[1]?.count, "\(kind)")
      #expect(tallies[0]?.treatment == (kind == "PUSHF" ? "in cache" : "callout"))
    }
    #expect(report.tallies[0]["CPUID"]?.averageCost ?? 0 > 0)
  }

  /// An engine that has lost count.
  private struct UncountedMaker: MachineMaker {
    final class Uncounted: Engine {
      let inner: any Engine
      let name = "uncounted"
      let capabilities: EngineCapabilities = [.deterministic]
      var vcpus: [any VCPU] { inner.vcpus }
      init(_ inner: any Engine) { self.inner = inner }
    }
    let name = "uncounted"
    let inner: EngineMaker

    func make() throws(VMError) -> VirtualMachine {
      var machine = try inner.make()
      machine.engine = Uncounted(machine.engine)
      return machine
    }
  }

  @Test func `an engine that counts nothing is refused`() throws {
    let inner = EngineMaker(Self.configuration("long-kernel"), engine: "interpreter")
    let comparison = Comparison(Self.configuration("long-kernel"), [inner, UncountedMaker(inner: inner)])
    #expect(throws: VMError.self) { try comparison.run() }
  }

  @Test func `compare with an engine says in the console what it found`() throws {
    let session = try Session(Self.configuration("long-kernel"))
    _ = session.perform("exit 20")
    let answer = session.perform("compare with rewriter every 500")
    #expect(!answer.failed && answer.lines.last?.hasPrefix("no difference in ") == true)
    #expect(session.currentSnapshot().comparison?.retired == [session.currentSnapshot().instructionCount, session.currentSnapshot().instructionCount])
    #expect(session.perform("compare with kvm").failed)
    #expect(session.perform("compare with rewritr").lines[0].contains("did you mean 'rewriter'"))
  }
}
