/// A note of an ELF file (System V ABI, chapter 5, "Note Section").
package struct ELFNote: Equatable, Sendable {
  /// The owner's name, "Xen".
  package var owner: String
  package var type: UInt32
  package var descriptor: [UInt8]

  package init(owner: String, type: UInt32, descriptor: [UInt8]) {
    self.owner = owner
    self.type = type
    self.descriptor = descriptor
  }

  /// The descriptor as a little-endian number of 1 to 8 bytes; nil for any other size.
  package var number: UInt64? {
    guard (1...8).contains(descriptor.count) else { return nil }
    return descriptor.reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// The descriptor as a string, up to its terminating zero.
  package var text: String { String(decoding: descriptor.prefix { $0 != 0 }, as: UTF8.self) }
}

/// What a kernel tells a Xen-style loader of itself, by the notes' types (Xen, public/elfnote.h).
package enum XenNote: UInt32, Sendable, CaseIterable {
  /// Virtual address of the paravirtual entry.
  case entry = 1
  case hypercallPage = 2
  case virtualBase = 3
  case physicalOffset = 4
  case xenVersion = 5
  case guestOS = 6
  case guestVersion = 7
  case loader = 8
  case paeMode = 9
  case features = 10
  case symbolTable = 11
  case hypervisorLow = 12
  case l1MFNValid = 13
  case suspendCancel = 14
  case initialP2M = 15
  case moduleStartPFN = 16
  case supportedFeatures = 17
  /// Guest-physical address of the 32-bit PVH entry.
  case physical32Entry = 18
}
