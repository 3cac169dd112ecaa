import TerminalUI
import Testing

struct LineEditorTests {
  private func typed(_ text: String, _ keys: [Key] = [], history: [String] = []) -> LineEditor {
    var editor = LineEditor(history: history)
    for scalar in text.unicodeScalars { _ = editor.handle(Key(scalar)) }
    for key in keys { _ = editor.handle(key) }
    return editor
  }

  static let edits: [(String, [Key], String, Int)] = [
    ("abc", [], "abc", 3),
    ("abc", [Key(.left), Key("x")], "abxc", 3),
    ("abc", [Key(.home), Key("x")], "xabc", 1),
    ("abc", [.control("a"), .control("k")], "", 0),
    ("abc def", [.control("w")], "abc ", 4),
    ("abc def", [.control("w"), .control("y"), .control("y")], "abc defdef", 10),
    ("abc def", [.control("u")], "", 0),
    ("abc def", [.alt("b"), .alt("b"), .alt("d")], " def", 0),
    ("abc", [Key(.left), Key(.backspace)], "ac", 1),
    ("abc", [Key(.left), Key(.delete)], "ab", 2),
    ("abc", [.control("b"), .control("d")], "ab", 2),
    ("ab", [.control("t")], "ba", 2),
    ("naïve 漢字", [Key(.backspace)], "naïve 漢", 7),
    ("e\u{301}x", [Key(.left), Key(.left), Key(.delete)], "x", 0),
    ("a.b", [Key(.left, .control)], "a.b", 2),
    ("", [Key(.backspace), Key(.delete), .control("k"), .control("t"), .control("w")], "", 0),
  ]

  @Test("editing keys do what readline's do", arguments: edits)
  func editing(_ start: String, _ keys: [Key], _ text: String, _ cursor: Int) {
    let editor = typed(start, keys)
    #expect(editor.text == text)
    #expect(editor.cursor == cursor)
  }

  @Test func `history goes up and comes back to what was being typed`() {
    var editor = typed("dra", history: ["one", "two"])
    _ = editor.handle(Key(.up))
    #expect(editor.text == "two")
    _ = editor.handle(Key(.up))
    _ = editor.handle(Key(.up))
    #expect(editor.text == "one")
    _ = editor.handle(Key(.down))
    _ = editor.handle(.control("n"))
    #expect(editor.text == "dra")
  }

  @Test func `Enter submits and empties, Escape cancels and empties`() {
    var editor = typed("step 3")
    #expect(editor.handle(Key(.enter)) == .submitted("step 3"))
    #expect(editor.text.isEmpty)
    editor = typed("step 3")
    #expect(editor.handle(Key(.escape)) == .cancelled)
    #expect(editor.text.isEmpty)
  }

  @Test func `a line is remembered once and the history is bounded`() {
    var editor = LineEditor()
    editor.remember("a")
    editor.remember("a")
    #expect(editor.history == ["a"])
    for number in 0..<2000 { editor.remember("\(number)") }
    #expect(editor.history.count == LineEditor.longestHistory)
    #expect(editor.history.last == "1999")
  }

  @Test func `completion takes what candidates have in common`() {
    var editor = typed("break ker")
    #expect(editor.complete(["kernel_main", "kernel_exit"]) == ["kernel_main", "kernel_exit"])
    #expect(editor.text == "break kernel_")
    #expect(editor.complete(["kernel_main"]).isEmpty)
    #expect(editor.text == "break kernel_main ")
  }

  @Test func `completion of a folder leaves the cursor behind the slash`() {
    var editor = typed("source /et")
    #expect(editor.complete(["/etc/"]).isEmpty)
    #expect(editor.text == "source /etc/")
  }

  @Test func `the window follows the cursor in a long line`() {
    let editor = typed(String(repeating: "0123456789", count: 5))
    let window = editor.window(width: 20)
    #expect(window.cursor < 20)
    #expect(window.text.hasSuffix("9"))
  }

  @Test func `pasted control characters do not get into a line`() {
    var editor = LineEditor()
    editor.insert("a\nb\u{1B}[31mc")
    #expect(editor.text == "ab[31mc")
  }

  @Test func `100,000 random keys keep the cursor inside the line`() {
    var generator = Seeded(state: 3)
    var editor = LineEditor(history: ["x y z", "漢字 e\u{301}"])
    let keys: [Key] =
      [.left, .right, .up, .down, .home, .end, .backspace, .delete].map { Key($0) }
      + "abdefhkuwytpn".unicodeScalars.map { Key.control($0) } + "bfd".unicodeScalars.map { Key.alt($0) }
      + "ab .漢\u{301}".unicodeScalars.map { Key($0) }
    for _ in 0..<100_000 {
      if let key = keys.randomElement(using: &generator) { _ = editor.handle(key) }
      if editor.cursor < 0 || editor.cursor > editor.characters.count || editor.characters.count > 5000 {
        Issue.record("cursor \(editor.cursor) of \(editor.characters.count)")
        break
      }
      if editor.characters.count > 100 { editor.set("") }
    }
  }
}
