import CZydis

/// Finds the sensitive operation of an instruction Zydis decoded.
enum SensitivityClassifier {
  /// Mnemonics whose every form is sensitive in the same way. MOV, PUSH, POP, and far transfers need their
  /// operands looked at and are not here.
  private static let byMnemonic: [UInt32: SensitiveOperation] = {
    let rows: [(SensitiveOperation, [ZydisMnemonic])] = [
      (.portInput, [ZYDIS_MNEMONIC_IN, ZYDIS_MNEMONIC_INSB, ZYDIS_MNEMONIC_INSW, ZYDIS_MNEMONIC_INSD]),
      (.portOutput, [ZYDIS_MNEMONIC_OUT, ZYDIS_MNEMONIC_OUTSB, ZYDIS_MNEMONIC_OUTSW, ZYDIS_MNEMONIC_OUTSD]),
      (.interruptFlag, [ZYDIS_MNEMONIC_CLI, ZYDIS_MNEMONIC_STI]),
      (.hlt, [ZYDIS_MNEMONIC_HLT]), (.clts, [ZYDIS_MNEMONIC_CLTS]), (.lmsw, [ZYDIS_MNEMONIC_LMSW]),
      (.loadDescriptorTable, [ZYDIS_MNEMONIC_LGDT, ZYDIS_MNEMONIC_LIDT]),
      (.loadLDTTR, [ZYDIS_MNEMONIC_LLDT, ZYDIS_MNEMONIC_LTR]),
      (.msrRead, [ZYDIS_MNEMONIC_RDMSR]), (.msrWrite, [ZYDIS_MNEMONIC_WRMSR]),
      (.invlpg, [ZYDIS_MNEMONIC_INVLPG, ZYDIS_MNEMONIC_INVPCID, ZYDIS_MNEMONIC_INVLPGB, ZYDIS_MNEMONIC_TLBSYNC]),
      (.cacheControl, [ZYDIS_MNEMONIC_INVD, ZYDIS_MNEMONIC_WBINVD]),
      (.swapgs, [ZYDIS_MNEMONIC_SWAPGS]), (.systemReturn, [ZYDIS_MNEMONIC_SYSRET, ZYDIS_MNEMONIC_SYSEXIT]),
      (.xsetbv, [ZYDIS_MNEMONIC_XSETBV]), (.monitorMwait, [ZYDIS_MNEMONIC_MONITOR, ZYDIS_MNEMONIC_MWAIT]),
      (
        .vmx,
        [
          ZYDIS_MNEMONIC_VMCLEAR, ZYDIS_MNEMONIC_VMLAUNCH, ZYDIS_MNEMONIC_VMPTRLD, ZYDIS_MNEMONIC_VMPTRST,
          ZYDIS_MNEMONIC_VMREAD, ZYDIS_MNEMONIC_VMRESUME, ZYDIS_MNEMONIC_VMWRITE, ZYDIS_MNEMONIC_VMXOFF,
          ZYDIS_MNEMONIC_VMXON, ZYDIS_MNEMONIC_INVEPT, ZYDIS_MNEMONIC_INVVPID, ZYDIS_MNEMONIC_VMRUN,
          ZYDIS_MNEMONIC_VMLOAD, ZYDIS_MNEMONIC_VMSAVE, ZYDIS_MNEMONIC_STGI, ZYDIS_MNEMONIC_CLGI,
          ZYDIS_MNEMONIC_INVLPGA, ZYDIS_MNEMONIC_SKINIT,
        ]
      ),
      (
        .supervisorState,
        [
          ZYDIS_MNEMONIC_XSAVES, ZYDIS_MNEMONIC_XSAVES64, ZYDIS_MNEMONIC_XRSTORS, ZYDIS_MNEMONIC_XRSTORS64,
          ZYDIS_MNEMONIC_RSM,
        ]
      ),
      (.rdpmc, [ZYDIS_MNEMONIC_RDPMC]), (.smapFlag, [ZYDIS_MNEMONIC_CLAC, ZYDIS_MNEMONIC_STAC]),
      (.storeDescriptorTable, [ZYDIS_MNEMONIC_SGDT, ZYDIS_MNEMONIC_SIDT]),
      (.storeLDTTR, [ZYDIS_MNEMONIC_SLDT, ZYDIS_MNEMONIC_STR]), (.smsw, [ZYDIS_MNEMONIC_SMSW]),
      (.pushFlags, [ZYDIS_MNEMONIC_PUSHF, ZYDIS_MNEMONIC_PUSHFD, ZYDIS_MNEMONIC_PUSHFQ]),
      (.popFlags, [ZYDIS_MNEMONIC_POPF, ZYDIS_MNEMONIC_POPFD, ZYDIS_MNEMONIC_POPFQ]),
      (
        .segmentCheck,
        [ZYDIS_MNEMONIC_LAR, ZYDIS_MNEMONIC_LSL, ZYDIS_MNEMONIC_VERR, ZYDIS_MNEMONIC_VERW]
      ),
      (
        .loadSegment,
        [ZYDIS_MNEMONIC_LDS, ZYDIS_MNEMONIC_LES, ZYDIS_MNEMONIC_LFS, ZYDIS_MNEMONIC_LGS, ZYDIS_MNEMONIC_LSS]
      ),
      (
        .softwareInterrupt,
        [ZYDIS_MNEMONIC_INT, ZYDIS_MNEMONIC_INT1, ZYDIS_MNEMONIC_INT3, ZYDIS_MNEMONIC_INTO]
      ),
      (.interruptReturn, [ZYDIS_MNEMONIC_IRET, ZYDIS_MNEMONIC_IRETD, ZYDIS_MNEMONIC_IRETQ]),
      (.systemCall, [ZYDIS_MNEMONIC_SYSCALL, ZYDIS_MNEMONIC_SYSENTER]),
      (.cpuid, [ZYDIS_MNEMONIC_CPUID]), (.rdtsc, [ZYDIS_MNEMONIC_RDTSC]),
      (.rdtscp, [ZYDIS_MNEMONIC_RDTSCP, ZYDIS_MNEMONIC_RDPID]),
      (
        .fsgsbase,
        [
          ZYDIS_MNEMONIC_RDFSBASE, ZYDIS_MNEMONIC_RDGSBASE, ZYDIS_MNEMONIC_WRFSBASE, ZYDIS_MNEMONIC_WRGSBASE,
        ]
      ),
      (.xgetbv, [ZYDIS_MNEMONIC_XGETBV]), (.pkru, [ZYDIS_MNEMONIC_RDPKRU, ZYDIS_MNEMONIC_WRPKRU]),
      (.hypercall, [ZYDIS_MNEMONIC_VMCALL, ZYDIS_MNEMONIC_VMMCALL, ZYDIS_MNEMONIC_VMFUNC]),
    ]
    var table: [UInt32: SensitiveOperation] = [:]
    for (operation, mnemonics) in rows { for mnemonic in mnemonics { table[mnemonic.rawValue] = operation } }
    return table
  }()

