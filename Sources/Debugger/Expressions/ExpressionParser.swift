import VMCore
import X86

/// Compiles tokens by precedence climbing. Recursion is bounded by `Expression.maximumDepth`.
struct ExpressionParser {
  private let tokens: [ExpressionToken]
  private let scope: ExpressionScope
  private var position = 0
  private var depth = 0
  private var program: [ExpressionOperation] = []

  init(_ text: String, scope: ExpressionScope) throws(ExpressionError) {
    tokens = try ExpressionLexer.tokens(of: text)
    self.scope = scope
  }

  private var token: ExpressionToken { tokens[min(position, tokens.count - 1)] }
  private func at(_ symbol: String) -> Bool { token.kind == .symbol && token.text == symbol }

  mutating func parse() throws(ExpressionError) -> [ExpressionOperation] {
    try expression(0)
    guard token.kind == .end else {
      throw ExpressionError(column: token.column, message: "expected an operator or the end, found '\(token.text)'")
    }
    return fold(program)
  }

  /// The program and the number of characters up to where the expression ended.
  mutating func parseLeading() throws(ExpressionError) -> ([ExpressionOperation], Int) {
    try expression(0)
    return (fold(program), token.column - 1)
  }

  private mutating func expression(_ minimum: Int) throws(ExpressionError) {
    try enter()
    defer { depth -= 1 }
    try unary()
    while token.kind == .symbol, let binary = BinaryOperator(rawValue: token.text), binary.precedence > minimum {
      let column = token.column
      position += 1
      switch binary {
      case .logicalAnd, .logicalOr:
        let patch = program.count
        program.append(.truth)
        try expression(binary.precedence)
        program.append(.truth)
        program[patch] = binary == .logicalAnd ? .andAlso(target: program.count) : .orElse(target: program.count)
      default:
        try expression(binary.precedence)
        program.append(.binary(binary, column: column))
      }
    }
  }

  private mutating func enter() throws(ExpressionError) {
    depth += 1
    if depth > Expression.maximumDepth {
      throw ExpressionError(column: token.column, message: "nested deeper than \(Expression.maximumDepth) levels")
    }
  }

  private mutating func unary() throws(ExpressionError) {
    try enter()
    defer { depth -= 1 }
    guard token.kind == .symbol else { return try primary() }
    let operation = token
    position += 1
    switch operation.text {
    case "-":
      try unary()
      program.append(.unary(.negate))
    case "+": try unary()
    case "~":
      try unary()
      program.append(.unary(.complement))
    case "!":
      try unary()
      program.append(.unary(.not))
    case "*":
      let pointee = takePointerCast()
      try unary()
      program.append(.load(size: pointee ?? 0, physical: false, column: operation.column))
    case "{":
      guard let size = takeType(closing: "}") else {
        throw ExpressionError(column: token.column, message: "expected a type of C's, as in {int}, found '\(token.text)'")
      }
      try unary()
      program.append(.load(size: size, physical: false, column: operation.column))
    case "&": try symbolAddress()
    case "(":
      if let size = takeType(closing: ")") { return try cast(to: size) }
      try expression(0)
      try expect(")")
    case "[": try bracketed(size: 0, physical: false, column: operation.column)
    default:
      throw ExpressionError(
        column: operation.column, message: "expected a number, register or symbol, found '\(operation.text)'")
    }
  }

  /// A number cut down to a type's bytes; a pointer stays whole.
  private mutating func cast(to size: UInt8) throws(ExpressionError) {
    try unary()
    guard size > 0, size < 8 else { return }
    program += [.push((1 << (UInt64(size) * 8)) - 1), .binary(.and, column: token.column)]
  }

  /// `(int *)` after a star: the bytes of what it points to.
  private mutating func takePointerCast() -> UInt8? {
    let start = position
    guard at("(") else { return nil }
    position += 1
    if let size = takeType(closing: "*"), at("*") || at(")") {
      var isPointer = false
      while at("*") {
        isPointer = true
        position += 1
      }
      if at(")") {
        position += 1
        return isPointer ? 0 : size
      }
    }
    position = start
    return nil
  }

  /// The words of a type of C's and what closes it: its bytes, 0 for a pointer. Takes nothing where it is none.
  private mutating func takeType(closing: String) -> UInt8? {
    let start = position
    var words: [String] = []
    while token.kind == .name {
      words.append(token.text)
      position += 1
    }
    guard var size = CType.size(of: words) else {
      position = start
      return nil
    }
    while closing != "*", at("*") {
      size = 0
      position += 1
    }
    guard at(closing) else {
      position = start
      return nil
    }
    position += 1
    return size
  }

  private mutating func bracketed(size: UInt8, physical: Bool, column: Int) throws(ExpressionError) {
    try expression(0)
    try expect("]")
    program.append(.load(size: size, physical: physical, column: column))
  }

  private mutating func expect(_ symbol: String) throws(ExpressionError) {
    guard at(symbol) else {
      let found = token.kind == .end ? "the end" : "'\(token.text)'"
      throw ExpressionError(column: token.column, message: "expected '\(symbol)', found \(found)")
    }
    position += 1
  }

