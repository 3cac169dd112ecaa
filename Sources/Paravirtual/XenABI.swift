/// Numbers of the Xen ABI that several files need (Xen public/xen.h, public/arch-x86/xen-x86_64.h).
enum XenABI {
  static let pageSize: UInt64 = 4096
  static let version: UInt64 = 4 << 16 | 17
  static let domain: UInt64 = 1
  /// DOMID_SELF, DOMID_IO, DOMID_XEN.
  static let domainSelf: UInt64 = 0x7FF0

  // Flat selectors of the monitor's own GDT page.
  static let codeSelector32: UInt16 = 0xE023
  static let codeSelector: UInt16 = 0xE033
  static let dataSelector: UInt16 = 0xE02B
  /// GDT entries a guest may have: fourteen pages of 512.
  static let guestDescriptors: UInt64 = 14 * 512

  // The monitor's part of every address space: L4 slots 256 to 271.
  static let firstReservedSlot = 256
  static let lastReservedSlot = 271
  static let reservedStart: UInt64 = 0xFFFF_8000_0000_0000
  static let reservedEnd: UInt64 = 0xFFFF_8800_0000_0000
  /// The machine-to-physical table, in slot 256.
  static let machineToPhysical: UInt64 = 0xFFFF_8000_0000_0000
  static let machineToPhysicalEnd: UInt64 = 0xFFFF_8040_0000_0000
  static let invalidEntry: UInt64 = .max
  /// The domain's own area, slot 260: sixteen pages of GDT.
  static let perDomainSlot = 260
  static let gdtAddress: UInt64 = 0xFFFF_8200_0000_0000
  static let gdtPages = 16
  /// The page of the GDT that is the monitor's.
  static let reservedGDTPage = 14

  // Page-table entries.
  static let present: UInt64 = 1
  static let writable: UInt64 = 2
  static let user: UInt64 = 4
  static let accessed: UInt64 = 0x20
  static let dirty: UInt64 = 0x40
  static let large: UInt64 = 0x80
  static let global: UInt64 = 0x100
  /// Marks a leaf that the guest wrote without US: a page of its kernel.
  static let guestKernel: UInt64 = 1 << 52
  static let addressMask: UInt64 = 0x000F_FFFF_FFFF_F000

  /// VCPUOP flag: the deadline must lie in the future.
  static let future: UInt32 = 1
  /// VGCF_in_syscall.
  static let inSyscall: UInt64 = 1 << 8

  static func frame(_ entry: UInt64) -> UInt64 { (entry & addressMask) >> 12 }
  static func isPresent(_ entry: UInt64) -> Bool { entry & present != 0 }
  /// Where a guest's pointer may point: nowhere into the monitor's part.
  static func isGuestAddress(_ address: UInt64) -> Bool {
    let isCanonical = address < 0x0000_8000_0000_0000 || address >= 0xFFFF_8000_0000_0000
    return isCanonical && !(address >= reservedStart && address < reservedEnd)
  }
}

/// vcpu_info, 64 bytes.
enum VCPUInfo {
  static let upcallPending: UInt64 = 0
  static let upcallMask: UInt64 = 1
  static let pendingSelector: UInt64 = 8
  static let cr2: UInt64 = 16
  static let time: UInt64 = 32
  static let size: UInt64 = 64
}

/// shared_info.
enum SharedInfo {
  static let pending: UInt64 = 0x800
  static let mask: UInt64 = 0xA00
  static let wallClockVersion: UInt64 = 0xC00
  static let maximumPFN: UInt64 = 0xC10
}

/// start_info of an x86-64 guest: byte offsets.
enum StartInfo {
  static let pageCount: UInt64 = 0x20
  static let sharedInfo: UInt64 = 0x28
  static let flags: UInt64 = 0x30
  static let storeFrame: UInt64 = 0x38
  static let storePort: UInt64 = 0x40
  static let consoleFrame: UInt64 = 0x48
  static let consolePort: UInt64 = 0x50
  static let pageTableBase: UInt64 = 0x58
  static let pageTableFrames: UInt64 = 0x60
  static let frameList: UInt64 = 0x68
  static let moduleStart: UInt64 = 0x70
  static let moduleLength: UInt64 = 0x78
  static let commandLine: UInt64 = 0x80
  static let commandLineSize = 1024
  static let firstP2M: UInt64 = 0x480
  static let p2mFrames: UInt64 = 0x488
  /// SIF_MOD_START_PFN.
  static let moduleIsPFN: UInt32 = 8
}
