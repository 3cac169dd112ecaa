import VMCore

/// Exits that are looked at closely: how long the monitor took, and the registers before and after.
///
/// A guest that exits a million times a second would be half as fast for it, and nobody sees more than the newest. So a
/// guest that runs freely, with a person before it, has a few exits looked at closely: the first ones of a run, and the
/// newest ones whenever it is about to be shown or paused. Of the others every 64th is measured. Where anything may stop
/// it at an exit, or all is recorded, each is looked at.
extension RunControl {
  /// Exits of a close look, and the instructions it takes at most.
  static let closeLook = 128
  private static let closeLookInstructions: UInt64 = 200_000
  private static let measuredShare: UInt64 = 64

  /// The exit at hand is kept with its registers.
  @inline(__always)
  var looksClosely: Bool { looksAtAll || statesToFinish > 0 }

  /// The exit that was just counted is measured.
  @inline(__always)
  var measuresNextExit: Bool { looksClosely || costs.exitCount % Self.measuredShare == 0 }

  /// Looks closely at what comes next, then raises `wish`. False where that is not needed: the newest exits are known, or
  /// a look for another wish just ended.
  func lookClosely(before wish: Attention) -> Bool {
    defer { hasLookedClosely = false }
    guard !looksClosely, recordsStates, !hasLookedClosely else { return false }
    statesToFinish = Self.closeLook
    closeLookEnd = retired &+ Self.closeLookInstructions
    afterCloseLook = wish
    return true
  }

  /// Ends a close look, if one is under way.
  func endCloseLook() {
    guard !afterCloseLook.isEmpty else { return }
    hasLookedClosely = true
    attention.bits.bitwiseOr(afterCloseLook.rawValue, ordering: .releasing)
    afterCloseLook = []
  }

  /// The guest stands: nobody waits for a close look any more.
  func forgetCloseLook() { (afterCloseLook, hasLookedClosely) = ([], false) }

  /// The run stops at the exit just dealt with: its registers are those of now.
  func keepLastExit(_ vcpu: any VCPU) {
    guard recordsStates, !looksClosely, costs.exitCount > 0 else { return }
    exitStates.begin(costs.exitCount - 1, vcpu, lastCause)
  }
}
