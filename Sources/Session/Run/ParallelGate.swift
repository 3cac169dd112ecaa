import Host
import VMCore

/// What vCPUs on threads of their own have in common: each holds it but inside the guest, so that run control and
/// platform deal with one exit at a time. All members but `init` are for who holds it.
///
/// Invariant for the unchecked part: all variables are for who holds it.
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
  private let monitor = HostMonitor()

  init(count: Int) {
    isInside = Array(repeating: false, count: count)
    isAsked = isInside
    isWaiting = isInside
  }

  func take() { monitor.take() }
  func give() { monitor.give() }

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
    isWaiting[index] = true
    monitor.wait(nanoseconds: nanoseconds)
    isWaiting[index] = false
  }

  func wakeAll() { monitor.wakeAll() }

  /// The first reason counts.
  func finish(_ why: RunOutcome, by index: Int) {
    guard outcome == nil else { return }
    outcome = why
    stopper = index
    wakeAll()
  }
}
