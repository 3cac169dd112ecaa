import Debugger
import Engines
import VMCore
import X86

/// The loop between vCPUs and platform: entries, exits, interrupts, HLT, breakpoints, requests. It decides by
/// virtual time alone, so equal guests with equal input make equal runs, however they are stopped between.
package final class RunControl {
  package let vcpus: [any VCPU]
  package let platform: any Platform
  package let events: EventSink
  // What the loop touches at every exit is visible in this module alone: the compiler can then prove
  // that accesses do not overlap, and checks nothing at run time.
  let lanes: RunLanes
  /// The vCPU that runs or, at a stop, the one that is looked at: the one the stop is about, at first.
  var current = 0
  /// Who executes: the turn goes round, and does so the same way however a run is stopped between.
  var turn = VCPUTurn()
  /// Instructions retired by all vCPUs together.
  var retired: UInt64 = 0
  /// Virtual time of the platform, ns.
  var time: UInt64 = 0
  var instructionLimit = UInt64.max
  var breakpointTable = BreakpointTable()
  var stepPlan: StepPlan?
  /// What exits without a debugger's wish: the VMCS of the VM, and what `sx` asks for.
  var baseControls = ExitControls.standard { didSet { trapsAreStale = true } }
  /// The monitor stands in for the guest's ring 0, whatever else exits.
  var isDeprivileged = false { didSet { trapsAreStale = true } }
  /// What made the newest exit.
  var lastCause: VMXCause?
  /// The monitor sees interrupts arrive: "external-interrupt exiting", "NMI exiting".
  var interruptsExit = false
  var nmisExit = false
  /// Somebody changed registers or controls: the next entry is checked as VM entry checks it.
  var entryIsUnchecked = false
  /// Exits that stop by `sx REASON stop`.
  var stopReasons = ReasonSet() { didSet { trapsAreStale = true } }
  /// Exits that are only reported, by `sx REASON log`.
  var loggedReasons = ReasonSet() { didSet { trapsAreStale = true } }
  /// Host time per exit is measured into `costs`.
  var measuresCost: Bool {
    get { meter != nil }
    set { meter = newValue ? HostTicks() : nil }
  }
  private var meter: HostTicks?
  var costs = ExitCosts()
  /// The registers at each exit are kept in `exitStates`.
  var recordsStates = false
  /// Exits after which the registers are taken once more, before the guest goes on: their answer is carried
  /// out by an entry of its own, which changes nothing but when the vCPU returns, and costs as much as an entry.
  /// With a step under way all are.
  var statesToFinish = 0
  var exitStates = ExitStateRing()

  /// The vCPUs stop at exact instruction counts. Those that do not are given host time, or one instruction.
  var countsInstructions = true
  /// The engine's vCPUs can run at the same time.
  var canRunInParallel = false
  /// While they do.
  var parallel: ParallelGate?
  /// Lets host time pass while every vCPU waits, at most so many ns; gives how long it was. Nil where virtual time
  /// can jump.
  var sleep: ((UInt64) -> UInt64)?

  /// Raised when something from outside waits: a run ends then.
  var attention = AttentionFlag()
  /// Called every `slackInterval` exits and at each slice's end, between two runs.
  var onSlack: () -> Void = {}
  /// Called between two turns once so many instructions have retired; sets when it is called next.
  var onCheckpoint: () -> Void = {}
  var checkpointAt = UInt64.max
  /// Called before virtual time jumps over a halt, with the nanoseconds; a console lets that time pass.
  var onIdle: ((UInt64) -> Void)?
  /// Called with an exit of `loggedReasons`.
  var onLog: (VMExit) -> Void = { _ in }
  /// What the monitor is about to do about an exit.
  var service: (VMExit, any VCPU) -> MonitorService? = { _, _ in nil }
  /// Whether a breakpoint's condition holds now. An exit is given where there is one.
  var judge: (Expression, VMExit?, Int) -> Bool = { _, _, _ in true }
  var hypercallNumber: (VMExit, any VCPU) -> UInt64? = { exit, _ in
    exit.words.hypercall
  }
  /// Told of each exit before it is dealt with; nil where nobody listens.
  var onRecord: ((VMExit, any VCPU) -> Void)?
  /// Told of each access that went straight to its device, as the exit it was not.
  var onDirectAccess: (Event) -> Void = { _ in }
  /// The guest asked for something of the owner; gives the stop it means, or nil.
  var onRequest: (PlatformRequest) -> StopReason? = { _ in nil }

  /// Every exit that anybody asked for; the rest go by unexamined.
  var interest = ReasonSet()
  var trapsAreStale = true
  /// The exit of an instruction that starts again because registers were changed at it.
  var judgedExit: VMExit?
  /// The next instruction is to execute although there is a trap on it.
  var overTrap: Int?
  /// Jumps to timers of halted vCPUs since `waitedAt` instructions had retired.
  var vainWaits = 0
  var waitedAt: UInt64 = 0
  /// About 16 hours of a PC's 18.2 Hz.
  static let vainWaitLimit = 1 << 20
  var exitsUntilSlack = RunControl.slackInterval
  static let slackInterval = 4096
  /// A guest that only waits for timers needs as much looking after as one with so many exits.
  static let exitsPerWait = 64
  var turnsUntilSlack = RunControl.slackTurns
  static let slackTurns = 64
  /// The longest run without a look at the console buffer, in instructions.
  static let slice: UInt64 = 20_000_000
  /// The same after an exit, which may have left something there: what the guest says is seen at once.
  static let sliceAfterExit: UInt64 = 100_000

  // Of the run under way (`RunControl+Prompt`): exits that may be answered in its midst; one was, and there is more to
  // do outside; instructions of its vCPU that are in `retired`; when it ends at the latest.
  var promptReasons = ReasonSet()
  var isWantedOutside = false
  var countedTo: UInt64 = 0
  var promptEnd: UInt64 = 0

  package init(vcpus: [any VCPU], platform: any Platform, events: EventSink) {
    precondition(!vcpus.isEmpty, "a machine has at least one vCPU")
    self.vcpus = vcpus
    self.platform = platform
    self.events = events
    lanes = RunLanes(count: vcpus.count)
    for index in vcpus.indices.dropFirst() { lanes[index].activity = .waitForSIPI }
  }

  // MARK: the loop

  /// Lets the guest run until `goal`, a stop, or attention. What was pending at the last stop is done first.
  /// With `isFresh` (the first run after a stop) a trap on the present instruction does not stop again.
  package func run(_ goal: RunGoal, isFresh: Bool = true) -> RunOutcome {
    let looked = current
    current = turn.holder
    refreshTraps(goal.trap)
    if let problem = checkEntry() { return .stopped(.entryFailed(problem)) }
    if let stop = handlePendingExit() ?? dealWithRequests() { return .stopped(stop) }
    // The turn may be another's by now than that of the vCPU that stopped.
    overTrap = isFresh ? [current, looked].first(where: isAtTrap) : nil
    // With several, who goes on is for run control to say after each exit.
    if vcpus.count == 1 { vcpus[0].monitor = monitor }
    defer { vcpus[0].monitor = nil }
    // References held outside the loop are not counted at every exit.
    let attention = self.attention
    var vcpu = vcpus[current]
    while true {
      if attention.isRaised {
        if let outcome = finishAction() { return outcome }
        return .attention
      }
      if retired >= checkpointAt {
        if let outcome = finishAction() { return outcome }
        onCheckpoint()
      }
      if isReached(goal) { return .target }
      if vcpus.count > 1 {
        // Who is woken by what is due now is known before anybody goes on.
        bringPlatform(to: time)
        if runsInParallel(goal) { return runInParallel(goal) }
        giveTurn()
        vcpu = vcpus[current]
        if lanes[current].arrivedExit != nil {
          if let outcome = dealWithArrival(vcpu, goal) { return outcome }
          continue
        }
      }
      if let outcome = advance(vcpu, goal) { return outcome }
    }
  }

  /// One entry and exit of one vCPU, or one wait; nil to go on.
  @inline(__always)
  func advance(_ vcpu: any VCPU, _ goal: RunGoal) -> RunOutcome? {
    if retired >= instructionLimit { return .stopped(.limit) }
    bringPlatform(to: vcpu.virtualTime)
    var pending = platform.interruptPending(vcpu: current)
    switch lanes[current].prepare(interruptPending: pending, canTake: vcpu.canTakeInterrupt, canTakeNMI: vcpu.canTakeNMI) {
    case .enter:
      if !lanes[current].action.isResume, finishesApart { return enter(vcpu, limit: 0, pending: false, goal) }
    case .finish: return enter(vcpu, limit: 0, pending: false, goal)
    case .acknowledge:
      if let outcome = acknowledge(vcpu, goal) { return outcome }
      if goal.endsAtDeliveries, goal.concerns(current) { return enter(vcpu, limit: 0, pending: false, goal) ?? .delivered }
      if goal.endsAtInterrupts, goal.concerns(current) {
        return enter(vcpu, limit: 0, pending: false, goal) ?? .interrupted
      }
      // Another one may wait behind it, for the window after its handler.
      pending = platform.interruptPending(vcpu: current)
    case .halted where vcpu.timerDeadline ?? .max <= time: return enterHalted(vcpu, goal)
    case .halted: return wait(vcpu)
    }
    switch lanes[current].activity {
    case .waitForSIPI, .shutdown: return wait(vcpu)
    case .active, .halted: break
    }
    return enter(vcpu, limit: min(goal.room(current, vcpu.instructionCount, retired), instructionLimit - retired), pending: pending, goal)
  }

  /// A timer of VMX operation is due: its exit ends the halt of a guest's guest, whose monitor goes on.
  private func enterHalted(_ vcpu: any VCPU, _ goal: RunGoal) -> RunOutcome? {
    let outcome = enter(vcpu, limit: min(goal.room(current, vcpu.instructionCount, retired), instructionLimit - retired), pending: false, goal)
    if lanes[vcpu.index].activity == .halted, vcpu.activity == .active { lanes[vcpu.index].activity = .active }
    return outcome
  }

  /// The goal's instructions have retired; the vCPU it is about is then the one looked at.
  @inline(__always)
  private func isReached(_ goal: RunGoal) -> Bool {
    guard let index = goal.vcpu else { return retired >= goal.target }
    guard vcpus[index].instructionCount >= goal.target else { return false }
    current = index
    return true
  }

  /// Enters with what is pending and deals with the exit. `limit` is further cut to the next timer event.
  @inline(__always)
  func enter(_ vcpu: any VCPU, limit room: UInt64, pending: Bool, _ goal: RunGoal) -> RunOutcome? {
    var entry = lanes[current].takeEntry(interruptPending: pending)
    entry.stopsAfterDelivery = goal.endsAtDeliveries && goal.concerns(current)
    let most = cut(room, vcpu)
    let limit = RunLane.limit(most, for: entry)
    preparePromptness(vcpu, entry, limit, most)
    let before = countedTo
    let exit = overTrap == current ? runOverTrap(vcpu, entry, limit) : runGuest(vcpu, entry, limit)
    retired &+= vcpu.instructionCount &- (parallel == nil ? countedTo : before)
    if isWantedOutside { return finishOutside() }
    if !entry.action.isResume, recordsStates, limit == 0 {
      statesToFinish = max(statesToFinish - 1, 0)
      exitStates.finish(vcpu)
    }
    switch exit.reason {
    case .budget, .monitorTrap:
      if exit.reason == .budget, limit >= Self.sliceAfterExit - 1 { takeSlack() }
      if limit > 0, lanes[current].activity == .active, vcpu.activity == .halted { noteHalt(exit, vcpu) }
    default: break
    }
    if let parallel, parallel.outcome != nil {
      lanes[current].arrivedExit = exit
      return nil
    }
    return dealWith(exit, vcpu, goal)
  }

  /// `room`, but not past the next timer event, the slice, or this vCPU's turn.
  @inline(__always)
  private func cut(_ room: UInt64, _ vcpu: any VCPU) -> UInt64 {
    guard countsInstructions else { return hostTime(room, vcpu) }
    let slice = exitsUntilSlack < Self.slackInterval ? Self.sliceAfterExit : Self.slice
    var limit = min(room, slice)
    if vcpus.count > 1 { limit = min(limit, turn.left(at: vcpu.virtualTime)) }
    if room > 0, let deadline = platform.nextDeadline {
      let now = vcpu.virtualTime
      limit = min(limit, deadline > now ? deadline - now : 1)
    }
    return limit
  }

  /// The answer to the last exit is to be carried out alone.
  var finishesApart: Bool { recordsStates && (stepPlan != nil || statesToFinish > 0) }

  @inline(__always)
  func bringPlatform(to now: UInt64) {
    if now > time { time = now }
    events.time = time
    platform.advance(to: time)
  }

  // MARK: exits

  @inline(__always)
  func dealWith(_ exit: VMExit, _ vcpu: any VCPU, _ goal: RunGoal) -> RunOutcome? {
    let now = vcpu.virtualTime
    if now > time { time = now }
    events.time = time
    switch exit.reason {
    case .budget, .kicked: return afterBookkeeping(exit, vcpu)
    case .debug: return debugExit(exit, vcpu, goal)
    default: break
    }
    if exit.isDirect { return passDirectly(exit, vcpu) }
    record(exit, vcpu, vcpu.exitCause)
    if interest.contains(exit.reason), !wasJudged(exit), let stop = examine(exit, vcpu) {
      lanes[current].pendingExit = exit
      return .stopped(stop)
    }
    countForSlack()
    return pass(exit, vcpu).map { .stopped($0) }
  }

  /// The same instruction already stopped the session with this exit, before the person changed registers.
  private func wasJudged(_ exit: VMExit) -> Bool {
    guard let judged = judgedExit else { return false }
    judgedExit = nil
    return judged.instructionCount == exit.instructionCount && judged.rip == exit.rip && judged.reason == exit.reason
      && judged.vcpu == exit.vcpu
  }

  @inline(__always)
  func countForSlack() {
    exitsUntilSlack -= 1
    if exitsUntilSlack <= 0 {
      takeSlack()
      exitsUntilSlack -= 1  // this exit is still to be dealt with
    }
  }

  func takeSlack() {
    exitsUntilSlack = Self.slackInterval
    onSlack()
  }

  /// The budget ended or somebody kicked. Where that happens at the boundary at which an interrupt window
  /// opens, the window's exit is recorded all the same: a run in steps has the exits of a run in one go.
  private func afterBookkeeping(_ exit: VMExit, _ vcpu: any VCPU) -> RunOutcome? {
    if lanes[current].nmiWindowArmed, vcpu.canTakeNMI { return windowOpened(.nmiWindow, exit, vcpu) }
    if lanes[current].windowArmed, vcpu.canTakeInterrupt { return windowOpened(.interruptWindow, exit, vcpu) }
    return nil
  }

  private func windowOpened(_ reason: ExitReason, _ exit: VMExit, _ vcpu: any VCPU) -> RunOutcome? {
    (lanes[current].windowArmed, lanes[current].nmiWindowArmed) = (false, false)
    let opened = VMExit(
      vcpu: exit.vcpu, reason: reason, qualification: .interruptWindow, rip: exit.rip, instructionLength: 0,
      instructionCount: exit.instructionCount)
    record(opened, vcpu, .window)
    return interest.contains(reason) ? examine(opened, vcpu).map { .stopped($0) } : nil
  }

  @inline(__always)
  func record(_ exit: VMExit, _ vcpu: any VCPU, _ cause: VMXCause?) {
    let base = vcpu.codeBase
    if base != lanes[current].codeBase { tell(base, vcpu) }
    events.emit(exit: exit)
    onRecord?(exit, vcpu)
    lastCause = cause
    if recordsStates { exitStates.begin(costs.exitCount, vcpu, cause) }
    costs.begin(measured: meter != nil)
  }

  /// Exits come from another code segment than the last one.
  private func tell(_ base: UInt64, _ vcpu: any VCPU) {
    lanes[current].codeBase = base
    let selector = UInt32(vcpu.state[.cs].selector)
    events.emit(Event(.codeSegment, vcpu: UInt8(truncatingIfNeeded: vcpu.index), a: selector, b: base))
  }

  /// An access that the controls let through to its device. No event, no count, no stop; the run's digest has
  /// it all the same, as it belongs to what the guest did.
  private func passDirectly(_ exit: VMExit, _ vcpu: any VCPU) -> RunOutcome? {
    lanes[current].action = handleDirectly(exit, vcpu)
    return dealWithRequests().map { .stopped($0) }
  }

  func handleDirectly(_ exit: VMExit, _ vcpu: any VCPU) -> VMEntry.Action {
    var event = Event(exit: exit)
    event.time = time
    onDirectAccess(event)
    let action = platform.handle(exit, on: vcpu)
    exitsUntilSlack -= 1
    if exitsUntilSlack <= 0 || isLineFeed(exit) { takeSlack() }
    return action
  }

  /// HLT without an exit: the guest halts inside. The digest has it as the exit it would have been.
  private func noteHalt(_ exit: VMExit, _ vcpu: any VCPU) {
    lanes[current].activity = .halted
    let hlt = VMExit(
      vcpu: exit.vcpu, reason: .hlt, qualification: .hlt, rip: exit.rip &- 1, instructionLength: 1,
      instructionCount: exit.instructionCount &- 1)
    var event = Event(exit: hlt)
    event.time = vcpu.virtualTime &- 1
    onDirectAccess(event)
  }

  private func isLineFeed(_ exit: VMExit) -> Bool {
    guard let port = exit.words.port else { return false }
    return port.write && port.value == 0x0A
  }

  private func debugExit(_ exit: VMExit, _ vcpu: any VCPU, _ goal: RunGoal) -> RunOutcome? {
    let number = breakpointTable.check(exit, hypercall: nil) { judge($0, exit, current) }
    if let number { return .stopped(.breakpoint(number)) }
    if exit.qualification == .debug(.step) { return goal.endsAtDeliveries ? .delivered : nil }
    if case .debug(.execution(let at)) = exit.qualification {
      if at == goal.trap, goal.concerns(current), vcpu.gpr(.rsp) >= goal.stackAtLeast { return .trap }
      overTrap = current
    }
    return nil
  }

  /// Whether somebody wants to stop at this exit.
  func examine(_ exit: VMExit, _ vcpu: any VCPU) -> StopReason? {
    let hypercall = hypercallNumber(exit, vcpu)
    let number = breakpointTable.check(exit, hypercall: hypercall) { judge($0, exit, current) }
    if let number { return .breakpoint(number) }
    if var waiting = stepPlan {
      let reached = waiting.observe(exit, isHypercall: hypercall != nil, service: service(exit, vcpu))
      stepPlan = waiting
      // What the monitor does about it is the point, not the exception that the guest may never hear of.
      if reached, case .service = waiting.goal { return .exit(exit.reason) }
      if reached { return Self.stop(for: exit, hypercall, isSought: waiting.goal == .hypercall) }
    }
    if Self.contains(loggedReasons, exit) { onLog(exit) }
    return Self.contains(stopReasons, exit) ? Self.stop(for: exit, hypercall) : nil
  }

  /// A callout is also known by the reason it would have with VT-x.
  private static func contains(_ reasons: ReasonSet, _ exit: VMExit) -> Bool {
    reasons.contains(exit.reason) || exit.reason == .callout && reasons.contains(exit.architecturalReason)
  }

  /// A hypercall that was not sought is an exit like any other, and INT 82h no interrupt for the guest.
  private static func stop(for exit: VMExit, _ hypercall: UInt64?, isSought: Bool = false) -> StopReason {
    if let hypercall { return isSought ? .hypercall(number: hypercall) : .exit(exit.reason) }
    switch exit.qualification {
    case .exception(let vector, _, _): return .exception(vector)
    case .softwareInterrupt(let vector): return .interrupt(vector)
    default: return .exit(exit.reason)
    }
  }

  private func note(_ cost: UInt64, of exit: VMExit, _ call: UInt64?) {
    costs.add(cost, exit.reason)
    if let call { costs.add(cost, hypercall: UInt32(truncatingIfNeeded: call)) }
  }

  /// Hands an exit to the platform; gives the stop that follows from it, if any.
  @inline(__always)
  func pass(_ exit: VMExit, _ vcpu: any VCPU) -> StopReason? {
    switch exit.reason {
    case .tripleFault:
      lanes[current].activity = .shutdown
      return .tripleFault
    case .interruptWindow, .nmiWindow: return nil
    case .unknownInstruction:
      lanes[current].action = .fault(Exception.ud.rawValue, errorCode: nil)
      events.emit(lanes[current].action, to: exit)
      return nil
    case .unknown, .entryFailure:
      if let sentence = vcpu.failureSentence { return .error(sentence) }
      return .error("the engine left the guest for a reason run control does not know: \(exit.qualification)")
    default: break
    }
    lanes[current].action = handle(exit, vcpu)
    if exit.words.tag == .hlt, lanes[current].action.isEmulate { halt(vcpu) }
    return dealWithRequests()
  }

  /// The platform's answer.
  @inline(__always)
  func handle(_ exit: VMExit, _ vcpu: any VCPU) -> VMEntry.Action {
    let meter = meter
    let start = meter?.now() ?? 0
    let call = meter == nil ? nil : hypercallNumber(exit, vcpu)
    let action = platform.handle(exit, on: vcpu)
    events.emit(action, to: exit)
    if let meter { note(meter.nanoseconds(meter.now() &- start), of: exit, call) }
    switch exit.words.tag {
    case .cr: if action.isEmulate { followShadows(exit) }
    // A line feed to a port may end a line of the guest's console, which is to be seen before the guest goes on.
    case .io: if isLineFeed(exit) { takeSlack() }
    default: break
    }
    return action
  }

  /// As it was before the first run, with the guest in these states; breakpoints and settings stay.
  func startOver(_ states: [VCPUState]) {
    restart(states)
    retired = 0
    time = 0
    costs = ExitCosts()
    exitStates = ExitStateRing()
    stepPlan = nil
    judgedExit = nil
    overTrap = nil
    trapsAreStale = true
    exitsUntilSlack = Self.slackInterval
  }

  /// HLT retires at once; the vCPU sleeps behind it, unless a single-step trap of its own woke it.
  private func halt(_ vcpu: any VCPU) {
    lanes[current].action = .resume
    let before = vcpu.instructionCount
    _ = vcpu.run(VMEntry(.emulate), limit: 0)
    retired &+= vcpu.instructionCount &- before
    if recordsStates { exitStates.finish(vcpu) }
    lanes[current].activity = vcpu.activity == .active ? .active : .halted
  }
}
