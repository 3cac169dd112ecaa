import VMCore

/// Words of Xen's paravirtual interface.
enum ExplainXen {
  static let entries: [ExplainEntry] = words + calls

  private static let words: [ExplainEntry] = [
    entry("mfn", "a machine frame's number", "The real number of a 4 KiB frame. Page tables of a paravirtual guest hold these, so that the processor can walk them without a second translation."),
    entry("pfn", "a pseudo-physical frame's number", "The guest's own number for a frame, from 0 on. P2M turns it into the machine frame, M2P back; never equal here, so that a mix-up shows."),
    entry("owner", "whose frame it is", "domain: the guest's. shared: the monitor's, lent to the guest. monitor: nothing the guest's tables may refer to."),
    entry("references", "what keeps a frame's type", "Writable mappings, table entries, roots in use and pins that need the type. Only at 0 may a frame become something else."),
    entry("pinned", "a table kept validated", "The guest asked (mmuext_op pin) to keep the table valid though nothing refers to it yet; unpinning lets it become an ordinary page again."),
    entry("writable", "an ordinary page", "Mapped writable somewhere, or may be. While it is, it cannot be a page table: otherwise the guest could write entries nobody checks."),
    entry("l1", "a last-level page table", "Validated: each entry maps a frame of the domain, and no table is mapped writable. Writes that fault are checked and carried out by the monitor."),
    entry("l2", "a page directory", "Validated: its entries refer to L1 tables.", also: ["l3"]),
    entry("l4", "a root of page tables", "Validated, with the monitor's own slots 256 to 271 in place. CR3 may only be loaded (mmuext_op new base) with such a frame."),
    entry("port", "an event channel", "A bit pair in shared_info: the monitor sets pending, the guest's upcall looks and clears. It takes the place of an interrupt line."),
    entry("pending", "an event waits", "The port's bit in shared_info. With the mask bit 0 it makes upcall_pending 1, and the monitor calls the guest's event callback."),
    entry("mask", "an event is held back", "The guest's own bit: events are noted, but nobody is called. Unmasking asks the monitor to look.", also: ["masked"]),
    entry("virq", "a virtual interrupt", "An event of the monitor's own, such as the timer (virq 0), bound to a port by event_channel_op.bind_virq."),
    entry("upcall", "the monitor calls the guest", "Delivery of events: a frame on the kernel's stack, as an interrupt would make, at the address registered by callback_op."),
    entry("start_info", "what the guest is told at its start", "A page with the domain's size, frame lists, console and store rings, and its command line; RSI points to it."),
    entry("shared_info", "the page both write", "Event bits, the vCPU's mask and CR2, and clock values: reading them costs no hypercall."),
    entry("iopl", "who may use ports", "A privilege of the domain (physdev_op.set_iopl). Ports read as all ones: the domain owns no devices."),
  ]

  private static let calls: [ExplainEntry] = [
    entry("mmu_update", "changes page-table entries", "An array of {machine address, value}: each is checked against the frames' types and owners, then written by the monitor."),
    entry("mmuext_op", "pins, loads roots, flushes", "Operations on page tables that are no entry updates: pin and unpin, new base (CR3), TLB flushes, the LDT."),
    entry("update_va_mapping", "changes the entry that maps an address", "As mmu_update, but the monitor finds the L1 entry by the linear address.", also: ["update_va_mapping_otherdomain"]),
    entry("multicall", "several hypercalls in one", "An array of calls with their results: one way in and out for all of them. Its entries stand before it, marked with a bar."),
    entry("set_trap_table", "registers exception handlers", "The paravirtual IDT: vector, ring that may INT, code segment and address. Traps come as frames on the kernel's stack."),
    entry("stack_switch", "the kernel's stack for traps", "What TSS.RSP0 is on a machine of one's own."),
    entry("event_channel_op", "event channels", "Binds, sends, closes and unmasks ports."),
    entry("sched_op", "yields, blocks, ends", "block waits for an event, as HLT would; shutdown ends the domain with a reason."),
    entry("vcpu_op", "vCPUs and their timers", "Registers where their state is shown, and sets the one-shot timer."),
    entry("console_io", "the monitor's own console", "Text for the monitor's log; refused with -1 as release builds of Xen do, so the guest goes on to its console ring."),
    entry("set_gdt", "registers descriptor pages", "Frames become descriptor pages: checked, and no longer writable by the guest."),
    entry("iret", "returns from a trap", "Takes a frame from the stack, and may switch from the kernel to a program, which in 64-bit mode means other page tables."),
    entry("set_callbacks", "registers the kernel's entries", "Where events, failed returns and, in 64-bit mode, SYSCALL of programs arrive. The older form of callback_op."),
    entry("callback_op", "registers the kernel's entries", "One at a time: event (the upcall), failsafe (a return that faulted), syscall and sysenter of programs, nmi."),
    entry("fpu_taskswitch", "sets or clears CR0.TS", "So that a kernel may save FPU state late: the next FPU instruction raises #NM, as with MOV to CR0."),
    entry("set_debugreg", "writes a debug register", "Checked first: a breakpoint at the monitor's addresses is refused.", also: ["get_debugreg"]),
    entry("update_descriptor", "changes one descriptor", "GDT and LDT pages are read-only to the guest; the monitor checks the eight bytes (no ring 0, no gate) and writes them."),
    entry("memory_op", "gives frames back, asks for others, asks for the map", "decrease_reservation, increase_reservation, populate_physmap, memory_map (what E820 is on a PC), machphys_mapping."),
    entry("set_timer_op", "sets the one-shot timer", "At this system time in ns the virtual interrupt of the timer comes; 0 turns it off."),
    entry("grant_table_op", "lends frames to other domains", "The guest writes entries (frame, domain, rights) into its grant table; a driver on the other side maps or copies by their numbers."),
    entry("vm_assist", "turns conveniences on", "Such as writable page tables: a write to a table faults, and the monitor checks and carries it out."),
    entry("set_segment_base", "writes a segment's base", "FS, the program's GS, the kernel's GS: what MSRs are on a machine of one's own; also the program's GS selector."),
    entry("physdev_op", "ports, interrupts, I/O privilege", "set_iopl is what a domain without devices uses; the rest is for domains that own some."),
    entry("xen_version", "asks who the monitor is", "Version and features. Linux also calls it to have waiting events delivered."),
  ]

  private static func entry(_ name: String, _ title: String, _ rule: String, also: [String] = []) -> ExplainEntry {
    ExplainEntry("xen.\(name)", also.map { "xen.\($0)" }, title: "Xen: \(title)", rule, "Xen public headers; Barham et al. 2003")
  }
}
