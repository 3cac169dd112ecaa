import Debugger
import Session
import TerminalUI

/// A lesson's page. Its keys go on, back, answer and help; all others stay what they are, so the guest can be
/// driven from here.
package final class LessonPane: Pane {
  package let id = PaneID.lesson
  private var top = 0
  /// Rows there were, and rows of them seen, when it was drawn last.
  private var rowCount = 0
  private var visible = 1
  private var known: LessonView?

  private static let widest = 110

  package init() {}

  package func title(_ snapshot: SessionSnapshot) -> String { snapshot.lesson?.title ?? "Lesson" }

  /// While it shows choices, or asks for a number, digits are answers. Where a choice was made, another is a second try
  /// and does not lead away from the page.
  package func takesDigit(_ digit: Int, _ snapshot: SessionSnapshot) -> Bool {
    choiceCount(snapshot) > 0 || asksForNumber(snapshot) || isAnswered(snapshot, by: digit)
  }

  private func isAnswered(_ snapshot: SessionSnapshot, by digit: Int) -> Bool {
    guard let run = snapshot.lesson?.run, case .answered = run.stage, case .choices(let choices)? = run.step.question?.kind else { return false }
    return choices.indices.contains(digit - 1)
  }

  private func asksForNumber(_ snapshot: SessionSnapshot) -> Bool {
    guard let run = snapshot.lesson?.run, run.stage == .asking, case .number? = run.step.question?.kind else { return false }
    return true
  }

  private func choiceCount(_ snapshot: SessionSnapshot) -> Int {
    guard let run = snapshot.lesson?.run, run.stage == .asking, case .choices(let choices)? = run.step.question?.kind else { return 0 }
    return choices.count
  }

  package func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool) {
    guard let view = snapshot.lesson else { return }
    let rows = LessonReport.rows(view, width: min(canvas.width - 2, Self.widest))
    if known?.run.index != view.run.index || known?.run.stage != view.run.stage { top = 0 }
    let hintsBefore = known?.run.hintCount ?? 0
    known = view
    let hasKeys = canvas.height >= 5
    (rowCount, visible) = (rows.count, max(canvas.height - (hasKeys ? 1 : 0), 1))
    if view.run.hintCount > hintsBefore { top = rowCount }
    top = min(max(top, 0), max(rowCount - visible, 0))
    for (y, row) in rows.dropFirst(top).prefix(visible).enumerated() { canvas.draw(row, x: 1, y: y) }
    if hasKeys { drawKeys(view, canvas, y: canvas.height - 1, focused) }
  }

  private func drawKeys(_ view: LessonView, _ canvas: Canvas, y: Int, _ focused: Bool) {
    var entries = hasMore ? [("Enter", "reads on")] : [("Enter", enterWord(view.run))]
    if !focused { entries = [("l", "has the keys")] + entries }
    if view.run.stage == .asking {
      entries += answerKeys(view.run)
      if view.run.hintCount < view.run.step.question?.hints.count ?? 0 { entries.append(("h", "hint")) }
    }
    if view.run.index > 0 || view.run.stage != .reading { entries.append(("p", "back")) }
    if !view.isInPlace || view.complaint != nil { entries.append(("r", "to the lesson")) }
    entries.append(("q", "leaves the lesson"))
    var x = 1
    for (key, word) in entries where x + key.utf8.count + 1 + word.utf8.count < canvas.width {
      x = canvas.text(key, x: x, y: y, .helpKey)
      x = canvas.text(word, x: x + 1, y: y, .help) + 2
    }
  }

  private func enterWord(_ run: LessonRun) -> String {
    switch run.stage {
    case .asking: if case .deed? = run.step.question?.kind { "does it for you" } else { "shows the answer" }
    case .finished: "is the end"
    default: "goes on"
    }
  }

  private func answerKeys(_ run: LessonRun) -> [(String, String)] {
    switch run.step.question?.kind {
    case .choices(let choices)?: [("1-\(choices.count)", "answer")]
    case .number?, .reason?: [("a", "answer")]
    case .deed?: [("d", "done")]
    case nil: []
    }
  }

  private var hasMore: Bool { top + visible < rowCount }

  package func handle(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard let view = snapshot.lesson, key.modifiers.isEmpty else { return .ignored }
    if let response = move(key.code) { return response }
    if key.code == .enter {
      guard hasMore else { return .perform("lesson next") }
      scroll(max(visible - 1, 1), snapshot)
      return .handled
    }
    guard let typed = key.typed else { return .ignored }
    return typed.properties.numericType == .decimal ? answer(String(typed), snapshot) : letter(typed, view)
  }

  private func move(_ code: KeyCode) -> PaneResponse? {
    switch code {
    case .up: top -= 1
    case .down: top += 1
    case .pageUp: top -= visible
    case .pageDown: top += visible
    case .home: top = 0
    case .end: top = rowCount
    default: return nil
    }
    top = min(max(top, 0), max(rowCount - visible, 0))
    return .handled
  }

  private func answer(_ digit: String, _ snapshot: SessionSnapshot) -> PaneResponse {
    if asksForNumber(snapshot) { return .typeCommand("lesson answer \(digit)") }
    if let number = Int(digit), isAnswered(snapshot, by: number) { return .say("this is answered: Enter goes on, p asks again") }
    guard let number = Int(digit), (1...max(choiceCount(snapshot), 1)).contains(number) else {
      return .say("there are answers from 1 to \(choiceCount(snapshot))")
    }
    return .perform("lesson answer \(number)")
  }

  private func letter(_ letter: Unicode.Scalar, _ view: LessonView) -> PaneResponse {
    switch letter {
    case "n": return .perform("lesson next")
    case "p": return .perform("lesson back")
    case "h": return .perform("lesson hint")
    case "r": return .perform("lesson sync")
    case "q": return .leaveLesson
    case "a" where view.run.stage == .asking: return .typeCommand("lesson answer ")
    case "d" where view.run.stage == .asking: return .perform("lesson done")
    default: return .ignored
    }
  }

  package func scroll(_ rows: Int, _ snapshot: SessionSnapshot) { top = min(max(top + rows, 0), max(rowCount - visible, 0)) }
}
