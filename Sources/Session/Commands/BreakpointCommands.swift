import Debugger
import VMCore
import X86

/// Commands about where the guest stops.
enum BreakpointCommands {
  static let options = "[if E] [hits N] [do \"COMMANDS\"] [once]"

  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["break", "b", "lb", "vb", "hbreak"], .stopping, keys: ["b", "F9"], arguments: "ADDR \(options)",
      help: "stop before the instruction at an address (hexadecimal or symbol)", whileRunning: true,
      completion: .condition(.symbol)
    ) { core, arguments throws(CommandError) in try addExecution(core, arguments, once: false) },
    CommandDescriptor(
      ["tbreak", "tb", "thbreak"], .stopping, arguments: "ADDR \(options)", help: "the same, once", whileRunning: true,
      completion: .condition(.symbol)
    ) { core, arguments throws(CommandError) in try addExecution(core, arguments, once: true) },
    CommandDescriptor(
      ["be"], .stopping, arguments: "REASON [E] \(options)",
      help: "stop at VM exits of a reason: be io port==0x3f8 if al==0x4b", whileRunning: true,
      completion: .condition(.reason)
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      let word = scanner.takeWord() ?? ""
      let reason = try core.reason(word, usage: arguments.usage)
      return try add(core, .reason(reason), &scanner, term: true)
    },
    CommandDescriptor(
      ["bp", "bio"], .stopping, arguments: "PORT [r|w|rw] \(options)", help: "stop at accesses to an I/O port (hexadecimal)",
      whileRunning: true
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      let port = try core.takeValue(&scanner, "a port")
      return try add(core, .port(UInt16(truncatingIfNeeded: port), kinds(&scanner, .both)), &scanner)
    },
    CommandDescriptor(
      ["bm", "bmsr"], .stopping, arguments: "MSR [r|w|rw] \(options)",
      help: "stop at accesses to an MSR (hexadecimal or SDM name)", whileRunning: true,
      completion: .condition(.words(MSR.allNames))
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      if let index = MSR.index(named: scanner.peek) {
        _ = scanner.takeWord()
        return try add(core, .msr(index, kinds(&scanner, .both)), &scanner)
      }
      let index = try core.takeValue(&scanner, "an MSR")
      return try add(core, .msr(UInt32(truncatingIfNeeded: index), kinds(&scanner, .both)), &scanner)
    },
    CommandDescriptor(
      ["bcr"], .stopping, arguments: "0|3|4|8 [r|w|rw] \(options)", help: "stop at accesses to a control register",
      whileRunning: true, completion: .condition(.words(["cr0", "cr3", "cr4", "cr8"]))
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      let word = scanner.takeWord() ?? ""
      let digits = word.lowercased().hasPrefix("cr") ? String(word.dropFirst(2)) : word
      guard let number = UInt8(digits), [0, 3, 4, 8].contains(number) else {
        throw scanner.fail(word, "cr0, cr3, cr4 or cr8 was expected")
      }
      return try add(core, .controlRegister(number, kinds(&scanner, .write)), &scanner)
    },
    CommandDescriptor(
      ["bi", "bv"], .stopping, arguments: "VECTOR|#XX|any \(options)",
      help: "stop before an interrupt or exception is delivered: bi 0x20, bi #pf", whileRunning: true,
      completion: .condition(.words(Exception.allCases.map { $0.mnemonic.lowercased() } + ["any"]))
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      return try add(core, .vector(try takeVector(&scanner)), &scanner)
    },
    CommandDescriptor(
      ["bh"], .stopping, arguments: "NUMBER|NAME|any \(options)", help: "stop before a hypercall", whileRunning: true,
      completion: .condition(.hypercall)
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      return try add(core, .hypercall(try takeHypercall(core, &scanner)), &scanner)
    },
    CommandDescriptor(
      ["watch", "w", "ba"], .stopping, keys: ["w"], arguments: "[r|w|rw|x] ADDR [LEN] \(options)",
      help: "stop when memory is read or written (or executed: x); *(int *)ADDR and word[ADDR] say the length",
      whileRunning: true, completion: .condition(.symbol)
    ) { core, arguments throws(CommandError) in try watch(core, arguments, .write) },
    CommandDescriptor(
      ["rwatch"], .stopping, arguments: "ADDR [LEN] \(options)", help: "stop when memory is read", whileRunning: true,
      completion: .condition(.symbol)
    ) { core, arguments throws(CommandError) in try watch(core, arguments, .read) },
    CommandDescriptor(
      ["awatch"], .stopping, arguments: "ADDR [LEN] \(options)", help: "stop when memory is read or written",
      whileRunning: true, completion: .condition(.symbol)
    ) { core, arguments throws(CommandError) in try watch(core, arguments, .both) },
    CommandDescriptor(
      ["clear"], .stopping, arguments: "[ADDR]", help: "remove the breakpoints at an address, or where the guest stands",
      whileRunning: true, completion: .symbol
    ) { core, arguments throws(CommandError) in try clear(core, arguments) },
    CommandDescriptor(
      ["commands"], .stopping, arguments: "N [\"COMMANDS\"]",
      help: "what a breakpoint does at its stop, with ; between commands; nothing more without them", whileRunning: true
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      let number = try takeNumber(core, &scanner)
      let action = actions(try scanner.takeText() ?? "")
      try scanner.end()
      if let fault = core.fault(inCommands: action) { throw fault }
      core.control.breakpoints.change(number) { $0.action = action }
      return CommandResult("breakpoint \(number) \(action.isEmpty ? "only stops" : "does \"\(action.joined(separator: "; "))\"")")
    },
    CommandDescriptor(
      ["delete", "d", "del", "bc"], .stopping, arguments: "[N]...|all", help: "remove breakpoints, in any order",
      whileRunning: true
    ) { core, arguments throws(CommandError) in
      try forEach(core, arguments, "deleted") { table, number in table.remove(number) }
    },
    CommandDescriptor(
      ["enable", "en", "bpe"], .stopping, arguments: "[N]...|all", help: "switch breakpoints on", whileRunning: true
    ) { core, arguments throws(CommandError) in
      try forEach(core, arguments, "enabled") { table, number in table.change(number) { $0.enabled = true } }
    },
    CommandDescriptor(
      ["disable", "bd", "bpd"], .stopping, arguments: "[N]...|all", help: "switch breakpoints off", whileRunning: true
    ) { core, arguments throws(CommandError) in
      try forEach(core, arguments, "disabled") { table, number in table.change(number) { $0.enabled = false } }
    },
    CommandDescriptor(
      ["ignore"], .stopping, arguments: "N COUNT", help: "pass over the next COUNT hits of a breakpoint", whileRunning: true
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      let number = try takeNumber(core, &scanner)
      guard let count = scanner.takeNumber() else { throw scanner.fail(scanner.remainder, "a count was expected") }
      try scanner.end()
      core.control.breakpoints.change(number) { $0.ignoreCount = count }
      return CommandResult("breakpoint \(number) passes over \(count) hits")
    },
    CommandDescriptor(
      ["condition", "cond"], .stopping, arguments: "N [E]", help: "give a breakpoint a condition, or take it away",
      whileRunning: true, completion: .expression
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      let number = try takeNumber(core, &scanner)
      let condition = scanner.isAtEnd ? nil : try scanner.takeExpression(core.conditionScope, what: "a condition")
      try scanner.end()
      if core.recorded != nil, let condition, let unknown = condition.unknown(registers: true) {
        throw scanner.fail(condition.text, "\(unknown) at exits: a recording does not have that")
      }
      core.control.breakpoints.change(number) { $0.condition = condition }
      return CommandResult("breakpoint \(number) \(condition.map { "stops if \($0.text)" } ?? "stops always")")
    },
    CommandDescriptor(
      ["sx"], .stopping, arguments: "REASON stop|log|count|ignore",
      help: "what a VM exit of a reason does: stop, say so, only be counted, or not happen where that can be chosen",
      whileRunning: true, completion: .each([.reason, .words(ExitAction.allCases.map(\.rawValue))])
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      guard let word = scanner.takeWord() else { return core.listExitActions() }
      let reason = try core.reason(word, usage: arguments.usage)
      let wanted = scanner.takeWord() ?? "stop"
      guard let action = ExitAction(rawValue: wanted.lowercased()) else {
        let names = ExitAction.allCases.map(\.rawValue)
        throw scanner.fail(wanted, "stop, log, count or ignore was expected", nearest: NearestName.find(wanted, in: names))
      }
      try scanner.end()
      core.setExitAction(reason, action)
      return CommandResult("\(reason.name): \(action.rawValue)")
    },
  ]

  private static func addExecution(
    _ core: SessionCore, _ arguments: CommandArguments, once: Bool
  ) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    let address =
      scanner.isAtEnd ? core.currentState.linearRIP : try core.takeCodeAddress(&scanner, "an address")
    return try add(core, .execution(address), &scanner, once: once)
  }

  /// Commands with semicolons between them.
  private static func actions(_ text: String) -> [String] {
    text.split(separator: ";").map { String($0.drop { $0 == " " }) }.filter { !$0.isEmpty }
  }

  private static func clear(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    let address = scanner.isAtEnd ? core.currentState.linearRIP : try core.takeCodeAddress(&scanner, "an address")
    try scanner.end()
    let there = core.control.breakpoints.all.filter { $0.cause == .execution(address) }.map(\.number)
    guard !there.isEmpty else { throw scanner.fail(arguments.rest, "no breakpoint is at \(Hex.text(address.value))") }
    for number in there { core.control.breakpoints.remove(number) }
    return CommandResult(
      "deleted \(there.map(String.init).joined(separator: ", "))", json: .array(there.map { .number(UInt64($0)) }))
  }

  private static func watch(
    _ core: SessionCore, _ arguments: CommandArguments, _ usual: AccessKinds
  ) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    let isExecution = scanner.take("x")
    let access = kinds(&scanner, usual)
    if isExecution { return try add(core, .execution(try core.takeCodeAddress(&scanner, "an address")), &scanner) }
    let (address, size) = try core.takeLocation(&scanner, "an address")
    var length = UInt64(size ?? 1)
    if let given = scanner.takeNumber() {
      guard given > 0, given <= 4096 else { throw scanner.fail(String(given), "a length from 1 to 4096 was expected") }
      length = given
    }
    return try add(core, .data(address, length: length, access), &scanner)
  }

  private static func kinds(_ scanner: inout ArgumentScanner, _ usual: AccessKinds) -> AccessKinds {
    if scanner.take("r") { return .read }
    if scanner.take("w") { return .write }
    if scanner.take("rw") || scanner.take("a") { return .both }
    return usual
  }

  private static func takeVector(_ scanner: inout ArgumentScanner) throws(CommandError) -> Vector? {
    let word = scanner.takeWord() ?? ""
    if word.lowercased() == "any" { return nil }
    let bare = word.hasPrefix("#") ? String(word.dropFirst()) : word
    let named = Exception.allCases.first { $0.mnemonic.lowercased().drop { $0 == "#" } == bare.lowercased() }
    if let named { return named.rawValue }
    let number = bare.lowercased().hasPrefix("0x") ? UInt8(bare.dropFirst(2), radix: 16) : UInt8(bare)
    guard let number else {
      throw scanner.fail(
        word, "a vector from 0 to 255, an exception like #pf, or any was expected",
        nearest: NearestName.find(word, in: Exception.allCases.map { $0.mnemonic.lowercased() }))
    }
    return number
  }

  private static func takeHypercall(
    _ core: SessionCore, _ scanner: inout ArgumentScanner
  ) throws(CommandError) -> UInt64? {
    if let number = scanner.takeNumber() { return number }
    let word = scanner.takeWord() ?? "any"
    if word.lowercased() == "any" { return nil }
    let all = core.machine.words.hypercalls
    guard let found = all.first(where: { $0.name == word.lowercased() }) else {
      throw scanner.fail(
        word, "a hypercall's number or name was expected (Tab completes it)", nearest: NearestName.find(word, in: all.map(\.name)))
    }
    return found.number
  }

  private static func takeNumber(_ core: SessionCore, _ scanner: inout ArgumentScanner) throws(CommandError) -> Int {
    let typed = scanner.peek
    guard let number = scanner.takeNumber() else {
      throw scanner.fail(typed, "the number of a breakpoint was expected ('info bp' lists them)")
    }
    guard let known = Int(exactly: number), core.control.breakpoints[known] != nil else {
      throw scanner.fail(typed, "there is no breakpoint of that number ('info bp' lists them)")
    }
    return known
  }

  private static func forEach(
    _ core: SessionCore, _ arguments: CommandArguments, _ done: String,
    _ change: (inout BreakpointTable, Int) -> Bool
  ) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    var numbers: [Int] = []
    if scanner.isAtEnd || scanner.take("all") || scanner.take("breakpoints") { numbers = core.control.breakpoints.all.map(\.number) }
    while !scanner.isAtEnd { numbers.append(try takeNumber(core, &scanner)) }
    for number in numbers { _ = change(&core.control.breakpoints, number) }
    return CommandResult(
      numbers.isEmpty ? ["no breakpoints"] : ["\(done) \(numbers.map(String.init).joined(separator: ", "))"],
      json: .array(numbers.map { .number(UInt64($0)) }))
  }

  /// Reads the options every breakpoint has and adds it. With `term`, an expression may stand before them.
  private static func add(
    _ core: SessionCore, _ cause: BreakpointCause, _ scanner: inout ArgumentScanner, once: Bool = false,
    term: Bool = false
  ) throws(CommandError) -> CommandResult {
    var conditions: [Expression] = []
    var hitLimit: UInt64?
    var action: [String] = []
    var oneShot = once
    let scope = core.conditionScope
    while !scanner.isAtEnd {
      if scanner.take("if") {
        conditions.append(try scanner.takeExpression(scope, what: "a condition"))
      } else if scanner.take("hits") {
        guard let number = scanner.takeNumber() else { throw scanner.fail(scanner.remainder, "a hit count was expected") }
        hitLimit = number
      } else if scanner.peek.hasPrefix("hits>=") {
        let word = scanner.takeWord() ?? ""
        guard let number = UInt64(word.dropFirst(6)) else { throw scanner.fail(word, "a hit count was expected") }
        hitLimit = number
      } else if scanner.take("do") {
        action = actions(try scanner.takeText() ?? "")
        guard !action.isEmpty else { throw scanner.fail("do", "commands in quotes were expected after it") }
        if let fault = core.fault(inCommands: action) { throw fault }
      } else if scanner.take("once") {
        oneShot = true
      } else if term, conditions.isEmpty {
        conditions.append(try scanner.takeExpression(scope, what: "a condition"))
      } else if !conditions.isEmpty, scanner.peek.hasPrefix("=") {
        throw scanner.fail(scanner.remainder, "a comparison is written ==")
      } else {
        throw scanner.fail(scanner.remainder, "if, hits, do or once was expected")
      }
    }
    let condition = try combine(conditions, scope, scanner)
    if core.recorded != nil {
      if let unknown = condition?.unknown(registers: true) {
        throw scanner.fail(condition?.text ?? "", "\(unknown) at exits: a recording does not have that")
      }
      core.control.breakpoints.begin(above: core.recordedBreakpoints.map(\.number).max() ?? 0)
    }
    let number = core.control.breakpoints.add(cause) {
      $0.condition = condition
      $0.hitLimit = hitLimit
      $0.action = action
      $0.oneShot = oneShot
    }
    let summary = core.summary(core.control.breakpoints[number])
    let note = condition.map { " if \($0.text)" } ?? ""
    var lines = ["breakpoint \(number): \(summary?.what ?? "")\(note)"]
    var json = summary.map { core.json($0) } ?? .null
    if let warning = warning(core, cause) {
      lines.append("warning: \(warning)")
      if case .object(let members) = json { json = .object(members + [.init("warning", .string(warning))]) }
    }
    return CommandResult(lines, json: json)
  }

  /// What the person may not have meant: nothing executes data. Without a size, a symbol is only its address.
  private static func warning(_ core: SessionCore, _ cause: BreakpointCause) -> String? {
    guard case .execution(let address) = cause, let place = core.symbols.place(of: address.value),
      place.symbol.isData, place.offset == 0 || place.symbol.size > 0
    else { return nil }
    let name = place.symbol.name
    return "\(name) is data, not code; 'watch rw \(name)' stops where it is read or written"
  }

  private static func combine(
    _ conditions: [Expression], _ scope: ExpressionScope, _ scanner: ArgumentScanner
  ) throws(CommandError) -> Expression? {
    guard conditions.count > 1 else { return conditions.first }
    let text = conditions.map { "(\($0.text))" }.joined(separator: " && ")
    do { return try Expression(text, scope: scope) } catch {
      throw scanner.fail(text, error.description)
    }
  }
}
