import Debugger
import VMCore

/// What the owner sets between two runs.
extension RunControl {
  /// Instructions in all at which the session's limit is reached.
  package var limit: UInt64 {
    get { instructionLimit }
    set { instructionLimit = newValue }
  }

  package var breakpoints: BreakpointTable {
    get { breakpointTable }
    set {
      breakpointTable = newValue
      trapsAreStale = true
    }
  }

  /// What a step is after; nil for "run".
  package var plan: StepPlan? {
    get { stepPlan }
    set {
      let changes = newValue?.goal != stepPlan?.goal && (newValue?.wantsExits ?? false || stepPlan?.wantsExits ?? false)
      if changes { trapsAreStale = true }
      stepPlan = newValue
    }
  }

  /// Instructions retired by all vCPUs together.
  package var instructionsRetired: UInt64 { retired }

  /// The vCPU looked at, the turn under way and the virtual time.
  package var place: (vcpu: Int, turn: VCPUTurn, time: UInt64) { (current, turn, time) }

  /// Whether a breakpoint's condition holds, with the exit judged where there is one and the vCPU.
  package var holds: (Expression, VMExit?, Int) -> Bool {
    get { judge }
    set { judge = newValue }
  }
}
