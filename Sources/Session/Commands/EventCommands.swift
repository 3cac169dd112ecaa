import Debugger
import VMCore

/// Commands about the event stream.
enum EventCommands {
  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["trace"], .recording, arguments: "start FILE | stop | export FILE",
      help: "record from now on (FILE.jsonl: events as JSON), stop, or write the kept events as JSON", whileRunning: true,
      completion: .words(["start", "stop", "export"])
    ) { core, arguments throws(CommandError) in try trace(core, arguments) },
    CommandDescriptor(
      ["events"], .recording, arguments: "[N] [KIND]", help: "info events", whileRunning: true
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
      guard isJSON(path) else { return try record(core, path, arguments.usage) }
      core.stream.recorder = try recorder(path, arguments.usage)
      return CommandResult("recording to \(path) as lines of JSON, which 'replay' does not open")
    case "stop": return stop(core)
    case "export":
      let path = try takePath(&scanner)
      core.stream.drain()
      let recorder = try recorder(path, arguments.usage)
      if let run = core.recorded { return exportAll(run, recorder) }
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

  /// Lines of JSON are for other programs.
  private static func isJSON(_ path: String) -> Bool {
    path == "-" || path.hasSuffix(".json") || path.hasSuffix(".jsonl")
  }

  private static func record(_ core: SessionCore, _ path: String, _ usage: String) throws(CommandError) -> CommandResult {
    do throws(VMError) { try core.startRecording(path) } catch {
      throw CommandError(typed: path, expected: error.description, usage: usage)
    }
    return CommandResult("recording to \(path); 'ringside replay \(path)' opens it", json: .members(("file", .string(path))))
  }

  private static func stop(_ core: SessionCore) -> CommandResult {
    if let status = core.stopRecording() {
      let note = status.failed ? ", but writing failed: some are missing" : ""
      return CommandResult(
        "\(status.events) events in \(status.path), \(status.bytes) bytes\(note)",
        json: .members(("file", .string(status.path)), ("events", .number(status.events)), ("bytes", .number(status.bytes))))
    }
    core.stream.drain()
    guard let recorder = core.stream.recorder else { return CommandResult("nothing is being recorded") }
    recorder.flush()
    core.stream.recorder = nil
    let note = recorder.failed ? ", but writing failed: some are missing" : ""
    return CommandResult(
      "\(recorder.recorded) events in \(recorder.path)\(note)",
      json: .members(("file", .string(recorder.path)), ("events", .number(recorder.recorded))))
  }

  /// Everything a recording holds.
  private static func exportAll(_ run: RecordedRun, _ recorder: EventRecorder) -> CommandResult {
    for index in run.recording.chunks.indices {
      run.recording.read(index) { record in
        if case .event(let event) = record { recorder.record(event) }
        return true
      }
    }
    recorder.flush()
    return CommandResult(
      "\(recorder.recorded) events in \(recorder.path)",
      json: .members(("file", .string(recorder.path)), ("events", .number(recorder.recorded)), ("older", .number(0))))
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
