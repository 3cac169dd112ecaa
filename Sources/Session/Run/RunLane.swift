import VMCore
import X86

/// Run control's knowledge of one vCPU between two runs: a pure state machine.
package struct RunLane: Equatable, Sendable {
  /// What the next entry does about the last exit.
  package var action = VMEntry.Action.resume
  /// An exit at which the session stopped: not yet handed to the platform.
  package var pendingExit: VMExit?
  /// An exit the vCPU came with when the session stopped because of another one: nobody has looked at it yet.
  package var arrivedExit: VMExit?
  /// An event whose delivery waits because the session stopped before it.
  package var injection: InjectedEvent?
  package var nmiPending = false
  package var activity = ActivityState.active
  /// The last entry asked for an exit as soon as an interrupt can be taken.
  package var windowArmed = false
  /// The same for an NMI.
  package var nmiWindowArmed = false
  /// The read shadows of this vCPU's VMCS: what the guest believes CR0 and CR4 to be where the monitor owns bits.
  package var cr0Shadow: UInt64 = 0
  package var cr4Shadow: UInt64 = 0
  /// The base of CS at this vCPU's last exit, as the event stream was told.
  package var codeBase: UInt64 = 0
  package init() {}

  /// What to do before and with the next entry.
  package enum Preparation: Equatable, Sendable {
    /// Enter with what `entry` says.
    case enter
    /// Carry out the pending action alone (limit 0): an event waits, and whether it can be taken is
    /// known only when the instruction is finished.
    case finish
    /// An external interrupt can be delivered: acknowledge and `inject` it.
    case acknowledge
    /// Halted, and nothing to wake it.
    case halted
  }

  /// Decides the next entry. `interruptPending`, `canTake` and `canTakeNMI` are the platform's and the vCPU's word.
  package mutating func prepare(
    interruptPending: Bool, canTake: @autoclosure () -> Bool, canTakeNMI: @autoclosure () -> Bool
  ) -> Preparation {
    let waits = interruptPending || nmiPending
    if !action.isResume { return waits ? .finish : .enter }
    if injection != nil { return .enter }
    if nmiPending, canTakeNMI() {
      nmiPending = false
      injection = .nmi
      return .enter
    }
    if interruptPending, canTake() { return .acknowledge }
    return activity == .halted ? .halted : .enter
  }

  /// The entry to make, which uses up what was pending. With `interruptPending`, and with an NMI that
  /// waits, the vCPU exits when the window opens (again, behind the delivery of what is injected).
  package mutating func takeEntry(interruptPending: Bool) -> VMEntry {
    var entry = VMEntry(
      action, inject: injection, interruptWindow: interruptPending && action.isResume)
    entry.nmiWindow = nmiPending && action.isResume
    if injection != nil { activity = .active }
    windowArmed = entry.interruptWindow
    nmiWindowArmed = entry.nmiWindow
    action = .resume
    injection = nil
    return entry
  }

  /// How many instructions `entry` may retire so that no more than `remaining` do in all: the pending
  /// action may retire one itself.
  package static func limit(_ remaining: UInt64, for entry: VMEntry) -> UInt64 {
    switch entry.action {
    case .resume: remaining
    default: remaining == 0 ? 0 : remaining - 1
    }
  }

  /// INIT (SDM 3A 9.4.1): the vCPU waits for a SIPI.
  package mutating func initialize() {
    startAgain()
    activity = .waitForSIPI
  }

  /// Nothing is pending any more; what the event stream was told stays told.
  package mutating func startAgain() {
    let told = codeBase
    self = RunLane()
    codeBase = told
  }

  /// SIPI: starts a waiting vCPU; false if it was not waiting.
  package mutating func startUp() -> Bool {
    guard activity == .waitForSIPI else { return false }
    activity = .active
    return true
  }
}

/// The lanes of all vCPUs, by index, in memory of their own: an element of an array in a class costs a check of its
/// uniqueness with each write.
///
/// Invariant for the unsafe part: `slots` holds `count` lanes from `init` to `deinit`.
package final class RunLanes {
  private let slots: UnsafeMutablePointer<RunLane>
  private let count: Int

  package init(count: Int) {
    self.count = count
    slots = .allocate(capacity: count)
    slots.initialize(repeating: RunLane(), count: count)
  }

  deinit {
    slots.deinitialize(count: count)
    slots.deallocate()
  }

  subscript(index: Int) -> RunLane {
    @inline(__always) unsafeAddress {
      precondition(index >= 0 && index < count, "every vCPU has a lane")
      return UnsafePointer(slots + index)
    }
    @inline(__always) unsafeMutableAddress {
      precondition(index >= 0 && index < count, "every vCPU has a lane")
      return slots + index
    }
  }

  /// All of them, as values; as many are put back.
  var all: [RunLane] {
    get { Array(UnsafeBufferPointer(start: slots, count: count)) }
    set { for index in 0..<count { slots[index] = newValue[index] } }
  }
}
