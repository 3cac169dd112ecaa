import Debugger
import VMCore

/// What came into the guest from outside, and before which instruction: with it the guest can be run again.
struct RunScript {
  enum Input {
    case console([UInt8])
    case keys([UInt8])
    /// A command that changed registers or memory.
    case command(String)
  }
  private(set) var inputs: [(at: UInt64, input: Input)] = []

  mutating func add(_ input: Input, at count: UInt64) { inputs.append((count, input)) }
  /// Forgets all but the first `count` inputs.
  mutating func keep(_ count: Int) { inputs.removeSubrange(min(count, inputs.count)...) }
  /// Forgets what came after `count` instructions; how many inputs that were.
  mutating func forget(after count: UInt64) -> Int {
    let kept = inputs.filter { $0.at <= count }
    defer { inputs = kept }
    return inputs.count - kept.count
  }
}

/// Going back in time. The embedded engines are deterministic, so an earlier moment is reached by running the
/// guest again from the checkpoint before it (or from its start), with the same input before the same instructions.
/// Whether the second run was the first one is checked, not assumed.
extension SessionCore {
  /// `count` instructions back.
  func stepBack(_ count: UInt64) -> CommandResult {
    if let recorded { return replayBack(count, in: recorded) }
    let present = control.retired
    let target = present - min(present, count)
    return goBack(from: checkpoints.index(before: target)) { _ in target }
  }

  /// To the last breakpoint before now, or to the start.
  func runBack() -> CommandResult {
    if let recorded { return replayToStopBefore(in: recorded) }
    return goBack(from: checkpoints.index(before: control.retired - min(control.retired, 1))) { $0 }
  }

  /// Runs to the present again from a checkpoint, which proves that the second run is the first; then to where `choose`
  /// says, given the last stop on the way. Where that is nil, the run before the checkpoint is looked at, and so on.
  private func goBack(from first: Int?, _ choose: (UInt64?) -> UInt64?) -> CommandResult {
    if let why = whyNotBack { return CommandResult([why], failed: true) }
    let present = control.retired
    let before = control.vcpus.map(\.state)
    let watchers = beginReplaying()
    if isServing { publish() }
    var start = first
    do throws(VMError) {
      var limit = present
      while true {
        var last: UInt64?
        let isWhole = try replay(from: start, to: limit) { at in if at < present { last = at } }
        if isWhole, limit == present { passDeliveries(until: before, at: present) }
        guard isWhole, limit < present || control.vcpus.map(\.state) == before else {
          endReplaying(watchers)
          settle(.pause)
          let why = isWhole ? "led to another state" : "was interrupted"
          return CommandResult(
            ["running the guest again \(why) at instruction \(control.retired); this is where it stands now"], failed: true)
        }
        if let target = choose(last) ?? (start == nil ? 0 : nil) {
          control.breakpoints = BreakpointTable()
          control.stopReasons = ReasonSet()
          let arrived = try replay(from: checkpoints.index(before: target), to: target) { _ in }
          endReplaying(watchers)
          return arrived ? answerToGoingBack() : interruptedOnTheWay()
        }
        limit = start.map { checkpoints.all[$0].retired } ?? 0
        start = start.flatMap { $0 > 0 ? $0 - 1 : nil }
      }
    } catch {
      endReplaying(watchers)
      settle(.error(error.description))
      return CommandResult([error.description], failed: true)
    }
  }

  /// Whoever listens to the guest, and what is set aside while it is run again.
  private struct Watchers {
    var breakpoints: BreakpointTable
    var stopReasons: ReasonSet
    var loggedReasons: ReasonSet
    var onConsoleOutput: ([UInt8]) -> Void
    var onSlackInput: () -> Void
    var onIdle: ((UInt64) -> Void)?
    var recorder: EventRecorder?
    var recording: RecordingWriter?
  }

  private func beginReplaying() -> Watchers {
    stream.drain()
    let watchers = Watchers(
      breakpoints: control.breakpoints, stopReasons: control.stopReasons, loggedReasons: control.loggedReasons,
      onConsoleOutput: onConsoleOutput, onSlackInput: onSlackInput, onIdle: control.onIdle, recorder: stream.recorder,
      recording: stream.recording)
    stream.recording?.take(control.costs, control.exitStates, isStop: true)
    (stream.recorder, stream.recording) = (nil, nil)
    onConsoleOutput = { _ in }
    onSlackInput = {}
    control.onIdle = nil
    control.loggedReasons = ReasonSet()
    control.checkpointAt = .max
    isReplaying = true
    phase = .running
    return watchers
  }

