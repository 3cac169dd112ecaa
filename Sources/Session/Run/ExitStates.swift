import VMCore

/// The registers around one exit, as run control saw them.
package struct ExitStates: Equatable, Sendable {
  /// At the exit: the instruction has had no effect yet.
  package var before: RegisterCapture
  /// With the monitor's answer carried out, before the guest's next instruction; nil while the guest stands at
  /// the exit, and for an exit whose instruction started again.
  package var after: RegisterCapture?
  /// What made it exit; nil where that is not known.
  package var cause: VMXCause?

  package init(before: RegisterCapture, after: RegisterCapture?, cause: VMXCause? = nil) {
    self.before = before
    self.after = after
    self.cause = cause
  }
}

/// The states of the newest exits, by their ordinal. Writing one costs a few dozen nanoseconds and no
/// allocation.
struct ExitStateRing {
  struct Slot {
    var ordinal = UInt64.max
    var before = RegisterCapture()
    var after = RegisterCapture()
    var isClosed = false
    var cause: VMXCause?
  }
  static let kept = 1024
  private var slots: [Slot] = []
  /// By vCPU, the exit whose answer is still to be carried out.
  private var open: [UInt64?] = []

  /// An exit happened.
  mutating func begin(_ ordinal: UInt64, _ vcpu: any VCPU, _ cause: VMXCause?) {
    if slots.isEmpty { slots = [Slot](repeating: Slot(), count: Self.kept) }
    while open.count <= vcpu.index { open.append(nil) }
    let index = Int(truncatingIfNeeded: ordinal % UInt64(Self.kept))
    slots.withUnsafeMutableBufferPointer { slots in
      slots[index].ordinal = ordinal
      slots[index].isClosed = false
      slots[index].cause = cause
      vcpu.capture(into: &slots[index].before)
    }
    open[vcpu.index] = ordinal
  }

  /// The vCPU carried out the answer to its last exit.
  mutating func finish(_ vcpu: any VCPU) {
    guard open.indices.contains(vcpu.index), let ordinal = open[vcpu.index] else { return }
    open[vcpu.index] = nil
    let index = Int(truncatingIfNeeded: ordinal % UInt64(Self.kept))
    slots.withUnsafeMutableBufferPointer { slots in
      guard slots[index].ordinal == ordinal else { return }
      vcpu.capture(into: &slots[index].after)
      slots[index].isClosed = true
    }
  }

  /// The answer to the vCPU's last exit is carried out without anybody looking.
  mutating func forgetOpen(_ vcpu: any VCPU) { if open.indices.contains(vcpu.index) { open[vcpu.index] = nil } }

  /// What was recorded of an exit before.
  mutating func put(_ ordinal: UInt64, _ states: ExitStates) {
    if slots.isEmpty { slots = [Slot](repeating: Slot(), count: Self.kept) }
    let index = Int(truncatingIfNeeded: ordinal % UInt64(Self.kept))
    slots[index] = Slot(
      ordinal: ordinal, before: states.before, after: states.after ?? RegisterCapture(), isClosed: states.after != nil,
      cause: states.cause)
  }

  /// Hands `body` what was recorded of an exit, without a copy; nil where there is nothing.
  func read(_ ordinal: UInt64, _ body: (UnsafePointer<Slot>?) -> Void) {
    slots.withUnsafeBufferPointer { slots in
      guard let start = slots.baseAddress else { return body(nil) }
      let slot = start + Int(truncatingIfNeeded: ordinal % UInt64(Self.kept))
      body(slot.pointee.ordinal == ordinal ? slot : nil)
    }
  }

  /// Nil where the exit was not recorded or is too long ago.
  subscript(_ ordinal: UInt64) -> ExitStates? {
    guard !slots.isEmpty else { return nil }
    let slot = slots[Int(truncatingIfNeeded: ordinal % UInt64(Self.kept))]
    guard slot.ordinal == ordinal else { return nil }
    return ExitStates(before: slot.before, after: slot.isClosed ? slot.after : nil, cause: slot.cause)
  }
}
