import VMCore
import X86

/// The guest's GDT and LDT: pages of descriptors that give nobody a ring the guest may not have, and a 32-bit guest
/// nothing beyond F6800000h.
extension PageTables {
  func validateDescriptors(_ mfn: UInt64) throws(XenError) {
    for index in 0..<512 {
      let old = entry(mfn, index)
      let checked = try checkedDescriptor(old)
      if checked != old { setEntry(mfn, index, checked) }
    }
  }

  /// A descriptor as the guest may have it (SDM 3A 3.4.5, 3.5): code and data, moved from ring 0 to the ring of the
  /// guest's kernel; nothing of the system's.
  func checkedDescriptor(_ descriptor: UInt64) throws(XenError) -> UInt64 {
    let isPresent = descriptor >> 47 & 1 != 0
    guard isPresent else { return descriptor }
    let isCodeOrData = descriptor >> 44 & 1 != 0
    guard isCodeOrData else {
      // Type 0 means nothing to the processor; gates, task states and LDTs would.
      guard descriptor >> 40 & 0xF == 0 else { throw .invalid }
      return descriptor
    }
    // A conforming segment would run in the ring of whoever comes.
    let isConforming = descriptor >> 42 & 3 == 3
    guard !isConforming else { throw .invalid }
    guard layout.abi.is32Bit else { return descriptor | 3 << 45 }
    let ring = descriptor >> 45 & 3
    return try cutLimit(ring == 0 ? descriptor | 1 << 45 : descriptor)
  }

  /// A segment that would reach the monitor ends before it; one that grows down, or begins there, is refused.
  private func cutLimit(_ descriptor: UInt64) throws(XenError) -> UInt64 {
    let segment = Segments.state(0, descriptor)
    let growsDown = descriptor >> 42 & 3 == 1
    guard !growsDown, segment.base <= XenABI.segmentEnd else { throw .invalid }
    let room = XenABI.segmentEnd - segment.base
    guard UInt64(segment.limit) > room else { return descriptor }
    let isInPages = descriptor >> 55 & 1 != 0
    guard !isInPages || room >= 0xFFF else { throw .invalid }
    let limit = isInPages ? (room + 1) >> 12 - 1 : room
    return descriptor & ~(0xF << 48 | 0xFFFF) | limit & 0xFFFF | (limit >> 16 & 0xF) << 48
  }
}

/// Descriptors by hand, for entering the guest with selectors it chose.
enum Segments {
  private static let unusable: UInt32 = 0x1_0000

  static func kernelCode(_ abi: GuestABI) -> SegmentState { reserved(abi.kernelCode, abi) }
  static func kernelData(_ abi: GuestABI) -> SegmentState { reserved(abi.kernelData, abi) }
  static func null(_ selector: UInt16 = 0) -> SegmentState {
    SegmentState(selector: selector, base: 0, limit: 0, access: unusable)
  }

  private static func reserved(_ selector: UInt16, _ abi: GuestABI) -> SegmentState {
    let index = Int(selector >> 3) % 512
    return state(selector, reservedDescriptors(abi).first { $0.index == index }?.value ?? 0)
  }

  /// The monitor's page of the GDT. 64 bits: code and data of ring 3 at E023h (32-bit code), E02Bh, E033h. 32 bits:
  /// code and data of ring 1 at E019h and E021h, of ring 3 at E02Bh and E033h, all ending at F67FFFFFh.
  static func reservedDescriptors(_ abi: GuestABI) -> [(index: Int, value: UInt64)] {
    if abi.is32Bit {
      return [
        (3, 0x00CF_BB00_0000_67FF), (4, 0x00CF_B300_0000_67FF), (5, 0x00CF_FB00_0000_67FF), (6, 0x00CF_F300_0000_67FF),
      ]
    }
    return [(4, 0x00CF_FB00_0000_FFFF), (5, 0x00CF_F300_0000_FFFF), (6, 0x00AF_FB00_0000_FFFF)]
  }

  /// A descriptor with its hidden part spelt out.
  static func state(_ selector: UInt16, _ descriptor: UInt64) -> SegmentState {
    let low = UInt32(truncatingIfNeeded: descriptor)
    let high = UInt32(truncatingIfNeeded: descriptor >> 32)
    let base = UInt64(low >> 16) | UInt64(high & 0xFF) << 16 | UInt64(high >> 24) << 24
    var limit = low & 0xFFFF | high & 0xF_0000
    if high & 1 << 23 != 0 { limit = limit << 12 | 0xFFF }
    let access = high >> 8 & 0xF0FF
    return SegmentState(selector: selector, base: base, limit: limit, access: access)
  }
}
