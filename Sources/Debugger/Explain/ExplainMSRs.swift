/// Model-specific registers this machine has (SDM 4 chapter 2).
enum ExplainMSRs {
  private static func msr(_ name: String, _ number: String, _ aliases: [String] = [], _ title: String, _ rule: String) -> ExplainEntry {
    ExplainEntry(
      "msr.\(name)", ["ia32_\(name)", "msr.ia32_\(name)"] + aliases, title: "IA32_\(name.uppercased()), MSR \(number): \(title)", rule, "SDM 4 table 2-2",
      reading: .bits)
  }

  static let entries: [ExplainEntry] = [
    msr("time_stamp_counter", "10h", ["tsc"], "time-stamp counter", "Counts at a constant rate; here 1 GHz of virtual time, one tick for each instruction. A monitor adds an offset instead of catching RDTSC."),
    msr("tsc_offset", "(VMCS)", ["tsc_offset"], "TSC offset", "What is added to virtual time when the guest reads its TSC: a VMCS field, not an MSR the guest can see."),
    msr("apic_base", "1Bh", ["apicbase"], "local APIC base and mode", "Bits 35:12 address, 11 enable, 10 x2APIC, 8 bootstrap processor. Moving it moves the APIC's registers in memory."),
    msr("feature_control", "3Ah", [], "feature control", "Locked by firmware: whether VMXON is allowed inside and outside SMX."),
    msr("tsc_adjust", "3Bh", [], "TSC adjustment", "Added to the TSC; lets systems find out who moved it."),
    msr("bios_sign_id", "8Bh", [], "microcode revision", "The loaded microcode update's revision, in the upper half."),
    msr("mtrrcap", "FEh", [], "MTRR capabilities", "How many variable ranges there are and whether fixed ones."),
    msr("sysenter_cs", "174h", ["sysenter_cs"], "SYSENTER code segment", "Selector SYSENTER loads CS with; SS is the next entry. 0 makes SYSENTER #GP."),
    msr("sysenter_esp", "175h", ["sysenter_esp"], "SYSENTER stack", "RSP SYSENTER loads."),
    msr("sysenter_eip", "176h", ["sysenter_eip"], "SYSENTER entry", "RIP SYSENTER jumps to."),
    msr("misc_enable", "1A0h", [], "miscellaneous enables", "Fast strings, MONITOR, CPUID limit and the like."),
    msr("debugctl", "1D9h", [], "debug control", "Last-branch recording and single step by branches (BTF)."),
    msr("pat", "277h", ["pat"], "page attribute table", "Eight memory types, picked by PAT, PCD and PWT of a page-table entry."),
    msr("tsc_deadline", "6E0h", [], "APIC timer deadline", "The TSC value at which the local APIC's timer fires in TSC-deadline mode; 0 disarms it."),
    msr("star", "C0000081h", ["star"], "SYSCALL segments", "Bits 47:32: CS and SS of SYSCALL; 63:48: those of SYSRET."),
    msr("lstar", "C0000082h", ["lstar"], "SYSCALL entry, 64-bit", "Where SYSCALL from 64-bit code enters the kernel: a good place for a breakpoint."),
    msr("cstar", "C0000083h", ["cstar"], "SYSCALL entry, compatibility", "The same from compatibility mode (AMD only)."),
    msr("fmask", "C0000084h", ["sfmask", "msr.sfmask"], "SYSCALL flag mask", "Bits of RFLAGS SYSCALL clears; IF is usually among them."),
    msr("fs_base", "C0000100h", ["fs_base"], "FS.base", "The base of FS in 64-bit mode: thread-local data."),
    msr("gs_base", "C0000101h", ["gs_base"], "GS.base", "The base of GS in 64-bit mode."),
    msr("kernel_gs_base", "C0000102h", ["kernel_gs_base"], "the other GS.base", "What SWAPGS exchanges GS.base with at entry to and exit from the kernel."),
    msr("tsc_aux", "C0000103h", ["tsc_aux"], "processor number", "What RDTSCP and RDPID give in ECX."),
    msr("spec_ctrl", "48h", [], "speculation control", "Restricts branch prediction across rings; needs no care where nothing is speculated."),
    msr("xss", "DA0h", [], "supervisor state components", "Which supervisor state XSAVES handles."),
    ExplainEntry("msr", [], title: "Model-specific registers", "Named by number in ECX, 64 bits in EDX:EAX, by RDMSR and WRMSR in ring 0. One that is not there raises #GP, which systems use to find out.", "SDM 4 2.1"),
  ]
}
