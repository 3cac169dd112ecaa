import Engines
import Testing
import VMCore
import X86

private typealias B = VMXBench

/// The checks of VM entry (SDM 3C 27.2, 27.3): one field is broken at a time, and the answer must name it.
@Suite struct VMXEntryTests {
  struct Rule {
    var name: String
    var field: VMCSField
    var spoil: (VMXBench) -> Void
    init(_ name: String, _ field: VMCSField, _ spoil: @escaping (VMXBench) -> Void) {
      self.name = name
      self.field = field
      self.spoil = spoil
    }
    /// The field gets this value.
    init(_ field: VMCSField, _ value: UInt64) {
      self.init("\(field) = \(String(value, radix: 16))", field) { $0[field] = value }
    }
    init(_ field: VMCSField, off bits: UInt64) {
      self.init("\(field) without \(String(bits, radix: 16))", field) { $0[field] &= ~bits }
    }
    init(_ field: VMCSField, on bits: UInt64) {
      self.init("\(field) with \(String(bits, radix: 16))", field) { $0[field] |= bits }
    }
  }

  private func check(_ rules: [Rule], _ judge: (VMXBench) -> Bool) throws {
    for rule in rules {
      let b = try VMXBench()
      rule.spoil(b)
      let ok = judge(b)
      #expect(ok, "\(rule.name): \(b.last.map { "\($0.reason)" } ?? "no exit"), \(b.entryFailure ?? "no failure")")
      let named = b.entryFailure?.hasPrefix("\(rule.field): ") == true
      #expect(named, "\(rule.name): named \(b.entryFailure ?? "nothing")")
    }
  }

  @Test("the unspoilt VMCS enters") func good() throws {
    let b = try VMXBench()
    #expect(b.exit(B.vmcall) == .vmcall)
    #expect(b.entryFailure == nil)
  }

  // MARK: Controls

  @Test("control fields: VMfailValid 7") func controls() throws {
    var rules: [Rule] = []
    for field in [VMCSField.pinControls, .primaryControls, .secondaryControls, .exitControls, .entryControls] {
      for bit in 0..<32 as Range<UInt64> {
        if VMXCapabilities.mustBeOne(field) >> bit & 1 != 0 { rules.append(Rule(field, off: 1 << bit)) }
        if VMXCapabilities.mayBeOne(field) >> bit & 1 == 0 { rules.append(Rule(field, on: 1 << bit)) }
      }
    }
    let bad: [UInt64] = [1, 0x800, 1 << 40, 1 << 63]
    for value in bad {
      rules.append(Rule(.ioBitmapA, value))
      rules.append(Rule(.ioBitmapB, value))
      rules.append(Rule(.msrBitmap, value))
      rules.append(
        Rule("virtual APIC \(value)", .virtualAPICAddress) {
          $0.set(.useTPRShadow)
          $0[.virtualAPICAddress] = value
        })
      for (count, list) in [
        (VMCSField.exitMSRStoreCount, VMCSField.exitMSRStoreAddress), (.exitMSRLoadCount, .exitMSRLoadAddress),
        (.entryMSRLoadCount, .entryMSRLoadAddress),
      ] where value != 0x800 {
        rules.append(
          Rule("\(list) \(value)", list) {
            $0[count] = 1
            $0[list] = value
          })
      }
    }
    for count in [VMCSField.exitMSRStoreCount, .exitMSRLoadCount, .entryMSRLoadCount] {
      let list: VMCSField =
        count == .exitMSRStoreCount ? .exitMSRStoreAddress : count == .exitMSRLoadCount ? .exitMSRLoadAddress : .entryMSRLoadAddress
      rules.append(
        Rule("\(count) beyond memory", count) {
          $0[count] = 2
          $0[list] = (1 << 40) - 16
        })
      rules.append(Rule(count, 513))
    }
    rules.append(Rule(.cr3TargetCount, 5))
    rules.append(Rule("virtual NMIs alone", .pinControls) { $0.set(.virtualNMIs) })
    rules.append(Rule("NMI window alone", .primaryControls) { $0.set(.nmiWindowExiting) })
    rules.append(
      Rule("VPID 0", .virtualProcessorID) {
        $0.set(.enableVPID)
        $0[.virtualProcessorID] = 0
      })
    rules.append(Rule("unrestricted without EPT", .secondaryControls) { $0.set(.unrestrictedGuest) })
    rules.append(Rule("timer saved but off", .exitControls) { $0.set(.savePreemptionTimer) })
    for value in [0x10, 0x8000_0000] as [UInt64] {
      rules.append(
        Rule("TPR threshold \(value)", .tprThreshold) {
          $0.set(.useTPRShadow)
          $0[.tprThreshold] = value
        })
    }
    rules.append(
      Rule("TPR threshold above the virtual TPR", .tprThreshold) {
        $0.set(.useTPRShadow)
        $0[.tprThreshold] = 3
        $0.put(B.virtualAPIC + 0x80, UInt32(0x20))
      })
    for low in [1, 2, 3, 4, 5, 7] as [UInt64] { rules.append(eptRule(B.ept | 3 << 3 | low)) }
    for walk in [0, 1, 2, 4, 5, 6, 7] as [UInt64] { rules.append(eptRule(B.ept | 6 | walk << 3)) }
    for bit in [6, 7, 8, 9, 10, 11, 40, 51, 63] as [UInt64] { rules.append(eptRule(B.ept | 0x1E | 1 << bit)) }
    rules += Self.injections
    #expect(rules.count > 150)
    try check(rules) { $0.launchOutcome() == .valid(7) && !$0.state.vmx.isNonRoot }
  }

