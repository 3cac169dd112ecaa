/// A vCPU's virtual time, ns: host time spent inside `run`, and time moved forward by `idle`.
struct KVMClock {
  private var ran: UInt64 = 0
  private var slept: UInt64 = 0
  /// The moment of CLOCK_MONOTONIC up to which the present run is counted.
  private(set) var now: UInt64 = 0
  // Within a run the processor's own counter is asked, which costs a fraction of the clock.
  private let ticks = HostTicks()
  private var start: UInt64 = 0
  private var startTicks: UInt64 = 0

  var time: UInt64 { ran &+ slept }

  /// A run begins.
  @inline(__always)
  mutating func begin() {
    start = HostTime.now()
    startTicks = ticks.now()
    now = start
  }

  /// The run has come to the present.
  @inline(__always)
  mutating func pass() {
    let present = start &+ ticks.nanoseconds(ticks.now() &- startTicks)
    ran &+= present &- now
    now = present
  }

  /// Moves forward to `time`, not back.
  mutating func sleep(until time: UInt64) {
    if time > self.time { slept += time - self.time }
  }
}
