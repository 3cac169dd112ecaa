import Debugger
import VMCore
import X86

/// Going back over calls: to before one that was made, or to the one that led here.
extension SessionCore {
  /// One instruction back; where that one returned from a call, to before the call.
  func stepBackOver() -> CommandResult {
    let after = currentState
    let answer = stepBack(1)
    guard !answer.failed, recorded == nil, disassembly.instruction(at: currentState.rip).isReturn,
      let call = call(endingAt: after.rip, after)
    else { return answer }
    return runBack(to: call, stackPointer: after[.rsp])
  }

  /// To before the call of the routine the guest is in.
  func runBackToCaller() -> CommandResult {
    if recorded != nil { return CommandResult(["a recording does not run: 'rc' goes back to the stop before"], failed: true) }
    let state = currentState
    let frames = Backtrace.frames(state, machine.memory, symbols: symbols, maximumFrames: 2)
    guard let caller = frames.dropFirst().first, let slot = caller.slot, let call = call(endingAt: caller.address, state) else {
      return CommandResult(["no call is found on the stack that led here ('bt' shows what is)"], failed: true)
    }
    let base = state.linear(.ss, 0).value
    return runBack(to: call, stackPointer: slot.value &- base &+ UInt64(state.mode.codeBits / 8))
  }

  /// The call whose next instruction is at an offset in CS.
  private func call(endingAt offset: UInt64, _ state: VCPUState) -> GVA? {
    let before = Disassembly(state: state, memory: machine.memory, symbols: symbols).backward(from: offset, count: 1).last
    return before.flatMap { $0.instruction.isCall ? $0.linear : nil }
  }

  /// To the last time the guest stood there with this stack pointer: no other breakpoint counts meanwhile.
  private func runBack(to address: GVA, stackPointer: UInt64) -> CommandResult {
    let (breakpoints, reasons) = (control.breakpoints, control.stopReasons)
    defer { (control.breakpoints, control.stopReasons) = (breakpoints, reasons) }
    var only = BreakpointTable()
    only.add(.execution(address)) { $0.condition = try? Expression("rsp == \(Hex.text(stackPointer))") }
    (control.breakpoints, control.stopReasons) = (only, ReasonSet())
    return runBack()
  }
}
