import VMCore
import X86

/// All breakpoints of a session, by number, and what they mean for the engine.
package struct BreakpointTable: Sendable {
  package private(set) var all: [Breakpoint] = []
  private var lastNumber = 0
  /// Union of the enabled breakpoints' reasons: the fast "nobody asked" of every exit.
  package private(set) var interest = ReasonSet()
  /// An enabled breakpoint waits for external interrupts.
  package private(set) var wantsInterrupts = false
  package init() {}

  /// Adds a breakpoint under the next number; `configure` fills in its options.
  @discardableResult
  package mutating func add(_ cause: BreakpointCause, _ configure: (inout Breakpoint) -> Void = { _ in }) -> Int {
    lastNumber += 1
    var breakpoint = Breakpoint(number: lastNumber, cause: cause)
    configure(&breakpoint)
    all.append(breakpoint)
    refresh()
    return lastNumber
  }

  /// Numbers up to this one are taken by others.
  package mutating func begin(above number: Int) { lastNumber = max(lastNumber, number) }

  package subscript(number: Int) -> Breakpoint? { all.first { $0.number == number } }

  /// Changes a breakpoint; false if there is none of that number.
  @discardableResult
  package mutating func change(_ number: Int, _ body: (inout Breakpoint) -> Void) -> Bool {
    guard let index = all.firstIndex(where: { $0.number == number }) else { return false }
    body(&all[index])
    refresh()
    return true
  }

  /// Removes a breakpoint, in any order; false if there is none of that number.
  @discardableResult
  package mutating func remove(_ number: Int) -> Bool {
    guard let index = all.firstIndex(where: { $0.number == number }) else { return false }
    all.remove(at: index)
    refresh()
    return true
  }

  package mutating func removeAll() {
    all.removeAll()
    refresh()
  }

  private mutating func refresh() {
    interest = ReasonSet()
    wantsInterrupts = false
    for breakpoint in all where breakpoint.enabled {
      interest.formUnion(breakpoint.reasons)
      switch breakpoint.cause {
      case .vector, .reason(.externalInterrupt): wantsInterrupts = true
      default: break
      }
    }
  }

  /// Execution addresses and watched ranges for the engine.
  package var traps: DebugTraps {
    var traps = DebugTraps()
    for breakpoint in all where breakpoint.enabled {
      switch breakpoint.cause {
      case .execution(let address): traps.execution.insert(address.value)
      case .data(let address, let length, let kinds):
        traps.watches.append(
          WatchRange(
            address: address, length: max(length, 1), onRead: kinds.contains(.read), onWrite: kinds.contains(.write)))
      default: break
      }
    }
    return traps
  }

  /// `base` with every exit an enabled breakpoint needs.
  package func controls(over base: ExitControls) -> ExitControls {
    var controls = base
    for breakpoint in all where breakpoint.enabled { controls.require(breakpoint.cause) }
    return controls
  }

  /// An exit came: counts hits, and gives the number of the first breakpoint that stops, if any.
  /// `holds` evaluates a condition in the guest's present state.
  package mutating func check(_ exit: VMExit, hypercall: UInt64?, holds: (Expression) -> Bool) -> Int? {
    firstStop(where: { $0.matches(exit, hypercall: hypercall) }, holds: holds)
  }

  /// The same for an external interrupt about to be injected.
  package mutating func check(interrupt vector: Vector, holds: (Expression) -> Bool) -> Int? {
    guard wantsInterrupts else { return nil }
    return firstStop(where: { $0.matches(interrupt: vector) }, holds: holds)
  }

  private mutating func firstStop(where matches: (Breakpoint) -> Bool, holds: (Expression) -> Bool) -> Int? {
    var first: Int?
    for index in all.indices where all[index].enabled && matches(all[index]) {
      if let condition = all[index].condition, !holds(condition) { continue }
      if all[index].hit(), first == nil { first = all[index].number }
    }
    return first
  }
}
