import Debugger
import VMCore

/// `lesson`: a lesson under way, as the keys of its pane drive it.
enum LessonCommands {
  private static let words = ["next", "back", "answer", "hint", "done", "sync", "step", "leave"]

  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["lesson"], .session, arguments: "[next | back | answer TEXT | done | hint | sync | step N | leave]",
      help: "the lesson under way: show it, go on, answer, bring the guest back to it (the console begins one by its name)",
      completion: .each([.words(words), .words(ExitReason.shownNames + ["none"])])
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      guard let word = scanner.takeWord() else {
        guard core.lessonSeat != nil else { throw core.noLesson }
        return core.lessonStatus
      }
      let rest = scanner.remainder
      switch word {
      case "next": return try core.teach { $0.next() }
      case "back": return try core.teach { $0.back() }
      case "answer": return try core.teach { $0.answer(rest) }
      case "done": return try core.teachDone()
      case "hint": return try core.teach { $0.hint() }
      case "sync": return try core.teach { $0.go(to: $0.index) }
      case "step":
        guard let number = Int(rest) else { throw scanner.fail(rest, "the number of a step was expected") }
        return try core.teach { $0.go(to: number - 1) }
      case "leave":
        core.lessonSeat = nil
        return CommandResult("the lesson is left; the guest stays as it is")
      default:
        let nearest = NearestName.find(word, in: words)
        throw core.lessonSeat == nil ? core.noLesson : scanner.fail(word, "not a word of lessons", nearest: nearest)
      }
    }
  ]
}
