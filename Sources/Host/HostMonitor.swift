import Glibc

/// A lock with a condition: what threads share is looked at and changed between `take` and `give`, and one that finds
/// nothing to do waits until another says that something changed.
///
/// Invariant for the unsafe parts: mutex and condition live from `init` to `deinit`, and nobody holds it or waits then.
package final class HostMonitor: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  package init() {
    pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(condition, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  package func take() { pthread_mutex_lock(mutex) }
  package func give() { pthread_mutex_unlock(mutex) }

  /// Given away until `wakeAll`; it may come back without one, so the reason is looked at again.
  package func wait() { pthread_cond_wait(condition, mutex) }

  /// The same for `nanoseconds` at most, of which a second counts.
  package func wait(nanoseconds: UInt64) {
    var until = timespec()
    clock_gettime(CLOCK_MONOTONIC, &until)
    let sum = UInt64(until.tv_nsec) + min(nanoseconds, 1_000_000_000)
    until.tv_sec += Int(sum / 1_000_000_000)
    until.tv_nsec = Int(sum % 1_000_000_000)
    pthread_cond_timedwait(condition, mutex, &until)
  }

  package func wakeAll() { pthread_cond_broadcast(condition) }
}
