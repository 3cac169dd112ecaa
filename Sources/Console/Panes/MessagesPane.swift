import Session
import TerminalUI

/// Commands, their answers, errors and what the session says of its own accord.
package final class MessagesPane: ListPane {
  package init() { super.init(.messages, followsEnd: true) }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    // It is drawn before the rows, whose place it tells.
    pinLongAnswer(snapshot)
    if pinned != nil { return "Log: the answer begins here (0 PgDn goes on, End to its end)" }
    return counted(snapshot)
  }

  private func counted(_ snapshot: SessionSnapshot) -> String {
    snapshot.droppedEvents == 0 ? "Log" : "Log (\(Format.grouped(snapshot.droppedEvents)) events not shown)"
  }

  private struct Line {
    var identity: UInt64
    var kind: ConsoleMessage.Kind
    var text: String
  }
  private var width = 80
  /// Rows it had when it was drawn last.
  private var height = Int.max

  package override func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool) {
    if width != canvas.width { known = nil }
    width = canvas.width
    height = canvas.height
    pinLongAnswer(snapshot)
    super.render(snapshot, on: canvas, focused: focused)
  }

  /// An answer of more rows than there are is read from its beginning; once for each command, and until more is said.
  private func pinLongAnswer(_ snapshot: SessionSnapshot) {
    guard let command = snapshot.messages.lastIndex(where: { $0.kind == .command }) else { return }
    let answer = snapshot.messages[(command + 1)...]
    guard answer.allSatisfy({ $0.kind == .answer }) else { return pinned = nil }
    let number = snapshot.messages[command].number
    guard number != pinnedCommand else { return }
    pinned = nil
    let rows = identities(snapshot)
    guard let first = rows.firstIndex(where: { $0 >> 16 == number }), rows.count - first > height else { return }
    (pinned, pinnedCommand) = (rows[first], number)
    select(nil)
  }
  private var pinnedCommand: UInt64?

  /// A message is a line or more: identities are its number with the line's place behind it.
  private func lines(_ snapshot: SessionSnapshot) -> [Line] {
    if let known, known.generation == snapshot.generation { return known.lines }
    var lines: [Line] = []
    for message in snapshot.messages {
      let texts = message.text.split(separator: "\n", omittingEmptySubsequences: false)
      for (place, text) in texts.flatMap({ Self.folded($0, width: width - 2) }).enumerated() {
        let identity = message.number &<< 16 | UInt64(min(place, 0xFFFF))
        lines.append(Line(identity: identity, kind: message.kind, text: text))
      }
    }
    known = (snapshot.generation, lines)
    return lines
  }

  /// A line in rows of at most `width`; those after the first stand a little to the right of it.
  private static func folded(_ text: Substring, width: Int) -> [String] {
    guard text.utf8.count > width else { return [String(text)] }
    let indent = min(text.prefix { $0 == " " }.count, width / 2)
    let rows = Format.wrap(String(text.dropFirst(indent)), width: max(width - indent - 2, 8))
    return rows.enumerated().map { String(repeating: " ", count: indent + ($0 > 0 ? 2 : 0)) + $1 }
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
    lines(snapshot)[index].text
  }
}
