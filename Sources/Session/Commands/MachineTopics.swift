import Debugger
import VMCore
import X86

/// Topics of `info` about exits, events, devices and the session.
enum MachineTopics {
  static let all: [InfoCommands.Topic] = [
    .init(names: ["exits"], help: "the newest VM exits: [N] [REASON]", completion: .reason) { core, scanner throws(CommandError) in
      try exits(core, &scanner)
    },
    .init(names: ["hypercalls", "hypercall"], help: "the newest hypercalls: [N]") { core, scanner throws(CommandError) in
      core.stream.drain()
      let count = Int(clamping: scanner.takeNumber() ?? 20)
      let records = core.hypercallRecords(count)
      return InfoCommands.rows(
        records.flatMap { record in
          ["#\(record.sequence) \(record.isInner ? "| " : "")\(record.text)"] + record.structures.map { "    \($0)" }
        }, empty: "no hypercalls so far",
        json: .array(records.map { json($0) }))
    },
    .init(names: ["bp", "breakpoints", "break", "b", "watchpoints"], help: "breakpoints") { core, _ throws(CommandError) in
      let all = core.shownBreakpoints
      return InfoCommands.rows(all.map { text($0) }, empty: "no breakpoints", json: .array(all.map { core.json($0) }))
    },
    .init(names: ["stats", "statistics", "reasons"], help: "exits by reason and by address") {
      core, _ throws(CommandError) in statistics(core)
    },
    .init(names: ["engine", "capabilities"], help: "the engine and what it can do") { core, _ throws(CommandError) in
      let engine = core.machine.engine
      let has = EngineCapabilities.allCases.filter { engine.capabilities.contains($0) }.map(\.name)
      let hasNot = EngineCapabilities.allCases.filter { !engine.capabilities.contains($0) }.map(\.name)
      let note = core.machine.engineNote.map { [$0] } ?? []
      let traits = engine.traits.map { "\($0.holds ? "yes" : "no ")  \($0.name): \($0.explanation)" }
      return CommandResult(
        ["engine \(engine.name), technique \(core.machine.technique.rawValue)"] + note + [
          "can: \(has.joined(separator: ", "))", "cannot: \(hasNot.joined(separator: ", "))",
        ] + engine.remarks + traits,
        json: .members(
          ("engine", .string(engine.name)), ("technique", .string(core.machine.technique.rawValue)),
          ("chosen", core.machine.engineNote.map { .string($0) } ?? .null), ("can", .strings(has)),
          ("cannot", .strings(hasNot)),
          ("traits", .object(engine.traits.map { .init($0.name, .bool($0.holds)) }))))
    },
    .init(names: ["devices", "device", "qtree"], help: "the state of every device: [NAME]") {
      core, scanner throws(CommandError) in
      let wanted = scanner.takeWord()?.lowercased()
      let all = core.machine.platform.inspection
      let shown = all.filter { wanted == nil || $0.device.lowercased().hasPrefix(wanted ?? "") }
      if let wanted, shown.isEmpty {
        throw scanner.fail(wanted, "no such device", nearest: NearestName.find(wanted, in: all.map(\.device)))
      }
      return CommandResult(
        shown.flatMap { device in [device.device] + device.rows.map { "  \($0.name): \($0.value)" } },
        json: .object(
          shown.map { .init($0.device, .object($0.rows.map { .init($0.name, .string($0.value)) })) }))
    },
    .init(names: ["symbols", "functions", "variables"], help: "symbols: [PREFIX]", completion: .symbol) { core, scanner throws(CommandError) in
      let prefix = scanner.takeWord() ?? ""
      let found = core.symbols.symbols.filter { $0.name.hasPrefix(prefix) }.prefix(1000)
      return InfoCommands.rows(
        found.map { "\(Hex.padded($0.address, 8)) \($0.name)" }, empty: "no such symbols",
        json: .object(found.map { .init($0.name, .hex($0.address)) }))
    },
    .init(names: ["mem", "memory", "mtree"], help: "guest-physical memory") { core, _ throws(CommandError) in
      let slots = core.machine.memory.slots
      return CommandResult(
        slots.map { "\(Hex.padded($0.base.value, 9))-\(Hex.padded($0.end - 1, 9)) \($0.kind) \($0.size >> 10) KiB" },
        json: .array(
          slots.map {
            .members(("base", .hex($0.base.value)), ("size", .number($0.size)), ("kind", .string("\($0.kind)")))
          }))
    },
    .init(names: ["vcpus", "cpus", "threads"], help: "every vCPU") { core, _ throws(CommandError) in
      let rows = core.states.enumerated().map { index, state in
        let mark = index == core.control.current ? "*" : " "
        return "\(mark) \(index) \(core.place(state)) \(state.mode.name) \(core.control.lanes[index].activity)"
      }
      return CommandResult(rows)
    },
    .init(names: ["status", "session"], help: "where the session stands") { core, _ throws(CommandError) in
      core.answerToStop()
    },
    .init(names: ["screen"], help: "the VGA text screen; # is a blank in a colour of its own") { core, _ throws(CommandError) in
      guard let screen = core.machine.words.textScreen else { return CommandResult("there is no text screen") }
      return CommandResult(screen.lines)
    },
    .init(names: ["console", "tty"], help: "what the guest wrote to its console") { core, _ throws(CommandError) in
      core.takeSlack()
      return CommandResult(core.console.lines)
    },
  ]

