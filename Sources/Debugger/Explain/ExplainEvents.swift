import VMCore

/// Kinds of events, words of the status line, what engines can do.
enum ExplainEvents {
  static let entries: [ExplainEntry] =
    EventKind.allCases.map { kind in
      ExplainEntry("event.\(String(describing: kind).lowercased())", title: "Event: \(String(describing: kind))", rule(kind), "Ringside, the event stream")
    } + EngineCapabilities.allCases.map { capability in
      let name = capability.name.filter { $0 != " " && $0 != "-" }.lowercased()
      return ExplainEntry("capability.\(name)", [capability.name], title: "Engine capability: \(capability.name)", rule(capability), "Ringside, engines")
    } + words

  private static func rule(_ kind: EventKind) -> String {
    switch kind {
    case .exit: "The guest left for the monitor: reason, decoded qualification, RIP, instruction count."
    case .entry: "The monitor answered: resume, emulate, complete with a value, skip, or a fault for the guest."
    case .exception: "An exception was delivered through the guest's IDT or IVT: vector, error code, CR2 for page faults."
    case .interrupt: "An external interrupt was injected at an entry: its vector."
    case .softwareInterrupt: "INT n, INTO or INT1 went through the IDT."
    case .hypercall: "A hypercall was carried out: number, first arguments, result."
    case .output: "A byte the guest wrote to its console."
    case .unclaimed: "A port or address nobody owns was touched: a read gave all ones. A misspelt port looks like this."
    case .interruptLine: "A device's line changed its level: GSI and level, before any controller looked at it."
    case .eoi: "The guest ended an interrupt at its controller: lower priorities may come again."
    case .unknownInstruction: "An instruction the engine lacks; the guest got #UD."
    case .timer: "A timer was programmed: channel and period in virtual nanoseconds."
    case .input: "A byte from outside entered the guest, at this exact instruction count."
    case .controls: "Somebody changed the VMCS: the field and its new value. From here on other things exit than before."
    case .codeSegment: "The next exits come from another code segment: its selector, and the base that is added to RIP for a linear address."
    case .stop: "The session stopped here."
    case .go: "The session went on."
    case .request: "The guest asked for reset, shutdown or an exit status."
    case .codeInvalidated: "A store hit a page with decoded code: self-modifying code, or a new program loaded."
    case .processorSignal: "INIT or a start-up IPI reached a vCPU."
    case .nested: "A guest that is itself a monitor entered its own guest, got it back by a VM exit, or was refused: then the VMCS field at fault is named, which hardware does not do."
    }
  }

  private static func rule(_ capability: EngineCapabilities) -> String {
    switch capability {
    case .instructionBudget: "Stops at any exact instruction count. Steps of a thousand, virtual time and replay need it."
    case .deterministic: "The same guest and the same input give the same run, event for event. Real hardware cannot promise that."
    case .singleStep: "Executes one instruction and comes back."
    case .unlimitedBreakpoints: "As many breakpoints as wanted, without changing the guest's code or using its DR0 to DR3."
    case .memoryWatch: "Watches reads and writes of any range; hardware has four of at most 8 bytes."
    case .exceptionExits: "Exceptions can be made to exit before the guest sees them."
    case .hardwareAssisted: "Guest code runs on the processor itself, in VT-x or SVM guest mode."
    case .multipleVCPUs: "More than one vCPU."
    default: "Several of the above."
    }
  }

  private static func word(_ name: String, _ aliases: [String] = [], _ title: String, _ rule: String) -> ExplainEntry {
    ExplainEntry(name, aliases, title: title, rule, "Ringside")
  }

  private static let words: [ExplainEntry] = [
    word("phase.running", ["running"], "RUNNING", "The guest executes. What is shown is some thirtieths of a second old, stack and tables a fifth; the code is that of the last stop; commands that need it stopped are refused with the reason. Space pauses."),
    word("phase.stopped", ["stopped", "paused"], "STOPPED", "The guest stands at an exact instruction; the sentence at the bottom says why."),
    word("phase.idle", ["idle"], "IDLE", "The guest waits in HLT for something from outside: type to its console, or pause."),
    word("phase.ended", ["ended"], "ENDED", "The guest shut down, reset or asked for an exit status. 'reset' starts it again."),
    word("phase.ready", ["ready"], "READY", "Loaded; not one instruction has been executed."),
    word("icount", ["instructions"], "icount: instructions retired", "Counted exactly by the engine; virtual time follows from it."),
    word("mips", [], "MIPS", "Million guest instructions a second of host time, measured now."),
    word("vm", [], "VM: virtual machine", "Processor, memory and devices as the monitor makes them for a guest. A VM exit leaves the guest for the monitor, a VM entry lets it go on."),
    word("exits", ["ex/s"], "exits", "How often the guest left for the monitor. Fast guests exit rarely: this is what hardware assistance, paravirtualization and rewriting try to lower."),
    word("virtualtime", [], "t: virtual time", "The guest's clock: one nanosecond an instruction, plus time slept in HLT."),
    word("technique.hvm", ["hvm"], "hvm: hardware-assisted", "The guest runs unmodified and exits where the VMCS says so; here on a software processor with the same exits."),
    word("technique.rewrite", ["rewrite"], "rewrite: binary rewriting", "The instruction stream is scanned; privileged and sensitive instructions become callouts, the rest runs as it is."),
    word("technique.pv", ["pv"], "pv: paravirtualization", "The guest was ported: it runs deprivileged and asks by hypercall."),
    word("gutter.p", [], "P in the gutter: privileged", "Traps outside ring 0 (or above IOPL). A monitor that runs the guest in a lower ring sees it for nothing."),
    word("gutter.s", [], "S in the gutter: sensitive and unprivileged", "Shows or changes the machine without a trap: why x86 could not be virtualized by trap and emulate, and what rewriting, VT-x and porting each solve."),
    word("breakpoint", ["bp"], "Breakpoint", "Number, + or - for on and off, what it waits for, condition, hits and limit, action. They are kept outside the guest: its code does not change."),
    word("hypercall", ["hyp"], "Hypercall", "A call from guest to monitor: number, decoded arguments, result. Negative results are errors by Linux's numbers."),
  ]
}
