import Debugger
import Paravirtual
import VMCore
import X86

/// Runs a guest to its end and counts what its technique did for it.
///
/// A guest may have routines `operation_begins` and `operation_ends` that do nothing, and variables `operation_name`
/// (a text) and `operation_count`: what happens between the two is told apart. Stopping there costs the guest nothing.
final class TechniqueMeter {
  private let core: SessionCore
  private var counts = TechniqueCounts()
  private var run: TechniqueRun
  /// The exit whose cost and fate are known when the next one comes.
  private var open: (name: String, treatment: TechniqueTreatment)?
  private var emulated: UInt64 = 0

  /// `goesOn` is asked now and then with the instructions done, 0 where the engine does not count them.
  init(
    _ choice: TechniqueChoice, _ configuration: SessionConfiguration, _ machine: VirtualMachine,
    goesOn: @escaping (UInt64) -> Bool
  ) {
    var own = configuration
    own.measuresCost = true
    own.recordsStates = false
    own.historyPath = nil
    run = TechniqueRun(choice)
    core = SessionCore(own, machine: machine)
    core.control.checkpointAt = .max
    core.onConsoleOutput = { [unowned self] in run.console += $0 }
    core.control.onRecord = { [unowned self] in note($0, $1) }
    core.control.onSlack = { [unowned core] in
      core.takeSlack()
      if !goesOn(core.control.countsInstructions ? core.control.retired : 0) { core.exchange.raise(.pause) }
    }
  }

  // MARK: counting

  private var domain: DomainCounts? { (core.machine.platform as? XenPlatform)?.counts }

  private func note(_ exit: VMExit, _ vcpu: any VCPU) {
    close()
    open = (name(of: exit, vcpu), treatment(of: exit, vcpu))
  }

  private func name(of exit: VMExit, _ vcpu: any VCPU) -> String {
    let words = core.machine.words
    if let number = words.hypercallNumber(of: exit, on: vcpu) {
      return words.hypercalls.first { $0.number == number }?.name ?? "hypercall \(number)"
    }
    if case .exception(let vector, _, _) = exit.qualification {
      return Exception(rawValue: vector)?.mnemonic ?? "exception \(vector)"
    }
    if exit.reason == .syscall { return SensitiveOperation.systemCall.name }
    return exit.qualification.operation?.name ?? exit.reason.name.uppercased()
  }

  private func treatment(of exit: VMExit, _ vcpu: any VCPU) -> TechniqueTreatment {
    if core.machine.words.hypercallNumber(of: exit, on: vcpu) != nil { return .hypercall }
    if exit.reason == .callout { return .callout }
    guard core.machine.technique == .pv else { return .exit }
    return exit.reason == .cpuid ? .emulated : .bounce
  }

  /// Books the exit that is over.
  private func close() {
    guard let (name, treatment) = open else { return }
    open = nil
    let now = domain?.emulated ?? 0
    let isEmulated = treatment == .bounce && now != emulated
    emulated = now
    let kind = TechniqueKind(name, isEmulated ? .emulated : treatment)
    counts.kinds[kind, default: TechniqueTally()].count += 1
    counts.kinds[kind]?.cost += core.control.costs.cost(ofExit: core.control.costs.exitCount &- 1)
  }

  /// Everything up to now.
  private func take(_ hostTime: UInt64) -> TechniqueCounts {
    close()
    var result = counts
    result.hostTime = hostTime
    result.virtualTime = core.control.time
    if core.control.countsInstructions { result.instructions = core.control.retired }
    if let upcalls = domain?.upcalls, upcalls > 0 {
      result.kinds[TechniqueKind("event", .upcall)] = TechniqueTally(count: upcalls)
    }
    for site in core.machine.inspection?.sensitiveSites ?? [] where site.treatment == .inCache && site.count > 0 {
      result.kinds[TechniqueKind(site.operation.name, .inCache), default: TechniqueTally()].count += site.count
    }
    return result
  }

  // MARK: running

  /// To the guest's end, the limit, or somebody's wish to stop.
  func measure() -> TechniqueRun {
    let symbols = core.symbols
    let marks = ["operation_begins", "operation_ends"].map { symbols.symbol(named: $0).map { GVA($0.address) } }
    var beginning: TechniqueCounts?
    var hostTime: UInt64 = 0
    while true {
      var goal = RunGoal()
      goal.trap = marks[1] == nil ? nil : marks[beginning == nil ? 0 : 1]
      let start = ExitCosts.now()
      let outcome = core.control.run(goal)
      hostTime &+= ExitCosts.now() &- start
      switch outcome {
      case .trap:
        let counts = take(hostTime)
        if let from = beginning { noteOperation(counts.without(from)) }
        beginning = beginning == nil ? counts : nil
      case .stopped(let reason):
        // What this host's KVM cannot run is no difference between techniques.
        if case .error(let why) = reason, run.choice.engine == "kvm" { run.refusal = why }
        return finish(reason.word, hostTime)
      case .idle: return finish("waits for input", hostTime)
      case .attention: if core.exchange.takeAttention().contains(.pause) { return finish("paused", hostTime) }
      case .target, .interrupted, .delivered: break
      }
    }
  }

  private func finish(_ end: String, _ hostTime: UInt64) -> TechniqueRun {
    run.total = take(hostTime)
    core.takeSlack()
    run.end = end
    run.countsInstructions = core.control.countsInstructions
    if core.machine.technique == .rewrite { run.missed = missed }
    return run
  }

  private var missed: [String: UInt64] {
    var result: [String: UInt64] = [:]
    for site in core.machine.inspection?.sensitiveSites ?? [] where site.count > 0 && site.operation.silently != nil {
      result[site.operation.name, default: 0] += site.count
    }
    return result
  }

  // MARK: operations

  /// The loop that does nothing, which the guest may measure first.
  private static let empty = "nothing"

  private func noteOperation(_ counts: TechniqueCounts) {
    let view = AddressSpaceView(state: core.control.vcpus[0].state, memory: core.machine.memory)
    func variable(_ name: String, size: Int) -> UInt64? {
      core.symbols.symbol(named: name).flatMap { view.load(GVA($0.address), size: size) }
    }
    let isLong = view.state.mode == .long64
    let text = variable("operation_name", size: isLong ? 8 : 4).map { view.readable(GVA($0), count: 24) } ?? []
    let name = String(decoding: text.prefix { $0 != 0 }, as: UTF8.self)
    let times = variable("operation_count", size: 4) ?? 1
    let empty = run.operation(Self.empty)?.counts ?? TechniqueCounts()
    run.operations.append(TechniqueOperation(name: name, times: times, counts: counts.without(empty)))
  }
}

extension StopReason {
  /// How a run ended.
  fileprivate var word: String {
    switch self {
    case .shutdown: "shut down"
    case .guestExit(let status): "exit status \(status)"
    case .haltedForGood: "halted"
    case .error(let why): why
    default: name
    }
  }
}
