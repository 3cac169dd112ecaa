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

  /// Only something the guest does ends the run.
  var isEndless: Bool { target == .max && vcpu == nil && trap == nil && !endsAtInterrupts && !endsAtDeliveries }

  /// A step is about one vCPU, although all run.
  func concerns(_ index: Int) -> Bool { vcpu == nil || vcpu == index }

  /// Instructions that a vCPU may retire at most, of those it has retired and all have.
  @inline(__always)
  func room(_ index: Int, _ own: UInt64, _ all: UInt64) -> UInt64 {
    guard let vcpu else { return target &- all }
    return vcpu == index ? target &- own : .max
  }
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
