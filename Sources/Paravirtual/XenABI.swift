/// Numbers of the Xen ABI that several files need (Xen public/xen.h), whatever the guest's width.
enum XenABI {
  static let pageSize: UInt64 = 4096
  static let version: UInt64 = 4 << 16 | 17
  static let domain: UInt64 = 1
  /// DOMID_SELF.
  static let domainSelf: UInt64 = 0x7FF0
  /// INT n of a 32-bit guest's kernel that is a hypercall.
  static let hypercallVector: UInt8 = 0x82

  /// GDT entries a guest may have: fourteen pages of 512.
  static let guestDescriptors: UInt64 = 14 * 512
  /// Pages of the GDT's area, and of the LDT's behind it.
  static let gdtPages = 16
  static let ldtPages = 16
  /// The page of the GDT that is the monitor's.
  static let reservedGDTPage = 14

  // The monitor's part of every address space.
  static let firstReservedSlot = 256
  static let lastReservedSlot = 271
  /// The domain's own area: GDT and LDT.
  static let perDomainSlot = 260
  /// In the L2 table behind the fourth entry of a 32-bit guest's L3.
  static let firstReservedL2Slot = 428
  static let perDomainL2Slot = 440
  /// Highest linear address that segments of a 32-bit guest reach.
  static let segmentEnd: UInt64 = 0xF67F_FFFF
  static let invalidEntry: UInt64 = .max

  // Page-table entries.
  static let present: UInt64 = 1
  static let writable: UInt64 = 2
  static let user: UInt64 = 4
  static let accessed: UInt64 = 0x20
  static let dirty: UInt64 = 0x40
  static let large: UInt64 = 0x80
  static let global: UInt64 = 0x100
  /// Marks a leaf that a 64-bit guest wrote without US: a page of its kernel.
  static let guestKernel: UInt64 = 1 << 52
  static let addressMask: UInt64 = 0x000F_FFFF_FFFF_F000
  /// What the processor keeps for itself in an entry of a PAE L3, and bits 62:52 of PAE entries (SDM 3A 4.4.1).
  static let reservedInL3: UInt64 = 0xFFF0_0000_0000_01FE
  static let reservedInPAE: UInt64 = 0x7FF0_0000_0000_0000

  /// Time ends here: what lies beyond never happens, so that no sum of times overflows.
  static let horizon: UInt64 = 1 << 62

  /// VCPUOP flag: the deadline must lie in the future.
  static let future: UInt32 = 1
  /// VGCF_in_syscall.
  static let inSyscall: UInt64 = 1 << 8

  static func frame(_ entry: UInt64) -> UInt64 { (entry & addressMask) >> 12 }
  static func isPresent(_ entry: UInt64) -> Bool { entry & present != 0 }
}
