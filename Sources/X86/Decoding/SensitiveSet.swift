/// A set of sensitive operations in one word.
package struct SensitiveSet: Equatable, Sendable {
  package private(set) var bits: UInt64
  package init(_ operations: [SensitiveOperation] = []) {
    bits = operations.reduce(0) { $0 | Self.bit($1) }
  }

  /// Every sensitive operation there is.
  package static let all = SensitiveSet(SensitiveOperation.allCases)

  private static func bit(_ operation: SensitiveOperation) -> UInt64 { 1 << UInt64(operation.rawValue) }

  package func contains(_ operation: SensitiveOperation) -> Bool { bits & Self.bit(operation) != 0 }
  package func subtracting(_ other: SensitiveSet) -> SensitiveSet {
    var result = self
    result.bits &= ~other.bits
    return result
  }
  package var isEmpty: Bool { bits == 0 }
}

extension SensitiveOperation {
  /// Short, for tables: the mnemonics, or what they have in common.
  package var name: String {
    switch self {
    case .portInput: "IN, INS"
    case .portOutput: "OUT, OUTS"
    case .interruptFlag: "CLI, STI"
    case .hlt: "HLT"
    case .crRead: "MOV from CR"
    case .crWrite: "MOV to CR"
    case .clts: "CLTS"
    case .lmsw: "LMSW"
    case .drAccess: "MOV DR"
    case .loadDescriptorTable: "LGDT, LIDT"
    case .loadLDTTR: "LLDT, LTR"
    case .msrRead: "RDMSR"
    case .msrWrite: "WRMSR"
    case .invlpg: "INVLPG"
    case .cacheControl: "INVD, WBINVD"
    case .swapgs: "SWAPGS"
    case .systemReturn: "SYSRET, SYSEXIT"
    case .xsetbv: "XSETBV"
    case .monitorMwait: "MONITOR, MWAIT"
    case .vmx: "VMX instructions"
    case .supervisorState: "XSAVES, RSM"
    case .rdpmc: "RDPMC"
    case .smapFlag: "CLAC, STAC"
    case .storeDescriptorTable: "SGDT, SIDT"
    case .storeLDTTR: "SLDT, STR"
    case .smsw: "SMSW"
    case .pushFlags: "PUSHF"
    case .popFlags: "POPF"
    case .segmentCheck: "LAR, LSL, VERR, VERW"
    case .loadSegment: "load of a segment register"
    case .storeSegment: "store of a segment register"
    case .farTransfer: "far JMP, CALL, RET"
    case .softwareInterrupt: "INT n, INT3, INTO"
    case .interruptReturn: "IRET"
    case .systemCall: "SYSCALL, SYSENTER"
    case .cpuid: "CPUID"
    case .rdtsc: "RDTSC"
    case .rdtscp: "RDTSCP"
    case .fsgsbase: "RDFSBASE and kin"
    case .xgetbv: "XGETBV"
    case .pkru: "RDPKRU, WRPKRU"
    case .hypercall: "VMCALL"
    }
  }

  /// What trap and emulate would have got wrong: the guest runs deprivileged, the instruction does not trap, and the
  /// monitor never hears of it. Nil where it traps.
  package var silently: String? {
    guard sensitivity == .sensitiveUnprivileged else { return nil }
    switch self {
    case .storeDescriptorTable: return "would have stored the monitor's GDTR or IDTR"
    case .storeLDTTR: return "would have stored the monitor's LDTR or TR"
    case .smsw: return "would have read the machine's CR0"
    case .pushFlags: return "would have pushed the machine's IF and IOPL, not the guest's"
    case .popFlags: return "would have left IF and IOPL as they were"
    case .segmentCheck: return "would have answered by the monitor's tables and the real CPL"
    case .loadSegment: return "would have loaded from the monitor's tables, checked against the real CPL"
    case .storeSegment: return "would have stored a selector with the real privilege level in it"
    case .farTransfer: return "would have gone by the monitor's tables, checked against the real CPL"
    case .softwareInterrupt: return "would have entered through the monitor's IDT"
    case .interruptReturn: return "would have left IF as it was, and could not return to ring 0"
    case .systemCall: return "would have entered the monitor, not the guest's kernel"
    case .cpuid: return "would have shown the machine's processor"
    case .rdtsc, .rdtscp: return "would have read the machine's time-stamp counter"
    case .fsgsbase: return "would have worked on the machine's FS.base or GS.base"
    case .xgetbv: return "would have read the machine's XCR0"
    case .pkru: return "would have worked on the machine's protection-key rights"
    case .hypercall: return "would have raised #UD in the guest"
    default: return nil
    }
  }
}
