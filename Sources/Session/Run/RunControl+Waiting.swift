import Debugger
import VMCore
import X86

extension RunControl {
  // MARK: interrupts

  /// Takes the platform's interrupt and puts it before the next entry; gives the stop somebody asked for.
  func acknowledge(_ vcpu: any VCPU, _ goal: RunGoal) -> RunOutcome? {
    let vector: Vector
    if let delivered = platform.deliverInterrupt(to: vcpu) {
      vector = delivered
      lanes[current].activity = .active
    } else {
      guard let acknowledged = platform.acknowledgeInterrupt(vcpu: current) else { return nil }
      vector = acknowledged
      lanes[current].injection = .externalInterrupt(vector)
      if interruptsExit, let stop = arrival(.externalInterrupt, .externalInterrupt(vector: vector), vcpu) {
        return .stopped(stop)
      }
    }
    events.emit(Event(.interrupt, vcpu: UInt8(truncatingIfNeeded: current), a: UInt32(vector)))
    if let number = breakpointTable.check(interrupt: vector, holds: { judge($0, nil, current) }) {
      return .stopped(.breakpoint(number))
    }
    if var waiting = stepPlan {
      let reached = waiting.observeInterrupt()
      stepPlan = waiting
      if reached { return .stopped(.interrupt(vector)) }
    }
    return stopReasons.contains(.externalInterrupt) ? .stopped(.interrupt(vector)) : nil
  }

  // MARK: halted vCPUs

  /// The current vCPU cannot run: time moves on to the next timer event, or nothing will ever happen.
  func wait(_ vcpu: any VCPU) -> RunOutcome? {
    if let parallel, !isLastAwake(vcpu.index, parallel) {
      stay(vcpu, parallel)
      return nil
    }
    let isHalted = lanes[current].activity == .halted
    if vcpus.count > 1, lanes.all.contains(where: { $0.activity == .active }) {
      return nil
    }
    var (someoneWakes, timer) = (false, UInt64.max)
    for index in vcpus.indices where lanes[index].activity == .halted {
      if vcpus[index].canTakeInterrupt { someoneWakes = true }
      timer = min(timer, vcpus[index].timerDeadline ?? .max)
    }
    guard someoneWakes || timer != .max else {
      return .stopped(isHalted || vcpus.count > 1 ? .haltedForGood : .tripleFault)
    }
    let deadline = min(platform.nextDeadline ?? .max, timer)
    guard deadline != .max, !waitsInVain() else { return .idle }
    if deadline > time, sleep == nil { onIdle?(deadline - time) }
    if attention.isRaised { return nil }
    var wake = deadline
    if let sleep, deadline > time { wake = time &+ sleep(deadline - time) }
    for index in vcpus.indices where lanes[index].activity != .active { vcpus[index].idle(until: wake) }
    time = max(time, wake)
    exitsUntilSlack -= Self.exitsPerWait
    if exitsUntilSlack <= 0 { takeSlack() }
    return nil
  }

  /// The limit of a run on a vCPU that counts no instructions: one, or host time in ns, not past the next timer
  /// event nor past this vCPU's turn.
  func hostTime(_ room: UInt64, _ vcpu: any VCPU) -> UInt64 {
    if room <= Self.mostSteps { return min(room, 1) }
    var limit = vcpus.count > 1 && parallel == nil ? max(min(turn.left(at: vcpu.virtualTime), Self.hostSlice), 2) : Self.hostSlice
    if let deadline = platform.nextDeadline {
      let now = vcpu.virtualTime
      // A limit of 1 would be a step.
      limit = min(limit, deadline > now ? max(deadline - now, 2) : 2)
    }
    return limit
  }
  /// Goals further away than this are none.
  private static let mostSteps: UInt64 = 1 << 62
  /// The longest run without a look at the console buffer, in ns.
  private static let hostSlice: UInt64 = 5_000_000

  /// An interrupt or NMI reaches a vCPU whose VMCS lets it exit: the monitor sees it, then injects it. Gives the
  /// stop somebody asked for.
  func arrival(_ reason: ExitReason, _ qualification: ExitQualification, _ vcpu: any VCPU) -> StopReason? {
    let state = vcpu.state
    let exit = VMExit(
      vcpu: UInt8(truncatingIfNeeded: vcpu.index), reason: reason, qualification: qualification, rip: state.rip,
      instructionLength: 0, instructionCount: vcpu.instructionCount)
    let bit: VMXControlBit = reason == .externalInterrupt ? .externalInterruptExiting : .nmiExiting
    record(exit, vcpu, .control(bit))
    return interest.contains(reason) ? examine(exit, vcpu) : nil
  }

