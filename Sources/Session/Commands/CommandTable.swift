import Debugger

/// Every command there is, and finding one by what was typed.
package enum CommandTable {
  package static let all: [CommandDescriptor] =
    RunCommands.all + BreakpointCommands.all + InfoCommands.all + MemoryCommands.all + EventCommands.all
    + SessionCommands.all

  private static let byName: [String: CommandDescriptor] = {
    var table: [String: CommandDescriptor] = [:]
    for descriptor in all {
      for name in descriptor.names {
        precondition(table[name] == nil, "a command name belongs to one command")
        table[name] = descriptor
      }
    }
    return table
  }()

  /// All names and aliases, sorted.
  package static let names: [String] = byName.keys.sorted()

  /// By name, alias, or a beginning of a name that fits one command alone.
  package static func find(_ word: String) -> CommandDescriptor? {
    if let found = byName[word] ?? byName[word.lowercased()] { return found }
    let fitting = all.filter { $0.name.hasPrefix(word.lowercased()) }
    return fitting.count == 1 && !word.isEmpty ? fitting[0] : nil
  }

  /// Takes a line apart: `10e`, `x/8xb 7c00`, `break main if al==1`.
  static func parse(_ line: String) throws(CommandError) -> (CommandDescriptor, CommandArguments) {
    let text = line.drop { $0 == " " || $0 == "\t" }
    let word = text.prefix { $0 != " " && $0 != "\t" }
    let rest = text.dropFirst(word.count).drop { $0 == " " || $0 == "\t" }
    let digits = word.prefix { $0.isASCII && $0.isNumber }
    let afterCount = word.dropFirst(digits.count)
    let slash = afterCount.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    let name = slash.first.map(String.init) ?? ""
    guard let descriptor = find(name) else { throw unknown(String(word)) }
    let trimmed = rest.reversed().drop { $0 == " " || $0 == "\t" || $0 == "\r" || $0 == "\n" }.reversed()
    return (
      descriptor,
      CommandArguments(
        name: name, count: digits.isEmpty ? nil : UInt64(digits), format: slash.count > 1 ? String(slash[1]) : "",
        rest: String(trimmed), usage: descriptor.usage)
    )
  }

  private static func unknown(_ word: String) -> CommandError {
    let fitting = all.map(\.name).filter { !word.isEmpty && $0.hasPrefix(word.lowercased()) }
    if fitting.count > 1 {
      return CommandError(typed: word, expected: "could be \(fitting.joined(separator: ", "))")
    }
    let nearest = NearestName.find(word, in: names)
    return CommandError(
      typed: word, expected: "no such command ('help' lists them)", nearest: nearest,
      usage: nearest.flatMap { find($0) }?.usage)
  }
}
