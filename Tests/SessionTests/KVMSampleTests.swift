import Engines
import Glibc
import Session
import Testing
import VMCore

/// The samples under KVM say what they say on the embedded processor, or stop where this host's traits end.
@Suite("Samples under KVM", .serialized, .enabled(if: EngineRegistry.traits(of: "kvm").count > 0, "no usable /dev/kvm"))
struct KVMSampleTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var sample: String
    /// Traits without which it does not get to its end.
    var needs: [String] = []
    var testDescription: String { sample }
  }

  @Test(
    "a sample's output is that of the embedded processor",
    arguments: [
      Row(sample: "hello-real"), Row(sample: "protected-fault"), Row(sample: "timer-keyboard"),
      Row(sample: "mmio-device"), Row(sample: "self-modifying"), Row(sample: "triple-fault"), Row(sample: "long-kernel"),
      Row(sample: "teaching"), Row(sample: "two-processors"), Row(sample: "teaching32", needs: ["paging32"]),
      Row(sample: "hypercalls", needs: ["paging32"]), Row(sample: "sensitive-parade", needs: ["nativeRing0"]),
    ])
  func output(row: Row) throws {
    for name in row.needs {
      let isMissing = EngineRegistry.traits(of: "kvm").contains { $0.name == name && !$0.holds }
      guard isMissing else { continue }
      print("not applicable on kvm: trait \(name)")
      try Test.cancel("not applicable: trait \(name)")
    }
    let outputs = try ["kvm", "interpreter"].map { engine in
      var configuration = SessionConfiguration()
      configuration.guest = row.sample
      configuration.engine = engine
      return WholeRun(of: try Session(configuration)).output
    }
    #expect(outputs[0] == outputs[1])
  }

  @Test func `a guest that leaves the host's traits stops with the trait's name and a way out`() throws {
    guard EngineRegistry.traits(of: "kvm").contains(where: { $0.name == "paging32" && !$0.holds }) else {
      try Test.cancel("not applicable: trait paging32 is there")
    }
    var configuration = SessionConfiguration()
    configuration.guest = "hypercalls"
    configuration.engine = "kvm"
    let session = try Session(configuration)
    _ = session.perform("continue")
    let sentence = session.currentSnapshot().stopSentence
    #expect(sentence.contains("paging32") && sentence.contains("--engine interpreter"), "\(sentence)")
  }

  @Test func `steps, breakpoints and exits work from the session, and no count is shown`() throws {
    var configuration = SessionConfiguration()
    configuration.guest = "hello-real"
    configuration.engine = "kvm"
    let session = try Session(configuration)
    let start = session.currentSnapshot().vcpus[0].rip
    _ = session.perform("step 3")
    #expect(session.currentSnapshot().vcpus[0].rip != start)
    #expect(!session.perform("exit").failed)
    let snapshot = session.currentSnapshot()
    #expect(snapshot.stop == .exit(.io) && !snapshot.countsInstructions)
    #expect(session.perform("rsi").failed)
    _ = session.perform("continue")
    #expect(session.currentSnapshot().phase == .ended(status: 1))
  }

  @Test func `a limit in instructions is refused with a way out`() {
    var configuration = SessionConfiguration()
    configuration.guest = "hello-real"
    configuration.engine = "kvm"
    configuration.limit = 100
    let failure = #expect(throws: VMError.self) { try Session(configuration) }
    #expect(failure?.remedy?.contains("--engine interpreter") == true)
  }

  @Test func `a pause reaches a guest that halts, and one that spins`() throws {
    for sample in ["timer-keyboard", "self-modifying"] {
      var configuration = SessionConfiguration()
      configuration.guest = sample
      configuration.engine = "kvm"
      configuration.append = "0"
      let session = try Session(configuration)
      session.start()
      session.submit("continue")
      usleep(30_000)
      session.pause()
      let start = session.snapshot.generation
      _ = session.waitForNewSnapshot(after: start, timeout: 2000)
      for _ in 0..<100 where session.snapshot.phase == .running || session.snapshot.phase == .idle { usleep(20_000) }
      #expect(session.snapshot.phase != .running && session.snapshot.phase != .created)
      session.stop()
    }
  }

  // MARK: two vCPUs

  private func twoProcessors() throws -> (session: Session, output: () -> String) {
    var configuration = SessionConfiguration()
    configuration.guest = "two-processors"
    configuration.engine = "kvm"
    let session = try Session(configuration)
    nonisolated(unsafe) var output: [UInt8] = []
    session.onConsoleOutput { output += $0 }
    return (session, { String(decoding: output, as: UTF8.self) })
  }

  @Test func `stops of either of two running vCPUs lose no exit of the other`() throws {
    let whole = try twoProcessors()
    _ = whole.session.perform("continue")
    let parts = try twoProcessors()
    _ = parts.session.perform("be eptViolation")
    var stopped: Set<Int> = []
    var stops = 0
    while parts.session.perform("continue").lines.first?.hasPrefix("Breakpoint 1") == true, stops < 2000 {
      stopped.insert(parts.session.currentSnapshot().currentVCPU)
      stops += 1
    }
    #expect(whole.session.currentSnapshot().phase == .ended(status: 0))
    #expect(parts.session.currentSnapshot().phase == .ended(status: 0))
    #expect(parts.output() == whole.output() && stopped == [0, 1])
    // Two commands to the local APIC for each interrupt sent, one at its end, and those that start the processor.
    #expect(stops > 600 && stops < 700, "\(stops)")
  }

  @Test func `pauses and steps in between leave two running vCPUs as they were`() throws {
    let (session, output) = try twoProcessors()
    session.start()
    for round in 0..<12 where session.snapshot.phase == .created || session.snapshot.phase == .paused {
      session.submit("continue")
      usleep(UInt32(3_000 * (round % 4)))
      session.pause()
      _ = session.waitForAnswers(timeout: 5000)
      for _ in 0..<500 where session.snapshot.phase == .running { usleep(10_000) }
      if round % 3 == 0 { session.submit("step") }
    }
    session.submit("continue")
    for _ in 0..<2000 where session.snapshot.phase != .ended(status: 0) { usleep(10_000) }
    session.stop()
    #expect(session.snapshot.phase == .ended(status: 0))
    #expect(output().contains("40000 counts by both") && output().contains("Started 3 times"), "\(output())")
  }
}
