import Debugger
import VMCore

/// Commands about the event stream.
enum EventCommands {
  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["trace"], .recording, arguments: "start FILE | stop | export FILE",
      help: "record every event from now on, stop recording, or write what is still kept", whileRunning: true,
      completion: .words(["start", "stop", "export"])
    ) { core, arguments throws(CommandError) in try trace(core, arguments) },
    CommandDescriptor(
      ["events"], .recording, arguments: "[N]", help: "info events", whileRunning: true
    ) { core, arguments throws(CommandError) in
      core.execute("info events \(arguments.rest)")
    },
    CommandDescriptor(
      ["digest"], .recording, help: "digest of the run so far: equal guests with equal input have equal digests"
    ) { core, _ throws(CommandError) in
      let digest = core.digest()
      return CommandResult(
        "digest \(digest)",
        json: .members(
          ("digest", .string(digest)), ("instructions", .number(core.control.retired)),
          ("events", .number(core.stream.digest.count))))
    },
  ]

  private static func trace(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    let verb = scanner.takeWord() ?? ""
    switch verb.lowercased() {
    case "start":
      let path = try takePath(&scanner)
      core.stream.drain()
      core.stream.recorder = try recorder(path, arguments.usage)
      return CommandResult("recording to \(path)")
    case "stop":
      core.stream.drain()
      guard let recorder = core.stream.recorder else { return CommandResult("nothing is being recorded") }
      recorder.flush()
      core.stream.recorder = nil
      let note = recorder.failed ? ", but writing failed: some are missing" : ""
      return CommandResult(
        "\(recorder.recorded) events in \(recorder.path)\(note)",
        json: .members(("file", .string(recorder.path)), ("events", .number(recorder.recorded))))
    case "export":
      let path = try takePath(&scanner)
      core.stream.drain()
      let recorder = try recorder(path, arguments.usage)
      for event in core.stream.newest.newest(EventStream.keptEvents) { recorder.record(event) }
      recorder.flush()
      let missing = core.stream.droppedFromHistory
      return CommandResult(
        "\(recorder.recorded) events in \(path)" + (missing > 0 ? "; \(missing) older ones are no longer kept" : ""),
        json: .members(("file", .string(path)), ("events", .number(recorder.recorded)), ("older", .number(missing))))
    default:
      throw scanner.fail(
        verb, "start, stop or export was expected", nearest: NearestName.find(verb, in: ["start", "stop", "export"]))
    }
  }

  private static func takePath(_ scanner: inout ArgumentScanner) throws(CommandError) -> String {
    guard let path = try scanner.takeText(), !path.isEmpty else { throw scanner.fail("", "a file name is missing") }
    try scanner.end()
    return path
  }

  private static func recorder(_ path: String, _ usage: String) throws(CommandError) -> EventRecorder {
    do { return try EventRecorder(path: path) } catch {
      throw CommandError(typed: path, expected: error.description, usage: usage)
    }
  }
}
