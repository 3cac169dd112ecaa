import VMCore

/// Guest memory by the guest's own addresses, where the guest itself may read or write it.
extension XenPlatform {
  var root: UInt64 { domain.isKernel || domain.userRoot == 0 ? domain.kernelRoot : domain.userRoot }

  func read(_ address: UInt64, count: Int) throws(XenError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let at = address &+ UInt64(done)
      let piece = min(count - done, Int(4096 - (at & 4095)))
      guard let from = tables.translate(at, root: root, write: false) else { throw .fault }
      let isThere = bytes.withUnsafeMutableBytes { buffer in
        memory.read(from, into: UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + piece]))
      }
      guard isThere else { throw .fault }
      done += piece
    }
    return bytes
  }

  func read<T: FixedWidthInteger>(_ address: UInt64, as type: T.Type = T.self) throws(XenError) -> T {
    let size = T.bitWidth / 8
    if address & 4095 <= UInt64(4096 - size) {
      guard let from = tables.translate(address, root: root, write: false), let value = memory.load(from, as: T.self)
      else { throw .fault }
      return value
    }
    let bytes = try read(address, count: size)
    var value: T = 0
    withUnsafeMutableBytes(of: &value) { $0.copyBytes(from: bytes) }
    return T(littleEndian: value)
  }

  func write(_ address: UInt64, _ bytes: [UInt8]) throws(XenError) {
    var done = 0
    while done < bytes.count {
      let at = address &+ UInt64(done)
      let piece = min(bytes.count - done, Int(4096 - (at & 4095)))
      guard let to = tables.translate(at, root: root, write: true) else { throw .fault }
      memory.write(to, Array(bytes[done..<done + piece]))
      done += piece
    }
  }

  func write<T: FixedWidthInteger>(_ address: UInt64, _ value: T) throws(XenError) {
    try write(address, withUnsafeBytes(of: value.littleEndian) { Array($0) })
  }

  // MARK: Words, as long as the guest's

  func readWord(_ address: UInt64) throws(XenError) -> UInt64 {
    if abi.is32Bit { return UInt64(try read(address, as: UInt32.self)) }
    return try read(address)
  }

  func writeWord(_ address: UInt64, _ value: UInt64) throws(XenError) {
    if abi.is32Bit { try write(address, UInt32(truncatingIfNeeded: value)) } else { try write(address, value) }
  }

  /// A word of a page the monitor shares with the guest.
  func loadWord(_ place: GPA) -> UInt64 {
    if abi.is32Bit { return UInt64(memory.load(place, as: UInt32.self) ?? 0) }
    return memory.load(place, as: UInt64.self) ?? 0
  }

  func storeWord(_ place: GPA, _ value: UInt64) {
    if abi.is32Bit { memory.store(place, UInt32(truncatingIfNeeded: value)) } else { memory.store(place, value) }
  }
}
