import Debugger

/// A lesson's page in rows: what the pane shows and `lesson` prints.
package enum LessonReport {
  package static func rows(_ view: LessonView, width: Int) -> [ReportRow] {
    let step = view.run.step
    var rows: [ReportRow] = []
    if let complaint = view.complaint { rows += paragraph(complaint, width, .bad) }
    if !view.isInPlace, view.complaint == nil {
      rows += paragraph("The guest was driven on from here; r brings it back to the lesson.", width, .changed)
    }
    switch view.run.stage {
    case .reading: rows += page(step, width)
    case .asking: rows += page(step, width) + question(view, width)
    case .answered(let verdict): rows += answered(step, verdict, width)
    case .finished: rows += ending(view.run, width)
    }
    return rows
  }

  private static func page(_ step: LessonStep, _ width: Int) -> [ReportRow] {
    [.heading(step.title)] + step.text.flatMap { paragraph($0, width) }
  }

  private static func question(_ view: LessonView, _ width: Int) -> [ReportRow] {
    guard let question = view.run.step.question else { return [] }
    var rows = paragraph("? " + question.text, width, .changed, indent: 2)
    switch question.kind {
    case .choices(let choices):
      for (number, choice) in choices.enumerated() {
        var row = ReportRow("  \(number + 1) ", .address)
        row.words += words(choice.text, .plain)
        rows += row.wrapped(to: width, indent: 4)
      }
    case .number: rows.append(ReportRow("  a digit, or a, begins the answer: a number (42, 0x2a or 2ah)", .dim))
    case .reason: rows.append(ReportRow("  a types the answer, an exit reason (Tab completes) or 'none'", .dim))
    case .deed: rows.append(deed(view.isDeedDone))
    }
    for hint in question.hints.prefix(view.run.hintCount) { rows += paragraph("Hint: " + hint, width, .symbol, indent: 6) }
    return rows
  }

  private static func deed(_ isDone: Bool) -> ReportRow {
    isDone ? ReportRow("  Done. d goes on.", .set) : ReportRow("  d says it is done; n has it done for you", .dim)
  }

  private static func answered(_ step: LessonStep, _ verdict: LessonVerdict, _ width: Int) -> [ReportRow] {
    var rows = step.question.map { paragraph("? " + $0.text, width, .dim, indent: 2) } ?? []
    rows += paragraph(sentence(verdict), width, verdict.isRight ? .set : verdict.given == nil ? .changed : .bad)
    if let why = verdict.why { rows += paragraph(why, width) }
    for text in verdict.happened { rows += paragraph(text, width, .exit) }
    return step.because.isEmpty ? rows : rows + paragraph(step.because.joined(separator: " "), width)
  }

  private static func sentence(_ verdict: LessonVerdict) -> String {
    guard let given = verdict.given else { return verdict.isRight ? "Right." : "It is: \(verdict.right)." }
    return verdict.isRight ? "Right: \(verdict.right)." : "No, not '\(given)'. It is: \(verdict.right)."
  }

  private static func ending(_ run: LessonRun, _ width: Int) -> [ReportRow] {
    let count = run.lesson.questionCount
    return [.heading("The end of the lesson")]
      + paragraph("\(run.rightCount) of \(count) answers were right the first time. The guest is yours: drive it on, or go back with p.", width)
  }

  /// One paragraph, with words in backquotes as code; one that begins with a blank stays a row.
  private static func paragraph(_ text: String, _ width: Int, _ tone: ReportTone = .plain, indent: Int = 0) -> [ReportRow] {
    if text.hasPrefix(" ") { return [ReportRow(text, .code)] }
    return ReportRow(words(text, tone)).wrapped(to: width, indent: indent)
  }

  private static func words(_ text: String, _ tone: ReportTone) -> [ReportWord] {
    var isCode = false
    return text.split(separator: "`", omittingEmptySubsequences: false).compactMap { part in
      defer { isCode.toggle() }
      return part.isEmpty ? nil : ReportWord(String(part), isCode ? .code : tone)
    }
  }

  // MARK: as data

  static func json(_ view: LessonView) -> JSONValue {
    let run = view.run
    return .members(
      ("lesson", .string(run.lesson.name)), ("step", .number(UInt64(run.index + 1))),
      ("steps", .number(UInt64(run.lesson.steps.count))), ("title", .string(run.step.title)),
      ("stage", .string(stage(run.stage))), ("question", run.step.question.map { .string($0.text) } ?? .null),
      ("right", verdict(run.stage).map { .bool($0.isRight) } ?? .null),
      ("answer", verdict(run.stage).map { .string($0.right) } ?? .null),
      ("happened", .strings(verdict(run.stage)?.happened ?? [])), ("inPlace", .bool(view.isInPlace)),
      ("complaint", view.complaint.map { .string($0) } ?? .null), ("rightCount", .number(UInt64(run.rightCount))))
  }

  private static func stage(_ stage: LessonRun.Stage) -> String {
    switch stage {
    case .reading: "reading"
    case .asking: "asking"
    case .answered: "answered"
    case .finished: "finished"
    }
  }

  private static func verdict(_ stage: LessonRun.Stage) -> LessonVerdict? {
    if case .answered(let verdict) = stage { verdict } else { nil }
  }
}
