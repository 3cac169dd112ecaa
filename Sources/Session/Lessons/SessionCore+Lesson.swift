import Debugger
import VMCore

/// A lesson under way: the state machine, and where it left the guest.
struct LessonSeat {
  var run: LessonRun
  /// Where the guest stands as far as the lesson led it.
  var place: LessonPlace
  /// Where it stood when the present question was asked.
  var start: LessonPlace
  /// The person brought the guest here, by a way of their own: the lesson goes on by its own way.
  var isByHand = false
  /// What went wrong on the way, for the person.
  var complaint: String?
}

/// Lessons: the state machine decides, here the guest follows.
extension SessionCore {
  /// Instructions a command of a lesson may take.
  private static let patience: UInt64 = 2_000_000_000

  /// Takes a lesson up at its first step. The error names what the lesson says and this guest has not.
  func begin(_ lesson: Lesson) throws(VMError) {
    if let fault = faultOfExpressions(in: lesson) { throw VMError(.usage, fault) }
    lessonSeat = LessonSeat(run: LessonRun(lesson), place: lessonPlaceNow, start: lessonPlaceNow)
    lead(.again)
  }

  /// One input to the lesson: the state machine's move is carried out, and the answer is what it shows then.
  func teach(_ input: (inout LessonRun) -> LessonRun.Move) throws(CommandError) -> CommandResult {
    guard var seat = lessonSeat else { throw noLesson }
    let move = input(&seat.run)
    if case .refused(let why) = move { throw CommandError(typed: "", expected: why) }
    seat.complaint = nil
    lessonSeat = seat
    lead(move)
    return lessonStatus
  }

  /// The person says that what was to be done is done.
  func teachDone() throws(CommandError) -> CommandResult {
    guard let seat = lessonSeat else { throw noLesson }
    guard seat.run.stage == .asking, case .deed(let goal)? = seat.run.step.question?.kind else {
      throw CommandError(typed: "done", expected: "there is nothing to do here")
    }
    guard lessonFacts(since: seat.start).holds(goal) else {
      throw CommandError(typed: "done", expected: "not yet: h hints, Enter has it done for you")
    }
    defer { lessonSeat?.isByHand = true }
    return try teach { $0.answer("done") }
  }

  var noLesson: CommandError {
    CommandError(typed: "lesson", expected: "no lesson is under way; 'ringside lessons' lists them, 'ringside lesson NAME' begins one")
  }

  /// The lesson as it stands, as text and data.
  var lessonStatus: CommandResult {
    guard let view = lessonView else { return CommandResult("no lesson is under way") }
    return CommandResult(LessonReport.rows(view, width: 100).lines, json: LessonReport.json(view))
  }

  /// What a console shows of it.
  var lessonView: LessonView? {
    guard let seat = lessonSeat else { return nil }
    let isInPlace = phase != .running && seat.place == lessonPlaceNow
    var view = LessonView(seat.run, isInPlace: isInPlace, complaint: seat.complaint)
    if seat.run.stage == .asking, phase != .running, case .deed(let goal)? = seat.run.step.question?.kind {
      view.isDeedDone = lessonFacts(since: seat.start).holds(goal)
    }
    return view
  }

  // MARK: following

  private func lead(_ move: LessonRun.Move) {
    guard let seat = lessonSeat else { return }
    leadsGuest = true
    defer {
      leadsGuest = false
      exchange.raise(.input)
    }
    switch move {
    case .refused: return
    case .stay: break
    case .onwards(let commands): seat.place == lessonPlaceNow && !seat.isByHand ? follow(commands) : takeWay()
    case .again: takeWay()
    }
    if lessonSeat?.run.isJudging == true { judge() } else { arrive(move) }
  }

  /// From the guest's start to where the lesson is.
  private func takeWay() {
    guard let run = lessonSeat?.run else { return }
    lessonSeat?.isByHand = false
    control.breakpoints = BreakpointTable()
    exitActions = [:]
    applyControls()
    let result = reset()
    guard !result.failed else {
      complain(result.lines.first ?? "the guest cannot be started again")
      return
    }
    follow(run.way)
    // An open answer is proved by what comes after the question.
    guard run.isJudging, lessonSeat?.complaint == nil else { return }
    lessonSeat?.start = lessonPlaceNow
    follow(run.step.question?.reveal ?? [])
  }

  /// Carries out commands, up to the first that does not do what it is there for.
  private func follow(_ commands: [LessonCommand]) {
    let limit = control.limit
    defer { control.limit = limit }
    for command in commands {
      control.limit = min(limit, control.retired &+ Self.patience)
      let result = execute(command.text)
      if result.failed {
        complain("line \(command.line), '\(command.text)': \(result.lines.first ?? "failed")")
        return
      }
      guard let (descriptor, _) = try? CommandTable.parse(command.text), descriptor.runsGuest else { continue }
      if let why = whyElsewhere(command) {
        complain(why)
        return
      }
    }
  }

  /// Why the guest did not arrive where a command should have brought it; nil where it did.
  private func whyElsewhere(_ command: LessonCommand) -> String? {
    switch stop {
    case .pause: "Paused on the way; r takes the lesson up again."
    case .limit, .error, .entryFailed, .unknownInstruction:
      "line \(command.line), '\(command.text)': \(stopSentence())"
    default: nil
    }
  }

  private func complain(_ text: String) {
    lessonSeat?.complaint = text
    lessonSeat?.run.withdraw()
    lessonSeat?.place = lessonPlaceNow
  }

  private func judge() {
    guard var seat = lessonSeat else { return }
    seat.run.judge(lessonFacts(since: seat.start))
    seat.place = lessonPlaceNow
    lessonSeat = seat
  }

  /// At a step: what the lesson expects there must be so. It is said of where the guest stands and of its run since its
  /// start: the place of the question before means nothing once the guest has started again.
  private func arrive(_ move: LessonRun.Move) {
    guard var seat = lessonSeat, move != .stay, seat.complaint == nil else { return }
    seat.place = lessonPlaceNow
    if seat.run.stage == .asking || seat.run.stage == .reading {
      if let expected = seat.run.step.expected, !lessonFacts(since: seat.place.atGuestStart).holds(expected) {
        seat.complaint = "line \(seat.run.step.line): the guest is not where this step expects it. \(stopSentence())"
      }
      seat.start = lessonPlaceNow
    }
    lessonSeat = seat
  }
}
