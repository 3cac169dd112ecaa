/// A piece of an expression and where it stands.
struct ExpressionToken: Equatable {
  enum Kind: Equatable {
    case number(UInt64)
    case name
    case symbol
    case end
  }
  var kind: Kind
  /// As written.
  var text: String
  /// From 1.
  var column: Int
}

/// Cuts an expression into numbers, names and operators.
struct ExpressionLexer {
  private let characters: [Character]
  private var position = 0
  private static let pairs: Set<String> = ["<<", ">>", "&&", "||", "==", "!=", "<=", ">="]
  private static let singles: Set<Character> = Set("+-*/%&|^~!<>()[]{}:=")

  private init(_ text: String) { characters = Array(text) }

  /// Every token of `text`, `end` last.
  static func tokens(of text: String) throws(ExpressionError) -> [ExpressionToken] {
    guard text.utf8.count <= Expression.maximumLength else {
      throw ExpressionError(column: 1, message: "an expression has at most \(Expression.maximumLength) characters")
    }
    var lexer = ExpressionLexer(text)
    var tokens: [ExpressionToken] = []
    while let token = try lexer.next() { tokens.append(token) }
    tokens.append(ExpressionToken(kind: .end, text: "", column: lexer.characters.count + 1))
    return tokens
  }

  private mutating func next() throws(ExpressionError) -> ExpressionToken? {
    while position < characters.count, characters[position].isWhitespace { position += 1 }
    guard position < characters.count else { return nil }
    let start = position
    let first = characters[position]
    if first == "'" { return try character() }
    if first.isASCII, first.isNumber { return try number() }
    if Self.startsName(first) {
      while position < characters.count, position == start || Self.continuesName(characters[position]) {
        position += 1
      }
      return ExpressionToken(kind: .name, text: String(characters[start..<position]), column: start + 1)
    }
    let pair = String(characters[start..<min(start + 2, characters.count)])
    if Self.pairs.contains(pair) {
      position += 2
      return ExpressionToken(kind: .symbol, text: pair, column: start + 1)
    }
    guard Self.singles.contains(first) else {
      throw ExpressionError(column: start + 1, message: "'\(first)' has no meaning in an expression")
    }
    position += 1
    return ExpressionToken(kind: .symbol, text: String(first), column: start + 1)
  }

  private static func startsName(_ c: Character) -> Bool { c.isLetter || c == "_" || c == "$" || c == "." || c == "@" }
  private static func continuesName(_ c: Character) -> Bool { startsName(c) || c.isNumber }

  private mutating func number() throws(ExpressionError) -> ExpressionToken {
    let start = position
    while position < characters.count,
      characters[position].isLetter || characters[position].isNumber
        || characters[position] == "_"
    {
      position += 1
    }
    let text = String(characters[start..<position])
    guard let value = Self.value(of: text) else {
      let why = Self.isTooLarge(text) ? "does not fit into 64 bits" : "is not a number: 10, 0x1f, 1fh and 0b101 are"
      throw ExpressionError(column: start + 1, message: "'\(ExpressionError.brief(text))' \(why)")
    }
    return ExpressionToken(kind: .number(value), text: text, column: start + 1)
  }

  /// 0x hex, 0b binary, trailing h hex, decimal, and hex where letters leave no doubt.
  static func value(of text: String) -> UInt64? {
    let lower = text.lowercased().filter { $0 != "_" }
    if lower.hasPrefix("0x") { return digits(lower.dropFirst(2), radix: 16) }
    if lower.hasSuffix("h") { return digits(lower.dropLast(), radix: 16) }
    if lower.hasPrefix("0b"), let value = digits(lower.dropFirst(2), radix: 2) { return value }
    return digits(lower[...], radix: 10)
      ?? digits(lower[...], radix: 16).flatMap { value in
        lower.contains { $0.isLetter } ? value : nil
      }
  }

  /// Digits of a number, only too many of them.
  private static func isTooLarge(_ text: String) -> Bool {
    let lower = text.lowercased().filter { $0 != "_" }
    let digits = lower.hasPrefix("0x") ? lower.dropFirst(2) : lower.hasSuffix("h") ? lower.dropLast() : lower[...]
    return digits.count > 16 && digits.allSatisfy(\.isHexDigit)
  }

  /// `UInt64(_:radix:)` without its tolerance for signs.
  static func digits(_ text: Substring, radix: Int) -> UInt64? {
    guard let first = text.first, first.isHexDigit else { return nil }
    return UInt64(text, radix: radix)
  }

  private mutating func character() throws(ExpressionError) -> ExpressionToken {
    let start = position
    let escapes: [Character: UInt64] = ["n": 10, "r": 13, "t": 9, "0": 0, "\\": 92, "'": 39, "e": 27]
    var rest = characters[(start + 1)...].prefix(3)
    var value: UInt64?
    if rest.first == "\\" {
      rest = rest.dropFirst()
      value = rest.first.flatMap { escapes[$0] }
    } else if let first = rest.first, first != "'", first.unicodeScalars.count == 1 {
      value = first.unicodeScalars.first.map { UInt64($0.value) }
    }
    rest = rest.dropFirst()
    guard let value, rest.first == "'" else {
      throw ExpressionError(column: start + 1, message: "expected one character between quotes, as 'K' or '\\n'")
    }
    position = rest.startIndex + 1
    return ExpressionToken(kind: .number(value), text: String(characters[start..<position]), column: start + 1)
  }
}
