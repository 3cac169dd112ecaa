/// The newest `capacity` elements of a series, by their position in it. A value: copies share their storage until one
/// of them is changed.
struct RingBuffer<Element> {
  private var storage: RingStorage<Element>
  let capacity: Int
  /// Elements ever added: the position of the next.
  private(set) var total: UInt64 = 0
  /// Where the next goes.
  private var next = 0

  init(capacity: Int) {
    precondition(capacity > 0, "a ring holds something")
    self.capacity = capacity
    storage = RingStorage(capacity: capacity)
  }

  var count: Int { storage.filled }
  /// Position of the oldest element still there.
  var first: UInt64 { total - UInt64(storage.filled) }

  /// To be called before a row of `put`, with nothing copied from this ring in between.
  mutating func own() {
    if !isKnownUniquelyReferenced(&storage) { storage = RingStorage(copying: storage, capacity: capacity) }
  }

  /// Appends to a ring that was made its owner's alone by `own`; gives where the element lies until the next change.
  @inline(__always) @discardableResult
  mutating func put(_ element: Element) -> UnsafeMutablePointer<Element> {
    let slot = storage.slots + next
    if storage.filled < capacity {
      slot.initialize(to: element)
      storage.filled += 1
    } else {
      slot.pointee = element
    }
    next = next + 1 == capacity ? 0 : next + 1
    total &+= 1
    return slot
  }

  mutating func append(_ element: Element) {
    own()
    put(element)
  }

  /// Appends elements in order.
  mutating func append(contentsOf elements: UnsafeBufferPointer<Element>) {
    own()
    // Those that would be overwritten at once only count.
    let unseen = storage.filled == capacity ? max(elements.count - capacity, 0) : 0
    total &+= UInt64(unseen)
    next = (next + unseen) % capacity
    var rest = UnsafeBufferPointer(rebasing: elements.dropFirst(unseen))
    while storage.filled < capacity, let element = rest.first {
      put(element)
      rest = UnsafeBufferPointer(rebasing: rest.dropFirst())
    }
    while rest.count > 0 { rest = overwrite(rest) }
  }

  /// Overwrites the oldest, up to the end of the storage at most; gives what is left.
  private mutating func overwrite(_ elements: UnsafeBufferPointer<Element>) -> UnsafeBufferPointer<Element> {
    let count = min(elements.count, capacity - next)
    if let first = elements.baseAddress { (storage.slots + next).update(from: first, count: count) }
    next = (next + count) % capacity
    total &+= UInt64(count)
    return UnsafeBufferPointer(rebasing: elements.dropFirst(count))
  }

  /// The element at `position`, which must be in `first..<total`.
  subscript(position: UInt64) -> Element {
    get { storage.slots[index(position)] }
    set {
      own()
      storage.slots[index(position)] = newValue
    }
  }

  private func index(_ position: UInt64) -> Int {
    precondition(position >= first && position < total, "a ring is asked for what it still has")
    let distance = Int(truncatingIfNeeded: total &- position)
    return next >= distance ? next - distance : next + capacity - distance
  }

  mutating func removeAll() {
    storage = RingStorage(capacity: capacity)
    total = 0
    next = 0
  }

  /// The newest `limit`, oldest first.
  func newest(_ limit: Int) -> [Element] {
    let from = total - UInt64(min(limit, storage.filled))
    return (from..<total).map { self[$0] }
  }
}

extension RingBuffer: Sendable where Element: Sendable {}

/// Invariant of the unsafe part: the first `filled` of `capacity` slots are initialized, from `init` to `deinit`; a
/// ring writes to storage that is its own alone.
private final class RingStorage<Element>: @unchecked Sendable {
  let slots: UnsafeMutablePointer<Element>
  var filled = 0

  init(capacity: Int) { slots = .allocate(capacity: capacity) }

  init(copying other: RingStorage, capacity: Int) {
    slots = .allocate(capacity: capacity)
    slots.initialize(from: other.slots, count: other.filled)
    filled = other.filled
  }

  deinit {
    slots.deinitialize(count: filled)
    slots.deallocate()
  }
}
