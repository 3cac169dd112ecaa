import Debugger
import VMCore
import X86

extension ExitReason {
  /// The names of those a guest causes.
  static let shownNames = allCases.filter { !$0.isBookkeeping }.map(\.name)
}

/// What the last word of a command line could become.
package enum Completion {
  private static let limit = 200

  /// Whole replacements for the last word of `line`, sorted.
  package static func candidates(for line: String, symbols: SymbolTable, hypercalls: [String] = []) -> [String] {
    let words = line.split(separator: " ", omittingEmptySubsequences: true).map(String.init)
    let isNewWord = line.isEmpty || line.hasSuffix(" ")
    let last = isNewWord ? "" : words.last ?? ""
    let arguments = Array((isNewWord ? words : words.dropLast()).dropFirst())
    if words.count <= 1 && !(words.count == 1 && isNewWord) { return matching(last, CommandTable.all.map(\.name)) }
    guard let descriptor = CommandTable.find(String(words[0].split(separator: "/").first ?? "")) else { return [] }
    let kind = kind(descriptor.completion, after: arguments)
    return candidates(kind, for: last, symbols, hypercalls)
  }

  /// What comes after these arguments.
  private static func kind(_ kind: CompletionKind, after arguments: [String]) -> CompletionKind {
    switch kind {
    case .each(let kinds):
      guard let last = kinds.last else { return .none }
      return arguments.count < kinds.count ? kinds[arguments.count] : last
    case .condition(let first):
      let accesses = ["r", "w", "rw", "x"]
      let given = arguments.filter { !accesses.contains($0) }
      guard let before = given.last else { return first }
      return ["if", "&&", "||"].contains(before) ? .fields : .options
    case .topic:
      guard let name = arguments.first?.lowercased() else { return .words(InfoCommands.topics.map { $0.names[0] }) }
      return InfoCommands.topics.first { $0.names.contains(name) }?.completion ?? .none
    default: return kind
    }
  }

  private static func candidates(
    _ kind: CompletionKind, for last: String, _ symbols: SymbolTable, _ hypercalls: [String]
  ) -> [String] {
    switch kind {
    case .none, .each, .condition, .topic: return expression(last, symbols)
    case .command: return matching(last, CommandTable.names)
    case .register:
      let mark = last.hasPrefix("$") ? "$" : ""
      return matching(String(last.dropFirst(mark.count)), RegisterNames.all).map { mark + $0 }
    case .symbol: return symbols.completions(of: last, limit: limit)
    case .reason: return matching(last, ExitReason.shownNames)
    case .hypercall: return matching(last, hypercalls + ["any"])
    case .file: return files(last)
    case .expression: return expression(last, symbols)
    case .fields: return expression(last, symbols, EventField.allCases.map(\.rawValue))
    case .options:
      let fields = last.isEmpty ? [] : expression(last, symbols, EventField.allCases.map(\.rawValue))
      return matching(last, ["if", "hits", "do", "once"]) + fields
    case .explanation: return matching(last, ExplainCatalogue.names) + symbols.completions(of: last, limit: limit)
    case .words(let words): return matching(last, words)
    }
  }

  private static func matching(_ prefix: String, _ names: [String]) -> [String] {
    let wanted = prefix.lowercased()
    return Array(Set(names.filter { $0.lowercased().hasPrefix(wanted) }).sorted().prefix(limit))
  }

  /// Registers and symbols, after whatever operators the word begins with.
  private static func expression(_ word: String, _ symbols: SymbolTable, _ fields: [String] = []) -> [String] {
    let tail = String(word.reversed().prefix { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." }.reversed())
    guard !tail.isEmpty else { return fields }
    let head = word.dropLast(tail.count)
    let names = matching(tail, RegisterNames.all + fields) + symbols.completions(of: tail, limit: limit)
    return names.map { head + $0 }
  }

  private static func files(_ word: String) -> [String] {
    let folder = word.lastIndex(of: "/").map { String(word[...$0]) } ?? ""
    let start = word.dropFirst(folder.count)
    return HostFile.names(in: folder.isEmpty ? "." : folder).filter { $0.hasPrefix(start) }.prefix(limit).map { name in
      folder + name + (HostFile.isFolder(folder + name) ? "/" : "")
    }
  }
}
