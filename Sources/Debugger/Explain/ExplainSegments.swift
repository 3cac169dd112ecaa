/// Segment registers, selectors and descriptors (SDM 3A 3.4, 3.5, 6.11).
enum ExplainSegments {
  static let entries: [ExplainEntry] = registers + access.entries + selector.entries + kinds + tables

  private static func register(_ name: String, _ aliases: [String], _ role: String) -> ExplainEntry {
    ExplainEntry(
      name, aliases, title: "\(name.uppercased()): segment register",
      role + " Base, limit and rights were cached when the selector was loaded: a change of the table shows only at the "
        + "next load.", "SDM 3A 3.4.3")
  }

  private static let registers: [ExplainEntry] = [
    register("cs", [], "Code: where RIP counts from, default operand size (D), 64-bit code (L); its RPL is the CPL."),
    register("ss", [], "Stack: RSP counts in it; its DPL is the CPL."),
    register("ds", [], "Data: what memory operands use unless they say otherwise. Base 0 in 64-bit mode."),
    register("es", [], "Extra: destination of string instructions. Base 0 in 64-bit mode."),
    register("fs", [], "Keeps its base in 64-bit mode (IA32_FS_BASE): user thread-local data."),
    register("gs", [], "Keeps its base in 64-bit mode (IA32_GS_BASE); SWAPGS brings the kernel's."),
    register("tr", [], "Task register: the TSS with the stacks of rings 0 to 2, the IST and the I/O bitmap."),
    register("ldtr", ["ldt"], "The local descriptor table, for selectors with TI set."),
  ]

  static let access = ExplainRegister(
    name: "segment", shown: "Access rights", aliases: ["access"], title: "what a segment is and who may use it",
    rule: "The rights of a segment as a VMCS holds them: type, S, DPL, P, AVL, L, D/B, G, and whether it is unusable.",
    section: "SDM 3A 3.4.5",
    bits: [
      ExplainRegister.bit(0, "a", "accessed", "The processor sets it in the table when it loads a code or data segment.", zero: "not loaded since it was cleared", one: "was loaded"),
      ExplainRegister.bit(1, "rw", "readable or writable", "Code: may be read. Data: may be written.", zero: "code not readable, data read-only", one: "code readable, data writable"),
      ExplainRegister.bit(2, "ce", "conforming or expand-down", "Code: callable from less privileged rings without a gate. Data: the limit is the lower end.", zero: "ordinary", one: "conforming, or expand-down"),
      ExplainRegister.bit(3, "x", "executable", "Code or data.", zero: "data", one: "code"),
      ExplainRegister.bit(4, "s", "descriptor kind", "Code and data, or a system segment or gate.", zero: "system (TSS, LDT, gate)", one: "code or data"),
      ExplainRegister.field(5, 2, "dpl", "descriptor privilege level", "The least privileged ring that may use it.", ["ring 0", "ring 1", "ring 2", "ring 3"]),
      ExplainRegister.bit(7, "p", "present", "Loading a segment that is not present raises #NP (#SS for SS).", zero: "not present", one: "present"),
      ExplainRegister.bit(12, "avl", "available", "For software; the processor ignores it.", zero: "0", one: "1"),
      ExplainRegister.bit(13, "l", "64-bit code", "In long mode a code segment with it runs 64-bit code, others compatibility mode. D must be 0.", zero: "not 64-bit", one: "64-bit code"),
      ExplainRegister.bit(14, "db", "default size", "Code: 32-bit operands and addresses. Stack: ESP, not SP. Expand-down: the upper end is 4 GiB.", zero: "16 bits", one: "32 bits"),
      ExplainRegister.bit(15, "g", "granularity", "Whether the limit counts bytes or 4 KiB pages.", zero: "bytes, up to 1 MiB", one: "pages, up to 4 GiB"),
      ExplainRegister.bit(16, "unusable", "unusable", "Loaded with a null selector (or never): any use raises #GP or #SS outside 64-bit mode.", zero: "usable", one: "unusable"),
    ])

  static let selector = ExplainRegister(
    name: "selector", shown: "Selector", title: "names a descriptor",
    rule: "Index of an 8-byte entry, which table, and the ring it is asked for. 0 to 3 is null: it may sit in DS, ES, FS and "
      + "GS, and faults when used.", section: "SDM 3A 3.4.2",
    bits: [
      ExplainRegister.field(0, 2, "rpl", "requested privilege level", "The weaker of RPL and CPL counts in checks; in CS it is the CPL.", ["ring 0", "ring 1", "ring 2", "ring 3"]),
      ExplainRegister.bit(2, "ti", "table", "Which table the index is for.", zero: "GDT", one: "LDT"),
      ExplainRegister.field(3, 13, "index", "index", "Entry of the table; times 8 it is the offset."),
    ])

