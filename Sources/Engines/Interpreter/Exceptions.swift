import VMCore
import X86

/// Where an event to be delivered comes from (SDM 3A 6.3, 6.4).
enum InterruptKind {
  case exception, external, nmi
  /// INT n: gate DPL and, in virtual-8086 mode, IOPL are checked.
  case softwareInterrupt
  /// INT3 and INTO: gate DPL is checked.
  case softwareException
  /// INT1: nothing is checked.
  case privilegedSoftwareException

  /// Gate DPL counts.
  var checksGate: Bool { self == .softwareInterrupt || self == .softwareException }
  /// The EXT bit of error codes raised while delivering it.
  var externalBit: UInt32 {
    switch self {
    case .exception, .external, .nmi, .privilegedSoftwareException: 1
    default: 0
    }
  }
}

/// How exceptions combine (SDM 3A tables 6-4, 6-5).
private enum FaultClass {
  case benign, contributory, pageFault, doubleFault

  init(_ vector: UInt8) {
    switch vector {
    case 0, 10, 11, 12, 13, 21: self = .contributory
    case 14, 20: self = .pageFault
    case 8: self = .doubleFault
    default: self = .benign
    }
  }
}

extension UnsafeMutablePointer<CPU> {
  /// Delivers an exception with RIP at the instruction it belongs to (faults) or after it (traps), and
  /// whatever exceptions that raises in turn; a triple fault leaves for the monitor. One that VM entry
  /// injects is offered to nobody and leaves CR2 and the debug registers as they are (SDM 3C 27.6.1.1).
  func deliver(_ fault: Fault, isInjected: Bool = false) throws(Stop) {
    var current = fault
    var isNew = !isInjected
    while true {
      if isNew {
        try offerException(current)
        prepare(current)
      }
      isNew = true
      guard let next = try attempt(current) else { return }
      switch (FaultClass(current.vector), FaultClass(next.vector)) {
      case (.doubleFault, .contributory), (.doubleFault, .pageFault), (.doubleFault, .doubleFault):
        pointee.vmx.vectoring = 0
        throw leave(.tripleFault, .tripleFault, .always)
      case (.contributory, .contributory), (.pageFault, .contributory), (.pageFault, .pageFault):
        if next.vector == Exception.pf.rawValue { pointee.cr2 = next.linear }
        current = Fault(vector: Exception.df.rawValue, hasErrorCode: true)
        // An exit for it is no exit during delivery (SDM 3C 28.2.4).
        pointee.vmx.vectoring = 0
      default: current = next
      }
    }
  }

  /// Leaves for the monitor where it wants to see this exception first.
  private func offerException(_ fault: Fault) throws(Stop) {
    try interceptException(
      fault.vector, fault.hasErrorCode ? fault.errorCode : nil, .exception, linear: fault.linear)
    try offerException(fault.vector, fault.hasErrorCode ? fault.errorCode : nil, linear: fault.linear)
  }

  /// Leaves for our own monitor where its exception bitmap or a debugger wants this exception.
  func offerException(_ vector: UInt8, _ errorCode: UInt32?, linear: UInt64) throws(Stop) {
    guard exits(on: .exceptions) else { return }
    let cause = monitorCause(.exception(vector: vector, errorCode: errorCode ?? 0))
    let own: VMXCause? = pointee.quick.contains(.deprivileged) ? .always : nil
    guard let cause = cause ?? (pointee.wishes.vectors[vector] ? .debugger : own) else { return }
    throw leave(.exception, .exception(vector: vector, errorCode: errorCode, linear: linear), cause)
  }

  /// CR2, DR6 and DR7.GD as exceptions leave them.
  private func prepare(_ fault: Fault) {
    if fault.vector == Exception.pf.rawValue { pointee.cr2 = fault.linear }
    if fault.vector == Exception.db.rawValue {
      pointee.dr6 = pointee.dr6 & ~0xF | fault.linear & 0xE00F
      pointee.dr7 &= ~(1 << 13)
      pointee.debugControl &= ~DebugControl.all
    }
  }

