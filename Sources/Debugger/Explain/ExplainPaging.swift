/// Paging structures and address spaces (SDM 3A 4).
enum ExplainPaging {
  static let entries: [ExplainEntry] = entry.entries + levels + spaces

  static let entry = ExplainRegister(
    name: "pte", shown: "Page-table entry", aliases: ["pagetable"], title: "one step of the page walk",
    rule: "Each level's entry points to the next table or, where it is the last (a PTE, or PS set), to the page. Rights are "
      + "the AND of all levels, NX the OR.", section: "SDM 3A 4.5 tables 4-15 to 4-20",
    bits: [
      ExplainRegister.bit(0, "p", "present", "Without it all other bits are the system's own, often where on disk the page is.", zero: "not present: an access is #PF", one: "present"),
      ExplainRegister.bit(1, "rw", "writable", "Every level must have it for a write by ring 3; ring 0 is held to it by CR0.WP.", zero: "read-only below here", one: "writable as far as this level goes"),
      ExplainRegister.bit(2, "us", "user", "Every level must have it for any access by ring 3.", zero: "supervisor only", one: "ring 3 may, as far as this level goes"),
      ExplainRegister.bit(3, "pwt", "write-through", "With PCD and PAT it picks the memory type.", zero: "write-back (unless PAT says else)", one: "write-through"),
      ExplainRegister.bit(4, "pcd", "cache disable", "With PWT and PAT it picks the memory type; set for device registers.", zero: "cached", one: "not cached"),
      ExplainRegister.bit(5, "a", "accessed", "The processor sets it when a walk uses the entry; systems clear it to find cold pages.", zero: "not used since it was cleared", one: "was used"),
      ExplainRegister.bit(6, "d", "dirty", "The processor sets it at the first write through a last-level entry.", zero: "not written since it was cleared", one: "was written"),
      ExplainRegister.bit(7, "ps", "page size (PAT in a PTE)", "In a PDE or PDPTE: this entry maps the page itself, 2 or 4 MiB or 1 GiB. In a PTE it is the third PAT bit.", zero: "points to a table", one: "maps a large page (PTE: PAT)"),
      ExplainRegister.bit(8, "g", "global", "With CR4.PGE the translation survives a load of CR3.", zero: "dropped with CR3", one: "stays"),
      ExplainRegister.field(12, 40, "frame", "page frame", "Times 4096: guest-physical address of the table or page. Bits beyond the processor's address width are reserved."),
      ExplainRegister.bit(63, "nx", "no execute", "With EFER.NXE, fetches through it fault; without it the bit is reserved.", zero: "may be executed", one: "a fetch is #PF"),
    ])

  private static let levels: [ExplainEntry] = [
    ExplainEntry("pml4e", [], title: "PML4E: top level of 4-level paging", "Indexed by bits 47:39 of the linear address; each covers 512 GiB. CR3 points to the table.", "SDM 3A 4.5.4"),
    ExplainEntry("pdpte", [], title: "PDPTE: page-directory-pointer entry", "Bits 38:30 (bits 31:30 in PAE, where the four are loaded with CR3); covers 1 GiB, and maps it whole with PS in long mode.", "SDM 3A 4.4.1, 4.5.4"),
    ExplainEntry("pde", [], title: "PDE: page-directory entry", "Bits 29:21 (31:22 in 32-bit paging); covers 2 MiB (4 MiB), and maps it whole with PS.", "SDM 3A 4.3, 4.5.4"),
    ExplainEntry("walk", ["pagewalk"], title: "Page walk", "From CR3 down: each level takes 9 bits of the address (10 in 32-bit paging) as index; the last 12 are the offset in the page. The TLB remembers the result, so a changed table shows only after INVLPG or CR3.", "SDM 3A 4.5"),
  ]

  private static let spaces: [ExplainEntry] = [
    ExplainEntry("gva", ["linear"], title: "GVA: guest-virtual (linear) address", "What the program's pointers are after segmentation and before the guest's page tables.", "SDM 3A 3.1"),
    ExplainEntry("gpa", ["physical"], title: "GPA: guest-physical address", "What the guest takes for its memory bus: after its page tables. The monitor puts RAM, ROM or a device behind each page (EPT in hardware).", "SDM 3C 29.3"),
    ExplainEntry("hva", ["hostaddress"], title: "HVA: host-virtual address", "Where in this process the byte lies that backs the guest's: for a debugger on the monitor itself.", "Ringside"),
    ExplainEntry("unreadable", ["unmapped"], title: "Unreadable memory", "No page is mapped there, or no RAM lies behind it. Reading device registers would change them, so the debugger does not.", "Ringside"),
  ]
}
