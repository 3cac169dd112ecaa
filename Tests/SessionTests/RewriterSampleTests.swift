import Session
import Testing
import VMCore

/// The samples under the rewriter make the run they make under the interpreter: every event, with its instruction
/// count, and all they say.
@Suite("Samples under the rewriter") struct RewriterSampleTests {
  @Test(
    "a sample makes the same run",
    arguments: [
      "hello-real", "protected-fault", "timer-keyboard", "mmio-device", "self-modifying", "triple-fault", "long-kernel",
      "hypercalls", "sensitive-parade", "tiny-hypervisor", "ring-one", "two-processors",
    ])
  func digest(sample: String) throws {
    let runs = try ["interpreter", "rewriter"].map { engine in
      var configuration = SessionConfiguration()
      configuration.guest = sample
      configuration.engine = engine
      return WholeRun(of: try Session(configuration))
    }
    #expect(runs[0] == runs[1])
    #expect(runs[0].instructions > 0)
  }

  @Test func `a step, a breakpoint and going back are exact in rewritten code`() throws {
    var answers: [[String]] = []
    for engine in ["interpreter", "rewriter"] {
      var configuration = SessionConfiguration()
      configuration.guest = "long-kernel"
      configuration.engine = engine
      let session = try Session(configuration)
      var lines: [String] = []
      for command in ["break log_write", "continue", "step 3000", "info regs", "watch w rsp 8", "continue", "info regs", "rsi 2000", "info regs"] {
        lines += session.perform(command).lines
      }
      answers.append(lines)
    }
    #expect(answers[0] == answers[1])
  }
}
