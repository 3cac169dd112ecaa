import Debugger
import VMCore

/// What is wrong in a lesson's file: one line that names file and line.
struct LessonFault: Error, Equatable {
  var line: Int
  var message: String
}

/// Reads what stands behind the directives of a lesson's file.
enum LessonLines {
  /// A command lessons may give: one that runs, stops, looks at or changes the guest. Whatever reads or writes files
  /// of the host, or hides another command in itself, is refused.
  static func command(_ text: String, _ line: Int) throws(LessonFault) -> LessonCommand {
    guard !text.isEmpty else { throw LessonFault(line: line, message: "a command is missing") }
    let descriptor: CommandDescriptor
    do throws(CommandError) {
      descriptor = try CommandTable.parse(text).0
    } catch {
      throw LessonFault(line: line, message: error.lines[0])
    }
    let isHarmless = [.running, .stopping, .looking, .changing].contains(descriptor.group) && descriptor.name != "lesson"
    guard isHarmless, !text.contains("do \"") else {
      throw LessonFault(line: line, message: "'\(descriptor.name)' is not for lessons: they run, stop, look at and change the guest alone")
    }
    return LessonCommand(text: text, line: line)
  }

  /// `exit cpuid`, `no exit`, `ended`, `vmcs BIT on|off`, `port 3f8 on|off`, `exits [REASON] == 3`, `instructions < 10`, an
  /// expression, or several of them with `and` between.
  static func condition(_ text: String, _ line: Int) throws(LessonFault) -> LessonCondition {
    let words = text.split(separator: " ").map(String.init)
    guard let first = words.first else { throw LessonFault(line: line, message: "a condition is missing") }
    let parts = words.split(separator: "and", omittingEmptySubsequences: false)
    if parts.count > 1 {
      var all: [LessonCondition] = []
      for part in parts { all.append(try condition(part.joined(separator: " "), line)) }
      return .all(all)
    }
    if text == "no exit" { return .exit(nil) }
    if text == "ended" { return .ended }
    if first == "exit", words.count == 2 { return .exit(try reason(words[1], line)) }
    if first == "port", words.count == 3, ["on", "off"].contains(words[2]) { return try port(words, line) }
    if first == "vmcs" { return try control(words, line) }
    if ["exits", "instructions", "hypercalls"].contains(first), words.count > 2 { return try comparison(words, line) }
    return .expression(text)
  }

  /// `exits [REASON]`, `instructions`, or an expression.
  static func measure(_ text: String, _ line: Int) throws(LessonFault) -> LessonMeasure {
    let words = text.split(separator: " ").map(String.init)
    guard let first = words.first else { throw LessonFault(line: line, message: "what the answer is measured by is missing") }
    if text == "instructions" { return .instructions }
    if text == "hypercalls" { return .hypercalls }
    guard first == "exits", words.count <= 2 else { return .expression(text) }
    return .exits(words.count == 2 ? try reason(words[1], line) : nil)
  }

  private static func reason(_ word: String, _ line: Int) throws(LessonFault) -> ExitReason {
    if let reason = ExitReason(named: word) { return reason }
    let nearest = NearestName.find(word, in: ExitReason.allCases.map(\.name)).map { "; did you mean '\($0)'?" } ?? ""
    throw LessonFault(line: line, message: "'\(word)' is no exit reason\(nearest)")
  }

  private static func control(_ words: [String], _ line: Int) throws(LessonFault) -> LessonCondition {
    guard words.count == 3, let on = ["on": true, "off": false][words[2]], VMCSCommands.bit(words[1]) != nil else {
      throw LessonFault(line: line, message: "'vmcs BIT on' or 'off' was expected, BIT as in 'vmcs set'")
    }
    return .control(words[1], on)
  }

  private static func port(_ words: [String], _ line: Int) throws(LessonFault) -> LessonCondition {
    guard let port = UInt16(words[1], radix: 16), let on = ["on": true, "off": false][words[2]] else {
      throw LessonFault(line: line, message: "'port 3f8 on' or 'off' was expected, the port in hexadecimal")
    }
    return .port(port, on)
  }

  private static func comparison(_ words: [String], _ line: Int) throws(LessonFault) -> LessonCondition {
    guard words.count >= 3, let operation = LessonCondition.Comparison(rawValue: words[words.count - 2]),
      let number = Quantity.number(words[words.count - 1])
    else {
      throw LessonFault(line: line, message: "a comparison as 'exits cpuid == 3' was expected")
    }
    return .compare(try measure(words.dropLast(2).joined(separator: " "), line), operation, number)
  }
}
