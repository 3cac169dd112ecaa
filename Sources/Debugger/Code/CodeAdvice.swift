import VMCore
import X86

/// How each classic technique keeps hold of one instruction: Popek and Goldberg made visible.
package struct CodeAdvice: Equatable, Sendable {
  package var instruction: String
  package var sensitivity: Sensitivity
  /// Why it matters, one line.
  package var reason: String
  /// The VM exit hardware (or the VT-x model) makes of it.
  package var hardware: String
  /// What a binary rewriter puts in its place.
  package var rewriting: String
  /// What a ported guest does instead.
  package var paravirtual: String

  /// Headline and one line per technique; the headline alone for what no technique need catch.
  package var lines: [String] {
    let head = "\(instruction): \(sensitivity.name)" + (reason.isEmpty ? "" : ": \(reason)")
    guard sensitivity != .none else { return [head + ": runs as it is under every technique"] }
    return [head, "hardware:        \(hardware)", "rewriting:       \(rewriting)", "paravirtual:     \(paravirtual)"]
  }

  /// The advice for one instruction.
  package static func explain(_ instruction: DecodedInstruction) -> CodeAdvice {
    let catches = instruction.operation.map { catching($0) }
    return CodeAdvice(
      instruction: instruction.text, sensitivity: instruction.sensitivity, reason: instruction.sensitivityReason,
      hardware: catches?.hardware ?? "runs as it is", rewriting: catches?.rewriting ?? "copied as it is",
      paravirtual: catches?.paravirtual ?? "runs as it is")
  }

  /// One line per technique for a kind of sensitive instruction.
  package static func explain(_ operation: SensitiveOperation) -> [String] {
    let catches = catching(operation)
    return ["hardware:        \(catches.hardware)", "rewriting:       \(catches.rewriting)", "paravirtual:     \(catches.paravirtual)"]
  }

  private typealias Catches = (hardware: String, rewriting: String, paravirtual: String)

  private static func catching(_ operation: SensitiveOperation) -> Catches {
    switch operation {
    case .portInput, .portOutput:
      (
        "exit 30, I/O instruction, where the I/O bitmap says so", "callout to the port's device",
        "console_io, event channel or ring; a port access faults (#GP) and is emulated"
      )
    case .interruptFlag:
      (
        "runs in the guest; an interrupt waits for the interrupt window (exit 7)",
        "inline: sets the vCPU's IF in memory",
        "writes vcpu_info.evtchn_upcall_mask, no call"
      )
    case .hlt: ("exit 12, HLT", "callout: the vCPU waits for its next event", "sched_op(SCHEDOP_block)")
    case .crRead:
      (
        "runs or exit 28 by the CR guest/host mask and CR3/CR8 controls", "inline: loads the vCPU's copy",
        "reads the guest's own copy; MOV CR is emulated after #GP"
      )
    case .crWrite:
      (
        "exit 28, control-register access, by mask and controls", "callout: mode or page tables change",
        "mmuext_op(MMUEXT_NEW_BASEPTR) for CR3, fpu_taskswitch for CR0.TS"
      )
    case .clts:
      ("exit 28, CLTS, where CR0.TS is masked", "inline or callout: clears the vCPU's CR0.TS", "fpu_taskswitch(0)")
    case .lmsw:
      (
        "exit 28, LMSW, where it touches masked bits of CR0", "callout: writes the vCPU's CR0",
        "not used; emulated after #GP"
      )
    case .drAccess: ("exit 29, MOV DR", "callout to the vCPU's debug registers", "set_debugreg, get_debugreg")
    case .loadDescriptorTable:
      (
        "exit 46 where descriptor-table exiting is on", "callout: the vCPU's table register changes",
        "set_gdt, set_trap_table"
      )
    case .loadLDTTR:
      (
        "exit 47 where descriptor-table exiting is on", "callout: loads from the guest's GDT",
        "mmuext_op(MMUEXT_SET_LDT), stack_switch"
      )
    default: catchingFurther(operation)
    }
  }

  private static func catchingFurther(_ operation: SensitiveOperation) -> Catches {
    switch operation {
    case .msrRead: ("exit 31, RDMSR, where the MSR bitmap says so", "callout to the vCPU's MSRs", "emulated after #GP")
    case .msrWrite:
      (
        "exit 32, WRMSR, where the MSR bitmap says so", "callout to the vCPU's MSRs",
        "set_segment_base, callback_op; else emulated after #GP"
      )
    case .invlpg:
      (
        "exit 14, INVLPG, where INVLPG exiting is on", "callout: drops shadow translations",
        "mmuext_op(MMUEXT_INVLPG_LOCAL) or update_va_mapping"
      )
    case .cacheControl:
      ("exit 54, WBINVD, or 13, INVD", "callout, mostly nothing to do", "mmuext_op(MMUEXT_FLUSH_CACHE)")
    case .swapgs:
      ("runs in the guest", "inline: swaps the vCPU's two bases", "set_segment_base; the monitor swaps at entry")
    case .systemCall:
      (
        "runs in the guest", "callout: enters the guest's ring 0 by the vCPU's MSRs",
        "enters the monitor, which bounces to the registered callback"
      )
    case .systemReturn: ("runs in the guest", "callout: leaves the guest's ring 0", "the iret hypercall")
    case .xsetbv: ("exit 55, XSETBV, always", "callout to the vCPU's XCR0", "emulated after #GP")
    case .monitorMwait: ("exit 39 or 36, MONITOR and MWAIT", "callout: the vCPU waits", "sched_op(SCHEDOP_block)")
    case .vmx: ("an exit of its own, always (nested virtualization)", "callout: #UD", "#UD")
    case .supervisorState: ("runs or exits by XSS bitmap", "callout", "not used")
    case .rdpmc: ("exit 15, RDPMC, where RDPMC exiting is on", "callout", "emulated after #GP, or the pmu hypercall")
    case .smapFlag: ("runs in the guest", "inline: sets the vCPU's AC", "runs, if the monitor leaves SMAP on")
    case .hypercall: ("exit 18, VMCALL, always", "callout: hypercall", "the hypercall itself")
    default: catchingUnprivileged(operation)
    }
  }

  /// Those no trap tells of: why x86 could not be virtualized by trap and emulate alone.
  private static func catchingUnprivileged(_ operation: SensitiveOperation) -> Catches {
    switch operation {
    case .storeDescriptorTable:
      (
        "exit 46 where descriptor-table exiting is on", "callout: gives the vCPU's value",
        "not used; the machine's value would show"
      )
    case .storeLDTTR:
      (
        "exit 47 where descriptor-table exiting is on", "callout: gives the vCPU's value",
        "not used; the machine's value would show"
      )
    case .smsw:
      ("shows CR0's read shadow, no exit", "callout: gives the vCPU's CR0", "not used; the machine's value would show")
    case .pushFlags:
      (
        "runs in the guest: its RFLAGS are its own", "inline: pushes the vCPU's flags with its IF",
        "saves evtchn_upcall_mask instead of IF"
      )
    case .popFlags:
      (
        "runs in the guest: its IF is its own", "inline: takes IF from the value, then looks for interrupts",
        "restores evtchn_upcall_mask instead of IF"
      )
    case .segmentCheck:
      (
        "runs in the guest", "callout: looks in the guest's tables by the vCPU's CPL",
        "runs; the guest knows its ring is 1 or 3"
      )
    case .loadSegment:
      ("runs in the guest", "callout: loads the vCPU's descriptor cache", "runs on the GDT the monitor validated")
    case .storeSegment:
      ("runs in the guest", "inline: stores the vCPU's selector", "runs; the guest accepts the ring it sees")
    case .farTransfer:
      ("runs in the guest", "callout: CS and CPL of the vCPU change", "runs within the ring; else the iret hypercall")
    case .softwareInterrupt:
      (
        "runs in the guest (no exit but through the exception bitmap)", "callout: delivered through the guest's IDT",
        "bounced by the monitor through set_trap_table's table"
      )
    case .interruptReturn:
      ("runs in the guest", "callout: pops CS, RIP and RFLAGS by the vCPU's CPL", "the iret hypercall")
    case .cpuid:
      ("exit 10, CPUID, always", "callout: gives the vCPU's leaves", "prefixed ud2a 'xen' cpuid, emulated after #UD")
    case .rdtsc:
      (
        "exit 16 where RDTSC exiting is on, else TSC offset", "inline or callout: the vCPU's clock",
        "runs; time comes from shared info"
      )
    case .rdtscp:
      (
        "exit 51 where RDTSC exiting is on, else TSC offset", "callout: the vCPU's clock and TSC_AUX",
        "runs; time comes from shared info"
      )
    case .fsgsbase:
      ("runs in the guest", "inline: the vCPU's base", "runs where CR4.FSGSBASE is on, else set_segment_base")
    case .xgetbv: ("runs in the guest", "inline: the vCPU's XCR0", "runs; shows the machine's XCR0")
    default: ("runs in the guest", "callout", "runs")
    }
  }

  /// The exit the instruction will make under `controls`, nil where it runs on. What depends on operands not known
  /// before (MMIO, faults) is not counted.
  package static func exit(of instruction: DecodedInstruction, controls: ExitControls) -> ExitReason? {
    let vmcs = controls.vmcs
    switch instruction.operation {
    case .portInput?, .portOutput?:
      let some = vmcs.has(.useIOBitmaps) ? controls.bitmaps.portCount > 0 : vmcs.has(.unconditionalIOExiting)
      return some ? .io : nil
    case .hlt?: return vmcs.has(.hltExiting) ? .hlt : nil
    case .cpuid?: return .cpuid
    case .rdtsc?: return vmcs.has(.rdtscExiting) ? .rdtsc : nil
    case .rdtscp?: return vmcs.has(.rdtscExiting) ? .rdtscp : nil
    case .rdpmc?: return vmcs.has(.rdpmcExiting) ? .rdpmc : nil
    case .msrRead?: return vmcs.has(.useMSRBitmaps) ? nil : .rdmsr
    case .msrWrite?: return vmcs.has(.useMSRBitmaps) ? nil : .wrmsr
    case .invlpg?: return vmcs.has(.invlpgExiting) ? .invlpg : nil
    case .cacheControl?:
      if instruction.mnemonic == "invd" { return .invd }
      return vmcs.has(.wbinvdExiting) ? .wbinvd : nil
    case .drAccess?: return vmcs.has(.movDRExiting) ? .drAccess : nil
    case .clts?, .lmsw?: return exits(0, write: true, controls) ? .crAccess : nil
    case .crRead?: return exits(instruction.number, write: false, controls) ? .crAccess : nil
    case .crWrite?: return exits(instruction.number, write: true, controls) ? .crAccess : nil
    case .loadDescriptorTable?, .storeDescriptorTable?: return vmcs.has(.descriptorTableExiting) ? .gdtrIdtrAccess : nil
    case .loadLDTTR?, .storeLDTTR?: return vmcs.has(.descriptorTableExiting) ? .ldtrTrAccess : nil
    case .softwareInterrupt?: return controls.wishes.softwareInterrupts ? .softwareInterrupt : nil
    case .hypercall?: return .vmcall
    default: return instruction.mnemonic == "pause" && vmcs.has(.pauseExiting) ? .pause : nil
    }
  }

  /// The same for a vCPU in `state`: none where the instruction faults for want of privilege, which comes first
  /// (SDM 3C 26.1.1). The I/O map of a TSS is not looked into.
  package static func exit(of instruction: DecodedInstruction, controls: ExitControls, in state: VCPUState) -> ExitReason? {
    let isAllowed =
      switch instruction.sensitivity {
      case .privileged: state.cpl == 0 || instruction.operation == .hypercall
      case .ioSensitive: state.cpl <= Int(state.rflags >> 12 & 3)
      case .none, .sensitiveUnprivileged: true
      }
    return isAllowed ? exit(of: instruction, controls: controls) : nil
  }

  private static func exits(_ number: UInt16?, write: Bool, _ controls: ExitControls) -> Bool {
    guard let number else { return false }
    if controls.wishes.controlRegisters >> number & 1 != 0 { return true }
    switch number {
    case 0: return write && controls.vmcs.cr0Mask != 0
    case 3: return controls.vmcs.has(write ? .cr3LoadExiting : .cr3StoreExiting)
    case 4: return write && controls.vmcs.cr4Mask != 0
    case 8: return controls.vmcs.has(write ? .cr8LoadExiting : .cr8StoreExiting)
    default: return false
    }
  }
}
