import ArgumentParser
import Engines
import Glibc
import Session
import VMCore

/// Random programs in every mode of the processor, guest images that are nearly right, and drivers of disks that keep no
/// rule. Whatever they do, the monitor must not crash, hang, or go past the limit.
@main
struct Hostile: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run hostile guests: random programs in every mode, mutated images, and drivers that break the disk's rules.",
    discussion: """
      Equal seeds make equal guests. A crash, a hang or a broken promise is named by the command that repeats it. \
      The status is 0 where all went well, 1 where a promise was broken, 3 after a hang.
      """)

  @Option(help: "What the guests are made from.") var seed: UInt64 = 1
  @Option(help: "Guests of each kind.") var count = 10_000
  @Option(help: "Instructions a guest may retire.") var limit: UInt64 = 4000
  @Option(help: "Kinds by the beginning of their name: long64, protected32-pae, images.") var only: [String] = []
  @Option(help: "interpreter, rewriter or kvm.") var engine = "interpreter"
  @Flag(help: "Random controls and bitmaps in the VMCS of each program, but under KVM, which has it to itself.")
  var controls = false
  @Option(help: "One guest alone, by its number.") var number: Int?
  @Flag(help: "Run each program on interpreter and rewriter in step, and compare.") var compare = false

  @Option(help: "Run programs under the rewriter, its code kept from all memory but the guest's, until so many blocks were rewritten.")
  var guarded: UInt64?
  @Flag(help: "With --guarded: have the code reach elsewhere once. The program is to be ended for it.") var trespass = false

  func run() throws {
    CrashNote.install()
    let kinds = GuestKind.all.filter { kind in only.isEmpty || only.contains { "\(kind)".hasPrefix($0) } }
    guard !kinds.isEmpty else {
      throw ValidationError("no such kind; there are \(GuestKind.all.map(\.description).joined(separator: ", "))")
    }
    let campaign = Campaign(maker: try GuestMaker(seed: seed, limit: limit, engine: engine, hasControls: controls))
    if compare { return try self.compare(campaign.maker, kinds) }
    if let guarded { return try self.guarded(campaign.maker, kinds, blocks: guarded) }
    for kind in kinds { campaign.run(kind, number.map { $0..<$0 + 1 } ?? 0..<count) }
    Output.line("\(campaign.failures == 0 ? "passed" : "FAILED"): \(campaign.total) guests, \(campaign.failures) broken promises")
    if campaign.failures > 0 { throw ExitCode(1) }
  }

  private func guarded(_ maker: GuestMaker, _ kinds: [GuestKind], blocks: UInt64) throws {
    var work = RewritingStatistics()
    var programs = 0
    while work.blocks < blocks {
      for case .program(let mode) in kinds where work.blocks < blocks {
        CrashNote.set("hostile --guarded 1 --seed \(seed) --limit \(limit) --only \(mode) (program \(programs))")
        let comparison = EngineComparison(maker: maker, mode: mode, number: programs)
        try comparison.guarded(trespass ? .trespassed : .keys, work: &work)
      }
      programs += 1
    }
    Output.line("passed: \(programs) programs a mode, no access outside the guest's memory, its processor and the code; \(work)")
  }

  private func compare(_ maker: GuestMaker, _ kinds: [GuestKind]) throws {
    var total = 0
    var failures = 0
    var work = RewritingStatistics()
    for case .program(let mode) in kinds {
      var parted = 0
      for number in number.map({ $0..<$0 + 1 }) ?? 0..<count {
        let name = "hostile --compare --seed \(seed) --limit \(limit) --only \(mode) --number \(number)"
        CrashNote.set(name)
        guard let text = try EngineComparison(maker: maker, mode: mode, number: number).divergence(work: &work) else { continue }
        parted += 1
        Output.error("\(text): \(name)\n")
      }
      total += number == nil ? count : 1
      failures += parted
      Output.line("\(mode): \(parted) of \(number == nil ? count : 1) parted")
    }
    Output.line("\(failures == 0 ? "passed" : "FAILED"): \(total) programs compared, \(failures) parted; \(work)")
    if failures > 0 { throw ExitCode(1) }
  }
}

/// Guests of one kind after the other, each judged, each kind with a line of what came of them.
final class Campaign {
  let maker: GuestMaker
  private let watchdog: Watchdog
  private(set) var total = 0
  private(set) var failures = 0

  init(maker: GuestMaker) {
    self.maker = maker
    watchdog = Watchdog(patience: maker.countsInstructions ? 100_000_000 : 4_000_000)
  }

  func run(_ kind: GuestKind, _ numbers: Range<Int>) {
    var ends: [String: Int] = [:]
    var instructions: UInt64 = 0
    var exits: UInt64 = 0
    let pausedBefore = watchdog.pauseCount
    for number in numbers {
      let option = maker.hasControls ? " --controls" : ""
      let name = "hostile --engine \(maker.engine)\(option) --seed \(maker.seed) --limit \(maker.limit) --only \(kind) --number \(number)"
      CrashNote.set(name)
      watchdog.begin(name)
      let verdict = HostileCase(maker: maker, kind: kind, number: number).run { watchdog.run($0) }
      watchdog.end()
      ends[verdict.end, default: 0] += 1
      instructions += verdict.instructions
      exits += verdict.exits
      for problem in verdict.problems {
        failures += 1
        Output.error("\(problem): \(name)\n")
      }
      if (number + 1) % 1000 == 0 { Output.error("\(kind): \(number + 1)\r") }
    }
    total += numbers.count
    let paused = watchdog.pauseCount - pausedBefore
    let summary = ends.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { "\($0.key) \($0.value)" }
    Output.line(
      "\(kind): \(numbers.count) guests, \(instructions) instructions, \(exits) exits; "
        + "\(summary.joined(separator: ", ")); \(paused) paused")
  }
}

/// Unbuffered output.
enum Output {
  static func line(_ text: String) { _ = write(STDOUT_FILENO, "\(text)\n", text.utf8.count + 1) }
  static func error(_ text: String) { _ = write(STDERR_FILENO, text, text.utf8.count) }
}
