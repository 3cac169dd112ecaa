import X86

/// How this processor lays out a VMCS region: revision identifier at 0, abort indicator at 4, launch state at
/// 8, then the fields by `VMCSField.slot`, eight bytes each.
package enum VMCSLayout {
  package static let firstField = 16
  package static func offset(_ field: VMCSField) -> Int { firstField + field.slot * 8 }
}

/// A VMCS in a guest's memory, read for display.
package struct GuestVMCS: VMCSFields {
  private let memory: GuestMemory
  package let address: UInt64

  /// The current VMCS of a guest that is itself a monitor; nil where it has none.
  package init?(_ state: VCPUState, _ memory: GuestMemory) {
    guard let current = state.vmx.current else { return nil }
    address = current
    self.memory = memory
  }

  package subscript(field: VMCSField) -> UInt64 {
    (memory.load(GPA(address &+ UInt64(VMCSLayout.offset(field))), as: UInt64.self) ?? 0) & field.mask
  }
  package var revision: UInt32 { memory.load(GPA(address), as: UInt32.self) ?? 0 }
}
