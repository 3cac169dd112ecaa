/// A guest-physical address.
@usableFromInline package struct GPA: Hashable, Comparable, Sendable {
  @usableFromInline package var value: UInt64
  @inlinable package init(_ value: UInt64) { self.value = value }
  @inlinable package static func < (a: GPA, b: GPA) -> Bool { a.value < b.value }
  @inlinable package static func + (a: GPA, b: UInt64) -> GPA { GPA(a.value &+ b) }
}

/// A guest-virtual (linear) address: after segmentation, before paging.
@usableFromInline package struct GVA: Hashable, Comparable, Sendable {
  @usableFromInline package var value: UInt64
  @inlinable package init(_ value: UInt64) { self.value = value }
  @inlinable package static func < (a: GVA, b: GVA) -> Bool { a.value < b.value }
  @inlinable package static func + (a: GVA, b: UInt64) -> GVA { GVA(a.value &+ b) }
}

/// A host-virtual address inside a memory slot of the guest.
@usableFromInline package struct HVA: Hashable, Sendable {
  @usableFromInline package var value: UInt64
  @inlinable package init(_ value: UInt64) { self.value = value }
}
