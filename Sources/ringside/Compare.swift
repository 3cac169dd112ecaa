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
  @Option(help: "Mode a flat image starts in: real, protected or long.") var mode: StartMode?
  @Option(help: "Address a flat image is loaded at.") var load: Address?
  @Option(help: "Address of the first instruction.") var entry: Address?
  @Option(help: "A ROM that ends at 1 MiB and at 4 GiB.") var firmware: String?
  @Option(help: "RAM, as 256M.") var memory: Size?
  @Option(help: "Number of vCPUs.") var cpus: Int?
  @Option(parsing: .unconditional, help: "The kernel's command line.") var append: String?
  @Option(help: "A file given to the kernel as its first module.") var initrd: String?
  @Option(help: ArgumentHelp("A raw disk image; with ,ro it is only read.", valueName: "file[,ro]")) var disk: String?
  @Option(help: "The machine Linux finds: p0, or p1 (the default with more than one vCPU or a disk).") var machine: LinuxMachine?
  @Flag(help: "The result as JSON.") var json = false

  func run() throws {
    var configuration = SessionConfiguration()
    configuration.guest = guest
    configuration.technique = technique
    configuration.mode = mode
    configuration.loadAddress = load?.value
    configuration.entry = entry?.value
    configuration.firmware = firmware
    configuration.memory = memory?.bytes
    configuration.cpus = cpus
    configuration.append = append
    configuration.initrd = initrd
    configuration.disk = disk
    configuration.machine = machine
    guard (1...2).contains(engines.count) else {
      throw VMError(.usage, "compare: --with names an engine, and stands twice", remedy: "compare \(guest) --with interpreter --with rewriter")
    }
    guard !engines.contains("kvm") else {
      throw VMError(
        .usage, "compare: kvm does not count instructions, and its runs do not repeat: it cannot be held in step",
        remedy: "compare interpreter and rewriter")
    }
    var plan = ComparisonPlan()
    if let every { plan.every = max(every.value, 1) }
    plan.limit = maxInstructions?.value
    let pair = engines.count == 2 ? engines : ["interpreter"] + engines
    let comparison = Comparison.ofEngines(pair, configuration, plan: plan)
    let (progress, interrupt) = (ProgressLine(), Interrupt())
    comparison.goesOn = { done in
      progress.show("\(done / 1_000_000) million instructions compared")
      return interrupt.signal == nil
    }
    let report = try comparison.run()
    progress.erase()
    Output.standard(json ? report.json.text + "\n" : report.rows.lines.joined(separator: "\n") + "\n")
    if let signal = interrupt.signal { throw ExitCode(128 + signal) }
    throw ExitCode(report.divergence == nil ? 0 : 1)
  }
}
