import VMCore
import X86

/// The stack and who called whom, as rows.
package struct StackReport {
  private let state: VCPUState
  private let memory: GuestMemory
  private let symbols: SymbolTable
  package let frames: [StackFrame]

  package init(_ state: VCPUState, _ memory: GuestMemory, symbols: SymbolTable = .empty, maximumFrames: Int = 64) {
    self.state = state
    self.memory = memory
    self.symbols = symbols
    frames = Backtrace.frames(state, memory, symbols: symbols, maximumFrames: maximumFrames)
  }

  /// The activations, the innermost first: `#1 00007c0e boot+e`, a guess with `?`.
  package var backtrace: [ReportRow] {
    frames.map { frame in
      var row = ReportRow(target: .code(frame.address))
      row.add(Column.right("#\(frame.number)", 3) + " ", .dim)
      row.add(place(frame) + " ", .address)
      if let place = frame.place { row.add(place, .symbol) }
      switch frame.source {
      case .current: row.add("  (here)", .dim)
      case .chain: break
      case .guess: row.add("  ? found on the stack", .bad)
      }
      return row
    }
  }

  /// `count` slots from the stack pointer on, with what they look like.
  package func slots(_ count: Int) -> [ReportRow] {
    let width = state.mode.codeBits / 8
    let view = AddressSpaceView(state: state, memory: memory)
    return StackView.rows(state, memory, symbols: symbols, count: count).map { slot in
      var row = ReportRow(target: .linear(slot.linear.value))
      row.add(slot.isTop ? "=>" : slot.isFrame ? "bp" : "  ", .changed)
      row.add(address(slot.offset) + "  ", .address)
      guard let value = slot.value else {
        row.add(String(repeating: "?", count: width * 2), .dim)
        row.add(view.translate(slot.linear) == nil ? "  not mapped" : "  no memory", .bad)
        return row
      }
      row.add(Hex.padded(value, width * 2) + "  ", .value)
      note(slot, value, &row)
      return row
    }
  }

  private func note(_ slot: StackRow, _ value: UInt64, _ row: inout ReportRow) {
    if let frame = frames.first(where: { $0.slot == slot.linear }) {
      row.target = .code(frame.address)
      row.add("return #\(frame.number) ", .set)
      row.add(frame.place ?? "", .symbol)
      if frame.source == .guess { row.add(" ?", .bad) }
    } else if slot.isFrame {
      row.add("saved frame pointer", .set)
    } else {
      row.add(slot.note, .symbol)
    }
    if slot.isFrame, frames.contains(where: { $0.slot == slot.linear }) { row.add("  frame pointer", .dim) }
  }

  /// `f000:e040` where the code segment of now has a base, else the linear address.
  private func place(_ frame: StackFrame) -> String {
    let base = state.linearRIP.value &- state.rip
    guard base != 0, frame.linear.value &- frame.address == base else { return address(frame.linear.value) }
    return "\(Hex.padded(UInt64(state[.cs].selector), 4)):\(Hex.padded(frame.address, 4))"
  }

  private func address(_ value: UInt64) -> String { Hex.padded(value, max(state.mode.codeBits / 4, 4)) }

  /// Registers the stack hangs on.
  package var head: ReportRow {
    var row = ReportRow()
    row.add("SS:SP ", .dim)
    row.add("\(Hex.padded(UInt64(state[.ss].selector), 4)):\(address(StackView.pointer(state, .rsp)))", .value)
    row.add("  BP ", .dim)
    row.add(address(StackView.pointer(state, .rbp)), .value)
    let bits = state.mode == .long64 ? 64 : state[.ss].big ? 32 : 16
    row.add("  \(bits)-bit stack, \(state.mode.codeBits)-bit code", .dim)
    return row
  }

  /// Both, one after the other: what `info frames` prints.
  package func whole(slots count: Int) -> [ReportRow] {
    [head, .heading("Back-trace")] + backtrace + [.heading("Stack")] + slots(count)
  }

  /// Both side by side, the stack `left` characters wide.
  package func beside(left: Int, slots count: Int) -> [ReportRow] {
    let stack = [ReportRow.heading("Stack")] + slots(count)
    let calls = [ReportRow.heading("Back-trace")] + backtrace
    return [head] + (0..<max(stack.count, calls.count)).map { index in
      var row = index < stack.count ? stack[index] : ReportRow()
      guard index < calls.count else { return row }
      let used = row.words.reduce(0) { $0 + $1.text.unicodeScalars.count }
      row.add(String(repeating: " ", count: max(left - used, 1)))
      row.words += calls[index].words
      if row.target == nil { row.target = calls[index].target }
      return row
    }
  }
}
