import Glibc
import Session
import Testing
import VMCore

/// Exits answered in the midst of a run are those that are answered outside of it.
@Suite("Exits answered on the spot") struct PromptExitTests {
  struct Run: Equatable {
    var digest: String
    var output: String
    var exits: UInt64
    var events: [String]
  }

  /// A run to the guest's end, by `command`, with every event of it but stops.
  private func run(
    _ sample: String, _ engine: String, _ command: String, recordsStates: Bool = false, controls: [String] = []
  ) throws -> Run {
    // Other tests make the same run at the same time.
    let path = "/tmp/ringside-prompt-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
    defer { unlink(path) }
    var configuration = SessionConfiguration()
    configuration.guest = sample
    configuration.engine = engine
    configuration.recordsStates = recordsStates
    configuration.measuresCost = recordsStates
    let session = try Session(configuration)
    try session.record(to: path)
    var output: [UInt8] = []
    session.onConsoleOutput { output += $0 }
    for control in controls { #expect(!session.perform("vmcs set \(control)").failed) }
    _ = session.perform(command)
    let snapshot = session.currentSnapshot()
    session.stop()
    let file = try #require(fopen(path, "r"))
    defer { fclose(file) }
    var events: [String] = []
    var (line, size) = (UnsafeMutablePointer<CChar>?.none, 0)
    while getline(&line, &size, file) > 0, let text = line.map({ String(cString: $0) }) {
      if !text.contains("\"stop\""), !text.contains("\"go\"") { events.append(Self.comparable(text)) }
    }
    free(line)
    return Run(
      digest: session.digest(), output: String(decoding: output, as: UTF8.self), exits: snapshot.exitCount, events: events)
  }

  /// Without the time of what the engine tells by itself, which is that of whatever exited last.
  private static func comparable(_ line: String) -> String {
    let own = ["exception", "softwareInterrupt", "unknownInstruction", "nested", "codeInvalidated"]
    guard own.contains(where: { line.contains("\"\($0)\"") }) else { return line }
    let parts = line.split(separator: ",", omittingEmptySubsequences: false)
    return parts.filter { !$0.contains("\"time\"") }.joined(separator: ",")
  }

  @Test(
    "a run is the same whether or not the engine is left at each exit",
    arguments: ["long-kernel", "hypercalls", "timer-keyboard", "mmio-device", "sensitive-parade", "ring-one", "teaching32"],
    ["interpreter", "rewriter"])
  func sameRun(sample: String, engine: String) throws {
    let prompt = try run(sample, engine, "continue")
    // With a step under way every exit is examined outside.
    let outside = try run(sample, engine, "exit 100000000")
    #expect(prompt.digest == outside.digest)
    #expect(prompt.output == outside.output)
    #expect(prompt.exits == outside.exits && prompt.exits > 0)
    #expect(prompt.events.count == outside.events.count)
    let difference = zip(prompt.events, outside.events).first { $0 != $1 }
    #expect(difference == nil, "\(difference?.0 ?? "") is not \(difference?.1 ?? "")")
  }

  @Test("so it is with exceptions that exit", arguments: ["interpreter", "rewriter"])
  func sameExceptions(engine: String) throws {
    let controls = [0, 4, 5, 6, 11, 12, 13].map { "exception \($0) on" }
    let prompt = try run("protected-fault", engine, "continue", controls: controls)
    let outside = try run("protected-fault", engine, "exit 100000000", controls: controls)
    #expect(prompt.digest == outside.digest && prompt.output == outside.output)
    #expect(prompt.exits == outside.exits)
    #expect(prompt.exits > (try run("protected-fault", engine, "continue")).exits)
    #expect(prompt.events.count == outside.events.count)
  }

  @Test("registers and costs are kept for each", arguments: ["interpreter", "rewriter"])
  func statesAreKept(engine: String) throws {
    let plain = try run("long-kernel", engine, "continue")
    let watched = try run("long-kernel", engine, "continue", recordsStates: true)
    #expect(plain == watched)
  }
}
