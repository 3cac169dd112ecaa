import VMCore

/// Puts parts of images into guest RAM and remembers where, so that what the loader adds lands elsewhere.
struct ImagePlacement {
  let memory: GuestMemory
  let map: MemoryMap
  /// The image's name, for messages.
  private let name: String
  /// What is taken, in the order it was placed.
  private(set) var occupied: [Range<UInt64>] = []

  init(_ request: LoadRequest) {
    memory = request.memory
    name = printable(request.image.name)
    map = MemoryMap(ramSize: request.memory.ramSize)
  }

  /// Copies `bytes` to `address` and zeroes up to `memorySize`. `field` is what to blame when that is no RAM.
  mutating func place(
    _ bytes: ArraySlice<UInt8>, at address: UInt64, memorySize: UInt64, file: ImageBytes, field: String
  ) throws(VMError) {
    let (end, overflow) = address.addingReportingOverflow(memorySize)
    guard !overflow, map.isRAM(address, end) else {
      throw noRAM(address, overflow ? .max : end, file: file, field: field)
    }
    let count = UInt64(bytes.count)
    guard bytes.withUnsafeBytes({ memory.write(GPA(address), $0) }), zero(address + count, end) else {
      throw file.wrong(field, address, expected: "it clear of read-only memory")
    }
    if end > address { occupied.append(address..<end) }
  }

  private func noRAM(_ start: UInt64, _ end: UInt64, file: ImageBytes, field: String) -> VMError {
    let range = "\(prefixedHex(start)) to \(prefixedHex(end))"
    guard let needed = MemoryMap.sizeNeeded(start, end) else {
      return file.wrong(field, range, expected: "a range below 0xc0000000, or in RAM above 4 GiB")
    }
    let mebibytes = (needed + 0xF_FFFF) >> 20
    return VMError(
      .image, "\(file.name): \(field) is \(range) but the guest has \(readable(bytes: memory.ramSize)); expected it inside RAM",
      remedy: "--memory \(mebibytes)M would do")
  }

  /// Zeroes a range, leaving alone what is zero already: untouched RAM costs the host nothing.
  private func zero(_ start: UInt64, _ end: UInt64) -> Bool {
    let zeros = [UInt8](repeating: 0, count: 4096)
    var scratch = zeros
    var at = start
    while at < end {
      let piece = Int(min(end - at, 4096))
      let readable = scratch.withUnsafeMutableBytes { memory.read(GPA(at), into: .init(rebasing: $0[0..<piece])) }
      guard readable else { return false }
      if scratch[0..<piece] != zeros[0..<piece] {
        guard zeros.withUnsafeBytes({ memory.write(GPA(at), .init(rebasing: $0[0..<piece])) }) else { return false }
      }
      at += UInt64(piece)
    }
    return true
  }

  func isFree(_ range: Range<UInt64>) -> Bool { !occupied.contains { $0.overlaps(range) } && map.lowEnd >= range.upperBound }

  /// Lowest address at or after `start`, a multiple of `alignment`, from which `size` bytes below 4 GiB
  /// are RAM and free.
  func firstFree(from start: UInt64, size: UInt64, alignment: UInt64) -> UInt64? {
    var candidate = start
    for range in occupied.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      candidate = (candidate + alignment - 1) & ~(alignment - 1)
      if range.upperBound <= candidate { continue }
      if candidate + size <= range.lowerBound { break }
      candidate = range.upperBound
    }
    candidate = (candidate + alignment - 1) & ~(alignment - 1)
    return candidate + size <= map.lowEnd ? candidate : nil
  }

  /// Highest address, a multiple of `alignment`, from which `size` bytes above 1 MiB and below `limit` are RAM
  /// and free.
  func lastFree(below limit: UInt64, size: UInt64, alignment: UInt64) -> UInt64? {
    var top = min(limit, map.lowEnd)
    for range in occupied.sorted(by: { $0.upperBound > $1.upperBound }) where range.lowerBound < top {
      if top >= size, (top - size) & ~(alignment - 1) >= range.upperBound { break }
      top = range.lowerBound
    }
    guard top >= size else { return nil }
    let start = (top - size) & ~(alignment - 1)
    return start >= 0x10_0000 ? start : nil
  }

  /// Takes room for what a loader hands to the guest: as high as possible between 2000h (kernels reuse
  /// pages 0 and 1 early) and 9F000h.
  mutating func takeLow(size: UInt64, alignment: UInt64, for purpose: String) throws(VMError) -> UInt64 {
    var top: UInt64 = 0x9F000
    for range in occupied.sorted(by: { $0.upperBound > $1.upperBound }) where range.lowerBound < top {
      if top >= size, (top - size) & ~(alignment - 1) >= range.upperBound { break }
      top = range.lowerBound
    }
    guard top >= size + 0x2000 else { throw noLowRoom(purpose, size) }
    let address = (top - size) & ~(alignment - 1)
    guard address >= 0x2000 else { throw noLowRoom(purpose, size) }
    occupied.append(address..<address + size)
    return address
  }

  private func noLowRoom(_ purpose: String, _ size: UInt64) -> VMError {
    VMError(
      .image,
      "\(name): no room for \(purpose) (\(size) bytes) between 0x2000 and 0x9f000; expected the image to leave some")
  }
}
