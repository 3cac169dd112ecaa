import VMCore

/// Exits answered in the midst of a vCPU's run: recorded, counted, measured and handed to the platform like any other,
/// but without leaving the engine, wherever the next thing to happen is the guest's next instruction.
extension RunControl {
  /// Before a run of at most `most` instructions, of which `limit` are the engine's to count.
  @inline(__always)
  func preparePromptness(_ vcpu: any VCPU, _ entry: VMEntry, _ limit: UInt64, _ most: UInt64) {
    answersPromptly = limit > 0 && vcpus.count == 1 && !entry.interruptWindow && !entry.stopsAfterDelivery && !finishesApart
    guard answersPromptly else { return }
    countedTo = vcpu.instructionCount
    let (end, overflow) = vcpu.virtualTime.addingReportingOverflow(most)
    promptEnd = overflow ? .max : end
  }

  /// What vCPUs are given for the time of a run.
  var monitor: ExitMonitor {
    ExitMonitor(owner: UnsafeRawPointer(Unmanaged.passUnretained(self).toOpaque())) { owner, exit, vcpu in
      Unmanaged<RunControl>.fromOpaque(owner)._withUnsafeGuaranteedRef { $0.answer(exit, of: vcpu) }
    }
  }

  private func answer(_ exit: VMExit, of vcpu: any VCPU) -> PromptAnswer {
    guard answersPromptly, Self.isPrompt(exit), !interest.contains(exit.reason) else { return .declined }
    retired &+= exit.instructionCount &- countedTo
    countedTo = exit.instructionCount
    let now = vcpu.virtualTime
    if now > time { time = now }
    events.time = time
    if exit.isDirect {
      handleDirectly(exit, vcpu)
    } else {
      record(exit, vcpu, vcpu.exitCause)
      countForSlack()
      handle(exit, vcpu)
    }
    let action = lanes[current].action
    guard !action.isResume, mayGoOn(vcpu, since: now) else {
      isWantedOutside = true
      return .outside
    }
    lanes[current].action = .resume
    if recordsStates { exitStates.forgetOpen(vcpu) }
    return .action(action)
  }

  /// Exits whose answer concerns the instruction alone.
  @inline(__always)
  private static func isPrompt(_ exit: VMExit) -> Bool {
    switch exit.reason {
    case .io, .cpuid, .rdmsr, .wrmsr, .rdtsc, .rdtscp, .rdpmc, .crAccess, .drAccess, .pause, .invlpg, .invd, .wbinvd, .xsetbv,
      .gdtrIdtrAccess, .ldtrTrAccess, .eptViolation, .exception, .softwareInterrupt, .syscall, .vmcall:
      return true
    case .callout:
      if case .hlt = exit.qualification { return false }
      return true
    default: return false
    }
  }

  /// Nothing comes before the guest's next instruction.
  @inline(__always)
  private func mayGoOn(_ vcpu: any VCPU, since now: UInt64) -> Bool {
    guard !platform.hasRequests, retired < checkpointAt, vcpu.virtualTime == now, !platform.interruptPending(vcpu: current)
    else { return false }
    // What an exit may have left in the console buffer is looked for soon (`cut`), even where the run has far to go.
    if countsInstructions, promptEnd &- now > Self.sliceAfterExit { return false }
    if let deadline = platform.nextDeadline, deadline < promptEnd { return false }
    return !attention.isRaised
  }

  /// What is to be done about an exit that was answered, when the vCPU has been left for it.
  func finishOutside() -> RunOutcome? {
    isWantedOutside = false
    return dealWithRequests().map { .stopped($0) }
  }
}
