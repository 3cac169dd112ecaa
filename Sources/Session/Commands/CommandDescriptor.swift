import Debugger

/// What a word of a command can be completed with.
package enum CompletionKind: Equatable, Sendable {
  case none, command, register, symbol, reason, hypercall, file
  /// Registers and symbols.
  case expression
  /// The same, and what a condition may ask of an event.
  case fields
  /// What may follow a breakpoint's cause.
  case options
  /// Names of the explain catalogue, and symbols.
  case explanation
  case words([String])
  /// One kind for each argument in turn, the last for all further ones.
  indirect case each([CompletionKind])
  /// What a breakpoint waits for, then its options.
  indirect case condition(CompletionKind)
  /// The topics of `info`, then what a topic takes.
  case topic

  /// The first argument is of this kind.
  func begins(with kind: CompletionKind) -> Bool {
    switch self {
    case .each(let kinds): kinds.first == kind
    case .condition(let first): first == kind
    default: self == kind
    }
  }
}

/// One command: everything that completion, help, the key sheet and the dispatcher need to know of it.
package struct CommandDescriptor: Sendable {
  package enum Group: String, CaseIterable, Sendable {
    case running, stopping, looking, changing, recording, session
  }
  /// The name, then its aliases (gdb's first, then Bochs', QEMU's and WinDbg's where they do not clash).
  package var names: [String]
  package var group: Group
  /// Keys of the console that do the same, as the key sheet shows them.
  package var keys: [String]
  /// `ADDR [if E] [hits N]`
  package var arguments: String
  /// One line.
  package var help: String
  /// May be carried out while the guest runs.
  package var whileRunning: Bool
  /// Lets the guest run.
  package var runsGuest: Bool
  package var completion: CompletionKind
  var action: @Sendable (SessionCore, CommandArguments) throws(CommandError) -> CommandResult

  init(
    _ names: [String], _ group: Group, keys: [String] = [], arguments: String = "", help: String,
    whileRunning: Bool = false, runsGuest: Bool = false, completion: CompletionKind = .none,
    action: @escaping @Sendable (SessionCore, CommandArguments) throws(CommandError) -> CommandResult
  ) {
    self.names = names
    self.group = group
    self.keys = keys
    self.arguments = arguments
    self.help = help
    self.whileRunning = whileRunning
    self.runsGuest = runsGuest
    self.completion = completion
    self.action = action
  }

  package var name: String { names[0] }
  package var usage: String { arguments.isEmpty ? name : "\(name) \(arguments)" }

  /// Why it cannot be carried out in this phase, or nil.
  package func whyDisabled(in phase: SessionPhase) -> String? {
    switch phase {
    case .running, .idle: whileRunning ? nil : "the guest is running; pause first (Space)"
    case .ended: runsGuest ? "the guest has ended; 'reset' starts it again" : nil
    case .created, .paused: nil
    }
  }
}

/// A command as typed, taken apart as far as all commands have it in common.
struct CommandArguments {
  /// The word it was called by.
  var name: String
  /// A count before the name: `10e`.
  var count: UInt64?
  /// What stood after a slash at the name: `8xb` of `x/8xb`.
  var format: String
  /// Everything after the name.
  var rest: String
  var usage: String

  var scanner: ArgumentScanner { ArgumentScanner(rest, usage: usage) }
}

/// Reads a command's arguments word by word.
struct ArgumentScanner {
  private var rest: Substring
  let usage: String

  init(_ text: String, usage: String) {
    rest = Substring(text)
    self.usage = usage
    skipSpace()
  }

  private mutating func skipSpace() { rest = rest.drop { $0 == " " || $0 == "\t" } }
  var isAtEnd: Bool { rest.isEmpty }
  /// What is left, as typed.
  var remainder: String { String(rest) }

  /// The next word without taking it.
  var peek: String { String(rest.prefix { $0 != " " && $0 != "\t" }) }

  mutating func takeWord() -> String? {
    let word = peek
    guard !word.isEmpty else { return nil }
    rest = rest.dropFirst(word.count)
    skipSpace()
    return word
  }

