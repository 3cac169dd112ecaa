import X86

/// The cases of `ExitQualification`, numbered as an exit event stores them.
@usableFromInline package enum QualificationTag: UInt8, Sendable {
  case none, io, mmio, msr, cpuid, hlt, cr, dr, descriptorTable, exception, softwareInterrupt
  case externalInterrupt, interruptWindow, hypercall, invlpg, taskSwitch, debug, tripleFault, budget
  case kicked, unknownInstruction, entryFailure, unknown, callout
}

/// An `ExitQualification` as it is carried from the engine to the event stream: in words, which cost nothing to copy
/// and to store. What is done at every exit looks at these; `value` gives it back in the field's terms.
@usableFromInline package struct QualificationWords: Equatable, Sendable {
  @usableFromInline package var tag: QualificationTag
  /// Up to seven bits.
  @usableFromInline var bits: UInt8
  /// An operand of eight bits.
  @usableFromInline var small: UInt8
  @usableFromInline var b: UInt64
  @usableFromInline var c: UInt64
  @usableFromInline var d: UInt64

  @inlinable @inline(__always)
  init(tag: QualificationTag, bits: UInt8 = 0, small: UInt8 = 0, b: UInt64 = 0, c: UInt64 = 0, d: UInt64 = 0) {
    self.tag = tag
    self.bits = bits
    self.small = small
    self.b = b
    self.c = c
    self.d = d
  }

  @inlinable @inline(__always)
  package init(_ qualification: ExitQualification) {
    switch qualification {
    case .io(let port, let size, let write, let string, let rep, let value):
      let bits = Self.bit(write) | Self.bit(string) << 1 | Self.bit(rep) << 2
      self.init(tag: .io, bits: bits, small: size, b: value, c: UInt64(port))
    case .mmio(let gpa, let linear, let size, let write, let value):
      self.init(tag: .mmio, bits: Self.bit(write), small: size, b: gpa.value, c: value, d: linear.value)
    case .msr(let index, let write, let value): self.init(tag: .msr, bits: Self.bit(write), b: UInt64(index), c: value)
    case .cpuid(let leaf, let subleaf): self.init(tag: .cpuid, b: UInt64(leaf), c: UInt64(subleaf))
    case .hlt: self.init(tag: .hlt)
    case .cr(let number, let access, let gpr, let value):
      self.init(tag: .cr, bits: access.rawValue, small: gpr, b: value, c: UInt64(number))
    case .dr(let number, let access, let gpr, let value):
      self.init(tag: .dr, bits: access.rawValue, small: gpr, b: value, c: UInt64(number))
    case .descriptorTable(let table, let write): self.init(tag: .descriptorTable, bits: Self.bit(write), small: table)
    case .exception(let vector, let errorCode, let linear):
      self.init(tag: .exception, bits: Self.bit(errorCode != nil), small: vector, b: linear, c: UInt64(errorCode ?? 0))
    case .softwareInterrupt(let vector): self.init(tag: .softwareInterrupt, small: vector)
    case .externalInterrupt(let vector): self.init(tag: .externalInterrupt, small: vector)
    case .interruptWindow: self.init(tag: .interruptWindow)
    case .hypercall(let number): self.init(tag: .hypercall, b: number)
    case .invlpg(let address): self.init(tag: .invlpg, b: address.value)
    case .taskSwitch(let selector, let source): self.init(tag: .taskSwitch, small: source, b: UInt64(selector))
    case .debug(.execution(let address)): self.init(tag: .debug, b: address.value)
    case .debug(.data(let address, let size, let write)):
      self.init(tag: .debug, bits: 1 | Self.bit(write) << 2, small: size, b: address.value)
    case .debug(.step): self.init(tag: .debug, bits: 2)
    case .tripleFault: self.init(tag: .tripleFault)
    case .budget: self.init(tag: .budget)
    case .kicked: self.init(tag: .kicked)
    case .unknownInstruction(let bytes, let length): self.init(tag: .unknownInstruction, small: length, b: bytes)
    case .entryFailure(let field): self.init(tag: .entryFailure, b: UInt64(field))
    case .callout(let operation): self.init(tag: .callout, small: operation.rawValue)
    case .none: self.init(tag: .none)
    case .unknown(let raw): self.init(tag: .unknown, b: raw)
    }
  }

  @inlinable @inline(__always)
  static func bit(_ value: Bool) -> UInt8 { value ? 1 : 0 }

  // MARK: what is asked at every exit

  /// A port access; nil for anything else.
  @inlinable package var port: (number: UInt16, size: UInt8, write: Bool, value: UInt64)? {
    @inline(__always) get {
      guard tag == .io else { return nil }
      return (UInt16(truncatingIfNeeded: c), small, bits & 1 != 0, b)
    }
  }

  /// INS or OUTS.
  @inlinable package var isString: Bool { @inline(__always) get { tag == .io && bits & 2 != 0 } }

  /// The number of a hypercall; nil for anything else.
  @inlinable package var hypercall: UInt64? { @inline(__always) get { tag == .hypercall ? b : nil } }

  // MARK: all of it

  package var value: ExitQualification {
    switch tag {
    case .io:
      .io(
        port: UInt16(truncatingIfNeeded: c), size: small, write: bits & 1 != 0, string: bits & 2 != 0,
        rep: bits & 4 != 0, value: b)
    case .mmio: .mmio(gpa: GPA(b), linear: GVA(d), size: small, write: bits & 1 != 0, value: c)
    case .msr: .msr(index: UInt32(truncatingIfNeeded: b), write: bits & 1 != 0, value: c)
    case .cpuid: .cpuid(leaf: UInt32(truncatingIfNeeded: b), subleaf: UInt32(truncatingIfNeeded: c))
    case .hlt: .hlt
    case .cr: .cr(number: UInt8(truncatingIfNeeded: c), access: access, gpr: small, value: b)
    case .dr: .dr(number: UInt8(truncatingIfNeeded: c), access: access, gpr: small, value: b)
    case .descriptorTable: .descriptorTable(table: small, write: bits & 1 != 0)
    case .exception:
      .exception(vector: small, errorCode: bits & 1 != 0 ? UInt32(truncatingIfNeeded: c) : nil, linear: b)
    case .softwareInterrupt: .softwareInterrupt(vector: small)
    case .externalInterrupt: .externalInterrupt(vector: small)
    case .interruptWindow: .interruptWindow
    case .hypercall: .hypercall(number: b)
    case .invlpg: .invlpg(GVA(b))
    case .taskSwitch: .taskSwitch(selector: UInt16(truncatingIfNeeded: b), source: small)
    case .debug: .debug(debugCause)
    case .tripleFault: .tripleFault
    case .budget: .budget
    case .kicked: .kicked
    case .unknownInstruction: .unknownInstruction(bytes: b, length: small)
    case .entryFailure: .entryFailure(field: UInt32(truncatingIfNeeded: b))
    case .callout: SensitiveOperation(rawValue: small).map { .callout($0) } ?? .none
    case .none: .none
    case .unknown: .unknown(raw: b)
    }
  }

  private var access: RegisterAccess { RegisterAccess(rawValue: bits & 3) ?? .write }

  private var debugCause: DebugCause {
    switch bits & 3 {
    case 0: .execution(GVA(b))
    case 1: .data(GVA(b), size: small, write: bits & 4 != 0)
    default: .step
    }
  }
}
