import Synchronization

/// Where engine, platform and run control put events: a bounded single-producer, single-consumer ring.
///
/// The producer is the thread that runs the vCPUs. `emit` and `time` belong to it alone; `consume`
/// belongs to one consumer at a time. The unsafe buffer is touched by index only, the producer
/// writing slots in [head, tail + capacity), the consumer reading slots in [tail, head).
@usableFromInline package final class EventSink: @unchecked Sendable {
  @usableFromInline package let capacity: Int
  @usableFromInline let mask: UInt64
  @usableFromInline let slots: UnsafeMutablePointer<Event>
  /// Next sequence number to be written; published to the consumer.
  @usableFromInline let head = Atomic<UInt64>(0)
  /// First sequence number not yet consumed.
  @usableFromInline let tail = Atomic<UInt64>(0)
  /// What the producer alone touches, behind a pointer: a class's own fields would cost a run-time check of
  /// exclusive access each.
  @usableFromInline
  struct Producer {
    @usableFromInline var nextSequence: UInt64 = 0
    @usableFromInline var knownTail: UInt64 = 0
    @usableFromInline var time: UInt64 = 0
  }
  @usableFromInline let producer: UnsafeMutablePointer<Producer>
  /// Virtual time stamped on what is emitted; set by run control.
  @inlinable package var time: UInt64 {
    get { producer.pointee.time }
    set { producer.pointee.time = newValue }
  }
  /// Called on the producer's thread when the ring is full: consumes to make room (so nothing is
  /// lost), or does nothing (and the new event is dropped and counted).
  package var onFull: ((EventSink) -> Void)?
  /// Events dropped because the ring was full.
  package private(set) var dropped: UInt64 = 0

  /// `capacity` is rounded up to a power of two.
  package init(capacity: Int = 1 << 16) {
    var size = 1
    while size < capacity { size <<= 1 }
    self.capacity = size
    mask = UInt64(size - 1)
    slots = .allocate(capacity: size)
    slots.initialize(repeating: Event(.exit), count: size)
    producer = .allocate(capacity: 1)
    producer.initialize(to: Producer())
  }

  deinit {
    slots.deinitialize(count: capacity)
    slots.deallocate()
    producer.deallocate()
  }

  /// Stamps sequence and time and puts the event into the ring. Made in the ring, it is not copied there.
  @inlinable @inline(__always)
  package func emit(_ event: Event) {
    guard let slot = claim() else { return }
    slot.pointee = event
    publish(slot)
  }

  /// The slot of the next event, to be filled and published; nil where there is no room.
  @inlinable @inline(__always)
  func claim() -> UnsafeMutablePointer<Event>? {
    let sequence = producer.pointee.nextSequence
    if sequence &- producer.pointee.knownTail == mask &+ 1, !makeRoom() { return nil }
    return slots + Int(truncatingIfNeeded: sequence & mask)
  }

  @inlinable @inline(__always)
  func publish(_ slot: UnsafeMutablePointer<Event>) {
    let sequence = producer.pointee.nextSequence
    slot.pointee.sequence = sequence
    slot.pointee.time = producer.pointee.time
    producer.pointee.nextSequence = sequence &+ 1
    head.store(sequence &+ 1, ordering: .releasing)
  }

  @usableFromInline
  func makeRoom() -> Bool {
    if hasRoom() { return true }
    onFull?(self)
    if hasRoom() { return true }
    dropped &+= 1
    return false
  }

  private func hasRoom() -> Bool {
    producer.pointee.knownTail = tail.load(ordering: .acquiring)
    return producer.pointee.nextSequence &- producer.pointee.knownTail < UInt64(capacity)
  }

  /// Hands the waiting events to `body`, oldest first, in one run or in two, and frees their slots. The runs are
  /// valid during the call alone.
  package func consume(_ body: (UnsafeBufferPointer<Event>) -> Void) {
    let from = tail.load(ordering: .relaxed)
    let to = head.load(ordering: .acquiring)
    let first = Int(truncatingIfNeeded: from & mask)
    let count = Int(truncatingIfNeeded: to &- from)
    let before = min(count, capacity - first)
    if before > 0 { body(UnsafeBufferPointer(start: slots + first, count: before)) }
    if count > before { body(UnsafeBufferPointer(start: slots, count: count - before)) }
    tail.store(to, ordering: .releasing)
  }

  /// Events waiting for the consumer.
  package var waiting: Int {
    Int(truncatingIfNeeded: head.load(ordering: .acquiring) &- tail.load(ordering: .relaxed))
  }

  /// Events emitted since the start.
  package var emitted: UInt64 { head.load(ordering: .acquiring) }
}
