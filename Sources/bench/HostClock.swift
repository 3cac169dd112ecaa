import Glibc

/// Nanoseconds of the host's clocks.
package enum HostClock {
  /// Time that passes (CLOCK_MONOTONIC).
  package static func now() -> UInt64 { read(CLOCK_MONOTONIC) }

  /// Processor time of this process, all threads.
  package static func ownCPUTime() -> UInt64 { read(CLOCK_PROCESS_CPUTIME_ID) }

  /// Processor time of this thread.
  package static func threadCPUTime() -> UInt64 { read(CLOCK_THREAD_CPUTIME_ID) }

  /// Processor time of another process, all threads; nil once it is gone.
  package static func cpuTime(of process: pid_t) -> UInt64? {
    var clock = clockid_t()
    guard clock_getcpuclockid(process, &clock) == 0 else { return nil }
    var time = timespec()
    guard clock_gettime(clock, &time) == 0 else { return nil }
    return nanoseconds(time)
  }

  private static func read(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return nanoseconds(time)
  }

  private static func nanoseconds(_ time: timespec) -> UInt64 {
    let seconds = UInt64(clamping: time.tv_sec)
    return seconds &* 1_000_000_000 &+ UInt64(clamping: time.tv_nsec)
  }
}
