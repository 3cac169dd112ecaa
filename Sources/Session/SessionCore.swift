import Debugger
import VMCore
import X86

/// What `sx` set for an exit reason.
enum ExitAction: String, CaseIterable, Sendable { case stop, log, count, ignore }

/// The session proper. One thread at a time: the vCPU thread, or the caller of `perform`.
final class SessionCore {
  let configuration: SessionConfiguration
  var machine: VirtualMachine
  let control: RunControl
  let stream: EventStream
  let exchange: Exchange
  let history: CommandHistory
  let describe: ExitDescription

  var phase = SessionPhase.created
  var stop = StopReason.created
  /// The vCPU that stopped; another may be looked at since.
  var stopVCPU = 0
  /// Register states at the last stop and at the one before.
  var states: [VCPUState]
  var previousStates: [VCPUState]
  var messages = RingBuffer<ConsoleMessage>(capacity: 500)
  var console = GuestConsole()
  var exitActions: [ExitReason: ExitAction] = [:]
  /// The control area of the VM's VMCS as the person set it.
  var vmcs = VMCSModel()
  /// Ports somebody answers at, with their names.
  let namedPorts: [NamedPort]
  var aliases: [String: String] = [:]
  var lastCommand = ""
  var sourceDepth = 0
  /// Where `x` ended: without an address it goes on there.
  var examinedTo: GVA?
  /// What is shown at every stop.
  var displays = DisplayList()
  /// Times somebody from outside paused a running guest: that ends a command file, too.
  var pauseCount = 0
  /// What breakpoints' actions answered since the guest was let go.
  var actionOutput: [String] = []
  /// A thread of its own serves this session: it publishes snapshots and lets halts take their time.
  var isServing = false
  var quits = false
  var generation: UInt64 = 0
  /// What the last `compare` found.
  var comparison: ComparisonReport?
  /// The lesson under way.
  var lessonSeat: LessonSeat?
  /// The lesson brings the guest to a place of its own: what is typed meanwhile is for where it will stand.
  var leadsGuest = false
  /// What the last `techniques` found.
  var techniques: TechniquesReport?
  /// What came from outside so far, for going back.
  var script = RunScript()
  /// The guest is being run again: what it is given is not new.
  var isReplaying = false
  /// The devices before the first instruction.
  let firstPlatform: [UInt8]
  var pace = Pace()
  var checkpoints: CheckpointList
  var pageSaver = PageSaver()
  /// By name, what `snap save` kept.
  var snapshots: [String: Checkpoint] = [:]
  /// The newest stops, for comparing them.
  var stops = StopHistory()
  /// The recording this session looks at instead of running a guest; the moment shown, its sentence and breakpoints.
  var recorded: RecordedRun?
  var replay: ReplayStatus?
  var recordedSentence: String?
  var recordedBreakpoints: [BreakpointSummary] = []
  var onConsoleOutput: ([UInt8]) -> Void = { _ in }
  /// Blocks until the guest gets input from outside; false when there will be none. For sessions without a
  /// thread: an idle guest ends where nobody answers.
  var awaitInput: () -> Bool = { false }
  /// Gives the guest input that came meanwhile.
  var onSlackInput: () -> Void = {}
  /// Hears how far the guest is, where somebody asked.
  var onProgress: ((RunProgress) -> Void)?

  init(_ configuration: SessionConfiguration, machine: VirtualMachine) {
    self.configuration = configuration
    self.machine = machine
    checkpoints = CheckpointList(interval: configuration.checkpointInterval)
    control = RunControl(vcpus: machine.engine.vcpus, platform: machine.platform, events: machine.events)
    stream = EventStream(machine.events)
    history = CommandHistory(path: configuration.historyPath)
    describe = ExitDescription(words: machine.words)
    namedPorts = machine.words.namedPorts
    firstPlatform = machine.platform.snapshot()
    control.restart(machine.initialStates)
    states = machine.engine.vcpus.map(\.state)
    previousStates = states
    exchange = Exchange(Self.emptySnapshot(machine, states))
    connect()
    if machine.technique == .rewrite { applyControls() }
    stream.markBeginning()
    noteStop()
    publish()
  }

  private func connect() {
    let words = machine.words
    control.limit = configuration.limit ?? .max
    control.isDeprivileged = machine.technique == .pv
    control.measuresCost = configuration.measuresCost
    control.recordsStates = configuration.recordsStates
    control.hypercallNumber = { exit, vcpu in words.hypercallNumber(of: exit, on: vcpu) }
    control.service = { exit, vcpu in words.service(of: exit, on: vcpu) }
    let exchange = exchange
    control.countsInstructions = machine.engine.capabilities.contains(.instructionBudget)
    control.canRunInParallel = machine.engine.capabilities.contains(.parallelVCPUs)
    stream.countsInstructions = control.countsInstructions
    if !control.countsInstructions { control.sleep = { [unowned self] in sleep($0) } }
    control.attention = exchange.attention
    control.checkpointAt = canCheckpoint ? checkpoints.due : .max
    control.onCheckpoint = { [unowned self] in checkpointIsDue() }
    control.onSlack = { [unowned self] in
      takeSlack()
      onSlackInput()
    }
    control.onDirectAccess = { [unowned self] event in stream.addDirect(event) }
    control.holds = { [unowned self] expression, exit, vcpu in holds(expression, exit, vcpu) }
    control.onLog = { [unowned self] exit in
      let text = "exit #\(control.costs.exitCount - 1): \(describe.detail(of: exit)), rip \(String(exit.rip, radix: 16))"
      say(.notice, text)
      actionOutput.append(text)
    }
    control.onRequest = { [unowned self] request in
      switch request {
      case .shutdown: .shutdown
      case .exit(let status): .guestExit(status: status)
      case .reset: configuration.reboots ? resetByGuest() : .reset
      default: nil
      }
    }
  }

