import X86

/// What an event record says happened. The meaning of `a`, `b`, `c`, `d` is given per kind.
@usableFromInline package enum EventKind: UInt16, CaseIterable, Sendable {
  /// A VM exit: `count` is the instruction count, the rest is packed and read by `Event(exit:)` and `vmExit`.
  case exit
  /// The monitor answered the last exit. a = action (0 resume, 1 emulate, 2 complete, 3 skip, 4 fault, 5 retire), b = value, vector or RIP.
  case entry
  /// Exception delivered. a = vector, b = error code (or all ones), c = CR2 or 0.
  case exception
  /// External interrupt injected. a = vector.
  case interrupt
  /// Software interrupt. a = vector.
  case softwareInterrupt
  /// Hypercall done. a = number, b = result, c, d = first two arguments.
  case hypercall
  /// Guest console output. a = byte.
  case output
  /// A port or address nobody claims. a = size | write << 8, b = port or GPA, c = value, d = 0 port, 1 memory.
  case unclaimed
  /// A device's interrupt line changed. a = GSI, b = level.
  case interruptLine
  /// An interrupt controller's EOI. a = vector.
  case eoi
  /// An instruction the engine does not have. b = bytes.
  case unknownInstruction
  /// A timer was programmed. a = device-defined channel, b = period in ns.
  case timer
  /// Input from outside entered the guest. a = byte, b = 0 console, 1 keyboard.
  case input
  /// The session stopped. a = stop reason number, b = breakpoint number, c = the stop's own number.
  case stop
  /// The session went on. a = run mode number.
  case go
  /// Reset, shutdown or exit asked for by the guest. a = 0 shutdown, 1 exit, 2 reset, b = status.
  case request
  /// Self-modifying code invalidated decoded code. b = GPA of the page.
  case codeInvalidated
  /// INIT or SIPI reached a vCPU. a = 0 INIT, 1 SIPI, b = vector.
  case processorSignal
  /// A guest that is itself a monitor entered its guest or got it back. `flags` = `NestedTransition`; a =
  /// entry interruption information, exit reason, or field at fault; b = guest RIP or exit qualification.
  case nested
  /// The person changed what makes the guest exit. a = VMCS field; b = its value or, for bitmaps, the first port
  /// or MSR, c = the last port or access kinds, d = on.
  case controls
  /// The code segment a vCPU's next exits come from, where it is another than at its last (at first: base 0). a =
  /// selector, b = what is to be added to RIP.
  case codeSegment
}

/// What a `nested` event says happened.
@usableFromInline package enum NestedTransition: UInt8, CaseIterable, Sendable {
  case entry, exit, entryRefused
}

/// One fixed-size record of the event stream.
@usableFromInline package struct Event: Equatable, Sendable {
  /// Position in the stream, from 0, without gaps. Stamped by the sink.
  @usableFromInline package var sequence: UInt64
  /// Virtual time in nanoseconds. Stamped by the sink.
  @usableFromInline package var time: UInt64
  /// Instructions the vCPU had retired; given by exits, 0 where the emitter has no vCPU at hand.
  @usableFromInline package var count: UInt64
  @usableFromInline package var rip: UInt64
  @usableFromInline package var b: UInt64
  @usableFromInline package var c: UInt64
  @usableFromInline package var d: UInt64
  @usableFromInline package var a: UInt32
  @usableFromInline package var kind: EventKind
  @usableFromInline package var vcpu: UInt8
  @usableFromInline package var flags: UInt8

  @inlinable @inline(__always)
  package init(
    _ kind: EventKind, vcpu: UInt8 = 0, rip: UInt64 = 0, a: UInt32 = 0, b: UInt64 = 0, c: UInt64 = 0, d: UInt64 = 0,
    flags: UInt8 = 0, count: UInt64 = 0
  ) {
    sequence = 0
    time = 0
    self.count = count
    self.rip = rip
    self.a = a
    self.b = b
    self.c = c
    self.d = d
    self.kind = kind
    self.vcpu = vcpu
    self.flags = flags
  }
}
