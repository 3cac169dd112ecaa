import Debugger
import VMCore
import X86

/// `info` and its topics.
enum InfoCommands {
  /// One topic of `info`.
  struct Topic: Sendable {
    var names: [String]
    var help: String
    /// What its argument can be completed with.
    var completion = CompletionKind.none
    var action: @Sendable (SessionCore, inout ArgumentScanner) throws(CommandError) -> CommandResult
  }

  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["info", "inf"], .looking, arguments: "TOPIC", help: "show registers, tables, exits, statistics, ...",
      whileRunning: true, completion: .topic
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      guard let word = scanner.takeWord() else { return CommandResult(topicLines, json: .strings(topics.map { $0.names[0] })) }
      return try topic(core, word, &scanner)
    },
    topicAlone(["regs", "registers", "rd"], "regs"),
    topicAlone(["sregs", "sreg"], "sregs"),
    topicAlone(["creg", "crregs", "cregs"], "cr"),
    topicAlone(["dreg", "dregs"], "dr"),
    topicAlone(["eflags", "flags", "rflags"], "flags"),
    topicAlone(["bl", "blist"], "bp", keys: ["B"]),
  ]

  /// A word of its own for a topic.
  private static func topicAlone(_ names: [String], _ name: String, keys: [String] = []) -> CommandDescriptor {
    CommandDescriptor(names, .looking, keys: keys, arguments: "[...]", help: "info \(name)", whileRunning: true) {
      core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      return try topic(core, name, &scanner)
    }
  }

  static let topics: [Topic] = ProcessorTopics.all + MachineTopics.all + ReportTopics.all + RecordingCommands.topics
    + RewritingCommands.topics + XenTopics.all + DisplayCommands.topics + HabitTopics.all

  /// Every topic with its help.
  static let topicLines = topics.map { "  info \($0.names[0])  \($0.help)" }

  private static func topic(
    _ core: SessionCore, _ word: String, _ scanner: inout ArgumentScanner
  ) throws(CommandError) -> CommandResult {
    let wanted = word.lowercased()
    let exact = topics.first { $0.names.contains(wanted) }
    let fitting = topics.filter { !wanted.isEmpty && $0.names[0].hasPrefix(wanted) }
    guard let topic = exact ?? (fitting.count == 1 ? fitting[0] : nil) else {
      if wanted.count > 1, core.machine.platform.inspection.contains(where: { $0.device.lowercased().hasPrefix(wanted) }) {
        return core.execute("info devices \(wanted)")
      }
      throw CommandError(
        typed: word, expected: "no such topic ('info' lists them)",
        nearest: NearestName.find(word, in: topics.flatMap(\.names)), usage: "info TOPIC")
    }
    let result = try topic.action(core, &scanner)
    try scanner.end()
    return result
  }

  /// Lines with a JSON array of the same.
  static func rows(_ lines: [String], empty: String, json: JSONValue? = nil) -> CommandResult {
    CommandResult(lines.isEmpty ? [empty] : lines, json: json ?? .strings(lines))
  }
}
