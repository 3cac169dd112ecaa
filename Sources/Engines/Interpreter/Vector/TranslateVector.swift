import CZydis
import X86

extension Translator {
  /// Translates SSE3 to SSE4.2 and everything under a VEX prefix that works on vectors; false if the instruction is
  /// none of these.
  mutating func translateVector() -> Bool {
    let isVEX = instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX
    if !isVEX {
      switch instruction.meta.isa_set {
      case ZYDIS_ISA_SET_SSE3, ZYDIS_ISA_SET_SSSE3, ZYDIS_ISA_SET_SSSE3MMX, ZYDIS_ISA_SET_SSE4, ZYDIS_ISA_SET_SSE42: break
      default: return false
      }
    }
    if isVEX && translateSpecialVEX() { return true }
    // A gather whose registers are not all different is left.
    guard instruction.meta.isa_set != ZYDIS_ISA_SET_AVX2GATHER else { return false }
    guard let forms, let shape = VectorShape(instruction, operands, isLong64: context.isLong64) else { return false }
    guard let form = forms.form(shape, alignment: alignment(shape)) else { return false }
    var m = MicroOp(.vector)
    m.setVector(.host, other: shape.vvvv.operand, last: shape.is4.operand)
    m.dst = shape.reg.operand
    m.src = shape.rm.operand
    m.imm = Int64(truncatingIfNeeded: Int(bitPattern: form))
    if shape.rm.kind == .memory {
      guard let memory = operands.first(where: { $0.type == ZYDIS_OPERAND_TYPE_MEMORY }) else { return false }
      let start = ops.count
      address(memory, &m, size: shape.bytes, write: shape.rm.writes)
      emitReady(isVEX ? .avxReady : shape.hasMMX ? .mmxReady : .sseReady, before: start)
    }
    emit(m)
    return true
  }

  private mutating func emitReady(_ op: VectorOp, before start: Int) {
    var check = MicroOp(.vector)
    check.setVector(op)
    emitFirst(check, before: start)
  }

