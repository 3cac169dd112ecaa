import CZydis

/// The rarer integer operations: second-level opcodes of `Op.integer` and `Op.integerEnd`.
enum IntegerOp: UInt16 {
  case shl, shr, sar, rol, ror, rcl, rcr, shld, shrd
  case bt, bts, btr, btc, bsf, bsr, bitReach, addOffset
  case mul, imul, imul2, imul3, div, idiv
  case movzx16, movsx16, setccM, cmov, xchg, cmpxchg, xadd, cmpxchg8b, cmpxchg16b
  case cbw, cwd, lahf, sahf, clc, stc, cmc, cld, std, salc, xlat
  case aaa, aas, aam, aad, daa, das
  case pushRM, pushImmediate, popRM, pusha, popa, enter, leave, bound
  // `dst` is the destination, `src` the operand of ModRM.rm, `imm` VEX.vvvv (both by byte offset) or a constant.
  case popcnt, lzcnt, tzcnt, andn, bextr, blsi, blsmsk, blsr, bzhi, mulx, pdep, pext, rorx, sarx, shlx, shrx
  case movbeLoad, movbeStore, crc32
  case jccChecked, jmpChecked, callChecked, jmpRM, callRM, ret, loop, loope, loopne, jcxz
}

enum StringOp: UInt16 {
  case movs, cmps, stos, lods, scas

  init?(_ mnemonic: ZydisMnemonic) {
    switch mnemonic {
    case ZYDIS_MNEMONIC_MOVSB, ZYDIS_MNEMONIC_MOVSW, ZYDIS_MNEMONIC_MOVSD, ZYDIS_MNEMONIC_MOVSQ: self = .movs
    case ZYDIS_MNEMONIC_CMPSB, ZYDIS_MNEMONIC_CMPSW, ZYDIS_MNEMONIC_CMPSD, ZYDIS_MNEMONIC_CMPSQ: self = .cmps
    case ZYDIS_MNEMONIC_STOSB, ZYDIS_MNEMONIC_STOSW, ZYDIS_MNEMONIC_STOSD, ZYDIS_MNEMONIC_STOSQ: self = .stos
    case ZYDIS_MNEMONIC_LODSB, ZYDIS_MNEMONIC_LODSW, ZYDIS_MNEMONIC_LODSD, ZYDIS_MNEMONIC_LODSQ: self = .lods
    case ZYDIS_MNEMONIC_SCASB, ZYDIS_MNEMONIC_SCASW, ZYDIS_MNEMONIC_SCASD, ZYDIS_MNEMONIC_SCASQ: self = .scas
    default: return nil
    }
  }

  /// Element size of a string mnemonic.
  static func bytes(_ mnemonic: ZydisMnemonic) -> Int {
    switch mnemonic {
    case ZYDIS_MNEMONIC_MOVSB, ZYDIS_MNEMONIC_CMPSB, ZYDIS_MNEMONIC_STOSB, ZYDIS_MNEMONIC_LODSB,
      ZYDIS_MNEMONIC_SCASB:
      1
    case ZYDIS_MNEMONIC_MOVSW, ZYDIS_MNEMONIC_CMPSW, ZYDIS_MNEMONIC_STOSW, ZYDIS_MNEMONIC_LODSW,
      ZYDIS_MNEMONIC_SCASW:
      2
    case ZYDIS_MNEMONIC_MOVSD, ZYDIS_MNEMONIC_CMPSD, ZYDIS_MNEMONIC_STOSD, ZYDIS_MNEMONIC_LODSD,
      ZYDIS_MNEMONIC_SCASD:
      4
    default: 8
    }
  }
}

enum ConditionKind { case jump, set, move }

extension Translator {
  static let binary: [UInt32: Op] = [
    ZYDIS_MNEMONIC_ADD.rawValue: .add8rr, ZYDIS_MNEMONIC_OR.rawValue: .or8rr, ZYDIS_MNEMONIC_ADC.rawValue: .adc8rr,
    ZYDIS_MNEMONIC_SBB.rawValue: .sbb8rr, ZYDIS_MNEMONIC_AND.rawValue: .and8rr, ZYDIS_MNEMONIC_SUB.rawValue: .sub8rr,
    ZYDIS_MNEMONIC_XOR.rawValue: .xor8rr, ZYDIS_MNEMONIC_CMP.rawValue: .cmp8rr,
  ]

