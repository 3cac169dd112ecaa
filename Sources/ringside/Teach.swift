import ArgumentParser
import Glibc
import Session
import VMCore

/// `ringside lessons`
struct ListLessons: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lessons", abstract: "List the lessons: guided tours in the console, with questions.")
  @Flag(help: "As JSON.") var json = false

  func run() throws {
    let (lessons, faults) = LessonLibrary.all()
    for fault in faults { Ringside.complain(fault.description) }
    if json {
      print(JSONValue.array(lessons.map(Self.value)).text)
    } else {
      let width = lessons.map(\.name.count).max() ?? 0
      for lesson in lessons {
        print("\(pad(lesson.name, width))  \(pad("\(lesson.minutes) min", 7)) \(lesson.title)")
      }
      if !lessons.isEmpty { print("\n'ringside lesson NAME' begins one, or ':lesson NAME' in the console.") }
    }
    guard faults.isEmpty, !lessons.isEmpty else { throw ExitCode(Ringside.Status.usage) }
  }

  private static func value(_ lesson: Lesson) -> JSONValue {
    .members(
      ("name", .string(lesson.name)), ("title", .string(lesson.title)), ("summary", .string(lesson.summary)),
      ("minutes", .number(UInt64(lesson.minutes))), ("guest", .string(lesson.guest)),
      ("technique", .string(lesson.technique.rawValue)), ("steps", .number(UInt64(lesson.steps.count))),
      ("questions", .number(UInt64(lesson.questionCount))))
  }
}

/// `ringside lesson NAME`
struct Teach: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lesson", abstract: "Begin a lesson in the console.",
    discussion: """
      In its page Enter goes on, p back, h hints, digits answer, r brings the guest back to the lesson, q leaves it; \
      everything else in the console works as ever. Without a terminal: -c 'lesson next', -c 'lesson answer 2'.
      """)

  @Argument(help: "A lesson's name, or a file.") var name: String
  @Option(help: "The console's theme.") var theme: String?
  @Option(help: "The console's layout.") var layout: String?
  @Flag(help: "No console.") var headless = false
  @Flag(help: "Answers as JSON.") var json = false
  @Option(name: [.short, .customShort("x")], help: ArgumentHelp("A debugger command.", valueName: "command")) var c: [String] = []

  func run() throws {
    let lesson = try LessonLibrary.lesson(name)
    let isBatch = headless || json || !c.isEmpty
    var configuration = lesson.configuration
    configuration.measuresCost = !isBatch
    configuration.historyPath = isBatch ? nil : Run.historyPath
    let session = try Session(lesson: lesson, configuration)
    if isBatch {
      throw ExitCode(Batch(session: session, json: json, digest: false).answer(c.isEmpty ? ["lesson"] : c))
    }
    guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1 else {
      throw VMError(.usage, "the console needs a terminal on standard input and output", remedy: "use --headless without one")
    }
    throw ExitCode(Run.openConsole(session, theme: theme, layout: layout))
  }
}
