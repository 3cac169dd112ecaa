import Debugger

/// Every command there is, and finding one by what was typed.
package enum CommandTable {
  package static let all: [CommandDescriptor] =
    RunCommands.all + BreakpointCommands.all + InfoCommands.all + MemoryCommands.all + DumpCommands.all
    + DisplayCommands.all + EventCommands.all
    + RecordingCommands.all + XenCommands.all + VMCSCommands.all + RewritingCommands.all + TechniqueCommands.all
    + LessonCommands.all
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
    let isBlank = { (byte: UInt8) in byte == 0x20 || byte == 0x09 }
    let isBlankOrEnd = { (byte: UInt8) in isBlank(byte) || byte == 0x0D || byte == 0x0A }
    let text = line.utf8.drop(while: isBlank)
    let word = text.prefix { !isBlank($0) }
    var rest = text[word.endIndex...].drop(while: isBlank)
    while let last = rest.last, isBlankOrEnd(last) { rest.removeLast() }
    let digits = word.prefix { (0x30...0x39).contains($0) }
    let afterCount = word[digits.endIndex...]
    let slash = afterCount.firstIndex(of: UInt8(ascii: "/"))
    let name = String(Substring(afterCount[..<(slash ?? afterCount.endIndex)]))
    guard let descriptor = find(name) else { throw unknown(String(Substring(word))) }
    let format = slash.map { String(Substring(afterCount[afterCount.index(after: $0)...])) } ?? ""
    return (
      descriptor,
      CommandArguments(
        name: name, count: digits.isEmpty ? nil : UInt64(Substring(digits)), format: format,
        rest: String(Substring(rest)), usage: descriptor.usage)
    )
  }

  private static func unknown(_ word: String) -> CommandError {
    let fitting = all.map(\.name).filter { !word.isEmpty && $0.hasPrefix(word.lowercased()) }
    if fitting.count > 1 {
      return CommandError(typed: word, expected: "could be \(fitting.joined(separator: ", "))")
    }
    if let advice = ForeignWords.advice(for: word) { return CommandError(typed: word, expected: "no command here: \(advice)") }
    let nearest = NearestName.find(word, in: names)
    return CommandError(
      typed: word, expected: "no such command ('help' lists them)", nearest: nearest,
      usage: nearest.flatMap { find($0) }?.usage)
  }
}
