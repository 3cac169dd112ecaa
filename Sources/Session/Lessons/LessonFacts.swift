import Debugger
import VMCore

extension LessonFacts {
  /// The name `exit` gives a reason, by any name people give it.
  static func reason(named word: String) -> String? { ExitReason(named: word)?.name }
  static func nearestReason(_ word: String) -> String? { NearestName.find(word, in: ExitReason.allCases.map(\.name)) }
}

/// Where the guest stood at some moment of a lesson: whether it still stands there, and what came since.
struct LessonPlace: Equatable {
  var retired: UInt64
  var time: UInt64
  var exits: UInt64
  var reasons: [UInt64]
  /// Inputs and changes so far, breakpoints set and changes of the VMCS: who drives the guest leaves traces.
  var inputs: Int
  var breakpoints: [Int]
  var changes: Int

  /// The same run before its first instruction.
  var atGuestStart: LessonPlace {
    var place = self
    (place.retired, place.time, place.exits) = (0, 0, 0)
    place.reasons = reasons.map { _ in 0 }
    return place
  }
}

extension LessonCondition {
  /// The expressions in it.
  fileprivate var expressions: [String] {
    switch self {
    case .expression(let text): [text]
    case .all(let parts): parts.flatMap(\.expressions)
    default: []
    }
  }
}

extension SessionCore {
  var lessonPlaceNow: LessonPlace {
    stream.drain()
    return LessonPlace(
      retired: control.retired, time: control.time, exits: stream.exitCount, reasons: stream.reasonCounts,
      inputs: script.inputs.count, breakpoints: control.breakpoints.all.map(\.number), changes: vmcs.undoCount)
  }

  /// What is true of the guest now, counted from `start`.
  func lessonFacts(since start: LessonPlace) -> LessonFacts {
    let now = lessonPlaceNow
    let newest = now.exits > start.exits ? exitRecords(1).last : nil
    return LessonFacts(
      holds: { [unowned self] in holds($0, since: start, newest) },
      measure: { [unowned self] in measure($0, since: start, newest) },
      newestReason: newest?.exit.reason.name, happened: happened(newest, since: start))
  }

  private func holds(_ condition: LessonCondition, since start: LessonPlace, _ newest: ExitRecord?) -> Bool {
    switch condition {
    case .exit(let reason): return newest?.exit.reason == reason
    case .ended: if case .ended = phase { return true } else { return false }
    case .control(let name, let on): return VMCSCommands.bit(name).map { vmcs.controls.vmcs.has($0) } == on
    case .port(let port, let on): return vmcs.controls.bitmaps[port: port] == on
    case .all(let parts): return parts.allSatisfy { holds($0, since: start, newest) }
    case .compare(let measured, let comparison, let number):
      return measure(measured, since: start, newest).map { comparison.holds($0, number) } ?? false
    case .expression(let text): return measure(.expression(text), since: start, newest).map { $0 != 0 } ?? false
    }
  }

  private func measure(_ measure: LessonMeasure, since start: LessonPlace, _ newest: ExitRecord?) -> UInt64? {
    switch measure {
    case .hypercalls: return stream.hypercalls.total
    case .instructions: return control.retired &- start.retired
    case .exits(nil): return stream.exitCount &- start.exits
    case .exits(let reason?):
      let index = EventTallies.index(reason)
      return stream.reasonCounts[index] &- start.reasons[index]
    case .expression(let text):
      guard let expression = try? Expression(text, scope: conditionScope) else { return nil }
      let time = control.time
      return try? expression.evaluate(currentState, memory: machine.memory) { field in
        newest.flatMap { EventFields.value(of: field, in: $0.exit, time: time) }
      }
    }
  }

  /// The truth in sentences: where and why the guest stands, and whose wish its last exit was.
  private func happened(_ newest: ExitRecord?, since start: LessonPlace) -> [String] {
    var sentences = [stopSentence()]
    guard let newest else { return sentences }
    if case .exit = stop {} else {
      sentences.append("The last exit was #\(newest.sequence) (\(newest.exit.reason.name)): \(newest.detail).")
    }
    if let cause = newest.states?.cause {
      sentences.append("Why it exits: \(vmcsView().why(newest.exit, cause).text).")
    }
    if let entry = ExplainCatalogue.entry("exit.\(newest.exit.reason.name)") { sentences.append(entry.rule) }
    return sentences
  }

  /// The first expression or bit of a lesson that this guest does not know, as one line.
  func faultOfExpressions(in lesson: Lesson) -> String? {
    for step in lesson.steps {
      var conditions = [step.expected].compactMap { $0 }
      var measures: [LessonMeasure] = []
      switch step.question?.kind {
      case .choices(let choices)?: conditions += choices.map(\.condition)
      case .deed(let goal)?: conditions.append(goal)
      case .number(let measure)?: measures.append(measure)
      case .reason?, nil: break
      }
      let texts = conditions.flatMap(\.expressions)
        + measures.compactMap { if case .expression(let text) = $0 { text } else { nil } }
      for text in texts {
        do throws(ExpressionError) { _ = try Expression(text, scope: conditionScope) } catch {
          return "\(lesson.path):\(step.line): in the step that begins here, '\(text)': \(error)"
        }
      }
    }
    return nil
  }
}
