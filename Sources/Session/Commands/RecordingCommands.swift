import Debugger
import VMCore

/// Commands about recordings, stops and snapshots.
enum RecordingCommands {
  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["goto", "seek"], .recording, arguments: "N | +N | -N | event N | stop N | first | last",
      help: "in a recording: to exit N, N exits on or back, an event, a stop, an end",
      completion: .words(["event", "stop", "first", "last"])
    ) { core, arguments throws(CommandError) in try goTo(core, arguments) },
    CommandDescriptor(
      ["search"], .recording, arguments: "[back] TEXT", help: "in a recording: to the next event whose words contain a text"
    ) { core, arguments throws(CommandError) in
      let run = try recorded(core, arguments)
      var scanner = arguments.scanner
      let backward = scanner.peek == "back" && arguments.rest.contains(" ") && scanner.take("back")
      guard !scanner.isAtEnd else { throw scanner.fail("", "a text is missing") }
      return core.search(scanner.remainder, backward: backward, in: run)
    },
    CommandDescriptor(
      ["diff"], .recording, arguments: "[A [B]]",
      help: "what differs between two stops ('info stops'; without numbers the last two): registers, flags, counts, memory"
    ) { core, arguments throws(CommandError) in try diff(core, arguments) },
    CommandDescriptor(
      ["snap"], .recording, arguments: "save NAME | load NAME | list", help: "keep the whole machine under a name, go back to it",
      completion: .words(["save", "load", "list"])
    ) { core, arguments throws(CommandError) in try snap(core, arguments) },
  ]

  static let topics: [InfoCommands.Topic] = [
    .init(names: ["stops"], help: "where the session stopped, by number: [N]") { core, scanner throws(CommandError) in
      stops(core, Int(clamping: scanner.takeNumber() ?? 20))
    },
    .init(names: ["checkpoints"], help: "whole-machine snapshots from which going back starts") {
      core, _ throws(CommandError) in core.listCheckpoints()
    },
    .init(names: ["recording"], help: "the recording being made or looked at") { core, _ throws(CommandError) in
      recording(core)
    },
  ]

  private static func recorded(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> RecordedRun {
    if let run = core.recorded { return run }
    throw CommandError(
      typed: arguments.name, expected: "that is for recordings ('ringside replay FILE'); a guest goes back by 'rsi N', 'rn', 'rf' and 'rc'")
  }

  private static func goTo(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    let run = try recorded(core, arguments)
    var scanner = arguments.scanner
    let word = scanner.takeWord()?.lowercased() ?? ""
    func number(_ text: String, _ what: String) throws(CommandError) -> UInt64 {
      let digits = text.hasPrefix("#") ? String(text.dropFirst()) : text
      guard let value = UInt64(digits) else {
        throw CommandError(typed: text, expected: "the number of \(what) was expected", usage: arguments.usage)
      }
      return value
    }
    switch word {
    case "first": return core.move(to: 0, "", in: run)
    case "last": return core.move(to: run.eventCount, "", in: run)
    case "event":
      let wanted = try number(scanner.takeWord() ?? "", "an event")
      guard wanted < run.eventCount else { throw scanner.fail("\(wanted)", "events go to \(max(run.eventCount, 1) - 1)") }
      return core.move(to: wanted + 1, "", in: run)
    case "stop":
      let wanted = try number(scanner.takeWord() ?? "", "a stop")
      guard let stop = run.stop(number: wanted) else {
        throw scanner.fail("\(wanted)", "stops go from \(run.stops.first?.number ?? 0) to \(run.stops.last?.number ?? 0)")
      }
      return core.move(to: stop.position, "", in: run)
    default: break
    }
    if let sign = word.first, sign == "+" || sign == "-" {
      let distance = Int64(clamping: min(try number(String(word.dropFirst()), "exits"), 1 << 62))
      return core.moveByExits(sign == "-" ? -distance : distance, in: run)
    }
    let wanted = try number(word, "an exit")
    guard let position = run.position(ofExit: wanted) else {
      throw scanner.fail(word, run.exitCount == 0 ? "no exit was recorded" : "exits go to #\(run.exitCount - 1)")
    }
    return core.move(to: position, "", in: run)
  }

  // MARK: stops

  private static func stops(_ core: SessionCore, _ count: Int) -> CommandResult {
    if let run = core.recorded {
      let rows = run.stops.suffix(count)
      return InfoCommands.rows(
        rows.map { row($0.number, $0.stop, $0.retired, $0.place, core.symbols) }, empty: "no stops were recorded",
        json: .array(rows.map { json($0.number, $0.stop, $0.retired, $0.place) }))
    }
    let rows = core.stops.points.newest(count)
    func place(_ point: StopPoint) -> UInt64 { point.states[min(point.vcpu, point.states.count - 1)].linearRIP.value }
    return InfoCommands.rows(
      rows.map { row($0.number, $0.stop, $0.retired, place($0), core.symbols) }, empty: "no stops yet",
      json: .array(rows.map { json($0.number, $0.stop, $0.retired, place($0)) }))
  }

  private static func row(_ number: UInt64, _ stop: StopReason, _ retired: UInt64, _ place: UInt64, _ symbols: SymbolTable) -> String {
    let name = symbols.name(of: place).map { " <\($0)>" } ?? ""
    return "\(Column.right("\(number)", 6))  \(Column.left(stop.name, 12)) after \(retired) instructions, at \(Hex.text(place))\(name)"
  }

  private static func json(_ number: UInt64, _ stop: StopReason, _ retired: UInt64, _ place: UInt64) -> JSONValue {
    .members(("stop", .number(number)), ("reason", .string(stop.name)), ("icount", .number(retired)), ("linear", .hex(place)))
  }

  private static func diff(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    core.stream.drain()
    var scanner = arguments.scanner
    let newest = core.recorded?.stops.last?.number ?? core.stops.next - 1
    var numbers: [UInt64] = []
    while !scanner.isAtEnd, numbers.count < 2 {
      let word = scanner.peek
      guard let number = scanner.takeNumber() else { throw scanner.fail(word, "the number of a stop was expected; 'info stops' lists them") }
      numbers.append(number)
    }
    try scanner.end()
    let first = numbers.first ?? (newest == 0 ? 0 : newest - 1)
    let second = numbers.count > 1 ? numbers[1] : newest
    func point(_ number: UInt64) throws(CommandError) -> ComparedStop {
      if let found = core.comparedStop(number) { return found }
      throw scanner.fail("\(number)", "no such stop is kept; 'info stops' lists them, the newest is \(newest)")
    }
    let report = StopDifference(try point(first), try point(second), core: core)
    return CommandResult(report.rows.lines, json: report.json)
  }

  private static func snap(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    let verb = scanner.takeWord() ?? ""
    let name = scanner.takeWord()
    try scanner.end()
    switch (verb, name) {
    case ("list", nil), ("", nil): return core.listSnapshots()
    case ("save", let name?): return core.saveSnapshot(name)
    case ("load", let name?): return try core.loadSnapshot(name, usage: arguments.usage)
    case ("save", nil), ("load", nil): throw scanner.fail("", "a name is missing")
    default:
      throw scanner.fail(verb, "save, load or list was expected", nearest: NearestName.find(verb, in: ["save", "load", "list"]))
    }
  }

  private static func recording(_ core: SessionCore) -> CommandResult {
    if let replay = core.replay {
      var lines = [
        "\(replay.path): \(Recording.bytes(replay.bytes)), \(replay.events) events, \(replay.exits) exits, \(replay.stops) stops",
        "here: event \(replay.position) of \(replay.events), \(replay.pages) pages of guest memory known",
      ]
      if let complaint = replay.complaint { lines.append(complaint) }
      return CommandResult(
        lines,
        json: .members(
          ("file", .string(replay.path)), ("events", .number(replay.events)), ("exits", .number(replay.exits)),
          ("stops", .number(UInt64(replay.stops))), ("position", .number(replay.position)),
          ("complaint", replay.complaint.map { .string($0) } ?? .null)))
    }
    guard let status = core.stream.recording.map({ SessionCore.status($0) }) else {
      return CommandResult("nothing is being recorded; 'trace start FILE' begins", json: .null)
    }
    return CommandResult(
      "recording to \(status.path): \(status.events) events, \(Recording.bytes(status.bytes))",
      json: .members(("file", .string(status.path)), ("events", .number(status.events)), ("bytes", .number(status.bytes))))
  }
}
