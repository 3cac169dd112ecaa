import Glibc
import Session
import Testing
import VMCore

/// Broken and hostile lesson files: one clear line, and nothing happens to anybody.
struct LessonFileTests {
  /// A lesson in a file of its own.
  static func load(_ text: String) throws -> Lesson {
    let path = "/tmp/ringside-lesson-\(getpid())-\(UInt.random(in: 0..<UInt.max)).lesson"
    #expect(HostFile.write(text, to: path))
    defer { unlink(path) }
    return try LessonLibrary.lesson(path)
  }

  static let head = "# T\n@guest rings\n\n## One\nText.\n"

  struct Fault: Sendable, CustomTestStringConvertible {
    var text: String
    var words: String
    var testDescription: String { words }
    init(_ text: String, _ words: String) { (self.text, self.words) = (text, words) }
    /// Behind a head that is good, from line 6 on.
    init(more text: String, _ words: String) { self.init(LessonFileTests.head + text, words) }
  }

  static let faults: [Fault] = [
    Fault("Text\n", ":1: '# TITLE'"), Fault("# T\n## One\n", ":1: '@guest SAMPLE' is missing"), Fault("# T\n@guest x\n", "there are no steps"),
    Fault("# T\n@gest x\n", ":2: '@gest' is unknown; did you mean '@guest'?"), Fault(more: "@rnu step\n", ":6: '@rnu' is unknown; did you mean '@run'?"),
    Fault(more: "@run stepp\n", ":6: 'stepp'"), Fault(more: "@run\n", ":6: '@run' is empty"), Fault(more: "@show cod\n", ":6: 'cod' is no pane; did you mean 'code'?"),
    Fault(more: "@mark x\n", ":4: '@mark' needs the pane"), Fault(more: "@ask Why?\n", ":6: the question has no answer"),
    Fault(more: "@ask Why?\n@choice a\n", ":7: '@choice TEXT :: CONDITION'"), Fault(more: "@choice a :: 1\n", ":6: '@choice' belongs behind '@ask'"),
    Fault(more: "@ask W?\n@choice a :: exit cpiud\n", ":7: 'cpiud' is no exit reason; did you mean 'cpuid'?"),
    Fault(more: "@ask W?\n@choice a :: exits == many\n", ":7: a comparison as"), Fault(more: "@ask W?\n@choice a :: 1\n", ":6: the question has no answer"),
    Fault(more: "@ask W?\n@goal vmcs no-such-bit on\n", ":7: 'vmcs BIT on'"), Fault(more: "@ask W?\n@ask W?\n", ":7: a step asks once"),
    Fault("# T\n@guest x\n@technique xen\n", ":3: 'xen': hvm, rewrite or pv"), Fault("# T\n@guest x\n@minutes 0\n", ":3: '0': a number from 1 to 60"),
    Fault("# T\n@guest x\n@engine kvm\n", ":3: 'kvm': interpreter or rewriter"), Fault(more: "\u{1B}[2J\n", ":6: a control character"),
    Fault(more: String(repeating: "x", count: 3000), ":6: a line of more than"), Fault(more: "\u{202E}abc\n", ":6: a control character"),
  ]

  @Test("what is wrong is said in one line with its number", arguments: faults)
  func broken(_ fault: Fault) {
    let error = #expect(throws: VMError.self) { try Self.load(fault.text) }
    #expect(error?.message.contains(fault.words) == true, "\(error?.message ?? "")")
    #expect(error?.message.contains("\n") == false)
  }

  @Test("commands that reach the host's files, or hide, are not for lessons", arguments: [
    "source /etc/passwd", "trace start /tmp/x", "trace export /tmp/x", "symbol-file /etc/passwd", "quit", "alias s quit",
    "snap save x", "lesson next", "break main do \"trace start /tmp/x\"", "theme x", "digest",
  ])
  func hostileCommands(_ command: String) {
    #expect(throws: VMError.self) { try Self.load(Self.head + "@run \(command)\n") }
    #expect(throws: VMError.self) { try Self.load(Self.head + "@ask W?\n@choice a :: 1\n@choice b :: 0\n@then \(command)\n") }
  }

  @Test func `an expression about what the guest has not is found before the first step`() throws {
    let lesson = try Self.load("# T\n@guest hello-real\n\n## One\nText.\n@expect no_such_symbol == 1\n")
    let error = #expect(throws: VMError.self) { try Session(lesson: lesson, lesson.configuration) }
    #expect(error?.message.contains(":4: ") == true && error?.message.contains("no_such_symbol") == true)
  }

  @Test func `a step that does not come where it should says so, and the lesson goes on`() throws {
    let lesson = try Self.load(
      "# T\n@guest hello-real\n\n## One\nText.\n@run step\n@expect pc == 0\n\n## Two\nText.\n@run until 0x12345\n\n## Three\nText.\n@run reset\n")
    let session = try Session(lesson: lesson, lesson.configuration)
    #expect(session.currentSnapshot().lesson?.complaint?.contains("not where this step expects it") == true)
    _ = session.perform("lesson next")
    _ = session.perform("lesson next")
    #expect(session.currentSnapshot().lesson?.run.index == 2)
    #expect(session.currentSnapshot().lesson?.complaint == nil)
  }

  @Test func `random bytes and random lines never make a lesson that harms`() {
    var seed: UInt64 = 7
    func next(_ limit: Int) -> Int {
      seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(seed >> 33) % limit
    }
    let pieces = [
      "# T", "## S", "@guest hello-real", "@run step", "@ask Q", "@choice a :: 1", "@choice b :: exit none", "@answer exits", "@goal ended",
      "@why x", "@then step", "@hint h", "@show code", "@mark x", "text `code", "    row", "", "@", "@ ", "##", "-- c", "@expect (((", "\u{0}",
    ]
    for _ in 0..<300 {
      let text = (0..<next(30)).map { _ in pieces[next(pieces.count)] }.joined(separator: "\n")
      guard let lesson = try? Self.load(text), let session = try? Session(lesson: lesson, lesson.configuration) else { continue }
      for word in ["next", "answer 1", "hint", "back", "next", "next", "done", "sync"] { _ = session.perform("lesson \(word)") }
    }
  }
}
