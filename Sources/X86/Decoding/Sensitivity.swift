/// How an instruction stands to Popek and Goldberg's theorem: a machine is virtualizable by trap and
/// emulate if every sensitive instruction is privileged.
package enum Sensitivity: UInt8, CaseIterable, Sendable {
  /// Means the same in every ring.
  case none
  /// Traps outside ring 0.
  case privileged
  /// Reads or changes what belongs to the machine, and does not trap outside ring 0.
  case sensitiveUnprivileged
  /// Traps where CPL > IOPL (and the TSS's I/O bitmap does not allow it).
  case ioSensitive

  package var name: String {
    switch self {
    case .none: "innocuous"
    case .privileged: "privileged"
    case .sensitiveUnprivileged: "sensitive, unprivileged"
    case .ioSensitive: "I/O-sensitive (IOPL)"
    }
  }

  /// One character for a code pane: P privileged or trapped by IOPL, S sensitive without a trap.
  package var gutter: Character {
    switch self {
    case .none: " "
    case .privileged, .ioSensitive: "P"
    case .sensitiveUnprivileged: "S"
    }
  }
}

/// What a sensitive instruction does to or learns from the machine (Robin and Irvine 2000, section 3, with
/// the 64-bit additions).
@usableFromInline package enum SensitiveOperation: UInt8, CaseIterable, Sendable {
  case portInput, portOutput, interruptFlag
  case hlt, crRead, crWrite, clts, lmsw, drAccess
  case loadDescriptorTable, loadLDTTR, msrRead, msrWrite, invlpg, cacheControl, swapgs, systemReturn
  case xsetbv, monitorMwait, vmx, supervisorState, rdpmc, smapFlag
  case storeDescriptorTable, storeLDTTR, smsw, pushFlags, popFlags, segmentCheck
  case loadSegment, storeSegment, farTransfer, softwareInterrupt, interruptReturn, systemCall
  case cpuid, rdtsc, rdtscp, fsgsbase, xgetbv, pkru, hypercall

  package var sensitivity: Sensitivity {
    switch self {
    case .portInput, .portOutput, .interruptFlag: .ioSensitive
    case .hlt, .crRead, .crWrite, .clts, .lmsw, .drAccess, .loadDescriptorTable, .loadLDTTR, .msrRead, .msrWrite,
      .invlpg, .cacheControl, .swapgs, .systemReturn, .xsetbv, .monitorMwait, .vmx, .supervisorState, .rdpmc,
      .smapFlag:
      .privileged
    default: .sensitiveUnprivileged
    }
  }

  /// One line: why the monitor has to care.
  package var reason: String {
    switch self {
    case .portInput: "reads a device port; traps where CPL > IOPL and the I/O bitmap forbids it"
    case .portOutput: "writes a device port; traps where CPL > IOPL and the I/O bitmap forbids it"
    case .interruptFlag: "changes RFLAGS.IF of the machine; traps where CPL > IOPL"
    case .hlt: "stops the processor until an interrupt; ring 0 only"
    case .crRead: "reads a control register: mode, page tables or task priority; ring 0 only"
    case .crWrite: "writes a control register: mode, page tables or task priority; ring 0 only"
    case .clts: "clears CR0.TS; ring 0 only"
    case .lmsw: "writes the low bits of CR0; ring 0 only"
    case .drAccess: "reads or writes a debug register; ring 0 only"
    case .loadDescriptorTable: "replaces the GDT or IDT; ring 0 only"
    case .loadLDTTR: "loads LDTR or TR from the GDT; ring 0 only"
    case .msrRead: "reads a model-specific register; ring 0 only"
    case .msrWrite: "writes a model-specific register; ring 0 only"
    case .invlpg: "invalidates address translations; ring 0 only"
    case .cacheControl: "flushes or invalidates the caches; ring 0 only"
    case .swapgs: "exchanges GS.base with IA32_KERNEL_GS_BASE; ring 0 only"
    case .systemReturn: "returns to ring 3 through the system-call registers; ring 0 only"
    case .xsetbv: "changes which processor state is enabled (XCR0); ring 0 only"
    case .monitorMwait: "waits for a store or an interrupt; ring 0 only"
    case .vmx: "belongs to VMX or SVM: the guest is a monitor itself; ring 0 only"
    case .supervisorState: "saves or restores supervisor state; ring 0 only"
    case .rdpmc: "reads a performance counter; ring 0 only unless CR4.PCE"
    case .smapFlag: "opens or closes SMAP's window (RFLAGS.AC); ring 0 only"
    case .storeDescriptorTable: "shows the machine's GDTR or IDTR to any ring (unless CR4.UMIP)"
    case .storeLDTTR: "shows the machine's LDTR or TR to any ring (unless CR4.UMIP)"
    case .smsw: "shows the machine's CR0 to any ring (unless CR4.UMIP)"
    case .pushFlags: "shows the machine's IF and IOPL, not the guest's"
    case .popFlags: "silently leaves IF and IOPL alone where the ring may not change them: no trap"
    case .segmentCheck: "answers by the machine's descriptor tables and the real CPL"
    case .loadSegment: "loads a descriptor and checks it against the real CPL"
    case .storeSegment: "shows the selector, and with CS or SS the real CPL in its low bits"
    case .farTransfer: "changes CS: checked against the real CPL, may go through a gate"
    case .softwareInterrupt: "enters through the machine's IDT, checked against the real CPL"
    case .interruptReturn: "restores CS and RFLAGS by the real CPL; IF silently stays outside ring 0"
    case .systemCall: "enters ring 0 by the machine's MSRs"
    case .cpuid: "shows the real processor's features to any ring (unless CPUID faulting)"
    case .rdtsc: "shows the real time-stamp counter to any ring (unless CR4.TSD)"
    case .rdtscp: "shows the real time-stamp counter and processor number to any ring (unless CR4.TSD)"
    case .fsgsbase: "reads or writes FS.base or GS.base in any ring where CR4.FSGSBASE is set"
    case .xgetbv: "shows the machine's XCR0 to any ring"
    case .pkru: "reads or writes the protection-key rights in any ring"
    case .hypercall: "calls the monitor; #UD without one"
    }
  }
}
