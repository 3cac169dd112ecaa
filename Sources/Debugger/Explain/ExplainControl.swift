/// Control registers and EFER (SDM 3A 2.5, 2.2.1).
enum ExplainControl {
  static let entries: [ExplainEntry] = cr0.entries + cr3.entries + cr4.entries + efer.entries + others

  private static let others: [ExplainEntry] = [
    ExplainEntry(
      "cr2", [], title: "CR2: page-fault linear address",
      "The processor puts the address that faulted here before it delivers #PF; the handler reads it to know what to map. "
        + "It stays until the next fault.", "SDM 3A 2.5", reading: .bits),
    ExplainEntry(
      "cr8", ["tpr"], title: "CR8: task priority",
      "The local APIC's task-priority class (TPR bits 7:4): interrupts of this class and below wait. It is there in 64-bit "
        + "mode only; access exits (reason 28) unless the TPR is shadowed.", "SDM 3A 11.8.6", reading: .bits),
    ExplainEntry(
      "xcr0", [], title: "XCR0: enabled extended state",
      "Which state XSAVE handles and which instructions work: bit 0 x87 (always 1), 1 SSE, 2 AVX. Written by XSETBV, "
        + "which always exits (reason 55).", "SDM 1 13.3", reading: .bits),
  ]

  static let cr0 = ExplainRegister(
    name: "cr0", shown: "CR0", title: "operating mode",
    rule: "Protection, paging, caches and FPU are switched here. MOV to CR0 is privileged; under VT-x the bits in the "
      + "guest/host mask exit (reason 28) and reads of them give the read shadow.",
    section: "SDM 3A 2.5",
    bits: [
      ExplainRegister.bit(0, "pe", "protection enable", "Segments become descriptors and rings exist. A far jump must follow at once, to load CS.", zero: "real mode: selector times 16 is the base", one: "protected mode: segments come from the GDT"),
      ExplainRegister.bit(1, "mp", "monitor coprocessor", "Whether WAIT and FWAIT raise #NM too while TS is set.", zero: "WAIT ignores TS", one: "WAIT honours TS"),
      ExplainRegister.bit(2, "em", "emulate FPU", "There is no FPU: x87 instructions raise #NM and SSE ones #UD.", zero: "the FPU may be used", one: "x87 raises #NM, SSE #UD"),
      ExplainRegister.bit(3, "ts", "task switched", "Set by a hardware task switch: the next FPU or SSE instruction raises #NM, so that the kernel saves FPU state only when needed. CLTS clears it.", zero: "the FPU's state is this task's", one: "the next FPU instruction raises #NM"),
      ExplainRegister.bit(4, "et", "extension type", "387 present; hard-wired to 1 since the Pentium Pro.", zero: "no 387 (not possible today)", one: "as always"),
      ExplainRegister.bit(5, "ne", "numeric error", "How x87 errors are reported: by exception, or through FERR# and IRQ 13 as on a PC/AT.", zero: "through IRQ 13", one: "as exception #MF"),
      ExplainRegister.bit(16, "wp", "write protect", "Whether ring 0 honours read-only pages; copy-on-write inside a kernel needs it.", zero: "ring 0 writes read-only pages", one: "ring 0 faults on read-only pages"),
      ExplainRegister.bit(18, "am", "alignment mask", "Allows RFLAGS.AC to switch alignment checks on in ring 3.", zero: "AC checks no alignment", one: "AC decides"),
      ExplainRegister.bit(29, "nw", "not write-through", "With CD set, stops write-through and snooping. CD=0 with NW=1 is no valid pair and raises #GP.", zero: "write-back or write-through as usual", one: "caches are not kept coherent"),
      ExplainRegister.bit(30, "cd", "cache disable", "No new lines are brought into the caches. Set after a reset; a guest's setting matters to a monitor only with devices passed through.", zero: "caching is on", one: "caching is off"),
      ExplainRegister.bit(31, "pg", "paging", "Linear addresses go through the tables CR3 points to. Needs PE; with EFER.LME it enters long mode.", zero: "linear addresses are physical", one: "linear addresses are translated"),
    ])

  static let cr3 = ExplainRegister(
    name: "cr3", shown: "CR3", aliases: ["pdbr"], title: "root of the page tables",
    rule: "Physical address of the topmost table (PML4, PDPT or page directory). Loading it drops the translations of the "
      + "TLB that are not global; with shadow paging every load exits.",
    section: "SDM 3A 4.5.2",
    bits: [
      ExplainRegister.bit(3, "pwt", "page-level write-through", "Memory type of the topmost table.", zero: "write-back", one: "write-through"),
      ExplainRegister.bit(4, "pcd", "page-level cache disable", "Whether the topmost table is cached.", zero: "cached", one: "not cached"),
      ExplainRegister.field(0, 12, "pcid", "process-context identifier", "With CR4.PCIDE, tags translations so that a switch of CR3 need not drop them; bit 63 of the written value keeps the TLB."),
      ExplainRegister.field(12, 40, "base", "page frame of the table", "Frame number: times 4096 it is the table's address. In PAE paging bits 31:5 are the address of four PDPTEs."),
    ])

