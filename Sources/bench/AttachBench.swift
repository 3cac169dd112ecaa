import Glibc
import Session
import TerminalDriver
import VMCore

/// What it costs a guest to be watched: the processor time of the thread that runs it, in the console on a terminal,
/// beside that of the same run with `--headless`. Whole programs, in turns.
struct AttachBench {
  private struct Workload {
    var name: String
    /// The guest and how it is run.
    var arguments: [String]
    /// Words for the guest.
    var append: String
  }

  private static let rounds = 9
  private static let patience = 120_000

  /// Nil where Samples/linux/fetch.sh has not made them (BENCH_LINUX names another folder of them).
  static var linuxImages: (kernel: String, initrd: String)? {
    let given = getenv("BENCH_LINUX").map { String(cString: $0) }
    guard let folder = given ?? SampleLibrary.folder("Samples").map({ "\($0)/linux/image" }),
      Host.exists("\(folder)/vmlinuz"), Host.exists("\(folder)/initrd.gz")
    else { return nil }
    return ("\(folder)/vmlinuz", "\(folder)/initrd.gz")
  }

  /// Without Linux's boot where its images are missing.
  func findings() throws(VMError) -> [Finding] {
    var all: [Workload] = []
    if let images = Self.linuxImages {
      let arguments = [images.kernel, "--initrd", images.initrd, "--engine", "rewriter"]
      all.append(Workload(name: "Linux boot", arguments: arguments, append: "quiet"))
    }
    if let folder = SampleLibrary.folder("Samples") {
      let guest = "\(folder)/bench/bench64.elf"
      for engine in ["interpreter", "rewriter"] {
        all.append(Workload(name: "OUT on the \(engine)", arguments: [guest, "--engine", engine], append: "out:4000000"))
      }
      all.append(Workload(name: "sieve on the rewriter", arguments: [guest, "--engine", "rewriter"], append: "sieve:100"))
    }
    return try all.map { workload throws(VMError) in try finding(workload) }
  }

  private func finding(_ workload: Workload) throws(VMError) -> Finding {
    var (alone, watched, ratios, shares): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
    for _ in 0..<Self.rounds {
      let one = try Self.alone(workload)
      let other = try Self.watched(workload)
      alone.append(one)
      watched.append(other.guest)
      ratios.append((other.guest / one - 1) * 100)
      shares.append(other.consoleShare)
    }
    func median(_ values: [Double]) -> Double { Statistics.median(values) ?? 0 }
    // The processor's speed changes from round to round: what counts is how the two of a round compare.
    let more = median(ratios)
    let rounds = ratios.sorted().map { "\(Int($0.rounded()))" }.joined(separator: " ")
    return Finding(
      what: "\(workload.name) watched: the guest's thread", measured: "\(more < 0 ? "-" : "+")\(Figure.number(abs(more))) %",
      peer: "headless \(Figure.time(median(alone))), watched \(Figure.time(median(watched))), rounds \(rounds) %; "
        + "the console's thread \(Figure.number(median(shares))) % of a core",
      target: "5 %", isReached: more < 5)
  }

  private static func processorTime() -> Double {
    var usage = rusage()
    getrusage(RUSAGE_CHILDREN.rawValue, &usage)
    let seconds = Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
    return seconds * 1e9 + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3
  }

  /// ns from the guest's first instruction to its end: what the program takes, less what it takes to load the guest.
  private static func alone(_ workload: Workload) throws(VMError) -> Double {
    let command = [Emulator.ringsidePath, "--headless", "--no-progress", "--append", workload.append] + workload.arguments
    let start = processorTime()
    // At the limit the status is 124.
    try Host.run(["/bin/sh", "-c", "\"$@\"; [ $? = 124 ]", "sh"] + command + ["--limit", "1"], seconds: 120)
    let loaded = processorTime()
    try Host.run(command, seconds: 120)
    return max(processorTime() - loaded - (loaded - start), 1)
  }

  /// ns of the guest's thread from the key that lets it run to its end, and what per cent of that time's length the
  /// console's thread used.
  private static func watched(_ workload: Workload) throws(VMError) -> (guest: Double, consoleShare: Double) {
    let program = try ConsoleBench.start(workload.arguments + ["--append", workload.append], width: 120, height: 40)
    let (all, own, start) = (program.cpuTime, program.firstThreadTime, HostClock.now())
    program.type("c")
    guard program.waitFor("ENDED", milliseconds: patience) else { throw VMError(.unavailable, "the guest did not end") }
    let (console, elapsed) = (program.firstThreadTime - own, HostClock.now() &- start)
    let guest = program.cpuTime - all - console
    program.type("q")
    _ = program.waitForEnd()
    return (Double(guest), Double(console) / Double(max(elapsed, 1)) * 100)
  }
}
