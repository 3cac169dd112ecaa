import Testing
import X86

@Suite("Names and formats")
struct NamesAndFormatsTests {
  @Test("every register's name leads back to it")
  func roundTrip() {
    #expect(RegisterNames.all.count == Set(RegisterNames.all).count)
    for name in RegisterNames.all {
      #expect(RegisterNames.lookup(name)?.name == name)
      #expect(RegisterNames.lookup("$" + name.uppercased())?.name == name)
    }
  }

  @Test(
    "the usual names are known",
    arguments: [
      ("al", "al"), ("AH", "ah"), ("sil", "sil"), ("r8d", "r8d"), ("r15b", "r15b"), ("eip", "eip"), ("ip", "ip"),
      ("rflags", "rflags"), ("zf", "zf"), ("if", "if"), ("iopl", "iopl"), ("cs", "cs"), ("gs.base", "gs_base"),
      ("cr3", "cr3"), ("dr7", "dr7"), ("efer", "efer"), ("st(3)", "st3"), ("xmm15", "xmm15"), ("%rax", "rax"),
      ("pc", "rip"), ("mxcsr", "mxcsr"), ("kernel_gs_base", "kernel_gs_base"),
    ])
  func known(_ typed: String, _ name: String) { #expect(RegisterNames.lookup(typed)?.name == name) }

  @Test("what is no register is none", arguments: ["", "$", "rxx", "cr1", "dr4", "r16", "xmm16", "st8"])
  func unknown(_ typed: String) { #expect(RegisterNames.lookup(typed) == nil) }

  @Test(
    "MSRs by name and number",
    arguments: [
      (MSR.efer, "IA32_EFER"), (MSR.apicBase, "IA32_APIC_BASE"), (0x80B, "IA32_X2APIC_EOI"),
      (0x203, "IA32_MTRR_PHYSMASK1"),
      (0x401, "IA32_MC0_STATUS"), (0xC1, "IA32_PMC0"),
    ])
  func msr(_ index: UInt32, _ name: String) { #expect(MSR.name(index) == name) }

  @Test("MSRs are found by name")
  func msrIndex() {
    #expect(MSR.index(named: "efer") == MSR.efer)
    #expect(MSR.index(named: "IA32_LSTAR") == MSR.lstar)
    #expect(MSR.index(named: "nonsense") == nil)
    #expect(MSR.text(0x1234_5678) == "MSR 0x12345678")
    for index in UInt32(0)..<0x2000 { _ = MSR.name(index) }
  }

  @Test("CPUID leaves have names")
  func cpuid() {
    #expect(CPUIDLeaf.name(1) == "version and features")
    #expect(CPUIDLeaf.name(0xD, subleaf: 1) == "XSAVE state, subleaf 1")
    #expect(CPUIDLeaf.name(0x4000_0001) == "hypervisor features")
    #expect(CPUIDLeaf.name(0x9999_9999) == nil)
  }

  @Test(
    "descriptors in words",
    arguments: [
      (0x00CF_9A00_0000_FFFF, false, "32-bit code R/X"), (0x00CF_9300_0000_FFFF, false, "32-bit data RW A"),
      (0x00AF_9B00_0000_FFFF, true, "64-bit code R/X A"),
      (0x0000_9700_0000_0FFF, false, "16-bit expand-down data RW A"),
      (0x0000_8B00_1000_0067, false, "TSS 32 busy"), (0x0000_8900_1000_0067, true, "TSS 64 available"),
      (0x0000_8E00_0008_1234, false, "interrupt gate 32"), (0x0000_8F00_0008_1234, true, "trap gate 64"),
      (0x0000_EC02_0008_1234, false, "call gate 32"), (0x0000_8500_0028_0000, false, "task gate"),
      (0x0000_8200_1000_00FF, false, "LDT"), (0, false, "null"), (0x0000_8100_0000_0000, true, "reserved type 1"),
    ] as [(UInt64, Bool, String)])
  func descriptor(_ raw: UInt64, _ longMode: Bool, _ text: String) {
    #expect(Descriptor(raw, longMode: longMode).typeText == text)
  }

  @Test("a 16-byte gate has all its offset")
  func wideGate() {
    let gate = Descriptor(0x8123_EE05_0010_4567, high: 0xFFFF_FFFF, longMode: true)
    #expect(gate.offset == 0xFFFF_FFFF_8123_4567)
    #expect(gate.size == 16 && gate.ist == 5 && gate.selector == 0x10 && gate.dpl == 3 && gate.present)
  }

  @Test("base and limit come together from their pieces")
  func segment() {
    let descriptor = Descriptor(0x12CF_9334_5678_FFFE, longMode: false)
    #expect(descriptor.base == 0x1234_5678)
    #expect(descriptor.limit == 0xFFFF_EFFF)
    #expect(descriptor.accessRights == 0xC093)
    #expect(Descriptor(0x0040_9300_0000_FFFE, longMode: false).limit == 0xFFFE)
  }

  @Test(
    "the paging mode follows from three registers",
    arguments: [
      (CR0.pe, 0, 0, PagingMode.none), (CR0.pe | CR0.pg, 0, 0, .bits32), (CR0.pe | CR0.pg, CR4.pae, 0, .pae),
      (CR0.pe | CR0.pg, CR4.pae, EFER.lma | EFER.lme, .level4), (CR0.pg, 0, 0, .none),
    ] as [(UInt64, UInt64, UInt64, PagingMode)])
  func paging(_ cr0: UInt64, _ cr4: UInt64, _ efer: UInt64, _ mode: PagingMode) {
    #expect(PagingMode(cr0: cr0, cr4: cr4, efer: efer) == mode)
  }

  @Test("page entries in words")
  func entries() {
    #expect(PageEntry.text(0, leaf: true, pte: true) == "not present")
    #expect(PageEntry.text(0x83, leaf: true, pte: false) == "P RW SV PS")
    #expect(PageEntry.text(0x8000_0000_0000_0165, leaf: true, pte: true) == "P RO US A D G NX")
  }
}
