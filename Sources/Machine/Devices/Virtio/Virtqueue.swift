import VMCore

/// A split virtqueue (virtio 1.2, 2.7) in guest memory, as the device sees it. Everything in it is the driver's word and
/// believed of nothing: a chain that cannot be is a `Malformation`.
struct Virtqueue {
  /// What a driver did wrong, in words.
  struct Malformation: Error, Equatable { var text: String }

  static let maximumSize: UInt16 = 256

  var size: UInt16 = 0
  var isReady = false
  var descriptors: UInt64 = 0
  var driverArea: UInt64 = 0
  var deviceArea: UInt64 = 0
  /// The next entry of the available and of the used ring; both count on and wrap.
  private var nextAvailable: UInt16 = 0
  private var nextUsed: UInt16 = 0

  private enum Flag {
    static let next: UInt16 = 1
    static let write: UInt16 = 2
    static let indirect: UInt16 = 4
  }
  private struct Descriptor {
    var address: UInt64
    var length: UInt32
    var flags: UInt16
    var next: UInt16
  }

  /// The next chain the driver made available, and takes it; nil where there is none.
  mutating func take(_ memory: GuestMemory) throws(Malformation) -> VirtioChain? {
    guard isReady, size > 0 else { return nil }
    let index: UInt16 = try load(memory, driverArea &+ 2, "the available ring")
    guard index != nextAvailable else { return nil }
    guard index &- nextAvailable <= size else { throw Malformation(text: "more buffers available than the queue has") }
    let slot = UInt64(nextAvailable % size)
    let head: UInt16 = try load(memory, driverArea &+ 4 &+ slot &* 2, "the available ring")
    let chain = try chain(from: head, memory)
    nextAvailable &+= 1
    return chain
  }

  /// Gives a chain back with `written` bytes in its writable part; true if the driver wants an interrupt for it.
  mutating func give(_ chain: VirtioChain, written: UInt32, _ memory: GuestMemory) throws(Malformation) -> Bool {
    let entry = deviceArea &+ 4 &+ UInt64(nextUsed % size) &* 8
    nextUsed &+= 1
    guard memory.store(GPA(entry), UInt32(chain.head)), memory.store(GPA(entry &+ 4), written),
      memory.store(GPA(deviceArea &+ 2), nextUsed)
    else { throw Malformation(text: "the used ring is not in memory") }
    let flags: UInt16 = try load(memory, driverArea, "the available ring")
    return flags & 1 == 0
  }

  // MARK: Chains

  private func chain(from head: UInt16, _ memory: GuestMemory) throws(Malformation) -> VirtioChain {
    guard head < size else { throw Malformation(text: "a chain starts at descriptor \(head) of \(size)") }
    var chain = VirtioChain(head: head)
    let first = try descriptor(head, table: descriptors, memory)
    guard first.flags & Flag.indirect != 0 else {
      try follow(first, table: descriptors, limit: UInt32(size), memory, &chain)
      return chain
    }
    // The table is the chain (2.7.5.3): nothing follows it, and none lies inside.
    let count = first.length / 16
    guard first.flags & Flag.next == 0, first.length % 16 == 0, (1...UInt32(Self.maximumSize)).contains(count) else {
      throw Malformation(text: "an indirect table of \(first.length) bytes")
    }
    let inner = try descriptor(0, table: first.address, memory)
    try follow(inner, table: first.address, limit: count, memory, &chain)
    return chain
  }

  /// At most `limit` descriptors are in a chain: one that is longer leads back into itself.
  private func follow(
    _ first: Descriptor, table: UInt64, limit: UInt32, _ memory: GuestMemory, _ chain: inout VirtioChain
  ) throws(Malformation) {
    var descriptor = first
    for _ in 0..<limit {
      guard descriptor.flags & Flag.indirect == 0 else { throw Malformation(text: "an indirect table inside a chain") }
      try chain.add(descriptor.address, descriptor.length, isWritable: descriptor.flags & Flag.write != 0, memory)
      guard descriptor.flags & Flag.next != 0 else { return }
      guard descriptor.next < limit else { throw Malformation(text: "descriptor \(descriptor.next) of \(limit)") }
      descriptor = try self.descriptor(descriptor.next, table: table, memory)
    }
    throw Malformation(text: "a chain that leads back into itself")
  }

