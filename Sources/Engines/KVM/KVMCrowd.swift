import Glibc

/// Which vCPUs are inside the guest, so that the embedded processor can have its memory alone: an instruction it
/// executes in KVM's stead is as indivisible towards the other vCPUs as it would be on a processor.
///
/// Invariant for the unsafe parts: mutex and condition live from `init` to `deinit`, and nobody waits then.
final class KVMCrowd: @unchecked Sendable {
  private var inside = 0
  private var isClosed = false
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  init() {
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  /// `body` runs the guest; not while somebody has it alone.
  func enter<T>(_ body: () -> T) -> T {
    pthread_mutex_lock(mutex)
    while isClosed { pthread_cond_wait(condition, mutex) }
    inside += 1
    pthread_mutex_unlock(mutex)
    let result = body()
    pthread_mutex_lock(mutex)
    inside -= 1
    if inside == 0, isClosed { pthread_cond_broadcast(condition) }
    pthread_mutex_unlock(mutex)
    return result
  }

  /// `body` runs while nobody is inside; `callOut` makes all who are leave.
  func alone<T>(callOut: () -> Void, _ body: () -> T) -> T {
    pthread_mutex_lock(mutex)
    while isClosed { pthread_cond_wait(condition, mutex) }
    isClosed = true
    if inside > 0 { callOut() }
    while inside > 0 { pthread_cond_wait(condition, mutex) }
    pthread_mutex_unlock(mutex)
    let result = body()
    pthread_mutex_lock(mutex)
    isClosed = false
    pthread_cond_broadcast(condition)
    pthread_mutex_unlock(mutex)
    return result
  }
}