  private func eptRule(_ pointer: UInt64) -> Rule {
    Rule("EPT pointer \(String(pointer, radix: 16))", .eptPointer) {
      $0.set(.enableEPT)
      $0[.eptPointer] = pointer
    }
  }

  /// Interruption information that cannot be injected.
  private static var injections: [Rule] {
    let valid: UInt64 = 1 << 31
    var rules: [Rule] = []
    for info in [1 << 8 | 3, 2 << 8 | 3, 3 << 8 | 32, 7 << 8 | 1, 1 << 12, 1 << 30] as [UInt64] {
      rules.append(Rule(.entryInterruption, valid | info))
    }
    for vector in 0..<32 as Range<UInt64> {
      let pushes = [8, 10, 11, 12, 13, 14, 17].contains(vector)
      rules.append(Rule(.entryInterruption, valid | 3 << 8 | vector | (pushes ? 0 : 1 << 11)))
    }
    // A guest that is not unrestricted has its error code in every mode, also one that later checks refuse.
    rules.append(
      Rule("#GP without error code, CR0.PE 0", .entryInterruption) {
        $0[.entryInterruption] = valid | 3 << 8 | 13
        $0[.guestCR0] &= ~CR0.pe
      })
    for type in [0, 2, 4, 5, 6] as [UInt64] {
      rules.append(
        Rule("type \(type) with error code", .entryInterruption) {
          $0[.entryInterruption] = valid | type << 8 | (type == 2 ? 2 : 0x20) | 1 << 11
          $0[.entryInstructionLength] = 1
        })
    }
    for type in [4, 5, 6] as [UInt64] {
      for length in [0, 16, 0x100] as [UInt64] {
        rules.append(
          Rule("type \(type) of length \(length)", .entryInstructionLength) {
            $0[.entryInterruption] = valid | type << 8 | 3
            $0[.entryInstructionLength] = length
          })
      }
    }
    for code in [0x8000, 0x1_0000, 0x8000_0000] as [UInt64] {
      rules.append(
        Rule("error code \(code)", .entryErrorCode) {
          $0[.entryInterruption] = valid | 1 << 11 | 3 << 8 | 13
          $0[.entryErrorCode] = code
        })
    }
    return rules
  }

  // MARK: Host state

  @Test("host state: VMfailValid 8") func host() throws {
    var rules: [Rule] = []
    for bit in [CR0.pe, CR0.ne, CR0.pg] { rules.append(Rule(.hostCR0, off: bit)) }
    rules.append(Rule(.hostCR0, on: 1 << 32))
    for bit in [CR4.vmxe, CR4.pae] { rules.append(Rule(.hostCR4, off: bit)) }
    for bit in [12, 17, 19, 22, 32] as [UInt64] { rules.append(Rule(.hostCR4, on: 1 << bit)) }
    for bit in [40, 51, 63] as [UInt64] { rules.append(Rule(.hostCR3, on: 1 << bit)) }
    let canonical: [VMCSField] = [
      .hostSysenterESP, .hostSysenterEIP, .hostFSBase, .hostGSBase, .hostGDTRBase, .hostIDTRBase, .hostTRBase, .hostRIP,
    ]
    for field in canonical { rules.append(Rule(field, 1 << 47)) }
    for value in [2, 0x0300_0000, 0x0800_0000_0000_0000] as [UInt64] {
      rules.append(
        Rule("host PAT \(value)", .hostPAT) {
          $0.set(.loadHostPAT)
          $0[.hostPAT] = value
        })
    }
    for bit in [1, 9, 13, 63] as [UInt64] { rules.append(Rule(.hostEFER, on: 1 << bit)) }
    for bit in [EFER.lma, EFER.lme] { rules.append(Rule(.hostEFER, off: bit)) }
    let selectors: [VMCSField] = [.hostES, .hostCS, .hostSS, .hostDS, .hostFS, .hostGS, .hostTR]
    for field in selectors { for bit in 0..<3 as Range<UInt64> { rules.append(Rule(field, on: 1 << bit)) } }
    rules.append(Rule(.hostCS, 0))
    rules.append(Rule(.hostTR, 0))
    rules.append(
      Rule("a 32-bit host", .exitControls) {
        $0.clear(.hostAddressSpaceSize)
        $0[.hostEFER] = 0
      })
    try check(rules) { $0.launchOutcome() == .valid(8) && !$0.state.vmx.isNonRoot }
  }

