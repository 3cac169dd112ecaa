import VMCore
import X86

/// A stack being pushed to or popped from before anything is committed: the registers change only when
/// the whole transfer has succeeded.
struct StackCursor {
  var segment: SegmentState
  var pointer: UInt64
  /// FFFFh, FFFFFFFFh or all ones: how much of the pointer counts.
  var mask: UInt64
  /// 64-bit mode: no base, no limit, canonical addresses.
  var long: Bool
  var privilege: Privilege
  /// What #SS says where there is no room.
  var errorCode: UInt32 = 0

  /// Offsets of 32 or 64 bits are linear addresses, and every one of them is allowed.
  var isFlat: Bool {
    long || mask == 0xFFFF_FFFF && segment.base == 0 && segment.limit == .max && segment.access & 0x1_009E == 0x92
  }
  /// Bytes of an item of its own width, where it is flat.
  var width: UInt64 { long ? 8 : 4 }
}

extension UnsafeMutablePointer<CPU> {
  /// The stack in use.
  func currentStack() -> StackCursor {
    let long = isLong64
    let big = isProtected && pointee.segments[2].big
    return StackCursor(
      segment: pointee.segments[2], pointer: self[slot: Slot.rsp],
      mask: long ? .max : big ? 0xFFFF_FFFF : 0xFFFF, long: long, privilege: privilege)
  }

  private func stackAddress(_ s: StackCursor, _ offset: UInt64, _ size: Int) throws(Stop) -> UInt64 {
    if s.long {
      guard AddressWidth.isCanonical(offset) else { throw raise(.ss, s.errorCode) }
      return offset
    }
    guard !s.segment.unusable, inLimit(s.segment, offset, UInt64(size)) else { throw raise(.ss, s.errorCode) }
    return (s.segment.base &+ offset) & 0xFFFF_FFFF
  }

  func push(_ s: inout StackCursor, _ size: Int, _ value: UInt64) throws(Stop) {
    let offset = (s.pointer &- UInt64(size)) & s.mask
    try writeLinear(try stackAddress(s, offset, size), size, value, s.privilege)
    s.pointer = s.pointer & ~s.mask | offset
  }

  func pop(_ s: inout StackCursor, _ size: Int) throws(Stop) -> UInt64 {
    let offset = s.pointer & s.mask
    let value = try readLinear(try stackAddress(s, offset, size), size, s.privilege)
    release(&s, UInt64(size))
    return value
  }

  /// Host address of the `count` bytes below the top of a flat stack, if the TLB has them for writing.
  func reached(_ s: StackCursor, pushing count: UInt64) -> UnsafeMutableRawPointer? {
    guard s.isFlat else { return nil }
    return reached((s.pointer &- count) & s.mask, Int(count), Access(privilege: s.privilege, write: true))
  }

  /// RIP, CS and RFLAGS for IRET.
  func popFrame(_ s: inout StackCursor, _ size: Int) throws(Stop) -> (rip: UInt64, cs: UInt16, flags: UInt64) {
    if s.isFlat, size == s.width, let frame = reached(s.pointer & s.mask, size * 3, Access(privilege: s.privilege)) {
      release(&s, UInt64(size) * 3)
      let cs = frame.loadUnaligned(fromByteOffset: size, as: UInt16.self)
      if size == 8 {
        return (frame.loadUnaligned(as: UInt64.self), cs, frame.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
      }
      return (UInt64(frame.loadUnaligned(as: UInt32.self)), cs, UInt64(frame.loadUnaligned(fromByteOffset: 8, as: UInt32.self)))
    }
    let rip = try pop(&s, size)
    let selector = UInt16(truncatingIfNeeded: try pop(&s, size))
    return (rip, selector, try pop(&s, size))
  }

  /// Drops bytes without reading them.
  func release(_ s: inout StackCursor, _ count: UInt64) {
    s.pointer = s.pointer & ~s.mask | (s.pointer &+ count) & s.mask
  }

  /// Checks that `count` bytes can be pushed: room in the segment, writable pages.
  func probePush(_ s: StackCursor, _ count: UInt64) throws(Stop) {
    let bottom = (s.pointer &- count) & s.mask
    // Pushes that wrap in a 16-bit stack are checked one by one as they happen.
    guard s.long || bottom < s.pointer & s.mask else { return }
    if !s.long {
      guard !s.segment.unusable, inLimit(s.segment, bottom, count) else { throw raise(.ss, s.errorCode) }
    }
    // No frame is longer than a page: its first and last byte stand for all.
    try probeLinear(try stackAddress(s, bottom, 1), 1, s.privilege)
    try probeLinear(try stackAddress(s, bottom &+ count &- 1, 1), 1, s.privilege)
  }

  /// The stack pointer after a transfer: only as much of it changes as the stack is wide.
  func commitStack(_ s: StackCursor) {
    self[slot: Slot.rsp] = s.mask == 0xFFFF_FFFF ? s.pointer & s.mask : s.pointer
  }
}
