import CZydis
import VMCore
import X86

/// A system instruction without operands worth looking at: its micro-op, and whether the block ends.
private struct PlainSystem {
  var op: SystemOp
  var ends: Bool
  /// log2 of the operand size where the mnemonic implies it.
  var sizeLog2: UInt8 = 0
  init(_ op: SystemOp, ends: Bool = false, size: UInt8 = 0) {
    self.op = op
    self.ends = ends
    sizeLog2 = size
  }
}

private let plainSystem: [ZydisMnemonic.RawValue: PlainSystem] = {
  var table: [ZydisMnemonic.RawValue: PlainSystem] = [:]
  func add(_ mnemonic: ZydisMnemonic, _ entry: PlainSystem) { table[mnemonic.rawValue] = entry }
  add(ZYDIS_MNEMONIC_IRET, PlainSystem(.interruptReturn, ends: true, size: 1))
  add(ZYDIS_MNEMONIC_IRETD, PlainSystem(.interruptReturn, ends: true, size: 2))
  add(ZYDIS_MNEMONIC_IRETQ, PlainSystem(.interruptReturn, ends: true, size: 3))
  add(ZYDIS_MNEMONIC_INT3, PlainSystem(.int3, ends: true))
  add(ZYDIS_MNEMONIC_INT1, PlainSystem(.int1, ends: true))
  add(ZYDIS_MNEMONIC_INTO, PlainSystem(.into, ends: true))
  add(ZYDIS_MNEMONIC_CLTS, PlainSystem(.clts))
  add(ZYDIS_MNEMONIC_INVD, PlainSystem(.invd))
  add(ZYDIS_MNEMONIC_WBINVD, PlainSystem(.wbinvd))
  add(ZYDIS_MNEMONIC_RDMSR, PlainSystem(.rdmsr))
  add(ZYDIS_MNEMONIC_WRMSR, PlainSystem(.wrmsr, ends: true))
  add(ZYDIS_MNEMONIC_RDTSC, PlainSystem(.rdtsc))
  add(ZYDIS_MNEMONIC_RDTSCP, PlainSystem(.rdtscp))
  add(ZYDIS_MNEMONIC_RDPMC, PlainSystem(.rdpmc))
  add(ZYDIS_MNEMONIC_CPUID, PlainSystem(.cpuid))
  add(ZYDIS_MNEMONIC_HLT, PlainSystem(.hlt, ends: true))
  add(ZYDIS_MNEMONIC_PAUSE, PlainSystem(.pause))
  add(ZYDIS_MNEMONIC_CLI, PlainSystem(.cli))
  add(ZYDIS_MNEMONIC_STI, PlainSystem(.sti, ends: true))
  add(ZYDIS_MNEMONIC_CLAC, PlainSystem(.clac))
  add(ZYDIS_MNEMONIC_STAC, PlainSystem(.stac))
  add(ZYDIS_MNEMONIC_PUSHF, PlainSystem(.pushf, size: 1))
  add(ZYDIS_MNEMONIC_PUSHFD, PlainSystem(.pushf, size: 2))
  add(ZYDIS_MNEMONIC_PUSHFQ, PlainSystem(.pushf, size: 3))
  add(ZYDIS_MNEMONIC_POPF, PlainSystem(.popf, ends: true, size: 1))
  add(ZYDIS_MNEMONIC_POPFD, PlainSystem(.popf, ends: true, size: 2))
  add(ZYDIS_MNEMONIC_POPFQ, PlainSystem(.popf, ends: true, size: 3))
  add(ZYDIS_MNEMONIC_SYSCALL, PlainSystem(.syscall, ends: true))
  add(ZYDIS_MNEMONIC_SYSRET, PlainSystem(.sysret, ends: true))
  add(ZYDIS_MNEMONIC_SYSENTER, PlainSystem(.sysenter, ends: true))
  add(ZYDIS_MNEMONIC_SYSEXIT, PlainSystem(.sysexit, ends: true))
  add(ZYDIS_MNEMONIC_SWAPGS, PlainSystem(.swapgs))
  add(ZYDIS_MNEMONIC_XGETBV, PlainSystem(.xgetbv))
  add(ZYDIS_MNEMONIC_XSETBV, PlainSystem(.xsetbv, ends: true))
  add(ZYDIS_MNEMONIC_VMCALL, PlainSystem(.vmcall, ends: true))
  add(ZYDIS_MNEMONIC_VMLAUNCH, PlainSystem(.vmlaunch, ends: true))
  add(ZYDIS_MNEMONIC_VMRESUME, PlainSystem(.vmresume, ends: true))
  add(ZYDIS_MNEMONIC_VMXOFF, PlainSystem(.vmxoff, ends: true))
  let absent = [
    ZYDIS_MNEMONIC_UD0, ZYDIS_MNEMONIC_UD1, ZYDIS_MNEMONIC_UD2, ZYDIS_MNEMONIC_RSM, ZYDIS_MNEMONIC_MONITOR,
    ZYDIS_MNEMONIC_MWAIT, ZYDIS_MNEMONIC_VMMCALL, ZYDIS_MNEMONIC_VMRUN,
    ZYDIS_MNEMONIC_GETSEC,
  ]
  for mnemonic in absent { add(mnemonic, PlainSystem(.undefined, ends: true)) }
  return table
}()