  private static func kind(_ name: String, _ aliases: [String] = [], _ title: String, _ rule: String, _ section: String) -> ExplainEntry {
    ExplainEntry("descriptor.\(name)", aliases, title: title, rule, section)
  }

  private static let kinds: [ExplainEntry] = [
    kind("code", [], "Code segment descriptor", "Base, limit, rights for code: readable (R), conforming (C), 16-, 32- or 64-bit (D, L). Long mode ignores base and limit.", "SDM 3A 3.4.5.1"),
    kind("data", [], "Data segment descriptor", "Base, limit, rights for data and stacks: writable (W), expand-down (E). 64-bit mode ignores all but FS's and GS's base.", "SDM 3A 3.4.5.1"),
    kind("ldt", [], "LDT descriptor", "Where a local descriptor table lies; LLDT loads it. Takes 16 bytes in long mode.", "SDM 3A 3.5"),
    kind("tss", ["tss"], "TSS descriptor", "Where a task state segment lies. LTR or a task switch marks it busy, so that a task cannot enter itself. 16 bytes in long mode.", "SDM 3A 8.2.2"),
    kind("callgate", ["callgate", "descriptor.call"], "Call gate", "A door to a more privileged ring for CALL and JMP far: target, DPL, number of parameters copied to the new stack.", "SDM 3A 5.8.3"),
    kind("taskgate", ["taskgate", "descriptor.task"], "Task gate", "Names a TSS: a call or interrupt through it switches tasks in hardware. Not in long mode.", "SDM 3A 8.2.5"),
    kind("interruptgate", ["interruptgate", "descriptor.interrupt"], "Interrupt gate", "Where an interrupt or exception goes; clears IF on the way. DPL says which rings may reach it by INT n; IST picks a stack in long mode.", "SDM 3A 6.11"),
    kind("trapgate", ["trapgate", "descriptor.trap"], "Trap gate", "As an interrupt gate, but IF stays as it was.", "SDM 3A 6.11"),
    kind("reserved", [], "Reserved descriptor type", "This type number means nothing here; using the descriptor raises #GP.", "SDM 3A table 3-2"),
    kind("ivt", ["ivt"], "Real-mode vector", "Four bytes at vector times 4: offset, then segment. No rights, no checks: an interrupt pushes FLAGS, CS, IP and jumps.", "SDM 3A 20.1.4"),
    kind("short", ["16r", "16x", "16w", "16o", "32r", "32x", "32w", "32o", "64r", "64x", "unusable"], "Segment type, in short", "Default size and rights: r readable code, x execute-only code, w writable data, o read-only data. 'unusable': a null selector was loaded.", "SDM 3A 3.4.5.1"),
    kind("ist", ["ist"], "Interrupt stack table", "In long mode a gate can name one of seven stacks of the TSS; 0 keeps the ring's own. Double faults and NMIs get one of their own.", "SDM 3A 6.14.5"),
    kind("base", [], "Segment base", "Added to every offset to make the linear address. 64-bit mode takes 0 for all but FS and GS.", "SDM 3A 3.4.5"),
    kind("limit", [], "Segment limit", "The last offset that may be used (of an expand-down segment the last that may not), bytes or pages by G. 64-bit mode does not look.", "SDM 3A 3.4.5"),
    kind("type", [], "Descriptor type", "Four bits: with S set code or data and what may be done with it, else which system segment or gate it is.", "SDM 3A 3.4.5.1 and table 3-2"),
    kind("null", [], "Null descriptor", "Entry 0 of the GDT is never used: a null selector stands for 'no segment'.", "SDM 3A 3.4.2"),
  ]

  private static let tables: [ExplainEntry] = [
    ExplainEntry("gdtr", ["gdt"], title: "GDTR: global descriptor table register", "Base and limit of the GDT. LGDT is privileged; SGDT is not, and shows the machine's table to every ring unless CR4.UMIP.", "SDM 3A 2.4.1"),
    ExplainEntry("idtr", ["idt"], title: "IDTR: interrupt descriptor table register", "Base and limit of the IDT: 8-byte gates, 16-byte ones in long mode; in real mode the table of vectors at 0, 4 bytes each.", "SDM 3A 2.4.3"),
  ]
}
