import VMCore
import X86

/// The guest's GDT: pages of descriptors that give nobody a ring the guest may not have.
extension PageTables {
  func validateDescriptors(_ mfn: UInt64) throws(XenError) {
    for index in 0..<512 {
      let old = entry(mfn, index)
      let checked = try Self.checkedDescriptor(old)
      if checked != old { setEntry(mfn, index, checked) }
    }
  }

  /// A descriptor as the guest may have it: code and data in ring 3, nothing of the system's
  /// (SDM 3A 3.4.5, 3.5).
  static func checkedDescriptor(_ descriptor: UInt64) throws(XenError) -> UInt64 {
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
    return descriptor | 3 << 45
  }
}

/// Descriptors by hand, for entering the guest with selectors it chose.
enum Segments {
  static let flatCode64: UInt32 = 0xA0FB
  static let flatCode32: UInt32 = 0xC0FB
  static let flatData: UInt32 = 0xC0F3
  static let unusable: UInt32 = 0x1_0000

  static let kernelCode = SegmentState(
    selector: XenABI.codeSelector, base: 0, limit: .max, access: flatCode64)
  static let kernelStack = SegmentState(
    selector: XenABI.dataSelector, base: 0, limit: .max, access: flatData)
  static func null(_ selector: UInt16 = 0) -> SegmentState {
    SegmentState(selector: selector, base: 0, limit: 0, access: unusable)
  }

  /// The monitor's page of the GDT: flat segments of ring 3 at E023h, E02Bh and E033h.
  static let reservedDescriptors: [(index: Int, value: UInt64)] = [
    (4, 0x00CF_FB00_0000_FFFF), (5, 0x00CF_F300_0000_FFFF), (6, 0x00AF_FB00_0000_FFFF),
  ]

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
