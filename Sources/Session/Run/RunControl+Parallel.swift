import Host
import VMCore

/// vCPUs that run at the same time, each on a thread of its own, on engines whose time is the host's. Everything but
/// the guest itself happens with the gate held: an exit is dealt with by the vCPU's own thread, one exit at a time.
extension RunControl {
  /// Whether they do from here on. Where the guest may have to stop at an instruction, or one vCPU goes step by
  /// step, they take turns: then what is shown is one moment.
  func runsInParallel(_ goal: RunGoal) -> Bool {
    guard canRunInParallel, stepPlan == nil, goal.isEndless, breakpointTable.traps == DebugTraps() else { return false }
    return vcpus.indices.count { isStarted($0) } > 1
  }

  private func isStarted(_ index: Int) -> Bool {
    switch lanes[index].activity {
    case .active, .halted: true
    case .waitForSIPI, .shutdown: false
    }
  }

  /// Lets them run until one of them stops the session, somebody wants attention, or the platform asks for something
  /// that concerns more than the vCPU which made it ask.
  func runInParallel(_ goal: RunGoal) -> RunOutcome {
    let shown = current
    let gate = ParallelGate(count: vcpus.count)
    parallel = gate
    let threads = vcpus.indices.filter { $0 > 0 && isStarted($0) }.map { index in
      HostThread { self.live(index, gate, goal) }
    }
    if threads.contains(where: { $0 == nil }) {
      gate.take()
      gate.finish(.stopped(.error("the host gives no thread for a vCPU; run with fewer (--cpus)")), by: shown)
      gate.give()
    }
    if isStarted(0) { live(0, gate, goal) }
    for thread in threads { thread?.join() }
    parallel = nil
    current = gate.outcome == .attention ? shown : gate.stopper
    let outcome = conclude(gate.outcome ?? .attention)
    turn = VCPUTurn(holder: current, start: time, length: VCPUTurn.hostTime)
    return outcome
  }

  /// For attention every vCPU stands between two instructions.
  private func conclude(_ outcome: RunOutcome) -> RunOutcome {
    guard outcome == .attention else { return outcome }
    let shown = current
    for index in vcpus.indices {
      current = index
      if let other = finishAction() { return other }
    }
    current = shown
    return outcome
  }

  /// One vCPU's life from here to the end of the run.
  private func live(_ index: Int, _ gate: ParallelGate, _ goal: RunGoal) {
    gate.take()
    while gate.outcome == nil {
      current = index
      if let outcome = liveOn(vcpus[index], goal) { gate.finish(outcome, by: index) }
      if gate.outcome == nil, attention.isRaised || platform.hasRequests { gate.finish(.attention, by: index) }
      tellOthers(than: index, gate)
    }
    gate.give()
  }

  private func liveOn(_ vcpu: any VCPU, _ goal: RunGoal) -> RunOutcome? {
    vcpu.idle(until: time)
    return lanes[current].arrivedExit == nil ? advance(vcpu, goal) : dealWithArrival(vcpu, goal)
  }

  /// The exit a vCPU came with when the last run was over already.
  func dealWithArrival(_ vcpu: any VCPU, _ goal: RunGoal) -> RunOutcome? {
    guard let exit = lanes[current].arrivedExit else { return nil }
    lanes[current].arrivedExit = nil
    return dealWith(exit, vcpu, goal)
  }

  /// Runs a vCPU, alone or beside the others.
  @inline(__always)
  func runGuest(_ vcpu: any VCPU, _ entry: VMEntry, _ limit: UInt64) -> VMExit {
    guard let parallel, limit > 0 else { return vcpu.run(entry, limit: limit) }
    let exit = parallel.letIn(vcpu.index) { vcpu.run(entry, limit: limit) }
    current = vcpu.index
    return exit
  }

  /// What happened may concern them: an interrupt for one inside the guest, something to do for one that waits.
  private func tellOthers(than index: Int, _ gate: ParallelGate) {
    let isOver = gate.outcome != nil
    for vcpu in vcpus where vcpu.index != index {
      let other = vcpu.index
      if gate.isInside[other] {
        let hasInterrupt = platform.interruptPending(vcpu: other) && !lanes[other].windowArmed
        let isWanted = hasInterrupt || lanes[other].nmiPending && !lanes[other].nmiWindowArmed
        if isOver || isWanted { gate.callOut(vcpu) }
      } else if gate.isWaiting[other], isOver || isRunnable(other) {
        gate.wakeAll()
      }
    }
  }

  /// Everybody else waits, and for nothing that is there already: time goes on by this one's wait.
  func isLastAwake(_ index: Int, _ gate: ParallelGate) -> Bool {
    vcpus.indices.allSatisfy { $0 == index || !isStarted($0) || gate.isWaiting[$0] && !isRunnable($0) }
  }

  /// Waits until there is something to do for a vCPU, or a timer is due.
  func stay(_ vcpu: any VCPU, _ gate: ParallelGate) {
    let (start, before) = (ExitCosts.now(), time)
    let due = platform.nextDeadline.map { $0 > before ? $0 - before : 0 }
    gate.wait(vcpu.index, nanoseconds: due ?? .max)
    current = vcpu.index
    time = max(time, before &+ (ExitCosts.now() &- start))
  }
}
