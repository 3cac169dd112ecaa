import Debugger
import Glibc
import Session
import Testing
import VMCore

/// The lessons that come along, gone through without a console from start to end.
@Suite("Lessons") struct LessonTests {
  static let names = LessonLibrary.names

  private static func open(_ name: String) throws -> Session {
    let lesson = try LessonLibrary.lesson(name)
    return try Session(lesson: lesson, lesson.configuration)
  }

  private static func view(_ session: Session) throws -> LessonView { try #require(session.currentSnapshot().lesson) }

  private static func verdict(_ session: Session) throws -> LessonVerdict? {
    if case .answered(let verdict) = try view(session).run.stage { verdict } else { nil }
  }

  private func go(_ session: Session, _ line: String) throws {
    let result = session.perform(line)
    #expect(!result.failed, "\(line): \(result.lines)")
    let view = try Self.view(session)
    #expect(view.complaint == nil && view.isInPlace, "\(line): \(view.complaint ?? "not in place")")
  }

  @Test func `there are six at least, in order, each under ten minutes`() {
    let (lessons, faults) = LessonLibrary.all()
    #expect(faults.isEmpty && lessons.count >= 6)
    #expect(lessons.map(\.order) == lessons.map(\.order).sorted())
    for lesson in lessons {
      #expect(lesson.minutes < 10 && !lesson.summary.isEmpty, "\(lesson.name)")
      // A slow reader has 150 words a minute, and half a minute for a question.
      let words = lesson.steps.reduce(0) { $0 + ($1.text + $1.because).joined(separator: " ").split(separator: " ").count }
      #expect(Double(words) / 150 + Double(lesson.questionCount) / 2 <= 10, "\(lesson.name) has \(words) words")
    }
  }

  @Test func `an answer typed while the guest is brought back is given where it will stand`() throws {
    let session = try Self.open("rings")
    session.start()
    defer { session.stop() }
    session.submitKey("lesson step 3")
    for round in UInt32(0)..<60 {
      session.submitKey("lesson sync")
      usleep(round * 40)
      session.submitKey("lesson answer 3")
      try #require(session.waitForAnswers(timeout: 10_000))
      let lesson = try #require(session.snapshot.lesson)
      if case .answered = lesson.run.stage {} else { Issue.record("round \(round): \(lesson.run.stage)") }
      session.submitKey("lesson back")
    }
  }

  @Test("the guest stands where each step says, and shows exactly one answer to be right", arguments: names)
  func wholeLesson(_ name: String) throws {
    let session = try Self.open(name)
    let first = try Self.view(session)
    #expect(first.complaint == nil, "\(first.complaint ?? "")")
    var steps = 0
    while try Self.view(session).run.stage != .finished, steps < 100 {
      steps += 1
      let run = try Self.view(session).run
      if run.stage == .asking { try answerAll(session, run) }
      try go(session, "lesson next")
    }
    let run = try Self.view(session).run
    #expect(run.stage == .finished && steps >= run.lesson.steps.count)
    // The first answer to each question was a wrong one, where there was one to give.
    #expect(run.rightCount <= run.lesson.questionCount)
  }

  /// Gives every answer there is; exactly one is right, and the wrong ones are told why.
  private func answerAll(_ session: Session, _ run: LessonRun) throws {
    let question = try #require(run.step.question)
    let place = "\(run.lesson.name), '\(run.step.title)'"
    switch question.kind {
    case .choices(let choices):
      var right: [Int] = []
      for number in choices.indices {
        try go(session, "lesson answer \(number + 1)")
        let verdict = try #require(try Self.verdict(session))
        if verdict.isRight { right.append(number) }
        #expect(!verdict.happened.isEmpty && verdict.given == choices[number].text)
        if number + 1 < choices.count { try go(session, "lesson back") }
      }
      #expect(right.count == 1, "\(place): right are \(right.map { choices[$0].text })")
      for number in choices.indices where right.contains(number) { #expect(choices[number].why == nil, "\(place)") }
    case .number, .reason: try answerFreely(session, question, place)
    case .deed:
      #expect(session.perform("lesson done").failed, "\(place) is done before it is")
      try go(session, "lesson next")
      #expect(try Self.verdict(session)?.right == "done for you", "\(place)")
      try go(session, "lesson back")
      for command in question.reveal { #expect(!session.perform(command.text).failed, "\(place)") }
      #expect(try Self.view(session).isDeedDone, "\(place)")
      #expect(!session.perform("lesson done").failed, "\(place)")
      #expect(try Self.verdict(session)?.isRight == true, "\(place)")
    }
  }

  private func answerFreely(_ session: Session, _ question: LessonQuestion, _ place: String) throws {
    try go(session, "lesson next")
    let shown = try #require(try Self.verdict(session))
    #expect(!shown.isRight && shown.given == nil)
    let word = String(shown.right.prefix { $0 != "," })
    let isNumber = if case .number = question.kind { true } else { false }
    #expect(!isNumber || UInt64(word) != nil, "\(place): \(shown.right)")
    let wrong = isNumber ? "\((UInt64(word) ?? 0) &+ 1)" : word == "none" ? "hlt" : "none"
    for (answer, isRight) in [(wrong, false), (word, true)] {
      try go(session, "lesson back")
      try go(session, "lesson answer \(answer)")
      #expect(try Self.verdict(session)?.isRight == isRight, "\(place): \(answer)")
    }
  }

  @Test func `whoever drives the guest on is brought back, to the instruction`() throws {
    let session = try Self.open("rings")
    _ = session.perform("lesson next")
    let there = session.currentSnapshot()
    for command in ["step 3", "break act_cli", "set $rax=7", "vmcs set hlt-exiting off", "continue"] { _ = session.perform(command) }
    #expect(try !Self.view(session).isInPlace)
    try go(session, "lesson sync")
    let again = session.currentSnapshot()
    #expect(again.vcpus == there.vcpus && again.instructionCount == there.instructionCount)
    #expect(again.breakpoints.isEmpty && again.vmcs.base == there.vmcs.base)
  }

  @Test func `an answer given from elsewhere is judged where the question was asked`() throws {
    let session = try Self.open("rings")
    _ = session.perform("lesson next")
    _ = session.perform("step 20")
    _ = session.perform("lesson answer 1")
    #expect(try Self.verdict(session)?.isRight == true)
  }

  @Test("what means nothing is refused in a sentence", arguments: [
    ("lesson answer 7", "from 1 to 2"), ("lesson answer", "from 1 to 2"), ("lesson bcak", "back"), ("lesson step 99", "steps from 1 to"),
    ("lesson done", "nothing to do"),
  ])
  func refusals(_ line: String, _ words: String) throws {
    let session = try Self.open("rings")
    _ = session.perform("lesson next")
    let result = session.perform(line)
    #expect(result.failed && result.lines.joined().contains(words), "\(result.lines)")
  }

  @Test func `without a lesson the command says how to begin one`() throws {
    var configuration = SessionConfiguration()
    configuration.guest = "hello-real"
    let result = try Session(configuration).perform("lesson next")
    #expect(result.failed && result.lines.joined().contains("ringside lesson"))
  }
}