  // MARK: Guest state

  private func segmentRules() -> [Rule] {
    var rules: [Rule] = []
    for (i, field) in [(7, VMCSField.guestTR), (6, .guestLDTR)] {
      rules.append(
        Rule("TI in \(field)", field) {
          if i == 6 { $0[.guestLDTRAccess] = 0x82 }
          $0[field] |= 4
        })
    }
    rules.append(Rule(.guestSS, on: 1))
    for i in [7, 4, 5] { rules.append(Rule(.base(i), 1 << 47)) }
    rules.append(
      Rule("LDTR base", .guestLDTRBase) {
        $0[.guestLDTRAccess] = 0x82
        $0[.guestLDTRBase] = 1 << 47
      })
    for i in [1, 2, 3, 0] { rules.append(Rule(.base(i), 1 << 32)) }
    for type in [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14] as [UInt64] { rules.append(Rule(.guestCSAccess, 0xA090 | type)) }
    for i in [1, 2, 3, 0, 4, 5] {
      rules.append(Rule(.access(i), off: 0x10))
      rules.append(Rule(.access(i), off: 0x80))
      for bit in [8, 9, 10, 11, 17, 31] as [UInt64] { rules.append(Rule(.access(i), on: 1 << bit)) }
      rules.append(Rule("G with an uneven limit \(i)", .access(i)) { $0[.limit(i)] = 0xFFFF_F0FF })
      rules.append(Rule("a high limit without G \(i)", .access(i)) { $0[.access(i)] &= ~0x8000 })
    }
    rules.append(Rule(.guestCSAccess, on: 0x4000))
    rules.append(Rule(.guestCSAccess, on: 0x20))
    for type in [0, 1, 2, 4, 5, 6, 9, 11] as [UInt64] { rules.append(Rule(.guestSSAccess, 0xC090 | type)) }
    for i in [3, 0, 4, 5] {
      rules.append(Rule(.access(i), off: 1))
      rules.append(Rule(.access(i), 0xC099))
      rules.append(Rule("DPL below RPL \(i)", .access(i)) { $0[.selector(i)] |= 3 })
    }
    for type in [0, 1, 2, 3, 9, 10, 12] as [UInt64] { rules.append(Rule(.guestTRAccess, 0x80 | type)) }
    for bit in [4, 8, 11, 16, 17, 31] as [UInt64] { rules.append(Rule(.guestTRAccess, on: 1 << bit)) }
    rules.append(Rule(.guestTRAccess, off: 0x80))
    rules.append(Rule("TR limit", .guestTRAccess) { $0[.guestTRLimit] = 0x10_0000 })
    for access in [0x81, 0x83, 0x92, 0x02, 0x182, 0x2_0082] as [UInt64] { rules.append(Rule(.guestLDTRAccess, access)) }
    return rules
  }

  private func virtual8086Rules() -> [Rule] {
    func v86(_ b: VMXBench) {
      b.make32BitGuest()
      for i in 0..<6 {
        b[.selector(i)] = 0x100
        b[.base(i)] = 0x1000
        b[.limit(i)] = 0xFFFF
        b[.access(i)] = 0xF3
      }
      b[.guestRFLAGS] = 2 | RFLAGS.vm
      b[.guestRIP] = 0
    }
    var rules: [Rule] = []
    for i in 0..<6 {
      rules.append(Rule("v8086 base \(i)", .base(i)) { v86($0); $0[.base(i)] = 0x1010 })
      rules.append(Rule("v8086 limit \(i)", .limit(i)) { v86($0); $0[.limit(i)] = 0x1_FFFF })
      rules.append(Rule("v8086 access \(i)", .access(i)) { v86($0); $0[.access(i)] = 0x93 })
    }
    rules.append(Rule("v8086 in real mode", .guestRFLAGS) { v86($0); $0[.guestCR0] &= ~CR0.pe })
    return rules
  }

