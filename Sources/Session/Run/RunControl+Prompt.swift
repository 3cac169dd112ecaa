import Debugger
import VMCore

/// Exits answered in the midst of a vCPU's run: recorded, counted, measured and handed to the platform like any other,
/// but without leaving the engine, wherever the next thing to happen is the guest's next instruction.
extension RunControl {
  /// Before a run of at most `most` instructions, of which `limit` are the engine's to count.
  @inline(__always)
  func preparePromptness(_ vcpu: any VCPU, _ entry: VMEntry, _ limit: UInt64, _ most: UInt64) {
    countedTo = vcpu.instructionCount
    let isApart = entry.interruptWindow || entry.nmiWindow || entry.stopsAfterDelivery || finishesApart
    let isPrompt = limit > 0 && vcpus.count == 1 && !isApart
    promptReasons = isPrompt ? Self.promptReasons.subtracting(interest) : ReasonSet()
    guard isPrompt else { return }
    let (end, overflow) = vcpu.virtualTime.addingReportingOverflow(most)
    promptEnd = overflow ? .max : end
  }

  /// Exits whose answer concerns the instruction alone. A callout of HLT is none of them.
  private static let promptReasons = ReasonSet([
    .io, .cpuid, .rdmsr, .wrmsr, .rdtsc, .rdtscp, .rdpmc, .crAccess, .drAccess, .pause, .invlpg, .invd, .wbinvd, .xsetbv,
    .gdtrIdtrAccess, .ldtrTrAccess, .eptViolation, .exception, .softwareInterrupt, .syscall, .vmcall, .callout,
  ])

  /// What vCPUs are given for the time of a run.
  var monitor: ExitMonitor {
    ExitMonitor(owner: UnsafeRawPointer(Unmanaged.passUnretained(self).toOpaque())) { owner, exit, vcpu in
      Unmanaged<RunControl>.fromOpaque(owner)._withUnsafeGuaranteedRef { $0.answer(exit, of: vcpu) }
    }
  }

  private func answer(_ exit: VMExit, of vcpu: any VCPU) -> PromptAnswer {
    guard promptReasons.contains(exit.reason) else { return .declined }
    if exit.reason == .callout, exit.words.tag == .hlt { return .declined }
    retired &+= exit.instructionCount &- countedTo
    countedTo = exit.instructionCount
    let now = vcpu.virtualTime
    if now > time { time = now }
    events.time = time
    let action: VMEntry.Action
    if exit.isDirect {
      action = handleDirectly(exit, vcpu)
    } else {
      record(exit, vcpu, vcpu.exitCause)
      countForSlack()
      action = handle(exit, vcpu)
    }
    guard !action.isResume, mayGoOn(vcpu, since: now) else {
      lanes[current].action = action
      isWantedOutside = true
      return .outside
    }
    if recordsStates { exitStates.forgetOpen(vcpu) }
    return .action(action)
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
