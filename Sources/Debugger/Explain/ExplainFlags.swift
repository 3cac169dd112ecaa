/// RFLAGS, general registers and the instruction pointer (SDM 1 3.4).
enum ExplainFlags {
  static let entries: [ExplainEntry] = rflags.entries + pointers + general

  static let rflags = ExplainRegister(
    name: "rflags", shown: "RFLAGS", aliases: ["eflags", "flags", "fl"], title: "status, control and system flags",
    rule: "Arithmetic sets the status flags (OF SF ZF AF PF CF); IF, IOPL, TF and the upper ones belong to the system. "
      + "POPF outside ring 0 silently leaves IF and IOPL alone, the classic hole in trap and emulate.",
    section: "SDM 1 3.4.3",
    bits: [
      ExplainRegister.bit(
        0, "cf", "carry flag", "Carry or borrow out of the highest bit of an unsigned result; also the last bit shifted out.",
        zero: "no unsigned carry or borrow", one: "the last result carried or borrowed; JB and ADC see it"),
      ExplainRegister.bit(
        2, "pf", "parity flag", "Set where the result's lowest byte has an even number of ones. Only that byte counts.",
        zero: "odd parity in the low byte", one: "even parity in the low byte"),
      ExplainRegister.bit(
        4, "af", "auxiliary carry", "Carry or borrow out of bit 3, for the decimal adjust instructions.",
        zero: "no carry out of bit 3", one: "carry out of bit 3"),
      ExplainRegister.bit(
        6, "zf", "zero flag", "Set where the result is zero; CMP and TEST set it for 'equal' and 'no common bit'.",
        zero: "the last result was not zero; JNE jumps", one: "the last result was zero; JE jumps"),
      ExplainRegister.bit(
        7, "sf", "sign flag", "A copy of the result's highest bit, which is its sign.",
        zero: "the last result was not negative", one: "the last result was negative as a signed number"),
      ExplainRegister.bit(
        8, "tf", "trap flag", "With it set a debug exception (#DB, DR6.BS) follows every instruction: single stepping by the guest itself.",
        zero: "the guest does not step itself", one: "#DB after the next instruction"),
      ExplainRegister.bit(
        9, "if", "interrupt enable", "Whether external interrupts are taken. CLI and STI change it where CPL <= IOPL and #GP elsewhere; NMIs and exceptions do not ask it.",
        zero: "external interrupts wait (and HLT would wait for ever)", one: "external interrupts are taken between instructions"),
      ExplainRegister.bit(
        10, "df", "direction flag", "Whether string instructions (MOVS, STOS, ...) count their addresses up or down.",
        zero: "string instructions count up", one: "string instructions count down"),
      ExplainRegister.bit(
        11, "of", "overflow flag", "Set where a signed result does not fit: the sign came out wrong.",
        zero: "no signed overflow", one: "signed overflow in the last result; JO jumps"),
      ExplainRegister.field(
        12, 2, "iopl", "I/O privilege level", "The least privileged ring that may use IN, OUT, CLI and STI without asking; other rings need the TSS's I/O bitmap for ports.",
        ["only ring 0", "rings 0 and 1", "rings 0 to 2", "every ring, so none of these trap"]),
      ExplainRegister.bit(
        14, "nt", "nested task", "Set by a task switch through CALL, an interrupt or an exception: IRET then goes back to the task the TSS links to.",
        zero: "IRET returns by the stack", one: "IRET switches back to the linked task (#GP in 64-bit mode)"),
      ExplainRegister.bit(
        16, "rf", "resume flag", "Switches instruction breakpoints (DR0 to DR3) off for one instruction, so that a handler can return to the one that hit.",
        zero: "instruction breakpoints work", one: "the next instruction hits no breakpoint of the guest's"),
      ExplainRegister.bit(
        17, "vm", "virtual-8086 mode", "In 32-bit protected mode, runs real-mode code in ring 3 under paging; privileged instructions fault to ring 0, the oldest virtualization x86 has.",
        zero: "not virtual-8086", one: "virtual-8086 mode: segments count 16 bytes, CPL is 3"),
      ExplainRegister.bit(
        18, "ac", "alignment check, access control", "With CR0.AM, misaligned ring 3 data accesses raise #AC. With CR4.SMAP, lets ring 0 touch user pages (STAC, CLAC).",
        zero: "no alignment checks; SMAP holds", one: "alignment is checked in ring 3; SMAP is off for ring 0"),
      ExplainRegister.bit(
        19, "vif", "virtual interrupt flag", "The IF a virtual-8086 task or a PVI program sees with CR4.VME or CR4.PVI.",
        zero: "the task has interrupts off", one: "the task has interrupts on"),
      ExplainRegister.bit(
        20, "vip", "virtual interrupt pending", "Set by the system to tell a task with VIF clear that an interrupt waits; the task's STI then raises #GP.",
        zero: "none waits", one: "one waits for the task"),
      ExplainRegister.bit(
        21, "id", "CPUID present", "A program that can change this bit may use CPUID. It means nothing else.",
        zero: "as last written", one: "as last written"),
    ])

