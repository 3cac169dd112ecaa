import Debugger
import VMCore
import X86

/// Rewritten code, sensitive instructions, and comparing engines.
enum RewritingCommands {
  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["stepblock", "sb"], .running, arguments: "[N]", help: "run to the next block of guest code, N times",
      runsGuest: true
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      let count = scanner.takeNumber() ?? arguments.count ?? 1
      try scanner.end()
      return core.stepBlocks(count)
    },
    CommandDescriptor(
      ["compare", "cmp"], .looking, arguments: "with ENGINE [every N]",
      help: "run this guest from its start to here on another engine too, and say where they part",
      completion: .each([.words(["with"]), .words(["interpreter", "rewriter"]), .words(["every"])])
    ) { core, arguments throws(CommandError) in try compare(core, arguments) },
  ]

  static let topics: [InfoCommands.Topic] = [
    .init(names: ["rewriter", "jit", "tb"], help: "what was made of the guest's code: kinds, cache, callouts by cause and site") {
      core, scanner throws(CommandError) in
      try scanner.end()
      let report = report(core)
      return CommandResult((report.totals + report.causes + report.sites(20)).lines, json: report.json)
    },
    .init(names: ["block"], help: "a block of guest code and its rewritten form: [ADDR]", completion: .symbol) {
      core, scanner throws(CommandError) in try block(core, &scanner)
    },
    .init(names: ["missed"], help: "sensitive instructions that trap and emulate would have missed") {
      core, scanner throws(CommandError) in
      try scanner.end()
      let report = report(core)
      return CommandResult(report.missed.lines, json: report.json)
    },
    .init(names: ["policy"], help: "which sensitive instructions leave translated code") {
      core, scanner throws(CommandError) in
      try scanner.end()
      return CommandResult(report(core).policy.lines)
    },
  ]

  private static func report(_ core: SessionCore) -> RewritingReport {
    RewritingReport(core.rewritingView(isRunning: false), symbols: core.symbols, retired: core.control.retired)
  }

  private static func block(_ core: SessionCore, _ scanner: inout ArgumentScanner) throws(CommandError) -> CommandResult {
    let address = scanner.isAtEnd ? core.currentState.rip : try core.takeAddress(&scanner, "an address").value
    try scanner.end()
    guard let inspection = core.machine.inspection, core.recorded == nil else {
      throw scanner.fail("", "the engine \(core.machine.engine.name) keeps no blocks")
    }
    guard let block = inspection.block(at: address, vcpu: core.control.current) else {
      return CommandResult(["no block is known at \(Hex.text(address)): nothing there was executed yet"])
    }
    let report = BlockReport(block, core.currentState, core.machine.memory, symbols: core.symbols)
    return CommandResult((report.head + report.rows(width: 110)).lines)
  }

  private static func compare(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    _ = scanner.take("with")
    let known = ["interpreter", "rewriter"]
    let name = scanner.takeWord()?.lowercased() ?? ""
    guard known.contains(name) else {
      throw scanner.fail(
        name, "expected an engine that counts instructions: \(known.joined(separator: " or "))",
        nearest: NearestName.find(name, in: known))
    }
    var plan = ComparisonPlan()
    if scanner.take("every") {
      guard let every = scanner.takeNumber(), every > 0 else {
        throw scanner.fail(scanner.remainder, "a count of instructions from 1 on was expected")
      }
      plan.every = every
    }
    try scanner.end()
    return try core.compare(with: name, plan, usage: arguments.usage)
  }
}

extension SessionCore {
  /// Instructions compared where the guest has not run yet and never ends.
  private static let compareFromStart: UInt64 = 100_000_000

  /// This guest on its own engine and on another, from its start to where it stands.
  func compare(with engine: String, _ given: ComparisonPlan, usage: String) throws(CommandError) -> CommandResult {
    guard recorded == nil, configuration.guest != nil || configuration.firmware != nil else {
      throw CommandError(typed: engine, expected: "there is no guest here to be run again", usage: usage)
    }
    if let disk = configuration.disk, !DiskChoice(disk).isReadOnly {
      throw CommandError(
        typed: engine, expected: "the guest writes to its disk, which is not what it was at the start: "
          + "'ringside compare' starts with it, or --disk FILE,ro leaves it as it is", usage: usage)
    }
    var plan = given
    plan.limit = control.retired > 0 ? control.retired : Self.compareFromStart
    do throws(VMError) {
      let makers = [machine.engine.name, engine].map { EngineMaker(configuration, engine: $0) }
      let comparison = Comparison(configuration, makers, plan: plan, script: script)
      comparison.goesOn = { [unowned self] _ in !takesPause() }
      let report = try comparison.run()
      self.comparison = report
      // The console shows the last line at the bottom of the screen.
      return CommandResult(report.rows.lines.dropFirst() + [report.verdict], json: report.json)
    } catch {
      throw CommandError(typed: engine, expected: error.description, usage: usage)
    }
  }

  /// Somebody wants to go on with something else.
  func takesPause() -> Bool {
    guard exchange.needsAttention else { return false }
    let attention = exchange.takeAttention()
    exchange.raise(attention.subtracting(.pause))
    return !attention.isDisjoint(with: [.pause, .quit])
  }

  /// To the beginning of the block behind the present one, so many times.
  func stepBlocks(_ count: UInt64) -> CommandResult {
    if recorded != nil { return go(StepPlan(.instructions, count: count)) }
    var result = CommandResult.silent
    for _ in 0..<max(count, 1) {
      result = go(StepPlan(.instructions, count: instructionsToBlockEnd))
      guard stop == .step else { break }
    }
    return result
  }

  /// From RIP to the end of its block: as the engine cut it, or to the next transfer of control.
  private var instructionsToBlockEnd: UInt64 {
    let code = disassembly
    var rip = currentState.rip
    let block = machine.inspection?.block(at: rip, vcpu: control.current)
    let end = block.map { $0.rip &+ $0.length }
    var count: UInt64 = 0
    while count < 64 {
      let instruction = code.instruction(at: rip)
      count += 1
      rip = instruction.next
      if instruction.isBad || (end.map { rip >= $0 } ?? (instruction.flow != .sequential)) { break }
    }
    return count
  }
}
