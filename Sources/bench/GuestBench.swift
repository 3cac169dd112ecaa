import Glibc
import VMCore

/// The guest's tests on Ringside's engines and their peers by turns.
struct GuestBench {
  let guest: String
  /// The guest's words for what to measure.
  let tests: String
  let rounds: Int
  /// Who takes part, if it can.
  let field: [Emulator]
  private var emulators: [Emulator] = []
  private var plans: [Emulator: Plan] = [:]
  /// ns an operation, by test, one a round.
  private var costs: [Emulator: [String: [Double]]] = [:]
  private var order: [String] = []
  /// By a test and its count.
  private var checksums: [String: UInt64] = [:]
  private(set) var failures: [String] = []

  init(guest: String, tests: String, rounds: Int, field: [Emulator] = Emulator.allCases) {
    self.guest = guest
    self.tests = tests
    self.rounds = rounds
    self.field = field
  }

  /// Measures and prints.
  mutating func run() throws(VMError) {
    let folder = try Host.makeTemporaryFolder()
    defer { Host.remove(folder: folder) }
    for emulator in field {
      if let why = emulator.missing() {
        show("\(emulator.title) is left out: \(why)")
        if emulator.isOurs { failures.append(why) }
      } else {
        emulators.append(emulator)
      }
    }
    calibrate(folder)
    for round in 1...rounds {
      for emulator in emulators {
        guard let plan = plans[emulator] else { continue }
        say("round \(round) of \(rounds): \(emulator.title)")
        take(emulator, measure(emulator, words: plan.words, folder))
      }
    }
    report()
  }

  /// One run of every test with its default count; it decides how often each runs in the rounds. The rewriter runs what
  /// native code runs as often as that.
  private mutating func calibrate(_ folder: String) {
    for emulator in emulators {
      say("every test once: \(emulator.title)")
      let run = measure(emulator, words: tests, folder)
      if run.results.isEmpty { continue }
      plans[emulator] = Plan(after: run, lasting: emulator == .native ? Plan.nativeDuration : Plan.duration)
    }
    if let own = plans[.rewriter], let native = plans[.native] { plans[.rewriter] = own.agreeing(with: native) }
  }

  private mutating func measure(_ emulator: Emulator, words: String, _ folder: String) -> GuestRun {
    do {
      let run = try GuestRun.make(emulator, guest: guest, words: words, folder: folder)
      failures += run.complaints.map { "\(emulator.title): \($0)" }
      return run
    } catch {
      failures.append("\(emulator.title): \(error)")
      return GuestRun()
    }
  }

  private mutating func take(_ emulator: Emulator, _ run: GuestRun) {
    for result in run.results {
      let test = "\(result.name) \(result.count)"
      if let known = checksums.updateValue(result.checksum, forKey: test), known != result.checksum {
        failures.append("\(emulator.title): \(test): another checksum than elsewhere")
      }
    }
    for (name, nanoseconds) in run.costs {
      if !order.contains(name) { order.append(name) }
      costs[emulator, default: [:]][name, default: []].append(nanoseconds)
    }
  }

  private func report() {
    var medians = GuestTable(emulators: emulators)
    for name in order {
      for emulator in emulators {
        guard let all = costs[emulator]?[name], let median = Statistics.median(all) else { continue }
        medians.add(name, emulator, median)
      }
    }
    show("\nUser and system time an operation or repetition, medians of \(rounds) interleaved rounds; guest \(guest)")
    for line in medians.lines { show(line) }
    for line in medians.verdicts { show(line) }
  }
}

/// Says what goes on, on standard error.
func say(_ text: String) {
  let bytes = Array((text + "\n").utf8)
  _ = write(STDERR_FILENO, bytes, bytes.count)
}

/// Says what was measured, on standard output, at once.
func show(_ text: String) {
  let bytes = Array((text + "\n").utf8)
  _ = write(STDOUT_FILENO, bytes, bytes.count)
}
