import Debugger
import VMCore

/// Reads the text of a lesson.
struct LessonParser {
  private static let mostLines = 5000
  private static let longestLine = 2000
  private var lesson: Lesson
  private var step: LessonStep?
  /// Directives of the step's question as far as they were read.
  private var draft = Draft()
  private var paragraph: [Substring] = []
  private var line = 0

  private struct Draft {
    var text: (String, line: Int)?
    var choices: [LessonChoice] = []
    var kind: LessonQuestion.Kind?
    var reveal: [LessonCommand] = []
    var hints: [String] = []
  }

  /// The lesson `text` describes; the error is one line that names file, line and what was expected.
  static func parse(_ text: String, name: String, path: String) throws(VMError) -> Lesson {
    var parser = LessonParser(lesson: Lesson(name: name, path: path, title: ""))
    do throws(LessonFault) {
      return try parser.run(text)
    } catch {
      throw VMError(.usage, "\(path):\(error.line): \(error.message)")
    }
  }

  private init(lesson: Lesson) { self.lesson = lesson }

  private mutating func run(_ text: String) throws(LessonFault) -> Lesson {
    for row in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline) {
      line += 1
      try check(row)
      try take(row)
    }
    try endStep()
    guard !lesson.title.isEmpty else { throw LessonFault(line: 1, message: "'# TITLE' was expected as the first line") }
    guard !lesson.guest.isEmpty else { throw LessonFault(line: 1, message: "'@guest SAMPLE' is missing") }
    guard !lesson.steps.isEmpty else { throw LessonFault(line: line, message: "there are no steps: '## TITLE' begins one") }
    return lesson
  }

  private func check(_ row: Substring) throws(LessonFault) {
    guard line <= Self.mostLines else { throw LessonFault(line: line, message: "more than \(Self.mostLines) lines") }
    guard row.utf8.count <= Self.longestLine else {
      throw LessonFault(line: line, message: "a line of more than \(Self.longestLine) bytes")
    }
    let isPlain = row.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control && $0.properties.generalCategory != .format }
    guard isPlain else { throw LessonFault(line: line, message: "a control character; lessons are plain text") }
  }

  private mutating func take(_ row: Substring) throws(LessonFault) {
    if row.hasPrefix("--") { return }
    if row.hasPrefix("## ") {
      try endStep()
      step = LessonStep(line: line, title: Self.trimmed(row.dropFirst(3)))
    } else if row.hasPrefix("# ") {
      guard lesson.title.isEmpty else { throw LessonFault(line: line, message: "a lesson has one title; '## ' begins a step") }
      lesson.title = Self.trimmed(row.dropFirst(2))
    } else if row.hasPrefix("@") {
      endParagraph()
      let word = row.dropFirst().prefix { $0 != " " }
      let rest = Self.trimmed(row[word.endIndex...])
      if step == nil { try head(String(word), rest) } else { try directive(String(word), rest) }
    } else if row.allSatisfy({ $0 == " " }) {
      endParagraph()
    } else if row.hasPrefix("    ") {
      endParagraph()
      step?.text.append(String(row.dropFirst(2)))
    } else {
      guard !lesson.title.isEmpty else { throw LessonFault(line: line, message: "'# TITLE' was expected as the first line") }
      paragraph.append(row)
    }
  }

  private static func trimmed(_ text: Substring) -> String {
    String(text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
  }

  private mutating func endParagraph() {
    guard !paragraph.isEmpty else { return }
    let text = paragraph.map(Self.trimmed).joined(separator: " ")
    paragraph = []
    if step == nil { lesson.summary += lesson.summary.isEmpty ? text : " " + text } else { step?.text.append(text) }
  }

  // MARK: the head

  private mutating func head(_ word: String, _ rest: String) throws(LessonFault) {
    switch word {
    case "guest": lesson.guest = rest
    case "technique":
      guard let technique = Technique(rawValue: rest) else {
        throw LessonFault(line: line, message: "'\(rest)': hvm, rewrite or pv was expected")
      }
      lesson.technique = technique
    case "engine":
      guard ["interpreter", "rewriter"].contains(rest) else {
        throw LessonFault(line: line, message: "'\(rest)': interpreter or rewriter was expected; lessons need runs that repeat")
      }
      lesson.engine = rest
    case "minutes": lesson.minutes = try number(rest, 1...60)
    case "order": lesson.order = try number(rest, 0...999)
    default: throw unknown(word, among: ["guest", "technique", "engine", "minutes", "order"])
    }
  }

  private func number(_ text: String, _ range: ClosedRange<Int>) throws(LessonFault) -> Int {
    guard let value = Int(text), range.contains(value) else {
      throw LessonFault(line: line, message: "'\(text)': a number from \(range.lowerBound) to \(range.upperBound) was expected")
    }
    return value
  }

  private func unknown(_ word: String, among known: [String]) -> LessonFault {
    let nearest = NearestName.find(word, in: known).map { "; did you mean '@\($0)'?" } ?? "; known here: @\(known.joined(separator: ", @"))"
    return LessonFault(line: line, message: "'@\(word)' is unknown\(nearest)")
  }

  // MARK: a step

  private static let directives = [
    "run", "expect", "show", "mark", "ask", "choice", "why", "answer", "goal", "then", "hint", "because",
  ]

  private mutating func directive(_ word: String, _ rest: String) throws(LessonFault) {
    guard var step else { return }
    defer { self.step = step }
    guard Self.directives.contains(word) else { throw unknown(word, among: Self.directives) }
    guard !rest.isEmpty else { throw LessonFault(line: line, message: "'@\(word)' is empty") }
    switch word {
    case "run": step.opening.append(try LessonLines.command(rest, line))
    case "expect": step.expected = try LessonLines.condition(rest, line)
    case "show": step.pane = try pane(rest)
    case "mark": step.mark = rest
    case "because": step.because.append(rest)
    case "ask":
      guard draft.text == nil else { throw LessonFault(line: line, message: "a step asks once; '## ' begins the next") }
      draft.text = (rest, line)
    default: try question(word, rest)
    }
  }

  private func pane(_ name: String) throws(LessonFault) -> String {
    if Lesson.paneNames.contains(name) { return name }
    let nearest = NearestName.find(name, in: Lesson.paneNames).map { "; did you mean '\($0)'?" } ?? ""
    throw LessonFault(line: line, message: "'\(name)' is no pane\(nearest)")
  }

  private mutating func question(_ word: String, _ rest: String) throws(LessonFault) {
    guard draft.text != nil else { throw LessonFault(line: line, message: "'@\(word)' belongs behind '@ask'") }
    switch word {
    case "choice": try choice(rest)
    case "why":
      guard !draft.choices.isEmpty else { throw LessonFault(line: line, message: "'@why' belongs behind a '@choice'") }
      draft.choices[draft.choices.count - 1].why = rest
    case "answer": try setKind(rest == "exit" ? .reason : .number(try LessonLines.measure(rest, line)))
    case "goal": try setKind(.deed(try LessonLines.condition(rest, line)))
    case "then": draft.reveal.append(try LessonLines.command(rest, line))
    default: draft.hints.append(rest)
    }
  }

  private mutating func choice(_ rest: String) throws(LessonFault) {
    guard let mark = rest.ranges(of: " :: ").first else {
      throw LessonFault(line: line, message: "'@choice TEXT :: CONDITION' was expected")
    }
    guard draft.choices.count < 9 else { throw LessonFault(line: line, message: "more than nine choices") }
    let condition = try LessonLines.condition(Self.trimmed(rest[mark.upperBound...]), line)
    draft.choices.append(LessonChoice(text: Self.trimmed(rest[..<mark.lowerBound]), condition: condition))
  }

  private mutating func setKind(_ kind: LessonQuestion.Kind) throws(LessonFault) {
    guard draft.kind == nil else { throw LessonFault(line: line, message: "a question has one '@answer' or '@goal'") }
    draft.kind = kind
  }

  private mutating func endStep() throws(LessonFault) {
    endParagraph()
    defer { draft = Draft() }
    guard var done = step else { return }
    if let (text, line) = draft.text {
      done.question = LessonQuestion(text: text, kind: try kind(line), reveal: draft.reveal, hints: draft.hints)
    }
    if done.mark != nil, done.pane == nil { throw LessonFault(line: done.line, message: "'@mark' needs the pane it is in: '@show'") }
    lesson.steps.append(done)
    step = nil
  }

  private func kind(_ line: Int) throws(LessonFault) -> LessonQuestion.Kind {
    if let kind = draft.kind {
      guard draft.choices.isEmpty else { throw LessonFault(line: line, message: "choices and '@answer' or '@goal' exclude each other") }
      return kind
    }
    guard draft.choices.count >= 2 else {
      throw LessonFault(line: line, message: "the question has no answer: '@choice' (two or more), '@answer' or '@goal'")
    }
    return .choices(draft.choices)
  }
}

extension Lesson {
  /// What `@show` knows: the console's panes.
  package static let paneNames = [
    "code", "registers", "exits", "anatomy", "events", "vmcs", "hypercalls", "xen", "memory", "breakpoints", "tables",
    "interrupts", "devices", "paging", "stack", "console", "screen", "statistics", "rewriter", "log",
  ]
}
