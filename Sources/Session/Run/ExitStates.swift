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

/// The states of the newest exits, by their ordinal. Writing one costs a few dozen nanoseconds and no allocation. A value:
/// copies share their storage until one of them is changed.
struct ExitStateRing {
  struct Slot {
    var ordinal = UInt64.max
    var before = RegisterCapture()
    var after = RegisterCapture()
    var isClosed = false
    var cause: VMXCause?
  }
  static let kept = 1024
  /// Nil as long as nothing was recorded.
  private var storage: StateStorage?

  /// The storage, this ring's alone.
  @inline(__always)
  private mutating func own() -> StateStorage {
    // In this order: a reference held here would be a second one.
    if isKnownUniquelyReferenced(&storage), let storage { return storage }
    let new = StateStorage(copying: storage)
    storage = new
    return new
  }

  /// An exit happened.
  mutating func begin(_ ordinal: UInt64, _ vcpu: any VCPU, _ cause: VMXCause?) {
    let own = own()
    let slot = own.slot(ordinal)
    slot.pointee.ordinal = ordinal
    slot.pointee.isClosed = false
    slot.pointee.cause = cause
    vcpu.capture(into: &slot.pointee.before)
    own.open[vcpu.index & StateStorage.lastVCPU] = ordinal
  }

  /// The vCPU carried out the answer to its last exit.
  mutating func finish(_ vcpu: any VCPU) {
    let ordinal = storage?.open[vcpu.index & StateStorage.lastVCPU] ?? .max
    guard ordinal != .max else { return }
    let own = own()
    own.open[vcpu.index & StateStorage.lastVCPU] = .max
    let slot = own.slot(ordinal)
    guard slot.pointee.ordinal == ordinal else { return }
    vcpu.capture(into: &slot.pointee.after)
    slot.pointee.isClosed = true
  }

  /// The answer to the exit that `begin` was just told of is carried out without anybody looking.
  mutating func forgetOpen(_ vcpu: any VCPU) { storage?.open[vcpu.index & StateStorage.lastVCPU] = .max }

  /// What was recorded of an exit before.
  mutating func put(_ ordinal: UInt64, _ states: ExitStates) {
    own().slot(ordinal).pointee = Slot(
      ordinal: ordinal, before: states.before, after: states.after ?? RegisterCapture(), isClosed: states.after != nil,
      cause: states.cause)
  }

  /// Hands `body` what was recorded of an exit, without a copy; nil where there is nothing.
  func read(_ ordinal: UInt64, _ body: (UnsafePointer<Slot>?) -> Void) {
    guard let slot = storage?.slot(ordinal), slot.pointee.ordinal == ordinal else { return body(nil) }
    body(UnsafePointer(slot))
  }

  /// Nil where the exit was not recorded or is too long ago.
  subscript(_ ordinal: UInt64) -> ExitStates? {
    guard let slot = storage?.slot(ordinal).pointee, slot.ordinal == ordinal else { return nil }
    return ExitStates(before: slot.before, after: slot.isClosed ? slot.after : nil, cause: slot.cause)
  }
}

/// Invariant of the unsafe part: all elements are initialized from `init` to `deinit`; a ring writes to storage that is
/// its own alone.
private final class StateStorage: @unchecked Sendable {
  private let slots = UnsafeMutablePointer<ExitStateRing.Slot>.allocate(capacity: ExitStateRing.kept)
  /// By vCPU, the exit whose answer is still to be carried out; `.max` for none.
  let open = UnsafeMutablePointer<UInt64>.allocate(capacity: StateStorage.lastVCPU + 1)
  /// An event's vCPU has eight bits.
  static let lastVCPU = 255

  init(copying other: StateStorage?) {
    if let other {
      slots.initialize(from: other.slots, count: ExitStateRing.kept)
      open.initialize(from: other.open, count: Self.lastVCPU + 1)
    } else {
      slots.initialize(repeating: ExitStateRing.Slot(), count: ExitStateRing.kept)
      open.initialize(repeating: .max, count: Self.lastVCPU + 1)
    }
  }

  deinit {
    slots.deallocate()
    open.deallocate()
  }

  @inline(__always)
  func slot(_ ordinal: UInt64) -> UnsafeMutablePointer<ExitStateRing.Slot> {
    slots + Int(truncatingIfNeeded: ordinal % UInt64(ExitStateRing.kept))
  }
}