  // MARK: what the monitor owns of CR0 and CR4

  /// The monitor carried out a write to CR0 or CR4 that made the guest exit: the guest reads from then on what
  /// it wrote.
  func followShadows(_ exit: VMExit) {
    guard case .cr(let number, let access, _, let value) = exit.qualification, access != .read else { return }
    let vmcs = vcpus[current].controls.vmcs
    switch (number, access) {
    case (0, .clts): lanes[current].cr0Shadow = vmcs.cr0Shadow & ~CR0.ts
    case (0, .lmsw): lanes[current].cr0Shadow = vmcs.cr0Shadow & ~0xE | value & 0xF
    case (0, _): lanes[current].cr0Shadow = value
    case (4, _): lanes[current].cr4Shadow = value
    default: return
    }
    guard vmcs.cr0Mask | vmcs.cr4Mask != 0 else { return }
    vcpus[current].controls.vmcs.cr0Shadow = lanes[current].cr0Shadow
    vcpus[current].controls.vmcs.cr4Shadow = lanes[current].cr4Shadow
  }

  /// The bits that a mask newly takes over read as they are: the guest notices nothing.
  func adoptShadows(cr0 bits0: UInt64, cr4 bits4: UInt64) {
    guard bits0 | bits4 != 0 else { return }
    for index in vcpus.indices {
      let state = vcpus[index].state
      lanes[index].cr0Shadow = lanes[index].cr0Shadow & ~bits0 | state.cr0 & bits0
      lanes[index].cr4Shadow = lanes[index].cr4Shadow & ~bits4 | state.cr4 & bits4
    }
    trapsAreStale = true
  }

  // MARK: VM entry

  /// Checks the current vCPU's state and controls as VM entry does, once after somebody changed them; the
  /// problem in words.
  func checkEntry() -> String? {
    guard entryIsUnchecked else { return nil }
    let entered = vcpus.indices.filter { lanes[$0].activity == .active || lanes[$0].activity == .halted }
    guard let problem = entered.compactMap({ vcpus[$0].entryProblem() }).first else {
      entryIsUnchecked = false
      return nil
    }
    return "\(problem.rule) (field \(problem.field.sdmName), \(problem.section))"
  }

  /// Counts jumps to timers since the last instruction; true when there were so many that none of the timers will
  /// ever wake anybody: all are masked somewhere.
  private func waitsInVain() -> Bool {
    if waitedAt != retired { vainWaits = 0 }
    waitedAt = retired
    vainWaits += 1
    guard vainWaits > Self.vainWaitLimit else { return false }
    vainWaits = 0
    return true
  }

  // MARK: turns

  /// Whose turn it is. All vCPUs share one time line, as if one processor of the host ran them one after the other: a
  /// vCPU's clock comes to the present when it has its turn, so no two ever disagree about the time. A turn ends after
  /// its slice, with HLT, and at once where a vCPU wakes that waited while this one ran alone; not in the middle of an
  /// instruction. All of that depends on the guest and its time alone.
  func giveTurn() {
    current = turn.holder
    let next = nextInTurn
    let isOver = turn.isOver(at: time, isAlone: next == nil)
    // An answer is carried out, an event delivered, before another vCPU goes on.
    guard lanes[current].action.isResume, lanes[current].injection == nil else { return }
    guard let next, isOver || !isRunnable(current) else { return }
    turn = VCPUTurn(holder: next, start: time, length: countsInstructions ? VCPUTurn.instructions : VCPUTurn.hostTime)
    current = next
    vcpus[next].idle(until: time)
    turnsUntilSlack -= 1
    if turnsUntilSlack <= 0 {
      turnsUntilSlack = Self.slackTurns
      takeSlack()
    }
  }

  /// The next vCPU that can execute, going round from the one whose turn it is, without that.
  private var nextInTurn: Int? {
    let count = vcpus.count
    for distance in 1..<count {
      let index = (turn.holder + distance) % count
      if isRunnable(index) { return index }
    }
    return nil
  }

