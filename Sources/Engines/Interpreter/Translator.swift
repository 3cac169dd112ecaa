import CZydis
import VMCore
import X86

/// Turns decoded instructions into micro-ops for one block.
struct Translator {
  private(set) var context = Context(bits: 0)
  /// RIP of the block's first instruction.
  private(set) var rip: UInt64 = 0
  private(set) var gpa: UInt64 = 0
  /// What becomes of sensitive instructions; nil without a policy.
  private(set) var policy: RewritingPolicy?
  /// What of the instruction set there is, and the host code of vector instructions, where there are some: the engine's.
  let features: CPUFeatures
  private let unmanagedForms: Unmanaged<HostForms>?
  /// Where they are counted: the engine's, which outlives every translation.
  private let unmanagedSites: Unmanaged<SensitiveSites>?
  var ops: [MicroOp] = []
  /// The instruction being translated, and its operands (explicit first, then hidden).
  var instruction = ZydisDecodedInstruction()
  var operands = Array(repeating: ZydisDecodedOperand(), count: Int(ZYDIS_MAX_OPERAND_COUNT))
  /// Its offset in the block, and how many instructions came before it.
  var offset: UInt16 = 0
  var ordinal: UInt16 = 0
  /// Where a direct transfer at the end of the block goes.
  var takenRIP: UInt64 = 0
  /// `address` takes `Slot.temporary` for its index.
  var temporaryIndex = false
  /// Set by `finish`: the block ends with this instruction.
  var ended = false

  init(features: CPUFeatures, forms: HostForms?, sites: SensitiveSites?) {
    self.features = features
    unmanagedForms = forms.map { Unmanaged.passUnretained($0) }
    unmanagedSites = sites.map { Unmanaged.passUnretained($0) }
  }

  /// Begins another block. What it allocated for the last one serves again.
  mutating func begin(context: Context, rip: UInt64, gpa: UInt64, policy: RewritingPolicy?) {
    self.context = context
    self.rip = rip
    self.gpa = gpa
    self.policy = policy
    ops.removeAll(keepingCapacity: true)
    (offset, ordinal, takenRIP, temporaryIndex, ended) = (0, 0, 0, false, false)
  }

  var forms: HostForms? { unmanagedForms?.takeUnretainedValue() }
  var sites: SensitiveSites? { unmanagedSites?.takeUnretainedValue() }

  /// RIP of the instruction after the present one.
  var nextRIP: UInt64 { rip &+ UInt64(offset) &+ UInt64(instruction.length) }

  /// Adds a micro-op of the present instruction.
  mutating func emit(_ op: MicroOp) {
    var op = op
    op.length = instruction.length
    op.offset = offset
    // Counted from the front here; `BlockBuilder` turns it round.
    op.remaining = ordinal
    ops.append(op)
  }

  /// Adds the micro-op that ends the block (control transfer or a change of context).
  mutating func finish(_ op: MicroOp) {
    emit(op)
    ended = true
  }

  /// log2 of the operand size in bytes (0...3) of this instruction.
  var operandSizeLog2: UInt8 {
    switch instruction.operand_width {
    case 8: 0
    case 16: 1
    case 32: 2
    default: 3
    }
  }

  func hasPrefix(_ attribute: UInt64) -> Bool { instruction.attributes & attribute != 0 }

  /// Fills the addressing fields of `op` from a memory operand. Where segmentation has something to
  /// check or add, a `.segmentAddress` micro-op goes first and `op` addresses `Slot.temporary`.
  /// `size` in bytes is what will be accessed; `write` asks for write permission of the segment.
  mutating func address(_ operand: ZydisDecodedOperand, _ op: inout MicroOp, size: Int, write: Bool) {
    let m = operand.mem
    op.flags |= MicroOp.hasMemory
    var base = m.base
    var disp = m.disp.has_displacement != 0 ? m.disp.value : 0
    if base == ZYDIS_REGISTER_RIP || base == ZYDIS_REGISTER_EIP {
      disp = Int64(bitPattern: nextRIP &+ UInt64(bitPattern: disp))
      if base == ZYDIS_REGISTER_EIP { disp &= 0xFFFF_FFFF }
      base = ZYDIS_REGISTER_NONE
    }
    if hasNoBase(operand) {
      base = ZYDIS_REGISTER_NONE
      disp = instruction.raw.disp.value
    }
    let segment = Self.segmentIndex(m.segment)
    let override64 = segment >= 4
    let narrow = Int(instruction.address_width) < context.codeBits
    // Where nothing checks the limit the base register tells a stack fault (`usesStack`): an override may not belie it.
    let isStackBase = base == ZYDIS_REGISTER_ESP || base == ZYDIS_REGISTER_EBP
    let isFlat = context.flatData && segment != 1 && !override64 && (segment == 2) == isStackBase
    let plain = !narrow && (context.isLong64 || isFlat)
    var target = op
    target.base = Self.slotOffset(base)
    target.index = temporaryIndex ? UInt8(Slot.temporary * 8) : Self.slotOffset(m.index)
    target.scale = m.scale > 1 && !temporaryIndex ? UInt8(truncatingIfNeeded: m.scale.trailingZeroBitCount) : 0
    target.disp = disp
    if plain {
      if override64 && context.isLong64 {
        target.segment = UInt8((segment == 4 ? Slot.fsBase : Slot.gsBase) * 8)
      }
      op = target
      return
    }
    target.op = .segmentAddress
    target.dst = UInt8(Slot.temporary * 8)
    target.src = UInt8(segment)
    target.imm = Int64(size)
    target.aux = write ? 1 : 0
    target.flags = UInt8(truncatingIfNeeded: (Int(instruction.address_width) / 8).trailingZeroBitCount) << 6
    emit(target)
    op.base = UInt8(Slot.temporary * 8)
    op.index = UInt8(Slot.zero * 8)
    op.segment = UInt8(Slot.zero * 8)
    op.scale = 0
    op.disp = 0
  }

