import Debugger
import VMCore

extension SessionCore {
  /// A command as typed: history, messages and all. An empty line repeats the last one.
  func perform(_ line: String, isTyped: Bool = false) -> CommandResult {
    let isRepeated = line.allSatisfy { $0 == " " }
    let text = isRepeated ? repetition : line
    guard !text.isEmpty else { return .silent }
    lastCommand = text
    guard isTyped else { return execute(text) }
    if !isRepeated { history.add(text) }
    return performKey(text)
  }

  /// The last command again; one that looks at memory goes on behind what it showed.
  private var repetition: String {
    guard examinedTo != nil, let (descriptor, _) = try? CommandTable.parse(lastCommand),
      ["x", "hexdump", "dw", "dd", "dq"].contains(descriptor.name)
    else { return lastCommand }
    return String(lastCommand.prefix { $0 != " " })
  }

  /// The command a key stands for: among the messages, not in the history.
  func performKey(_ line: String) -> CommandResult {
    say(.command, line)
    return execute(line)
  }

  /// Finds the command and carries it out.
  func execute(_ line: String) -> CommandResult {
    if line.utf8.first == UInt8(ascii: "#") { return .silent }
    do throws(CommandError) {
      let (descriptor, arguments) = try CommandTable.parse(expandAlias(line))
      if let why = descriptor.whyDisabled(in: phase) {
        throw CommandError(typed: arguments.name, expected: why)
      }
      if let why = whyNotInRecording(descriptor, arguments) { throw CommandError(typed: arguments.name, expected: why) }
      if descriptor.arguments.isEmpty, !arguments.rest.isEmpty {
        throw CommandError(typed: arguments.rest, expected: "nothing more was expected here", usage: descriptor.usage)
      }
      let result = try descriptor.action(self, arguments)
      if ["set", "xen"].contains(descriptor.name), !result.failed {
        control.entryIsUnchecked = true
        if !isReplaying { script.add(.command(line), at: control.retired) }
      }
      return result
    } catch {
      return error.result
    }
  }

  /// Breakpoints that a recording's exits can meet, and what is done with them.
  private static let replayed: Set<String> = [
    "be", "bp", "bm", "bcr", "delete", "enable", "disable", "ignore", "condition",
  ]

  /// A recording cannot be changed, and holds what exits did, not every instruction.
  private func whyNotInRecording(_ descriptor: CommandDescriptor, _ arguments: CommandArguments) -> String? {
    guard recorded != nil else { return nil }
    switch descriptor.group {
    case .changing: return "this is a recording: nothing in it can be changed"
    case .stopping where !Self.replayed.contains(descriptor.name):
      return "a recording has the exits, not every instruction: 'be', 'bp', 'bm' and 'bcr' stop 'c' at them, 'i' and 'h' find deliveries and hypercalls"
    default:
      let isRecorder = ["trace", "digest", "limit", "snap"].contains(descriptor.name) && !arguments.rest.hasPrefix("export")
      return isRecorder ? "this is a recording, not a guest" : nil
    }
  }

  /// The error of the first of these commands that there is none of, nil where all can be carried out later.
  func fault(inCommands commands: [String]) -> CommandError? {
    for command in commands {
      do throws(CommandError) { _ = try CommandTable.parse(expandAlias(command)) } catch { return error }
    }
    return nil
  }

  private func expandAlias(_ line: String) -> String {
    if aliases.isEmpty { return line }
    let word = String(line.prefix { $0 != " " })
    return aliases[word].map { $0 + line.dropFirst(word.count) } ?? line
  }

  /// Puts an answer among the messages.
  func show(_ result: CommandResult) {
    for line in result.lines { say(result.failed ? .error : .answer, line) }
  }

  /// Carries out the lines of a command file; stops at the first that fails.
  func source(_ path: String, usage: String) throws(CommandError) -> CommandResult {
    guard sourceDepth < 8 else { throw CommandError(typed: path, expected: "command files nest at most 8 deep") }
    guard let text = HostFile.text(at: path) else {
      throw CommandError(typed: path, expected: "no such text file", usage: usage)
    }
    sourceDepth += 1
    defer { sourceDepth -= 1 }
    let pausesBefore = pauseCount
    var lines: [String] = []
    var values: [JSONValue] = []
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let command = String(line.drop { $0 == " " || $0 == "\t" || $0 == "\r" })
      if command.isEmpty || command.hasPrefix("#") { continue }
      let result = execute(command)
      lines += result.lines
      values.append(.members(("command", .string(command)), ("answer", result.json)))
      if result.failed {
        lines.append("\(path):\(index + 1): stopped here")
        return CommandResult(lines, json: .array(values), failed: true)
      }
      if pauseCount != pausesBefore {
        lines.append("\(path):\(index + 1): paused here; the rest was not carried out")
        return CommandResult(lines, json: .array(values))
      }
    }
    return CommandResult(lines, json: .array(values))
  }
}

extension SessionCore {
  /// Digest of the run so far and the present state.
  func digest() -> String {
    stream.drain()
    return stream.digest.finish(
      states: control.vcpus.map(\.state), memory: machine.memory, instructions: control.retired)
  }
}
