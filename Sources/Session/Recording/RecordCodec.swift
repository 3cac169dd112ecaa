import VMCore
import X86

/// What a recording is made of. An event's record begins with its kind, every other one with one of these.
enum RecordTag: UInt8 {
  case exitStates = 0x80
  case stop = 0x81
  case name = 0x82
  case console = 0x83
  case note = 0x84
  case page = 0x85
  case devices = 0x86
  case screen = 0x87
  case breakpoints = 0x88
}

/// Registers around an exit and what it cost, written when both are known.
struct RecordedExit {
  var ordinal: UInt64 = 0
  var reason: ExitReason = .unknown
  /// Host nanoseconds; 0 where it was not measured.
  var cost: UInt64 = 0
  /// The exit was still being dealt with: a later record says more.
  var isOpen = false
  var states: ExitStates?
}

/// Which name of an exit's address is meant.
struct RecordedName: Hashable {
  enum Kind: UInt8 { case handler, port, memory }
  var kind: Kind
  /// Reason, port or address, and direction, in one number.
  var key: UInt64
}

/// The differences records are written as; both sides begin each chunk with a fresh one, so that every chunk can
/// be read by itself.
struct RecordCodec {
  private var newest = [Event](repeating: Event(.exit), count: EventKind.allCases.count)
  private var time: UInt64 = 0
  private var capture = RegisterCapture()
  private var ordinal: UInt64 = 0

  // MARK: events

  /// Kind, a byte of which fields differ from the last event of this kind, time, those fields.
  mutating func put(_ event: borrowing Event, _ out: inout ByteWriter) {
    let kind = Int(event.kind.rawValue)
    out.put(UInt8(truncatingIfNeeded: kind))
    let last = newest[kind]
    var mask: UInt8 = 0
    if event.vcpu != last.vcpu { mask |= 1 }
    if event.flags != last.flags { mask |= 2 }
    if event.count != last.count { mask |= 4 }
    if event.rip != last.rip { mask |= 8 }
    if event.a != last.a { mask |= 16 }
    if event.b != last.b { mask |= 32 }
    if event.c != last.c { mask |= 64 }
    if event.d != last.d { mask |= 128 }
    out.put(mask)
    out.put(event.time, after: time)
    if mask & 1 != 0 { out.put(event.vcpu) }
    if mask & 2 != 0 { out.put(event.flags) }
    if mask & 4 != 0 { out.put(event.count, after: last.count) }
    if mask & 8 != 0 { out.put(event.rip, after: last.rip) }
    if mask & 16 != 0 { out.put(number: UInt64(event.a)) }
    if mask & 32 != 0 { out.put(event.b, after: last.b) }
    if mask & 64 != 0 { out.put(event.c, after: last.c) }
    if mask & 128 != 0 { out.put(event.d, after: last.d) }
    newest[kind] = copy event
    time = event.time
  }

  mutating func event(kind number: UInt8, _ bytes: inout ByteReader) throws(DamagedRecording) -> Event {
    guard let kind = EventKind(rawValue: UInt16(number)) else { throw DamagedRecording() }
    var event = newest[Int(number)]
    event.kind = kind
    let mask = try bytes.byte()
    event.time = try bytes.number(after: time)
    if mask & 1 != 0 { event.vcpu = try bytes.byte() }
    if mask & 2 != 0 { event.flags = try bytes.byte() }
    if mask & 4 != 0 { event.count = try bytes.number(after: event.count) }
    if mask & 8 != 0 { event.rip = try bytes.number(after: event.rip) }
    if mask & 16 != 0 { event.a = UInt32(truncatingIfNeeded: try bytes.number()) }
    if mask & 32 != 0 { event.b = try bytes.number(after: event.b) }
    if mask & 64 != 0 { event.c = try bytes.number(after: event.c) }
    if mask & 128 != 0 { event.d = try bytes.number(after: event.d) }
    newest[Int(number)] = event
    time = event.time
    return event
  }

  // MARK: registers around exits

