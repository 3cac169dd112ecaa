import X86

/// The cases of `ExitQualification`, numbered as an exit event stores them.
enum QualificationTag: UInt32 {
  case none, io, mmio, msr, cpuid, hlt, cr, dr, descriptorTable, exception, softwareInterrupt
  case externalInterrupt, interruptWindow, hypercall, invlpg, taskSwitch, debug, tripleFault, budget
  case kicked, unknownInstruction, entryFailure, unknown, callout
}

/// How an exit lies in an event. `a` = reason (15:0), instruction length (19:16), qualification tag
/// (24:20), bits of the qualification (31:25); operands in `b`, `c`, `d` and `flags`.
extension Event {
  /// An exit as an event record, without loss: `vmExit` gives it back.
  package init(exit: VMExit) {
    self.init(.exit)
    record(exit)
  }

  /// Makes this the event of an exit; sequence and time stay.
  @inline(__always)
  mutating func record(_ exit: VMExit) {
    (kind, vcpu, flags) = (.exit, exit.vcpu, 0)
    (count, rip) = (exit.instructionCount, exit.rip)
    (b, c, d) = (0, 0, 0)
    let (tag, bits) = put(exit.qualification)
    let length = UInt32(exit.instructionLength & 15) << 16
    a = UInt32(exit.reason.rawValue) | length | tag.rawValue << 20 | bits << 25
  }

  /// Makes this the event of the answer to an exit; sequence and time stay.
  @inline(__always)
  mutating func record(_ action: VMEntry.Action, to exit: VMExit) {
    (kind, vcpu, flags) = (.entry, exit.vcpu, 0)
    (count, rip) = (0, exit.rip)
    (b, c, d) = (0, 0, 0)
    switch action {
    case .resume: a = 0
    case .emulate: a = 1
    case .complete(let value): (a, b) = (2, value)
    case .skip: a = 3
    case .retire(let rip): (a, b) = (5, rip)
    case .fault(let vector, _): (a, b) = (4, UInt64(vector))
    }
  }

  /// Stores the operands; the tag and up to seven bits belong into `a`.
  @inline(__always)
  private mutating func put(_ qualification: ExitQualification) -> (QualificationTag, UInt32) {
    switch qualification {
    case .io(let port, let size, let write, let string, let rep, let value):
      (b, c, flags) = (value, UInt64(port), size)
      return (.io, bit(write) | bit(string) << 1 | bit(rep) << 2)
    case .mmio(let gpa, let linear, let size, let write, let value):
      (b, c, d, flags) = (gpa.value, value, linear.value, size)
      return (.mmio, bit(write))
    case .msr(let index, let write, let value):
      (b, c) = (UInt64(index), value)
      return (.msr, bit(write))
    case .cpuid(let leaf, let subleaf):
      (b, c) = (UInt64(leaf), UInt64(subleaf))
      return (.cpuid, 0)
    case .hlt: return (.hlt, 0)
    case .cr(let number, let access, let gpr, let value):
      (b, c, flags) = (value, UInt64(number), gpr)
      return (.cr, UInt32(access.rawValue))
    case .dr(let number, let access, let gpr, let value):
      (b, c, flags) = (value, UInt64(number), gpr)
      return (.dr, UInt32(access.rawValue))
    case .descriptorTable(let table, let write):
      flags = table
      return (.descriptorTable, bit(write))
    case .exception(let vector, let errorCode, let linear):
      (b, c, flags) = (linear, UInt64(errorCode ?? 0), vector)
      return (.exception, bit(errorCode != nil))
    case .softwareInterrupt(let vector):
      flags = vector
      return (.softwareInterrupt, 0)
    case .externalInterrupt(let vector):
      flags = vector
      return (.externalInterrupt, 0)
    case .interruptWindow: return (.interruptWindow, 0)
    case .hypercall(let number):
      b = number
      return (.hypercall, 0)
    case .invlpg(let address):
      b = address.value
      return (.invlpg, 0)
    case .taskSwitch(let selector, let source):
      (b, flags) = (UInt64(selector), source)
      return (.taskSwitch, 0)
    case .debug(let cause): return (.debug, put(cause))
    case .tripleFault: return (.tripleFault, 0)
    case .budget: return (.budget, 0)
    case .kicked: return (.kicked, 0)
    case .unknownInstruction(let bytes, let length):
      (b, flags) = (bytes, length)
      return (.unknownInstruction, 0)
    case .entryFailure(let field):
      b = UInt64(field)
      return (.entryFailure, 0)
    case .callout(let operation):
      flags = operation.rawValue
      return (.callout, 0)
    case .none: return (.none, 0)
    case .unknown(let raw):
      b = raw
      return (.unknown, 0)
    }
  }

