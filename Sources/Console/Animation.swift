import Session

/// Stepping by itself: slowly, faster, and in the end flat out.
package struct Animation: Sendable {
  /// Steps a second, slow to fast.
  package static let usual = [2, 10, 50]
  private let speeds: [Int]
  private var index: Int?
  private var due: UInt64 = 0
  /// A step was asked for and has not come back.
  private var isWaiting = false

  package init(speeds: [Int]) { self.speeds = speeds.isEmpty ? Self.usual : speeds.map { min(max($0, 1), 1000) } }

  package var isOn: Bool { index != nil }

  /// Steps a second, nil where it is off.
  package var speed: Int? { index.map { speeds[$0] } }

  /// `animation: 10 steps a second; A faster, Space stops`
  package var text: String? {
    speed.map { "animation: \($0) step\($0 == 1 ? "" : "s") a second; A faster, Space stops" }
  }

  /// Starts it or goes to the next speed; false where the next is flat out, which is no animation any more.
  mutating func faster() -> Bool {
    let next = (index ?? -1) + 1
    guard next < speeds.count else {
      stop()
      return false
    }
    index = next
    return true
  }

  /// Ends it; true if it was on.
  @discardableResult
  mutating func stop() -> Bool {
    let wasOn = isOn
    index = nil
    isWaiting = false
    return wasOn
  }

  /// The session stopped: any reason but the step it asked for ends it.
  mutating func stopped(_ snapshot: SessionSnapshot) {
    isWaiting = false
    switch snapshot.stop {
    case .step, .created, .pause: break
    default: if snapshot.phase != .created { stop() }
    }
    if case .ended = snapshot.phase { stop() }
  }

  /// Whether a step is due at `now`, and the time to ask again; nanoseconds. Nil where it is off.
  mutating func tick(_ now: UInt64) -> (steps: Bool, next: UInt64)? {
    guard let speed else { return nil }
    let interval = 1_000_000_000 / UInt64(speed)
    guard !isWaiting, now >= due else { return (false, max(due, now + 1_000_000)) }
    due = (due + interval > now ? due : now) + interval
    isWaiting = true
    return (true, due)
  }
}
