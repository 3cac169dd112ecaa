/// Debug registers (SDM 3B 18.2).
enum ExplainDebug {
  static let entries: [ExplainEntry] = dr6.entries + dr7.entries + addresses

  private static let addresses: [ExplainEntry] = (0...3).map { number in
    ExplainEntry(
      "dr\(number)", [], title: "DR\(number): breakpoint address \(number)",
      "A linear address the guest watches; DR7 says for what and whether. Ringside's own breakpoints do not use it, so "
        + "the guest keeps all four.", "SDM 3B 18.2.1", reading: .bits)
  }

  static let dr6 = ExplainRegister(
    name: "dr6", shown: "DR6", title: "debug status",
    rule: "Why the last #DB came. The processor sets bits and never clears them: handlers do.", section: "SDM 3B 18.2.3",
    bits: (0...3).map { number in
      ExplainRegister.bit(number, "b\(number)", "breakpoint \(number) hit", "The condition of DR\(number) was met.", zero: "not met", one: "met")
    } + [
      ExplainRegister.bit(13, "bd", "debug register access", "The next instruction touches a debug register while DR7.GD is set.", zero: "no", one: "yes"),
      ExplainRegister.bit(14, "bs", "single step", "RFLAGS.TF caused the #DB.", zero: "no", one: "yes"),
      ExplainRegister.bit(15, "bt", "task switch", "A task switch to a TSS with its T bit set.", zero: "no", one: "yes"),
      ExplainRegister.bit(16, "rtm", "transactional region", "Clear where the #DB came inside an RTM region.", zero: "inside one", one: "outside, as usual"),
    ])

  static let dr7 = ExplainRegister(
    name: "dr7", shown: "DR7", title: "debug control",
    rule: "Switches the four breakpoints and says what each waits for. MOV to it exits (reason 29) under MOV-DR exiting.",
    section: "SDM 3B 18.2.4",
    bits: (0...3).flatMap { number in
      [
        ExplainRegister.bit(2 * number, "l\(number)", "breakpoint \(number) local", "On until the next hardware task switch.", zero: "off", one: "on"),
        ExplainRegister.bit(2 * number + 1, "g\(number)", "breakpoint \(number) global", "On for every task.", zero: "off", one: "on"),
        ExplainRegister.field(16 + 4 * number, 2, "rw\(number)", "breakpoint \(number) kind", "What access to DR\(number)'s address is meant.", ["execution", "data writes", "ports (with CR4.DE)", "data reads and writes"]),
        ExplainRegister.field(18 + 4 * number, 2, "len\(number)", "breakpoint \(number) length", "How many bytes are watched; the address is aligned to it.", ["1 byte", "2 bytes", "8 bytes", "4 bytes"]),
      ]
    } + [
      ExplainRegister.bit(8, "le", "local exact", "Asked old processors for exact data breakpoints; ignored since the P6.", zero: "off", one: "on"),
      ExplainRegister.bit(9, "ge", "global exact", "As LE, for every task.", zero: "off", one: "on"),
      ExplainRegister.bit(11, "rtm", "transactional debugging", "Allows #DB inside RTM regions.", zero: "off", one: "on"),
      ExplainRegister.bit(13, "gd", "general detect", "Any MOV to or from a debug register raises #DB: a debugger guards its own.", zero: "off", one: "the next access traps"),
    ])
}