  static let cr4 = ExplainRegister(
    name: "cr4", shown: "CR4", title: "architectural extensions",
    rule: "Each bit lets the system use an extension; setting one CPUID does not have raises #GP. Under VT-x the bits in "
      + "the guest/host mask exit (reason 28), VMXE always among them.",
    section: "SDM 3A 2.5",
    bits: [
      ExplainRegister.bit(0, "vme", "virtual-8086 extensions", "Interrupt redirection and a virtual IF for virtual-8086 tasks.", zero: "off", one: "on: VIF and VIP work"),
      ExplainRegister.bit(1, "pvi", "protected-mode virtual interrupts", "A virtual IF (VIF) for ring 3 in protected mode.", zero: "off", one: "CLI and STI in ring 3 change VIF"),
      ExplainRegister.bit(2, "tsd", "time stamp disable", "RDTSC and RDTSCP only in ring 0. Without it the TSC is a sensitive register every ring can read.", zero: "every ring may read the TSC", one: "RDTSC outside ring 0 raises #GP"),
      ExplainRegister.bit(3, "de", "debugging extensions", "Breakpoints on ports, and DR4 and DR5 raise #UD.", zero: "DR4 and DR5 are DR6 and DR7", one: "I/O breakpoints work"),
      ExplainRegister.bit(4, "pse", "page size extensions", "4 MiB pages in 32-bit paging; PAE and 4-level paging have large pages without it.", zero: "32-bit paging has 4 KiB pages only", one: "a PDE with PS maps 4 MiB"),
      ExplainRegister.bit(5, "pae", "physical address extension", "8-byte entries and addresses beyond 4 GiB. Long mode needs it.", zero: "4-byte entries", one: "8-byte entries"),
      ExplainRegister.bit(6, "mce", "machine-check enable", "Machine checks raise #MC; without it they shut the processor down.", zero: "a machine check is a shutdown", one: "a machine check is #MC"),
      ExplainRegister.bit(7, "pge", "global pages", "Translations with G set survive a load of CR3. Changing this bit drops the whole TLB.", zero: "G is ignored", one: "G keeps translations"),
      ExplainRegister.bit(8, "pce", "performance counters", "RDPMC in every ring.", zero: "RDPMC is ring 0's", one: "every ring may RDPMC"),
      ExplainRegister.bit(9, "osfxsr", "FXSAVE support", "The system saves SSE state: SSE instructions are allowed.", zero: "SSE raises #UD", one: "SSE works"),
      ExplainRegister.bit(10, "osxmmexcpt", "SIMD exceptions", "The system handles #XM.", zero: "unmasked SIMD errors raise #UD", one: "unmasked SIMD errors raise #XM"),
      ExplainRegister.bit(11, "umip", "user-mode instruction prevention", "SGDT, SIDT, SLDT, STR and SMSW fault outside ring 0: closes five of x86's sensitive, unprivileged holes.", zero: "every ring can see the machine's tables", one: "they raise #GP outside ring 0"),
      ExplainRegister.bit(12, "la57", "5-level paging", "57-bit linear addresses through a fifth level.", zero: "48 bits, 4 levels", one: "57 bits, 5 levels"),
      ExplainRegister.bit(13, "vmxe", "VMX enable", "VMXON is allowed. A guest that wants it is a monitor itself.", zero: "VMX instructions raise #UD", one: "VMXON may be executed"),
      ExplainRegister.bit(14, "smxe", "SMX enable", "GETSEC is allowed.", zero: "GETSEC raises #UD", one: "GETSEC may be executed"),
      ExplainRegister.bit(16, "fsgsbase", "FS and GS base instructions", "RDFSBASE and its kin in every ring.", zero: "they raise #UD", one: "every ring may move its bases"),
      ExplainRegister.bit(17, "pcide", "process-context identifiers", "CR3 bits 11:0 tag translations. Long mode only.", zero: "no tags", one: "translations are tagged"),
      ExplainRegister.bit(18, "osxsave", "XSAVE enable", "XSAVE, XGETBV and XSETBV work, and CPUID says so.", zero: "they raise #UD", one: "they work"),
      ExplainRegister.bit(20, "smep", "supervisor execution prevention", "Ring 0 cannot execute code on user pages.", zero: "it can", one: "a fetch from a user page is #PF"),
      ExplainRegister.bit(21, "smap", "supervisor access prevention", "Ring 0 cannot touch user pages unless RFLAGS.AC is set.", zero: "it can", one: "an access with AC clear is #PF"),
      ExplainRegister.bit(22, "pke", "protection keys", "PKRU adds rights by key to user pages.", zero: "keys are ignored", one: "PKRU is honoured"),
    ])

  static let efer = ExplainRegister(
    name: "efer", shown: "EFER", aliases: ["ia32_efer", "msr.efer", "msr.ia32_efer"], title: "extended feature enables (MSR C0000080h)",
    rule: "SYSCALL, long mode and no-execute. LME with CR0.PG enters long mode and sets LMA; the guest cannot clear LME "
      + "while paging is on.",
    section: "SDM 3A 2.2.1",
    bits: [
      ExplainRegister.bit(0, "sce", "SYSCALL enable", "SYSCALL and SYSRET work, by STAR, LSTAR and FMASK.", zero: "SYSCALL raises #UD", one: "SYSCALL enters ring 0 at LSTAR"),
      ExplainRegister.bit(8, "lme", "long mode enable", "Setting CR0.PG then activates long mode. Needs CR4.PAE.", zero: "paging stays 32-bit or PAE", one: "paging means long mode"),
      ExplainRegister.bit(10, "lma", "long mode active", "Set by the processor when LME and PG are; which submode runs, the code segment's L bit says.", zero: "not in long mode", one: "in long mode"),
      ExplainRegister.bit(11, "nxe", "no-execute enable", "Bit 63 of page-table entries forbids execution; without it that bit is reserved.", zero: "bit 63 must be 0", one: "NX pages cannot be executed"),
    ])
}
