/// What an instruction does to the flow of control.
package enum ControlFlow: UInt8, Sendable {
  case sequential, jump, conditionalJump, call, ret
  /// INT n, INT3, INT1, INTO.
  case softwareInterrupt
  case interruptReturn
  /// SYSCALL, SYSENTER.
  case systemCall
  /// SYSRET, SYSEXIT.
  case systemReturn
  /// HLT, UD2: straight on only after an event.
  case stop
}

/// A REP prefix that has a meaning for its instruction (SDM 2 "REP/REPE/REPZ/REPNE/REPNZ").
package enum RepeatPrefix: UInt8, Sendable { case none, rep, repe, repne }

/// Memory an instruction reads or writes: the formula, to be evaluated on a vCPU's registers.
package struct MemoryOperand: Equatable, Sendable {
  package var segment: SegmentName
  package var base: Register?
  package var index: Register?
  /// 1, 2, 4 or 8; meaningless without an index.
  package var scale: UInt8
  package var displacement: Int64
  /// In bytes; 0 where the instruction does not say.
  package var size: Int
  package var reads: Bool
  package var writes: Bool
  /// PUSH, CALL and the like: what is written lies `size` bytes below the stack pointer.
  package var isPush: Bool
  /// Effective address width in bits: 16, 32 or 64.
  package var addressBits: Int
  /// Not written in the operands: the stack, or what a string instruction implies.
  package var isImplicit: Bool

  package init(
    segment: SegmentName, base: Register? = nil, index: Register? = nil, scale: UInt8 = 1, displacement: Int64 = 0,
    size: Int, reads: Bool, writes: Bool, isPush: Bool = false, addressBits: Int, isImplicit: Bool = false
  ) {
    self.segment = segment
    self.base = base
    self.index = index
    self.scale = scale
    self.displacement = displacement
    self.size = size
    self.reads = reads
    self.writes = writes
    self.isPush = isPush
    self.addressBits = addressBits
    self.isImplicit = isImplicit
  }
}

/// One instruction in every aspect a debugger shows. A value without guest state.
package struct DecodedInstruction: Equatable, Sendable {
  /// Offset in the code segment (RIP) of its first byte.
  package var address: UInt64
  package var mode: ProcessorMode
  package var bytes: [UInt8]
  /// Lower case without operands: `mov`; `(bad)` where no instruction decodes.
  package var mnemonic: String
  /// Intel syntax, lower case, hexadecimal with `h`: `mov dx, 3f8h`.
  package var text: String
  package var flow: ControlFlow
  /// A far transfer: CS changes.
  package var isFar: Bool
  /// Offset in the code segment a direct near branch goes to; nil for indirect and far ones.
  package var branchTarget: UInt64?
  /// Absolute address of a RIP-relative operand.
  package var ripTarget: UInt64?
  package var isString: Bool
  package var repeatPrefix: RepeatPrefix
  package var memory: [MemoryOperand]
  /// Privileged, sensitive or innocent; nil for innocent.
  package var operation: SensitiveOperation?
  /// Control or debug register number the instruction names; vector of an INT; port of IN and OUT with an
  /// immediate.
  package var number: UInt16?
  /// Operand width in bits.
  package var operandBits: Int

  package var length: Int { bytes.count }
  /// Offset of the instruction after this one.
  package var next: UInt64 { mode.wrap(address &+ UInt64(bytes.count)) }
  package var isBad: Bool { mnemonic == "(bad)" }
  package var isCall: Bool { flow == .call }
  package var isReturn: Bool { flow == .ret || flow == .interruptReturn || flow == .systemReturn }
  package var isBranch: Bool { flow == .jump || flow == .conditionalJump }
  package var isConditional: Bool { flow == .conditionalJump }
  package var sensitivity: Sensitivity { operation?.sensitivity ?? .none }
  /// Why it is sensitive, in one line; empty for the innocent.
  package var sensitivityReason: String { operation?.reason ?? "" }

  /// What stands for a byte that starts no instruction.
  package static func bad(_ byte: UInt8, at address: UInt64, mode: ProcessorMode) -> DecodedInstruction {
    DecodedInstruction(
      address: address, mode: mode, bytes: [byte], mnemonic: "(bad)", text: "(bad)", flow: .sequential, isFar: false,
      branchTarget: nil, ripTarget: nil, isString: false, repeatPrefix: .none, memory: [], operation: nil,
      number: nil, operandBits: 0)
  }
}

extension ProcessorMode {
  /// An instruction pointer cut to what the mode's code segment can hold.
  package func wrap(_ ip: UInt64) -> UInt64 {
    switch codeBits {
    case 16: ip & 0xFFFF
    case 32: ip & 0xFFFF_FFFF
    default: ip
    }
  }
}
