/// Who answers exits without the vCPU's leaving `run`: what would be done between two runs is done in the midst of
/// one, and the guest goes on behind its instruction.
package protocol ExitMonitor: AnyObject {
  /// Deals with an exit of `vcpu`, which stands as if it had returned it.
  func answer(_ exit: VMExit, of vcpu: any VCPU) -> PromptAnswer
}

/// What becomes of an exit the monitor was asked about in the midst of `run`.
package enum PromptAnswer: Sendable {
  /// Nothing was done: `run` is to return it.
  case declined
  /// It was dealt with, but the monitor has more to do: `run` is to return with `budget`, and the next entry carries
  /// out the answer.
  case outside
  /// This is carried out, and the guest goes on.
  case action(VMEntry.Action)
}