  func isRunnable(_ index: Int) -> Bool {
    switch lanes[index].activity {
    case .active: return true
    case .halted:
      if lanes[index].nmiPending && vcpus[index].canTakeNMI || lanes[index].injection != nil { return true }
      if platform.interruptPending(vcpu: index), vcpus[index].canTakeInterrupt { return true }
      return vcpus[index].timerDeadline ?? .max <= time
    case .waitForSIPI, .shutdown: return false
    }
  }

  // MARK: traps

  /// Tells every vCPU where to stop and what to exit for.
  func refreshTraps(_ trap: GVA?) {
    guard trapsAreStale || trap != nil else { return }
    var traps = breakpointTable.traps
    if let trap { traps.execution.insert(trap.value) }
    var controls = breakpointTable.controls(over: baseControls)
    interest = breakpointTable.interest
    interest.formUnion(stopReasons)
    interest.formUnion(loggedReasons)
    if let stepPlan {
      controls = stepPlan.controls(over: controls)
      interest.formUnion(stepPlan.interest)
    }
    if !baseControls.policy.isEmpty {
      controls = controls.obeying(baseControls)
      if !interest.isEmpty { interest.insert(.callout) }
    }
    controls.isDeprivileged = isDeprivileged
    interruptsExit = controls.vmcs.has(.externalInterruptExiting)
    nmisExit = controls.vmcs.has(.nmiExiting)
    for vcpu in vcpus {
      if vcpu.traps != traps { vcpu.traps = traps }
      controls.vmcs.cr0Shadow = lanes[vcpu.index].cr0Shadow
      controls.vmcs.cr4Shadow = lanes[vcpu.index].cr4Shadow
      if vcpu.controls != controls { vcpu.controls = controls }
    }
    trapsAreStale = trap != nil
  }

  /// A trap lies on a vCPU's next instruction: it stopped the session there, or is the goal itself, and is not
  /// to stop it before that instruction retired.
  func isAtTrap(_ index: Int) -> Bool {
    let lane = lanes[index]
    let traps = vcpus[index].traps
    return !traps.execution.isEmpty && lane.action == .resume && lane.activity == .active
      && traps.execution.contains(vcpus[index].state.linearRIP.value)
  }

  /// Whether the current vCPU is about to execute at `address` with its stack pointer at least there.
  func isAt(_ address: GVA, stackAtLeast: UInt64) -> Bool {
    let state = vcpus[current].state
    return state.linearRIP == address && state[.rsp] >= stackAtLeast && lanes[current].action == .resume
  }

  /// Executes one instruction with the execution traps off. An event delivered first wins: then the trap
  /// stays, and catches the return.
  func runOverTrap(_ vcpu: any VCPU, _ entry: VMEntry, _ limit: UInt64) -> VMExit {
    // Without room, as at the end of a turn, the instruction is still to come.
    if limit == 0, entry.action == .resume, entry.inject == nil { return vcpu.run(entry, limit: 0) }
    overTrap = nil
    guard entry.action == .resume, entry.inject == nil else { return vcpu.run(entry, limit: limit) }
    let traps = vcpu.traps
    var without = traps
    without.execution = []
    vcpu.traps = without
    let before = (vcpu.instructionCount, vcpu.state.rip)
    let exit = vcpu.run(entry, limit: 1)
    vcpu.traps = traps
    // Called back before it executed anything: the instruction is still to come.
    if exit.reason == .kicked, (vcpu.instructionCount, vcpu.state.rip) == before { overTrap = current }
    return exit
  }

  // MARK: what was left at a stop

  /// Carries out what the last exit still wants, so that the guest stands between two instructions.
  func finishAction() -> RunOutcome? {
    guard lanes[current].action != .resume else { return nil }
    return enter(vcpus[current], limit: 0, pending: false, RunGoal())
  }

  /// The exit the session stopped at goes to the platform now.
  func handlePendingExit() -> StopReason? {
    guard let exit = lanes[current].pendingExit else { return nil }
    lanes[current].pendingExit = nil
    return pass(exit, vcpus[current])
  }

  /// The person changed registers: the instruction of a pending exit starts again from its beginning.
  /// The exit it makes then was judged already and does not stop a second time.
  package func restartInstruction() {
    if let exit = lanes[current].pendingExit { judgedExit = exit }
    lanes[current].pendingExit = nil
    lanes[current].arrivedExit = nil
    lanes[current].action = .resume
  }

