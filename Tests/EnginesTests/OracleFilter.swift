import CZydis
import Engines
import VMCore

/// Which instructions may run on the host, and what the manual says about the flags they leave.
enum OracleFilter {
  /// This host has AVX2 and what goes with it.
  static let hasVEX = CPUModel.widest == .v3

  private static let sets: Set<UInt32> = {
    let levels = (CPUModel.widest == .baseline ? [] : secondLevel) + (hasVEX ? thirdLevel : [])
    return Set((firstLevel + levels).map { $0.rawValue })
  }()

  private static let firstLevel: [ZydisISASet] = [
    ZYDIS_ISA_SET_I86, ZYDIS_ISA_SET_I186, ZYDIS_ISA_SET_I386, ZYDIS_ISA_SET_I486, ZYDIS_ISA_SET_I486REAL,
    ZYDIS_ISA_SET_PENTIUMREAL, ZYDIS_ISA_SET_PPRO, ZYDIS_ISA_SET_CMOV, ZYDIS_ISA_SET_FCMOV, ZYDIS_ISA_SET_X87,
    ZYDIS_ISA_SET_LAHF, ZYDIS_ISA_SET_LONGMODE, ZYDIS_ISA_SET_CMPXCHG16B, ZYDIS_ISA_SET_FAT_NOP,
    ZYDIS_ISA_SET_SSE, ZYDIS_ISA_SET_SSE2, ZYDIS_ISA_SET_SSE2MMX,
    ZYDIS_ISA_SET_SSEMXCSR, ZYDIS_ISA_SET_SSE_PREFETCH, ZYDIS_ISA_SET_PENTIUMMMX, ZYDIS_ISA_SET_CLFSH,
  ]

  private static let secondLevel: [ZydisISASet] = [
    ZYDIS_ISA_SET_SSE3, ZYDIS_ISA_SET_SSE3X87, ZYDIS_ISA_SET_SSSE3, ZYDIS_ISA_SET_SSSE3MMX, ZYDIS_ISA_SET_SSE4,
    ZYDIS_ISA_SET_SSE42, ZYDIS_ISA_SET_POPCNT,
  ]
  private static let thirdLevel: [ZydisISASet] = [
    ZYDIS_ISA_SET_AVX, ZYDIS_ISA_SET_AVX2, ZYDIS_ISA_SET_AVX2GATHER, ZYDIS_ISA_SET_FMA, ZYDIS_ISA_SET_F16C,
    ZYDIS_ISA_SET_BMI1, ZYDIS_ISA_SET_BMI2, ZYDIS_ISA_SET_LZCNT, ZYDIS_ISA_SET_MOVBE,
  ]

  /// Never on the host: system calls, far transfers, segment loads, I/O, time, identification, single
  /// stepping; nor what depends on state the two sides do not share (descriptor tables, the x87 unit's
  /// instruction pointers).
  private static let refused: Set<UInt32> = Set(
    [
      ZYDIS_MNEMONIC_SYSCALL, ZYDIS_MNEMONIC_SYSENTER, ZYDIS_MNEMONIC_SYSEXIT, ZYDIS_MNEMONIC_SYSRET,
      ZYDIS_MNEMONIC_INT, ZYDIS_MNEMONIC_INT1, ZYDIS_MNEMONIC_INT3, ZYDIS_MNEMONIC_INTO, ZYDIS_MNEMONIC_IRET,
      ZYDIS_MNEMONIC_IRETD, ZYDIS_MNEMONIC_IRETQ, ZYDIS_MNEMONIC_LDS, ZYDIS_MNEMONIC_LES, ZYDIS_MNEMONIC_LSS,
      ZYDIS_MNEMONIC_LFS, ZYDIS_MNEMONIC_LGS, ZYDIS_MNEMONIC_IN, ZYDIS_MNEMONIC_OUT, ZYDIS_MNEMONIC_INSB,
      ZYDIS_MNEMONIC_INSW, ZYDIS_MNEMONIC_INSD, ZYDIS_MNEMONIC_OUTSB, ZYDIS_MNEMONIC_OUTSW, ZYDIS_MNEMONIC_OUTSD,
      ZYDIS_MNEMONIC_RDTSC, ZYDIS_MNEMONIC_RDTSCP, ZYDIS_MNEMONIC_RDPMC, ZYDIS_MNEMONIC_CPUID, ZYDIS_MNEMONIC_RSM,
      ZYDIS_MNEMONIC_POPF, ZYDIS_MNEMONIC_POPFD, ZYDIS_MNEMONIC_POPFQ, ZYDIS_MNEMONIC_SGDT, ZYDIS_MNEMONIC_SIDT,
      ZYDIS_MNEMONIC_SLDT, ZYDIS_MNEMONIC_STR, ZYDIS_MNEMONIC_SMSW, ZYDIS_MNEMONIC_LAR, ZYDIS_MNEMONIC_LSL,
      ZYDIS_MNEMONIC_VERR, ZYDIS_MNEMONIC_VERW, ZYDIS_MNEMONIC_ARPL, ZYDIS_MNEMONIC_FNSTENV, ZYDIS_MNEMONIC_FNSAVE,
      ZYDIS_MNEMONIC_FLDENV, ZYDIS_MNEMONIC_FRSTOR, ZYDIS_MNEMONIC_STI, ZYDIS_MNEMONIC_CLI, ZYDIS_MNEMONIC_HLT,
      ZYDIS_MNEMONIC_UD0, ZYDIS_MNEMONIC_UD1, ZYDIS_MNEMONIC_SALC,
    ].map { $0.rawValue })

