import VMCore
import X86

/// An exit as one of two compared machines made it, with the registers at it.
struct ComparedExit: Equatable {
  var exit: VMExit
  var registers: RegisterCapture
}

/// What became of one kind of instruction or event on one machine.
package struct ComparisonTally: Equatable, Sendable {
  package var count: UInt64 = 0
  /// Host nanoseconds between exit and entry, of all together.
  package var cost: UInt64 = 0
  /// "exit", "callout", "in cache".
  package var treatment = ""
  package init() {}
  package var averageCost: Double { count == 0 ? 0 : Double(cost) / Double(count) }
}

/// One of two machines that run the same guest in step.
final class ComparisonSide {
  let core: SessionCore
  let name: String
  /// Exits since the last comparison.
  private(set) var exits: [ComparedExit] = []
  private(set) var exitCount: UInt64 = 0
  private(set) var tallies: [String: ComparisonTally] = [:]
  /// Host nanoseconds spent running.
  private(set) var hostTime: UInt64 = 0
  /// Why the guest cannot go on; nil while it can.
  private(set) var end: StopReason?
  /// What the guest wrote to its console.
  private(set) var console: [UInt8] = []
  private var open: String?

  init(_ name: String, _ configuration: SessionConfiguration, _ machine: VirtualMachine) {
    self.name = name
    var own = configuration
    own.measuresCost = true
    own.recordsStates = false
    own.historyPath = nil
    core = SessionCore(own, machine: machine)
    core.control.checkpointAt = .max
    core.onConsoleOutput = { [unowned self] in console += $0 }
    core.control.onRecord = { [unowned self] in note($0, $1) }
  }

  var retired: UInt64 { core.control.retired }
  var states: [VCPUState] { core.control.vcpus.map(\.state) }
  var memory: GuestMemory { core.machine.memory }

  private func note(_ exit: VMExit, _ vcpu: any VCPU) {
    closeTally()
    var registers = RegisterCapture()
    vcpu.capture(into: &registers)
    exits.append(ComparedExit(exit: exit, registers: registers))
    exitCount += 1
    let name = exit.qualification.operation?.name ?? exit.reason.name
    tallies[name, default: ComparisonTally()].count += 1
    tallies[name]?.treatment = exit.reason == .callout ? "callout" : "exit"
    open = name
  }

  /// The cost of an exit is known when the next one comes.
  private func closeTally() {
    guard let open else { return }
    tallies[open]?.cost += core.control.costs.cost(ofExit: core.control.costs.exitCount &- 1)
    self.open = nil
  }

  /// Forgets the exits that were compared.
  func forgetExits() { exits.removeAll(keepingCapacity: true) }

  /// Runs to so many retired instructions, or to the guest's end.
  func run(to target: UInt64) {
    var goal = RunGoal()
    goal.target = target
    let start = ExitCosts.now()
    while end == nil, retired < target {
      switch core.control.run(goal, isFresh: false) {
      case .target: break
      case .stopped(let reason): end = reason
      case .idle: end = .haltedForGood
      case .attention: _ = core.exchange.takeAttention()
      case .trap, .interrupted, .delivered: break
      }
    }
    closeTally()
    hostTime &+= ExitCosts.now() &- start
    core.takeSlack()
  }

  /// Gives the guest what came from outside at this moment of the run that is repeated.
  func take(_ input: RunScript.Input) {
    switch input {
    case .console(let bytes): core.machine.platform.consoleInput(bytes)
    case .keys(let codes): core.machine.platform.keyboardInput(codes)
    case .command(let line):
      core.states = states
      core.phase = .paused
      _ = core.execute(line)
    }
  }

  /// With what was carried out in translated code, where that was counted.
  var allTallies: [String: ComparisonTally] {
    var result = tallies
    for site in core.machine.inspection?.sensitiveSites ?? [] where site.treatment == .inCache && site.count > 0 {
      result[site.operation.name, default: ComparisonTally()].count += site.count
      result[site.operation.name]?.treatment = RewritingPolicy.Treatment.inCache.rawValue
    }
    return result
  }

  var mips: Double { hostTime == 0 ? 0 : Double(retired) * 1000 / Double(hostTime) }
}
