import CHost

/// Host time for what is too short to ask the clock about, which costs several times as much: ticks of the processor's
/// own counter, or nanoseconds of the clock where that is not steady.
package struct HostTicks: Sendable {
  private let isSteady: Bool
  /// Nanoseconds a tick, times 2^64.
  private let scale: UInt64

  /// The first one of a process takes two milliseconds.
  package init() {
    isSteady = Self.counterIsSteady
    scale = isSteady ? Self.counterScale : 0
  }

  package func now() -> UInt64 { isSteady ? chost_ticks() : HostTime.now() }

  /// So many ticks in nanoseconds.
  package func nanoseconds(_ ticks: UInt64) -> UInt64 {
    isSteady ? ticks.multipliedFullWidth(by: scale).high : ticks
  }

  private static let counterIsSteady = chost_ticks_are_steady()

  /// The counter beside the clock for two milliseconds.
  private static let counterScale: UInt64 = {
    let (start, first) = (HostTime.now(), chost_ticks())
    var passed: UInt64 = 0
    while passed < 2_000_000 { passed = HostTime.now() &- start }
    let ticks = chost_ticks() &- first
    // No counter is as slow as the clock's nanoseconds: the quotient fits.
    return ticks > passed ? ticks.dividingFullWidth((passed, 0)).quotient : .max
  }()
}
