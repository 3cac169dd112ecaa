extension MSR {
  /// The SDM's name of a model-specific register (SDM 4 table 2-2; AMD64 APM 2 appendix A for C001xxxxh), or nil.
  package static func name(_ index: UInt32) -> String? {
    if let name = names[index] { return name }
    if index >= x2apicFirst && index <= x2apicLast { return x2apicNames[index & 0xFF] ?? "IA32_X2APIC_\(hex(index))" }
    if index >= 0x200 && index < 0x214 {
      let pair = (index - 0x200) / 2
      return index & 1 == 0 ? "IA32_MTRR_PHYSBASE\(pair)" : "IA32_MTRR_PHYSMASK\(pair)"
    }
    if index >= 0xC1 && index <= 0xC8 { return "IA32_PMC\(index - 0xC1)" }
    if index >= 0x186 && index <= 0x18D { return "IA32_PERFEVTSEL\(index - 0x186)" }
    if index >= 0x309 && index <= 0x30B { return "IA32_FIXED_CTR\(index - 0x309)" }
    if index >= 0x400 && index < 0x480 {
      let bank = (index - 0x400) / 4
      return "IA32_MC\(bank)_" + ["CTL", "STATUS", "ADDR", "MISC"][Int(index & 3)]
    }
    return nil
  }

  /// The name, or the number as `MSR 0x4b564d00`.
  package static func text(_ index: UInt32) -> String { name(index) ?? "MSR 0x" + hex(index) }

  /// The register called `name`, with or without `IA32_`, in any case.
  package static func index(named name: String) -> UInt32? {
    let upper = name.uppercased()
    return byName[upper] ?? byName["IA32_" + upper]
  }

  /// Every name in the table, by number: for completion.
  package static let allNames: [String] = names.sorted { $0.key < $1.key }.map(\.value)

  private static func hex(_ index: UInt32) -> String { String(index, radix: 16) }

  private static let byName: [String: UInt32] = {
    var table: [String: UInt32] = [:]
    for (index, name) in names.sorted(by: { $0.key > $1.key }) { table[name] = index }
    return table
  }()

  private static let names: [UInt32: String] = [
    0x0: "IA32_P5_MC_ADDR", 0x1: "IA32_P5_MC_TYPE", 0x6: "IA32_MONITOR_FILTER_SIZE",
    tsc: "IA32_TIME_STAMP_COUNTER", 0x17: "IA32_PLATFORM_ID", apicBase: "IA32_APIC_BASE",
    featureControl: "IA32_FEATURE_CONTROL", tscAdjust: "IA32_TSC_ADJUST", 0x48: "IA32_SPEC_CTRL",
    0x49: "IA32_PRED_CMD", 0x79: "IA32_BIOS_UPDT_TRIG", biosSignature: "IA32_BIOS_SIGN_ID",
    0x9B: "IA32_SMM_MONITOR_CTL",
    0x9E: "IA32_SMBASE", 0xCE: "MSR_PLATFORM_INFO", 0xE1: "IA32_UMWAIT_CONTROL", 0xE7: "IA32_MPERF", 0xE8: "IA32_APERF",
    mtrrCap: "IA32_MTRRCAP", 0x10A: "IA32_ARCH_CAPABILITIES", 0x10B: "IA32_FLUSH_CMD", 0x122: "IA32_TSX_CTRL",
    0x140: "MSR_MISC_FEATURES_ENABLES", sysenterCS: "IA32_SYSENTER_CS", sysenterESP: "IA32_SYSENTER_ESP",
    sysenterEIP: "IA32_SYSENTER_EIP", 0x179: "IA32_MCG_CAP", 0x17A: "IA32_MCG_STATUS", 0x17B: "IA32_MCG_CTL",
    0x198: "IA32_PERF_STATUS", 0x199: "IA32_PERF_CTL", 0x19A: "IA32_CLOCK_MODULATION", 0x19B: "IA32_THERM_INTERRUPT",
    0x19C: "IA32_THERM_STATUS", miscEnable: "IA32_MISC_ENABLE", 0x1B0: "IA32_ENERGY_PERF_BIAS",
    0x1C9: "MSR_LASTBRANCH_TOS", debugControl: "IA32_DEBUGCTL", 0x1DB: "MSR_LASTBRANCHFROMIP",
    0x1DC: "MSR_LASTBRANCHTOIP", 0x1DD: "MSR_LER_FROM_LIP", 0x1DE: "MSR_LER_TO_LIP", 0x250: "IA32_MTRR_FIX64K_00000",
    0x258: "IA32_MTRR_FIX16K_80000", 0x259: "IA32_MTRR_FIX16K_A0000", 0x268: "IA32_MTRR_FIX4K_C0000",
    0x269: "IA32_MTRR_FIX4K_C8000", 0x26A: "IA32_MTRR_FIX4K_D0000", 0x26B: "IA32_MTRR_FIX4K_D8000",
    0x26C: "IA32_MTRR_FIX4K_E0000", 0x26D: "IA32_MTRR_FIX4K_E8000", 0x26E: "IA32_MTRR_FIX4K_F0000",
    0x26F: "IA32_MTRR_FIX4K_F8000", pat: "IA32_PAT", 0x2FF: "IA32_MTRR_DEF_TYPE", 0x345: "IA32_PERF_CAPABILITIES",
    0x38D: "IA32_FIXED_CTR_CTRL", 0x38E: "IA32_PERF_GLOBAL_STATUS", 0x38F: "IA32_PERF_GLOBAL_CTRL",
    0x390: "IA32_PERF_GLOBAL_OVF_CTRL", 0x480: "IA32_VMX_BASIC", 0x481: "IA32_VMX_PINBASED_CTLS",
    0x482: "IA32_VMX_PROCBASED_CTLS", 0x483: "IA32_VMX_EXIT_CTLS", 0x484: "IA32_VMX_ENTRY_CTLS", 0x485: "IA32_VMX_MISC",
    0x486: "IA32_VMX_CR0_FIXED0", 0x487: "IA32_VMX_CR0_FIXED1", 0x488: "IA32_VMX_CR4_FIXED0",
    0x489: "IA32_VMX_CR4_FIXED1", 0x48A: "IA32_VMX_VMCS_ENUM", 0x48B: "IA32_VMX_PROCBASED_CTLS2",
    0x48C: "IA32_VMX_EPT_VPID_CAP", 0x606: "MSR_RAPL_POWER_UNIT", 0x6A0: "IA32_U_CET", 0x6A2: "IA32_S_CET",
    tscDeadline: "IA32_TSC_DEADLINE", 0xDA0: "IA32_XSS", efer: "IA32_EFER", star: "IA32_STAR", lstar: "IA32_LSTAR",
    cstar: "IA32_CSTAR", sfmask: "IA32_FMASK", fsBase: "IA32_FS_BASE", gsBase: "IA32_GS_BASE",
    kernelGSBase: "IA32_KERNEL_GS_BASE", tscAux: "IA32_TSC_AUX", 0xC001_0010: "SYSCFG", 0xC001_0015: "HWCR",
    0xC001_001F: "NB_CFG1", 0xC001_0114: "VM_CR", 0xC001_0117: "VM_HSAVE_PA", 0xC001_1029: "DE_CFG",
    0x4B56_4D00: "KVM_WALL_CLOCK_NEW", 0x4B56_4D01: "KVM_SYSTEM_TIME_NEW", 0x4000_0000: "HV_GUEST_OS_ID",
    0x4000_0001: "HV_HYPERCALL",
  ]

  /// By register number within the x2APIC range (SDM 3A table 11-6).
  private static let x2apicNames: [UInt32: String] = [
    0x02: "IA32_X2APIC_APICID", 0x03: "IA32_X2APIC_VERSION", 0x08: "IA32_X2APIC_TPR", 0x0A: "IA32_X2APIC_PPR",
    0x0B: "IA32_X2APIC_EOI", 0x0D: "IA32_X2APIC_LDR", 0x0F: "IA32_X2APIC_SIVR", 0x28: "IA32_X2APIC_ESR",
    0x2F: "IA32_X2APIC_LVT_CMCI", 0x30: "IA32_X2APIC_ICR", 0x32: "IA32_X2APIC_LVT_TIMER",
    0x33: "IA32_X2APIC_LVT_THERMAL", 0x34: "IA32_X2APIC_LVT_PMI", 0x35: "IA32_X2APIC_LVT_LINT0",
    0x36: "IA32_X2APIC_LVT_LINT1", 0x37: "IA32_X2APIC_LVT_ERROR", 0x38: "IA32_X2APIC_INIT_COUNT",
    0x39: "IA32_X2APIC_CUR_COUNT", 0x3E: "IA32_X2APIC_DIV_CONF", 0x3F: "IA32_X2APIC_SELF_IPI",
  ]
}
