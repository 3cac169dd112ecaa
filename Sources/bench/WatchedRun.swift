import Session
import VMCore

extension SessionConfiguration {
  /// What a console asks for of each exit: its cost and registers.
  mutating func watch(_ isWatched: Bool) { (measuresCost, recordsStates) = (isWatched, isWatched) }
}

extension Session {
  /// Runs to the guest's end, on a thread of the session's own where it is watched, as under a console; gives the
  /// processor time of this process, ns.
  func timeToEnd(isWatched: Bool) throws(VMError) -> Double {
    if isWatched { start() }
    defer { stop() }
    let begin = HostClock.ownCPUTime()
    if isWatched {
      submit("continue")
      try awaitEnd()
    } else {
      try check("continue")
    }
    return Double(HostClock.ownCPUTime() &- begin)
  }
}