  private static func exits(
    _ core: SessionCore, _ scanner: inout ArgumentScanner
  ) throws(CommandError) -> CommandResult {
    core.stream.drain()
    var count = 20
    var wanted: ExitReason?
    while let word = scanner.takeWord() {
      if let number = Int(word) { count = max(number, 0) } else { wanted = try core.reason(word, usage: "info exits [N] [REASON]") }
    }
    let records = core.exitRecords(count) { wanted == nil || $0.exitReason == wanted }
    let lines = records.map { record in
      let cost = record.cost > 0 ? "  \(record.cost) ns" : ""
      return "#\(record.sequence) \(record.time) ns  \(record.exit.reason.name)  \(record.detail)  "
        + "rip \(record.place)  \(record.handler)\(cost)"
    }
    return InfoCommands.rows(lines, empty: "no exits so far", json: .array(records.map { json($0, counts: core.control.countsInstructions) }))
  }

  private static func json(_ record: ExitRecord, counts: Bool) -> JSONValue {
    .object(
      [.init("exit", .number(record.sequence)), .init("time", .number(record.time))]
        + EventJSON.members(of: record.exit, counts: counts)
        + [.init("address", .hex(record.linear)), .init("handler", .string(record.handler)), .init("detail", .string(record.detail))])
  }

  private static func json(_ record: HypercallRecord) -> JSONValue {
    .members(
      ("seq", .number(record.sequence)), ("time", .number(record.time)), ("rip", .hex(record.rip)),
      ("nr", .number(record.number)), ("name", .string(record.name)),
      ("arguments", .array(record.arguments.map { .hex($0) })), ("result", .hex(record.result)),
      ("text", .string(record.text)))
  }

  private static func text(_ summary: BreakpointSummary) -> String {
    var text = "\(summary.number)\(summary.enabled ? "+" : "-") \(summary.what)"
    if let condition = summary.condition { text += " if \(condition)" }
    text += " x\(summary.hits)" + (summary.hitLimit.map { "/\($0)" } ?? "")
    if summary.oneShot { text += " once" }
    if let action = summary.action { text += " do \"\(action)\"" }
    return text
  }

  private static func statistics(_ core: SessionCore) -> CommandResult {
    core.stream.drain()
    let rows = core.stream.statistics(core.control.costs)
    var lines = [
      "\(core.stream.exitCount) exits in \(core.control.retired) instructions, \(core.stream.eventCount) events"
    ]
    for row in rows {
      let tenths = Int((row.share * 1000).rounded())
      let cost = row.averageCost > 0 ? "  avg \(Int(row.averageCost)) ns  max \(row.maximumCost) ns" : ""
      lines.append("\(row.reason.name)  \(row.count)  \(tenths / 10).\(tenths % 10)%\(cost)")
    }
    let addresses = core.stream.byAddress.top(10)
    for entry in addresses {
      let name = core.symbols.name(of: entry.address).map { " <\($0)>" } ?? ""
      lines.append("at \(String(entry.address, radix: 16))\(name)  \(entry.count)")
    }
    return CommandResult(
      lines,
      json: .members(
        ("exits", .number(core.stream.exitCount)), ("instructions", .number(core.control.retired)),
        ("events", .number(core.stream.eventCount)), ("dropped", .number(core.machine.events.dropped)),
        ("reasons", .object(rows.map { .init($0.reason.name, .number($0.count)) })),
        ("addresses", .array(
          addresses.map { .members(("address", .hex($0.address)), ("count", .number($0.count))) }))))
  }
}
