import Debugger
import VMCore
import X86

/// Topics of `info` that gdb and Bochs have, made of those that are here.
enum HabitTopics {
  static let all: [InfoCommands.Topic] = [
    .init(names: ["flags", "eflags", "rflags"], help: "RFLAGS by name") { core, scanner throws(CommandError) in
      try scanner.end()
      let state = core.currentState
      return CommandResult(
        "rflags \(Hex.text(state.rflags))  [\(RegisterDescription.flags(state.rflags))]  IOPL\(state.rflags >> 12 & 3)",
        json: .members(("rflags", .hex(state.rflags)), ("names", .string(RegisterDescription.flags(state.rflags)))))
    },
    .init(names: ["cpu", "all-registers", "all"], help: "every register: general, segments, control, x87 and SSE") {
      core, scanner throws(CommandError) in
      try scanner.end()
      let parts = ["regs", "sregs", "cr", "fpu"].map { ($0, core.execute("info \($0)")) }
      return CommandResult(
        parts.flatMap(\.1.lines), json: .object(parts.map { .init($0.0, $0.1.json) }))
    },
    .init(
      names: ["place", "symbol", "sym", "address", "line"], help: "what is at an address, or where a name is: NAME|ADDR",
      completion: .symbol
    ) { core, scanner throws(CommandError) in
      core.execute("symbol \(scanner.takeAll())")
    },
  ]
}
