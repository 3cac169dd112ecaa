import VMCore

/// VM-exit reasons and what their qualifications say (SDM 3C 26, 28.2, appendix C).
enum ExplainExits {
  static let entries: [ExplainEntry] = ExitReason.allCases.map { reason in
    let number = reason.rawValue
    let source = number < 256 ? "basic exit reason \(number)" : "Ringside's own reason \(number)"
    let (title, rule, section) = text(reason)
    return ExplainEntry(
      "exit.\(reason.name)", reason.aliases.map { "exit.\($0)" }, title: "\(reason.name.uppercased()), \(source): \(title)", rule, section)
  } + fields

  private typealias Text = (String, String, String)

  private static func text(_ reason: ExitReason) -> Text {
    switch reason {
    case .exception: ("exception or NMI", "An exception whose bit in the exception bitmap is set (page faults also by error code) leaves before it is delivered. The qualification holds CR2 for #PF and DR6's bits for #DB.", "SDM 3C 26.2")
    case .externalInterrupt: ("external interrupt", "The host's own interrupt arrived while the guest ran. The monitor lets its host handle it and goes on; the guest did nothing.", "SDM 3C 26.2")
    case .tripleFault: ("triple fault", "An exception while a double fault was being delivered: a real processor would shut down and the board would reset it. Look at the IDT, its gates and the stack they name.", "SDM 3C 26.2")
    case .initSignal: ("INIT signal", "Another processor sent INIT. It resets the vCPU, which then waits for a start-up IPI.", "SDM 3C 26.2")
    case .sipi: ("start-up IPI", "A vCPU in wait-for-SIPI got its vector: it begins in real mode at page vector times 4096.", "SDM 3C 26.2")
    case .interruptWindow: ("interrupt window", "An interrupt waited, the guest had IF clear or a shadow, and now it can be taken. The monitor asked for this exit in order to inject.", "SDM 3C 26.2")
    case .nmiWindow: ("NMI window", "As the interrupt window, for a waiting NMI: the last one's IRET has been executed.", "SDM 3C 26.2")
    case .taskSwitch: ("task switch", "VT-x does no hardware task switches: the monitor must. The qualification names the TSS's selector and what asked (CALL, IRET, JMP, task gate).", "SDM 3C 28.2.1 table 28-2")
    case .cpuid: ("CPUID", "CPUID always exits under VT-x: no bit can stop it. The monitor gives the leaf (EAX, ECX) as it wants the guest to see it, then moves RIP on.", "SDM 3C 26.1.2")
    case .hlt: ("HLT", "With HLT exiting the monitor learns that the guest has nothing to do: it sleeps until the next interrupt. With IF clear nothing can wake it.", "SDM 3C 26.1.3")
    case .invd: ("INVD", "Drops the caches without writing them back; always exits, for it would lose the host's data.", "SDM 3C 26.1.2")
    case .invlpg: ("INVLPG", "The guest dropped one translation. Only shadow paging must know; the qualification is the linear address.", "SDM 3C 28.2.1")
    case .rdpmc: ("RDPMC", "A performance counter was read under RDPMC exiting.", "SDM 3C 26.1.3")
    case .rdtsc: ("RDTSC", "The time-stamp counter was read under RDTSC exiting. Usually a TSC offset makes the exit needless.", "SDM 3C 26.1.3")
    case .vmcall: ("VMCALL, a hypercall", "The guest asks the monitor on purpose, number in RAX, arguments in registers: paravirtualization's door under VT-x. RIP moves past it afterwards.", "SDM 3C 26.1.2")
    case .crAccess: ("control-register access", "MOV to or from CR0, CR3, CR4 or CR8, CLTS or LMSW touched bits the monitor owns. Qualification: register, direction, which general register.", "SDM 3C 28.2.1 table 28-3")
    case .drAccess: ("debug-register access", "MOV DR under MOV-DR exiting. Qualification: number, direction, which general register.", "SDM 3C 28.2.1 table 28-4")
    case .io: ("I/O instruction", "IN, OUT, INS or OUTS on a port whose bit in the I/O bitmap is set. Qualification: size, direction, string, REP, port. A device answers, RIP moves on.", "SDM 3C 28.2.1 table 28-5")
    case .rdmsr: ("RDMSR", "A model-specific register whose read bit in the MSR bitmap is set (or outside its ranges). ECX holds the number; the monitor puts the value into EDX:EAX or injects #GP.", "SDM 3C 26.1.3")
    case .wrmsr: ("WRMSR", "The same for a write: value in EDX:EAX. Writes to APIC, EFER or SYSCALL registers change how the guest runs.", "SDM 3C 26.1.3")
    case .entryFailure: ("entry failure", "The guest state in the VMCS broke a rule, so the processor refused to enter it. The field that was wrong is a bug of the monitor or a state set by hand.", "SDM 3C 27.3")
    case .mwait: ("MWAIT", "The guest waits for a store to a monitored line; to the monitor this is much like HLT.", "SDM 3C 28.2.1")
    case .monitorTrap: ("monitor trap flag", "The monitor single-stepped the guest without its TF: one instruction has retired.", "SDM 3C 26.5.2")
    case .monitor: ("MONITOR", "The guest armed a monitored line for MWAIT.", "SDM 3C 26.1.3")
    case .pause: ("PAUSE", "A spin loop: the vCPU that holds the lock may not be running, so the monitor can run it instead.", "SDM 3C 26.1.3")
    case .gdtrIdtrAccess: ("GDTR or IDTR access", "LGDT, LIDT, SGDT or SIDT under descriptor-table exiting: how hardware catches four of the sensitive instructions.", "SDM 3C 28.2.5")
    case .ldtrTrAccess: ("LDTR or TR access", "LLDT, LTR, SLDT or STR under descriptor-table exiting.", "SDM 3C 28.2.5")
    case .eptViolation: ("memory without RAM behind it (MMIO)", "The guest-physical address has no mapping that allows the access. A device's registers are made that way: decode the instruction, ask the device, move RIP on.", "SDM 3C 28.2.1 table 28-7")
    case .rdtscp: ("RDTSCP", "As RDTSC, with the processor number from TSC_AUX.", "SDM 3C 26.1.3")
    case .wbinvd: ("WBINVD", "Writes back and drops the caches, under WBINVD exiting. With coherent devices there is nothing to do.", "SDM 3C 26.1.3")
    case .xsetbv: ("XSETBV", "A change of XCR0 always exits, as the host's own state area depends on it. Bad values get #GP.", "SDM 3C 26.1.2")
    case .vmclear: ("VMCLEAR", "Writes a VMCS back to memory and marks it clear, so that VMLAUNCH may use it. In a guest of a guest every VMX instruction exits to the monitor above, which may carry it out for it.", "SDM 3C 26.1.2")
    case .vmlaunch: ("VMLAUNCH", "Enters the guest of a clear VMCS. In a guest of a guest every VMX instruction exits to the monitor above, which may carry it out for it.", "SDM 3C 26.1.2")
    case .vmptrld: ("VMPTRLD", "Makes a VMCS region the current one. In a guest of a guest every VMX instruction exits to the monitor above, which may carry it out for it.", "SDM 3C 26.1.2")
    case .vmptrst: ("VMPTRST", "Stores the current-VMCS pointer. In a guest of a guest every VMX instruction exits to the monitor above, which may carry it out for it.", "SDM 3C 26.1.2")
    case .vmread: ("VMREAD", "Reads a field of the current VMCS by its encoding. In a guest of a guest every VMX instruction exits to the monitor above, which may carry it out for it.", "SDM 3C 26.1.2")
    case .vmresume: ("VMRESUME", "Enters the guest of a VMCS that was launched before. In a guest of a guest every VMX instruction exits to the monitor above, which may carry it out for it.", "SDM 3C 26.1.2")
    case .vmwrite: ("VMWRITE", "Writes a field of the current VMCS by its encoding. In a guest of a guest every VMX instruction exits to the monitor above, which may carry it out for it.", "SDM 3C 26.1.2")
    case .vmxoff: ("VMXOFF", "Leaves VMX operation. In a guest of a guest every VMX instruction exits to the monitor above, which may carry it out for it.", "SDM 3C 26.1.2")
    case .vmxon: ("VMXON", "Enters VMX operation with a region of its own. In a guest of a guest every VMX instruction exits to the monitor above, which may carry it out for it.", "SDM 3C 26.1.2")
    case .invept: ("INVEPT", "Drops translations made through extended page tables. In a guest of a guest every VMX instruction exits to the monitor above, which may carry it out for it.", "SDM 3C 26.1.2")
    case .invvpid: ("INVVPID", "Drops translations tagged with a virtual-processor identifier. In a guest of a guest every VMX instruction exits to the monitor above, which may carry it out for it.", "SDM 3C 26.1.2")
    case .entryMSRFailure: ("entry failure, MSR loading", "An entry of the VM-entry MSR-load list could not be loaded; the qualification is its number, from 1.", "SDM 3C 27.4")
    case .tprBelowThreshold: ("TPR below threshold", "The guest lowered CR8 below the TPR threshold under a TPR shadow: a waiting interrupt may now be let in.", "SDM 3C 30.1.2")
    case .eptMisconfiguration: ("EPT misconfiguration", "An extended-page-table entry has a setting that is not allowed: writable but not readable, a reserved bit, a memory type that does not exist. A bug of the monitor that wrote it.", "SDM 3C 29.3.3.1")
    case .preemptionTimer: ("VMX-preemption timer", "The timer the monitor set at VM entry ran out: the guest has had its share.", "SDM 3C 26.5.1")
    case .softwareInterrupt: ("software interrupt", "INT n, INTO or INT1 while the session watches them (bi VECTOR). VT-x has no such exit: it would come through the exception bitmap or not at all.", "SDM 2 INT n")
    case .debug: ("breakpoint, watchpoint or step", "The debugger's own stop: the guest did not ask for it, and it is neither counted nor shown among the exits.", "Ringside")
    case .budget: ("instruction budget", "The engine ran exactly as many instructions as it was allowed; that is how steps and virtual time are exact.", "Ringside")
    case .kicked: ("kicked", "Another thread asked the vCPU to come out, for a pause or a snapshot.", "Ringside")
    case .callout: ("callout", "Rewritten code called the monitor in place of a privileged or sensitive instruction. A handler does its work on the vCPU's state.", "Ringside")
    case .unknownInstruction: ("instruction the engine lacks", "The engine has no such instruction; CPUID does not advertise it. The guest gets #UD, which is what a processor without it would do.", "Ringside")
    case .syscall: ("SYSCALL of a deprivileged guest", "The ring in which SYSCALL would arrive is the monitor's. From the guest's kernel it is a hypercall, number in RAX, arguments in RDI, RSI, RDX, R10 and R8; from a program the monitor hands it on to the guest's kernel.", "Xen ABI; SDM 2 SYSCALL")
    case .unknown: ("unknown reason", "The hardware gave a number nobody here knows; the raw words are shown, and the session stops.", "Ringside")
    }
  }

