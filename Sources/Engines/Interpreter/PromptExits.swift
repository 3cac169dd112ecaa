import VMCore
import X86

/// Exits that are answered in the midst of `run`: of a system instruction where it stands, so that the loop or
/// generated code goes on behind it as behind any other instruction; of anything else by the driver, which need not
/// return.
extension InterpreterVCPU {
  /// Nothing is to happen at the end of an exit beyond its answer, as far as is known at the beginning of a run.
  var mayAskPromptly: Bool {
    monitor != nil && !stopsAfterDelivery && !c.pointee.windowRequested && !c.pointee.watching
      && c.pointee.quick.isDisjoint(with: [.monitorTrap, .preemptionTimer])
  }

  /// The same as far as the guest decides it.
  @inline(__always)
  private var isPlain: Bool {
    c.pointee.rflags & RFLAGS.tf == 0 && c.pointee.dr7 & 0xFF == 0 && !c.pointee.alone && !c.pointee.leaveSoon
      && c.pointee.vmx.vmxon == VMXState.none && c.pointee.vmx.heldInterrupt == nil
  }

  /// Has the monitor answer the exit of `o`, a system instruction under way, and finishes that: nil if it is over as if
  /// it had never exited. Where only the answer is known, it waits for `exitOfInstruction`.
  func finishPromptly(_ o: MicroOpPointer) -> Stop? {
    guard asksPromptly, isPlain, !c.pointee.exit.isCallout, let monitor else { return .exit }
    if case .io(_, _, _, string: true, _, _) = c.pointee.exit.qualification { return .exit }
    let (next, stamp) = (c.pointee.rip, c.pointee.stamp)
    let ahead = Int64(o.pointee.remaining)
    c.pointee.rip = (next &- UInt64(o.pointee.length)) & c.pointee.addressMask
    c.pointee.budget &+= ahead
    let answer = ask(monitor, length: o.pointee.length)
    c.pointee.budget &-= ahead
    switch answer {
    case .declined:
      c.pointee.rip = next
      return .exit
    case .outside: break
    case .action(let action): if isFinished(o, action, next: next, stamp: stamp) { return executeAgain(o) }
    }
    promptAnswer = (answer, c.pointee.rip)
    return .exit
  }

  /// Asks about the pending exit of the instruction at RIP.
  @inline(__always)
  private func ask(_ monitor: ExitMonitor, length: UInt8) -> PromptAnswer {
    var result = exit(c.pointee.exit.reason, c.pointee.exit.qualification, length: length, cause: c.pointee.exit.cause)
    result.isDirect = c.pointee.exit.isDirect
    afterExit = .instruction(length: length)
    // What the monitor computes with floating point is none of the guest's.
    let isLoaded = c.pointee.mxcsrLoaded
    if isLoaded { c.unloadMXCSR() }
    let answer = monitor.answer(result, of: self)
    if isLoaded { _ = c.floatsFreely }
    return answer
  }

  /// Carries out the answer to the exit of `o`, but for an instruction that is to execute; false, with nothing done,
  /// where code or context changed under it or the driver must do it.
  @inline(__always)
  private func isFinished(_ o: MicroOpPointer, _ action: VMEntry.Action, next: UInt64, stamp: UInt64) -> Bool {
    let isEnd = o.pointee.op == .systemEnd
    guard isEnd || c.pointee.stamp == stamp, c.pointee.activity == .active else { return false }
    if case .retire(let rip) = action {
      guard isEnd || rip == next else { return false }
      c.pointee.rip = rip
    } else {
      guard case .instruction = afterExit, c.pointee.stamp == stamp else { return false }
      switch action {
      case .skip: break
      case .complete(let value):
        if case .mmio = c.pointee.exit.qualification { return false }
        c.pointee.hasAnswer = !putPort(value)
        c.pointee.answer = value
        if !c.pointee.hasAnswer { c.pointee.rflags &= ~RFLAGS.rf }
      case .emulate: c.pointee.emulating = true
      default: return false
      }
      c.pointee.rip = next
    }
    afterExit = .nothing
    return true
  }

  /// The instruction executes with the monitor's answer or leave, where it has not done so; the stop that leads to.
  @inline(__always)
  private func executeAgain(_ o: MicroOpPointer) -> Stop? {
    if c.pointee.hasAnswer || c.pointee.emulating {
      let resumeFlag = c.pointee.rflags & RFLAGS.rf
      do throws(Stop) { try c.systemInstruction(o) } catch { return error }
      c.pointee.rflags &= ~resumeFlag
    }
    settle()
    return nil
  }

  // MARK: by the driver

  /// The loop was left with the answer to its exit known.
  func finish(_ prompt: (answer: PromptAnswer, rip: UInt64)) -> VMExit? {
    promptAnswer = nil
    c.pointee.rip = prompt.rip
    guard case .action(let action) = prompt.answer else { return exit(.budget, .budget) }
    return carryOutPromptly(action)
  }

  /// A further exit of the same instruction is returned: REP has as many as the guest likes.
  private func carryOutPromptly(_ action: VMEntry.Action) -> VMExit? {
    asksPromptly = false
    defer { asksPromptly = true }
    return carryOut(VMEntry(action))
  }

  /// An exit about to be returned, unless the monitor answers it; nil to go on.
  func answered(_ exit: VMExit) -> VMExit? {
    guard asksPromptly, isPlain, !c.isNonRoot, let monitor else { return exit }
    c.unloadMXCSR()
    switch monitor.answer(exit, of: self) {
    case .declined: return exit
    case .outside: return self.exit(.budget, .budget)
    case .action(let action): return carryOutPromptly(action)
    }
  }
}