  /// An exit's number and what it cost; with `states` the registers before and, where it `isClosed`, after it follow,
  /// and the bit that caused it.
  mutating func put(
    _ ordinal: UInt64, _ reason: ExitReason, cost: UInt64, isOpen: Bool, states: UnsafePointer<ExitStateRing.Slot>?,
    _ out: inout ByteWriter
  ) {
    out.put(RecordTag.exitStates.rawValue)
    let hasAfter = states?.pointee.isClosed ?? false
    let cause = states?.pointee.cause?.coded
    out.put((states != nil ? 1 : 0) | (hasAfter ? 2 : 0) | (isOpen ? 4 : 0) | (cause != nil ? 8 : 0))
    out.put(ordinal, after: self.ordinal)
    self.ordinal = ordinal
    out.put(number: UInt64(reason.rawValue))
    out.put(number: cost)
    guard let states else { return }
    put(states.pointee.before, &out)
    if hasAfter { put(states.pointee.after, &out) }
    guard let cause else { return }
    out.put(cause.kind)
    out.put(number: cause.number)
    out.put(number: cause.more)
  }

  mutating func exit(_ bytes: inout ByteReader) throws(DamagedRecording) -> RecordedExit {
    let flags = try bytes.byte()
    var exit = RecordedExit()
    exit.isOpen = flags & 4 != 0
    exit.ordinal = try bytes.number(after: ordinal)
    ordinal = exit.ordinal
    exit.reason = ExitReason(rawValue: UInt16(truncatingIfNeeded: try bytes.number())) ?? .unknown
    exit.cost = try bytes.number()
    guard flags & 1 != 0 else { return exit }
    let before = try capture(&bytes)
    exit.states = ExitStates(before: before, after: flags & 2 != 0 ? try capture(&bytes) : nil)
    guard flags & 8 != 0 else { return exit }
    exit.states?.cause = VMXCause(kind: try bytes.byte(), number: try bytes.number(), more: try bytes.number())
    return exit
  }

  private mutating func put(_ new: borrowing RegisterCapture, _ out: inout ByteWriter) {
    var mask: UInt64 = 0
    for index in 0..<16 { mask |= new.gpr[index] != capture.gpr[index] ? 1 << UInt64(index) : 0 }
    if new.rip != capture.rip { mask |= 1 << 16 }
    if new.rflags != capture.rflags { mask |= 1 << 17 }
    if new.csBase != capture.csBase { mask |= 1 << 18 }
    if new.csSelector != capture.csSelector { mask |= 1 << 19 }
    if new.mode != capture.mode { mask |= 1 << 20 }
    out.put(number: mask)
    var left = mask & 0xFFFF
    while left != 0 {
      let index = left.trailingZeroBitCount
      out.put(new.gpr[index], after: capture.gpr[index])
      capture.gpr[index] = new.gpr[index]
      left &= left - 1
    }
    if mask >> 16 & 1 != 0 {
      out.put(new.rip, after: capture.rip)
      capture.rip = new.rip
    }
    if mask >> 17 & 1 != 0 {
      out.put(number: new.rflags ^ capture.rflags)
      capture.rflags = new.rflags
    }
    guard mask >> 18 != 0 else { return }
    if mask >> 18 & 1 != 0 { out.put(new.csBase, after: capture.csBase) }
    if mask >> 19 & 1 != 0 { out.put(number: UInt64(new.csSelector)) }
    if mask >> 20 & 1 != 0 { out.put(new.mode.rawValue) }
    (capture.csBase, capture.csSelector, capture.mode) = (new.csBase, new.csSelector, new.mode)
  }

  private mutating func capture(_ bytes: inout ByteReader) throws(DamagedRecording) -> RegisterCapture {
    let mask = try bytes.number()
    for index in 0..<16 where mask >> UInt64(index) & 1 != 0 {
      capture.gpr[index] = try bytes.number(after: capture.gpr[index])
    }
    if mask >> 16 & 1 != 0 { capture.rip = try bytes.number(after: capture.rip) }
    if mask >> 17 & 1 != 0 { capture.rflags ^= try bytes.number() }
    if mask >> 18 & 1 != 0 { capture.csBase = try bytes.number(after: capture.csBase) }
    if mask >> 19 & 1 != 0 { capture.csSelector = UInt16(truncatingIfNeeded: try bytes.number()) }
    if mask >> 20 & 1 != 0 {
      guard let mode = ProcessorMode(rawValue: try bytes.byte()) else { throw DamagedRecording() }
      capture.mode = mode
    }
    return capture
  }
}
