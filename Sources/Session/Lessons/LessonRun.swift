import Debugger

/// How far somebody is in a lesson: a pure state machine. Each input changes it and says what the guest has to do;
/// whoever drives it carries that out and reports what came of it.
package struct LessonRun: Equatable, Sendable {
  package enum Stage: Equatable, Sendable {
    /// There is something to read, and nothing asked.
    case reading
    /// A question is open.
    case asking
    case answered(LessonVerdict)
    /// Behind the last step.
    case finished
  }

  /// What the guest has to do for an input.
  package enum Move: Equatable, Sendable {
    /// Nothing: only what is shown changes.
    case stay
    /// These commands lead on from where the lesson is.
    case onwards([LessonCommand])
    /// The guest is to start again and take the way to where the lesson is now.
    case again
    /// The input meant nothing here; a sentence for the person.
    case refused(String)
  }

  package let lesson: Lesson
  package private(set) var index = 0
  package private(set) var stage = Stage.reading
  /// Hints of the present question that were asked for.
  package private(set) var hintCount = 0
  /// By step, whether the first answer was right.
  package private(set) var scores: [Int: Bool] = [:]
  /// An answer whose proof the guest is to bring.
  private var pending: LessonAnswer?

  /// At the first step; `way` leads there.
  package init(_ lesson: Lesson) {
    self.lesson = lesson
    stage = Self.beginning(lesson.steps[0])
  }

  package var step: LessonStep { lesson.steps[index] }
  package var rightCount: Int { scores.values.count { $0 } }

  private static func beginning(_ step: LessonStep) -> Stage { step.question == nil ? .reading : .asking }

  /// All commands from the guest's start to where the lesson is.
  package var way: [LessonCommand] {
    let before = lesson.steps[..<index].flatMap { $0.opening + ($0.question?.reveal ?? []) }
    let isShown = stage != .asking && stage != .reading
    return before + step.opening + (isShown ? step.question?.reveal ?? [] : [])
  }

  // MARK: inputs

  /// Goes on: to the next step, or, where a question is open, to being shown the answer.
  package mutating func next() -> Move {
    switch stage {
    case .finished: return .refused("This is the end of the lesson; 'lesson back' goes back, 'lesson leave' leaves it.")
    case .asking:
      pending = .shown
      return .onwards(step.question?.reveal ?? [])
    case .reading, .answered: break
    }
    guard index + 1 < lesson.steps.count else {
      stage = .finished
      return .stay
    }
    enter(index + 1)
    return .onwards(step.opening)
  }

  /// Back to the question that was just answered, or to the step before.
  package mutating func back() -> Move {
    switch stage {
    case .answered: stage = .asking
    case .finished: enter(index)
    case .asking, .reading:
      guard index > 0 else { return .refused("This is the first step.") }
      enter(index - 1)
    }
    return .again
  }

  /// Begins the lesson, or a step of it (from 0), anew.
  package mutating func go(to step: Int) -> Move {
    guard lesson.steps.indices.contains(step) else {
      return .refused("There are steps from 1 to \(lesson.steps.count).")
    }
    enter(step)
    return .again
  }

  package mutating func hint() -> Move {
    guard stage == .asking, let question = step.question else { return .refused("Nothing is asked here.") }
    guard hintCount < question.hints.count else {
      return .refused(question.hints.isEmpty ? "There is no hint for this one." : "There is no further hint.")
    }
    hintCount += 1
    return .stay
  }

  /// Takes an answer as typed; the guest proves it by the commands of the move.
  package mutating func answer(_ text: String) -> Move {
    guard stage == .asking, let question = step.question else { return .refused("Nothing is asked here.") }
    switch LessonAnswer.read(text, for: question.kind) {
    case .failure(let misfit): return .refused(misfit.text)
    case .success(let answer):
      pending = answer
      // What is to be done was done by the person; nothing of the lesson's own must follow.
      if case .deed = question.kind { return .stay }
      return .onwards(question.reveal)
    }
  }

  /// The guest stands where the pending answer is proved; `facts` tells of it.
  package mutating func judge(_ facts: LessonFacts) {
    guard let answer = pending, let question = step.question else { return }
    pending = nil
    let verdict = LessonVerdict(answer, question, facts)
    if scores[index] == nil { scores[index] = verdict.isRight }
    stage = .answered(verdict)
  }

  /// The proof could not be had: the question is open again.
  package mutating func withdraw() { pending = nil }

  package var isJudging: Bool { pending != nil }

  private mutating func enter(_ step: Int) {
    index = step
    hintCount = 0
    pending = nil
    stage = Self.beginning(lesson.steps[step])
  }
}