  /// Bits of the address that must be 0: without VEX all of a 16-byte operand's, but for the instructions that are
  /// made for any alignment; with VEX those of the moves that ask for it (SDM 2 tables 2-18 to 2-22).
  private func alignment(_ shape: VectorShape) -> UInt8 {
    guard shape.bytes >= 16 else { return 0 }
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_LDDQU, ZYDIS_MNEMONIC_PCMPESTRI, ZYDIS_MNEMONIC_PCMPESTRM, ZYDIS_MNEMONIC_PCMPISTRI,
      ZYDIS_MNEMONIC_PCMPISTRM:
      return 0
    case ZYDIS_MNEMONIC_VMOVAPS, ZYDIS_MNEMONIC_VMOVAPD, ZYDIS_MNEMONIC_VMOVDQA, ZYDIS_MNEMONIC_VMOVNTPS,
      ZYDIS_MNEMONIC_VMOVNTPD, ZYDIS_MNEMONIC_VMOVNTDQ, ZYDIS_MNEMONIC_VMOVNTDQA:
      return UInt8(shape.bytes - 1)
    default: return shape.isVEX ? 0 : 15
    }
  }

  // MARK: What the host cannot do for the guest

  private mutating func translateSpecialVEX() -> Bool {
    switch instruction.mnemonic {
    case ZYDIS_MNEMONIC_VZEROUPPER: emitPlain(.clearUppers)
    case ZYDIS_MNEMONIC_VZEROALL: emitPlain(.clearAll)
    case ZYDIS_MNEMONIC_VLDMXCSR: emitPlain(.loadMXCSR, memory: operands[0], bytes: 4, write: false)
    case ZYDIS_MNEMONIC_VSTMXCSR: emitPlain(.storeMXCSR, memory: operands[0], bytes: 4, write: true)
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
      guard let memory = operands.first(where: { $0.type == ZYDIS_OPERAND_TYPE_MEMORY }) else { return false }
      emitPlain(.maskedBytes, memory: memory, bytes: 16, write: true, registers: (vector(0), vector(1)))
    case ZYDIS_MNEMONIC_VMASKMOVPS, ZYDIS_MNEMONIC_VPMASKMOVD: emitMasked(bytes: 4)
    case ZYDIS_MNEMONIC_VMASKMOVPD, ZYDIS_MNEMONIC_VPMASKMOVQ: emitMasked(bytes: 8)
    case ZYDIS_MNEMONIC_VGATHERDPS, ZYDIS_MNEMONIC_VPGATHERDD: return emitGather(bytes: 4, index: 4)
    case ZYDIS_MNEMONIC_VGATHERDPD, ZYDIS_MNEMONIC_VPGATHERDQ: return emitGather(bytes: 8, index: 4)
    case ZYDIS_MNEMONIC_VGATHERQPS, ZYDIS_MNEMONIC_VPGATHERQD: return emitGather(bytes: 4, index: 8)
    case ZYDIS_MNEMONIC_VGATHERQPD, ZYDIS_MNEMONIC_VPGATHERQQ: return emitGather(bytes: 8, index: 8)
    default: return false
    }
    return true
  }

  /// Twice the number of a vector register operand.
  private func vector(_ index: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: ZydisRegisterGetId(operands[index].reg.value) & 15) * 2
  }

  private mutating func emitPlain(
    _ op: VectorOp, memory: ZydisDecodedOperand? = nil, bytes: Int = 0, write: Bool = false,
    registers: (UInt8, UInt8) = (0, 0)
  ) {
    var m = MicroOp(.vector)
    m.setVector(op)
    (m.dst, m.src) = registers
    if let memory {
      let start = ops.count
      address(memory, &m, size: bytes, write: write)
      emitReady(.avxReady, before: start)
    }
    emit(m)
  }

  /// Fills in a lane operand's address: where segments are to be checked, each lane is when it is reached.
  private mutating func laneAddress(_ operand: ZydisDecodedOperand, _ m: inout MicroOp) -> (segment: Int, checked: Bool) {
    var probe = self
    var plain = m
    probe.address(operand, &plain, size: 0, write: false)
    let segment = Self.segmentIndex(operand.mem.segment)
    guard probe.ops.count > ops.count, let computed = probe.ops.last else {
      m = plain
      return (segment, false)
    }
    m.flags |= MicroOp.hasMemory | computed.flags
    (m.base, m.index, m.scale, m.disp) = (computed.base, computed.index, computed.scale, computed.disp)
    return (segment, true)
  }

  private mutating func emitMasked(bytes: Int) {
    let stores = operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY
    let memory = operands[stores ? 0 : 2]
    var m = MicroOp(.vector)
    m.setVector(stores ? .maskedStore : .maskedLoad, other: vector(1))
    m.dst = vector(stores ? 2 : 0)
    let (segment, checked) = laneAddress(memory, &m)
    let lanes = (instruction.raw.vex.L != 0 ? 32 : 16) / bytes
    m.imm = LaneDetail(bytes: bytes, lanes: lanes, segment: segment, checked: checked).raw
    emit(m)
  }

  private mutating func emitGather(bytes: Int, index: Int) -> Bool {
    var memory = operands[1]
    let indices = UInt8(truncatingIfNeeded: ZydisRegisterGetId(memory.mem.index) & 15) * 2
    let scale = max(Int(memory.mem.scale), 1)
    memory.mem.index = ZYDIS_REGISTER_NONE
    memory.mem.scale = 0
    let (to, mask) = (vector(0), vector(2))
    // All three must be different registers.
    guard to != mask, to != indices, mask != indices else { return false }
    var m = MicroOp(.vector)
    m.setVector(.gather, other: mask)
    m.dst = to
    m.src = indices
    let (segment, checked) = laneAddress(memory, &m)
    let lanes = (instruction.raw.vex.L != 0 ? 32 : 16) / max(bytes, index)
    m.imm = LaneDetail(
      bytes: bytes, lanes: lanes, index: index, scale: scale, segment: segment, checked: checked).raw
    emit(m)
    return true
  }
}
