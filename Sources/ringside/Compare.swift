import ArgumentParser
import Glibc
import Session
import VMCore

/// `ringside compare GUEST --with A --with B`
struct Compare: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run a guest on two engines in step and stop at the first difference.",
    discussion: """
      Both engines run the same guest by instruction count. At every exit they must leave at the same instruction, for \
      the same reason, with the same registers; every so many instructions all registers are compared, and less often \
      all of memory. The first difference is traced to its instruction and shown with both states side by side.

      The status is 0 where no difference was found, 1 where there is one, 2 for what was typed wrong.
      """)

  @Argument(help: "A file, or the name of a sample.") var guest: String
  @Option(name: .customLong("with"), help: "An engine: interpreter or rewriter. Twice; once is against the interpreter.")
  var engines: [String]
  @Option(help: "hvm or rewrite: with rewrite every sensitive instruction is a callout, and in the table.")
  var technique = Technique.hvm
  @Option(help: "Compare all registers every so many instructions.") var every: Address?
  @Option(help: "End after so many instructions.") var maxInstructions: Address?
  @OptionGroup var given: GuestOptions
  @Flag(help: "The result as JSON.") var json = false

  func run() throws {
    let configuration = given.configuration(guest, technique)
    guard (1...2).contains(engines.count) else {
      throw VMError(.usage, "compare: --with names an engine, and stands twice", remedy: "compare \(guest) --with interpreter --with rewriter")
    }
    guard !engines.contains("kvm") else {
      throw VMError(
        .usage, "compare: kvm does not count instructions, and its runs do not repeat: it cannot be held in step",
        remedy: "compare interpreter and rewriter")
    }
    for engine in engines where !["interpreter", "rewriter"].contains(engine) {
      throw VMError(.usage, "--with \(engine): expected interpreter or rewriter")
    }
    var plan = ComparisonPlan()
    if let every { plan.every = max(every.value, 1) }
    plan.limit = maxInstructions?.value
    let pair = engines.count == 2 ? engines : ["interpreter"] + engines
    let comparison = Comparison.ofEngines(pair, configuration, plan: plan)
    let (progress, interrupt) = (ProgressLine(), Interrupt())
    comparison.goesOn = { done in
      progress.show("\(ProgressLine.millions(done)) compared")
      return interrupt.signal == nil
    }
    let report = try comparison.run()
    progress.erase()
    Output.standard(json ? report.json.text + "\n" : report.rows.lines.joined(separator: "\n") + "\n")
    if let signal = interrupt.signal { throw ExitCode(128 + signal) }
    throw ExitCode(report.divergence == nil ? 0 : 1)
  }
}
