import VMCore

/// What every device of one PC shares: the present moment, who is accessing, where events, console
/// output and requests go.
package final class DeviceContext {
  package let events: EventSink
  /// Virtual time in ns of the access or timer under way; never goes back.
  package private(set) var now: UInt64 = 0
  /// The vCPU whose exit is being handled, and its RIP: stamped on events.
  package var vcpu: UInt8 = 0
  package var rip: UInt64 = 0
  /// A timer's deadline may be another one than when this was cleared.
  var timersChanged = true
  private var output: [UInt8] = []
  private var requests: [PlatformRequest] = []

  package init(events: EventSink) { self.events = events }

  /// Moves the present moment forward, at most to the horizon.
  package func move(to time: UInt64) { now = min(max(now, time), Deadline.horizon) }
  /// Sets the present moment outright, back too: reset and restore do.
  package func set(now time: UInt64) { now = min(time, Deadline.horizon) }

  package func emit(_ kind: EventKind, a: UInt32 = 0, b: UInt64 = 0, c: UInt64 = 0, d: UInt64 = 0) {
    events.emit(Event(kind, vcpu: vcpu, rip: rip, a: a, b: b, c: c, d: d))
  }

  /// The guest spoke by the virtio console last: there it listens.
  package private(set) var speaksByVirtio = false

  /// A byte for the guest's console: from COM1, the virtio console, the debug port, the hypercall or a BIOS service.
  package func writeConsole(_ byte: UInt8, isVirtio: Bool = false) {
    speaksByVirtio = isVirtio
    output.append(byte)
    emit(.output, a: UInt32(byte))
  }

  package func takeConsoleOutput() -> [UInt8] {
    if output.isEmpty { return [] }
    defer { output.removeAll(keepingCapacity: true) }
    return output
  }

  /// Queues a request to the VM's owner and says so in an event.
  package func request(_ request: PlatformRequest) {
    switch request {
    case .shutdown: emit(.request, a: 0)
    case .exit(let status): emit(.request, a: 1, b: UInt64(bitPattern: Int64(status)))
    case .reset: emit(.request, a: 2)
    case .initialize(let target): emit(.processorSignal, a: 0, d: UInt64(target))
    case .startup(let target, let vector): emit(.processorSignal, a: 1, b: UInt64(vector), d: UInt64(target))
    case .nmi, .yield, .block, .crash: break
    }
    requests.append(request)
  }

  package var hasRequests: Bool { !requests.isEmpty }
  package func takeRequests() -> [PlatformRequest] {
    if requests.isEmpty { return [] }
    defer { requests.removeAll(keepingCapacity: true) }
    return requests
  }

  package func code(_ coder: inout StateCoder) {
    var now = now
    coder.code(&now)
    if coder.isRestoring { set(now: now) }
    // Timers' events carry the place of the last exit.
    coder.code(&vcpu)
    coder.code(&rip)
    coder.code(&speaksByVirtio)
  }

  package func dropRequests() { requests.removeAll() }
}
