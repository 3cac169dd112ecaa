import Debugger
import Engines
import VMCore
import X86

extension SessionCore {
  /// Before there is anything to tell.
  static func emptySnapshot(_ machine: VirtualMachine, _ states: [VCPUState]) -> SessionSnapshot {
    SessionSnapshot(
      generation: 0, phase: .created, stop: .created, stopSentence: "", guestName: machine.name,
      technique: machine.technique.rawValue, engine: machine.engine.name, capabilities: machine.engine.capabilities,
      currentVCPU: 0, vcpus: states, previous: states, instructionCount: 0, virtualTime: 0, mips: 0, exitsPerSecond: 0,
      exitCount: 0, exits: [], reasons: [], hypercalls: [], breakpoints: [], guestConsole: [], screen: nil, devices: [],
      messages: [], droppedEvents: 0, eventCount: 0, symbols: machine.symbols, memory: machine.memory)
  }

  /// Rows of history a snapshot of a running guest carries; a stopped one's has all that is kept.
  private static let rowsWhileRunning = 128

  func snapshot() -> SessionSnapshot {
    let isRunning = phase == .running
    let rows = isRunning ? Self.rowsWhileRunning : EventStream.keptExits
    var snapshot = Self.emptySnapshot(machine, states)
    snapshot.generation = generation
    snapshot.phase = phase
    snapshot.stop = stop
    if case .hypercall(let number) = stop { snapshot.stopHypercall = describe.hypercallName(number) }
    snapshot.stopSentence = isRunning ? "Running." : phase == .idle ? idleSentence : stopSentence()
    snapshot.currentVCPU = control.current
    snapshot.previous = previousStates
    snapshot.instructionCount = control.retired
    snapshot.virtualTime = control.time
    snapshot.mips = pace.mips
    snapshot.exitsPerSecond = pace.exitsPerSecond
    snapshot.exitCount = stream.exitCount
    snapshot.exits = exitRecords(rows)
    snapshot.reasons = stream.statistics(control.costs)
    snapshot.hypercalls = hypercallRecords(rows)
    snapshot.hypercallStatistics = hypercallStatistics
    snapshot.hypercallAddresses = stream.callers.top(isRunning ? 16 : 256).map { AddressCount(address: $0.address, count: $0.count) }
    snapshot.xen = isRunning ? nil : machine.words.xen
    snapshot.breakpoints = shownBreakpoints
    snapshot.displayed = displayed()
    snapshot.recording = stream.recording.map { Self.status($0) }
    snapshot.replay = replay
    snapshot.guestConsole = console.lines
    snapshot.forgottenConsoleLines = console.forgotten
    snapshot.screen = machine.words.textScreen
    snapshot.devices = machine.platform.inspection
    snapshot.messages = messages.newest(messages.capacity)
    snapshot.droppedEvents = stream.droppedFromHistory
    snapshot.eventCount = stream.eventCount
    snapshot.events = stream.newest.newest(isRunning ? Self.rowsWhileRunning : EventStream.keptEvents)
    snapshot.exitAddresses = stream.byAddress.top(isRunning ? Self.rowsWhileRunning : .max).map {
      AddressCount(address: $0.address, count: $0.count)
    }
    snapshot.otherExitAddresses = stream.byAddress.others
    snapshot.measuredMIPS = pace.measuredMIPS
    snapshot.countsInstructions = control.countsInstructions
    snapshot.machineName = machine.machineName
    snapshot.engineNote = machine.engineNote
    snapshot.engineRemarks = machine.engine.remarks
    snapshot.engineTraits = machine.engine.traits
    snapshot.engines = EngineRegistry.rows.map { EngineChoice(name: $0.name, unavailable: $0.unavailable) }
    snapshot.vmcs = vmcsView()
    snapshot.ports = namedPorts
    snapshot.rewriting = rewritingView(isRunning: isRunning)
    snapshot.comparison = comparison
    snapshot.lesson = lessonView
    snapshot.techniques = techniques
    return snapshot
  }

  /// Those of a recording's session before those set to look through it.
  var shownBreakpoints: [BreakpointSummary] {
    (recorded == nil ? [] : recordedBreakpoints) + control.breakpoints.all.compactMap { summary($0) }
  }

  private var idleSentence: String {
    "The guest waits in HLT at \(place(currentState)) for an interrupt; type to it, or pause."
  }

