import VMCore

/// Words of binary rewriting.
enum ExplainRewriting {
  static let entries: [ExplainEntry] =
    [
      entry(
        "identity", "an instruction kept as it is",
        "Means the same in every ring and works on registers: the host executes the same operation, with the guest's registers in its own."),
      entry(
        "rewritten", "an instruction in another form",
        "Harmless, but its memory operand is reached through the software TLB, or its transfer of control is chained to the block it leads to."),
      entry(
        "in-cache", "a sensitive instruction carried out where it stands",
        "Works on the guest's own IF, flags or GS.base, not the machine's: a short sequence in the code cache, counted but not left for (CLI, STI, PUSHF, POPF, SWAPGS)."),
      entry(
        "callout", "a sensitive instruction that leaves for its emulation",
        "The rewritten code calls the monitor, which emulates the instruction on the guest's state; an exit of reason callout, recorded like any."),
      entry(
        "interpreted", "no host form is known",
        "The interpreter carries this instruction out and rewritten code goes on behind it. Right but slower; counted as the interpreter's share."),
      entry(
        "chained", "a block that jumps straight into the next",
        "The way out of a block is linked to the block behind it while mappings and code stay as they are; otherwise the next block is looked up."),
      entry(
        "expansion", "host bytes for one guest byte",
        "Memory accesses and ways out grow by their slow paths, which lie behind the straight code and are rarely executed."),
    ]

  private static func entry(_ name: String, _ title: String, _ rule: String) -> ExplainEntry {
    ExplainEntry("rewriting.\(name)", title: "Rewriting: \(title)", rule, "Adams and Agesen 2006")
  }
}
