import Host

/// Which vCPUs are inside the guest, so that the embedded processor can have its memory alone: an instruction it
/// executes in KVM's stead is as indivisible towards the other vCPUs as it would be on a processor.
///
/// Invariant for the unchecked part: both variables are for who holds the monitor.
final class KVMCrowd: @unchecked Sendable {
  private var inside = 0
  private var isClosed = false
  private let monitor = HostMonitor()

  /// `body` runs the guest; not while somebody has it alone.
  func enter<T>(_ body: () -> T) -> T {
    monitor.take()
    while isClosed { monitor.wait() }
    inside += 1
    monitor.give()
    let result = body()
    monitor.take()
    inside -= 1
    if inside == 0, isClosed { monitor.wakeAll() }
    monitor.give()
    return result
  }

  /// `body` runs while nobody is inside; `callOut` makes all who are leave.
  func alone<T>(callOut: () -> Void, _ body: () -> T) -> T {
    monitor.take()
    while isClosed { monitor.wait() }
    isClosed = true
    if inside > 0 { callOut() }
    while inside > 0 { monitor.wait() }
    monitor.give()
    let result = body()
    monitor.take()
    isClosed = false
    monitor.wakeAll()
    monitor.give()
    return result
  }
}
