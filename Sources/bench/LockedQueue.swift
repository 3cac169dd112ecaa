import Synchronization
import VMCore

/// What a program would use that has no ring: an array under a mutex.
final class LockedQueue: Sendable {
  private let events: Mutex<[Event]>

  init(capacity: Int) {
    var events: [Event] = []
    events.reserveCapacity(capacity)
    self.events = Mutex(events)
  }

  /// Gives how many there are now.
  func append(_ event: Event) -> Int {
    events.withLock { events in
      events.append(event)
      return events.count
    }
  }

  func empty(_ body: (Event) -> Void) {
    events.withLock { events in
      for event in events { body(event) }
      events.removeAll(keepingCapacity: true)
    }
  }
}
