/// What a descriptor describes (SDM 3A 3.4.5 and table 3-2).
package enum DescriptorKind: Equatable, Sendable {
  case code(readable: Bool, conforming: Bool)
  case data(writable: Bool, expandDown: Bool)
  case ldt
  case tss(bits: Int, busy: Bool)
  case callGate(bits: Int)
  case taskGate
  case interruptGate(bits: Int)
  case trapGate(bits: Int)
  case reserved(UInt8)
}

/// A segment, system or gate descriptor out of a GDT, LDT or IDT, decoded (SDM 3A 3.4.5, 3.5, 6.11, 6.14.1).
package struct Descriptor: Equatable, Sendable {
  package var kind: DescriptorKind
  /// The eight (or first eight of sixteen) bytes as stored.
  package var raw: UInt64
  /// The upper eight bytes of a 16-byte descriptor, else 0.
  package var rawHigh: UInt64
  /// 8 or 16.
  package var size: Int
  package var present: Bool
  package var dpl: UInt8
  /// Segments: linear base.
  package var base: UInt64
  /// Segments: limit in bytes, granularity applied.
  package var limit: UInt32
  /// Gates: where they lead.
  package var selector: UInt16
  package var offset: UInt64
  /// Gates of 64-bit mode: stack number in the TSS, 0 for none.
  package var ist: UInt8
  /// Call gates: words or doublewords copied to the new stack.
  package var parameterCount: UInt8
  /// Segments: accessed.
  package var accessed: Bool
  /// L bit: 64-bit code.
  package var long: Bool
  /// D/B bit: 32-bit default or stack.
  package var big: Bool
  package var granular: Bool

  /// Decodes eight bytes; `high` holds the next eight and is used where `longMode` makes the descriptor a
  /// 16-byte one (system segments and gates).
  package init(_ raw: UInt64, high: UInt64 = 0, longMode: Bool) {
    let type = UInt8(truncatingIfNeeded: raw >> 40 & 0xF)
    let isSystem = raw >> 44 & 1 == 0
    kind = isSystem ? Self.systemKind(type, longMode) : Self.segmentKind(type)
    let isWide = isSystem && longMode && Self.isWide(kind)
    self.raw = raw
    rawHigh = isWide ? high : 0
    size = isWide ? 16 : 8
    present = raw >> 47 & 1 != 0
    dpl = UInt8(truncatingIfNeeded: raw >> 45 & 3)
    let baseLow = raw >> 16 & 0xFF_FFFF
    let baseHigh = raw >> 56 & 0xFF
    base = baseLow | baseHigh << 24 | (isWide ? (high & 0xFFFF_FFFF) << 32 : 0)
    granular = raw >> 55 & 1 != 0
    let shortLimit = UInt32(truncatingIfNeeded: raw & 0xFFFF | raw >> 32 & 0xF_0000)
    limit = granular ? shortLimit << 12 | 0xFFF : shortLimit
    selector = UInt16(truncatingIfNeeded: raw >> 16)
    let offsetLow = raw & 0xFFFF
    offset = offsetLow | raw >> 32 & 0xFFFF_0000 | (isWide ? (high & 0xFFFF_FFFF) << 32 : 0)
    ist = isWide ? UInt8(truncatingIfNeeded: raw >> 32 & 7) : 0
    parameterCount = UInt8(truncatingIfNeeded: raw >> 32 & 0x1F)
    accessed = !isSystem && type & 1 != 0
    long = raw >> 53 & 1 != 0
    big = raw >> 54 & 1 != 0
    if case .callGate(bits: 16) = kind { offset &= 0xFFFF }
    if case .interruptGate(bits: 16) = kind { offset &= 0xFFFF }
    if case .trapGate(bits: 16) = kind { offset &= 0xFFFF }
  }

  private static func segmentKind(_ type: UInt8) -> DescriptorKind {
    type & 8 != 0
      ? .code(readable: type & 2 != 0, conforming: type & 4 != 0)
      : .data(writable: type & 2 != 0, expandDown: type & 4 != 0)
  }

  /// SDM 3A table 3-2; in IA-32e mode the 16-bit forms and the task gate are reserved.
  private static func systemKind(_ type: UInt8, _ longMode: Bool) -> DescriptorKind {
    let bits = longMode ? 64 : 32
    switch type {
    case 2: return .ldt
    case 9, 11: return .tss(bits: bits, busy: type == 11)
    case 12: return .callGate(bits: bits)
    case 14: return .interruptGate(bits: bits)
    case 15: return .trapGate(bits: bits)
    case 1 where !longMode, 3 where !longMode: return .tss(bits: 16, busy: type == 3)
    case 4 where !longMode: return .callGate(bits: 16)
    case 5 where !longMode: return .taskGate
    case 6 where !longMode: return .interruptGate(bits: 16)
    case 7 where !longMode: return .trapGate(bits: 16)
    default: return .reserved(type)
    }
  }

  private static func isWide(_ kind: DescriptorKind) -> Bool {
    switch kind {
    case .ldt, .tss, .callGate, .interruptGate, .trapGate: true
    default: false
    }
  }

  package var isGate: Bool {
    switch kind {
    case .callGate, .taskGate, .interruptGate, .trapGate: true
    default: false
    }
  }

  package var isSystem: Bool {
    switch kind {
    case .code, .data: false
    default: true
    }
  }

  /// The access rights as a VMCS and `SegmentState` hold them (SDM 3C 25.4.1): 7:0 the type byte, 15:12 AVL, L,
  /// D/B and G.
  package var accessRights: UInt32 { UInt32(truncatingIfNeeded: raw >> 40 & 0xF0FF) }

  /// The type in words: `32-bit code R/X A`, `interrupt gate 64`, `TSS 64 busy`.
  package var typeText: String {
    switch kind {
    case .code, .data: SegmentText.type(accessRights: accessRights)
    case .ldt: "LDT"
    case .tss(let bits, let busy): "TSS \(bits)" + (busy ? " busy" : " available")
    case .callGate(let bits): "call gate \(bits)"
    case .taskGate: "task gate"
    case .interruptGate(let bits): "interrupt gate \(bits)"
    case .trapGate(let bits): "trap gate \(bits)"
    case .reserved(let type): raw == 0 ? "null" : "reserved type \(type)"
    }
  }
}

