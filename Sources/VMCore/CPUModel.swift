/// Which processor a guest finds: what CPUID says, and which of CR4's bits there are.
package enum CPUModel: String, Sendable, CaseIterable {
  /// What Linux needs and no more: no local APIC, MTRRs, PAT, SYSENTER, VMX, SMEP, SMAP or hypervisor leaves.
  case p0
  /// The x86-64 baseline, with VMX, SMEP, SMAP, UMIP, FSGSBASE and 1 GiB pages.
  case baseline = "x86-64"
}
