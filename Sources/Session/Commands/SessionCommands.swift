import Debugger
import VMCore
import X86

/// Commands about the session itself.
enum SessionCommands {
  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["symbol", "sym", "lookup", "ln"], .looking, arguments: "NAME|ADDR", help: "what is at an address, or where a name is",
      whileRunning: true, completion: .symbol
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      let address = try core.takeAddress(&scanner, "a symbol or address")
      try scanner.end()
      let name = core.symbols.name(of: address.value)
      return CommandResult(
        "\(Hex.text(address.value)) \(name.map { "<\($0)>" } ?? "is in no symbol")",
        json: .members(("address", .hex(address.value)), ("name", name.map { .string($0) } ?? .null)))
    },
    CommandDescriptor(
      ["symbol-file", "symbols"], .session, arguments: "FILE", help: "load symbols from an ELF file or a System.map",
      completion: .file
    ) { core, arguments throws(CommandError) in
      let path = arguments.rest
      guard !path.isEmpty else { throw arguments.scanner.fail("", "a file name is missing") }
      do throws(VMError) {
        let table = try SymbolLoader.load(try HostFile.bytes(at: path), name: path)
        core.machine.symbols = core.machine.symbols.merging(table)
        return CommandResult("\(table.symbols.count) symbols from \(path)")
      } catch {
        throw CommandError(typed: path, expected: error.description, usage: arguments.usage)
      }
    },
    CommandDescriptor(
      ["source", "so"], .session, arguments: "FILE", help: "carry out the commands in a file", completion: .file
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      guard let path = try scanner.takeText(), !path.isEmpty else { throw scanner.fail("", "a file name is missing") }
      return try core.source(path, usage: arguments.usage)
    },
    CommandDescriptor(
      ["alias"], .session, arguments: "[NAME [COMMAND...]]", help: "give a command another name", whileRunning: true
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      guard let name = scanner.takeWord() else {
        return InfoCommands.rows(
          core.aliases.sorted { $0.key < $1.key }.map { "\($0.key) = \($0.value)" },
          empty: "there is no alias; 'alias NAME COMMAND' makes one")
      }
      if scanner.isAtEnd {
        guard core.aliases.removeValue(forKey: name) != nil else { throw scanner.fail(name, "no such alias ('alias' lists them)") }
        return CommandResult("\(name) stands for nothing now")
      }
      let text = scanner.remainder
      _ = try CommandTable.parse(text)
      core.aliases[name] = text
      return CommandResult("\(name) = \(text)")
    },
    CommandDescriptor(
      ["send", "type"], .changing, arguments: "\"TEXT\"",
      help: "type to the guest's serial console (\\r \\n \\t \\e \\xHH)", whileRunning: true
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      guard let text = try scanner.takeText() else { throw scanner.fail("", "a text is missing") }
      try scanner.end()
      let bytes = text.unicodeScalars.flatMap { $0.value < 256 ? [UInt8($0.value)] : Array(String($0).utf8) }
      core.typeToConsole(bytes)
      return CommandResult("sent \(bytes.count) bytes", json: .members(("bytes", .number(UInt64(bytes.count)))))
    },
    CommandDescriptor(
      ["key", "sendkey"], .changing, arguments: "NAME|CODE...",
      help: "press and release keys of the guest's keyboard: key a, key ctrl-c, key esc, key 0x1e", whileRunning: true,
      completion: .words(ScanCodeNames.all)
    ) { core, arguments throws(CommandError) in
      var codes: [UInt8] = []
      var scanner = arguments.scanner
      guard !scanner.isAtEnd else { throw scanner.fail("", "a key is missing") }
      while let word = scanner.takeWord() {
        guard let more = ScanCodeNames.press(word) else {
          throw scanner.fail(word, "no such key", nearest: NearestName.find(word, in: ScanCodeNames.all))
        }
        codes += more
      }
      core.pressKeys(codes)
      return CommandResult("sent \(codes.count) scan codes", json: .array(codes.map { .number(UInt64($0)) }))
    },
    CommandDescriptor(
      ["vcpu", "cpu", "thread"], .looking, arguments: "[N]", help: "look at another vCPU"
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      let typed = scanner.peek
      if let number = scanner.takeNumber() {
        guard number < UInt64(core.states.count) else {
          let which = core.states.count == 1 ? "there is only vCPU 0" : "a vCPU from 0 to \(core.states.count - 1) was expected"
          throw scanner.fail(typed, which)
        }
        core.control.current = Int(number)
      }
      try scanner.end()
      return CommandResult("vCPU \(core.control.current) at \(core.place(core.currentState))")
    },
    CommandDescriptor(["history"], .session, help: "commands typed so far", whileRunning: true) {
      core, _ throws(CommandError) in CommandResult(core.history.lines)
    },
    CommandDescriptor(["echo"], .session, arguments: "TEXT", help: "print a text", whileRunning: true) {
      _, arguments throws(CommandError) in CommandResult(arguments.rest)
    },
    CommandDescriptor(
      ["help"], .session, keys: ["?", "F1"], arguments: "[COMMAND]", help: "list commands, or explain one",
      whileRunning: true, completion: .command
    ) { core, arguments throws(CommandError) in try help(arguments) },
    CommandDescriptor(
      ["quit", "q"], .session, keys: ["q"], help: "end the session", whileRunning: true
    ) { core, _ throws(CommandError) in
      core.quits = true
      return .silent
    },
  ]

  private static func help(_ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    if arguments.rest.isEmpty {
      var lines: [String] = []
      for group in CommandDescriptor.Group.allCases {
        lines.append("\(group.rawValue):")
        for command in CommandTable.all where command.group == group {
          lines.append("  \(command.usage)  \(command.help)")
        }
      }
      return CommandResult(lines, json: .array(CommandTable.all.map { json($0) }))
    }
    let word = String(arguments.rest.prefix { $0 != " " })
    guard let command = CommandTable.find(word) else {
      throw CommandError(
        typed: word, expected: "no such command ('help' lists them)", nearest: NearestName.find(word, in: CommandTable.names),
        usage: arguments.usage)
    }
    var lines = [command.usage, command.help]
    if command.names.count > 1 { lines.append("also: \(command.names.dropFirst().joined(separator: ", "))") }
    if !command.keys.isEmpty { lines.append("keys: \(command.keys.joined(separator: ", "))") }
    if command.name == "info" { lines += InfoCommands.topicLines }
    if command.completion.begins(with: .reason) { lines.append("reasons: \(ExitReason.shownNames.joined(separator: ", "))") }
    return CommandResult(lines, json: json(command))
  }

  private static func json(_ command: CommandDescriptor) -> JSONValue {
    .members(
      ("name", .string(command.name)), ("aliases", .strings(Array(command.names.dropFirst()))),
      ("keys", .strings(command.keys)), ("usage", .string(command.usage)), ("help", .string(command.help)))
  }
}
