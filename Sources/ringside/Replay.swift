import ArgumentParser
import Console
import Glibc
import Session
import VMCore

/// `ringside replay FILE`: the console on a recording, or answers from one.
struct Replay: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay", abstract: "Open a recording (--record FILE, trace start FILE) in the console.",
    discussion: """
      Nothing runs: [ ] { } < > go from exit to exit, g to one by number, e E i h c to the next exit, exit of a reason, \
      interrupt, hypercall, stop, s and Backspace from event to event, / searches all of it.
      """)

  @Argument(help: "A recording.") var file: String
  @Option(help: "The console's theme.") var theme: String?
  @Option(help: "The console's layout.") var layout: String?
  @Flag(help: "No console.") var headless = false
  @Flag(help: "Answers as JSON.") var json = false
  @Option(name: [.short, .customShort("x")], help: ArgumentHelp("A debugger command.", valueName: "command")) var c: [String] = []

  /// What was asked for on the command line.
  struct Wishes {
    var theme: String?
    var layout: String?
    var isBatch: Bool
    var json: Bool
    var commands: [String]
  }

  func run() throws {
    let isBatch = headless || json || !c.isEmpty
    throw ExitCode(try Self.open(file, Wishes(theme: theme, layout: layout, isBatch: isBatch, json: json, commands: c)))
  }

  static func open(_ file: String, _ wishes: Wishes) throws(VMError) -> Int32 {
    var configuration = SessionConfiguration()
    configuration.historyPath = wishes.isBatch ? nil : Run.historyPath
    let session = try Session(recording: file, configuration)
    if wishes.isBatch {
      if let complaint = session.currentSnapshot().replay?.complaint { Ringside.complain("\(file): \(complaint)") }
      return Batch(session: session, json: wishes.json, digest: false)
        .answer(wishes.commands.isEmpty ? ["info recording", "info stops"] : wishes.commands)
    }
    guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1 else {
      throw VMError(
        .usage, "the console needs a terminal on standard input and output", remedy: "use --headless without one")
    }
    return Run.openConsole(session, theme: wishes.theme, layout: wishes.layout)
  }
}
