import CZydis

/// A vector instruction as the host is to carry it out: the guest's own, encoded anew on registers that a `HostForm`
/// fills before it and stores behind it, with its memory operand at [RSI].
///
/// Vector and MMX registers are 1 for ModRM.reg, 2 for ModRM.rm, 3 for VEX.vvvv, 4 for the register in the immediate;
/// general registers are RAX where they are written and RCX where they are read.
struct VectorShape {
  enum Kind { case none, xmm, ymm, mmx, general, memory }
  struct Place {
    var kind = Kind.none
    var number: UInt8 = 0
    var reads = false
    var writes = false
    /// The guest's operand, as a micro-op names it: twice a vector register's number, an MMX register's number, a byte
    /// offset.
    var operand: UInt8 = 0
  }
  var reg = Place(), rm = Place(), vvvv = Place(), is4 = Place()
  /// Of XMM0, where no field names it.
  var readsXMM0 = false, writesXMM0 = false
  /// Lengths in RAX and RDX, an index left in RCX: string comparisons.
  var readsLengths = false, writesIndex = false
  var writesFlags = false
  var isVEX = false
  /// Of the memory operand, in bytes.
  var bytes = 0
  /// Opcode map and mandatory prefix as a VEX prefix holds them, VEX.L, W, the immediate where there is one, ModRM.reg
  /// where it belongs to the opcode.
  let map, prefix, opcode: UInt8
  let isLong, isWide: Bool
  private(set) var immediate: UInt8?
  let `extension`: UInt8

  var places: [Place] { [reg, rm, vvvv, is4] }
  var hasMMX: Bool { reg.kind == .mmx || rm.kind == .mmx }

  /// nil where an operand is of a kind that no vector instruction here has.
  init?(_ instruction: ZydisDecodedInstruction, _ operands: some Sequence<ZydisDecodedOperand>, isLong64: Bool) {
    isVEX = instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX
    let vex = instruction.raw.vex
    map = isVEX ? vex.m_mmmm : instruction.mapNumber
    prefix = isVEX ? vex.pp : instruction.prefixNumber
    opcode = instruction.opcode
    isLong = isVEX && vex.L != 0
    // Outside 64-bit mode VEX.W does not make general registers wider.
    isWide = isVEX ? vex.W != 0 && (isLong64 || !instruction.hasGeneralOperand) : instruction.raw.rex.W != 0
    `extension` = instruction.raw.modrm.reg
    for operand in operands.prefix(Int(instruction.operand_count)) where !take(operand) { return nil }
    if let flags = instruction.cpu_flags?.pointee {
      writesFlags = (flags.modified | flags.set_0 | flags.set_1) & 0x8D5 != 0
    }
    // Where legacy instructions leave a part of their destination alone, it must be there.
    if !isVEX && reg.kind == .xmm { reg.reads = true }
    guard !(reg.kind == .general && reg.reads) else { return nil }
    if is4.kind == .none && instruction.raw.imm.0.size == 8 {
      immediate = UInt8(truncatingIfNeeded: instruction.raw.imm.0.value.u)
    }
  }

  private mutating func take(_ operand: ZydisDecodedOperand) -> Bool {
    if operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE { return true }
    var place = Place()
    place.reads = operand.actions & UInt8(truncatingIfNeeded: ZYDIS_OPERAND_ACTION_MASK_READ.rawValue) != 0
    place.writes = operand.actions & UInt8(truncatingIfNeeded: ZYDIS_OPERAND_ACTION_MASK_WRITE.rawValue) != 0
    if operand.type == ZYDIS_OPERAND_TYPE_MEMORY {
      guard operand.encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM else { return false }
      place.kind = .memory
      bytes = Int(operand.size) / 8
      rm = place
      return true
    }
    guard operand.type == ZYDIS_OPERAND_TYPE_REGISTER else { return false }
    let register = operand.reg.value
    switch ZydisRegisterGetClass(register) {
    case ZYDIS_REGCLASS_XMM, ZYDIS_REGCLASS_YMM:
      place.kind = ZydisRegisterGetClass(register) == ZYDIS_REGCLASS_XMM ? .xmm : .ymm
      place.operand = UInt8(truncatingIfNeeded: ZydisRegisterGetId(register) & 15) * 2
    case ZYDIS_REGCLASS_MMX:
      place.kind = .mmx
      place.operand = UInt8(truncatingIfNeeded: ZydisRegisterGetId(register) & 7)
    case ZYDIS_REGCLASS_GPR32, ZYDIS_REGCLASS_GPR64:
      place.kind = .general
      place.operand = Translator.registerOffset(register)
    default: return operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN
    }
    return put(place, operand)
  }

