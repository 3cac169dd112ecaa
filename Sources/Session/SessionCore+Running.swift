import Debugger
import Glibc
import VMCore
import X86

/// How often a running session publishes, and how fast it goes.
struct Pace {
  var lastPublication: UInt64 = 0
  var lastCount: UInt64 = 0
  var lastExits: UInt64 = 0
  var mips = 0.0
  var exitsPerSecond = 0.0
  /// The last speed measured; stays when the guest stops.
  var measuredMIPS = 0.0
  /// Nanoseconds between two publications of a running guest.
  static let interval: UInt64 = 33_000_000

  /// Measures speed since the last call.
  mutating func measure(now: UInt64, count: UInt64, exits: UInt64) {
    let elapsed = Double(now &- lastPublication)
    if lastPublication != 0, elapsed > 0 {
      mips = Double(count &- lastCount) * 1000 / elapsed
      if count &- lastCount > 100_000 { measuredMIPS = mips }
      exitsPerSecond = Double(exits &- lastExits) * 1e9 / elapsed
    }
    lastPublication = now
    lastCount = count
    lastExits = exits
  }

  /// The guest stops or starts: there is nothing to measure from.
  mutating func rest() {
    let speed = measuredMIPS
    self = Pace()
    measuredMIPS = speed
  }
}

extension SessionCore {
  // MARK: going and stopping

  /// Lets the guest run until `plan` is fulfilled or something stops it; the answer says where and why.
  func go(_ plan: StepPlan?) -> CommandResult {
    if let recorded { return replay(plan, in: recorded) }
    runAndSettle(plan)
    return answerToStop()
  }

  /// Lets the guest run to the `count`-th stop at a breakpoint; any other stop ends it, too.
  func goOn(_ count: UInt64) -> CommandResult {
    if recorded != nil { return go(nil) }
    for _ in 0..<max(count, 1) {
      runAndSettle(nil)
      guard case .breakpoint = stop else { break }
    }
    return answerToStop()
  }

  /// One instruction without an answer.
  func step() {
    guard phase == .created || phase == .paused, recorded == nil else { return }
    runAndSettle(StepPlan(.instructions))
  }

  private func runAndSettle(_ plan: StepPlan?) {
    phase = .running
    control.plan = plan
    control.statesToFinish = statesToFinish
    if isServing {
      pace.rest()
      // A step has ended before anybody could read that the guest runs; one that takes longer is asked for it.
      if plan == nil { publish() }
      if plan == nil { control.onIdle = { [unowned self] in idle($0) } }
    }
    var reason = runUntilStop()
    while continuesByItself(reason) { reason = runUntilStop() }
    control.onIdle = nil
    control.plan = nil
    settle(reason)
  }

  /// Exits whose registers are taken twice, after each start and each publication: what a person can look at,
  /// and little enough to cost a running guest nothing that counts.
  /// On a processor of the host's each costs an entry into the kernel.
  private var statesToFinish: Int { control.countsInstructions ? 1024 : 32 }

  /// A breakpoint whose action goes on. With a step under way every breakpoint ends it.
  private func continuesByItself(_ reason: StopReason) -> Bool {
    guard case .breakpoint(let number) = reason else { return false }
    let goesOn = carryOutAction(number)
    return goesOn && control.plan == nil
  }

  /// Carries out a breakpoint's action; true if it goes on.
  func carryOutAction(_ number: Int) -> Bool {
    guard let breakpoint = control.breakpoints[number] else { return false }
    if breakpoint.oneShot { control.breakpoints.remove(number) }
    guard !breakpoint.action.isEmpty else { return false }
    states = control.vcpus.map(\.state)
    var goesOn = false
    for command in breakpoint.action where !command.isEmpty {
      if let (descriptor, _) = try? CommandTable.parse(command), descriptor.runsGuest {
        goesOn = descriptor.name == "continue"
        break
      }
      let result = execute(command)
      actionOutput += result.lines
      for line in result.lines { say(result.failed ? .error : .answer, line) }
    }
    return goesOn
  }

  /// Runs by the plan to the next stop.
  private func runUntilStop() -> StopReason {
    var isFresh = true
    while true {
      guard var plan = control.plan else { return run(RunGoal(), &isFresh) ?? .step }
      let needsPosition = plan.passesInterrupts || plan.wantsExits
      let position = needsPosition ? position() : .unknown
      var goal = RunGoal()
      let directive = plan.next(at: position)
      control.plan = plan
      switch directive {
      case .done: return .step
      case .run: break
      case .instructions(let count):
        let vcpu = control.vcpus[control.current]
        let (target, overflow) = vcpu.instructionCount.addingReportingOverflow(count)
        goal.target = overflow ? .max : target
        goal.vcpu = control.current
        goal.endsAtInterrupts = plan.passesInterrupts
        goal.endsAtDeliveries = plan.countsDeliveries
      case .runTo(let address, let stack):
        goal.vcpu = control.current
        goal.trap = address
        goal.stackAtLeast = stack
      }
      if let stop = run(goal, &isFresh, from: position) { return stop }
    }
  }

