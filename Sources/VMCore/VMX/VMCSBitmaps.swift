import X86

/// The I/O bitmaps A and B and the MSR bitmap of a VMCS (SDM 3C 25.6.4, 25.6.9). The storage is shared
/// until somebody writes, so that copies and comparisons of unchanged bitmaps cost nothing.
package struct VMCSBitmaps: Equatable, Sendable {
  /// Bitmap A, then B: bit n is port n.
  private var ports: [UInt8]
  /// Four quarters of 1,024 bytes: reads of 0 to 1FFFh, reads of C0000000h on, then writes of both.
  private var msrs: [UInt8]
  /// Ports whose bit is 1.
  package private(set) var portCount: Int

  /// Every port and every MSR exits, or none.
  package init(all: Bool) {
    ports = [UInt8](repeating: all ? 0xFF : 0, count: 8192)
    msrs = [UInt8](repeating: all ? 0xFF : 0, count: 4096)
    portCount = all ? 65536 : 0
  }

  /// Every port, and every MSR but those the processor has itself.
  package static let standard: VMCSBitmaps = {
    var bitmaps = VMCSBitmaps(all: true)
    for index in processorMSRs {
      bitmaps.set(msr: index, write: false, false)
      bitmaps.set(msr: index, write: true, false)
    }
    return bitmaps
  }()

  /// The MSRs the embedded processor has itself, in ascending order; all others are the platform's or do
  /// not exist.
  package static let processorMSRs: [UInt32] =
    [
      MSR.tsc, MSR.featureControl, MSR.tscAdjust, MSR.biosSignature, MSR.sysenterCS, MSR.sysenterESP, MSR.sysenterEIP,
      MSR.machineCheckCap, MSR.machineCheckStatus, MSR.miscEnable, MSR.debugControl, MSR.pat,
    ] + Array(0x480...0x490) + [
      MSR.efer, MSR.star, MSR.lstar, MSR.cstar, MSR.sfmask, MSR.fsBase, MSR.gsBase, MSR.kernelGSBase, MSR.tscAux,
    ]

  /// Copies I/O bitmap A, B and the MSR bitmap, 4 KiB each, one behind the other.
  package func copy(to bytes: UnsafeMutablePointer<UInt8>) {
    ports.withUnsafeBufferPointer { bytes.update(from: $0.baseAddress ?? UnsafePointer(bytes), count: 8192) }
    msrs.withUnsafeBufferPointer { (bytes + 8192).update(from: $0.baseAddress ?? UnsafePointer(bytes), count: 4096) }
  }
  /// Where `copy` puts a field's bitmap.
  @inline(__always) package static func start(_ field: VMCSField) -> Int {
    switch field {
    case .ioBitmapA: 0
    case .ioBitmapB: 4096
    default: 8192
    }
  }
  /// Bytes `copy` writes.
  package static let size = 12288

  /// A byte of I/O bitmap A or B or of the MSR bitmap.
  package func byte(_ field: VMCSField, _ offset: Int) -> UInt8 {
    switch field {
    case .ioBitmapA: ports[offset]
    case .ioBitmapB: ports[4096 + offset]
    default: msrs[offset]
    }
  }

  package subscript(port port: UInt16) -> Bool {
    get { ports[Int(port >> 3)] >> UInt8(port & 7) & 1 != 0 }
    set {
      guard self[port: port] != newValue else { return }
      ports[Int(port >> 3)] ^= 1 << UInt8(port & 7)
      portCount += newValue ? 1 : -1
    }
  }

  /// Where the bit of an MSR lies; nil for one outside both ranges, which always exits.
  private static func bit(_ index: UInt32, write: Bool) -> Int? {
    let quarter: Int
    switch index {
    case 0...0x1FFF: quarter = write ? 2 : 0
    case 0xC000_0000...0xC000_1FFF: quarter = write ? 3 : 1
    default: return nil
    }
    return quarter * 8192 + Int(index & 0x1FFF)
  }

  /// Whether the access exits; nil for an MSR that no bitmap covers.
  package func contains(msr index: UInt32, write: Bool) -> Bool? {
    Self.bit(index, write: write).map { msrs[$0 >> 3] >> UInt8($0 & 7) & 1 != 0 }
  }
  /// False where no bitmap covers the MSR.
  @discardableResult
  package mutating func set(msr index: UInt32, write: Bool, _ value: Bool) -> Bool {
    guard let bit = Self.bit(index, write: write) else { return false }
    if contains(msr: index, write: write) != value { msrs[bit >> 3] ^= 1 << UInt8(bit & 7) }
    return true
  }
  package mutating func setAllPorts(_ value: Bool) {
    guard portCount != (value ? 65536 : 0) else { return }
    ports = [UInt8](repeating: value ? 0xFF : 0, count: 8192)
    portCount = value ? 65536 : 0
  }
  package mutating func setAllMSRs(_ value: Bool) {
    msrs = [UInt8](repeating: value ? 0xFF : 0, count: 4096)
  }
}