  /// Takes everything before the next such character, and the character; nil, and nothing, where there is none.
  mutating func takeUpTo(_ separator: Character) -> String? {
    guard let end = rest.firstIndex(of: separator) else { return nil }
    defer {
      rest = rest[rest.index(after: end)...]
      skipSpace()
    }
    return String(rest[..<end])
  }

  /// Takes these characters if they come next.
  mutating func take(prefix: String) -> Bool {
    guard rest.hasPrefix(prefix) else { return false }
    rest = rest.dropFirst(prefix.count)
    skipSpace()
    return true
  }

  /// Takes the next word if it is `word`, in any case.
  mutating func take(_ word: String) -> Bool {
    guard peek.lowercased() == word else { return false }
    _ = takeWord()
    return true
  }

  /// A word, or a text in double quotes with `\"`, `\\`, `\n`, `\r`, `\t`, `\xHH`; nil at the end.
  mutating func takeText() throws(CommandError) -> String? {
    guard rest.first == "\"" else { return takeWord() }
    var result = ""
    var index = rest.index(after: rest.startIndex)
    while index < rest.endIndex, rest[index] != "\"" {
      if rest[index] == "\\", let (character, next) = Self.escape(rest, index) {
        result.append(character)
        index = next
      } else {
        result.append(rest[index])
        index = rest.index(after: index)
      }
    }
    guard index < rest.endIndex else {
      throw CommandError(typed: String(rest), expected: "a closing quote is missing", usage: usage)
    }
    rest = rest[rest.index(after: index)...]
    skipSpace()
    return result
  }

  private static func escape(_ text: Substring, _ at: Substring.Index) -> (Character, Substring.Index)? {
    let next = text.index(after: at)
    guard next < text.endIndex else { return nil }
    let after = text.index(after: next)
    switch text[next] {
    case "n": return ("\n", after)
    case "r": return ("\r", after)
    case "t": return ("\t", after)
    case "e": return ("\u{1B}", after)
    case "\"", "\\": return (text[next], after)
    case "x":
      let digits = text[after...].prefix(2)
      guard digits.count == 2, let value = UInt8(digits, radix: 16) else { return nil }
      return (Character(UnicodeScalar(value)), text.index(after, offsetBy: 2))
    default: return nil
    }
  }

  /// The longest expression here.
  mutating func takeExpression(_ scope: ExpressionScope, what: String) throws(CommandError) -> Expression {
    guard !isAtEnd else { throw CommandError(typed: "", expected: "\(what) is missing", usage: usage) }
    guard rest.first != "\"" else { throw fail(remainder, "\(what) was expected, which a text in quotes is not") }
    do {
      // A quoted text after the expression (`do "..."`) is no part of it.
      let text = rest.prefix { $0 != "\"" }
      let length = try Expression.leading(String(text), scope: scope).length
      let taken = rest.prefix(length).reversed().drop { $0 == " " || $0 == "\t" }.reversed()
      rest = rest.dropFirst(length)
      skipSpace()
      return try Expression(String(taken), scope: scope)
    } catch {
      throw CommandError(
        typed: String(rest), expected: "\(what) expected: \(ExpressionError(column: error.column, message: error.message))",
        nearest: error.nearest, usage: usage)
    }
  }

  /// A plain number, decimal or 0x; nil (and nothing taken) if the next word is none.
  mutating func takeNumber() -> UInt64? {
    let word = peek
    let value = word.lowercased().hasPrefix("0x") ? UInt64(word.dropFirst(2), radix: 16) : UInt64(word)
    if value != nil { _ = takeWord() }
    return value
  }

  /// Takes what is left, as typed.
  mutating func takeAll() -> String {
    defer { rest = "" }
    return remainder
  }

  /// Nothing may be left.
  func end() throws(CommandError) {
    guard isAtEnd else {
      throw CommandError(typed: String(rest), expected: "nothing more was expected here", usage: usage)
    }
  }

  func fail(_ typed: String, _ expected: String, nearest: String? = nil) -> CommandError {
    CommandError(typed: typed, expected: expected, nearest: nearest, usage: usage)
  }
}
