import CZydis

/// Turns Zydis's operands into ours.
enum OperandReader {
  /// Zydis's register numbers to ours; nil for what a debugger has no name for.
  private static let registers: [Register?] = (0...ZYDIS_REGISTER_MAX_VALUE.rawValue).map { number in
    guard let name = ZydisRegisterGetString(ZydisRegister(rawValue: number)) else { return nil }
    return RegisterNames.lookup(String(cString: name))
  }

  static func register(_ value: ZydisRegister) -> Register? {
    Int(value.rawValue) < registers.count ? registers[Int(value.rawValue)] : nil
  }

  static func segment(_ value: ZydisRegister) -> SegmentName {
    switch value {
    case ZYDIS_REGISTER_ES: .es
    case ZYDIS_REGISTER_CS: .cs
    case ZYDIS_REGISTER_SS: .ss
    case ZYDIS_REGISTER_FS: .fs
    case ZYDIS_REGISTER_GS: .gs
    default: .ds
    }
  }

  /// Where a relative branch goes: an offset in CS, cut to the operand width outside of 64-bit mode
  /// (SDM 2 "JMP", "Jcc").
  static func branchTarget(
    _ operand: UnsafePointer<ZydisDecodedOperand>, _ instruction: UnsafePointer<ZydisDecodedInstruction>,
    next: UInt64, mode: ProcessorMode
  ) -> UInt64 {
    let immediate = operand.pointee.imm
    let target = immediate.is_relative != 0 ? next &+ immediate.value.u : immediate.value.u
    if mode == .long64 { return target }
    return instruction.pointee.operand_width == 16 ? target & 0xFFFF : target & 0xFFFF_FFFF
  }

  /// The offset of a memory operand without registers but RIP.
  static func absoluteAddress(
    _ operand: UnsafePointer<ZydisDecodedOperand>, _ instruction: UnsafePointer<ZydisDecodedInstruction>,
    next: UInt64
  ) -> UInt64 {
    let memory = operand.pointee.mem
    let relative = memory.base == ZYDIS_REGISTER_RIP || memory.base == ZYDIS_REGISTER_EIP
    let address = UInt64(bitPattern: memory.disp.value) &+ (relative ? next : 0)
    return mask(address, Int(instruction.pointee.address_width))
  }

  static func mask(_ value: UInt64, _ bits: Int) -> UInt64 { bits >= 64 ? value : value & ((1 << UInt64(bits)) - 1) }

  /// The memory an operand stands for; nil for what only computes an address.
  static func memory(
    _ operand: borrowing ZydisDecodedOperand, addressBits: Int
  ) -> MemoryOperand? {
    guard operand.type == ZYDIS_OPERAND_TYPE_MEMORY, operand.mem.type == ZYDIS_MEMOP_TYPE_MEM else { return nil }
    let actions = UInt32(operand.actions)
    let reads = actions & UInt32(ZYDIS_OPERAND_ACTION_MASK_READ.rawValue) != 0
    let writes = actions & UInt32(ZYDIS_OPERAND_ACTION_MASK_WRITE.rawValue) != 0
    let base = operand.mem.base == ZYDIS_REGISTER_NONE ? nil : register(operand.mem.base)
    let index = operand.mem.index == ZYDIS_REGISTER_NONE ? nil : register(operand.mem.index)
    let hidden = operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN
    return MemoryOperand(
      segment: segment(operand.mem.segment), base: base, index: index, scale: max(operand.mem.scale, 1),
      displacement: operand.mem.disp.has_displacement != 0 ? operand.mem.disp.value : 0, size: Int(operand.size) / 8,
      reads: reads, writes: writes, isPush: hidden && writes && isStackPointer(base), addressBits: addressBits,
      isImplicit: operand.visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
  }

  private static func isStackPointer(_ register: Register?) -> Bool {
    if case .gpr(.rsp, _)? = register { return true }
    return false
  }
}