  /// One directive; nil when it was carried out.
  private func run(_ goal: RunGoal, _ isFresh: inout Bool, from position: StepPosition = .unknown) -> StopReason? {
    let start = control.vcpus[goal.vcpu ?? control.current].instructionCount
    while true {
      let outcome = control.run(goal, isFresh: isFresh)
      // Somebody wanted attention before the instruction under a breakpoint was executed: it is still to be passed.
      isFresh = outcome == .attention && control.overTrap != nil
      switch outcome {
      case .target, .trap: return nil
      case .delivered:
        control.plan?.delivered(after: control.vcpus[goal.vcpu ?? control.current].instructionCount &- start)
        return nil
      case .interrupted:
        control.plan?.interrupted(at: position)
        return nil
      case .stopped(let reason): return reason
      case .attention: if let stop = attend() { return stop }
      case .idle: if let stop = idleForInput() { return stop }
      }
      if let trap = goal.trap, control.isAt(trap, stackAtLeast: goal.stackAtLeast) { return nil }
    }
  }

  /// Where the current vCPU stands, as step plans see it.
  private func position() -> StepPosition {
    let state = control.vcpus[control.current].state
    let lines = Disassembly(state: state, memory: machine.memory)
    let instruction = lines.instruction(at: state.rip)
    var flow = StepPosition.Flow.plain
    switch instruction.flow {
    case .call, .softwareInterrupt, .systemCall: flow = .call
    case .ret, .interruptReturn, .systemReturn: flow = .returning
    default: if instruction.repeatPrefix != .none { flow = .call }
    }
    let distance = UInt64(instruction.length)
    return StepPosition(
      address: state.linearRIP, next: GVA(state.linearRIP.value &+ distance), stackPointer: state[.rsp], flow: flow,
      kind: instruction.flow)
  }

  /// The guest stands: takes stock, sets the phase, tells everybody.
  func settle(_ reason: StopReason) {
    (stop, stopVCPU) = (reason, control.current)
    previousStates = states
    states = control.vcpus.map(\.state)
    examinedTo = nil
    control.events.emit(Event(.stop, vcpu: UInt8(truncatingIfNeeded: control.current), a: reason.number, c: stops.next))
    takeSlack()
    phase = reason.endStatus.map { .ended(status: $0) } ?? .paused
    pace.rest()
    noteStop()
  }

  // MARK: what comes from outside while the guest runs

  /// Looks at what was raised; gives the stop it means.
  private func attend() -> StopReason? {
    let attention = exchange.takeAttention()
    if attention.contains(.quit) {
      quits = true
      return .pause
    }
    var stop: StopReason?
    var answered = 0
    if attention.contains(.pause) {
      pauseCount += 1
      stop = .pause
    }
    if attention.contains(.input), !leadsGuest {
      for input in exchange.takeInputs() {
        if takeInput(input) { stop = .pause }
        answered += 1
      }
    }
    if isServing, attention.contains(.publish) || attention.contains(.input) { publishIfDue(attention) }
    exchange.noteAnswered(answered)
    if attention.contains(.publish), !isServing { sayProgress() }
    return stop
  }

  /// For who watches a run without a thread of its own.
  private func sayProgress() {
    guard let onProgress else { return }
    takeSlack()
    pace.measure(now: ExitCosts.now(), count: control.retired, exits: stream.exitCount)
    onProgress(
      RunProgress(
        instructions: control.retired, mips: pace.mips,
        place: symbols.name(of: control.vcpus[control.current].state.linearRIP.value),
        line: console.lines.last(where: { line in line.contains { $0 != " " } })))
  }

  private func publishIfDue(_ attention: Attention) {
    let now = ExitCosts.now()
    guard attention.contains(.input) || now &- pace.lastPublication >= Pace.interval else { return }
    takeSlack()
    states = control.vcpus.map(\.state)
    pace.measure(now: now, count: control.retired, exits: stream.exitCount)
    control.statesToFinish = statesToFinish
    publish()
  }

  /// Input while the guest runs; true if it is to stop.
  private func takeInput(_ input: SessionInput) -> Bool {
    switch input {
    case .command(let line):
      let text = line.isEmpty ? lastCommand : line
      if !line.isEmpty { history.add(line) }
      return takeCommandWhileRunning(text)
    case .keyCommand(let line): return takeCommandWhileRunning(line)
    case .consoleBytes(let bytes): typeToConsole(bytes)
    case .scanCodes(let codes): pressKeys(codes)
    }
    return false
  }

