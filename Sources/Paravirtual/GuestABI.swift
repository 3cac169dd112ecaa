/// The two paravirtual ABIs of x86 and what differs between them (Xen public/arch-x86/xen-x86_64.h, xen-x86_32.h).
///
/// A 64-bit guest's kernel runs in ring 3 like its programs, on page tables of its own: long mode has no segment limits
/// that would keep it from the monitor. A 32-bit guest's kernel runs in ring 1 on PAE tables that it shares with its
/// programs: pages without US keep ring 3 out of the kernel, segment limits keep both out of the monitor's area above
/// F6800000h, and the tables of the area between F5800000h and there are read-only.
package enum GuestABI: Sendable, Equatable {
  case x86_64, x86_32p

  package var is32Bit: Bool { self == .x86_32p }
  /// Bytes of an unsigned long or a pointer in the guest's structures.
  package var wordSize: UInt64 { is32Bit ? 4 : 8 }
  /// The ring the guest's kernel runs in.
  package var kernelRing: UInt8 { is32Bit ? 1 : 3 }
  /// Levels of page tables: L4 down to L1, or L3 down.
  package var levels: Int { is32Bit ? 3 : 4 }
  package var rootType: FrameType { is32Bit ? .l3 : .l4 }
  /// What start_info begins with.
  var magic: String { is32Bit ? "xen-3.0-x86_32p" : "xen-3.0-x86_64" }

  // MARK: Selectors of the monitor's own GDT page

  /// FLAT_KERNEL_CS and FLAT_KERNEL_DS; in 32 bits FLAT_RING1_CS and FLAT_RING1_DS.
  package var kernelCode: UInt16 { is32Bit ? 0xE019 : 0xE033 }
  package var kernelData: UInt16 { is32Bit ? 0xE021 : 0xE02B }

  // MARK: Addresses

  /// Where the monitor's part of the address space begins: L4 slots 256 to 271, or the L2 slots from F5800000h on.
  package var reservedStart: UInt64 { is32Bit ? 0xF580_0000 : 0xFFFF_8000_0000_0000 }
  /// The machine-to-physical table, entries of `wordSize` bytes.
  package var machineToPhysical: UInt64 { reservedStart }
  package var machineToPhysicalEnd: UInt64 { is32Bit ? 0xF680_0000 : 0xFFFF_8040_0000_0000 }
  /// The GDT's sixteen pages and, behind them, the LDT's.
  package var gdtAddress: UInt64 { is32Bit ? 0xF700_0000 : 0xFFFF_8200_0000_0000 }
  package var ldtAddress: UInt64 { gdtAddress + UInt64(XenABI.gdtPages) << 12 }

  /// Where a guest's pointer may point: nowhere into the monitor's part.
  package func isGuestAddress(_ address: UInt64) -> Bool {
    if is32Bit { return address < reservedStart }
    return isCanonical(address) && !(address >= reservedStart && address < 0xFFFF_8800_0000_0000)
  }

  func isCanonical(_ address: UInt64) -> Bool {
    if is32Bit { return address >> 32 == 0 }
    return address < 0x0000_8000_0000_0000 || address >= 0xFFFF_8000_0000_0000
  }

  // MARK: Shared structures

  var vcpuInfo: VCPUInfo { is32Bit ? .narrow : .wide }
  var sharedInfo: SharedInfo { is32Bit ? .narrow : .wide }
  package var startInfo: StartInfo { is32Bit ? .narrow : .wide }
}

/// vcpu_info, 64 bytes: offsets.
struct VCPUInfo {
  static let upcallPending: UInt64 = 0
  static let upcallMask: UInt64 = 1
  static let time: UInt64 = 32
  static let size: UInt64 = 64
  var pendingSelector: UInt64
  var cr2: UInt64

  static let wide = VCPUInfo(pendingSelector: 8, cr2: 16)
  static let narrow = VCPUInfo(pendingSelector: 4, cr2: 8)
}

/// shared_info: offsets. The bitmaps have as many bits as words have, times as many.
struct SharedInfo {
  var pending: UInt64
  var mask: UInt64
  var bitmapSize: UInt64
  var wallClockVersion: UInt64
  var maximumPFN: UInt64

  static let wide = SharedInfo(
    pending: 0x800, mask: 0xA00, bitmapSize: 512, wallClockVersion: 0xC00, maximumPFN: 0xC10)
  static let narrow = SharedInfo(
    pending: 0x800, mask: 0x880, bitmapSize: 128, wallClockVersion: 0x900, maximumPFN: 0x90C)
}

/// start_info: byte offsets.
package struct StartInfo: Sendable {
  var pageCount: UInt64
  var sharedInfo: UInt64
  var flags: UInt64
  var storeFrame: UInt64
  var storePort: UInt64
  var consoleFrame: UInt64
  var consolePort: UInt64
  var pageTableBase: UInt64
  var pageTableFrames: UInt64
  var frameList: UInt64
  var moduleStart: UInt64
  var moduleLength: UInt64
  var commandLine: UInt64
  var firstP2M: UInt64
  var p2mFrames: UInt64
  static let commandLineSize = 1024
  /// SIF_MOD_START_PFN.
  static let moduleIsPFN: UInt32 = 8

  static let wide = StartInfo(
    pageCount: 0x20, sharedInfo: 0x28, flags: 0x30, storeFrame: 0x38, storePort: 0x40, consoleFrame: 0x48,
    consolePort: 0x50, pageTableBase: 0x58, pageTableFrames: 0x60, frameList: 0x68, moduleStart: 0x70,
    moduleLength: 0x78, commandLine: 0x80, firstP2M: 0x480, p2mFrames: 0x488)
  static let narrow = StartInfo(
    pageCount: 0x20, sharedInfo: 0x24, flags: 0x28, storeFrame: 0x2C, storePort: 0x30, consoleFrame: 0x34,
    consolePort: 0x38, pageTableBase: 0x3C, pageTableFrames: 0x40, frameList: 0x44, moduleStart: 0x48,
    moduleLength: 0x4C, commandLine: 0x50, firstP2M: 0x450, p2mFrames: 0x454)
}
