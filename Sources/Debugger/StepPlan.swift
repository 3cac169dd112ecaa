import VMCore
import X86

/// Where a vCPU stands between two instructions, as far as a step plan cares.
package struct StepPosition: Equatable, Sendable {
  /// How the instruction about to execute changes the flow of control.
  package enum Flow: Sendable {
    case plain
    /// CALL, INT n, SYSCALL, a REP string instruction: "over" runs it to its end.
    case call
    /// RET, IRET, SYSRET, SYSEXIT.
    case returning
  }
  package var address: GVA
  /// Linear address of the instruction after this one.
  package var next: GVA
  package var stackPointer: UInt64
  package var flow: Flow
  /// The same instruction's own kind.
  package var kind: ControlFlow
  package init(address: GVA, next: GVA, stackPointer: UInt64, flow: Flow, kind: ControlFlow = .sequential) {
    self.address = address
    self.next = next
    self.stackPointer = stackPointer
    self.flow = flow
    self.kind = kind
  }
}

/// A place that is known by the instruction there, so that each on the way is looked at.
package enum InstructionSearch: Equatable, Sendable {
  case call, ret, branch, systemCall
  /// This routine, behind an address: a loop is run to its end.
  case beyond(GVA)

  func holds(at position: StepPosition) -> Bool {
    switch self {
    case .call: position.kind == .call
    case .ret: position.flow == .returning
    case .branch: position.kind == .jump || position.kind == .conditionalJump
    case .systemCall: position.kind == .systemCall || position.kind == .softwareInterrupt
    case .beyond(let address): position.address.value > address.value
    }
  }

  /// Calls on the way are run whole.
  var passesCalls: Bool { if case .beyond = self { true } else { false } }
}

/// What to let the guest do next on the way to a plan's goal.
package enum StepDirective: Equatable, Sendable {
  /// Exactly so many instructions.
  case instructions(UInt64)
  /// Until execution reaches the address with the stack pointer at `stackAtLeast` or above.
  case runTo(GVA, stackAtLeast: UInt64)
  /// Until an exit the plan asked for (`observe`).
  case run
  case done
}

/// What a monitor does about an exit of a guest that was ported to it, by the names that `exit` takes.
package enum MonitorService: String, CaseIterable, Sendable {
  /// A trap or system call goes to the guest's kernel as a frame on its stack.
  case bounce
  /// An event does, at the kernel's callback.
  case upcall
  /// A privileged instruction, or a store into a page table, is carried out in the guest's stead.
  case emulated
}

