import CZydis
import X86

extension Translator {
  /// Translates x87 instructions; false if the instruction is none.
  mutating func translateX87() -> Bool {
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_FWAIT: emitX87(.fwait)
    case ZYDIS_MNEMONIC_FNINIT: emitX87(.initialize)
    case ZYDIS_MNEMONIC_FNCLEX: emitX87(.clearExceptions)
    case ZYDIS_MNEMONIC_FENI8087_NOP, ZYDIS_MNEMONIC_FDISI8087_NOP, ZYDIS_MNEMONIC_FSETPM287_NOP: emitX87(.nothing)
    case ZYDIS_MNEMONIC_FLDCW: emitX87(.loadControl, memory: operands[0], bytes: 2)
    case ZYDIS_MNEMONIC_FNSTCW: emitX87(.storeControl, memory: operands[0], bytes: 2)
    case ZYDIS_MNEMONIC_FNSTSW:
      if operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY {
        emitX87(.storeStatus, memory: operands[0], bytes: 2)
      } else {
        emitX87(.storeStatusAX)
      }
    case ZYDIS_MNEMONIC_FLDENV: emitX87(.loadEnvironment, memory: operands[0])
    case ZYDIS_MNEMONIC_FNSTENV: emitX87(.storeEnvironment, memory: operands[0])
    case ZYDIS_MNEMONIC_FNSAVE: emitX87(.save, memory: operands[0])
    case ZYDIS_MNEMONIC_FRSTOR: emitX87(.restore, memory: operands[0])
    default: return translateX87Data()
    }
    return true
  }

  /// `dst` is 1 for the 16-bit formats of environments.
  private mutating func emitX87(_ op: X87Op, memory: ZydisDecodedOperand? = nil, bytes: Int? = nil) {
    var m = MicroOp(.x87)
    m.x87Op = op
    m.dst = instruction.operand_width == 16 ? 1 : 0
    if let memory {
      let writes = memory.actions & UInt8(truncatingIfNeeded: ZYDIS_OPERAND_ACTION_MASK_WRITE.rawValue) != 0
      let start = ops.count
      address(memory, &m, size: bytes ?? Int(memory.size) / 8, write: writes)
      emitReady(waiting: op == .loadControl || op == .loadEnvironment || op == .restore, before: start)
    }
    emit(m)
  }

  /// Loads, stores, arithmetic: the host's instruction of the same opcode.
  private mutating func translateX87Data() -> Bool {
    switch instruction.meta.isa_set {
    case ZYDIS_ISA_SET_X87, ZYDIS_ISA_SET_FCMOV, ZYDIS_ISA_SET_PPRO, ZYDIS_ISA_SET_SSE3X87: break
    default: return false
    }
    guard instruction.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT, instruction.opcode & 0xF8 == 0xD8 else { return false }
    let modrm = instruction.raw.modrm
    let family = UInt32(instruction.opcode & 7)
    let rest = modrm.mod << 6 | modrm.reg << 3 | modrm.rm
    let fop = UInt16(family) << 8 | UInt16(rest)
    var m = MicroOp(.x87)
    guard let memory = operands.first(where: { $0.type == ZYDIS_OPERAND_TYPE_MEMORY }) else {
      m.x87Op = quickRegisterForm(family, modrm.reg)
      m.src = modrm.rm
      let quick = m.x87Op == .hostRegister ? X87Quick(family, register: modrm.reg, modrm.rm) : nil
      if quick != nil { m.x87Op = .quickRegister }
      if let quick, !quick.hasOther { m.src = 0 }
      m.imm = X87Detail(
        stub: family * 64 + UInt32(rest - 0xC0), bytes: 0, opcode: fop, segment: 3, quick: quick
      ).raw
      emit(m)
      return true
    }
    let bytes = Int(memory.size) / 8
    let writes = memory.actions & UInt8(truncatingIfNeeded: ZYDIS_OPERAND_ACTION_MASK_WRITE.rawValue) != 0
    let isDouble = instruction.mnemonic == ZYDIS_MNEMONIC_FLD && bytes == 8
    let quick = isDouble ? nil : X87Quick(family, memory: modrm.reg)
    m.x87Op = quick?.memoryOp ?? (writes ? .hostStore : isDouble ? .load64 : .hostLoad)
    let stub = 512 + family * 8 + UInt32(modrm.reg)
    let segment = Self.segmentIndex(memory.mem.segment)
    m.imm = X87Detail(stub: stub, bytes: bytes, opcode: fop, segment: segment, quick: quick).raw
    let start = ops.count
    address(memory, &m, size: bytes, write: writes)
    emitReady(waiting: true, before: start)
    emit(m)
    return true
  }

  private mutating func emitReady(waiting: Bool, before start: Int) {
    var check = MicroOp(.x87)
    check.x87Op = waiting ? .waitingReady : .ready
    emitFirst(check, before: start)
  }

  /// FLD ST(i), FXCH ST(i) and FSTP ST(i) have bodies of their own.
  private func quickRegisterForm(_ family: UInt32, _ reg: UInt8) -> X87Op {
    switch (family, reg) {
    case (1, 0): .loadRegister
    case (1, 1): .exchange
    case (5, 3): .storeRegister
    default: .hostRegister
    }
  }
}