  private func endReplaying(_ watchers: Watchers) {
    // What the guest said again is not said to those who heard it the first time.
    takeSlack()
    isReplaying = false
    control.breakpoints = watchers.breakpoints
    (control.stopReasons, control.loggedReasons) = (watchers.stopReasons, watchers.loggedReasons)
    (onConsoleOutput, onSlackInput, control.onIdle) = (watchers.onConsoleOutput, watchers.onSlackInput, watchers.onIdle)
    (stream.recorder, stream.recording) = (watchers.recorder, watchers.recording)
    checkpoints.forget(after: control.retired)
    control.checkpointAt = canCheckpoint ? checkpoints.due : .max
    noteJump("the guest went back to instruction \(control.retired)")
  }

  /// A delivery retires nothing: where the guest stood behind one, so many instructions are not place enough.
  private func passDeliveries(until states: [VCPUState], at count: UInt64) {
    var goal = RunGoal()
    goal.target = count + 1
    goal.endsAtDeliveries = true
    for _ in 0..<8 where control.vcpus.map(\.state) != states {
      guard control.run(goal) == .delivered else { return }
    }
  }

  private var whyNotBack: String? {
    if control.retired == 0 { return "the guest has not executed anything yet" }
    let isExact = machine.engine.capabilities.isSuperset(of: [.deterministic, .instructionBudget])
    return isExact ? nil : "the \(machine.engine.name) engine is not deterministic: it cannot go back"
  }

  private func answerToGoingBack() -> CommandResult {
    settle(.wentBack)
    let forgotten = script.forget(after: control.retired)
    let answer = answerToStop()
    let lost = forgotten == 0 ? [] : ["What was typed or set after that (\(forgotten)) is forgotten."]
    return CommandResult(answer.lines + lost, json: answer.json)
  }

  private func interruptedOnTheWay() -> CommandResult {
    settle(.pause)
    _ = script.forget(after: control.retired)
    return answerToStop()
  }

  /// The guest as it was loaded, with all clocks at 0 and nothing counted yet.
  func startOver() throws(VMError) {
    try machine.platform.restore(firstPlatform)
    _ = machine.platform.takeConsoleOutput()
    machine.initialStates = try machine.reload()
    pageSaver.forget()
    for vcpu in control.vcpus { vcpu.restartClock() }
    vmcs = VMCSModel()
    applyControls()
    control.startOver(machine.initialStates)
    stream.startOver()
    console = GuestConsole()
    machine.inspection?.siteCounts = []
  }

  /// Runs the guest from a checkpoint, or its start, to `target` retired instructions; false if something ended that before.
  /// `onStop` hears of breakpoints on the way.
  private func replay(from index: Int?, to target: UInt64, onStop: (UInt64) -> Void) throws(VMError) -> Bool {
    var done = 0
    if let index, try restore(checkpoints.all[index]) { done = checkpoints.all[index].inputs } else { try startOver() }
    for (at, input) in script.inputs.dropFirst(done) where at <= target {
      guard run(to: at, onStop) else { return false }
      switch input {
      case .console(let bytes): machine.platform.consoleInput(bytes)
      case .keys(let codes): machine.platform.keyboardInput(codes)
      case .command(let line):
        // The guest stands while it is changed.
        states = control.vcpus.map(\.state)
        phase = .paused
        _ = execute(line)
        phase = .running
      }
    }
    return run(to: target, onStop)
  }

  private func run(to count: UInt64, _ onStop: (UInt64) -> Void) -> Bool {
    var goal = RunGoal()
    goal.target = count
    var put = Attention()
    defer { if !put.isEmpty { exchange.raise(put) } }
    control.plan = nil
    while control.retired < count {
      switch control.run(goal) {
      case .target: return true
      // What only stops a debugger is a place on the way; the guest's own end is not.
      case .stopped(let reason) where reason.endStatus == nil && reason != .limit:
        if case .error = reason { return false }
        onStop(control.retired)
      case .attention:
        let attention = exchange.takeAttention()
        put.formUnion(attention.intersection([.input, .quit]))
        if !attention.isDisjoint(with: [.pause, .quit]) { return false }
      default: return false
      }
    }
    return true
  }
}