  private mutating func symbolAddress() throws(ExpressionError) {
    guard token.kind == .name, let symbol = scope.symbols.symbol(named: token.text) else {
      let nearest = NearestName.find(token.text, in: scope.symbols.symbols.lazy.map(\.name))
      throw ExpressionError(
        column: token.column, message: "expected a symbol after '&', found '\(token.text)'", nearest: nearest)
    }
    position += 1
    program.append(.push(symbol.address))
  }

  private mutating func primary() throws(ExpressionError) {
    let first = token
    guard first.kind != .end else {
      throw ExpressionError(column: first.column, message: "expected a number, register or symbol, found the end")
    }
    position += 1
    if at(":") { return try segmented(first) }
    switch first.kind {
    case .number(let value): program.append(.push(plain(first.text, value)))
    default: try name(first)
    }
  }

  /// A number's value under the scope's radix.
  private func plain(_ text: String, _ value: UInt64) -> UInt64 {
    guard scope.hexadecimal else { return value }
    return ExpressionLexer.digits(text[...], radix: 16) ?? value
  }

  /// `segment:offset`, both hexadecimal where they are plain numbers.
  private mutating func segmented(_ segment: ExpressionToken) throws(ExpressionError) {
    let column = segment.column
    position += 1
    if case .segment(let name)? = RegisterNames.lookup(segment.text) {
      try offset()
      program.append(.inSegment(name))
      return
    }
    try hexadecimalOrName(segment)
    try offset()
    program.append(.segmented(column: column))
  }

  private mutating func offset() throws(ExpressionError) {
    let first = token
    switch first.kind {
    case .number, .name:
      position += 1
      try hexadecimalOrName(first)
    default: try unary()
    }
  }

  private mutating func hexadecimalOrName(_ token: ExpressionToken) throws(ExpressionError) {
    switch token.kind {
    case .number(let value): program.append(.push(ExpressionLexer.digits(token.text[...], radix: 16) ?? value))
    case .name where RegisterNames.lookup(token.text) == nil && scope.symbols.symbol(named: token.text) == nil:
      guard let value = ExpressionLexer.digits(token.text[...], radix: 16) else { return try name(token) }
      program.append(.push(value))
    default: try name(token)
    }
  }

  private static let loads: [String: (size: UInt8, physical: Bool)] = [
    "byte": (1, false), "word": (2, false), "dword": (4, false), "qword": (8, false), "pbyte": (1, true),
    "pword": (2, true), "pdword": (4, true), "pqword": (8, true),
  ]
  private static let reasons: [String: UInt64] = Dictionary(
    uniqueKeysWithValues: ExitReason.allCases.map { (String(describing: $0).lowercased(), UInt64($0.rawValue)) })

  private mutating func name(_ token: ExpressionToken) throws(ExpressionError) {
    let lower = token.text.lowercased()
    if let load = Self.loads[lower] {
      if self.token.kind == .name, self.token.text.lowercased() == "ptr" { position += 1 }
      if at("[") {
        position += 1
        return try bracketed(size: load.size, physical: load.physical, column: token.column)
      }
    }
    if scope.allowsEventFields, let field = EventField(rawValue: lower) {
      program.append(.field(field, column: token.column))
    } else if lower == "pc" || lower == "$pc" {
      program.append(.programCounter)
    } else if let register = RegisterNames.lookup(token.text) {
      program.append(.register(register))
    } else if let symbol = scope.symbols.symbol(named: token.text) {
      program.append(.push(symbol.address))
    } else if scope.hexadecimal, let value = ExpressionLexer.digits(token.text[...], radix: 16) {
      program.append(.push(value))
    } else if scope.allowsEventFields, let reason = Self.reasons[lower] {
      program.append(.push(reason))
    } else {
      throw unknown(token)
    }
  }

  private func unknown(_ token: ExpressionToken) -> ExpressionError {
    let fields = scope.allowsEventFields ? EventField.allCases.map(\.rawValue) : []
    let bare = token.text.hasPrefix("$") ? String(token.text.dropFirst()) : token.text
    let nearest =
      NearestName.find(bare, in: fields + RegisterNames.all)
      ?? NearestName.find(bare, in: scope.symbols.symbols.lazy.map(\.name))
    return ExpressionError(column: token.column, message: "unknown name '\(ExpressionError.brief(token.text))'", nearest: nearest)
  }

  /// Computes at once what depends on nothing: a program of constants becomes one push.
  private func fold(_ program: [ExpressionOperation]) -> [ExpressionOperation] {
    let constant = program.allSatisfy { operation in
      switch operation {
      case .push, .unary, .binary, .truth, .andAlso, .orElse: true
      default: false
      }
    }
    guard constant else { return program }
    var evaluator = ExpressionEvaluator()
    guard let value = try? evaluator.run(program, VCPUState(), nil, field: { _ in nil }) else { return program }
    return [.push(value)]
  }
}
