import VMCore

/// A local APIC's timer (SDM 3A 11.5.4): counts a 1 GHz bus clock, so counts are ns.
///
/// A periodic timer faster than one interrupt a microsecond is held to that rate.
struct APICTimer: Equatable {
  enum Mode: UInt32 { case oneShot = 0, periodic = 1, tscDeadline = 2, reserved = 3 }

  private(set) var initialCount: UInt32 = 0
  private(set) var divide: UInt32 = 0
  /// When counting began; differences to it wrap.
  private var start: UInt64 = 0
  /// A count that ended before the mode was changed: nothing counts until the next initial count.
  private var hasRunOut = false
  /// The value of IA32_TSC_DEADLINE, 0 = disarmed, and the virtual time it stands for.
  private(set) var tscDeadline: UInt64 = 0
  private var tscDeadlineTime: UInt64 = 0
  private(set) var deadline = Deadline.never

  private static let shortestInterval: UInt64 = 1000

  /// Bus clocks a count (SDM 3A figure 11-10).
  var divisor: UInt64 {
    let code = divide & 3 | divide >> 1 & 4
    return 1 << UInt64((code + 1) & 7)
  }

  var period: UInt64 { UInt64(initialCount) &* divisor }

  func currentCount(_ now: UInt64, _ mode: Mode) -> UInt32 {
    guard initialCount != 0, !hasRunOut, mode == .oneShot || mode == .periodic else { return 0 }
    let counted = (now &- start) / divisor
    let initial = UInt64(initialCount)
    if mode == .periodic { return UInt32(truncatingIfNeeded: initial - counted % initial) }
    return counted >= initial ? 0 : UInt32(truncatingIfNeeded: initial - counted)
  }

  mutating func setInitialCount(_ value: UInt32, _ now: UInt64) {
    initialCount = value
    start = now
    hasRunOut = false
  }

  /// The count under way goes on from where it is at the new rate.
  mutating func setDivide(_ value: UInt32, _ now: UInt64, _ mode: Mode) {
    let counted = UInt64(initialCount &- currentCount(now, mode))
    divide = value & 0x0B
    start = now &- counted &* divisor
  }

  /// `value` in TSC counts, `offset` = TSC minus virtual time.
  mutating func setTSCDeadline(_ value: UInt64, offset: UInt64, _ now: UInt64) {
    tscDeadline = value
    // A deadline that has passed is due now.
    tscDeadlineTime = value > now &+ offset ? value &- offset : now
  }

  /// Another mode was chosen: switching to or from TSC-deadline disarms; between the other two the count goes on from
  /// where it is, and one that has run out stays so until the next initial count.
  mutating func change(from old: Mode, to new: Mode, _ now: UInt64) {
    guard old != new else { return }
    if old == .tscDeadline || new == .tscDeadline {
      initialCount = 0
      tscDeadline = 0
      return
    }
    let count = currentCount(now, old)
    hasRunOut = initialCount != 0 && count == 0
    start = now &- UInt64(initialCount &- count) &* divisor
  }

  /// Works out when the timer is next due after `now`; a masked timer never is.
  mutating func schedule(_ now: UInt64, _ mode: Mode, masked: Bool) {
    deadline = Deadline.never
    if mode == .tscDeadline {
      if tscDeadline != 0 { deadline = masked ? Deadline.never : Deadline.clamped(tscDeadlineTime) }
      return
    }
    guard !masked, mode != .reserved, initialCount != 0, !hasRunOut else { return }
    let elapsed = now &- start
    if mode == .oneShot {
      if elapsed < period { deadline = Deadline.after(now, period - elapsed) }
      return
    }
    let remaining = period - elapsed % period
    let floor = Self.shortestInterval
    let extra = remaining >= floor ? 0 : (floor - remaining + period - 1) / period * period
    deadline = Deadline.after(now, remaining + extra)
  }

  mutating func expired(_ mode: Mode) {
    if mode == .tscDeadline { tscDeadline = 0 }
  }

  mutating func code(_ coder: inout StateCoder) {
    coder.code(&initialCount)
    coder.code(&divide)
    divide &= 0x0B
    coder.code(&start)
    coder.code(&hasRunOut)
    coder.code(&tscDeadline)
    coder.code(&tscDeadlineTime)
    coder.code(&deadline)
  }
}
