import Debugger
import VMCore
import X86

/// Commands that look at memory and code, and change the guest.
enum MemoryCommands {
  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["x", "xp"], .looking, arguments: "[/NFU] ADDR",
      help: "show memory: N units, format x d u o t c s i, unit b h w g; xp takes a physical address", whileRunning: true, completion: .symbol
    ) { core, arguments throws(CommandError) in try examine(core, arguments) },
    CommandDescriptor(
      ["print", "p", "?", "output"], .looking, arguments: "[/F] E",
      help: "value of an expression (numbers are decimal); F: x d u o t c, a for its name, i and s what is there",
      whileRunning: true, completion: .expression
    ) { core, arguments throws(CommandError) in try print(core, arguments) },
    CommandDescriptor(
      ["disassemble", "disas", "dis", "nearpc", "list", "l", "pdisass"], .looking, arguments: "[ADDR] [N]",
      help: "show N instructions, with P for privileged and S for sensitive ones", whileRunning: true, completion: .symbol
    ) { core, arguments throws(CommandError) in try disassemble(core, arguments) },
    CommandDescriptor(
      ["walk", "page", "pte"], .looking, arguments: "ADDR",
      help: "translate a linear address level by level", whileRunning: true, completion: .symbol
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      let address = try core.takeAddress(&scanner, "an address")
      try scanner.end()
      let walk = PageWalk(address, state: core.currentState, memory: core.machine.memory)
      return CommandResult(
        walk.lines,
        json: .members(
          ("linear", .hex(address.value)), ("mode", .string("\(walk.mode)")),
          ("physical", walk.result.map { .hex($0.value) } ?? .null), ("fault", walk.fault.map { .string($0.text) } ?? .null),
          ("steps", .array(
            walk.steps.map {
              .members(("at", .hex($0.entryAddress.value)), ("entry", .hex($0.entry)), ("flags", .string($0.flags)))
            }))))
    },
    CommandDescriptor(
      ["map", "vmmap", "tlb"], .looking, arguments: "[N]", help: "what the guest's page tables map", whileRunning: true
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      let count = Int(clamping: scanner.takeNumber() ?? 256)
      try scanner.end()
      let list = MappingList(core.currentState, core.machine.memory, maximumRanges: count)
      let note = list.isComplete ? [] : ["... more"]
      return InfoCommands.rows(
        list.ranges.map(\.text) + note, empty: "nothing is mapped (paging \(list.mode))",
        json: .array(
          list.ranges.map {
            .members(("start", .hex($0.start)), ("length", .hex($0.length)), ("physical", .hex($0.physical.value)))
          }))
    },
    CommandDescriptor(
      ["backtrace", "bt", "where", "k"], .looking, arguments: "[N]", help: "who called whom", whileRunning: true
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      let count = Int(clamping: scanner.takeNumber() ?? 32)
      try scanner.end()
      let frames = Backtrace.frames(
        core.currentState, core.machine.memory, symbols: core.symbols, maximumFrames: count)
      return CommandResult(
        frames.map(\.text),
        json: .array(
          frames.map { .members(("address", .hex($0.linear.value)), ("place", $0.place.map { .string($0) } ?? .null)) }))
    },
    CommandDescriptor(
      ["explain"], .looking, keys: ["?"], arguments: "[NAME|ADDR]",
      help: "what a register bit, exit reason, exception, ... means now, or how an instruction is caught",
      whileRunning: true, completion: .explanation
    ) { core, arguments throws(CommandError) in try explain(core, arguments) },
    CommandDescriptor(
      ["set"], .changing, arguments: "$REG=E | byte|word|dword|qword[ADDR]=E | *(TYPE *)ADDR=E",
      help: "change a register or memory", completion: .register
    ) { core, arguments throws(CommandError) in try set(core, arguments) },
  ]

  /// A page of the catalogue by name, else the instruction at an address.
  private static func explain(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    let state = core.currentState
    if let entry = ExplainCatalogue.entry(arguments.rest) ?? ExplainCatalogue.entry(word: arguments.rest, context: []),
      core.symbols.symbol(named: arguments.rest) == nil
    {
      let value = Explain.present(entry, state)
      return CommandResult(
        Explain.lines(entry, value: value, present: nil),
        json: .members(
          ("name", .string(entry.name)), ("title", .string(entry.title)), ("rule", .string(entry.rule)),
          ("section", .string(entry.section)), ("value", value.map { .hex($0) } ?? .null)))
    }
    var scanner = arguments.scanner
    do throws(CommandError) {
      let address = scanner.isAtEnd ? state.rip : try core.takeValue(&scanner, "a name or an address")
      return CommandResult(CodeAdvice.explain(core.disassembly.instruction(at: address)).lines)
    } catch {
      throw CommandError(
        typed: arguments.rest, expected: "nothing of that name is explained, and it is no address",
        nearest: ExplainCatalogue.nearest(arguments.rest) ?? error.nearest, usage: arguments.usage)
    }
  }

  // MARK: x

  private struct Format {
    static let mostUnits = 65536
    var count = 1
    /// More were asked for than are shown.
    var isCut = false
    var letter: Character = "x"
    var size: Int?

    init(_ text: String, usage: String) throws(CommandError) {
      let digits = text.prefix { $0.isNumber }
      if !digits.isEmpty {
        let wanted = Int(digits) ?? .max
        count = min(max(wanted, 1), Self.mostUnits)
        isCut = wanted > count
      }
      for character in text.dropFirst(digits.count) {
        switch character {
        case "x", "d", "u", "o", "t", "c", "s", "i": letter = character
        case "b": size = 1
        case "h": size = 2
        case "w": size = 4
        case "g": size = 8
        default:
          throw CommandError(
            typed: text, expected: "a count, a format (x d u o t c s i) and a unit (b h w g) were expected", usage: usage)
        }
      }
    }
  }

  private static func examine(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    var text = arguments.format
    if text.isEmpty, scanner.peek.hasPrefix("/"), let word = scanner.takeWord() { text = String(word.dropFirst()) }
    let format = try Format(text, usage: arguments.usage)
    let isPhysical = arguments.name == "xp"
    let address = scanner.isAtEnd ? core.examinedTo ?? core.currentState.linearRIP : try core.takeAddress(&scanner, "an address")
    try scanner.end()
    if format.letter == "i" {
      let rows = core.disassembly.forward(from: offset(core, address), count: format.count)
      core.examinedTo = rows.last.map { GVA($0.linear.value &+ UInt64($0.instruction.length)) }
      return code(core, rows)
    }
    if format.letter == "s" { return strings(core, address, format.count, isPhysical) }
    let size = format.letter == "c" ? 1 : format.size ?? 4
    core.examinedTo = GVA(address.value &+ UInt64(format.count * size))
    let shown = dump(core, address, read(core, address, format.count * size, isPhysical), size, format.letter, isPhysical)
    return format.isCut ? CommandResult(shown.lines + ["... the first \(Format.mostUnits)"], json: shown.json) : shown
  }

  static func read(_ core: SessionCore, _ address: GVA, _ count: Int, _ isPhysical: Bool) -> [UInt8?] {
    isPhysical ? core.machine.memory.readBytes(GPA(address.value), count: count) : core.view.read(address, count: count)
  }

  /// Linear address to offset in CS.
  static func offset(_ core: SessionCore, _ address: GVA) -> UInt64 {
    let state = core.currentState
    return state.mode == .long64 ? address.value : (address.value &- state[.cs].base) & 0xFFFF_FFFF
  }

  /// Texts that end in a zero byte, one after the other.
  private static func strings(_ core: SessionCore, _ address: GVA, _ count: Int, _ isPhysical: Bool) -> CommandResult {
    var (lines, texts) = ([String](), [JSONValue]())
    var at = address
    for _ in 0..<min(count, 256) {
      let bytes = read(core, at, 4096, isPhysical).prefix { $0 != nil && $0 != 0 }.compactMap { $0 }
      let name = isPhysical ? "" : core.symbols.name(of: at.value).map { " <\($0)>" } ?? ""
      lines.append("\(Hex.text(at.value))\(name): \(PointerChain.quoted(bytes))")
      texts.append(.string(String(decoding: bytes, as: UTF8.self)))
      at = GVA(at.value &+ UInt64(bytes.count) &+ 1)
    }
    core.examinedTo = at
    return CommandResult(lines, json: texts.count == 1 ? texts[0] : .array(texts))
  }

  private static func dump(
    _ core: SessionCore, _ address: GVA, _ bytes: [UInt8?], _ size: Int, _ letter: Character, _ isPhysical: Bool
  ) -> CommandResult {
    let perLine = letter == "c" ? 16 : max(16 / size, 1)
    let units = (0..<bytes.count / size).map { unit($0 * size, bytes, size) }
    var lines: [String] = []
    for start in stride(from: 0, to: units.count, by: perLine) {
      let row = units[start..<min(start + perLine, units.count)]
      let at = address.value &+ UInt64(start * size)
      let name = isPhysical ? "" : core.symbols.name(of: at).map { " <\($0)>" } ?? ""
      lines.append("\(Hex.text(at))\(name): " + row.map { text($0, size, letter) }.joined(separator: " "))
    }
    return CommandResult(lines, json: .array(units.map { $0.map { .hex($0) } ?? .null }))
  }

  private static func unit(_ start: Int, _ bytes: [UInt8?], _ size: Int) -> UInt64? {
    var value: UInt64 = 0
    for index in (0..<size).reversed() {
      guard let byte = bytes[start + index] else { return nil }
      value = value << 8 | UInt64(byte)
    }
    return value
  }

  private static func text(_ value: UInt64?, _ size: Int, _ letter: Character) -> String {
    guard let value else { return String(repeating: "?", count: letter == "c" ? 1 : size * 2) }
    switch letter {
    case "d":
      let shift = UInt64(64 - size * 8)
      return String(Int64(bitPattern: value << shift) >> Int64(shift))
    case "u": return String(value)
    case "o": return "0" + String(value, radix: 8)
    case "t": return String(value, radix: 2)
    case "c": return (0x20..<0x7F).contains(value) ? String(Character(UnicodeScalar(UInt8(value)))) : "."
    default: return Hex.padded(value, size * 2)
    }
  }

  // MARK: print, disassemble

  /// Also what `display` shows.
  static func print(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    let expression = try scanner.takeExpression(ExpressionScope(symbols: core.symbols), what: "an expression")
    try scanner.end()
    let value = try core.evaluate(expression, usage: arguments.usage)
    let text = try describe(value, arguments.format, core, arguments.usage)
    return CommandResult(text, json: .members(
      ("value", .hex(value)), ("decimal", .number(value)), ("text", .string(expression.text))))
  }

  private static func describe(
    _ value: UInt64, _ format: String, _ core: SessionCore, _ usage: String
  ) throws(CommandError) -> String {
    let name = core.symbols.name(of: value).map { " <\($0)>" } ?? ""
    switch format {
    case "": break
    case "x": return Hex.text(value)
    case "d": return String(Int64(bitPattern: value))
    case "u": return String(value)
    case "t": return "0b" + String(value, radix: 2)
    case "o": return "0" + String(value, radix: 8)
    case "c": return "\(value & 0xFF) '\(text(value & 0xFF, 1, "c"))'"
    case "a": return Hex.text(value) + name
    case "i": return code(core, core.disassembly.forward(from: offset(core, GVA(value)), count: 1)).lines.joined(separator: "\n")
    case "s": return strings(core, GVA(value), 1, false).lines.joined(separator: "\n")
    default:
      throw CommandError(typed: format, expected: "a format was expected: x d u o t c a i s", usage: usage)
    }
    let signed = Int64(bitPattern: value)
    return "\(value) = \(Hex.text(value))" + (signed < 0 ? " = \(signed)" : "") + name
  }

  private static func disassemble(
    _ core: SessionCore, _ arguments: CommandArguments
  ) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    let start = scanner.isAtEnd ? core.currentState.rip : offset(core, try core.takeAddress(&scanner, "an address"))
    let count = Int(clamping: scanner.takeNumber() ?? arguments.count ?? 10)
    try scanner.end()
    return code(core, core.disassembly.forward(from: start, count: min(max(count, 1), Disassembly.maximumLines)))
  }

  private static func code(_ core: SessionCore, _ rows: [CodeLine]) -> CommandResult {
    var lines: [String] = []
    for row in rows {
      for label in row.labels { lines.append("\(label):") }
      let mark = row.linear == core.currentState.linearRIP ? "=>" : "  "
      let bytes = row.bytesText
      let padding = String(repeating: " ", count: max(22 - bytes.count, 1))
      lines.append("\(mark)\(row.gutter) \(row.addressText)  \(bytes)\(padding)\(row.instruction.text)")
    }
    return CommandResult(
      lines,
      json: .array(
        rows.map {
          .members(
            ("address", .hex($0.address)), ("linear", .hex($0.linear.value)), ("bytes", .string($0.bytesText)),
            ("text", .string($0.instruction.text)), ("place", $0.place.map { .string($0) } ?? .null))
        }))
  }

  // MARK: set

  private static func set(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    let parts = arguments.rest.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[1].hasPrefix("=") else {
      throw CommandError(typed: arguments.rest, expected: "REGISTER=E or SIZE[ADDR]=E was expected", usage: arguments.usage)
    }
    var target = trim(String(parts[0]))
    if target.hasPrefix("var ") { target = trim(String(target.dropFirst(4))) }
    let expression = try compile(trim(String(parts[1])), core, arguments.usage)
    let value = try core.evaluate(expression, usage: arguments.usage)
    if target.contains("[") || ["*", "{"].contains(target.first) {
      return try setMemory(core, target, value, arguments.usage)
    }
    guard let register = RegisterNames.lookup(target) else {
      throw CommandError(
        typed: target, expected: "no such register", nearest: NearestName.find(target, in: RegisterNames.all),
        usage: arguments.usage)
    }
    return try setRegister(core, register, value, arguments.usage)
  }

  private static func trim(_ text: String) -> String {
    String(text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
  }

  private static func compile(
    _ text: String, _ core: SessionCore, _ usage: String, hexadecimal: Bool = false
  ) throws(CommandError) -> Expression {
    do { return try Expression(text, scope: ExpressionScope(symbols: core.symbols, hexadecimal: hexadecimal)) } catch {
      throw CommandError(typed: text, expected: error.description, usage: usage)
    }
  }

  private static func setRegister(
    _ core: SessionCore, _ register: Register, _ value: UInt64, _ usage: String
  ) throws(CommandError) -> CommandResult {
    let vcpu = core.control.vcpus[core.control.current]
    var state = vcpu.state
    do { try state.write(register, value, memory: core.machine.memory) } catch {
      throw CommandError(typed: register.name, expected: error.message, usage: usage)
    }
    vcpu.state = state
    core.control.restartInstruction()
    core.states[core.control.current] = vcpu.state
    let now = core.currentState.read(register)
    return CommandResult("\(register.name) = \(Hex.text(now))", json: .members((register.name, .hex(now))))
  }

  /// `dword[ADDR]`, gdb's `*(int *)ADDR` and `{int}ADDR`, with `p` before the name physical memory.
  private static func setMemory(
    _ core: SessionCore, _ target: String, _ value: UInt64, _ usage: String
  ) throws(CommandError) -> CommandResult {
    guard let location = try compile(target, core, usage, hexadecimal: true).location else {
      throw CommandError(typed: target, expected: "this is not a place in memory", usage: usage)
    }
    let start = try core.evaluate(location.address, usage: usage)
    let size = location.size == 0 ? core.currentState.mode.codeBits / 8 : location.size
    for index in 0..<UInt64(size) {
      let at = start &+ index
      let place = location.isPhysical ? GPA(at) : core.view.translate(GVA(at))
      guard let place, core.machine.memory.slot(at: place) != nil else {
        throw CommandError(typed: target, expected: "there is no memory at \(Hex.text(at))", usage: usage)
      }
      core.machine.memory.write(place, [UInt8(truncatingIfNeeded: value >> (index * 8))], force: true)
    }
    return CommandResult("\(size) byte\(size == 1 ? "" : "s") at \(Hex.text(start)) = \(Hex.text(value))", json: .members(
      ("address", .hex(start)), ("value", .hex(value)), ("size", .number(UInt64(size)))))
  }
}
