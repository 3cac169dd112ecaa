import Session
import TerminalUI

/// Commands, their answers, errors and what the session says of its own accord.
package final class MessagesPane: ListPane {
  package init() { super.init(.messages, followsEnd: true) }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    snapshot.droppedEvents == 0 ? "Log" : "Log (\(Format.grouped(snapshot.droppedEvents)) events not shown)"
  }

  private struct Line {
    var identity: UInt64
    var kind: ConsoleMessage.Kind
    var text: Substring
  }

  /// A message is a line or more: identities are its number with the line's place behind it.
  private func lines(_ snapshot: SessionSnapshot) -> [Line] {
    if let known, known.generation == snapshot.generation { return known.lines }
    var lines: [Line] = []
    for message in snapshot.messages {
      for (place, text) in message.text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
        let identity = message.number &<< 16 | UInt64(min(place, 0xFFFF))
        lines.append(Line(identity: identity, kind: message.kind, text: text))
      }
    }
    known = (snapshot.generation, lines)
    return lines
  }
  private var known: (generation: UInt64, lines: [Line])?

  package override func identities(_ snapshot: SessionSnapshot) -> [UInt64] { lines(snapshot).map(\.identity) }

  package override func drawRow(
    _ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, y: Int, surface: StyleRole
  ) {
    let line = lines(snapshot)[index]
    let role: StyleRole =
      switch line.kind {
      case .command: .prompt
      case .answer: .text
      case .error: .error
      case .notice: .notice
      }
    canvas.fitted((line.kind == .command ? "> " : "  ") + line.text, x: 0, y: y, role)
  }

  package override func rowText(_ index: Int, _ snapshot: SessionSnapshot) -> String {
    String(lines(snapshot)[index].text)
  }
}
