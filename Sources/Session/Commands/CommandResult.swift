import Debugger

/// What a command answered: text for a person and the same data for a program.
package struct CommandResult: Equatable, Sendable {
  private enum Content: Sendable {
    case ready(lines: [String], json: JSONValue)
    case deferred(@Sendable () -> (lines: [String], json: JSONValue))
  }
  private let content: Content
  /// The command could not be carried out; `lines` says why.
  package let failed: Bool

  package init(_ lines: [String], json: JSONValue? = nil, failed: Bool = false) {
    content = .ready(lines: lines, json: json ?? .strings(lines))
    self.failed = failed
  }
  package init(_ line: String, json: JSONValue? = nil) { self.init([line], json: json) }
  package static let silent = CommandResult([], json: .null)

  /// An answer put into words when somebody reads it: most single steps of a script are never looked at.
  /// `words` must hold all it needs, since the guest may have gone on by then.
  init(deferred words: @escaping @Sendable () -> (lines: [String], json: JSONValue)) {
    content = .deferred(words)
    failed = false
  }

  private var words: (lines: [String], json: JSONValue) {
    switch content {
    case .ready(let lines, let json): (lines, json)
    case .deferred(let words): words()
    }
  }
  package var lines: [String] { words.lines }
  package var json: JSONValue { words.json }

  package static func == (a: CommandResult, b: CommandResult) -> Bool {
    let (left, right) = (a.words, b.words)
    return a.failed == b.failed && left.lines == right.lines && left.json == right.json
  }
}

/// What the person got wrong: what was typed, what was expected, and the nearest thing that exists.
package struct CommandError: Error, Equatable, Sendable {
  package var typed: String
  package var expected: String
  /// The nearest match, or nil where nothing is near.
  package var nearest: String?
  /// How the command is used, or nil where the command itself is unknown.
  package var usage: String?

  package init(typed: String, expected: String, nearest: String? = nil, usage: String? = nil) {
    self.typed = typed
    self.expected = expected
    self.nearest = nearest
    self.usage = usage
  }

  /// One or two lines: the fault and the nearest match, then the usage.
  package var lines: [String] {
    var first = typed.isEmpty || expected.hasPrefix("\(typed):") ? expected : "'\(ExpressionError.brief(typed))': \(expected)"
    if let nearest {
      // After a long list nobody sees it.
      let isLong = expected.count > 60
      first = isLong ? "'\(ExpressionError.brief(typed))': did you mean '\(nearest)'? \(expected)" : "\(first); did you mean '\(nearest)'?"
    }
    return usage.map { [first, "usage: \($0)"] } ?? [first]
  }

  package var result: CommandResult {
    CommandResult(
      lines,
      json: .members(
        ("error", .string(expected)), ("typed", .string(typed)), ("nearest", nearest.map { .string($0) } ?? .null),
        ("usage", usage.map { .string($0) } ?? .null)), failed: true)
  }
}
