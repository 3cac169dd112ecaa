import VMCore
import X86

/// System-descriptor types (SDM 3A table 3-2).
enum SystemType {
  static let tss16: UInt8 = 1
  static let ldt: UInt8 = 2
  static let callGate16: UInt8 = 4
  static let taskGate: UInt8 = 5
  static let interruptGate16: UInt8 = 6
  static let trapGate16: UInt8 = 7
  static let tss32: UInt8 = 9
  static let callGate32: UInt8 = 12
  static let interruptGate32: UInt8 = 14
  static let trapGate32: UInt8 = 15
  /// Set in a TSS type while its task is busy.
  static let busy: UInt8 = 2
}

/// Access-rights values given to segments that instructions load without a descriptor.
enum SegmentAccess {
  static let unusable: UInt32 = 0x1_0000
  static let realData: UInt32 = 0x93
  static let realCode: UInt32 = 0x9B
  static let virtual8086: UInt32 = 0xF3
  /// Flat read-write data of SYSCALL and SYSENTER: present, G and B set; DPL to be added.
  static let flatData: UInt32 = 0xC093
  /// Flat code without L or D; DPL to be added.
  static let flatCode: UInt32 = 0x809B
  static let long: UInt32 = 0x2000
  static let big: UInt32 = 0x4000
}

/// A segment or gate descriptor of 8 bytes (SDM 3A 3.4.5, 5.8.3).
struct Descriptor {
  var raw: UInt64
  /// Its linear address.
  var address: UInt64
  var selector: UInt16

  var type: UInt8 { UInt8(raw >> 40 & 0xF) }
  var isCodeOrData: Bool { raw >> 44 & 1 != 0 }
  var dpl: UInt8 { UInt8(raw >> 45 & 3) }
  var present: Bool { raw >> 47 & 1 != 0 }
  var long: Bool { raw >> 53 & 1 != 0 }
  var big: Bool { raw >> 54 & 1 != 0 }
  var isCode: Bool { isCodeOrData && type & 8 != 0 }
  var isConforming: Bool { type & 4 != 0 }
  var isReadable: Bool { isCodeOrData && (type & 8 == 0 || type & 2 != 0) }
  var isWritable: Bool { isCodeOrData && type & 0xA == 2 }
  var base: UInt64 { raw >> 16 & 0xFF_FFFF | raw >> 32 & 0xFF00_0000 }
  /// In bytes, granularity applied.
  var limit: UInt32 {
    let low = UInt32(truncatingIfNeeded: raw & 0xFFFF)
    let high = UInt32(truncatingIfNeeded: raw >> 48 & 0xF) << 16
    return raw >> 55 & 1 != 0 ? (low | high) << 12 | 0xFFF : low | high
  }
  /// The VMCS layout of `SegmentState.access`.
  var access: UInt32 { UInt32(truncatingIfNeeded: raw >> 40 & 0xF0FF) }
  /// The selector as an error code.
  var errorCode: UInt32 { UInt32(selector & 0xFFFC) }

  // Gates.
  var gateSelector: UInt16 { UInt16(truncatingIfNeeded: raw >> 16) }
  var gateOffset32: UInt64 { raw & 0xFFFF | raw >> 32 & 0xFFFF_0000 }
  var gateParameters: UInt64 { raw >> 32 & 0x1F }

  /// The hidden part it loads, with `rpl` in the selector.
  func state(rpl: UInt8) -> SegmentState {
    SegmentState(selector: selector & ~3 | UInt16(rpl), base: base, limit: limit, access: access)
  }
}

func isNull(_ selector: UInt16) -> Bool { selector & 0xFFFC == 0 }
func rpl(_ selector: UInt16) -> UInt8 { UInt8(selector & 3) }

/// A null segment register.
func nullSegment(_ selector: UInt16) -> SegmentState {
  SegmentState(selector: selector, base: 0, limit: 0, access: SegmentAccess.unusable)
}

extension UnsafeMutablePointer<CPU> {
  /// IA-32e mode is active.
  var isIA32e: Bool { pointee.efer & EFER.lma != 0 }

  /// The linear address of a descriptor, or nil if its table ends before it.
  func descriptorAddress(_ selector: UInt16, size: UInt64 = 8) -> UInt64? {
    let index = UInt64(selector & 0xFFF8)
    if selector & 4 == 0 {
      return index + size - 1 <= UInt64(pointee.gdtr.limit) ? pointee.gdtr.base &+ index : nil
    }
    let ldt = pointee.segments[6]
    guard !ldt.unusable, index + size - 1 <= UInt64(ldt.limit) else { return nil }
    return ldt.base &+ index
  }

  /// Reads a descriptor; one beyond the table's limit raises `exception` with the selector.
  func readDescriptor(_ selector: UInt16, _ exception: Exception = .gp) throws(Stop) -> Descriptor {
    guard let address = descriptorAddress(selector) else { throw raise(exception, UInt32(selector & 0xFFFC)) }
    return Descriptor(raw: try systemLoad(address, 8), address: address, selector: selector)
  }

  /// Bits 63:32 of the base (or offset) of a 16-byte system descriptor in IA-32e mode.
  func readUpperHalf(_ d: Descriptor, _ exception: Exception = .gp) throws(Stop) -> UInt64 {
    guard descriptorAddress(d.selector, size: 16) != nil else { throw raise(exception, d.errorCode) }
    let high = try systemLoad(d.address &+ 8, 8)
    // The type field of the upper half must be zero (SDM 3A 5.8.3.1).
    guard high >> 40 & 0x1F == 0 else { throw raise(exception, d.errorCode) }
    return high << 32
  }

  /// Sets the accessed bit in memory and in `d`.
  func markAccessed(_ d: inout Descriptor) throws(Stop) {
    guard d.type & 1 == 0 else { return }
    d.raw |= 1 << 40
    try systemStore(d.address &+ 5, 1, d.raw >> 40 & 0xFF)
  }

  /// Bytes `offset` to `offset + size - 1` lie inside the segment (SDM 3A 5.3).
  func inLimit(_ s: SegmentState, _ offset: UInt64, _ size: UInt64) -> Bool {
    let last = offset &+ size &- 1
    guard last >= offset else { return false }
    let expandsDown = s.access & 0x1C == 0x14
    if !expandsDown { return last <= UInt64(s.limit) }
    return offset > UInt64(s.limit) && last <= (s.big ? 0xFFFF_FFFF : 0xFFFF)
  }
}
