import Glibc
import VMCore

/// What vCPUs on threads of their own have in common: each holds it but inside the guest, so that run control and
/// platform deal with one exit at a time. All members but `init` are for who holds it.
///
/// Invariant for the unsafe parts: mutex and condition live from `init` to `deinit`, and nobody waits then.
final class ParallelGate: @unchecked Sendable {
  /// Why the run is over; whoever leaves the guest afterwards stays out.
  private(set) var outcome: RunOutcome?
  /// The vCPU it is about.
  private(set) var stopper = 0
  /// By vCPU: it is inside the guest; it was asked to leave since it is.
  private(set) var isInside: [Bool]
  private var isAsked: [Bool]
  /// By vCPU: it waits for something to happen to it.
  private(set) var isWaiting: [Bool]
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  init(count: Int) {
    isInside = Array(repeating: false, count: count)
    isAsked = isInside
    isWaiting = isInside
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

  func take() { pthread_mutex_lock(mutex) }
  func give() { pthread_mutex_unlock(mutex) }

  /// Gives it away for as long as `body` is inside the guest.
  func letIn<T>(_ index: Int, _ body: () -> T) -> T {
    isInside[index] = true
    isAsked[index] = false
    give()
    let result = body()
    take()
    isInside[index] = false
    return result
  }

  /// Asks a vCPU that is inside to leave, once.
  func callOut(_ vcpu: any VCPU) {
    guard isInside[vcpu.index], !isAsked[vcpu.index] else { return }
    isAsked[vcpu.index] = true
    vcpu.kick()
  }

  /// Waits until somebody calls `wakeAll`, at most `nanoseconds`.
  func wait(_ index: Int, nanoseconds: UInt64) {
    var until = timespec()
    clock_gettime(CLOCK_MONOTONIC, &until)
    let sum = UInt64(until.tv_nsec) + min(nanoseconds, 1_000_000_000)
    until.tv_sec += Int(sum / 1_000_000_000)
    until.tv_nsec = Int(sum % 1_000_000_000)
    isWaiting[index] = true
    pthread_cond_timedwait(condition, mutex, &until)
    isWaiting[index] = false
  }

  func wakeAll() { pthread_cond_broadcast(condition) }

  /// The first reason counts.
  func finish(_ why: RunOutcome, by index: Int) {
    guard outcome == nil else { return }
    outcome = why
    stopper = index
    wakeAll()
  }
}
