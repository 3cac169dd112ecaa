import Glibc
import Session
import VMCore

/// Measures what the project promises about speed, each with a peer beside it where there is one. Words
/// choose parts: `guest`, `rewriter` for the rewriter beside TCG and native code alone, or `compute` for its compute
/// kernels alone, `code` for the rewriter's code cache, `session`, `console` (of it `frames` alone), `exits` and `hypercalls`; without one all is measured. BENCH_GUEST=PATH takes another guest of the same output format.
@main
struct Bench {
  static func main() {
    let words = CommandLine.arguments.dropFirst()
    let parts = ["guest", "rewriter", "compute", "code", "session", "console", "frames", "exits", "hypercalls"]
    if let unknown = words.first(where: { !parts.contains($0) }) {
      say("'\(unknown)': expected one of \(parts.joined(separator: ", "))")
      exit(2)
    }
    do {
      let guest = try guestPath()
      var failures: [String] = []
      let everyTest = words.isEmpty || words.contains("guest")
      let isRewriter = words.contains("rewriter")
      if everyTest || isRewriter || words.contains("compute") {
        let some = isRewriter && !everyTest
        var bench = GuestBench(
          guest: guest, tests: everyTest || isRewriter && !words.contains("compute") ? "priv compute" : "compute",
          rounds: 5, field: some ? [.rewriter, .qemu, .native] : Emulator.allCases)
        try bench.run()
        failures += bench.failures
      }
      if words.isEmpty || words.contains("code") { try measureCode() }
      if words.isEmpty || words.contains("session") { measureSession(guest, &failures) }
      if words.isEmpty || words.contains("exits") { try measureExits() }
      if words.isEmpty || words.contains("hypercalls") { try measureHypercalls() }
      if words.isEmpty || words.contains("console") { try measureConsole() }
      if words.contains("frames") { for line in Finding.table(try ConsoleBench().frames()).lines { show(line) } }
      for failure in failures { show("FAILED: \(failure)") }
      exit(failures.isEmpty ? 0 : 1)
    } catch {
      say("\(error)")
      exit(2)
    }
  }

  private static func measureSession(_ guest: String, _ failures: inout [String]) {
    var findings: [Finding] = []
    var parts: [(String, () throws(VMError) -> [Finding])] = [
      ("start", { () throws(VMError) in [try StartBench().finding()] }),
      ("steps and events", { () throws(VMError) in try StepBench(guest: guest).findings() }),
    ]
    let threads = ThreadBench(guest: guest)
    for words in ThreadBench.attachedKernels {
      parts.append(("attached console", { () throws(VMError) in [try threads.attached(words)] }))
    }
    for words in ThreadBench.pauseKernels {
      parts.append(("pause", { () throws(VMError) in [try threads.pauses(words)] }))
    }
    for (name, measure) in parts {
      say("session: \(name)")
      do throws(VMError) {
        let found = try measure()
        for finding in found { say("  \(finding.what): \(finding.measured)") }
        findings += found
      } catch {
        failures.append("\(name): \(error)")
      }
    }
    show("")
    for line in Finding.table(findings).lines { show(line) }
  }

  private static func measureCode() throws(VMError) {
    say("code cache")
    show("")
    for line in Finding.table(try CodeBench().findings()).lines { show(line) }
  }

  private static func measureExits() throws(VMError) {
    say("exits")
    show("")
    for line in Finding.table(try ExitBench().findings() + KVMExitBench().findings()).lines { show(line) }
  }

  private static func measureHypercalls() throws(VMError) {
    say("hypercalls")
    show("")
    for line in Finding.table(try HypercallBench().findings()).lines { show(line) }
  }

  private static func measureConsole() throws(VMError) {
    say("console")
    show("")
    for line in Finding.table(try ConsoleBench().findings()).lines { show(line) }
  }

  private static func guestPath() throws(VMError) -> String {
    if let given = getenv("BENCH_GUEST") {
      let path = String(cString: given)
      guard Host.exists(path) else { throw VMError(.usage, "BENCH_GUEST=\(path): no such file") }
      return path
    }
    guard let folder = SampleLibrary.folder("Samples") else {
      throw VMError(.unavailable, "no samples found", remedy: "set RINGSIDE_DATA to the folder that holds Samples")
    }
    return "\(folder)/bench/bench64.elf"
  }
}
