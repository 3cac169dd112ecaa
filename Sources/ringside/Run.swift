import ArgumentParser
import Console
import Glibc
import Session
import VMCore

extension Session: SessionFacade {}

/// `ringside [run]`: a guest in the console, or headless.
struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run a guest in the console, or without one.",
    discussion: """
      GUEST is a file (Linux bzImage, Multiboot kernel, ELF, boot sector or floppy image, flat image) or the name of a sample; \
      without one the long-mode sample opens.

      With --headless the guest's serial output goes to standard output, bytes on standard input go to the guest, \
      messages go to standard error. The status is the guest's own (isa-debug-exit), 0 after an orderly shutdown, a \
      reset, a halt with interrupts off or a wait for input that cannot come, 124 at --limit, 70 after a triple fault, \
      2 for what was typed wrong or cannot be loaded, 128 plus the number of a signal.

      With -c or --commands the guest runs only as the commands say, and their answers go to standard output, with \
      --json as one line of JSON each (the guest's own output is then left to 'info console').
      """)

  @Argument(help: "A file, or the name of a sample.") var guest: String?
  @Option(help: "hvm, rewrite or pv.") var technique = Technique.hvm
  @Option(help: "interpreter, rewriter, kvm or auto (KVM where the processor has it, else the rewriter).")
  var engine: String?
  @OptionGroup var given: GuestOptions
  @Option(help: "The console's theme.") var theme: String?
  @Option(help: "The console's layout.") var layout: String?
  @Flag(help: "Believe a paravirtual guest's page tables unchecked, to see what isolation costs.") var trusting = false
  @Flag(help: "No console.") var headless = false
  @Flag(
    inversion: .prefixedNo,
    help: "Say on standard error how far a headless run is; without either, where that is a terminal.")
  var progress: Bool?
  @Flag(help: "Answers as JSON.") var json = false
  @Flag(help: "A reset the guest asks for starts it again.") var reboot = false
  @Option(help: "Record the session into a file that 'ringside replay' opens.") var record: String?
  @Option(help: "Record every event as a line of JSON; - is standard output.") var events: String?
  @Flag(help: "Print a digest of the run at its end, on standard error (among the answers with -c --json).")
  var digest = false
  @Option(help: "End the run after so many instructions.") var limit: Address?
  @Option(name: .short, help: ArgumentHelp("A debugger command.", valueName: "command")) var c: [String] = []
  @Option(help: "A file of debugger commands.") var commands: String?

  private var isBatch: Bool { headless || json || digest || !c.isEmpty || commands != nil }

  mutating func run() throws {
    if let guest, Session.isRecording(guest) {
      throw ExitCode(try Replay.open(guest, Replay.Wishes(theme: theme, layout: layout, isBatch: isBatch, json: json, commands: lines)))
    }
    var configuration = given.configuration(guest, technique)
    configuration.engine = engine
    configuration.isTrusting = trusting
    configuration.reboots = reboot
    configuration.limit = limit?.value
    configuration.measuresCost = !isBatch
    configuration.recordsStates = !isBatch || !c.isEmpty || commands != nil
    configuration.historyPath = isBatch ? nil : Self.historyPath
    throw ExitCode(try isBatch ? runBatch(configuration) : runConsole(configuration))
  }

  private func runBatch(_ configuration: SessionConfiguration) throws(VMError) -> Int32 {
    if let commands, HostFile.text(at: commands) == nil {
      throw VMError(.usage, "--commands \(commands): no such text file")
    }
    if let events, events == "-", headless, c.isEmpty, commands == nil {
      Ringside.complain("--events - mixes with the guest's output on standard output; a file keeps them apart")
    }
    let session = try Session(configuration)
    if let events { try session.record(to: events) }
    if let record { try session.startRecording(to: record) }
    let batch = Batch(session: session, json: json, digest: digest, saysProgress: progress)
    return batch.run(lines)
  }

  private var lines: [String] { c + (commands.map { ["source \"\($0)\""] } ?? []) }

  private func runConsole(_ configuration: SessionConfiguration) throws(VMError) -> Int32 {
    let session = try Session(configuration)
    guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1 else {
      throw VMError(
        .usage, "the console needs a terminal on standard input and output", remedy: "use --headless without one")
    }
    if let events { try session.record(to: events) }
    if let record { try session.startRecording(to: record) }
    let status = Self.openConsole(session, theme: theme, layout: layout)
    if !session.finishRecording() { Ringside.complain("not everything could be recorded") }
    return status
  }

  /// The console on a session, until the person leaves it.
  static func openConsole(_ session: Session, theme: String?, layout: String?) -> Int32 {
    session.start()
    let folders = SampleLibrary.dataFolders.map { "\($0)/Themes" }
    let (settings, complaints) = SettingsFile.load(path: UserFolders(environment: environment).settings)
    let status = Console.run(
      session: session, theme: theme, layout: layout, themeDirectories: folders, environment: environment,
      settings: settings, complaints: complaints, lessons: lessonDoor)
    session.stop()
    return status
  }

  /// Lessons begun in the console get sessions of their own.
  private static var lessonDoor: LessonDoor {
    LessonDoor(names: { LessonLibrary.names }) { name in
      do throws(VMError) {
        let lesson = try LessonLibrary.lesson(name)
        var configuration = lesson.configuration
        configuration.measuresCost = true
        configuration.historyPath = historyPath
        let session = try Session(lesson: lesson, configuration)
        session.start()
        return .success(session)
      } catch {
        return .failure(error)
      }
    }
  }

  /// What the console goes by.
  static var environment: [String: String] {
    var result: [String: String] = [:]
    let names = [
      "TERM", "COLORTERM", "NO_COLOR", "LANG", "LC_ALL", "LC_CTYPE", "HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "TMUX", "STY",
    ]
    for name in names {
      if let value = getenv(name) { result[name] = String(cString: value) }
    }
    return result
  }

  /// In the person's state folder, where there is a home for it.
  static var historyPath: String? {
    let isAsked = environment["XDG_STATE_HOME"]?.hasPrefix("/") == true
    guard isAsked || environment["HOME"].map({ HostFile.isFolder($0) }) == true else { return nil }
    return UserFolders(environment: environment).history
  }
}