  // MARK: requests

  /// What the platform asks for. While vCPUs run at the same time that waits until all have come back.
  @inline(__always)
  func dealWithRequests() -> StopReason? {
    platform.hasRequests && parallel == nil ? deal(with: platform.takeRequests()) : nil
  }

  /// Requests of the platform, in order; gives the first stop among them.
  func deal(with requests: [PlatformRequest]) -> StopReason? {
    var stop: StopReason?
    for request in requests {
      switch request {
      case .initialize(let index): initialize(index)
      case .startup(let index, let vector): startUp(index, vector)
      case .nmi(let index):
        guard vcpus.indices.contains(index) else { break }
        lanes[index].nmiPending = true
        guard nmisExit else { break }
        let wanted = arrival(.exception, .exception(vector: Exception.nmi.rawValue, errorCode: nil, linear: 0), vcpus[index])
        if stop == nil { stop = wanted }
      case .yield: yield()
      case .block(let index): block(index)
      case .crash(let why): if stop == nil { stop = .error(why) }
      case .shutdown, .exit, .reset:
        note(request)
        let wanted = onRequest(request)
        if stop == nil { stop = wanted }
      }
    }
    return stop
  }

  /// Lets the other vCPUs go first.
  private func yield() { turn.giveAway(at: time) }

  /// Carries out what the present exit wants, then lets the vCPU sleep behind it.
  private func block(_ index: Int) {
    guard vcpus.indices.contains(index) else { return }
    let before = vcpus[index].instructionCount
    _ = vcpus[index].run(lanes[index].takeEntry(interruptPending: false), limit: 0)
    retired &+= vcpus[index].instructionCount &- before
    if recordsStates { exitStates.finish(vcpus[index]) }
    lanes[index].activity = .halted
  }

  private func note(_ request: PlatformRequest) {
    switch request {
    case .exit(let status): events.emit(Event(.request, a: 1, b: UInt64(bitPattern: Int64(status))))
    case .reset: events.emit(Event(.request, a: 2))
    default: events.emit(Event(.request, a: 0))
    }
  }

  private func initialize(_ index: Int) {
    guard vcpus.indices.contains(index), !holdsInit(index) else { return }
    events.emit(Event(.processorSignal, vcpu: UInt8(truncatingIfNeeded: index), a: 0))
    vcpus[index].state = VCPUState()
    if index == 0 { lanes[index].startAgain() } else { lanes[index].initialize() }
    takeShadows(index)
  }

  /// VMX operation blocks INIT: it waits for VMXOFF, or makes a guest's guest exit, halted or not (SDM 3C 24.8, 26.2).
  private func holdsInit(_ index: Int) -> Bool {
    let operation = vcpus[index].state.vmx
    guard operation.vmxon != nil else { return false }
    vcpus[index].state.vmx.isInitPending = true
    if operation.isNonRoot && lanes[index].activity == .halted { lanes[index].activity = .active }
    return true
  }

  /// The read shadows begin with what the registers hold.
  private func takeShadows(_ index: Int) {
    let state = vcpus[index].state
    lanes[index].cr0Shadow = state.cr0
    lanes[index].cr4Shadow = state.cr4
    trapsAreStale = true
  }

  /// SIPI (SDM 3A 9.4.4): real mode at `vector` * 4096.
  private func startUp(_ index: Int, _ vector: UInt8) {
    guard vcpus.indices.contains(index), lanes[index].startUp() else { return }
    events.emit(Event(.processorSignal, vcpu: UInt8(truncatingIfNeeded: index), a: 1, b: UInt64(vector)))
    var state = VCPUState()
    state.rip = 0
    state[.cs].selector = UInt16(vector) << 8
    state[.cs].base = UInt64(vector) << 12
    vcpus[index].state = state
    vcpus[index].idle(until: time)
  }

  /// Puts every vCPU where it starts, with nothing pending.
  package func restart(_ states: [VCPUState]) {
    for index in vcpus.indices {
      vcpus[index].state = index < states.count ? states[index] : VCPUState()
      lanes[index] = RunLane()
      if index > 0 { lanes[index].activity = .waitForSIPI }
      takeShadows(index)
    }
    current = 0
    turn = VCPUTurn()
  }
}
