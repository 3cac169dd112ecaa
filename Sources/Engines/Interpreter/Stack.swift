import X86

/// Pushes and pops outside exceptions (SDM 1 6.2).
extension UnsafeMutablePointer<CPU> {
  @inline(__always) func push64(_ value: UInt64) throws(Stop) {
    let top = self[slot: Slot.rsp] &- 8
    try store(top, value)
    self[slot: Slot.rsp] = top
  }
  @inline(__always) func pop64() throws(Stop) -> UInt64 {
    let top = self[slot: Slot.rsp]
    let value: UInt64 = try load(top)
    self[slot: Slot.rsp] = top &+ 8
    return value
  }
  /// On a flat 32-bit stack.
  @inline(__always) func push32(_ value: UInt32) throws(Stop) {
    let top = get(32, as: UInt32.self) &- 4
    try store(UInt64(top), value)
    set(32, top)
  }
  @inline(__always) func pop32() throws(Stop) -> UInt32 {
    let top: UInt32 = get(32)
    let value: UInt32 = try load(UInt64(top))
    set(32, top &+ 4)
    return value
  }

  /// What of RSP counts: 64, 32 or 16 bits.
  var stackMask: UInt64 {
    if isLong64 { return .max }
    return pointee.segments[2].big ? 0xFFFF_FFFF : 0xFFFF
  }

  /// Sets as much of RSP as the stack size has.
  func setStackPointer(_ value: UInt64) {
    let mask = stackMask
    if mask == 0xFFFF {
      set(32, UInt16(truncatingIfNeeded: value))
    } else {
      self[slot: Slot.rsp] = value & mask
    }
  }

  /// The stack slot `distance` bytes from the top, checked.
  func stackAddress(_ distance: Int64, bytes: Int, write: Bool) throws(Stop) -> UInt64 {
    let offset = (self[slot: Slot.rsp] &+ UInt64(bitPattern: distance)) & stackMask
    if isLong64 { return offset }
    return try linear(2, offset, size: bytes, write: write)
  }

  func storeSized(_ address: UInt64, _ value: UInt64, bytes: Int) throws(Stop) {
    switch bytes {
    case 1: try store(address, UInt8(truncatingIfNeeded: value))
    case 2: try store(address, UInt16(truncatingIfNeeded: value))
    case 4: try store(address, UInt32(truncatingIfNeeded: value))
    default: try store(address, value)
    }
  }
  func loadSized(_ address: UInt64, bytes: Int) throws(Stop) -> UInt64 {
    switch bytes {
    case 1: return UInt64(try load(address, as: UInt8.self))
    case 2: return UInt64(try load(address, as: UInt16.self))
    case 4: return UInt64(try load(address, as: UInt32.self))
    default: return try load(address)
    }
  }

  /// Pushes on any stack; `bytes` is 2, 4 or 8.
  func push(_ value: UInt64, bytes: Int) throws(Stop) {
    try storeSized(try stackAddress(-Int64(bytes), bytes: bytes, write: true), value, bytes: bytes)
    setStackPointer(self[slot: Slot.rsp] &- UInt64(bytes))
  }
  func pop(bytes: Int) throws(Stop) -> UInt64 {
    let value = try loadSized(try stackAddress(0, bytes: bytes, write: false), bytes: bytes)
    setStackPointer(self[slot: Slot.rsp] &+ UInt64(bytes))
    return value
  }
}