  private mutating func put(_ cause: DebugCause) -> UInt32 {
    switch cause {
    case .execution(let address):
      b = address.value
      return 0
    case .data(let address, let size, let write):
      (b, flags) = (address.value, size)
      return 1 | bit(write) << 2
    case .step: return 2
    }
  }

  @inline(__always)
  private func bit(_ value: Bool) -> UInt32 { value ? 1 : 0 }

  /// The exit this event records; nil for another kind of event.
  package var vmExit: VMExit? {
    guard kind == .exit else { return nil }
    return VMExit(
      vcpu: vcpu, reason: exitReason, qualification: qualification, rip: rip,
      instructionLength: UInt8(truncatingIfNeeded: a >> 16 & 15), instructionCount: count)
  }

  /// The reason of an exit event; `unknown` where the number is none.
  @inlinable
  package var exitReason: ExitReason { ExitReason(rawValue: UInt16(truncatingIfNeeded: a)) ?? .unknown }

  private var qualification: ExitQualification {
    let bits = a >> 25
    switch QualificationTag(rawValue: a >> 20 & 31) {
    case .io:
      return .io(
        port: UInt16(truncatingIfNeeded: c), size: flags, write: bits & 1 != 0, string: bits & 2 != 0,
        rep: bits & 4 != 0, value: b)
    case .mmio: return .mmio(gpa: GPA(b), linear: GVA(d), size: flags, write: bits & 1 != 0, value: c)
    case .msr: return .msr(index: UInt32(truncatingIfNeeded: b), write: bits & 1 != 0, value: c)
    case .cpuid: return .cpuid(leaf: UInt32(truncatingIfNeeded: b), subleaf: UInt32(truncatingIfNeeded: c))
    case .hlt: return .hlt
    case .cr: return .cr(number: UInt8(truncatingIfNeeded: c), access: access(bits), gpr: flags, value: b)
    case .dr: return .dr(number: UInt8(truncatingIfNeeded: c), access: access(bits), gpr: flags, value: b)
    case .descriptorTable: return .descriptorTable(table: flags, write: bits & 1 != 0)
    case .exception:
      let errorCode = bits & 1 != 0 ? UInt32(truncatingIfNeeded: c) : nil
      return .exception(vector: flags, errorCode: errorCode, linear: b)
    case .softwareInterrupt: return .softwareInterrupt(vector: flags)
    case .externalInterrupt: return .externalInterrupt(vector: flags)
    case .interruptWindow: return .interruptWindow
    case .hypercall: return .hypercall(number: b)
    case .invlpg: return .invlpg(GVA(b))
    case .taskSwitch: return .taskSwitch(selector: UInt16(truncatingIfNeeded: b), source: flags)
    case .debug: return .debug(debugCause(bits))
    case .tripleFault: return .tripleFault
    case .budget: return .budget
    case .kicked: return .kicked
    case .unknownInstruction: return .unknownInstruction(bytes: b, length: flags)
    case .entryFailure: return .entryFailure(field: UInt32(truncatingIfNeeded: b))
    case .callout: return SensitiveOperation(rawValue: flags).map { .callout($0) } ?? .none
    case .some(.none), nil: return .none
    case .unknown: return .unknown(raw: b)
    }
  }

  private func access(_ bits: UInt32) -> RegisterAccess {
    RegisterAccess(rawValue: UInt8(truncatingIfNeeded: bits & 3)) ?? .write
  }

  private func debugCause(_ bits: UInt32) -> DebugCause {
    switch bits & 3 {
    case 0: .execution(GVA(b))
    case 1: .data(GVA(b), size: flags, write: bits & 4 != 0)
    default: .step
    }
  }
}

extension EventSink {
  /// Puts an exit into the ring: its event is made there.
  package func emit(exit: VMExit) {
    guard let slot = claim() else { return }
    slot.pointee.record(exit)
    publish(slot)
  }

  /// The same for the answer to an exit.
  package func emit(_ action: VMEntry.Action, to exit: VMExit) {
    guard let slot = claim() else { return }
    slot.pointee.record(action, to: exit)
    publish(slot)
  }
}