  /// A SIB byte that says "no base, 32-bit displacement" (SDM 2 table 2-3): with a 32-bit address size and
  /// REX.B Zydis 4.0 takes it for R13D without one.
  private func hasNoBase(_ operand: ZydisDecodedOperand) -> Bool {
    let modrm = instruction.raw.modrm
    guard operand.encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM, instruction.address_width != 16 else { return false }
    return modrm.mod == 0 && modrm.rm & 7 == 4 && instruction.raw.sib.base & 7 == 5
  }

  /// Puts `check` before the address computation that began at micro-op `start`, if that was one that can
  /// fault: what an instruction needs at all comes before what it addresses.
  mutating func emitFirst(_ check: MicroOp, before start: Int) {
    guard ops.count > start else { return }
    emit(check)
    ops.swapAt(start, ops.count - 1)
  }

  /// ES 0, CS 1, SS 2, DS 3, FS 4, GS 5.
  static func segmentIndex(_ register: ZydisRegister) -> Int {
    switch register {
    case ZYDIS_REGISTER_ES: 0
    case ZYDIS_REGISTER_CS: 1
    case ZYDIS_REGISTER_SS: 2
    case ZYDIS_REGISTER_FS: 4
    case ZYDIS_REGISTER_GS: 5
    default: 3
    }
  }

  /// Byte offset of the whole 64-bit slot of any general-purpose register; the zero slot for none.
  static func slotOffset(_ register: ZydisRegister) -> UInt8 {
    if register == ZYDIS_REGISTER_NONE { return UInt8(Slot.zero * 8) }
    let id = ZydisRegisterGetId(register)
    guard id >= 0, id < 16 else { return UInt8(Slot.zero * 8) }
    if (ZYDIS_REGISTER_AL.rawValue...ZYDIS_REGISTER_R15B.rawValue).contains(register.rawValue) {
      return registerOffset(register) & ~7
    }
    return UInt8(id) * 8
  }

  /// Byte offset of a general-purpose register operand of any size: AH is RAX's plus one.
  static func registerOffset(_ register: ZydisRegister) -> UInt8 {
    switch register {
    case ZYDIS_REGISTER_AH: return 1
    case ZYDIS_REGISTER_CH: return 9
    case ZYDIS_REGISTER_DH: return 17
    case ZYDIS_REGISTER_BH: return 25
    default: break
    }
    let raw = register.rawValue
    switch raw {
    case ZYDIS_REGISTER_AL.rawValue...ZYDIS_REGISTER_BL.rawValue: return UInt8(raw - ZYDIS_REGISTER_AL.rawValue) * 8
    case ZYDIS_REGISTER_SPL.rawValue...ZYDIS_REGISTER_R15B.rawValue:
      return UInt8(raw - ZYDIS_REGISTER_SPL.rawValue + 4) * 8
    case ZYDIS_REGISTER_AX.rawValue...ZYDIS_REGISTER_R15W.rawValue: return UInt8(raw - ZYDIS_REGISTER_AX.rawValue) * 8
    case ZYDIS_REGISTER_EAX.rawValue...ZYDIS_REGISTER_R15D.rawValue:
      return UInt8(raw - ZYDIS_REGISTER_EAX.rawValue) * 8
    case ZYDIS_REGISTER_RAX.rawValue...ZYDIS_REGISTER_R15.rawValue:
      return UInt8(raw - ZYDIS_REGISTER_RAX.rawValue) * 8
    default: return UInt8(Slot.zero * 8)
    }
  }

  /// Index of an XMM register operand (0...15).
  static func vectorIndex(_ register: ZydisRegister) -> UInt8 {
    UInt8(truncatingIfNeeded: register.rawValue &- ZYDIS_REGISTER_XMM0.rawValue)
  }
}
