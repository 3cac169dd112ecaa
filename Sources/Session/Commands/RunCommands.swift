import Debugger
import VMCore
import X86

/// Commands that let the guest run.
enum RunCommands {
  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["continue", "c", "cont", "run", "r", "g"], .running, keys: ["c", "F5"], arguments: "[N]",
      help: "run until something stops the guest; with N, to the N-th stop at a breakpoint", runsGuest: true
    ) { core, arguments throws(CommandError) in core.goOn(try count(arguments)) },
    CommandDescriptor(
      ["pause", "stop", "break-in"], .running, keys: ["Space"], help: "stop a running guest", whileRunning: true
    ) { core, _ throws(CommandError) in core.pauseByCommand() },
    CommandDescriptor(
      ["step", "s", "si", "stepi", "t"], .running, keys: ["s", "F8", "F11"], arguments: "[N]",
      help: "execute N instructions, into calls", runsGuest: true
    ) { core, arguments throws(CommandError) in core.go(StepPlan(.instructions, count: try count(arguments))) },
    CommandDescriptor(
      ["next", "n", "ni", "nexti"], .running, keys: ["n", "F10"], arguments: "[N]",
      help: "execute N instructions, calls and handlers whole", runsGuest: true
    ) { core, arguments throws(CommandError) in core.go(StepPlan(.over, count: try count(arguments))) },
    CommandDescriptor(
      ["finish", "f", "fin", "out", "gu"], .running, keys: ["f"], arguments: "[N]",
      help: "run to the return of this routine", runsGuest: true
    ) { core, arguments throws(CommandError) in try finish(core, arguments) },
    CommandDescriptor(
      ["until", "u", "advance", "xuntil"], .running, keys: ["u", "F7"], arguments: "[ADDR [N]]",
      help: "run to an address (hexadecimal or symbol), or on in this routine and out of a loop", runsGuest: true,
      completion: .symbol
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      if scanner.isAtEnd { return core.go(StepPlan(.search(.beyond(core.currentState.linearRIP)))) }
      let address = try core.takeCodeAddress(&scanner, "an address")
      let count = scanner.takeNumber() ?? arguments.count ?? 1
      try scanner.end()
      return core.go(StepPlan(.until(address), count: count))
    },
    CommandDescriptor(
      ["exit", "e", "E"], .running, keys: ["e", "E"], arguments: "[N] [REASON]",
      help: "run to the N-th next VM exit, of a reason or of any; under --technique pv also bounce, upcall, emulated",
      runsGuest: true, completion: .reason
    ) { core, arguments throws(CommandError) in try nextExit(core, arguments) },
    CommandDescriptor(
      ["hypercall", "h", "hc"], .running, keys: ["h"], arguments: "[N]", help: "run to the N-th next hypercall",
      runsGuest: true
    ) { core, arguments throws(CommandError) in core.go(StepPlan(.hypercall, count: try count(arguments))) },
    CommandDescriptor(
      ["interrupt", "i", "int"], .running, keys: ["i"], arguments: "[N]",
      help: "run to the N-th next interrupt or exception ('i TOPIC' is 'info TOPIC')", runsGuest: true
    ) { core, arguments throws(CommandError) in
      // gdb's `i r`: its short name of 'info' is taken here, but nothing that counts begins with a letter.
      if arguments.rest.first?.isLetter == true { return core.execute("info \(arguments.rest)") }
      return core.go(StepPlan(.delivery, count: try count(arguments)))
    },
    CommandDescriptor(
      ["nextcall"], .running, arguments: "[N]", help: "run to the N-th next CALL", runsGuest: true
    ) { core, arguments throws(CommandError) in core.go(StepPlan(.search(.call), count: try count(arguments))) },
    CommandDescriptor(
      ["nextret"], .running, arguments: "[N]", help: "run to the N-th next RET or IRET", runsGuest: true
    ) { core, arguments throws(CommandError) in core.go(StepPlan(.search(.ret), count: try count(arguments))) },
    CommandDescriptor(
      ["nextjump", "nextjmp"], .running, arguments: "[N]", help: "run to the N-th next jump, taken or not", runsGuest: true
    ) { core, arguments throws(CommandError) in core.go(StepPlan(.search(.branch), count: try count(arguments))) },
    CommandDescriptor(
      ["nextsyscall"], .running, arguments: "[N]", help: "run to the N-th next SYSCALL, SYSENTER or INT", runsGuest: true
    ) { core, arguments throws(CommandError) in core.go(StepPlan(.search(.systemCall), count: try count(arguments))) },
    CommandDescriptor(
      ["jump", "j"], .running, arguments: "ADDR", help: "go on from another address (hexadecimal or symbol)", runsGuest: true,
      completion: .symbol
    ) { core, arguments throws(CommandError) in try jump(core, arguments) },
    CommandDescriptor(
      ["rsi", "reverse-stepi", "reverse-step", "back", "rs"], .running, keys: ["Backspace"], arguments: "[N]",
      help: "go back N instructions, the guest's state with it (deterministic engines)"
    ) { core, arguments throws(CommandError) in core.stepBack(try count(arguments)) },
    CommandDescriptor(
      ["rn", "reverse-next", "reverse-nexti", "rni"], .running,
      help: "go back one instruction, over a call that was made (deterministic engines)"
    ) { core, _ throws(CommandError) in core.stepBackOver() },
    CommandDescriptor(
      ["rf", "reverse-finish"], .running, help: "go back to where this routine was called (deterministic engines)"
    ) { core, _ throws(CommandError) in core.runBackToCaller() },
    CommandDescriptor(
      ["rc", "reverse-continue"], .running, help: "go back to the last breakpoint before now, or to the start"
    ) { core, _ throws(CommandError) in core.runBack() },
    CommandDescriptor(
      ["limit"], .running, arguments: "[INSTRUCTIONS|none]", help: "stop when so many instructions have retired in all"
    ) { core, arguments throws(CommandError) in try limit(core, arguments) },
    CommandDescriptor(
      ["reset", "restart", "system_reset"], .running, help: "load the guest again and stop before its first instruction"
    ) { core, _ throws(CommandError) in core.reset() },
  ]

  private static func jump(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    let address = try core.takeCodeAddress(&scanner, "an address")
    try scanner.end()
    let moved = core.execute("set $rip=\(Hex.text(MemoryCommands.offset(core, address)))")
    return moved.failed ? moved : core.go(nil)
  }

  private static func finish(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    let count = try count(arguments)
    guard core.stop != .created else {
      throw CommandError(
        typed: "", expected: "there is nothing to finish: the guest has not executed anything yet, so no routine was called",
        usage: arguments.usage)
    }
    return core.go(StepPlan(.out, count: count))
  }

  private static func count(_ arguments: CommandArguments) throws(CommandError) -> UInt64 {
    var scanner = arguments.scanner
    if scanner.isAtEnd { return arguments.count ?? 1 }
    guard let count = scanner.takeNumber(), count > 0 else {
      throw scanner.fail(scanner.remainder, "a count from 1 on was expected")
    }
    try scanner.end()
    return count
  }

  private static func nextExit(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    var count = arguments.count ?? 1
    var goal = StepPlan.Goal.exit
    while let word = scanner.takeWord() {
      if let number = UInt64(word), number > 0 {
        count = number
      } else if core.machine.technique == .pv, let service = MonitorService(rawValue: word.lowercased()) {
        goal = .service(service)
      } else {
        goal = .reason(try core.reason(word, usage: arguments.usage))
      }
    }
    return core.go(StepPlan(goal, count: count))
  }

  private static func limit(_ core: SessionCore, _ arguments: CommandArguments) throws(CommandError) -> CommandResult {
    var scanner = arguments.scanner
    if !scanner.isAtEnd {
      let wanted = scanner.take("none") ? .max : scanner.takeNumber()
      guard let wanted, scanner.isAtEnd else { throw scanner.fail(scanner.remainder, "a number of instructions, or none, was expected") }
      core.control.limit = wanted
    }
    let limit = core.control.limit
    return CommandResult(
      limit == .max ? "no limit" : "the run ends at \(limit) instructions",
      json: .members(("limit", limit == .max ? .null : .number(limit))))
  }
}