  private func descriptor(_ index: UInt16, table: UInt64, _ memory: GuestMemory) throws(Malformation) -> Descriptor {
    let at = table &+ UInt64(index) &* 16
    let address: UInt64 = try load(memory, at, "a descriptor")
    let rest: UInt64 = try load(memory, at &+ 8, "a descriptor")
    return Descriptor(
      address: address, length: UInt32(truncatingIfNeeded: rest), flags: UInt16(truncatingIfNeeded: rest >> 32),
      next: UInt16(truncatingIfNeeded: rest >> 48))
  }

  private func load<T: FixedWidthInteger>(
    _ memory: GuestMemory, _ address: UInt64, _ what: String
  ) throws(Malformation) -> T {
    guard let value = memory.load(GPA(address), as: T.self) else { throw Malformation(text: "\(what) is not in memory") }
    return value
  }

  mutating func code(_ coder: inout StateCoder) {
    coder.code(&size)
    coder.code(&isReady)
    coder.code(&descriptors)
    coder.code(&driverArea)
    coder.code(&deviceArea)
    coder.code(&nextAvailable)
    coder.code(&nextUsed)
    if size > Self.maximumSize { size = 0 }
  }
}

/// One request: the buffers the device may read, then those it may write, all of them checked to be RAM.
struct VirtioChain {
  let head: UInt16
  private(set) var readable: [VirtioBuffer] = []
  private(set) var writable: [VirtioBuffer] = []

  init(head: UInt16) { self.head = head }

  var readableSize: Int { readable.reduce(0) { $0 + $1.count } }
  var writableSize: Int { writable.reduce(0) { $0 + $1.count } }

  mutating func add(
    _ address: UInt64, _ length: UInt32, isWritable: Bool, _ memory: GuestMemory
  ) throws(Virtqueue.Malformation) {
    guard isWritable || writable.isEmpty else {
      throw Virtqueue.Malformation(text: "a buffer to read behind one to write")
    }
    let buffer = VirtioBuffer(address: GPA(address), count: Int(length))
    guard length == 0 || memory.ram(buffer.address, count: buffer.count) != nil else {
      throw Virtqueue.Malformation(text: "a buffer of \(length) bytes at \(prefixedHex(address)) is not in RAM")
    }
    if isWritable { writable.append(buffer) } else { readable.append(buffer) }
  }
}

/// A range of guest RAM.
struct VirtioBuffer {
  var address: GPA
  var count: Int
}

extension [VirtioBuffer] {
  /// Those parts that lie in `range` of all the bytes.
  func part(_ range: Range<Int>) -> [VirtioBuffer] {
    var result: [VirtioBuffer] = []
    var start = 0
    for buffer in self {
      let from = Swift.max(range.lowerBound, start)
      let to = Swift.min(range.upperBound, start + buffer.count)
      if from < to {
        result.append(VirtioBuffer(address: GPA(buffer.address.value + UInt64(from - start)), count: to - from))
      }
      start += buffer.count
    }
    return result
  }

  /// Where the bytes lie in the host's memory.
  func places(_ memory: GuestMemory) -> [UnsafeMutableRawBufferPointer] {
    compactMap { memory.ram($0.address, count: $0.count) }
  }

  /// A copy of all the bytes.
  func bytes(_ memory: GuestMemory) -> [UInt8] { places(memory).flatMap { [UInt8]($0) } }

  /// Puts bytes into the buffers from the first on; how many had room.
  func put(_ bytes: [UInt8], _ memory: GuestMemory) -> Int {
    var done = 0
    for buffer in self where done < bytes.count {
      let count = Swift.min(buffer.count, bytes.count - done)
      memory.write(buffer.address, [UInt8](bytes[done..<done + count]))
      done += count
    }
    return done
  }

  /// A device changed the bytes in place.
  func noteWritten(_ memory: GuestMemory) {
    for buffer in self where buffer.count > 0 { memory.onExternalWrite?(buffer.address, UInt64(buffer.count)) }
  }
}
