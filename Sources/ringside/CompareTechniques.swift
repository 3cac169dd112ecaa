import ArgumentParser
import Session
import VMCore

extension TechniqueChoice: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}

/// `ringside techniques GUEST...`
struct CompareTechniques: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "techniques",
    abstract: "Run the same guest by several techniques, and show what each did for it.",
    discussion: """
      A guest is a file or the name of a sample. Of several files each technique takes the first it can run: a \
      kernel for a PC, and its port to Xen's ABI. A guest may mark operations; 'teaching --append ops:1000' does \
      seven of them a thousand times each.

      The status is 0 where the guest said the same under all that ran it, else 1.
      """)

  @Argument(help: "Files, or the name of a sample.") var guests: [String]
  @Option(name: .customLong("with"), help: "hvm, rewrite or pv, with /interpreter, /rewriter (without it) or /kvm; as often as wanted.")
  var choices: [TechniqueChoice] = []
  @Option(help: "RAM, as 256M or 2G: 1M to 1T.") var memory: Size?
  @Option(parsing: .unconditional, help: "The kernel's command line.") var append: String?
  @Option(help: "A file given to the kernel as its first module.") var initrd: String?
  @Option(help: "End each run after so many instructions.") var limit: Address?
  @Flag(help: "Believe the paravirtual guest's page tables unchecked, to see what isolation costs.") var trusting = false
  @Flag(help: "The result as JSON.") var json = false

  func run() throws {
    var configuration = SessionConfiguration()
    configuration.memory = memory?.bytes
    configuration.append = append
    configuration.initrd = initrd
    configuration.limit = limit?.value
    configuration.isTrusting = trusting
    var plan = Techniques(configuration, guests: guests, choices: choices)
    let (progress, interrupt) = (ProgressLine(), Interrupt())
    plan.goesOn = { choice, done in
      progress.show(done == 0 ? choice.name : "\(choice.name): \(ProgressLine.millions(done))")
      return interrupt.signal == nil
    }
    let report = plan.run()
    progress.erase()
    Output.standard(json ? report.json.text + "\n" : report.rows().lines.joined(separator: "\n") + "\n")
    if let signal = interrupt.signal { throw ExitCode(128 + signal) }
    throw ExitCode(report.isSame ? 0 : 1)
  }
}