  private static func field(_ name: String, _ title: String, _ rule: String) -> ExplainEntry {
    ExplainEntry("qualification.\(name)", title: "Exit qualification: \(title)", rule, "SDM 3C 28.2.1")
  }

  private static let fields: [ExplainEntry] = [
    field("port", "port", "Which I/O port, 0 to FFFFh: the immediate or DX. Ports above FFh can only be named by DX."),
    field("size", "size of access", "1, 2 or 4 bytes at a port; up to 8 for memory. The upper bits of the register stay (1, 2) or are cleared (4)."),
    field("direction", "direction", "IN and reads want a value back, which the entry brings; OUT and writes hand one over."),
    field("string", "string instruction", "INS or OUTS: the data is in memory at ES:RDI or DS:RSI, one exit for each element."),
    field("rep", "REP prefix", "The instruction repeats RCX times. Each element exits by itself; RIP moves on after the last."),
    field("gpa", "guest-physical address", "Where the access led after the guest's page tables. No RAM lies there, so a device must answer, or all ones are read."),
    field("linear", "guest-linear address", "The address the instruction used before paging: tells which pointer of the guest it was."),
    field("register", "control or debug register", "Its number; with CLTS and LMSW it is CR0."),
    field("gpr", "general register", "Which general-purpose register is the source or destination of the MOV."),
    field("vector", "vector", "0 to 31 are the processor's exceptions, the rest interrupts."),
    field("errorcode", "error code", "What the exception would push: for #PF why, for #GP, #TS, #NP and #SS the selector, 0 if none."),
    field("leaf", "CPUID leaf", "EAX asks which table, ECX which part of it; 40000000h on is the monitor's own range."),
    field("msr", "MSR number", "ECX: which model-specific register."),
    field("number", "hypercall number", "Which service is asked for; the table of the platform names it and its arguments."),
    field("subleaf", "CPUID subleaf", "ECX: which part of the leaf, where it has parts (4, 7, Bh, Dh)."),
    field("value", "value", "What the guest writes: the register's or memory's bytes at the exit."),
    field("data", "data", "What the guest writes, as wide as the access."),
    field("access", "kind of access", "0 MOV to the register, 1 MOV from it, 2 CLTS, 3 LMSW."),
    field("read", "read", "1: the access was a data read."),
    field("write", "write", "1: the access was a data write."),
    field("eptrights", "EPT rights", "What the EPT entry allowed: 0 where no memory lies behind the address."),
    field("linearvalid", "linear valid", "1: the linear address below is the one that led here (a page walk's own access has none)."),
    field("operand", "operand of IN and OUT", "1 where the port is an immediate, 0 where DX names it."),
    field("lmswsource", "LMSW source", "The 16 bits LMSW loads; only PE, MP, EM and TS change, and PE cannot be cleared."),
    field("type", "interruption type", "2 NMI, 3 hardware exception, 6 software exception: how an injected copy would have to be marked."),
    field("error", "error code", "What the exception pushes: for #PF why, else the selector at fault, 0 if none."),
    field("linearaddress", "linear address", "The page whose translation the guest dropped."),
    field("length", "instruction length", "Bytes of the exiting instruction: what RIP moves by when the monitor did its work."),
    field("handler", "handler", "The device or service that answered. '-' means nobody claimed it: reads give all ones, writes go nowhere, and an event says so."),
    field("cost", "cost", "Host time from exit to entry. '-' where it was not measured, as in batch runs, which must repeat exactly."),
    field("dt", "time since the exit before", "Virtual time: one instruction is a nanosecond, HLT jumps ahead."),
    field("share", "share of exits", "How much of all exits this reason makes. What dominates is where a monitor gains: fewer exits, not faster ones."),
  ]
}
