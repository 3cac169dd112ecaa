import Glibc

/// A thread of the host's. Whoever starts one answers for what it shares with others.
package struct HostThread: Sendable {
  private final class Work {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
  }
  private let handle: pthread_t

  /// Starts `body` on a thread of its own; nil where the host has none to give. It is either joined or detached, once.
  package init?(_ body: @escaping () -> Void) {
    var made = pthread_t()
    let work = Unmanaged.passRetained(Work(body))
    let result = pthread_create(
      &made, nil,
      { work in
        if let work { Unmanaged<Work>.fromOpaque(work).takeRetainedValue().body() }
        return nil
      }, work.toOpaque())
    guard result == 0 else {
      work.release()
      return nil
    }
    handle = made
  }

  /// Waits until it has ended.
  package func join() { pthread_join(handle, nil) }

  /// Nobody waits for it.
  package func detach() { pthread_detach(handle) }
}
