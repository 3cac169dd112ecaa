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
  /// Forgets what came after `count` instructions; how many inputs that were.
  mutating func forget(after count: UInt64) -> Int {
    let kept = inputs.filter { $0.at <= count }
    defer { inputs = kept }
    return inputs.count - kept.count
  }
}

/// Going back in time. The embedded engines are deterministic, so an earlier moment is reached by running the
/// guest again from its start, with the same input before the same instructions. Whether the second run was
/// the first one is checked, not assumed.
extension SessionCore {
  /// `count` instructions back.
  func stepBack(_ count: UInt64) -> CommandResult {
    goBack { present, _ in present - min(present, count) }
  }

  /// To the last breakpoint before now, or to the start.
  func runBack() -> CommandResult {
    goBack { _, stops in stops.last ?? 0 }
  }

  private func goBack(_ choose: (_ present: UInt64, _ stops: [UInt64]) -> UInt64) -> CommandResult {
    if let why = whyNotBack { return CommandResult([why], failed: true) }
    let present = control.retired
    let before = control.vcpus.map(\.state)
    let kept = control.breakpoints
    let (stopping, logging) = (control.stopReasons, control.loggedReasons)
    let (output, slack, idle) = (onConsoleOutput, onSlackInput, control.onIdle)
    onConsoleOutput = { _ in }
    onSlackInput = {}
    control.onIdle = nil
    control.loggedReasons = ReasonSet()
    isReplaying = true
    phase = .running
    if isServing { publish() }
    defer {
      isReplaying = false
      control.breakpoints = kept
      (control.stopReasons, control.loggedReasons) = (stopping, logging)
      (onConsoleOutput, onSlackInput, control.onIdle) = (output, slack, idle)
    }
    var stops: [UInt64] = []
    do throws(VMError) {
      var isWhole = try replay(to: present) { stops.append($0) }
      if isWhole { passDeliveries(until: before, at: present) }
      guard isWhole, control.vcpus.map(\.state) == before else {
        settle(.pause)
        let why = isWhole ? "led to another state" : "was interrupted"
        return CommandResult(
          ["running the guest again \(why) at instruction \(control.retired); this is where it stands now"], failed: true)
      }
      let target = choose(present, stops.filter { $0 < present })
      control.breakpoints = BreakpointTable()
      control.stopReasons = ReasonSet()
      isWhole = try replay(to: target) { _ in }
      settle(isWhole ? .wentBack : .pause)
    } catch {
      settle(.error(error.description))
      return CommandResult([error.description], failed: true)
    }
    return answerToGoingBack()
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
    if stream.recorder != nil { return "events are being recorded: 'trace stop' first, the recording cannot go back" }
    let isExact = machine.engine.capabilities.isSuperset(of: [.deterministic, .instructionBudget])
    return isExact ? nil : "the \(machine.engine.name) engine is not deterministic: it cannot go back"
  }

  private func answerToGoingBack() -> CommandResult {
    let forgotten = script.forget(after: control.retired)
    let answer = answerToStop()
    let lost = forgotten == 0 ? [] : ["What was typed or set after that (\(forgotten)) is forgotten."]
    return CommandResult(answer.lines + lost, json: answer.json)
  }

  /// The guest as it was loaded, with all clocks at 0 and nothing counted yet.
  func startOver() throws(VMError) {
    try machine.platform.restore(firstPlatform)
    machine.initialStates = try machine.reload()
    for vcpu in control.vcpus { vcpu.restartClock() }
    vmcs = VMCSModel()
    applyControls()
    control.startOver(machine.initialStates)
    stream.startOver()
    console = GuestConsole()
  }

  /// Runs the guest from its start to `target` retired instructions; false if something ended that before.
  /// `onStop` hears of breakpoints on the way.
  private func replay(to target: UInt64, onStop: (UInt64) -> Void) throws(VMError) -> Bool {
    try startOver()
    for (at, input) in script.inputs where at <= target {
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