  private func registerRules() -> [Rule] {
    var rules: [Rule] = []
    for bit in [CR0.pe, CR0.ne, CR0.pg] { rules.append(Rule(.guestCR0, off: bit)) }
    rules.append(Rule(.guestCR0, on: 1 << 32))
    rules.append(
      Rule("PG without PE", .guestCR0) {
        $0.set(.enableEPT, .unrestrictedGuest)
        $0[.guestCR0] &= ~CR0.pe
      })
    rules.append(
      Rule("IA-32e without PG", .guestCR0) {
        $0.set(.enableEPT, .unrestrictedGuest)
        $0[.guestCR0] &= ~CR0.pg
      })
    for bit in [CR4.vmxe, CR4.pae] { rules.append(Rule(.guestCR4, off: bit)) }
    for bit in [12, 17, 19, 22, 32] as [UInt64] { rules.append(Rule(.guestCR4, on: 1 << bit)) }
    for bit in [40, 51, 63] as [UInt64] { rules.append(Rule(.guestCR3, on: 1 << bit)) }
    rules.append(
      Rule("DEBUGCTL", .guestDebugControl) {
        $0.set(.loadDebugControls)
        $0[.guestDebugControl] = 4
      })
    rules.append(
      Rule("DR7", .guestDR7) {
        $0.set(.loadDebugControls)
        $0[.guestDR7] = 1 << 32
      })
    rules.append(Rule(.guestSysenterESP, 1 << 47))
    rules.append(Rule(.guestSysenterEIP, 1 << 47))
    rules.append(
      Rule("PAT", .guestPAT) {
        $0.set(.loadPAT)
        $0[.guestPAT] = 2
      })
    for bit in [1, 9, 63] as [UInt64] { rules.append(Rule(.guestEFER, on: 1 << bit)) }
    for bit in [EFER.lma, EFER.lme] { rules.append(Rule(.guestEFER, off: bit)) }
    rules.append(Rule(.guestGDTRBase, 1 << 47))
    rules.append(Rule(.guestIDTRBase, 1 << 47))
    rules.append(Rule(.guestGDTRLimit, 0x1_0000))
    rules.append(Rule(.guestIDTRLimit, 0x1_0000))
    rules.append(Rule(.guestRIP, 1 << 47))
    rules.append(
      Rule("RIP outside 64-bit code", .guestRIP) {
        $0[.guestCSAccess] = 0xC09B
        $0[.guestRIP] = 1 << 32
      })
    for bit in [3, 5, 15, 22, 31, 63] as [UInt64] { rules.append(Rule(.guestRFLAGS, on: 1 << bit)) }
    rules.append(Rule(.guestRFLAGS, off: 2))
    rules.append(Rule(.guestRFLAGS, on: RFLAGS.vm))
    rules.append(Rule("an interrupt with IF 0", .guestRFLAGS) { $0[.entryInterruption] = 0x8000_0020 })
    return rules
  }

  private func blockingRules() -> [Rule] {
    var rules: [Rule] = []
    for state in [2, 3, 4] as [UInt64] { rules.append(Rule(.guestActivity, state)) }
    rules.append(
      Rule("HLT in ring 3", .guestActivity) {
        $0[.guestActivity] = 1
        for i in [0, 1, 2, 3] {
          $0[.selector(i)] |= 3
          $0[.access(i)] |= 0x60
        }
      })
    rules.append(
      Rule("HLT behind STI", .guestActivity) {
        $0[.guestActivity] = 1
        $0[.guestRFLAGS] |= RFLAGS.interruptEnable
        $0[.guestInterruptibility] = 1
      })
    rules.append(
      Rule("HLT with #GP", .guestActivity) {
        $0[.guestActivity] = 1
        $0[.entryInterruption] = 0x8000_0B0D
      })
    for value in [4, 0x10, 0x20, 0x8000_0000] as [UInt64] { rules.append(Rule(.guestInterruptibility, value)) }
    rules.append(Rule("STI with IF 0", .guestInterruptibility) { $0[.guestInterruptibility] = 1 })
    func blocked(_ name: String, _ value: UInt64, _ info: UInt64, _ more: @escaping (VMXBench) -> Void = { _ in }) {
      rules.append(
        Rule(name, .guestInterruptibility) {
          $0[.guestRFLAGS] |= RFLAGS.interruptEnable
          $0[.guestInterruptibility] = value
          $0[.entryInterruption] = info
          more($0)
        })
    }
    blocked("STI and MOV SS", 3, 0)
    blocked("interrupt behind STI", 1, 0x8000_0020)
    blocked("interrupt behind MOV SS", 2, 0x8000_0020)
    blocked("NMI behind MOV SS", 2, 0x8000_0202)
    blocked("virtual NMI while blocked", 8, 0x8000_0202) { $0.set(.nmiExiting, .virtualNMIs) }
    for bit in [4, 11, 13, 15, 16, 63] as [UInt64] { rules.append(Rule(.guestPendingDebug, 1 << bit)) }
    rules.append(
      Rule("BS without TF behind MOV SS", .guestPendingDebug) {
        $0[.guestInterruptibility] = 2
        $0[.guestPendingDebug] = 1 << 14
      })
    rules.append(
      Rule("TF without BS behind MOV SS", .guestPendingDebug) {
        $0[.guestInterruptibility] = 2
        $0[.guestRFLAGS] |= RFLAGS.tf
      })
    return rules
  }

