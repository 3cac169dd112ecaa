import VMCore
import X86

/// One slot of the stack.
package struct StackRow: Equatable, Sendable {
  /// Offset in SS.
  package var offset: UInt64
  package var linear: GVA
  /// nil where it cannot be read.
  package var value: UInt64?
  /// The stack pointer points here.
  package var isTop: Bool
  /// The frame pointer points here.
  package var isFrame: Bool
  /// `boot+e (return)`, `-> 7bfe stack`, `<counter>`; empty where there is nothing to say.
  package var note: String
}

/// The stack of one vCPU, slot by slot.
package enum StackView {
  /// A stack register as wide as the stack segment makes it (SDM 1 6.2.3).
  package static func pointer(_ state: VCPUState, _ register: GPR) -> UInt64 {
    let value = state[register]
    if state.mode == .long64 { return value }
    return state[.ss].big ? value & 0xFFFF_FFFF : value & 0xFFFF
  }

  /// `count` slots (at most 4,096) from the stack pointer towards the stack's bottom.
  package static func rows(
    _ state: VCPUState, _ memory: GuestMemory, symbols: SymbolTable = .empty, count: Int
  ) -> [StackRow] {
    let view = AddressSpaceView(state: state, memory: memory)
    let width = UInt64(state.mode.codeBits / 8)
    let top = pointer(state, .rsp)
    let frame = pointer(state, .rbp)
    let mask: UInt64 = state.mode == .long64 ? .max : state[.ss].big ? 0xFFFF_FFFF : 0xFFFF
    return (0..<UInt64(min(max(count, 0), 4096))).map { index in
      let offset = (top &+ index &* width) & mask
      let linear = view.linear(.ss, offset)
      let value = view.load(linear, size: Int(width))
      let note = value.map { self.note($0, view, symbols, top: top, width: width) } ?? ""
      return StackRow(
        offset: offset, linear: linear, value: value, isTop: index == 0, isFrame: offset == frame, note: note)
    }
  }

  private static func note(
    _ value: UInt64, _ view: AddressSpaceView, _ symbols: SymbolTable, top: UInt64, width: UInt64
  ) -> String {
    let code = view.linear(.cs, value)
    if value != 0, ReturnAddress.isPlausible(value, linear: code, view: view, far: false) {
      return "\(symbols.name(of: code.value) ?? Hex.padded(code.value, 4)) (return)"
    }
    if let name = symbols.name(of: code.value) {
      let text = PointerChain.string(at: code, view).map { " \($0)" } ?? ""
      return "<\(name)>\(text)"
    }
    if value > top, value &- top < 0x1_0000, value & (width - 1) == 0, value &- top < 0x1000 {
      return "-> stack+\(String(value &- top, radix: 16))"
    }
    return PointerChain.text(from: value, view, symbols)
  }
}
