import VMCore
import X86

/// Reads, writes or both.
package struct AccessKinds: OptionSet, Sendable {
  package let rawValue: UInt8
  package init(rawValue: UInt8) { self.rawValue = rawValue }
  package static let read = Self(rawValue: 1)
  package static let write = Self(rawValue: 2)
  package static let both: Self = [.read, .write]

  package var letters: String { self == .both ? "rw" : self == .read ? "r" : "w" }
  func covers(write: Bool) -> Bool { contains(write ? .write : .read) }
}

/// What a breakpoint waits for. A nil operand means any.
package enum BreakpointCause: Equatable, Sendable {
  /// About to execute the instruction at this linear address.
  case execution(GVA)
  /// An instruction touched one of these bytes.
  case data(GVA, length: UInt64, AccessKinds)
  case port(UInt16?, AccessKinds)
  case msr(UInt32?, AccessKinds)
  case controlRegister(UInt8?, AccessKinds)
  /// An exception or interrupt is about to be delivered.
  case vector(Vector?)
  case reason(ExitReason)
  case hypercall(UInt64?)
}

/// One breakpoint with everything the person said about it.
package struct Breakpoint: Sendable {
  package let number: Int
  package let cause: BreakpointCause
  package var condition: Expression?
  package var enabled = true
  /// Times the cause came and the condition held.
  package var hits: UInt64 = 0
  /// Stops from this hit on; nil at every hit.
  package var hitLimit: UInt64?
  /// Hits still to be passed over (gdb's `ignore`).
  package var ignoreCount: UInt64 = 0
  /// Commands carried out at a stop.
  package var action: [String] = []
  package var oneShot = false

  package init(number: Int, cause: BreakpointCause) {
    self.number = number
    self.cause = cause
  }

  /// Counts a hit; whether it is one to stop at.
  package mutating func hit() -> Bool {
    hits &+= 1
    if ignoreCount > 0 {
      ignoreCount -= 1
      return false
    }
    return hits >= hitLimit ?? 0
  }

  /// The exits that can be this cause.
  package var reasons: ReasonSet {
    switch cause {
    case .execution, .data: ReasonSet([.debug])
    case .port: ReasonSet([.io])
    case .msr: ReasonSet([.rdmsr, .wrmsr])
    case .controlRegister: ReasonSet([.crAccess])
    case .vector: ReasonSet([.exception, .softwareInterrupt])
    case .reason(let reason): ReasonSet([reason])
    case .hypercall: ReasonSet([.vmcall, .io, .syscall, .softwareInterrupt])
    }
  }

  /// Whether `exit` is this cause. `hypercall` is the number of the hypercall the exit carries, by
  /// VMCALL or by the doorbell port.
  package func matches(_ exit: VMExit, hypercall: UInt64?) -> Bool {
    switch (cause, exit.qualification) {
    case (.execution(let address), .debug(.execution(let at))): return address == at
    case (.data(let address, let length, let kinds), .debug(.data(let at, let size, let write))):
      let distance = at.value &- address.value
      let before = address.value &- at.value
      return kinds.covers(write: write) && (distance < length || before < UInt64(size))
    case (.port(let port, let kinds), .io(let at, let size, let write, _, _, _)):
      guard kinds.covers(write: write) else { return false }
      return port.map { $0 >= at && UInt32($0) < UInt32(at) + UInt32(max(size, 1)) } ?? true
    case (.msr(let index, let kinds), .msr(let at, let write, _)):
      return kinds.covers(write: write) && (index ?? at) == at
    case (.controlRegister(let number, let kinds), .cr(let at, let access, _, _)):
      return kinds.covers(write: access != .read) && (number ?? at) == at
    case (.vector(let vector), .exception(let at, _, _)), (.vector(let vector), .softwareInterrupt(let at)):
      return (vector ?? at) == at
    case (.reason(let reason), _): return exit.reason == reason || exit.architecturalReason == reason
    case (.hypercall(let number), _):
      guard let hypercall else { return false }
      guard let number, number != hypercall else { return true }
      // A call with operations carries which one above its number.
      return hypercall > 0xFF && number == hypercall & 0xFF
    default: return false
    }
  }

  /// Whether an external interrupt about to be injected is this cause.
  package func matches(interrupt vector: Vector) -> Bool {
    switch cause {
    case .vector(let wanted): (wanted ?? vector) == vector
    case .reason(.externalInterrupt): true
    default: false
    }
  }
}