  static func allows(_ instruction: ZydisDecodedInstruction, _ operands: [ZydisDecodedOperand], mode: Int) -> Bool {
    guard sets.contains(instruction.meta.isa_set.rawValue), !refused.contains(instruction.mnemonic.rawValue) else {
      return false
    }
    if instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR { return false }
    // Near branches with 16-bit operands in 64-bit mode: one maker's processors cut RIP, the other's do not.
    let narrow = instruction.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE != 0
    if mode == 0 && narrow && instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE { return false }
    if instruction.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED != 0 { return false }
    // VEX.W of these outside 64-bit mode: one maker's processors ignore it, the other's raise #UD.
    let isWide = instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && instruction.raw.vex.W == 1
    if mode != 0 && isWide && [ZYDIS_MNEMONIC_VPINSRD, ZYDIS_MNEMONIC_VPEXTRD].contains(instruction.mnemonic) { return false }
    for operand in operands {
      if operand.type == ZYDIS_OPERAND_TYPE_REGISTER, operand.visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN {
        let writes = operand.actions & UInt8(truncatingIfNeeded: ZYDIS_OPERAND_ACTION_MASK_WRITE.rawValue) != 0
        switch ZydisRegisterGetClass(operand.reg.value) {
        case ZYDIS_REGCLASS_SEGMENT where writes: return false
        // With wider operands the manual leaves open what lies above the selector.
        case ZYDIS_REGCLASS_SEGMENT where instruction.mnemonic == ZYDIS_MNEMONIC_PUSH: return false
        case ZYDIS_REGCLASS_CONTROL, ZYDIS_REGCLASS_DEBUG, ZYDIS_REGCLASS_TEST: return false
        default: break
        }
      }
      // FS and GS hold the host's thread.
      if operand.type == ZYDIS_OPERAND_TYPE_MEMORY {
        if operand.mem.segment == ZYDIS_REGISTER_FS || operand.mem.segment == ZYDIS_REGISTER_GS { return false }
      }
    }
    // LOOPcc heeds REP prefixes on some processors; they are reserved there.
    let isLoop = instruction.mnemonic == ZYDIS_MNEMONIC_LOOPE || instruction.mnemonic == ZYDIS_MNEMONIC_LOOPNE
    if isLoop && instruction.raw.prefix_count > 0 { return false }
    return !leavesResultUndefined(instruction, operands)
  }

  /// SHLD and SHRD of 16 bits by more than 16.
  private static func leavesResultUndefined(
    _ instruction: ZydisDecodedInstruction, _ operands: [ZydisDecodedOperand]
  ) -> Bool {
    guard instruction.mnemonic == ZYDIS_MNEMONIC_SHLD || instruction.mnemonic == ZYDIS_MNEMONIC_SHRD else {
      return false
    }
    return operands[0].size == 16
      && (operands[2].type != ZYDIS_OPERAND_TYPE_IMMEDIATE || operands[2].imm.value.u & 31 > 16)
  }

  /// Instructions that write their flags only if a count is not zero.
  static func mayLeaveFlags(_ mnemonic: ZydisMnemonic) -> Bool {
    switch mnemonic {
    case ZYDIS_MNEMONIC_SHL, ZYDIS_MNEMONIC_SHR, ZYDIS_MNEMONIC_SAR, ZYDIS_MNEMONIC_ROL, ZYDIS_MNEMONIC_ROR,
      ZYDIS_MNEMONIC_RCL, ZYDIS_MNEMONIC_RCR, ZYDIS_MNEMONIC_SHLD, ZYDIS_MNEMONIC_SHRD, ZYDIS_MNEMONIC_CMPSB,
      ZYDIS_MNEMONIC_CMPSW, ZYDIS_MNEMONIC_CMPSD, ZYDIS_MNEMONIC_CMPSQ, ZYDIS_MNEMONIC_SCASB, ZYDIS_MNEMONIC_SCASW,
      ZYDIS_MNEMONIC_SCASD, ZYDIS_MNEMONIC_SCASQ:
      return true
    default: return false
    }
  }

  static func readsAllFlags(_ mnemonic: ZydisMnemonic) -> Bool {
    switch mnemonic {
    case ZYDIS_MNEMONIC_PUSHF, ZYDIS_MNEMONIC_PUSHFD, ZYDIS_MNEMONIC_PUSHFQ, ZYDIS_MNEMONIC_LAHF: return true
    default: return false
    }
  }

  /// ZYDIS_FPUFLAG bits at the places of C0..C3 in the status word.
  static func statusBits(_ flags: UInt32) -> UInt16 {
    let low = UInt16(truncatingIfNeeded: flags & 7) << 8
    return low | UInt16(truncatingIfNeeded: flags >> 3 & 1) << 14
  }
}
