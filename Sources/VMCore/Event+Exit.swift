import X86

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
    let words = exit.words
    (kind, vcpu, flags) = (.exit, exit.vcpu, words.small)
    (count, rip) = (exit.instructionCount, exit.rip)
    (b, c, d) = (words.b, words.c, words.d)
    let length = UInt32(exit.instructionLength & 15) << 16
    a = UInt32(exit.reason.rawValue) | length | UInt32(words.tag.rawValue) << 20 | UInt32(words.bits) << 25
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

  /// The exit this event records; nil for another kind of event.
  package var vmExit: VMExit? {
    guard kind == .exit else { return nil }
    return VMExit(
      vcpu: vcpu, reason: exitReason, words: words, rip: rip,
      instructionLength: UInt8(truncatingIfNeeded: a >> 16 & 15), instructionCount: count)
  }

  /// The reason of an exit event; `unknown` where the number is none.
  @inlinable
  package var exitReason: ExitReason { ExitReason(rawValue: UInt16(truncatingIfNeeded: a)) ?? .unknown }

  private var words: QualificationWords {
    let tag = QualificationTag(rawValue: UInt8(truncatingIfNeeded: a >> 20 & 31)) ?? .none
    return QualificationWords(tag: tag, bits: UInt8(truncatingIfNeeded: a >> 25), small: flags, b: b, c: c, d: d)
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