  /// Ends a run under way, from any thread.
  func kick() { for vcpu in machine.engine.vcpus { vcpu.kick() } }

  /// Between two runs: what the guest said goes on to whoever listens.
  func takeSlack() {
    stream.drain()
    if !isReplaying { stream.recording?.take(control.costs, control.exitStates, isStop: false) }
    let bytes = machine.platform.takeConsoleOutput()
    guard !bytes.isEmpty else { return }
    stream.recording?.console(bytes)
    console.write(bytes)
    onConsoleOutput(bytes)
  }

  // MARK: what commands ask

  var currentState: VCPUState {
    control.current < states.count ? states[control.current] : machine.engine.vcpus[control.current].state
  }

  /// State of the vCPU that stopped.
  var stoppedState: VCPUState { states.indices.contains(stopVCPU) ? states[stopVCPU] : currentState }

  var symbols: SymbolTable { machine.symbols }
  var conditionScope: ExpressionScope { ExpressionScope(symbols: symbols, allowsEventFields: true) }
  var view: AddressSpaceView { AddressSpaceView(state: currentState, memory: machine.memory) }
  var disassembly: Disassembly { Disassembly(state: currentState, memory: machine.memory, symbols: symbols) }

  /// An address: a hexadecimal number, a symbol, `cs:ip`, any expression.
  func takeAddress(_ scanner: inout ArgumentScanner, _ what: String) throws(CommandError) -> GVA {
    GVA(try takeValue(&scanner, what))
  }

  /// The same where gdb writes a star before an address.
  func takeCodeAddress(_ scanner: inout ArgumentScanner, _ what: String) throws(CommandError) -> GVA {
    _ = scanner.take(prefix: "*")
    return try takeAddress(&scanner, what)
  }

  /// An address, or an expression that reads memory (`*(int *)ADDR`, `word[ADDR]`): then where, and how many bytes.
  func takeLocation(_ scanner: inout ArgumentScanner, _ what: String) throws(CommandError) -> (address: GVA, size: Int?) {
    let expression = try scanner.takeExpression(ExpressionScope(symbols: symbols, hexadecimal: true), what: what)
    guard let location = expression.location, !location.isPhysical else {
      return (GVA(try evaluate(expression, usage: scanner.usage)), nil)
    }
    let address = GVA(try evaluate(location.address, usage: scanner.usage))
    return (address, location.size == 0 ? currentState.mode.codeBits / 8 : location.size)
  }

  /// The value of an expression whose plain numbers are hexadecimal.
  func takeValue(_ scanner: inout ArgumentScanner, _ what: String) throws(CommandError) -> UInt64 {
    let expression = try scanner.takeExpression(ExpressionScope(symbols: symbols, hexadecimal: true), what: what)
    return try evaluate(expression, usage: scanner.usage)
  }

  func evaluate(_ expression: Expression, usage: String) throws(CommandError) -> UInt64 {
    do { return try expression.evaluate(currentState, memory: machine.memory) } catch {
      throw CommandError(typed: expression.text, expected: error.description, usage: usage)
    }
  }

  func reason(_ word: String, usage: String) throws(CommandError) -> ExitReason {
    if let reason = ExitReason(named: word) { return reason }
    throw CommandError(
      typed: word, expected: (word.isEmpty ? "an exit reason was expected" : "no such exit reason") + " ('help be' lists them)",
      nearest: NearestName.find(word, in: ExitReason.allCases.map(\.name)), usage: usage)
  }

  private func operand(_ field: EventField, of exit: VMExit, on vcpu: any VCPU) -> UInt64? {
    if let index = field.argumentIndex {
      let arguments = machine.words.hypercallArguments(of: exit, on: vcpu)
      return index < arguments.count ? arguments[index] : nil
    }
    if field == .nr, let number = machine.words.hypercallNumber(of: exit, on: vcpu) { return number & 0xFF }
    return EventFields.value(of: field, in: exit, time: control.time)
  }

  /// A breakpoint's condition in the present state; one that cannot be evaluated holds, so that the person
  /// sees where.
  private func holds(_ expression: Expression, _ exit: VMExit?, _ vcpu: Int) -> Bool {
    let state = control.vcpus[vcpu].state
    let value = try? expression.evaluate(state, memory: machine.memory) { field in
      exit.flatMap { operand(field, of: $0, on: control.vcpus[vcpu]) }
    }
    return value != 0
  }

  func say(_ kind: ConsoleMessage.Kind, _ text: String) {
    messages.append(ConsoleMessage(number: messages.total, kind: kind, text: text))
  }

  // MARK: sx

  func setExitAction(_ reason: ExitReason, _ action: ExitAction) {
    exitActions[reason] = action == .ignore ? nil : action
    applyControls()
  }

  /// The VMCS and what `sx` asks for, to every vCPU.
  func applyControls() {
    var controls = baseControls
    var stops = ReasonSet()
    var logged = ReasonSet()
    for reason in ExitReason.allCases {
      guard let action = exitActions[reason] else { continue }
      controls.require(reason)
      if action == .stop { stops.insert(reason) }
      if action == .log { logged.insert(reason) }
    }
    control.baseControls = controls
    control.stopReasons = stops
    control.loggedReasons = logged
  }

  func listExitActions() -> CommandResult {
    let set = ExitReason.allCases.compactMap { reason in exitActions[reason].map { (reason, $0) } }
    let lines = set.map { "\($0.0.name): \($0.1.rawValue)" }
    return CommandResult(
      lines.isEmpty ? ["no exit reason was set; all are counted where they happen"] : lines,
      json: .object(set.map { .init($0.0.name, .string($0.1.rawValue)) }))
  }
}
