/// A vCPU's turn to execute, in virtual time.
package struct VCPUTurn: Equatable {
  private(set) var holder = 0
  /// When the turn is over; never, while no other vCPU can execute.
  private(set) var end = UInt64.max

  /// A turn's length in nanoseconds, which are instructions.
  package static let instructions: UInt64 = 10_000
  /// The same on an engine whose time is the host's.
  static let hostTime: UInt64 = 1_000_000

  init() {}
  init(holder: Int, start: UInt64, length: UInt64) {
    self.holder = holder
    end = start &+ length
  }

  func left(at time: UInt64) -> UInt64 { end > time ? end - time : 0 }

  /// Whether another goes next, as soon as it can. A vCPU alone goes on; the first that joins it goes at once.
  mutating func isOver(at time: UInt64, isAlone: Bool) -> Bool {
    if isAlone {
      end = .max
      return false
    }
    if end == .max { end = time }
    return time >= end
  }

  mutating func giveAway(at time: UInt64) { end = min(end, time) }
}
