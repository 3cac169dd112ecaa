/// Who answers exits without the vCPU's leaving `run`: what would be done between two runs is done in the midst of one,
/// and the guest goes on behind its instruction.
///
/// Invariant of the unsafe part: `owner` outlives the run. It is a bare address, and `deal` captures nothing, so that
/// asking counts no references.
package struct ExitMonitor {
  package typealias Deal = (UnsafeRawPointer, VMExit, any VCPU) -> PromptAnswer
  private let owner: UnsafeRawPointer
  private let deal: Deal

  /// `deal` is handed `owner`.
  package init(owner: UnsafeRawPointer, deal: @escaping Deal) {
    self.owner = owner
    self.deal = deal
  }

  /// Deals with an exit of `vcpu`, which stands as if it had returned it.
  package func answer(_ exit: VMExit, of vcpu: any VCPU) -> PromptAnswer { deal(owner, exit, vcpu) }
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
