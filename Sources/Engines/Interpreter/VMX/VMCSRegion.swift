import VMCore
import X86

/// A VMCS region in guest memory, laid out by `VMCSLayout`. The guest may scribble over it, so nothing read from it is trusted: VM
/// entry checks what it takes, as it would on hardware.
///
/// Invariant for the raw pointer: it comes from `hostPage` of a page-aligned address, so 4,096 bytes of
/// guest RAM lie behind it; regions are looked up anew for every instruction and never kept.
struct VMCSRegion: VMCSFields {
  private let base: UnsafeMutableRawPointer

  init(_ base: UnsafeMutableRawPointer) {
    self.base = base
  }

  var revision: UInt32 { base.load(as: UInt32.self) }
  var isLaunched: Bool {
    get { base.load(fromByteOffset: 8, as: UInt32.self) != 0 }
    nonmutating set { base.storeBytes(of: newValue ? 1 : 0, toByteOffset: 8, as: UInt32.self) }
  }
  /// VMX-abort indicator (SDM 3C 25.2).
  func abort(_ code: UInt32) { base.storeBytes(of: code, toByteOffset: 4, as: UInt32.self) }

  subscript(field: VMCSField) -> UInt64 {
    get { base.load(fromByteOffset: VMCSLayout.offset(field), as: UInt64.self) & field.mask }
    nonmutating set {
      base.storeBytes(of: newValue & field.mask, toByteOffset: VMCSLayout.offset(field), as: UInt64.self)
    }
  }
}
