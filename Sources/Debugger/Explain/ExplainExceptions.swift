import X86

/// Exceptions and their error codes (SDM 3A 6.15, 4.7, 6.13).
enum ExplainExceptions {
  static let entries: [ExplainEntry] = Exception.allCases.map { exception in
    let short = String(exception.mnemonic.drop { $0 == "#" }).lowercased()
    let code = exception.pushesErrorCode ? "pushes an error code" : "no error code"
    return ExplainEntry(
      "exception.\(short)", [exception.mnemonic.lowercased(), "vector.\(exception.rawValue)"],
      title: "\(exception.mnemonic), vector \(exception.rawValue) (\(code)): \(exception.meaning)", rule(exception),
      "SDM 3A 6.15")
  } + pageFault.entries + selectorError.entries

  private static func rule(_ exception: Exception) -> String {
    switch exception {
    case .de: "DIV or IDIV by zero, or a quotient that does not fit. A fault: RIP stays at the instruction."
    case .db: "Single step (TF), a breakpoint of DR0 to DR3, or a debug-register access under GD. DR6 says which; a trap, but a fault for instruction breakpoints."
    case .nmi: "An interrupt IF does not hold back. Until the handler's IRET no other NMI comes."
    case .bp: "INT3, the one-byte breakpoint. A trap: RIP is after it. Its gate's DPL must be 3 for user code."
    case .of: "INTO with OF set. A trap; INTO does not exist in 64-bit mode."
    case .br: "BOUND found its index outside. A fault; BOUND does not exist in 64-bit mode."
    case .ud: "An opcode that is none, is not allowed here (LOCK, mode, CR4), or UD2 on purpose. Monitors without VT-x emulate behind it."
    case .nm: "An FPU, MMX or SSE instruction while CR0.TS or EM is set: the kernel brings in the task's FPU state and clears TS."
    case .df: "An exception came while another was being delivered. An abort with error code 0; a third is a triple fault, which shuts the processor down."
    case .ts: "A task switch or a stack switch found a bad TSS or a bad segment in it. The code names the selector."
    case .np: "A segment or gate with P clear. The code names the selector; the handler may load it and return."
    case .ss: "A stack access beyond its limit or to a non-canonical address, or SS loaded with a segment not present."
    case .gp: "Everything protection forbids and nothing else names: privileged instructions outside ring 0, bad selectors, limits, non-canonical addresses. The door through which trap-and-emulate monitors see the guest."
    case .pf: "The page tables forbid the access or have no page. CR2 holds the address, the error code why; the handler maps the page and returns to the same instruction."
    case .mf: "An unmasked x87 error, raised at the next waiting x87 instruction, with CR0.NE."
    case .ac: "A misaligned access in ring 3 with CR0.AM and RFLAGS.AC, or a split lock where that is watched."
    case .mc: "The hardware found an error: memory, bus or cache. Details are in the machine-check banks."
    case .xm: "An unmasked SSE error, with CR4.OSXMMEXCPT. MXCSR says which."
    case .ve: "An EPT violation turned into an exception the guest handles itself."
    case .cp: "A return address or an indirect branch target that control-flow enforcement does not allow."
    }
  }

  static let pageFault = ExplainRegister(
    name: "pagefault", shown: "#PF error code", aliases: ["pferr"], title: "why an access page-faulted",
    rule: "Pushed by #PF. Bits are added up: 7 is 'ring 3 wrote to a page that is there but forbids it'.",
    section: "SDM 3A 4.7",
    bits: [
      ExplainRegister.bit(0, "p", "protection", "Whether there was a page at all.", zero: "no page was there", one: "a page was there and forbade it"),
      ExplainRegister.bit(1, "w", "write", "What the access wanted.", zero: "a read", one: "a write"),
      ExplainRegister.bit(2, "u", "user", "Who made it: the CPL, not the page.", zero: "rings 0 to 2", one: "ring 3"),
      ExplainRegister.bit(3, "rsvd", "reserved bit", "A table entry had a bit set that must be 0: a broken table, not a missing page.", zero: "no", one: "a reserved bit was set"),
      ExplainRegister.bit(4, "i", "instruction fetch", "With NX or SMEP, whether it was a fetch.", zero: "a data access", one: "a fetch"),
      ExplainRegister.bit(5, "pk", "protection key", "PKRU forbade it.", zero: "no", one: "yes"),
      ExplainRegister.bit(6, "ss", "shadow stack", "A shadow-stack access.", zero: "no", one: "yes"),
    ])

  static let selectorError = ExplainRegister(
    name: "errorcode", shown: "Selector error code", title: "which descriptor was at fault",
    rule: "Pushed by #TS, #NP, #SS and #GP; 0 where no descriptor is to blame.", section: "SDM 3A 6.13",
    bits: [
      ExplainRegister.bit(0, "ext", "external", "An event from outside (or an earlier exception) was being delivered.", zero: "the program did it", one: "during delivery of another event"),
      ExplainRegister.bit(1, "idt", "IDT", "The index names a gate of the IDT.", zero: "GDT or LDT, see TI", one: "a gate of the IDT"),
      ExplainRegister.bit(2, "ti", "table", "GDT or LDT, where IDT is clear.", zero: "GDT", one: "LDT"),
      ExplainRegister.field(3, 13, "index", "index", "Entry of that table."),
    ])
}
