import Debugger
import VMCore
import X86

/// What the last word of a command line could become.
package enum Completion {
  private static let limit = 200

  /// Whole replacements for the last word of `line`, sorted.
  package static func candidates(for line: String, symbols: SymbolTable, hypercalls: [String] = []) -> [String] {
    let words = line.split(separator: " ", omittingEmptySubsequences: true).map(String.init)
    let isNewWord = line.isEmpty || line.hasSuffix(" ")
    let last = isNewWord ? "" : words.last ?? ""
    if words.count <= 1 && !(words.count == 1 && isNewWord) {
      return matching(last, CommandTable.all.map(\.name))
    }
    guard let descriptor = CommandTable.find(String(words[0].split(separator: "/").first ?? "")) else { return [] }
    switch descriptor.completion {
    case .none: return expression(last, symbols)
    case .command: return matching(last, CommandTable.names)
    case .register:
      let mark = last.hasPrefix("$") ? "$" : ""
      return matching(String(last.dropFirst(mark.count)), RegisterNames.all).map { mark + $0 }
    case .symbol: return symbols.completions(of: last, limit: limit)
    case .reason: return matching(last, ExitReason.allCases.filter { !$0.isBookkeeping }.map(\.name))
    case .hypercall: return matching(last, hypercalls)
    case .file: return files(last)
    case .expression: return expression(last, symbols)
    case .explanation: return matching(last, ExplainCatalogue.names) + symbols.completions(of: last, limit: limit)
    case .words(let words): return matching(last, words)
    }
  }

  private static func matching(_ prefix: String, _ names: [String]) -> [String] {
    Array(Set(names.filter { $0.hasPrefix(prefix.lowercased()) }).sorted().prefix(limit))
  }

  /// Registers and symbols, after whatever operators the word begins with.
  private static func expression(_ word: String, _ symbols: SymbolTable) -> [String] {
    let tail = String(word.reversed().prefix { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." }.reversed())
    guard !tail.isEmpty else { return [] }
    let head = word.dropLast(tail.count)
    let names = matching(tail, RegisterNames.all) + symbols.completions(of: tail, limit: limit)
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