extension Translator {
  /// System instructions, segment register moves, far transfers and port I/O; false for anything else.
  mutating func translateSystem() -> Bool {
    if let plain = plainSystem[instruction.mnemonic.rawValue] {
      var op = systemOp(plain.op, size: plain.sizeLog2)
      let wide = instruction.raw.rex.W != 0
      if wide && (plain.op == .sysret || plain.op == .sysexit) { op.flags |= 3 << 4 }
      add(op, ends: plain.ends)
      return true
    }
    return translateVMX() || translateTransfer() || translateSegmentMove() || translateTables() || translateRegisters()
      || translatePorts()
  }

  private func systemOp(_ op: SystemOp, size: UInt8) -> MicroOp {
    var o = MicroOp(.system)
    o.aux = op.rawValue
    o.flags = size << 4
    return o
  }

  private mutating func add(_ op: MicroOp, ends: Bool = false) {
    emitPolicy(for: op)
    guard ends else {
      emit(op)
      return
    }
    var last = op
    last.op = .systemEnd
    finish(last)
  }

  private func log2(bits: UInt16) -> UInt8 {
    switch bits {
    case 8: 0
    case 16: 1
    case 32: 2
    default: 3
    }
  }
  private func registerClass(_ i: Int) -> ZydisRegisterClass {
    isRegister(i) ? ZydisRegisterGetClass(operands[i].reg.value) : ZYDIS_REGCLASS_INVALID
  }
  private func registerNumber(_ i: Int) -> Int64 { Int64(ZydisRegisterGetId(operands[i].reg.value)) }

  // MARK: Far transfers and interrupts

