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
    if c.pointee.exit.words.isString { return .exit }
    let (next, stamp) = (c.pointee.rip, c.pointee.stamp)
    let ahead = Int64(o.pointee.remaining)
    c.pointee.rip = (next &- UInt64(o.pointee.length)) & c.pointee.addressMask
    c.pointee.budget &+= ahead
    let answer = ask(monitor, .instruction(length: o.pointee.length), length: o.pointee.length)
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

  /// Asks about the pending exit at RIP, which leaves `open`.
  @inline(__always)
  private func ask(_ monitor: ExitMonitor, _ open: AfterExit, length: UInt8) -> PromptAnswer {
    var result = exit(c.pointee.exit.reason, c.pointee.exit.words, length: length, cause: c.pointee.exit.cause)
    result.isDirect = c.pointee.exit.isDirect
    afterExit = open
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
        if c.pointee.exit.words.tag == .mmio { return false }
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

  // MARK: accesses to devices

  /// The loop gave `o` up, a plain load or store at which no memory is: true where the monitor has answered that, so
  /// that it can be carried out.
  private func isAnswered(_ o: MicroOpPointer) -> Bool {
    guard asksPromptly, promptAnswer == nil, isPlain, c.pointee.exit.words.tag == .mmio, let monitor else {
      return false
    }
    let answer = ask(monitor, .instruction(length: o.pointee.length), length: o.pointee.length)
    switch answer {
    case .declined: return false
    case .action(.complete(let value)):
      complete(value)
      completedUsed = 0
      afterExit = .nothing
      return true
    default:
      promptAnswer = (answer, c.pointee.rip)
      return false
    }
  }

  /// Carries out one micro-op by itself. An exit of a plain access is answered in its midst, where that is possible.
  func carryOut(_ op: MicroOpPointer, of block: BlockPointer) -> LoopEnd {
    let single = c.pointee.singleOp
    if op != single { single.pointee = op.pointee }
    let end = c.execute(block, at: single)
    guard case .stop(.exit) = end, single.pointee.isPlainAccess else { return end }
    return finishAccess(single, of: block) ?? end
  }

  /// Carries out an access that the loop gave up; nil where the monitor does not answer its exit.
  private func finishAccess(_ op: MicroOpPointer, of block: BlockPointer) -> LoopEnd? {
    let single = c.pointee.singleOp
    if op != single { single.pointee = op.pointee }
    var end: LoopEnd?
    // An access that reaches over two pages exits for each.
    while isAnswered(single) {
      c.pointee.budget &-= Int64(single.pointee.remaining)
      let next = c.execute(block, at: single)
      end = next
      guard case .stop(.exit) = next else { break }
    }
    if case .done = end { settle() }
    return end
  }

  /// Goes on behind the plain accesses that the loop gives up, as long as the monitor answers them.
  func goOnBehindAccesses(_ end: LoopEnd) -> LoopEnd {
    var end = end
    while case .stop(.exit) = end, asksPromptly {
      guard let block = BlockPointer(bitPattern: c.pointee.hostBlock), let o = MicroOpPointer(bitPattern: c.pointee.hostOp),
        o != c.pointee.singleOp, o.pointee.isPlainAccess
      else { break }
      let stamp = c.pointee.stamp
      guard let next = finishAccess(o, of: block) else { break }
      end = next
      guard case .done = next else { break }
      if c.pointee.stamp == stamp {
        end = c.execute(block, at: o + 1)
      } else {
        c.pointee.rip = c.nextRIP(block, o)
        c.pointee.budget &+= Int64(o.pointee.remaining) &- 1
        end = .find
      }
    }
    return end
  }

  // MARK: exceptions

  /// Delivers the fault of an instruction that generated code had carried out, without leaving it, where no one looks
  /// on between instructions and the first handler did not fault at its first. False with the fault left as it was, or
  /// with the monitor's answer to its exit waiting.
  func deliverInPlace() -> Bool {
    let isWatched = stopsAfterDelivery || c.pointee.windowRequested || c.pointee.leaveSoon || c.pointee.dr7 & 0xFF != 0
    let isMonitor = c.pointee.vmx.vmxon != VMXState.none || c.pointee.vmx.heldInterrupt != nil
    let wanted: QuickExits = [.monitorTrap, .preemptionTimer]
    guard !isWatched, !isMonitor, c.pointee.quick.isDisjoint(with: wanted), standstill.at != c.retired else { return false }
    let (fault, original) = (presentFault, c.pointee.fault)
    while true {
      do throws(Stop) {
        try c.deliver(fault)
        settle()
        standStill()
        return true
      } catch {
        c.pointee.fault = original
        guard error == .exit, !c.pointee.emulating, let action = actionPromptly(on: fault) else { return false }
        if case .retire(let rip) = action {
          c.pointee.rip = rip
          c.pointee.budget &-= 1
          settle()
          return true
        }
        c.pointee.emulating = true
      }
    }
  }

  /// What the monitor does about an exception on its way, where that can be carried out here.
  private func actionPromptly(on fault: Fault) -> VMEntry.Action? {
    guard asksPromptly, isPlain, c.pointee.exit.words.tag == .exception, let monitor else { return nil }
    let answer = ask(monitor, .delivery(fault), length: 0)
    if case .declined = answer { return nil }
    if case .action(let action) = answer, isPlain, c.pointee.activity == .active {
      switch action {
      case .emulate, .retire:
        afterExit = .nothing
        return action
      default: break
      }
    }
    promptAnswer = (answer, c.pointee.rip)
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
