import VMCore
import X86

/// Memory the instruction at hand is about to read or write, on the registers as they are.
package struct NextTouch: Equatable, Sendable {
  package var operand: MemoryOperand
  /// Effective address: the offset in its segment.
  package var offset: UInt64
  package var linear: GVA
  /// nil without translation.
  package var physical: GPA?
  /// What is there now, little-endian, its first 8 bytes; nil if it cannot be read.
  package var value: UInt64?
  /// Bytes that are touched; for a repeated string instruction of one element.
  package var size: Int

  /// `reads ds:1234 = 004b`, `writes ss:7bfc (now 0000)`, with the symbol where there is one.
  package func text(symbols: SymbolTable = .empty) -> String {
    let verb = operand.reads ? (operand.writes ? "changes" : "reads") : "writes"
    let digits = max(operand.addressBits / 4, 4)
    let place = "\(operand.segment.name):\(Hex.padded(offset, digits))"
    let name = symbols.name(of: linear.value).map { " <\($0)>" } ?? ""
    guard let value else {
      let why = physical == nil ? "not mapped" : "no memory"
      return "\(verb) \(place)\(name) (\(why))"
    }
    let number = Hex.padded(value, min(max(size, 1), 8) * 2) + (size > 8 ? ".." : "")
    return operand.reads ? "\(verb) \(place)\(name) = \(number)" : "\(verb) \(place)\(name) (now \(number))"
  }

  /// Every memory operand of `instruction`: explicit ones first, what is read before what is written.
  package static func all(
    of instruction: DecodedInstruction, state: VCPUState, memory: GuestMemory
  ) -> [NextTouch] {
    let view = AddressSpaceView(state: state, memory: memory)
    let order = { (operand: MemoryOperand) in (operand.isImplicit ? 2 : 0) + (operand.reads ? 0 : 1) }
    let ordered = instruction.memory.sorted { order($0) < order($1) }
    return ordered.filter { $0.reads || $0.writes }.map { operand in
      let offset = effectiveAddress(operand, state, next: instruction.next)
      let linear = view.linear(operand.segment, offset)
      let count = min(max(operand.size, 1), 8)
      return NextTouch(
        operand: operand, offset: offset, linear: linear, physical: view.translate(linear),
        value: view.load(linear, size: count), size: operand.size)
    }
  }

  /// Base + index * scale + displacement, cut to the address width (SDM 1 3.7.5). RIP is that of the next
  /// instruction. For pushes, where the value will lie.
  package static func effectiveAddress(_ operand: MemoryOperand, _ state: VCPUState, next: UInt64) -> UInt64 {
    var address = UInt64(bitPattern: operand.displacement)
    if case .instructionPointer? = operand.base {
      address &+= next
    } else if let base = operand.base {
      address &+= state.read(base)
    }
    if let index = operand.index { address &+= state.read(index) &* UInt64(operand.scale) }
    var bits = operand.addressBits
    if operand.isPush || stackBased(operand) {
      bits = state.mode == .long64 ? 64 : state[.ss].big ? 32 : 16
      if operand.isPush { address &-= UInt64(operand.size) }
    }
    return address & VCPUState.mask(bits)
  }

  /// An implicit operand at the stack pointer: its width is SS's, not the instruction's.
  private static func stackBased(_ operand: MemoryOperand) -> Bool {
    guard operand.isImplicit, case .gpr(.rsp, _)? = operand.base else { return false }
    return true
  }
}
