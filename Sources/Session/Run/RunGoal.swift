import Debugger
import VMCore

/// How far one `RunControl.run` may go.
package struct RunGoal {
  /// Count of retired instructions to stop at: of `vcpu`, or of all together.
  package var target = UInt64.max
  /// The vCPU a step is about; nil for "run".
  package var vcpu: Int?
  /// Stop when execution reaches this address with the stack pointer at least there.
  package var trap: GVA?
  package var stackAtLeast: UInt64 = 0
  /// Stop after delivering an external interrupt ("over" runs its handler apart).
  package var endsAtInterrupts = false
  /// Stop at the first instruction of an interrupt's or exception's handler.
  package var endsAtDeliveries = false
  package init() {}
}

/// Why `RunControl.run` came back.
package enum RunOutcome: Equatable, Sendable {
  /// `RunGoal.target`.
  case target
  /// `RunGoal.trap`.
  case trap
  /// `RunGoal.endsAtInterrupts`.
  case interrupted
  /// `RunGoal.endsAtDeliveries`.
  case delivered
  /// Something from outside wants to be looked at.
  case attention
  /// Every vCPU waits in HLT with interrupts on, and no timer is due.
  case idle
  /// The step plan saw what it waited for, or a breakpoint, or the guest ended.
  case stopped(StopReason)
}