  private func takeCommandWhileRunning(_ line: String) -> Bool {
    say(.command, line)
    guard let (descriptor, _) = try? CommandTable.parse(line) else {
      show(execute(line))
      return false
    }
    if descriptor.name == "pause" { return true }
    if descriptor.name == "quit" {
      quits = true
      return true
    }
    states = control.vcpus.map(\.state)
    show(execute(line))
    return false
  }

  func typeToConsole(_ bytes: [UInt8]) {
    script.add(.console(bytes), at: control.retired)
    machine.platform.consoleInput(bytes)
  }
  func pressKeys(_ codes: [UInt8]) {
    script.add(.keys(codes), at: control.retired)
    machine.platform.keyboardInput(codes)
  }

  /// A halt of a watched guest takes its time, at most until somebody wants something.
  func idle(_ nanoseconds: UInt64) {
    takeSlack()
    publishIfDue(.publish)
    let milliseconds = Int(min(nanoseconds / 1_000_000, 1000))
    if milliseconds > 0, !exchange.needsAttention { exchange.sleep(milliseconds: milliseconds) }
  }

  /// The same for a guest whose time is the host's: all of it passes, or as much as nobody wants anything; gives
  /// how much that was.
  func sleep(_ nanoseconds: UInt64) -> UInt64 {
    takeSlack()
    if isServing { publishIfDue(.publish) }
    let start = ExitCosts.now()
    while !exchange.needsAttention {
      let passed = ExitCosts.now() &- start
      guard passed < nanoseconds else { break }
      let left = nanoseconds - passed
      if left >= 2_000_000 {
        exchange.sleep(milliseconds: Int(min(left / 1_000_000 - 1, 100)))
      } else {
        var time = timespec(tv_sec: 0, tv_nsec: Int(left))
        nanosleep(&time, nil)
      }
    }
    return ExitCosts.now() &- start
  }

  /// Every vCPU waits for an interrupt that no timer will bring; gives the stop when nobody else will either.
  private func idleForInput() -> StopReason? {
    takeSlack()
    guard isServing else { return awaitInput() ? nil : .haltedForGood }
    phase = .idle
    states = control.vcpus.map(\.state)
    publish()
    while !exchange.needsAttention { exchange.sleep(milliseconds: 1000) }
    phase = .running
    return nil
  }

  func pauseByCommand() -> CommandResult {
    CommandResult("the guest is not running", json: .members(("paused", .bool(true))))
  }

  // MARK: starting again

  func reset() -> CommandResult {
    if let recorded { return move(to: 0, "", in: recorded) }
    do {
      try startOver()
    } catch {
      return CommandResult([error.description], failed: true)
    }
    script = RunScript()
    checkpoints.removeAll()
    control.checkpointAt = canCheckpoint ? checkpoints.due : .max
    noteJump("the guest was started again")
    phase = .created
    (stop, stopVCPU) = (.created, control.current)
    states = control.vcpus.map(\.state)
    previousStates = states
    noteStop()
    return answerToStop()
  }

  private func reload() throws(VMError) {
    machine.platform.reset()
    machine.initialStates = try machine.reload()
    control.restart(machine.initialStates)
  }

  /// A reset the guest asked for, where that starts it again.
  func resetByGuest() -> StopReason? {
    do { try reload() } catch { return .error(error.description) }
    return nil
  }

  // MARK: the thread

  /// The vCPU thread: waits for commands, carries them out, publishes.
  func serve() {
    isServing = true
    publish()
    while !quits {
      let attention = exchange.takeAttention()
      if attention.contains(.quit) { break }
      let inputs = exchange.takeInputs()
      if attention.contains(.pause), !inputs.isEmpty { exchange.raise(.pause) }
      for input in inputs where !quits {
        switch input {
        case .command(let line): show(perform(line, isTyped: true))
        case .keyCommand(let line): show(performKey(line))
        case .consoleBytes(let bytes): typeToConsole(bytes)
        case .scanCodes(let codes): pressKeys(codes)
        }
        publish()
        exchange.noteAnswered(1)
      }
      if !quits, !exchange.needsAttention { exchange.sleep(milliseconds: 1000) }
    }
    history.save()
    stream.recorder?.flush()
    stopRecording()
  }
}

extension StepPosition {
  /// For plans that do not look.
  static let unknown = StepPosition(address: GVA(0), next: GVA(0), stackPointer: 0, flow: .plain)
}
