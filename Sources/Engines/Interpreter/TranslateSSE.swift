import CZydis
import X86

extension Translator {
  /// Translates SSE, SSE2, MMX, FXSAVE and the cache hints; false if the instruction is none of these.
  mutating func translateSSE() -> Bool {
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_PREFETCH, ZYDIS_MNEMONIC_PREFETCHW, ZYDIS_MNEMONIC_PREFETCHNTA, ZYDIS_MNEMONIC_PREFETCHT0,
      ZYDIS_MNEMONIC_PREFETCHT1, ZYDIS_MNEMONIC_PREFETCHT2, ZYDIS_MNEMONIC_LFENCE, ZYDIS_MNEMONIC_MFENCE,
      ZYDIS_MNEMONIC_SFENCE:
      emitSSE(.nothing)
      return true
    case ZYDIS_MNEMONIC_CLFLUSH:
      emitSSE(.flushLine, source: operands[0], bytes: 1)
      return true
    case ZYDIS_MNEMONIC_FXSAVE, ZYDIS_MNEMONIC_FXSAVE64:
      emitState(.fxsave, wide: instruction.mnemonic == ZYDIS_MNEMONIC_FXSAVE64, write: true)
      return true
    case ZYDIS_MNEMONIC_FXRSTOR, ZYDIS_MNEMONIC_FXRSTOR64:
      emitState(.fxrstor, wide: instruction.mnemonic == ZYDIS_MNEMONIC_FXRSTOR64, write: false)
      return true
    default: break
    }
    switch instruction.meta.isa_set {
    case ZYDIS_ISA_SET_SSE, ZYDIS_ISA_SET_SSE2, ZYDIS_ISA_SET_SSE2MMX, ZYDIS_ISA_SET_SSEMXCSR,
      ZYDIS_ISA_SET_PENTIUMMMX:
      return translateMove() || translateLane() || translateArithmetic()
    default: return false
    }
  }

  /// FXSAVE and FXRSTOR: `dst` is 1 for the REX.W format; XMM8..15 belong to 64-bit mode.
  private mutating func emitState(_ op: SSEOp, wide: Bool, write: Bool) {
    var m = MicroOp(.sse)
    m.sseOp = op
    m.dst = wide ? 1 : 0
    m.src = context.isLong64 ? 16 : 8
    let start = ops.count
    address(operands[0], &m, size: 512, write: write)
    emitReady(op, before: start)
    emit(m)
  }

  /// Index of the host's instruction: mandatory prefix and opcode (`chost_float.h`).
  private var stub: UInt32 {
    var prefix: UInt32 = 0
    withUnsafeBytes(of: instruction.raw.prefixes) { bytes in
      let prefixes = bytes.bindMemory(to: ZydisDecodedInstructionRawPrefixes_.self)
      for entry in prefixes.prefix(Int(instruction.raw.prefix_count))
      where entry.type == ZYDIS_PREFIX_TYPE_MANDATORY {
        switch entry.value {
        case 0x66: prefix = 1
        case 0xF3: prefix = 2
        case 0xF2: prefix = 3
        default: break
        }
      }
    }
    return prefix << 8 | UInt32(instruction.opcode)
  }

  private func isXMM(_ operand: ZydisDecodedOperand) -> Bool {
    operand.type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_XMM
  }
  private func isMMX(_ operand: ZydisDecodedOperand) -> Bool {
    operand.type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_MMX
  }
  private func isMemory(_ operand: ZydisDecodedOperand) -> Bool { operand.type == ZYDIS_OPERAND_TYPE_MEMORY }

  /// A register operand as `SSEOp` wants it.
  private func registerField(_ operand: ZydisDecodedOperand) -> UInt8 {
    let register = operand.reg.value
    switch ZydisRegisterGetClass(register) {
    case ZYDIS_REGCLASS_XMM: return Self.vectorIndex(register) &* 2
    case ZYDIS_REGCLASS_MMX: return UInt8(truncatingIfNeeded: register.rawValue &- ZYDIS_REGISTER_MM0.rawValue)
    default: return Self.registerOffset(register)
    }
  }

  /// Emits one micro-op. `destination` or `source` may be memory, not both; `bytes` is what memory gives or
  /// takes (the operand's size unless said otherwise); 16-byte operands are aligned unless `unaligned`.
  private mutating func emitSSE(
    _ op: SSEOp, _ destination: ZydisDecodedOperand? = nil, source: ZydisDecodedOperand? = nil, stub: UInt32 = 0,
    immediate: UInt8 = 0, bytes: Int? = nil
  ) {
    var m = MicroOp(.sse)
    m.sseOp = op
    var size = 0
    let start = ops.count
    if let destination {
      if isMemory(destination) {
        size = bytes ?? Int(destination.size) / 8
        address(destination, &m, size: size, write: true)
      } else {
        m.dst = registerField(destination)
      }
    }
    if let source {
      if isMemory(source) {
        size = bytes ?? Int(source.size) / 8
        address(source, &m, size: size, write: false)
      } else {
        m.src = registerField(source)
      }
    }
    m.imm = SSEDetail(immediate: immediate, stub: stub, bytes: size, aligned: size == 16).raw
    emitReady(op, before: start)
    emit(m)
  }

  private mutating func emitReady(_ op: SSEOp, before start: Int) {
    var check = MicroOp(.sse)
    switch op {
    case .storeGPR32, .storeGPR64, .nothing, .flushLine: return
    case .fxsave, .fxrstor: check.sseOp = .stateReady
    case .convertToMMX, .mmxToXMM, .mmxFromXMM: check.sseOp = .bothReady
    case .mmxLoad32, .mmxLoad64, .mmxStore32, .mmxStore64, .mmxInteger, .mmxShuffle, .mmxInsert16, .mmxMaskedStore:
      check.sseOp = .mmxReady
    default: check.sseOp = .ready
    }
    emitFirst(check, before: start)
  }

  /// Moves between registers and memory.
  private mutating func translateMove() -> Bool {
    guard instruction.operand_count_visible == 2 else { return false }
    let to = operands[0]
    let from = operands[1]
    let stores = isMemory(to)
    let loads = isMemory(from)
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_MOVAPS, ZYDIS_MNEMONIC_MOVAPD, ZYDIS_MNEMONIC_MOVDQA, ZYDIS_MNEMONIC_MOVNTPS,
      ZYDIS_MNEMONIC_MOVNTPD, ZYDIS_MNEMONIC_MOVNTDQ:
      emitSSE(stores ? .store128Aligned : loads ? .load128Aligned : .move128, to, source: from)
    case ZYDIS_MNEMONIC_MOVUPS, ZYDIS_MNEMONIC_MOVUPD, ZYDIS_MNEMONIC_MOVDQU:
      emitSSE(stores ? .store128 : loads ? .load128 : .move128, to, source: from)
    case ZYDIS_MNEMONIC_MOVSS:
      emitSSE(stores ? .store32 : loads ? .load32 : .moveScalar32, to, source: from)
    case ZYDIS_MNEMONIC_MOVSD:
      emitSSE(stores ? .store64 : loads ? .load64 : .moveScalar64, to, source: from)
    case ZYDIS_MNEMONIC_MOVLPS, ZYDIS_MNEMONIC_MOVLPD:
      emitSSE(stores ? .store64 : .loadLow, to, source: from)
    case ZYDIS_MNEMONIC_MOVHPS, ZYDIS_MNEMONIC_MOVHPD:
      emitSSE(stores ? .storeHigh : .loadHigh, to, source: from)
    case ZYDIS_MNEMONIC_MOVHLPS: emitSSE(.moveHighToLow, to, source: from)
    case ZYDIS_MNEMONIC_MOVLHPS: emitSSE(.moveLowToHigh, to, source: from)
    case ZYDIS_MNEMONIC_MOVNTI: emitSSE(to.size == 64 ? .storeGPR64 : .storeGPR32, to, source: from)
    case ZYDIS_MNEMONIC_MOVNTQ: emitSSE(.mmxStore64, to, source: from)
    case ZYDIS_MNEMONIC_MOVQ2DQ: emitSSE(.mmxToXMM, to, source: from)
    case ZYDIS_MNEMONIC_MOVDQ2Q: emitSSE(.mmxFromXMM, to, source: from)
    case ZYDIS_MNEMONIC_MOVD, ZYDIS_MNEMONIC_MOVQ:
      emitQuadOrDouble(to, from, wide: instruction.mnemonic == ZYDIS_MNEMONIC_MOVQ)
    default: return false
    }
    return true
  }

  /// MOVD and MOVQ in all their forms.
  private mutating func emitQuadOrDouble(_ to: ZydisDecodedOperand, _ from: ZydisDecodedOperand, wide: Bool) {
    let op: SSEOp
    if isXMM(to) {
      if isMemory(from) {
        op = wide ? .load64 : .load32
      } else if isXMM(from) {
        op = .moveLow
      } else {
        op = wide ? .fromGPR64 : .fromGPR32
      }
    } else if isMMX(to) {
      if isMemory(from) {
        op = wide ? .mmxLoad64 : .mmxLoad32
      } else if isMMX(from) {
        op = .mmxMove
      } else {
        op = wide ? .mmxFromGPR64 : .mmxFromGPR32
      }
    } else if isXMM(from) {
      if isMemory(to) {
        op = wide ? .store64 : .store32
      } else {
        op = wide ? .toGPR64 : .toGPR32
      }
    } else if isMemory(to) {
      op = wide ? .mmxStore64 : .mmxStore32
    } else {
      op = wide ? .mmxToGPR64 : .mmxToGPR32
    }
    emitSSE(op, to, source: from)
  }

  private func immediate(_ index: Int) -> UInt8 { UInt8(truncatingIfNeeded: operands[index].imm.value.u) }

  /// Shuffles, shifts by a constant, word insertion and extraction, masks, MXCSR, EMMS.
  private mutating func translateLane() -> Bool {
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_PSHUFD: emitSSE(.shuffle32, operands[0], source: operands[1], immediate: immediate(2))
    case ZYDIS_MNEMONIC_PSHUFHW: emitSSE(.shuffleHigh16, operands[0], source: operands[1], immediate: immediate(2))
    case ZYDIS_MNEMONIC_PSHUFLW: emitSSE(.shuffleLow16, operands[0], source: operands[1], immediate: immediate(2))
    case ZYDIS_MNEMONIC_SHUFPS: emitSSE(.shuffleSingle, operands[0], source: operands[1], immediate: immediate(2))
    case ZYDIS_MNEMONIC_SHUFPD: emitSSE(.shuffleDouble, operands[0], source: operands[1], immediate: immediate(2))
    case ZYDIS_MNEMONIC_PSHUFW: emitSSE(.mmxShuffle, operands[0], source: operands[1], immediate: immediate(2))
    case ZYDIS_MNEMONIC_PSLLDQ: emitSSE(.shiftBytesLeft, operands[0], immediate: immediate(1))
    case ZYDIS_MNEMONIC_PSRLDQ: emitSSE(.shiftBytesRight, operands[0], immediate: immediate(1))
    case ZYDIS_MNEMONIC_PINSRW:
      let op: SSEOp = isXMM(operands[0]) ? .insert16 : .mmxInsert16
      emitSSE(op, operands[0], source: operands[1], immediate: immediate(2))
    case ZYDIS_MNEMONIC_PEXTRW:
      let op: SSEOp = isXMM(operands[1]) ? .extract16 : .mmxExtract16
      emitSSE(op, operands[0], source: operands[1], immediate: immediate(2))
    case ZYDIS_MNEMONIC_MOVMSKPS, ZYDIS_MNEMONIC_MOVMSKPD, ZYDIS_MNEMONIC_PMOVMSKB:
      let op: SSEOp = isXMM(operands[1]) ? .signMask : .mmxSignMask
      emitSSE(op, operands[0], source: operands[1], stub: stub)
    case ZYDIS_MNEMONIC_LDMXCSR: emitSSE(.loadMXCSR, source: operands[0])
    case ZYDIS_MNEMONIC_STMXCSR: emitSSE(.storeMXCSR, operands[0])
    case ZYDIS_MNEMONIC_EMMS: emitSSE(.emms)
    case ZYDIS_MNEMONIC_MASKMOVDQU: emitMaskedStore(.maskedStore, bytes: 16)
    case ZYDIS_MNEMONIC_MASKMOVQ: emitMaskedStore(.mmxMaskedStore, bytes: 8)
    case ZYDIS_MNEMONIC_PSLLW, ZYDIS_MNEMONIC_PSLLD, ZYDIS_MNEMONIC_PSLLQ, ZYDIS_MNEMONIC_PSRLW,
      ZYDIS_MNEMONIC_PSRLD, ZYDIS_MNEMONIC_PSRLQ, ZYDIS_MNEMONIC_PSRAW, ZYDIS_MNEMONIC_PSRAD:
      return translateShift()
    default: return false
    }
    return true
  }

  /// The destination of MASKMOVx is hidden: DS:rDI.
  private mutating func emitMaskedStore(_ op: SSEOp, bytes: Int) {
    guard let memory = operands.first(where: { isMemory($0) }) else { return }
    var m = MicroOp(.sse)
    m.sseOp = op
    m.dst = registerField(operands[0])
    m.src = registerField(operands[1])
    let start = ops.count
    address(memory, &m, size: bytes, write: true)
    emitReady(op, before: start)
    emit(m)
  }

  /// A shift by a constant is the shift by a register that holds it: the opcode 71, 72 or 73 with the
  /// operation in ModRM.reg becomes that of the register form.
  private mutating func translateShift() -> Bool {
    guard operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE else { return false }
    let base: UInt32 =
      switch instruction.raw.modrm.reg {
      case 2: 0xD0
      case 4: 0xE0
      default: 0xF0
      }
    let opcode = base + UInt32(instruction.opcode & 3)
    let isVector = isXMM(operands[0])
    emitSSE(
      isVector ? .shiftImmediate : .mmxShiftImmediate, operands[0], stub: isVector ? 0x100 | opcode : opcode,
      immediate: immediate(1))
    return true
  }

  /// What the host's instruction computes: arithmetic, comparisons, logic, conversions.
  private mutating func translateArithmetic() -> Bool {
    guard instruction.operand_count_visible >= 2 else { return false }
    let to = operands[0]
    let from = operands[1]
    let stub = self.stub
    let opcode = stub & 0xFF
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_CMPPS, ZYDIS_MNEMONIC_CMPPD, ZYDIS_MNEMONIC_CMPSS, ZYDIS_MNEMONIC_CMPSD:
      let predicate = UInt32(immediate(2) & 7)
      emitSSE(.float, to, source: from, stub: 1024 + (stub >> 8) * 8 + predicate)
    case ZYDIS_MNEMONIC_COMISS, ZYDIS_MNEMONIC_COMISD, ZYDIS_MNEMONIC_UCOMISS, ZYDIS_MNEMONIC_UCOMISD:
      emitSSE(.compare, to, source: from, stub: stub)
    case ZYDIS_MNEMONIC_CVTSI2SS, ZYDIS_MNEMONIC_CVTSI2SD:
      emitSSE(.convertFromGPR, to, source: from, stub: wide(stub, from.size == 64))
    case ZYDIS_MNEMONIC_CVTSS2SI, ZYDIS_MNEMONIC_CVTTSS2SI, ZYDIS_MNEMONIC_CVTSD2SI, ZYDIS_MNEMONIC_CVTTSD2SI:
      emitSSE(.convertToGPR, to, source: from, stub: wide(stub, to.size == 64))
    case ZYDIS_MNEMONIC_CVTPI2PS, ZYDIS_MNEMONIC_CVTPI2PD:
      emitSSE(.convertFromMMX, to, source: from, stub: stub)
    case ZYDIS_MNEMONIC_CVTPS2PI, ZYDIS_MNEMONIC_CVTTPS2PI, ZYDIS_MNEMONIC_CVTPD2PI, ZYDIS_MNEMONIC_CVTTPD2PI:
      emitSSE(.convertToMMX, to, source: from, stub: stub)
    default:
      if isMMX(to) {
        emitSSE(.mmxInteger, to, source: from, stub: stub)
      } else if isXMM(to) {
        emitSSE(Self.operation(stub: stub, opcode: opcode), to, source: from, stub: stub)
      } else {
        return false
      }
    }
    return true
  }

  /// The index of the REX.W form of a conversion.
  private func wide(_ stub: UInt32, _ isWide: Bool) -> UInt32 {
    guard isWide else { return stub }
    let which: UInt32 =
      switch stub & 0xFF {
      case 0x2A: 0
      case 0x2C: 1
      default: 2
      }
    return 1056 + ((stub >> 8) - 2) * 3 + which
  }

  /// The micro-op for an opcode on XMM registers: one of its own, or the host's instruction with or without
  /// MXCSR.
  private static func operation(stub: UInt32, opcode: UInt32) -> SSEOp {
    switch stub {
    case 0x358: return .addsd
    case 0x35C: return .subsd
    case 0x359: return .mulsd
    case 0x35E: return .divsd
    case 0x351: return .sqrtsd
    case 0x158: return .addpd
    case 0x15C: return .subpd
    case 0x159: return .mulpd
    case 0x258: return .addss
    case 0x25C: return .subss
    case 0x259: return .mulss
    case 0x25E: return .divss
    case 0x35D: return .minsd
    case 0x35F: return .maxsd
    case 0x058: return .addps
    case 0x05C: return .subps
    case 0x059: return .mulps
    case 0x114, 0x16C: return .unpackLow64
    default: break
    }
    switch opcode {
    case 0xEF, 0x57: return .xor128
    case 0xDB, 0x54: return .and128
    case 0xDF, 0x55: return .andNot128
    case 0xEB, 0x56: return .or128
    case 0x51, 0x52, 0x53, 0x58...0x5F, 0xE6: return .float
    default: return .integer
    }
  }
}