  static let rare: [UInt32: IntegerOp] = [
    ZYDIS_MNEMONIC_SHLD.rawValue: .shld, ZYDIS_MNEMONIC_SHRD.rawValue: .shrd,
    ZYDIS_MNEMONIC_BT.rawValue: .bt, ZYDIS_MNEMONIC_BTS.rawValue: .bts, ZYDIS_MNEMONIC_BTR.rawValue: .btr,
    ZYDIS_MNEMONIC_BTC.rawValue: .btc, ZYDIS_MNEMONIC_BSF.rawValue: .bsf, ZYDIS_MNEMONIC_BSR.rawValue: .bsr,
    ZYDIS_MNEMONIC_MUL.rawValue: .mul, ZYDIS_MNEMONIC_IMUL.rawValue: .imul, ZYDIS_MNEMONIC_DIV.rawValue: .div,
    ZYDIS_MNEMONIC_IDIV.rawValue: .idiv,
    ZYDIS_MNEMONIC_CMPXCHG.rawValue: .cmpxchg, ZYDIS_MNEMONIC_XADD.rawValue: .xadd,
    ZYDIS_MNEMONIC_CMPXCHG8B.rawValue: .cmpxchg8b, ZYDIS_MNEMONIC_CMPXCHG16B.rawValue: .cmpxchg16b,
    ZYDIS_MNEMONIC_CBW.rawValue: .cbw, ZYDIS_MNEMONIC_CWD.rawValue: .cwd,
    ZYDIS_MNEMONIC_LAHF.rawValue: .lahf, ZYDIS_MNEMONIC_SAHF.rawValue: .sahf,
    ZYDIS_MNEMONIC_CLC.rawValue: .clc, ZYDIS_MNEMONIC_STC.rawValue: .stc, ZYDIS_MNEMONIC_CMC.rawValue: .cmc,
    ZYDIS_MNEMONIC_CLD.rawValue: .cld, ZYDIS_MNEMONIC_STD.rawValue: .std,
    ZYDIS_MNEMONIC_SALC.rawValue: .salc, ZYDIS_MNEMONIC_XLAT.rawValue: .xlat,
    ZYDIS_MNEMONIC_AAA.rawValue: .aaa, ZYDIS_MNEMONIC_AAS.rawValue: .aas, ZYDIS_MNEMONIC_AAM.rawValue: .aam,
    ZYDIS_MNEMONIC_AAD.rawValue: .aad, ZYDIS_MNEMONIC_DAA.rawValue: .daa, ZYDIS_MNEMONIC_DAS.rawValue: .das,
    ZYDIS_MNEMONIC_PUSHA.rawValue: .pusha, ZYDIS_MNEMONIC_PUSHAD.rawValue: .pusha,
    ZYDIS_MNEMONIC_POPA.rawValue: .popa, ZYDIS_MNEMONIC_POPAD.rawValue: .popa,
    ZYDIS_MNEMONIC_ENTER.rawValue: .enter, ZYDIS_MNEMONIC_BOUND.rawValue: .bound,
    ZYDIS_MNEMONIC_LOOP.rawValue: .loop, ZYDIS_MNEMONIC_LOOPE.rawValue: .loope,
    ZYDIS_MNEMONIC_LOOPNE.rawValue: .loopne, ZYDIS_MNEMONIC_JCXZ.rawValue: .jcxz,
    ZYDIS_MNEMONIC_JECXZ.rawValue: .jcxz, ZYDIS_MNEMONIC_JRCXZ.rawValue: .jcxz,
  ]

  private static let conditions: [UInt32: (kind: ConditionKind, code: UInt8)] = {
    let rows: [(ZydisMnemonic, ZydisMnemonic, ZydisMnemonic)] = [
      (ZYDIS_MNEMONIC_JO, ZYDIS_MNEMONIC_SETO, ZYDIS_MNEMONIC_CMOVO),
      (ZYDIS_MNEMONIC_JNO, ZYDIS_MNEMONIC_SETNO, ZYDIS_MNEMONIC_CMOVNO),
      (ZYDIS_MNEMONIC_JB, ZYDIS_MNEMONIC_SETB, ZYDIS_MNEMONIC_CMOVB),
      (ZYDIS_MNEMONIC_JNB, ZYDIS_MNEMONIC_SETNB, ZYDIS_MNEMONIC_CMOVNB),
      (ZYDIS_MNEMONIC_JZ, ZYDIS_MNEMONIC_SETZ, ZYDIS_MNEMONIC_CMOVZ),
      (ZYDIS_MNEMONIC_JNZ, ZYDIS_MNEMONIC_SETNZ, ZYDIS_MNEMONIC_CMOVNZ),
      (ZYDIS_MNEMONIC_JBE, ZYDIS_MNEMONIC_SETBE, ZYDIS_MNEMONIC_CMOVBE),
      (ZYDIS_MNEMONIC_JNBE, ZYDIS_MNEMONIC_SETNBE, ZYDIS_MNEMONIC_CMOVNBE),
      (ZYDIS_MNEMONIC_JS, ZYDIS_MNEMONIC_SETS, ZYDIS_MNEMONIC_CMOVS),
      (ZYDIS_MNEMONIC_JNS, ZYDIS_MNEMONIC_SETNS, ZYDIS_MNEMONIC_CMOVNS),
      (ZYDIS_MNEMONIC_JP, ZYDIS_MNEMONIC_SETP, ZYDIS_MNEMONIC_CMOVP),
      (ZYDIS_MNEMONIC_JNP, ZYDIS_MNEMONIC_SETNP, ZYDIS_MNEMONIC_CMOVNP),
      (ZYDIS_MNEMONIC_JL, ZYDIS_MNEMONIC_SETL, ZYDIS_MNEMONIC_CMOVL),
      (ZYDIS_MNEMONIC_JNL, ZYDIS_MNEMONIC_SETNL, ZYDIS_MNEMONIC_CMOVNL),
      (ZYDIS_MNEMONIC_JLE, ZYDIS_MNEMONIC_SETLE, ZYDIS_MNEMONIC_CMOVLE),
      (ZYDIS_MNEMONIC_JNLE, ZYDIS_MNEMONIC_SETNLE, ZYDIS_MNEMONIC_CMOVNLE),
    ]
    var table: [UInt32: (kind: ConditionKind, code: UInt8)] = [:]
    for (code, row) in rows.enumerated() {
      table[row.0.rawValue] = (.jump, UInt8(code))
      table[row.1.rawValue] = (.set, UInt8(code))
      table[row.2.rawValue] = (.move, UInt8(code))
    }
    return table
  }()

  /// Which of Jcc, SETcc and CMOVcc, and its 4-bit condition.
  static func conditionCode(_ mnemonic: ZydisMnemonic) -> (kind: ConditionKind, code: UInt8)? {
    conditions[mnemonic.rawValue]
  }
}
