import Glibc
import Host
import Synchronization
import VMCore

/// One virtual machine as a console or a batch run sees it.
///
/// Two ways to use it. With `start()` a thread of its own runs the vCPUs, commands go in through
/// `submit` and `pause`, and everything comes back in `snapshot`. Without `start()`, `perform` carries
/// a command out on the caller's thread and returns when the guest has stopped. All members but
/// `perform` may be called from any thread.
package final class Session: @unchecked Sendable {
  /// Touched by the vCPU thread alone once it runs, by the caller of `perform` otherwise.
  let core: SessionCore
  private let exchange: Exchange
  private let thread = Mutex<HostThread?>(nil)

  /// Builds the machine, loads the guest, and stops before its first instruction.
  package convenience init(_ configuration: SessionConfiguration) throws(VMError) {
    self.init(configuration, machine: try VirtualMachine.build(configuration))
  }

  /// A session over a machine that is already there (tests bring scripted ones).
  package init(_ configuration: SessionConfiguration, machine: VirtualMachine) {
    core = SessionCore(configuration, machine: machine)
    exchange = core.exchange
  }

  /// A session that looks at a recording instead of running a guest. It opens at the recording's end.
  package convenience init(recording path: String, _ configuration: SessionConfiguration) throws(VMError) {
    let run = try RecordedRun(path: path)
    self.init(configuration, machine: try RecordedMachine.make(run))
    core.recorded = run
    core.seek(run.eventCount, in: run)
    core.previousStates = core.states
    core.publish()
  }

  /// A session about a lesson, at its first step.
  package convenience init(lesson: Lesson, _ configuration: SessionConfiguration) throws(VMError) {
    self.init(configuration, machine: try VirtualMachine.build(configuration))
    try core.begin(lesson)
    core.publish()
  }

  /// Whether a file is a recording of a session, by its first bytes.
  package static func isRecording(_ path: String) -> Bool { Recording.isRecording(path) }

  deinit { stop() }

  // MARK: with a thread

  /// Starts the vCPU thread; the guest stays stopped before its first instruction. Where the host gives no thread, the
  /// snapshot's messages say so.
  package func start() {
    thread.withLock { thread in
      guard thread == nil else { return }
      HostHeap.share()
      thread = HostThread { [core] in core.serve() }
      guard thread == nil else { return }
      core.say(.error, "the host gives no thread to run the guest on; end other programs, then start again")
      core.publish()
    }
  }

  /// Puts a typed command into the mailbox. The answer comes as messages of a later snapshot.
  package func submit(_ line: String) {
    exchange.send(.command(line))
    core.kick()
  }

  /// The same for a command a key stands for: it is not a line of the history.
  package func submitKey(_ line: String) {
    exchange.send(.keyCommand(line))
    core.kick()
  }

  /// Stops a running guest within 50 ms, at an exact instruction.
  package func pause() {
    exchange.raise(.pause)
    core.kick()
  }

  /// Bytes for the guest's serial console.
  package func typeToGuest(_ bytes: [UInt8]) {
    exchange.send(.consoleBytes(bytes))
    core.kick()
  }

  /// Keys for the guest's keyboard, as PS/2 set-1 scan codes.
  package func pressKeys(_ scanCodes: [UInt8]) {
    exchange.send(.scanCodes(scanCodes))
    core.kick()
  }

  /// The newest snapshot.
  package var snapshot: SessionSnapshot { exchange.snapshot }

  /// The newest snapshot once it is newer than `generation`; nil if none came within `milliseconds`.
  package func waitForNewSnapshot(after generation: UInt64, timeout milliseconds: Int) -> SessionSnapshot? {
    exchange.acknowledgeChange()
    var now = exchange.snapshot
    if now.generation > generation { return now }
    requestSnapshot()
    exchange.waitForChange(milliseconds: milliseconds)
    exchange.acknowledgeChange()
    now = exchange.snapshot
    return now.generation > generation ? now : nil
  }

  /// Waits until the newest snapshot shows what everything submitted so far led to; false if a guest that runs on
  /// kept it from that for `milliseconds`.
  package func waitForAnswers(timeout milliseconds: Int) -> Bool {
    for _ in 0..<milliseconds where !exchange.hasAnswered { usleep(1000) }
    return exchange.hasAnswered
  }

  /// The newest snapshot shows what everything submitted so far led to.
  package var hasAnswered: Bool { exchange.hasAnswered }

  /// A descriptor to poll beside the terminal's: readable when there is a snapshot not yet looked at by
  /// `waitForNewSnapshot` or `acknowledgeChange`.
  package var changeDescriptor: Int32 { exchange.changeDescriptor }
  package func acknowledgeChange() { exchange.acknowledgeChange() }

  /// Asks a running guest's thread for a fresh snapshot (it makes at most 30 a second; stops publish
  /// without being asked). Who does not ask costs a running guest nothing.
  package func requestSnapshot() {
    guard exchange.snapshot.phase == .running || !hasAnswered else { return }
    exchange.raise(.publish)
    core.kick()
  }

  /// What the last word of `line` could be, each a whole replacement for that word.
  package func completions(for line: String) -> [String] {
    Completion.candidates(
      for: line, symbols: snapshot.symbols, hypercalls: core.machine.words.hypercalls.map(\.name))
  }

  /// Commands typed so far, oldest first.
  package var history: [String] { core.history.lines }

  /// Ends the vCPU thread and waits for it. The session cannot be started again.
  package func stop() {
    let running = thread.withLock { thread in
      let running = thread
      thread = nil
      return running
    }
    guard let running else { return }
    exchange.raise(.quit)
    core.kick()
    running.join()
  }

  // MARK: without a thread

  /// Carries out a command now, on this thread; a command that runs the guest returns when it stopped.
  /// Only for a session that was not started.
  package func perform(_ line: String) -> CommandResult {
    precondition(thread.withLock { $0 == nil }, "a started session takes commands by submit")
    return core.perform(line)
  }

  /// One instruction, without the words `perform("step")` puts to it. Only for a session that was not started.
  @discardableResult
  package func step() -> StopReason {
    core.step()
    return core.stop
  }

  /// Where the session stands now, with all it knows. Only for a session that was not started.
  package func currentSnapshot() -> SessionSnapshot { core.snapshot() }

  /// Digest of the run so far and the present state. Only for a session that was not started.
  package func digest() -> String { core.digest() }

  /// Records every event from now on as lines of JSON; `-` is standard output.
  package func record(to path: String) throws(VMError) { core.stream.recorder = try EventRecorder(path: path) }

  /// Records everything from now on into a file that `init(recording:)` opens.
  package func startRecording(to path: String) throws(VMError) { try core.startRecording(path) }

  /// Ends recording; false if some could not be written.
  package func finishRecording() -> Bool {
    core.stream.drain()
    if let status = core.stopRecording(), status.failed { return false }
    guard let recorder = core.stream.recorder else { return true }
    recorder.flush()
    core.stream.recorder = nil
    return !recorder.failed
  }

  /// A command asked to end the session.
  package var wantsToQuit: Bool { core.quits }

  /// Hears how far the guest is after each `askForProgress`, on the thread that runs it. Only for a session that is
  /// not started.
  package func onProgress(_ receive: @escaping (RunProgress) -> Void) { core.onProgress = receive }

  /// From any thread.
  package func askForProgress() {
    exchange.raise(.publish)
    core.kick()
  }

  /// Called with what the guest writes to its console, as it comes, on the thread that runs it.
  package func onConsoleOutput(_ receive: @escaping ([UInt8]) -> Void) {
    core.onConsoleOutput = receive
  }
}

/// How far a run has come.
package struct RunProgress: Sendable {
  package var instructions: UInt64
  /// Million instructions a second since the last time.
  package var mips: Double
  /// The symbol it is in, nil without one.
  package var place: String?
  /// The last line the guest wrote.
  package var line: String?
}