/// "Step N", "over", "out" and "to the next ...": a pure state machine. The driver asks `next` where the
/// guest stands, lets it run as told, and asks again; exits and deliveries on the way go to `observe`.
package struct StepPlan: Equatable, Sendable {
  package enum Goal: Equatable, Sendable {
    case instructions
    /// Instructions of this routine; calls are run to their return.
    case over
    /// The return of this routine to its caller.
    case out
    case until(GVA)
    /// The next such place, the present one not counted.
    case search(InstructionSearch)
    /// VM exits of any reason.
    case exit
    case reason(ExitReason)
    case hypercall
    case service(MonitorService)
    /// Exceptions, external and software interrupts.
    case delivery
  }
  package let goal: Goal
  /// Times the goal is still to be reached.
  package private(set) var remaining: UInt64
  /// A directive is under way whose end reaches the goal once.
  private var reaching = false
  /// A search has left the place it began at.
  private var hasMoved = false
  /// Instructions of the directive under way.
  private var asked: UInt64 = 0
  /// An interrupt came in between: where the interrupted code goes on, and its stack pointer.
  private var interrupted: (address: GVA, stackPointer: UInt64)?

  package init(_ goal: Goal, count: UInt64 = 1) {
    self.goal = goal
    remaining = max(count, 1)
  }

  package static func == (a: StepPlan, b: StepPlan) -> Bool {
    a.goal == b.goal && a.remaining == b.remaining && a.reaching == b.reaching
      && a.interrupted?.address == b.interrupted?.address
  }

  /// The goal is an exit or a delivery: `interest` and `controls` are not those of a plain run.
  package var wantsExits: Bool {
    switch goal {
    case .instructions, .over, .out, .until, .search: false
    case .exit, .reason, .hypercall, .service, .delivery: true
    }
  }

  /// The exits `observe` wants to see.
  package var interest: ReasonSet {
    switch goal {
    case .instructions, .over, .out, .until, .search: ReasonSet()
    case .exit: ReasonSet(ExitReason.allCases.filter { !$0.isBookkeeping })
    case .reason(let reason): ReasonSet([reason])
    case .hypercall: ReasonSet([.vmcall, .io, .syscall, .softwareInterrupt])
    case .service: ReasonSet([.syscall, .softwareInterrupt, .exception, .cpuid])
    case .delivery: ReasonSet([.exception, .softwareInterrupt])
    }
  }

  /// `base` with the exits the goal needs.
  package func controls(over base: ExitControls) -> ExitControls {
    var controls = base
    switch goal {
    case .reason(let reason): controls.require(reason)
    case .delivery: controls.require(.vector(nil))
    default: break
    }
    return controls
  }

  /// A plain step is one instruction, or one delivery of an interrupt or exception.
  package var countsDeliveries: Bool { goal == .instructions }

  /// A delivery came after so many instructions of a plain step.
  package mutating func delivered(after retired: UInt64) {
    remaining = asked - min(asked, retired + 1)
    reaching = false
  }

  /// "Over" and "out" run interrupt handlers to their end instead of stopping inside.
  package var passesInterrupts: Bool { goal == .over || goal == .out || looksAtInstructions }

  private var looksAtInstructions: Bool { if case .search = goal { true } else { false } }

  /// What to do next, with the guest at `position`.
  package mutating func next(at position: StepPosition) -> StepDirective {
    if let interrupted {
      self.interrupted = nil
      return .runTo(interrupted.address, stackAtLeast: interrupted.stackPointer)
    }
    if reaching {
      reaching = false
      remaining -= 1
    }
    if remaining == 0 { return .done }
    switch goal {
    case .instructions:
      asked = remaining
      remaining = 1
      reaching = true
      return .instructions(asked)
    case .over:
      reaching = true
      return advance(at: position)
    case .out:
      reaching = position.flow == .returning
      return advance(at: position)
    case .until(let address):
      reaching = true
      return .runTo(address, stackAtLeast: 0)
    case .search(let wanted):
      if hasMoved, wanted.holds(at: position) { remaining -= 1 }
      if remaining == 0 { return .done }
      hasMoved = true
      return wanted.passesCalls ? advance(at: position) : .instructions(1)
    case .exit, .reason, .hypercall, .service, .delivery: return .run
    }
  }

  private func advance(at position: StepPosition) -> StepDirective {
    position.flow == .call
      ? .runTo(position.next, stackAtLeast: position.stackPointer) : .instructions(1)
  }

  /// An exit of `interest` came; true when it is the goal and the last of them.
  package mutating func observe(
    _ exit: VMExit, isHypercall: Bool, service: @autoclosure () -> MonitorService? = nil
  ) -> Bool {
    switch goal {
    case .exit: return count(!exit.reason.isBookkeeping)
    case .reason(let reason): return count(exit.reason == reason || exit.architecturalReason == reason)
    case .hypercall: return count(isHypercall)
    case .service(let wanted): return count(service() == wanted)
    case .delivery: return count(exit.reason == .exception || exit.architecturalReason == .softwareInterrupt)
    case .instructions, .over, .out, .until, .search: return false
    }
  }

  /// An external interrupt is about to be injected; true when it is the goal and the last of them.
  package mutating func observeInterrupt() -> Bool {
    count(goal == .delivery || goal == .reason(.externalInterrupt) || goal == .service(.upcall))
  }

  /// An interrupt was delivered while "over" or "out" was under way: comes back here before it goes on.
  package mutating func interrupted(at position: StepPosition) {
    interrupted = (position.address, position.stackPointer)
    reaching = false
    hasMoved = false
  }

  private mutating func count(_ reached: Bool) -> Bool {
    guard reached else { return false }
    remaining -= min(remaining, 1)
    return remaining == 0
  }
}