  private mutating func put(_ place: Place, _ operand: ZydisDecodedOperand) -> Bool {
    var place = place
    func numbered(_ number: UInt8) -> Place {
      place.number = place.kind == .general ? (place.writes ? 0 : 1) : number
      return place
    }
    switch operand.encoding {
    case ZYDIS_OPERAND_ENCODING_MODRM_REG: reg = numbered(1)
    case ZYDIS_OPERAND_ENCODING_MODRM_RM: rm = numbered(2)
    case ZYDIS_OPERAND_ENCODING_NDSNDD: vvvv = numbered(3)
    case ZYDIS_OPERAND_ENCODING_IS4: is4 = numbered(4)
    default: return putImplicit(place)
    }
    return true
  }

  private mutating func putImplicit(_ place: Place) -> Bool {
    switch (place.kind, place.operand) {
    case (.xmm, 0), (.ymm, 0):
      readsXMM0 = place.reads
      writesXMM0 = place.writes
    case (.general, 0), (.general, 16): readsLengths = true
    case (.general, 8): writesIndex = true
    default: return false
    }
    return true
  }

  // MARK: Encoding (SDM 2A 2.1, 2.3)

  /// The instruction on registers of our choosing.
  var code: [UInt8] {
    var code: [UInt8] = []
    if isVEX {
      let other = vvvv.kind == .none ? 0xF : 0xF ^ vvvv.number
      code = [0xC4, 0xE0 | map, (isWide ? 0x80 : 0) | other << 3 | (isLong ? 4 : 0) | prefix]
    } else {
      if prefix != 0 { code.append([0x66, 0xF3, 0xF2][Int(prefix) - 1]) }
      if isWide { code.append(0x48) }
      code.append(0x0F)
      if map > 1 { code.append(map == 2 ? 0x38 : 0x3A) }
    }
    code.append(opcode)
    let middle = (reg.kind == .none ? `extension` : reg.number) << 3
    code.append(rm.kind == .memory ? middle | 6 : 0xC0 | middle | rm.number)
    if is4.kind != .none { code.append(is4.number << 4) } else if let immediate { code.append(immediate) }
    return code
  }
}

extension ZydisDecodedInstruction {
  /// The prefix that is part of the opcode: 1 is 66h, 2 F3h, 3 F2h.
  fileprivate var prefixNumber: UInt8 {
    let value = withUnsafeBytes(of: raw.prefixes) { bytes in
      bytes.bindMemory(to: ZydisDecodedInstructionRawPrefixes_.self).prefix(Int(raw.prefix_count))
        .last { $0.type == ZYDIS_PREFIX_TYPE_MANDATORY }?.value
    }
    switch value {
    case 0x66: return 1
    case 0xF3: return 2
    case 0xF2: return 3
    default: return 0
    }
  }
  fileprivate var mapNumber: UInt8 { opcode_map == ZYDIS_OPCODE_MAP_0F38 ? 2 : opcode_map == ZYDIS_OPCODE_MAP_0F3A ? 3 : 1 }

  /// W chooses between 32 and 64 bits of a general register or of memory in its place: MOVD, CVTSI2xx, CVTxx2SI,
  /// PEXTRD, PINSRD, PCMPESTRx.
  fileprivate var hasGeneralOperand: Bool {
    switch opcode_map {
    case ZYDIS_OPCODE_MAP_0F: [0x6E, 0x7E, 0x2A, 0x2C, 0x2D].contains(opcode)
    case ZYDIS_OPCODE_MAP_0F3A: [0x16, 0x22, 0x60, 0x61].contains(opcode)
    default: false
    }
  }
}