  private static let pointers: [ExplainEntry] = [
    ExplainEntry(
      "rip", ["eip", "ip", "pc"], title: "RIP: instruction pointer",
      "Offset of the next instruction in the code segment. Outside 64-bit mode CS.base is added to it (in real mode "
        + "selector times 16); the code pane shows offsets, breakpoints hold linear addresses.",
      "SDM 1 3.5", reading: .bits),
    ExplainEntry(
      "cpl", [], title: "CPL: current privilege level",
      "The ring the code runs in, 0 to 3, taken from SS's (and CS's) descriptor. Privileged instructions raise #GP "
        + "outside ring 0; that is what trap and emulate lives on.",
      "SDM 3A 5.5", reading: .field(0, width: 2, ["ring 0, the kernel", "ring 1", "ring 2", "ring 3, user code"])),
    ExplainEntry(
      "mode", ["real16", "v86", "prot16", "prot32", "compat16", "compat32", "long64"], title: "Processor mode",
      "CR0.PE, RFLAGS.VM, EFER.LMA and the code segment's L and D bits decide it: REAL16, V86, PROT16, PROT32, "
        + "COMPAT16 and COMPAT32 (32-bit code under a 64-bit kernel), LONG64.",
      "SDM 3A 2.2"),
  ]

  private static func general(_ name: String, _ aliases: [String], _ role: String) -> ExplainEntry {
    ExplainEntry(
      name, aliases, title: "\(name.uppercased()): general-purpose register",
      role + " A 32-bit write clears the upper half; 8- and 16-bit writes leave the rest alone.", "SDM 1 3.4.1",
      reading: .bits)
  }

  private static let general: [ExplainEntry] =
    [
      general("rax", ["eax", "ax", "al", "ah"], "Accumulator: results, multiplication and division, port I/O, CPUID's leaf, a system call's number."),
      general("rbx", ["ebx", "bx", "bl", "bh"], "Base: callee-saved in the usual calling convention; CPUID answers in it."),
      general("rcx", ["ecx", "cx", "cl", "ch"], "Counter of REP, LOOP and shifts; the MSR's number for RDMSR and WRMSR; SYSCALL puts the return address here."),
      general("rdx", ["edx", "dx", "dl", "dh"], "Data: upper half of products and of MSRs; DX names the port of IN and OUT."),
      general("rsi", ["esi", "si", "sil"], "Source of string instructions; second argument in the System V convention."),
      general("rdi", ["edi", "di", "dil"], "Destination of string instructions (always in ES); first argument in the System V convention."),
      general("rbp", ["ebp", "bp", "bpl", "fp"], "Frame pointer where code keeps one: the back-trace follows the chain it begins."),
      general("rsp", ["esp", "sp", "spl"], "Stack pointer: PUSH, CALL and interrupts count it down; the ring's own comes from the TSS."),
    ]
    + (8...15).map { number in
      general("r\(number)", ["r\(number)d", "r\(number)w", "r\(number)b"],
        number == 11
          ? "There only in 64-bit mode; SYSCALL puts RFLAGS here." : "There only in 64-bit mode (REX prefix).")
    }
}