  private mutating func translateTransfer() -> Bool {
    let far = instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_INT:
      var op = systemOp(.int, size: 0)
      op.imm = Int64(truncatingIfNeeded: operands[0].imm.value.u & 0xFF)
      add(op, ends: true)
    case ZYDIS_MNEMONIC_RET where far:
      var op = systemOp(.returnFar, size: operandSizeLog2)
      if let first = operands.first, first.type == ZYDIS_OPERAND_TYPE_IMMEDIATE {
        op.imm = Int64(truncatingIfNeeded: first.imm.value.u & 0xFFFF)
      }
      add(op, ends: true)
    case ZYDIS_MNEMONIC_JMP where far: translateFar(.jumpFar, .jumpFarM)
    case ZYDIS_MNEMONIC_CALL where far: translateFar(.callFar, .callFarM)
    default: return false
    }
    return true
  }

  private mutating func translateFar(_ direct: SystemOp, _ indirect: SystemOp) {
    let size = operandSizeLog2
    if isMemory(0) {
      var op = systemOp(indirect, size: size)
      address(operands[0], &op, size: (1 << Int(size)) + 2, write: false)
      add(op, ends: true)
      return
    }
    var op = systemOp(direct, size: size)
    op.imm = Int64(operands[0].ptr.segment)
    op.disp = Int64(operands[0].ptr.offset)
    if size == 1 { op.disp &= 0xFFFF }
    add(op, ends: true)
  }

  // MARK: Segment registers

  private mutating func translateSegmentMove() -> Bool {
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_MOV: return translateMOV()
    case ZYDIS_MNEMONIC_PUSH where registerClass(0) == ZYDIS_REGCLASS_SEGMENT:
      var op = systemOp(.pushSegment, size: operandSizeLog2)
      op.imm = registerNumber(0)
      add(op)
    case ZYDIS_MNEMONIC_POP where registerClass(0) == ZYDIS_REGCLASS_SEGMENT:
      var op = systemOp(.popSegment, size: operandSizeLog2)
      op.imm = registerNumber(0)
      add(op, ends: true)
    case ZYDIS_MNEMONIC_LES: translateFarPointer(0)
    case ZYDIS_MNEMONIC_LSS: translateFarPointer(2)
    case ZYDIS_MNEMONIC_LDS: translateFarPointer(3)
    case ZYDIS_MNEMONIC_LFS: translateFarPointer(4)
    case ZYDIS_MNEMONIC_LGS: translateFarPointer(5)
    default: return false
    }
    return true
  }

  private mutating func translateFarPointer(_ segment: Int64) {
    let size = operandSizeLog2
    var op = systemOp(.loadFarPointer, size: size)
    op.dst = Self.registerOffset(operands[0].reg.value)
    op.imm = segment
    address(operands[1], &op, size: (1 << Int(size)) + 2, write: false)
    add(op, ends: true)
  }

  /// MOV with a segment, control or debug register.
  private mutating func translateMOV() -> Bool {
    if registerClass(0) == ZYDIS_REGCLASS_SEGMENT {
      let segment = registerNumber(0)
      // MOV CS does not exist.
      var op = systemOp(segment == 1 ? .undefined : isMemory(1) ? .movToSegmentM : .movToSegment, size: 1)
      op.imm = segment
      if isMemory(1) {
        address(operands[1], &op, size: 2, write: false)
      } else {
        op.src = Self.registerOffset(operands[1].reg.value)
      }
      add(op, ends: true)
      return true
    }
    if registerClass(1) == ZYDIS_REGCLASS_SEGMENT {
      var op = systemOp(isMemory(0) ? .movFromSegmentM : .movFromSegment, size: log2(bits: operands[0].size))
      op.imm = registerNumber(1)
      if isMemory(0) {
        address(operands[0], &op, size: 2, write: true)
      } else {
        op.dst = Self.registerOffset(operands[0].reg.value)
      }
      add(op)
      return true
    }
    return translateMove(ZYDIS_REGCLASS_CONTROL, .movToCR, .movFromCR)
      || translateMove(ZYDIS_REGCLASS_DEBUG, .movToDR, .movFromDR)
  }

  private mutating func translateMove(_ kind: ZydisRegisterClass, _ to: SystemOp, _ from: SystemOp) -> Bool {
    if registerClass(0) == kind {
      var op = systemOp(to, size: 3)
      op.imm = registerNumber(0)
      op.src = Self.slotOffset(operands[1].reg.value)
      add(op, ends: true)
      return true
    }
    guard registerClass(1) == kind else { return false }
    var op = systemOp(from, size: 3)
    op.imm = registerNumber(1)
    op.dst = Self.slotOffset(operands[0].reg.value)
    add(op)
    return true
  }

  // MARK: Descriptor tables

  private mutating func translateTables() -> Bool {
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_SGDT: translateTable(.sgdt, write: true)
    case ZYDIS_MNEMONIC_SIDT: translateTable(.sidt, write: true)
    case ZYDIS_MNEMONIC_LGDT: translateTable(.lgdt, write: false)
    case ZYDIS_MNEMONIC_LIDT: translateTable(.lidt, write: false)
    case ZYDIS_MNEMONIC_INVLPG:
      var op = systemOp(.invlpg, size: 0)
      address(operands[0], &op, size: 0, write: false)
      add(op, ends: true)
    case ZYDIS_MNEMONIC_SLDT: translateStore(.sldt, .sldtM)
    case ZYDIS_MNEMONIC_STR: translateStore(.str, .strM)
    case ZYDIS_MNEMONIC_SMSW: translateStore(.smsw, .smswM)
    case ZYDIS_MNEMONIC_LLDT: translateSource(.lldt, .lldtM, operand: 0, ends: true)
    case ZYDIS_MNEMONIC_LTR: translateSource(.ltr, .ltrM, operand: 0, ends: true)
    case ZYDIS_MNEMONIC_LMSW: translateSource(.lmsw, .lmswM, operand: 0, ends: true)
    case ZYDIS_MNEMONIC_VERR: translateSource(.verr, .verrM, operand: 0)
    case ZYDIS_MNEMONIC_VERW: translateSource(.verw, .verwM, operand: 0)
    case ZYDIS_MNEMONIC_LAR: translateSource(.lar, .larM, operand: 1)
    case ZYDIS_MNEMONIC_LSL: translateSource(.lsl, .lslM, operand: 1)
    case ZYDIS_MNEMONIC_ARPL:
      var op = systemOp(isMemory(0) ? .arplM : .arpl, size: 1)
      op.src = Self.registerOffset(operands[1].reg.value)
      if isMemory(0) {
        address(operands[0], &op, size: 2, write: false)
        op.imm = Int64(Self.segmentIndex(operands[0].mem.segment))
      } else {
        op.dst = Self.registerOffset(operands[0].reg.value)
      }
      add(op)
    case ZYDIS_MNEMONIC_XSAVE, ZYDIS_MNEMONIC_XSAVE64:
      translateState(.xsave, wide: instruction.mnemonic == ZYDIS_MNEMONIC_XSAVE64, write: true)
    case ZYDIS_MNEMONIC_XRSTOR, ZYDIS_MNEMONIC_XRSTOR64:
      translateState(.xrstor, wide: instruction.mnemonic == ZYDIS_MNEMONIC_XRSTOR64, write: false)
    default: return false
    }
    return true
  }

  /// XSAVE and XRSTOR: `src` is the number of vector registers there are.
  private mutating func translateState(_ kind: SystemOp, wide: Bool, write: Bool) {
    var op = systemOp(kind, size: 0)
    op.dst = wide ? 1 : 0
    op.src = context.isLong64 ? 16 : 8
    address(operands[0], &op, size: 1, write: write)
    add(op)
  }

  private mutating func translateTable(_ kind: SystemOp, write: Bool) {
    var op = systemOp(kind, size: operandSizeLog2)
    address(operands[0], &op, size: context.isLong64 ? 10 : 6, write: write)
    add(op)
  }

  private mutating func translateStore(_ register: SystemOp, _ memory: SystemOp) {
    if isMemory(0) {
      var op = systemOp(memory, size: 1)
      address(operands[0], &op, size: 2, write: true)
      add(op)
      return
    }
    var op = systemOp(register, size: log2(bits: operands[0].size))
    op.dst = Self.registerOffset(operands[0].reg.value)
    add(op)
  }

  /// A 16-bit selector (or status word) in register or memory; `dst` is the first operand where the
  /// selector is the second.
  private mutating func translateSource(
    _ register: SystemOp, _ memory: SystemOp, operand: Int, ends: Bool = false
  ) {
    let size = operand == 1 ? log2(bits: operands[0].size) : 1
    var op = systemOp(isMemory(operand) ? memory : register, size: size)
    if operand == 1 { op.dst = Self.registerOffset(operands[0].reg.value) }
    if isMemory(operand) {
      address(operands[operand], &op, size: 2, write: false)
    } else {
      op.src = Self.registerOffset(operands[operand].reg.value)
    }
    add(op, ends: ends)
  }

  // MARK: VMX

  private mutating func translateVMX() -> Bool {
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_VMXON: translatePointer(.vmxon, write: false)
    case ZYDIS_MNEMONIC_VMCLEAR: translatePointer(.vmclear, write: false)
    case ZYDIS_MNEMONIC_VMPTRLD: translatePointer(.vmptrld, write: false)
    case ZYDIS_MNEMONIC_VMPTRST: translatePointer(.vmptrst, write: true)
    case ZYDIS_MNEMONIC_VMREAD: translateField(.vmread, .vmreadM, operand: 0)
    case ZYDIS_MNEMONIC_VMWRITE: translateField(.vmwrite, .vmwriteM, operand: 1)
    case ZYDIS_MNEMONIC_INVEPT: translateInvalidation(.invept)
    case ZYDIS_MNEMONIC_INVVPID: translateInvalidation(.invvpid)
    default: return false
    }
    return true
  }

  private mutating func translatePointer(_ kind: SystemOp, write: Bool) {
    var op = systemOp(kind, size: 3)
    address(operands[0], &op, size: 8, write: write)
    add(op, ends: true)
  }

  /// `operand` is the one that may be memory; the other is a register.
  private mutating func translateField(_ register: SystemOp, _ memory: SystemOp, operand: Int) {
    var op = systemOp(isMemory(operand) ? memory : register, size: operandSizeLog2)
    let isRead = register == .vmread
    let encoding = Self.slotOffset(operands[1 - operand].reg.value)
    if isRead { op.src = encoding } else { op.dst = encoding }
    if isMemory(operand) {
      address(operands[operand], &op, size: context.isLong64 ? 8 : 4, write: isRead)
    } else if isRead {
      op.dst = Self.slotOffset(operands[operand].reg.value)
    } else {
      op.src = Self.slotOffset(operands[operand].reg.value)
    }
    add(op, ends: true)
  }

  private mutating func translateInvalidation(_ kind: SystemOp) {
    var op = systemOp(kind, size: 3)
    op.dst = Self.slotOffset(operands[0].reg.value)
    address(operands[1], &op, size: 16, write: false)
    add(op, ends: true)
  }

  // MARK: FS and GS bases, ports

  private mutating func translateRegisters() -> Bool {
    let kind: SystemOp
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_RDFSBASE: kind = .rdfsbase
    case ZYDIS_MNEMONIC_RDGSBASE: kind = .rdgsbase
    case ZYDIS_MNEMONIC_WRFSBASE: kind = .wrfsbase
    case ZYDIS_MNEMONIC_WRGSBASE: kind = .wrgsbase
    default: return false
    }
    var op = systemOp(kind, size: log2(bits: operands[0].size))
    op.dst = Self.registerOffset(operands[0].reg.value)
    op.src = op.dst
    add(op)
    return true
  }

  private mutating func translatePorts() -> Bool {
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_IN: translatePort(.in, data: 0, port: 1)
    case ZYDIS_MNEMONIC_OUT: translatePort(.out, data: 1, port: 0)
    case ZYDIS_MNEMONIC_INSB: translatePortString(.ins, 0)
    case ZYDIS_MNEMONIC_INSW: translatePortString(.ins, 1)
    case ZYDIS_MNEMONIC_INSD: translatePortString(.ins, 2)
    case ZYDIS_MNEMONIC_OUTSB: translatePortString(.outs, 0)
    case ZYDIS_MNEMONIC_OUTSW: translatePortString(.outs, 1)
    case ZYDIS_MNEMONIC_OUTSD: translatePortString(.outs, 2)
    default: return false
    }
    return true
  }

  private mutating func translatePort(_ kind: SystemOp, data: Int, port: Int) {
    var op = systemOp(kind, size: log2(bits: operands[data].size))
    let immediate = operands[port].type == ZYDIS_OPERAND_TYPE_IMMEDIATE
    op.imm = immediate ? Int64(truncatingIfNeeded: operands[port].imm.value.u & 0xFF) : -1
    add(op)
  }

  private mutating func translatePortString(_ kind: SystemOp, _ size: UInt8) {
    var op = systemOp(kind, size: size)
    let addressSize = UInt8((Int(instruction.address_width) / 8).trailingZeroBitCount)
    op.flags |= addressSize << 6
    // F2 repeats as well as F3.
    if instruction.attributes & (ZydisREP.rep | ZydisREP.repne) != 0 { op.flags |= MicroOp.rep }
    if kind == .outs, let memory = operands.first(where: { $0.type == ZYDIS_OPERAND_TYPE_MEMORY }) {
      op.src = UInt8(Self.segmentIndex(memory.mem.segment))
    }
    add(op)
  }
}

/// Attribute bits of the REP prefixes in force (`ZYDIS_ATTRIB_HAS_REP`, `HAS_REPNE`).
private enum ZydisREP {
  static let rep: UInt64 = 1 << 28
  static let repne: UInt64 = 1 << 30
}
