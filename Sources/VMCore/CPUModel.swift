/// Which processor a guest finds: what CPUID says, which instructions there are, and which of CR4's bits.
package enum CPUModel: String, Sendable, CaseIterable {
  /// What Linux needs and no more: no local APIC, MTRRs, PAT, SYSENTER, VMX, SMEP, SMAP or hypervisor leaves.
  case p0
  /// The x86-64 baseline, with VMX, SMEP, SMAP, UMIP, FSGSBASE and 1 GiB pages.
  case baseline = "x86-64"
  /// The same with CMPXCHG16B, POPCNT and SSE up to 4.2.
  case v2 = "x86-64-v2"
  /// The same with AVX, AVX2, FMA, F16C, BMI1, BMI2, LZCNT, MOVBE and XSAVE.
  case v3 = "x86-64-v3"
}
