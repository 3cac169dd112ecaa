import Glibc
import VMCore

/// The guest's tests on Ringside and its peers by turns.
struct GuestBench {
  let guest: String
  /// The guest's words for what to measure.
  let tests: String
  let rounds: Int
  private var emulators: [Emulator] = []
  private var plans: [Emulator: Plan] = [:]
  /// ns an operation, by test, one a round.
  private var costs: [Emulator: [String: [Double]]] = [:]
  private var order: [String] = []
  private(set) var failures: [String] = []
  /// The target of the compute kernels' geometric mean.
  private static let target = 4.0

  init(guest: String, tests: String, rounds: Int) {
    self.guest = guest
    self.tests = tests
    self.rounds = rounds
  }

  /// Measures and prints.
  mutating func run() throws(VMError) {
    let folder = try Host.makeTemporaryFolder()
    defer { Host.remove(folder: folder) }
    for emulator in Emulator.allCases {
      if let why = emulator.missing() {
        show("\(emulator.title) is left out: \(why)")
        if emulator == .ringside { failures.append(why) }
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

  /// One run of every test with its default count; it decides how often each runs in the rounds.
  private mutating func calibrate(_ folder: String) {
    for emulator in emulators {
      say("every test once: \(emulator.title)")
      let run = measure(emulator, words: tests, folder)
      if !run.results.isEmpty { plans[emulator] = Plan(after: run) }
    }
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
    for (name, nanoseconds) in run.costs {
      if !order.contains(name) { order.append(name) }
      costs[emulator, default: [:]][name, default: []].append(nanoseconds)
    }
  }

  private func median(_ emulator: Emulator, _ name: String) -> Double? {
    costs[emulator]?[name].flatMap { Statistics.median($0) }
  }

  // MARK: the report

  private func report() {
    let peers = emulators.filter { $0 != .ringside }
    show("\nProcessor time an operation or repetition, medians of \(rounds) interleaved rounds; guest \(guest)")
    var table = Table(["test", "ringside"] + peers.map(\.title) + peers.map { "\($0.title)/ringside" })
    for name in order.filter({ !Checksums.compute.contains($0) }) { table.add(row(name, peers)) }
    for name in order.filter({ Checksums.compute.contains($0) }) { table.add(row(name, peers)) }
    let blanks = Array(repeating: "", count: peers.count + 1)
    table.add(["geometric mean, compute"] + blanks + peers.map { mean($0).map(Figure.ratio) ?? "-" })
    for line in table.lines { show(line) }
    guard peers.contains(.bochs) else { return }
    guard let reached = mean(.bochs) else {
      show("target: at least \(Figure.ratio(Self.target)) Debian's bochs on the compute kernels: not measured")
      return
    }
    let verdict = reached >= Self.target ? "reached" : "MISSED"
    show("target: at least \(Figure.ratio(Self.target)) Debian's bochs on the compute kernels: \(verdict)")
  }

  private func row(_ name: String, _ peers: [Emulator]) -> [String] {
    let times = ([.ringside] + peers).map { median($0, name).map(Figure.time) ?? "-" }
    return [name] + times + peers.map { ratio($0, name).map(Figure.ratio) ?? "-" }
  }

  private func ratio(_ peer: Emulator, _ name: String) -> Double? {
    guard let own = median(.ringside, name), let other = median(peer, name), own > 0 else { return nil }
    return other / own
  }

  /// Over the compute kernels both have run; nil unless that is all the guest has.
  private func mean(_ peer: Emulator) -> Double? {
    let kernels = order.filter { Checksums.compute.contains($0) }
    let ratios = kernels.compactMap { ratio(peer, $0) }
    return ratios.count == kernels.count ? Statistics.geometricMean(ratios) : nil
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
