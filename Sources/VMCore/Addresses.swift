/// A guest-physical address.
package struct GPA: Hashable, Comparable, Sendable {
  package var value: UInt64
  @inlinable package init(_ value: UInt64) { self.value = value }
  package static func < (a: GPA, b: GPA) -> Bool { a.value < b.value }
  package static func + (a: GPA, b: UInt64) -> GPA { GPA(a.value &+ b) }
}

/// A guest-virtual (linear) address: after segmentation, before paging.
package struct GVA: Hashable, Comparable, Sendable {
  package var value: UInt64
  @inlinable package init(_ value: UInt64) { self.value = value }
  package static func < (a: GVA, b: GVA) -> Bool { a.value < b.value }
  package static func + (a: GVA, b: UInt64) -> GVA { GVA(a.value &+ b) }
}

/// A host-virtual address inside a memory slot of the guest.
package struct HVA: Hashable, Sendable {
  package var value: UInt64
  package init(_ value: UInt64) { self.value = value }
}
