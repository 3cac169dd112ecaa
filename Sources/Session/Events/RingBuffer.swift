/// The newest `capacity` elements of a series, by their position in it.
struct RingBuffer<Element> {
  private var storage: [Element] = []
  let capacity: Int
  /// Elements ever added: the position of the next.
  private(set) var total: UInt64 = 0

  init(capacity: Int) {
    precondition(capacity > 0, "a ring holds something")
    self.capacity = capacity
    storage.reserveCapacity(capacity)
  }

  var count: Int { storage.count }
  /// Position of the oldest element still there.
  var first: UInt64 { total - UInt64(storage.count) }

  @inline(__always)
  mutating func append(_ element: Element) {
    if storage.count < capacity {
      storage.append(element)
    } else {
      storage[Int(truncatingIfNeeded: total % UInt64(capacity))] = element
    }
    total &+= 1
  }

  /// Appends elements in order, with one look at the storage for all of them.
  mutating func append(contentsOf elements: UnsafeBufferPointer<Element>) {
    var rest = elements[...]
    while storage.count < capacity, let element = rest.popFirst() { append(element) }
    let unseen = max(rest.count - capacity, 0)
    rest = rest.dropFirst(unseen)
    total &+= UInt64(unseen)
    var index = Int(truncatingIfNeeded: total % UInt64(capacity))
    storage.withUnsafeMutableBufferPointer { slots in
      for element in rest {
        slots[index] = element
        index = index + 1 == slots.count ? 0 : index + 1
      }
    }
    total &+= UInt64(rest.count)
  }

  /// The element at `position`, which must be in `first..<total`.
  subscript(position: UInt64) -> Element {
    get { storage[Int(truncatingIfNeeded: position % UInt64(capacity))] }
    set { storage[Int(truncatingIfNeeded: position % UInt64(capacity))] = newValue }
  }

  mutating func removeAll() {
    storage.removeAll(keepingCapacity: true)
    total = 0
  }

  /// The newest `limit`, oldest first.
  func newest(_ limit: Int) -> [Element] {
    let from = total - UInt64(min(limit, storage.count))
    return (from..<total).map { self[$0] }
  }
}
