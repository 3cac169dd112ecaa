/// The SDM's names of VMCS fields (SDM 3D appendix B), without articles.
extension VMCSField {
  package var sdmName: String { Self.names[self] ?? segmentName ?? "field \(String(rawValue, radix: 16))h" }

  /// How commands spell it: lower case, one word.
  package var token: String {
    var text = ""
    for character in sdmName.lowercased() {
      if character.isLetter || character.isNumber {
        text.append(character)
      } else if text.last != "-" {
        text.append("-")
      }
    }
    return text.last == "-" ? String(text.dropLast()) : text
  }

  private static let segments = ["ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"]
  private var segmentName: String? {
    func name(_ first: UInt32) -> String? {
      guard rawValue >= first, rawValue < first + 16 else { return nil }
      return Self.segments[Int((rawValue - first) / 2)]
    }
    if let segment = name(0x0800) { return "guest \(segment) selector" }
    if let segment = name(0x0C00) { return "host \(segment) selector" }
    if let segment = name(0x4800) { return "guest \(segment) limit" }
    if let segment = name(0x4814) { return "guest \(segment) access rights" }
    if let segment = name(0x6806) { return "guest \(segment) base" }
    return nil
  }

  private static let names: [VMCSField: String] = [
    .hostTR: "host TR selector",
    .virtualProcessorID: "virtual-processor identifier (VPID)", .ioBitmapA: "address of I/O bitmap A",
    .ioBitmapB: "address of I/O bitmap B", .msrBitmap: "address of MSR bitmaps",
    .exitMSRStoreAddress: "VM-exit MSR-store address", .exitMSRLoadAddress: "VM-exit MSR-load address",
    .entryMSRLoadAddress: "VM-entry MSR-load address", .tscOffset: "TSC offset",
    .virtualAPICAddress: "virtual-APIC address", .eptPointer: "EPT pointer (EPTP)",
    .guestPhysicalAddress: "guest-physical address", .linkPointer: "VMCS link pointer",
    .guestDebugControl: "guest IA32_DEBUGCTL", .guestPAT: "guest IA32_PAT", .guestEFER: "guest IA32_EFER",
    .guestPDPTE0: "guest PDPTE0", .guestPDPTE1: "guest PDPTE1", .guestPDPTE2: "guest PDPTE2",
    .guestPDPTE3: "guest PDPTE3", .hostPAT: "host IA32_PAT", .hostEFER: "host IA32_EFER",
    .pinControls: "pin-based VM-execution controls", .primaryControls: "primary processor-based VM-execution controls",
    .exceptionBitmap: "exception bitmap", .pageFaultMask: "page-fault error-code mask",
    .pageFaultMatch: "page-fault error-code match", .cr3TargetCount: "CR3-target count",
    .exitControls: "VM-exit controls", .exitMSRStoreCount: "VM-exit MSR-store count",
    .exitMSRLoadCount: "VM-exit MSR-load count", .entryControls: "VM-entry controls",
    .entryMSRLoadCount: "VM-entry MSR-load count", .entryInterruption: "VM-entry interruption-information field",
    .entryErrorCode: "VM-entry exception error code", .entryInstructionLength: "VM-entry instruction length",
    .tprThreshold: "TPR threshold", .secondaryControls: "secondary processor-based VM-execution controls",
    .pleGap: "PLE_Gap", .pleWindow: "PLE_Window", .instructionError: "VM-instruction error", .exitReason: "exit reason",
    .exitInterruption: "VM-exit interruption information", .exitErrorCode: "VM-exit interruption error code",
    .idtVectoring: "IDT-vectoring information field", .idtVectoringErrorCode: "IDT-vectoring error code",
    .exitInstructionLength: "VM-exit instruction length", .exitInstructionInformation: "VM-exit instruction information",
    .guestGDTRLimit: "guest GDTR limit", .guestIDTRLimit: "guest IDTR limit",
    .guestInterruptibility: "guest interruptibility state", .guestActivity: "guest activity state",
    .guestSMBase: "guest SMBASE", .guestSysenterCS: "guest IA32_SYSENTER_CS",
    .preemptionTimer: "VMX-preemption timer value", .hostSysenterCS: "host IA32_SYSENTER_CS",
    .cr0Mask: "CR0 guest/host mask", .cr4Mask: "CR4 guest/host mask", .cr0Shadow: "CR0 read shadow",
    .cr4Shadow: "CR4 read shadow", .cr3Target0: "CR3-target value 0", .cr3Target1: "CR3-target value 1",
    .cr3Target2: "CR3-target value 2", .cr3Target3: "CR3-target value 3", .exitQualification: "exit qualification",
    .ioRCX: "I/O RCX", .ioRSI: "I/O RSI", .ioRDI: "I/O RDI", .ioRIP: "I/O RIP",
    .guestLinearAddress: "guest-linear address", .guestCR0: "guest CR0", .guestCR3: "guest CR3",
    .guestCR4: "guest CR4", .guestGDTRBase: "guest GDTR base", .guestIDTRBase: "guest IDTR base",
    .guestDR7: "guest DR7", .guestRSP: "guest RSP", .guestRIP: "guest RIP", .guestRFLAGS: "guest RFLAGS",
    .guestPendingDebug: "guest pending debug exceptions", .guestSysenterESP: "guest IA32_SYSENTER_ESP",
    .guestSysenterEIP: "guest IA32_SYSENTER_EIP", .hostCR0: "host CR0", .hostCR3: "host CR3", .hostCR4: "host CR4",
    .hostFSBase: "host FS base", .hostGSBase: "host GS base", .hostTRBase: "host TR base",
    .hostGDTRBase: "host GDTR base", .hostIDTRBase: "host IDTR base", .hostSysenterESP: "host IA32_SYSENTER_ESP",
    .hostSysenterEIP: "host IA32_SYSENTER_EIP", .hostRSP: "host RSP", .hostRIP: "host RIP",
  ]
}