/// An answer somebody gave.
package enum LessonAnswer: Equatable, Sendable {
  case choice(Int)
  case number(UInt64)
  /// The name of a reason, as `exit` knows it.
  case reason(String)
  /// It is done, says the person.
  case done
  /// None: the lesson is to show it.
  case shown

  /// What cannot be an answer, and what could.
  struct Misfit: Error { var text: String }

  static func read(_ text: String, for kind: LessonQuestion.Kind) -> Result<LessonAnswer, Misfit> {
    let word = text.lowercased()
    switch kind {
    case .choices(let choices):
      if let number = Int(word), choices.indices.contains(number - 1) { return .success(.choice(number - 1)) }
      let fitting = choices.indices.filter { choices[$0].text.lowercased().hasPrefix(word) }
      if fitting.count == 1, !word.isEmpty { return .success(.choice(fitting[0])) }
      return .failure(Misfit(text: "'\(text)': a number from 1 to \(choices.count) was expected."))
    case .number:
      if let number = Quantity.number(word) { return .success(.number(number)) }
      return .failure(Misfit(text: "'\(text)': a number was expected, as 42, 0x2a or 2ah."))
    case .reason:
      if word == "none" { return .success(.reason(word)) }
      if let reason = LessonFacts.reason(named: word) { return .success(.reason(reason)) }
      let nearest = LessonFacts.nearestReason(word).map { " Did you mean '\($0)'?" } ?? ""
      return .failure(Misfit(text: "'\(text)' is no exit reason.\(nearest.isEmpty ? " Tab completes them." : nearest)"))
    case .deed: return .success(.done)
    }
  }
}

/// What became of an answer.
package struct LessonVerdict: Equatable, Sendable {
  package var isRight: Bool
  /// What was said, nil where nothing was.
  package var given: String?
  /// The right answer in words.
  package var right: String
  /// Why a wrong choice is wrong, as the teacher put it.
  package var why: String?
  /// What the guest really did, in sentences.
  package var happened: [String]

  init(_ answer: LessonAnswer, _ question: LessonQuestion, _ facts: LessonFacts) {
    happened = facts.happened
    switch question.kind {
    case .choices(let choices):
      let truths = choices.indices.filter { facts.holds(choices[$0].condition) }
      right = truths.isEmpty ? "none of them" : truths.map { choices[$0].text }.joined(separator: "; ")
      if case .choice(let index) = answer {
        isRight = truths.contains(index)
        given = choices[index].text
        why = isRight ? nil : choices[index].why
      } else {
        isRight = false
      }
    case .number(let measure):
      let value = facts.measure(measure)
      right = value.map { $0 < 10 ? "\($0)" : "\($0), which is \(String($0, radix: 16))h" } ?? "not to be had"
      if case .number(let number) = answer { given = "\(number)" }
      isRight = value != nil && answer == value.map { .number($0) }
    case .reason:
      right = facts.newestReason ?? "none"
      if case .reason(let name) = answer { given = name }
      isRight = given == right
    case .deed(let goal):
      let holds = facts.holds(goal)
      isRight = answer == .done && holds
      right = !holds ? "not done" : isRight ? "done" : "done for you"
    }
  }
}

/// What can be asked about the guest where it stands.
package struct LessonFacts {
  package var holds: (LessonCondition) -> Bool
  package var measure: (LessonMeasure) -> UInt64?
  /// Name of the newest exit's reason, if it came since the question was asked.
  package var newestReason: String?
  package var happened: [String]
}