  /// The newest exits as shown, oldest first.
  func exitRecords(_ limit: Int) -> [ExitRecord] { stream.exits.newest(limit).compactMap { record($0) } }

  /// The same of those whose event is wanted.
  func exitRecords(_ limit: Int, where wanted: (Event) -> Bool) -> [ExitRecord] {
    stream.exits.newest(stream.exits.count).filter { wanted($0.event) }.suffix(limit).compactMap { record($0) }
  }

  private func record(_ kept: KeptExit) -> ExitRecord? {
    guard let exit = kept.event.vmExit else { return nil }
    return ExitRecord(
      sequence: kept.ordinal, time: kept.event.time, exit: exit, handler: machine.words.handlerName(for: exit),
      cost: control.costs.cost(ofExit: kept.ordinal), detail: describe.detail(of: kept), event: kept.event.sequence,
      answer: kept.action, answerEvent: kept.answerEvent, states: control.exitStates[kept.ordinal],
      segment: kept.segment)
  }

  /// The newest hypercalls as shown, oldest first.
  func hypercallRecords(_ limit: Int) -> [HypercallRecord] {
    let kept = stream.hypercalls.newest(limit)
    let first = stream.hypercalls.total - UInt64(kept.count)
    return kept.enumerated().map { describe.record($1, ordinal: first + UInt64($0)) }
  }

  private var hypercallStatistics: [HypercallStatistics] {
    let all = stream.calls.map { number, tally in
      let cost = control.costs.calls[number] ?? ExitCosts.Sum()
      return HypercallStatistics(
        number: UInt64(number), name: describe.hypercallName(UInt64(number)), count: tally.count, errors: tally.errors,
        averageCost: cost.count == 0 ? 0 : Double(cost.total) / Double(cost.count), maximumCost: cost.maximum)
    }
    return all.sorted { ($1.count, $0.number) < ($0.count, $1.number) }
  }

  func publish() {
    generation += 1
    exchange.publish(snapshot())
  }

  /// A breakpoint in words.
  func summary(_ breakpoint: Breakpoint?) -> BreakpointSummary? {
    guard let breakpoint else { return nil }
    return BreakpointSummary(
      number: breakpoint.number, enabled: breakpoint.enabled, what: what(breakpoint.cause),
      condition: breakpoint.condition?.text, hits: breakpoint.hits, hitLimit: breakpoint.hitLimit,
      action: breakpoint.action.isEmpty ? nil : breakpoint.action.joined(separator: "; "), oneShot: breakpoint.oneShot)
  }

  private func what(_ cause: BreakpointCause) -> String {
    let hex = ExitDescription.hex
    switch cause {
    case .execution(let address):
      return "exec \(hex(address.value))" + (symbols.name(of: address.value).map { " <\($0)>" } ?? "")
    case .data(let address, let length, let kinds):
      let name = symbols.name(of: address.value).map { " <\($0)>" } ?? ""
      return "watch \(kinds.letters) \(hex(address.value))/\(length)\(name)"
    case .port(let port, let kinds):
      guard let port else { return "io any \(kinds.letters)" }
      let name = machine.words.portName(port, write: kinds != .read).map { " (\($0))" } ?? ""
      return "io \(hex(UInt64(port)))h\(name) \(kinds.letters)"
    case .msr(let index, let kinds): return "msr \(index.map { MSR.text($0) } ?? "any") \(kinds.letters)"
    case .controlRegister(let number, let kinds): return "cr\(number.map { String($0) } ?? " any") \(kinds.letters)"
    case .vector(let vector): return "vector \(vector.map { ExitDescription.vectorName($0) } ?? "any")"
    case .reason(let reason): return "exit \(reason.name)"
    case .hypercall(let number):
      let name = machine.words.hypercalls.first { $0.number == number }?.name
      return "hypercall \(name ?? number.map { String($0) } ?? "any")"
    }
  }

  func json(_ summary: BreakpointSummary) -> JSONValue {
    .members(
      ("number", .number(UInt64(summary.number))), ("enabled", .bool(summary.enabled)), ("what", .string(summary.what)),
      ("condition", summary.condition.map { .string($0) } ?? .null), ("hits", .number(summary.hits)),
      ("hitLimit", summary.hitLimit.map { .number($0) } ?? .null),
      ("action", summary.action.map { .string($0) } ?? .null), ("once", .bool(summary.oneShot)))
  }
}