  @Test("guest state: exit 33 with the monitor back at its entry point") func guest() throws {
    let rules = segmentRules() + virtual8086Rules() + registerRules() + blockingRules()
    #expect(rules.count > 170)
    try check(rules) {
      $0[.entryInterruption] |= 0
      return $0.enter() && $0[.exitReason] == 0x8000_0021 && $0[.exitQualification] == 0
    }
  }

  @Test("link pointer: exit 33 with qualification 4, unless a VMCS lies there") func links() throws {
    try check([Rule(.linkPointer, 0), Rule(.linkPointer, 0x21001), Rule(.linkPointer, 1 << 40), Rule(.linkPointer, 0x28000)]) {
      $0.enter() && $0[.exitReason] == 0x8000_0021 && $0[.exitQualification] == 4
    }
    let b = try VMXBench()
    b[.linkPointer] = B.otherVMCS
    #expect(b.exit(B.vmcall) == .vmcall)
  }

  @Test("PDPTEs: exit 33 with qualification 2") func pointers() throws {
    func pae(_ b: VMXBench) {
      b.clear(.ia32eModeGuest)
      b[.guestEFER] = 0
      b[.guestCSAccess] = 0xC09B
      b[.guestCR3] = 0x14000
      for i in 0..<4 as Range<UInt64> { b.put(0x14000 + i * 8, i == 0 ? 0x12001 : UInt64(0)) }
    }
    let b = try VMXBench()
    pae(b)
    #expect(b.exit(B.vmcall) == .vmcall)
    try check([
      Rule("from memory", .guestPDPTE0) {
        pae($0)
        $0.put(0x14018, UInt64(3))
      },
      Rule("from the VMCS", .guestPDPTE0) {
        pae($0)
        $0.set(.enableEPT)
        $0[.guestPDPTE2] = 1 << 40 | 1
      },
    ]) { $0.enter() && $0[.exitReason] == 0x8000_0021 && $0[.exitQualification] == 2 }
  }

  @Test("MSRs that cannot be loaded: exit 34 with the number of the entry", arguments: [
    (0xC000_0100, 0), (0xC000_0101, 0), (0x9B, 0), (0x802, 0), (0x1_0000_0010, 0), (0x277, 2), (0xC000_0082, 1 << 47),
    (0x480, 0), (0x12345, 0),
  ] as [(UInt64, UInt64)])
  func msrFailures(_ index: UInt64, _ value: UInt64) throws {
    let b = try VMXBench()
    b[.entryMSRLoadCount] = 3
    b[.entryMSRLoadAddress] = B.msrArea
    b.put(B.msrArea, UInt64(0x174))
    b.put(B.msrArea + 8, UInt64(0x55))
    b.put(B.msrArea + 16, index)
    b.put(B.msrArea + 24, value)
    #expect(b.enter() && b[.exitReason] == 0x8000_0022 && b[.exitQualification] == 2)
    // The host's own are back.
    #expect(b.state.sysenterCS == 0x77 && b.get(B.vmcs + 8, as: UInt32.self) == 0)
  }

  @Test("a failed entry changes no exit information but reason and qualification") func untouched() throws {
    let b = try VMXBench()
    let kept: [VMCSField] = [.exitInterruption, .idtVectoring, .exitInstructionLength, .guestLinearAddress, .guestPhysicalAddress]
    for field in kept { b[field] = 0x1234 }
    b[.guestRFLAGS] = 0
    b[.entryInterruption] = 0x8000_0306
    #expect(b.enter() && b[.exitReason] == 0x8000_0021)
    for field in kept { #expect(b[field] == 0x1234) }
    #expect(b[.entryInterruption] == 0x8000_0306)
  }
}
