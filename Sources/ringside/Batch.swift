import Glibc
import Host
import Session
import Synchronization
import VMCore

/// A session without a console: the guest runs to its end, or as commands say.
struct Batch {
  let session: Session
  let json: Bool
  let digest: Bool
  /// Says how far the run is: nil for where standard error is a terminal.
  var saysProgress: Bool?
  private let guestLine = GuestLine()

  /// Gives the status of the process.
  func run(_ commands: [String]) -> Int32 {
    let interrupt = Interrupt { [session] in session.pause() }
    let progress = saysProgress ?? (ProgressLine.isOnTerminal && !json) ? HeadlessProgress(session) : nil
    if commands.isEmpty || !json {
      session.onConsoleOutput { [guestLine] bytes in
        guestLine.note(bytes)
        if let progress { progress.write(bytes) } else { Output.write(bytes, to: STDOUT_FILENO) }
      }
    }
    defer { progress?.end() }
    if isatty(STDIN_FILENO) == 0 { session.readGuestInput(from: STDIN_FILENO) }
    var failed = false
    if commands.isEmpty {
      let result = session.perform("continue")
      progress?.end()
      report(result)
    } else {
      failed = !perform(commands) { interrupt.signal != nil }
    }
    let snapshot = session.currentSnapshot()
    if digest { sayDigest(session.digest(), withAnswers: !commands.isEmpty) }
    if !session.finishRecording() { Ringside.complain("not every event could be written") }
    if let signal = interrupt.signal { return 128 + signal }
    return failed ? Ringside.Status.usage : Self.status(snapshot)
  }

  /// Answers commands where no guest runs.
  func answer(_ commands: [String]) -> Int32 { perform(commands) { false } ? 0 : Ringside.Status.usage }

  /// Carries out commands in order; false when one failed, which ends it, as an interrupt does.
  private func perform(_ commands: [String], isInterrupted: () -> Bool) -> Bool {
    for command in commands where !isInterrupted() {
      let result = session.perform(command)
      if json {
        Output.standard(JSONValue.members(("command", .string(command)), ("answer", result.json)).text + "\n")
      } else {
        if guestLine.end() { Output.standard("\n") }
        for line in result.lines {
          if result.failed { Ringside.complain(line) } else { Output.standard(line + "\n") }
        }
      }
      if result.failed { return false }
      if session.wantsToQuit { return true }
    }
    return true
  }

  /// How a run without commands ended, where that is worth a word.
  private func report(_ result: CommandResult) {
    let snapshot = session.currentSnapshot()
    switch snapshot.stop {
    case .shutdown, .guestExit, .reset: break
    default: Ringside.complain(snapshot.stopSentence)
    }
    if json { Output.error(result.json.text + "\n") }
  }

  private func sayDigest(_ digest: String, withAnswers: Bool) {
    if json, withAnswers {
      Output.standard(JSONValue.members(("digest", .string(digest))).text + "\n")
    } else {
      Output.error(json ? JSONValue.members(("digest", .string(digest))).text + "\n" : "digest \(digest)\n")
    }
  }

  private static func status(_ snapshot: SessionSnapshot) -> Int32 {
    if snapshot.stop == .limit { return Ringside.Status.limit }
    if case .error = snapshot.stop { return Ringside.Status.tripleFault }
    return snapshot.stop.endStatus ?? 0
  }
}

/// The guest's last line on the same output: an answer does not go on in it.
private final class GuestLine: Sendable {
  private let isOpen = Atomic<Bool>(false)

  func note(_ bytes: [UInt8]) { if let last = bytes.last { isOpen.store(last != 0x0A, ordering: .relaxed) } }

  /// Whether it was not ended; it is then.
  func end() -> Bool { isOpen.exchange(false, ordering: .relaxed) }
}

/// SIGINT, SIGTERM and SIGHUP end what is being done in order, so that what is buffered is written before the process
/// ends; a second one ends it at once.
final class Interrupt: Sendable {
  private let received = Atomic<Int32>(0)
  var signal: Int32? {
    let number = received.load(ordering: .acquiring)
    return number == 0 ? nil : number
  }

  /// `action` is done on a thread of its own.
  init(_ action: @escaping @Sendable () -> Void = {}) {
    var set = sigset_t()
    sigemptyset(&set)
    for number in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&set, number) }
    pthread_sigmask(SIG_BLOCK, &set, nil)
    let waited = set
    let received = self
    let watcher = HostThread {
      var number: Int32 = 0
      var set = waited
      while true {
        guard sigwait(&set, &number) == 0 else { return }
        if received.received.exchange(number, ordering: .acquiringAndReleasing) != 0 { _exit(128 + number) }
        action()
      }
    }
    watcher?.detach()
  }
}