  /// One delivery: nil when it succeeded, else the exception met on the way, its EXT bit set.
  private func attempt(_ fault: Fault) throws(Stop) -> Fault? {
    do throws(Stop) {
      try interrupt(
        vector: fault.vector, errorCode: fault.hasErrorCode ? fault.errorCode : nil, kind: .exception,
        linear: fault.linear)
      return nil
    } catch {
      guard error == .fault else { throw error }
      return pointee.fault
    }
  }

  /// Delivers one event through the IVT or IDT, to its first instruction. Throws what the delivery itself
  /// raises, with nothing changed (but after a task switch, see `switchTask`). A watched range it touches
  /// is recorded, never asked about: delivery always counts as running alone.
  func interrupt(
    vector: UInt8, errorCode: UInt32? = nil, kind: InterruptKind, linear: UInt64 = 0
  ) throws(Stop) {
    let from = pointee.rip
    if isNonRoot { noteVectoring(vector, errorCode, kind) }
    let alone = pointee.alone
    pointee.alone = true
    defer { pointee.alone = alone }
    do throws(Stop) {
      if !isProtected && pointee.cr0 & CR0.pe == 0 {
        try realInterrupt(vector)
      } else if isIA32e {
        try longInterrupt(vector, errorCode, kind)
      } else {
        try protectedInterrupt(vector, errorCode, kind)
      }
    } catch {
      if error == .fault { addExternalBit(kind) }
      throw error
    }
    pointee.vmx.vectoring = 0
    pointee.interruptShadow = false
    pointee.activity = .active
    if kind == .nmi { pointee.nmiBlocked = true }
    note(vector, errorCode, kind, linear, from)
  }

  private func addExternalBit(_ kind: InterruptKind) {
    switch pointee.fault.vector {
    case 10, 11, 12, 13: pointee.fault.errorCode |= kind.externalBit
    default: break
    }
  }

  private func note(
    _ vector: UInt8, _ errorCode: UInt32?, _ kind: InterruptKind, _ linear: UInt64, _ rip: UInt64
  ) {
    unloadMXCSR()
    let owner = vcpu
    let index = UInt8(truncatingIfNeeded: owner.index)
    let number = UInt32(vector)
    switch kind {
    case .exception, .nmi:
      let code = errorCode.map { UInt64($0) } ?? .max
      owner.events.emit(Event(.exception, vcpu: index, rip: rip, a: number, b: code, c: linear))
    case .external: owner.events.emit(Event(.interrupt, vcpu: index, rip: rip, a: number))
    default: owner.events.emit(Event(.softwareInterrupt, vcpu: index, rip: rip, a: number))
    }
  }

  /// The error code that names an IDT entry.
  func idtError(_ vector: UInt8) -> UInt32 { UInt32(vector) << 3 | 2 }

  /// The flags image pushed: RF is set for faults, so that the instruction can be tried again past its
  /// breakpoint (SDM 3B 17.3.1.1).
  func pushedFlags(_ vector: UInt8, _ kind: InterruptKind) -> UInt64 {
    let flags = materializeFlags()
    let isFault = kind == .exception && vector != Exception.db.rawValue
    let isTrap = vector == Exception.bp.rawValue || vector == Exception.of.rawValue
    return isFault && !isTrap ? flags | RFLAGS.rf : flags
  }

  // MARK: Real mode

  /// Through the interrupt vector table (SDM 3B 20.1.4). Error codes are not pushed.
  private func realInterrupt(_ vector: UInt8) throws(Stop) {
    let entry = UInt64(vector) * 4
    guard entry + 3 <= UInt64(pointee.idtr.limit) else { throw raise(.gp, idtError(vector)) }
    let target = try systemLoad(pointee.idtr.base &+ entry, 4)
    let flags = materializeFlags()
    var stack = currentStack()
    try push(&stack, 2, flags)
    try push(&stack, 2, UInt64(pointee.segments[1].selector))
    try push(&stack, 2, pointee.rip)
    commitStack(stack)
    writeFlags(flags & ~(RFLAGS.interruptEnable | RFLAGS.tf | RFLAGS.ac | RFLAGS.rf))
    pointee.rip = target & 0xFFFF
    loadRealSegment(1, UInt16(truncatingIfNeeded: target >> 16))
  }
}
