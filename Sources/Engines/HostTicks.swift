import CHost

/// Host time for what is too short to ask the clock about, which costs several times as much: ticks of the processor's
/// own counter, or nanoseconds of the clock where that is not steady.
package enum HostTicks {
  private static let isSteady = chost_ticks_are_steady()

  package static func now() -> UInt64 { isSteady ? chost_ticks() : HostTime.now() }

  /// So many ticks in nanoseconds.
  package static func nanoseconds(_ ticks: UInt64) -> UInt64 {
    isSteady ? ticks.multipliedFullWidth(by: scale).high : ticks
  }

  /// Nanoseconds a tick, times 2^64: the counter beside the clock for two milliseconds, once.
  private static let scale: UInt64 = {
    let (start, first) = (HostTime.now(), chost_ticks())
    var passed: UInt64 = 0
    while passed < 2_000_000 { passed = HostTime.now() &- start }
    let ticks = chost_ticks() &- first
    // No counter is as slow as the clock's nanoseconds: the quotient fits.
    return ticks > passed ? ticks.dividingFullWidth((passed, 0)).quotient : .max
  }()
}
