import X86

/// Fields and control bits of a VMCS.
package enum ExplainVMCS {
  /// The catalogue's name of a control bit: `vmcs.hlt-exiting`.
  package static func name(_ bit: VMXControlBit) -> String {
    // Entry and exit have a "load IA32_PAT" each.
    let area = bit.field == .exitControls && bit.name.hasPrefix("load ") ? "exit-" : ""
    return "vmcs." + area + String(bit.name.lowercased().map { $0 == " " || $0 == "/" ? "-" : $0 })
  }
  package static func name(_ field: VMCSField) -> String { "vmcs." + field.token }

  static let entries: [ExplainEntry] = bits + fields

  private static let bits: [ExplainEntry] = VMXControlBit.all.map { bit in
    let (one, zero) = rule(bit)
    return ExplainEntry(
      name(bit), title: "\(bit.field.sdmName), bit \(bit.bit): \(bit.name)", "On: \(one) Off: \(zero)", section(bit.field),
      reading: .bit(Int(bit.bit), one: "on", zero: "off"))
  }

  private static func section(_ field: VMCSField) -> String {
    switch field {
    case .pinControls: "SDM 3C 25.6.1"
    case .primaryControls, .secondaryControls: "SDM 3C 25.6.2"
    case .exitControls: "SDM 3C 25.7.1"
    default: "SDM 3C 25.8.1"
    }
  }

  /// What happens with the bit 1, and with it 0.
  private static func rule(_ bit: VMXControlBit) -> (one: String, zero: String) {
    executionRule(bit) ?? transitionRule(bit)
  }

  private static func executionRule(_ bit: VMXControlBit) -> (one: String, zero: String)? {
    switch bit {
    case .externalInterruptExiting: ("an interrupt makes the guest exit (reason 1); the monitor injects it.", "it goes through the guest's own IDT without an exit.")
    case .nmiExiting: ("an NMI makes the guest exit (reason 0, type NMI).", "the guest's IDT gets it.")
    case .virtualNMIs: ("the monitor injects NMIs and sees when the guest unblocks them.", "NMI blocking is the processor's own.")
    case .preemptionTimer: ("a counter starts at entry; at 0 the guest exits (reason 52), in virtual time here.", "the guest runs as long as nothing else exits.")
    case .interruptWindowExiting: ("exit (reason 7) as soon as the guest can take an interrupt: IF 1, no shadow.", "the monitor is not told.")
    case .useTSCOffsetting: ("RDTSC gives the processor's counter plus the TSC offset.", "it gives the counter itself.")
    case .hltExiting: ("HLT exits (reason 12): the monitor lets somebody else run.", "the processor halts inside the guest until an interrupt comes.")
    case .invlpgExiting: ("INVLPG exits (reason 14): shadow paging must know.", "the guest invalidates its translation itself.")
    case .mwaitExiting: ("MWAIT exits (reason 36).", "it waits inside the guest.")
    case .rdpmcExiting: ("RDPMC exits (reason 15).", "the guest reads the counters, or gets #GP.")
    case .rdtscExiting: ("RDTSC and RDTSCP exit (reasons 16, 51): the monitor decides what time it is.", "the guest reads its TSC.")
    case .cr3LoadExiting: ("MOV to CR3 exits (reason 28) unless the value is a CR3 target: every task switch.", "the guest switches page tables itself; EPT makes that safe.")
    case .cr3StoreExiting: ("MOV from CR3 exits: with shadow paging the real CR3 is not the guest's.", "the guest reads CR3.")
    case .cr8LoadExiting: ("MOV to CR8 exits: the task priority belongs to the monitor's local APIC.", "the write goes straight to the local APIC.")
    case .cr8StoreExiting: ("MOV from CR8 exits.", "the read comes straight from the local APIC.")
    case .useTPRShadow: ("CR8 is a byte of the virtual-APIC page; going below the threshold exits.", "CR8 is the local APIC's.")
    case .nmiWindowExiting: ("exit (reason 8) as soon as the guest can take an NMI.", "the monitor is not told.")
    case .movDRExiting: ("MOV to and from debug registers exits (reason 29): a debugger keeps them for itself.", "the guest has DR0 to DR7.")
    case .unconditionalIOExiting: ("every I/O instruction exits, where the bitmaps are not used.", "none does.")
    case .useIOBitmaps: ("the bit of each port decides.", "\"unconditional I/O exiting\" decides for all ports.")
    case .monitorTrapFlag: ("exit (reason 37) after each instruction: single step without the guest's TF.", "the guest runs.")
    case .useMSRBitmaps: ("for MSRs 0-1fffh and c0000000-c0001fffh a bit each for RDMSR and WRMSR decides.", "every RDMSR and WRMSR exits.")
    case .monitorExiting: ("MONITOR exits (reason 39).", "it runs.")
    case .pauseExiting: ("PAUSE exits (reason 40): a vCPU that spins gives its turn away.", "PAUSE is a short wait.")
    case .activateSecondary: ("the secondary controls count.", "they are all 0.")
    case .enableEPT: ("guest-physical addresses go through extended page tables.", "they are physical: the monitor needs shadow page tables.")
    case .descriptorTableExiting: ("LGDT, LIDT, SGDT, SIDT, LLDT, LTR, SLDT and STR exit (reasons 46, 47).", "they run in the guest.")
    case .enableRDTSCP: ("RDTSCP works.", "it raises #UD.")
    case .enableVPID: ("TLB entries carry an identifier and outlive exits.", "each entry and exit flushes them.")
    case .wbinvdExiting: ("WBINVD exits (reason 54).", "the guest writes the caches back.")
    case .unrestrictedGuest: ("the guest may run in real mode and without paging.", "CR0.PE and CR0.PG must be 1.")
    default: nil
    }
  }

  private static func transitionRule(_ bit: VMXControlBit) -> (one: String, zero: String) {
    switch bit {
    case .saveDebugControls: ("an exit saves DR7 and DEBUGCTL.", "it does not.")
    case .hostAddressSpaceSize: ("the monitor runs in 64-bit mode after an exit.", "in 32-bit mode.")
    case .acknowledgeInterrupt: ("an exit for an interrupt takes its vector from the controller.", "the interrupt stays pending.")
    case .savePreemptionTimer: ("an exit keeps what is left of the timer for the next entry.", "each entry starts from the full value.")
    case .ia32eModeGuest: ("the entry goes to a guest in IA-32e mode: it is EFER.LMA.", "to one outside of it.")
    case .loadDebugControls: ("an entry loads DR7 and DEBUGCTL.", "it leaves them.")
    default: ("the exit or entry saves or loads this register.", "it leaves it.")
    }
  }

  // MARK: fields

  private static let fields: [ExplainEntry] = VMCSField.allCases.map { field in
    ExplainEntry(
      name(field), title: "VMCS field \(String(field.rawValue, radix: 16))h: \(field.sdmName)", rule(field), "SDM 3C chapter 25",
      reading: .bits)
  }

  private static func rule(_ field: VMCSField) -> String {
    switch field.area {
    case .guestState: guestRule(field)
    case .hostState: "Loaded by every exit: the monitor finds itself at its own RIP with its own tables. Not used here: the monitor runs outside the modelled processor."
    case .control: controlRule(field)
    case .exitInformation: exitRule(field)
    }
  }

  private static func guestRule(_ field: VMCSField) -> String {
    switch field {
    case .guestActivity: "0 active, 1 HLT, 2 shutdown, 3 wait for SIPI: what the vCPU does instead of executing."
    case .guestInterruptibility: "What holds interrupts back: bit 0 the instruction after STI, 1 after MOV SS, 2 SMI, 3 an NMI not ended by IRET."
    case .guestPendingDebug: "Debug traps that were held back: bits 3:0 breakpoints met, 12 enabled, 14 single step."
    case .linkPointer: "A second VMCS for VMCS shadowing; all ones without one."
    default: "A register of the guest: saved by every exit, loaded by every entry, and checked then."
    }
  }

  private static func controlRule(_ field: VMCSField) -> String {
    switch field {
    case .pinControls: "What events from outside do: interrupts, NMIs, the preemption timer."
    case .primaryControls, .secondaryControls: "Which instructions and events make the guest exit, bit by bit."
    case .exceptionBitmap: "A bit for each of the 32 exceptions: 1 makes it exit (reason 0) before the guest's IDT sees it. Off: the guest handles it alone."
    case .pageFaultMask, .pageFaultMatch: "#PF exits if (error code & mask == match) agrees with bit 14 of the exception bitmap: only some page faults exit."
    case .cr0Mask, .cr4Mask: "A bit that is 1 belongs to the monitor: the guest reads the read shadow there, and a write that differs from it exits (reason 28). 0: the guest's own."
    case .cr0Shadow, .cr4Shadow: "What the guest reads where the guest/host mask is 1."
    case .cr3TargetCount, .cr3Target0, .cr3Target1, .cr3Target2, .cr3Target3: "Values that MOV to CR3 may load without an exit although CR3-load exiting is on."
    case .tscOffset: "Added to what the guest reads of its time-stamp counter, with \"use TSC offsetting\"."
    case .preemptionTimer: "Counts down while the guest runs; at 0 it exits, with \"activate VMX-preemption timer\"."
    case .ioBitmapA, .ioBitmapB: "A bit for each port, A 0-7fffh, B from 8000h: 1 makes an access exit (reason 30). Off: the device answers without the monitor."
    case .msrBitmap: "A bit for each MSR and direction: 1 makes RDMSR (reason 31) or WRMSR (32) exit. Off: it is carried out without the monitor."
    case .eptPointer: "Where the extended page tables lie, their depth and memory type. What they do not map exits (reason 48)."
    case .virtualProcessorID: "The tag of this guest's TLB entries."
    case .exitControls: "What an exit saves, and how the monitor is entered."
    case .entryControls: "What an entry loads, and in which mode the guest runs."
    case .entryInterruption: "The event an entry delivers before the guest's first instruction: vector, type, error code, valid."
    default: "Used by entries, exits or the virtual APIC; 0 where the model does without."
    }
  }

  private static func exitRule(_ field: VMCSField) -> String {
    switch field {
    case .exitReason: "Why the guest left: the basic reason in 15:0; bit 31 a failed entry."
    case .exitQualification: "What the reason needs further: port and size, register number, address."
    case .exitInterruption, .exitErrorCode: "The exception or interrupt that made it exit: vector, type, error code, valid."
    case .idtVectoring, .idtVectoringErrorCode: "The event on its way to the guest when this exit came: to be injected again."
    case .exitInstructionLength: "Of the instruction that exited: what RIP must move by to skip it."
    case .exitInstructionInformation: "Operands of INS, OUTS, LGDT, VMREAD and their kind."
    case .guestLinearAddress, .guestPhysicalAddress: "The address whose access made it exit."
    case .instructionError: "Why the last VMX instruction failed."
    default: "For system-management mode."
    }
  }
}