/// Segment attributes in words.
package enum SegmentText {
  /// `16-bit code R/X A`, `32-bit data RW A`, `64-bit code X`, `32-bit stack-down data R`; for access rights as
  /// `SegmentState` holds them.
  package static func type(accessRights: UInt32) -> String {
    if accessRights & 0x1_0000 != 0 { return "unusable" }
    let type = accessRights & 0xF
    guard accessRights & 0x10 != 0 else { return system(UInt8(type)) }
    let accessed = type & 1 != 0 ? " A" : ""
    let bits = accessRights & 0x2000 != 0 && type & 8 != 0 ? 64 : accessRights & 0x4000 != 0 ? 32 : 16
    if type & 8 != 0 {
      let conforming = type & 4 != 0 ? " conforming" : ""
      return "\(bits)-bit\(conforming) code " + (type & 2 != 0 ? "R/X" : "X") + accessed
    }
    let down = type & 4 != 0 ? " expand-down" : ""
    return "\(bits)-bit\(down) data " + (type & 2 != 0 ? "RW" : "R") + accessed
  }

  private static func system(_ type: UInt8) -> String {
    switch type {
    case 0: "none"
    case 1: "TSS 16 available"
    case 2: "LDT"
    case 3: "TSS 16 busy"
    case 9: "TSS available"
    case 11: "TSS busy"
    default: "system type \(type)"
    }
  }

  /// Short form for narrow panes: `16r`, `32w`, `64x`: bits and r readable code, x execute-only code, w writable
  /// data, o read-only data; `--` for unusable.
  package static func short(accessRights: UInt32) -> String {
    guard accessRights & 0x1_0000 == 0, accessRights & 0x10 != 0 else { return "--" }
    let type = accessRights & 0xF
    let isCode = type & 8 != 0
    let bits = accessRights & 0x2000 != 0 && isCode ? "64" : accessRights & 0x4000 != 0 ? "32" : "16"
    let letter = isCode ? (type & 2 != 0 ? "r" : "x") : (type & 2 != 0 ? "w" : "o")
    return bits + letter
  }
}