  /// The operation of `instruction`, nil if it means the same in every ring. `operands` are all visible and
  /// hidden ones.
  static func operation(
    of instruction: borrowing ZydisDecodedInstruction, operands: UnsafeBufferPointer<ZydisDecodedOperand>
  ) -> SensitiveOperation? {
    if let operation = byMnemonic[instruction.mnemonic.rawValue] { return operation }
    if instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR { return .farTransfer }
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_MOV: return move(operands)
    case ZYDIS_MNEMONIC_PUSH: return isSegment(operands.first) ? .storeSegment : nil
    case ZYDIS_MNEMONIC_POP: return isSegment(operands.first) ? .loadSegment : nil
    default: return nil
    }
  }

  private static func move(_ operands: UnsafeBufferPointer<ZydisDecodedOperand>) -> SensitiveOperation? {
    guard operands.count >= 2 else { return nil }
    for (index, operand) in operands.prefix(2).enumerated() where operand.type == ZYDIS_OPERAND_TYPE_REGISTER {
      switch ZydisRegisterGetClass(operand.reg.value) {
      case ZYDIS_REGCLASS_CONTROL: return index == 0 ? .crWrite : .crRead
      case ZYDIS_REGCLASS_DEBUG: return .drAccess
      case ZYDIS_REGCLASS_SEGMENT: return index == 0 ? .loadSegment : .storeSegment
      default: continue
      }
    }
    return nil
  }

  private static func isSegment(_ operand: ZydisDecodedOperand?) -> Bool {
    guard let operand, operand.type == ZYDIS_OPERAND_TYPE_REGISTER else { return false }
    return ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_SEGMENT
  }
}
