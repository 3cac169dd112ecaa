import Debugger
import VMCore

/// What `display` shows at every stop: commands that look, under numbers.
struct DisplayList {
  struct Row {
    var number: Int
    /// `print/x $rax`, `x/2i $pc`.
    var command: String
    /// `$rax`, `/x $rax`, `x/2i $pc`.
    var text: String
  }
  private(set) var rows: [Row] = []
  private var last = 0

  mutating func add(_ command: String, _ text: String) -> Row {
    last += 1
    let row = Row(number: last, command: command, text: text)
    rows.append(row)
    return row
  }

  /// False where there is none of that number.
  mutating func remove(_ number: Int) -> Bool {
    let before = rows.count
    rows.removeAll { $0.number == number }
    return rows.count < before
  }

  mutating func removeAll() { rows = [] }
}

/// One of them with what it shows now.
package struct DisplayedValue: Equatable, Sendable {
  package var number: Int
  package var text: String
  package var lines: [String]
  package init(number: Int, text: String, lines: [String]) { (self.number, self.text, self.lines) = (number, text, lines) }

  /// `1: $rax = 5`; what takes several lines stands below.
  package var shown: [String] {
    lines.count == 1 && !text.hasPrefix("x/") ? ["\(number): \(text) = \(lines[0])"] : ["\(number): \(text)"] + lines.map { "   " + $0 }
  }
}

extension SessionCore {
  /// What every `display` shows now.
  func displayed() -> [DisplayedValue] {
    let place = examinedTo
    defer { examinedTo = place }
    return displays.rows.map { DisplayedValue(number: $0.number, text: $0.text, lines: execute($0.command).lines) }
  }
}

enum DisplayCommands {
  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["display"], .looking, arguments: "[/FMT] [E]",
      help: "show an expression at every stop, as print, or with /NFU as x, would; alone: show them now",
      whileRunning: true, completion: .expression
    ) { core, arguments throws(CommandError) in try display(core, arguments) },
    CommandDescriptor(
      ["undisplay"], .looking, arguments: "[N]...|all", help: "show it no more", whileRunning: true
    ) { core, arguments throws(CommandError) in try undisplay(core, arguments) },
  ]

  static let topics: [InfoCommands.Topic] = [
    .init(names: ["display", "displays"], help: "what is shown at every stop") { core, _ throws(CommandError) in list(core) }
  ]

  private static func display(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    var (format, expression) = (arguments.format, arguments.rest)
    if format.isEmpty, expression.hasPrefix("/") {
      format = String(expression.dropFirst().prefix { $0 != " " })
      expression = String(expression.dropFirst(format.count + 1).drop { $0 == " " })
    }
    guard !expression.isEmpty else { return list(core) }
    let examines = format.contains { $0.isNumber || "isbhwg".contains($0) }
    let slash = format.isEmpty ? "" : "/\(format)"
    let command = "\(examines ? "x" : "print")\(slash) \(expression)"
    let answer = core.execute(command)
    guard !answer.failed else { return answer }
    let row = core.displays.add(command, examines ? command : (format.isEmpty ? "" : "\(slash) ") + expression)
    return CommandResult(
      DisplayedValue(number: row.number, text: row.text, lines: answer.lines).shown,
      json: .members(("number", .number(UInt64(row.number))), ("text", .string(row.text)), ("answer", answer.json)))
  }

  private static func list(_ core: SessionCore) -> CommandResult {
    let all = core.displayed()
    return InfoCommands.rows(
      all.flatMap(\.shown), empty: "nothing is displayed; 'display $rax' or 'display/4i $pc' begins", json: json(all))
  }

  static func json(_ all: [DisplayedValue]) -> JSONValue {
    .array(all.map { .members(("number", .number(UInt64($0.number))), ("text", .string($0.text)), ("lines", .strings($0.lines))) })
  }

  private static func undisplay(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    if scanner.isAtEnd || scanner.take("all") {
      core.displays.removeAll()
      return CommandResult("nothing is displayed any more")
    }
    var gone: [String] = []
    while !scanner.isAtEnd {
      let typed = scanner.peek
      guard let number = scanner.takeNumber(), core.displays.remove(Int(clamping: number)) else {
        throw scanner.fail(typed, "the number of a display was expected ('info display' lists them)")
      }
      gone.append(typed)
    }
    return CommandResult("no longer displayed: \(gone.joined(separator: ", "))")
  }
}