/// How an x87 instruction is done with one or two operands alone: the host's instruction, which does not pop, with
/// ST(1) for ST(i), and what becomes of its results.
struct X87Quick {
  enum Target: UInt8 { case none, top, other }
  /// Index of the host's instruction (`chost_float.h`).
  var stub: UInt32
  var target = Target.none
  var pops = false
  /// Sets C0, C2 and C3 too.
  var compares = false
  /// ST(i) takes part.
  var hasOther = true
  /// Where there is a memory operand.
  var memoryOp: X87Op?

  /// The register form `reg`, `rm` of opcode D8h + `family`; nil if it is none of these.
  init?(_ family: UInt32, register reg: UInt8, _ rm: UInt8) {
    let isArithmetic = reg < 2 || reg > 3
    stub = family * 64 + UInt32(reg) * 8 + 1
    switch family {
    case 0 where isArithmetic: target = .top
    case 0:
      stub = 0x11
      compares = true
      pops = reg == 3
    case 4 where isArithmetic: target = .other
    case 6 where isArithmetic:
      stub -= 2 * 64
      target = .other
      pops = true
    case 5 where reg == 4 || reg == 5:
      stub = 5 * 64 + 0x21
      compares = true
      pops = reg == 5
    case 1 where [0x20, 0x21, 0x24, 0x25, 0x3A, 0x3C].contains(reg << 3 | rm):
      stub = 64 + UInt32(reg << 3 | rm)
      hasOther = false
      compares = reg == 4 && rm >= 4
      target = compares ? .none : .top
    default: return nil
    }
  }

  /// The memory form `reg`.
  init?(_ family: UInt32, memory reg: UInt8) {
    stub = 512 + family * 8 + UInt32(reg)
    if family & 1 == 0 {
      memoryOp = .quickMemory
      if reg == 2 || reg == 3 {
        stub = 512 + family * 8 + 2
        compares = true
        pops = reg == 3
      } else {
        target = .top
      }
    }
    switch (family, reg) {
    case (0, _), (2, _), (4, _), (6, _): break
    case (1, 0), (3, 0), (7, 0), (7, 5), (3, 5): memoryOp = .quickPush
    case (1, 2), (3, 2), (5, 2), (7, 2): memoryOp = .quickStore
    case (1, 3), (3, 3), (5, 3), (7, 3):
      memoryOp = .quickStore
      stub -= 1
      pops = true
    case (3, 1), (5, 1), (7, 1), (3, 7), (7, 7):
      // These have no form that does not pop; the host's stack is emptied anyhow.
      memoryOp = .quickStore
      pops = true
    default: return nil
    }
  }
}
