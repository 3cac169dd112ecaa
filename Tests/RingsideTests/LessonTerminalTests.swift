import Foundation
import TerminalDriver
import Testing

/// Every lesson that comes along, from its first page to its end on a real terminal: hints, wrong answers and right
/// ones, and back.
@Suite(
  "Lessons on a terminal", .serialized,
  .enabled(if: ProcessInfo.processInfo.environment["RINGSIDE_CAMPAIGN"] != nil, "runs with make test-long"))
struct LessonTerminalTests {
  struct Listed: Decodable, Sendable, CustomTestStringConvertible {
    var name: String
    var steps: Int
    var questions: Int
    var testDescription: String { name }
  }

  static let lessons = (try? JSONDecoder().decode([Listed].self, from: Data(Shell.run("lessons --json").output.utf8))) ?? []

  @Test func `seven come along`() { #expect(Self.lessons.count >= 7) }

  @Test("from the first page to the end", arguments: lessons)
  func whole(_ lesson: Listed) throws {
    let program = try DrivenTerminalTests.start(["lesson", lesson.name], width: 160, height: 70)
    let reader = Reader(program)
    try reader.wait { $0.contains("Lesson: ") }
    var (answered, pages) = (0, 1)
    while !reader.isAtEnd {
      if reader.isAsking {
        try reader.answer()
        answered += 1
      }
      let page = reader.page
      try reader.press("n") { _ in reader.page != page || reader.isAtEnd }
      if !reader.isAtEnd { pages += 1 }
    }
    #expect(answered == lesson.questions && pages == lesson.steps)
    program.type("q")
    #expect(program.waitFor("the lesson is left"))
    program.type("q")
    #expect(program.waitForEnd() == 0 && program.isCooked)
  }

  /// Who reads the page and presses its keys.
  private struct Reader {
    let program: DrivenProgram
    init(_ program: DrivenProgram) { self.program = program }

    private var text: String { program.screen.text }
    var isAtEnd: Bool { text.contains("The end of the lesson") }
    /// Its number, from the pane's title.
    var page: String { text.firstMatch(of: /step (\d+) of/).map { String($0.1) } ?? "" }
    /// Its keys have one for hints.
    var isAsking: Bool { text.contains("h hint") }
    private var isRight: Bool { text.contains("Right: ") }

    func wait(_ isThere: (String) -> Bool) throws {
      try #require(program.wait(milliseconds: DrivenProgram.patience) { isThere($0.text) }, "\(text)")
    }

    func press(_ keys: String, _ isThere: (String) -> Bool) throws {
      program.type(keys)
      try wait(isThere)
    }

    private func back() throws { try press("p") { _ in isAsking } }

    /// Asks for a hint, gives wrong answers, goes back, and gives the right one.
    func answer() throws {
      try press("h") { $0.contains("Hint: ") || $0.contains("There is no hint") }
      if let last = text.firstMatch(of: /1-(\d) answer/).flatMap({ Int($0.1) }) {
        try choose(of: last)
      } else if text.contains("a answer") {
        try find()
      } else {
        try press("n") { _ in !isAsking }
      }
    }

    /// One choice after the other; exactly one is right.
    private func choose(of count: Int) throws {
      var right: [Int] = []
      for number in 1...count {
        try press("\(number)") { _ in !isAsking }
        if isRight { right.append(number) }
        #expect(isRight || text.contains("No, not "), "\(text)")
        try back()
      }
      #expect(right.count == 1, "\(text)")
      try press("\(right.first ?? 1)") { _ in !isAsking && isRight }
    }

    /// Has the answer shown, gives another, then this one.
    private func find() throws {
      try press("n") { $0.contains("It is: ") }
      let shown = try #require(text.firstMatch(of: /It is: ([^,. ]+)/))
      let word = String(shown.1)
      let wrong = Int(word).map { String($0 + 1) } ?? (word == "none" ? "hlt" : "none")
      try back()
      try press("a\(wrong)\r") { $0.contains("No, not ") }
      try back()
      try press("a\(word)\r") { _ in isRight }
    }
  }
}
