import Debugger
import VMCore

/// The present guest by every technique.
enum TechniqueCommands {
  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["techniques", "ways"], .looking, arguments: "[TECHNIQUE[/ENGINE]...]",
      help: "run this guest from its start to its end by several techniques, and say what each did for it",
      completion: .words(["hvm", "hvm/kvm", "rewrite", "pv"])
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      var choices: [TechniqueChoice] = []
      while let word = scanner.takeWord() {
        guard let choice = TechniqueChoice(word.lowercased()) else {
          throw scanner.fail(word, "hvm, rewrite or pv was expected, perhaps with /interpreter, /rewriter or /kvm")
        }
        choices.append(choice)
      }
      return try core.techniques(choices, usage: arguments.usage)
    }
  ]
}

extension SessionCore {
  func techniques(_ choices: [TechniqueChoice], usage: String) throws(CommandError) -> CommandResult {
    guard recorded == nil, configuration.guest != nil else {
      throw CommandError(typed: "", expected: "there is no guest here to be run again", usage: usage)
    }
    var plan = Techniques(configuration, choices: choices)
    plan.goesOn = { [unowned self] _, _ in !takesPause() }
    let report = plan.run()
    techniques = report
    // The console shows the last line at the bottom of the screen.
    return CommandResult(report.rows().lines.dropFirst() + [report.verdict], json: report.json)
  }
}
