import Glibc
import Host
import Session
import Synchronization

/// Watches over the case under way from a thread of its own. A guest that takes long is paused, as a person would
/// do it; a program that does not answer is at fault and ended, with the case's name.
final class Watchdog: Sendable {
  private struct Case {
    var name: String
    var start: UInt64
    /// The same in time this process computed.
    var computedAtStart: UInt64
    weak var session: Session?
    var pauses: UInt64 = 0
  }
  private let current = Mutex<Case?>(nil)
  private let pauses = Atomic<Int>(0)
  /// How long a guest may compute between two pauses, in ns: one instruction may repeat 2^64 times.
  private let patience: UInt64
  /// How long a case may compute, and how long it may take in all, in ns: a busy host gives little time.
  private static let limit: UInt64 = 10_000_000_000
  private static let patienceWithHost: UInt64 = 120_000_000_000
  static let hangStatus: Int32 = 3

  init(patience: UInt64) {
    self.patience = patience
    HostThread { self.watch() }?.detach()
  }

  /// Guests paused so far.
  var pauseCount: Int { pauses.load(ordering: .relaxed) }

  func begin(_ name: String) {
    let start = Case(name: name, start: Self.now(), computedAtStart: Self.now(CLOCK_PROCESS_CPUTIME_ID))
    current.withLock { $0 = start }
  }
  func run(_ session: Session) { current.withLock { $0?.session = session } }
  func end() { current.withLock { $0 = nil } }

  private func watch() {
    while true {
      usleep(UInt32(patience / 5000))
      current.withLock { look(&$0) }
    }
  }

  private func look(_ current: inout Case?) {
    guard var present = current else { return }
    let age = Self.now() &- present.start
    let computed = Self.now(CLOCK_PROCESS_CPUTIME_ID) &- present.computedAtStart
    if computed > Self.limit || age > Self.patienceWithHost {
      Output.error("hang: no answer for \(age / 1_000_000_000) s: \(present.name)\n")
      _exit(Self.hangStatus)
    }
    guard computed > patience * (present.pauses + 1), let session = present.session else { return }
    session.pause()
    if present.pauses == 0 { pauses.add(1, ordering: .relaxed) }
    present.pauses += 1
    current = present
  }

  private static func now(_ clock: clockid_t = CLOCK_MONOTONIC) -> UInt64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
