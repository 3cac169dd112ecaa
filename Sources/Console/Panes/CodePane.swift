import Debugger
import Session
import TerminalUI
import VMCore
import X86

/// The guest's code around a place: sensitivity gutter (P privileged, S sensitive without a trap),
/// breakpoints, the next instruction, bytes where there is room, symbols.
package final class CodePane: Pane {
  package let id = PaneID.code
  /// Offset in CS of the first row; nil until the first stop is drawn.
  private var anchor: UInt64?
  private var cursor: UInt64?
  private var shown: [CodeLine] = []
  private var rows = 10
  private var lastStop: UInt64?

  package init() {}

  /// Offset in CS the keys act on.
  package func cursorAddress(_ snapshot: SessionSnapshot) -> UInt64 { cursor ?? snapshot.vcpu.rip }

  /// The same as a linear address.
  package func cursorLinear(_ snapshot: SessionSnapshot) -> UInt64 {
    snapshot.view.linear(.cs, cursorAddress(snapshot)).value
  }

  package func title(_ snapshot: SessionSnapshot) -> String {
    // Without the offset, which the address of the next instruction says: a title changes where the routine does.
    let place = snapshot.symbols.place(of: snapshot.vcpu.linearRIP.value).map { "  \($0.symbol.name)" } ?? ""
    if snapshot.isLive {
      // Rows that changed with every frame could not be read: those of the last stop stay, and say so.
      if shown.isEmpty || shown.contains(where: { $0.address == snapshot.vcpu.rip }) { return "Code\(place)" }
      return "Code  now in \(place.isEmpty ? Format.hex(snapshot.vcpu.rip) : String(place.dropFirst(2))); below the last stop's"
    }
    let next = outlook(snapshot)
    return "Code\(place)" + (next.isEmpty ? "" : "  \(next)")
  }

  /// What the next instruction will touch, and whether it jumps.
  private func outlook(_ snapshot: SessionSnapshot) -> String {
    if let known, known.generation == snapshot.generation { return known.text }
    let instruction = snapshot.listing.instruction(at: snapshot.vcpu.rip)
    let text = BranchOutlook.outlook(instruction, snapshot.vcpu, snapshot.memory, symbols: snapshot.symbols)
    known = (snapshot.generation, text)
    return text
  }
  private var known: (generation: UInt64, text: String)?

  package func stopped(_ snapshot: SessionSnapshot) {
    cursor = nil
    let rip = snapshot.vcpu.rip
    if !isComfortable(rip) { anchor = anchorWithLastStop(rip, snapshot) ?? place(rip, snapshot) }
    lastStop = rip
  }

  /// The address is on the screen with some code after it.
  private func isComfortable(_ address: UInt64) -> Bool {
    var row = 0
    for line in shown {
      row += line.labels.count
      if line.address == address { return row < max(rows - 2, 1) }
      row += 1
    }
    return false
  }

  /// An anchor that has the last stop in view beside `address`, so that a loop that fits stands still; nil where they are
  /// too far apart, or a third of the way down shows both.
  private func anchorWithLastStop(_ address: UInt64, _ snapshot: SessionSnapshot) -> UInt64? {
    guard let lastStop, rows > 4, lastStop != address else { return nil }
    let (low, high) = (min(lastStop, address), max(lastStop, address))
    var between = 0
    for line in snapshot.listing.forward(from: low, count: rows) {
      between += line.labels.count
      if line.address >= high {
        guard line.address == high, between < rows - 2 else { return nil }
        if low == lastStop { return between > rows / 3 ? low : nil }
        return snapshot.listing.backward(from: low, count: min(rows / 3, rows - 3 - between)).first?.address ?? low
      }
      between += 1
    }
    return nil
  }

  /// An anchor that puts `address` near the top: what comes next matters more than what is over.
  private func place(_ address: UInt64, _ snapshot: SessionSnapshot) -> UInt64 {
    guard rows > 2 else { return address }
    return snapshot.listing.backward(from: address, count: max(rows / 5, 1)).first?.address ?? address
  }

  package func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool) {
    rows = max(canvas.height, 1)
    let start = anchor ?? place(snapshot.vcpu.rip, snapshot)
    anchor = start
    // While the guest runs it may map something else here, or nothing: what was there at the stop stays.
    if !snapshot.isLive || shown.count < canvas.height || shown.first?.address != start {
      shown = snapshot.listing.forward(from: start, count: canvas.height)
    }
    var y = 0
    let isHigh = shown.contains { $0.address > 0xFFFF_FFFF }
    let digits = isHigh ? 16 : min(shown.first?.addressText.utf8.count ?? 4, 8)
    let columns = Columns(width: canvas.width, addressDigits: digits, hasHeat: !snapshot.exitAddresses.isEmpty)
    drawArrows(snapshot, on: canvas, columns)
    for line in shown {
      for label in line.labels where y < canvas.height - 1 || line.address != cursorAddress(snapshot) {
        guard y < canvas.height else { return }
        canvas.fitted("\(label):", x: columns.label, y: y, .label)
        y += 1
      }
      guard y < canvas.height else { return }
      draw(line, snapshot, canvas, y, columns, focused: focused)
      y += 1
    }
  }

  /// Row of each visible line, as `render` places them.
  private func visibleRows(_ snapshot: SessionSnapshot, height: Int) -> [UInt64: Int] {
    var rows: [UInt64: Int] = [:]
    var y = 0
    for line in shown {
      for _ in line.labels where y < height - 1 || line.address != cursorAddress(snapshot) { y += 1 }
      guard y < height else { break }
      rows[line.address] = y
      y += 1
    }
    return rows
  }

  private func drawArrows(_ snapshot: SessionSnapshot, on canvas: Canvas, _ columns: Columns) {
    guard let x = columns.arrows else { return }
    let rows = visibleRows(snapshot, height: canvas.height)
    JumpArrows(shown, rows: rows).draw(on: canvas, x: x, current: rows[snapshot.vcpu.rip])
  }

  /// Arrows, then the share of exits, then the bytes give way when the pane gets narrow.
  private struct Columns {
    /// Where the gutter begins: behind the share of exits.
    var gutter = 0
    var arrows: Int?
    var address: Int
    var label: Int
    var digits: Int
    var bytes: Int?
    var byteWidth = 0
    var text: Int
    init(width: Int, addressDigits: Int, hasHeat: Bool) {
      digits = addressDigits
      var spare = width - (4 + addressDigits + 2) - 24
      if spare >= 13 {
        byteWidth = spare >= 25 ? 20 : 12
        spare -= byteWidth + 1
      }
      if hasHeat, spare >= 5 {
        gutter = 5
        spare -= 5
      }
      address = gutter + 4
      if spare >= JumpArrows.width {
        arrows = gutter + 2
        address += JumpArrows.width
      }
      label = address
      text = address + addressDigits + 2
      if byteWidth > 0 {
        bytes = text
        text += byteWidth + 1
      }
    }
  }

  private func draw(
    _ line: CodeLine, _ snapshot: SessionSnapshot, _ canvas: Canvas, _ y: Int, _ columns: Columns, focused: Bool
  ) {
    let isCurrent = line.address == snapshot.vcpu.rip
    switch line.instruction.sensitivity {
    case .none: break
    case .sensitiveUnprivileged: canvas.text("S", x: columns.gutter, y: y, .sensitive)
    case .privileged, .ioSensitive: canvas.text("P", x: columns.gutter, y: y, .privileged)
    }
    if columns.gutter > 0 { drawHeat(line, snapshot, canvas, y) }
    if let breakpoint = snapshot.executionBreakpoint(at: line.linear.value) {
      canvas.put(canvas.glyphs.bullet, x: columns.gutter + 1, y: y, breakpoint.enabled ? .breakpoint : .breakpointDisabled)
    }
    if isCurrent { canvas.text("=>", x: columns.address - 2, y: y, .instruction) }
    canvas.text(Format.hex(line.address, columns.digits), x: columns.address, y: y, isCurrent ? .text : .address)
    if let x = columns.bytes, !line.isUnreadable {
      canvas.fitted(line.bytesText, x: x, y: y, isCurrent ? .text : .bytes, limit: columns.byteWidth)
    }
    if line.isUnreadable {
      canvas.fitted(snapshot.replay == nil ? "no memory here" : "not recorded here", x: columns.text, y: y, .unreadable)
    } else {
      drawInstruction(line, snapshot, canvas, y, columns)
    }
    // One colour on the highlight: nothing of the next instruction is faint.
    if isCurrent { canvas.lay(.currentLine, row: y) }
    if focused && line.address == cursorAddress(snapshot) && cursor != nil { canvas.lay(.selection, row: y) }
  }

  /// Share of all exits that came from here.
  private func drawHeat(_ line: CodeLine, _ snapshot: SessionSnapshot, _ canvas: Canvas, _ y: Int) {
    guard snapshot.exitCount > 0, let count = heat(snapshot)[line.linear.value] else { return }
    let percent = Double(count) * 100 / Double(snapshot.exitCount)
    let text = percent < 0.5 ? "<1%" : percent >= 99.5 ? "100%" : Format.fixed(percent, 0) + "%"
    canvas.text(Format.right(text, 4), x: 0, y: y, percent >= 10 ? .changed : .exitReason)
  }

  private func heat(_ snapshot: SessionSnapshot) -> [UInt64: UInt64] {
    if let counts, counts.generation == snapshot.generation { return counts.table }
    let pairs = snapshot.exitAddresses.map { ($0.address, $0.count) }
    let table = Dictionary(pairs, uniquingKeysWith: { $0 + $1 })
    counts = (snapshot.generation, table)
    return table
  }
  private var counts: (generation: UInt64, table: [UInt64: UInt64])?

  /// The instruction, and behind it the exit it makes: `out dx, al  !IO`.
  private func drawInstruction(
    _ line: CodeLine, _ snapshot: SessionSnapshot, _ canvas: Canvas, _ y: Int, _ columns: Columns
  ) {
    let reason = CodeAdvice.exit(of: line.instruction, controls: .standard, in: snapshot.vcpu)
    let exit = reason.map { "!\($0.label)" } ?? ""
    let room = canvas.width - columns.text
    let text = line.instruction.text
    canvas.fitted(text, x: columns.text, y: y, .instruction, limit: max(room, 1))
    // The instruction comes first: its exit is named where both can be read.
    guard !exit.isEmpty, room > text.utf8.count + exit.utf8.count else { return }
    canvas.text(exit, x: canvas.width - exit.utf8.count, y: y, .exitReason)
  }

  package func handle(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.modifiers.isEmpty else { return .ignored }
    switch key.code {
    case .up: move(-1, snapshot)
    case .down: move(1, snapshot)
    case .pageUp: move(-max(rows - 1, 1), snapshot)
    case .pageDown: move(max(rows - 1, 1), snapshot)
    case .enter:
      guard let target = snapshot.listing.instruction(at: cursorAddress(snapshot)).branchTarget else {
        return .say("no direct branch under the cursor to follow")
      }
      go(to: target, snapshot)
    case .escape:
      guard cursor != nil else { return .ignored }
      returnToInstructionPointer(snapshot)
    default: return .ignored
    }
    return .handled
  }

  /// Back to the next instruction.
  package func returnToInstructionPointer(_ snapshot: SessionSnapshot) {
    cursor = nil
    anchor = place(snapshot.vcpu.rip, snapshot)
  }

  package func go(to offset: UInt64, _ snapshot: SessionSnapshot) {
    cursor = offset
    if !isComfortable(offset) { anchor = place(offset, snapshot) }
  }

  private func move(_ distance: Int, _ snapshot: SessionSnapshot) {
    let from = cursorAddress(snapshot)
    let listing = snapshot.listing
    let target: UInt64? =
      distance < 0
      ? listing.backward(from: from, count: -distance).first?.address
      : listing.forward(from: from, count: distance + 1).last?.address
    guard let target else { return }
    cursor = target
    guard !shown.contains(where: { $0.address == target }) || shown.last?.address == target else { return }
    anchor = distance < 0 ? target : listing.backward(from: target, count: max(rows - 2, 1)).first?.address ?? target
  }

  package func scroll(_ rows: Int, _ snapshot: SessionSnapshot) { move(rows, snapshot) }

  package func click(x: Int, y: Int, _ snapshot: SessionSnapshot) {
    var row = 0
    for line in shown {
      row += line.labels.count
      if row >= y {
        cursor = line.address
        return
      }
      row += 1
    }
  }

  package func find(_ text: String, backward: Bool, _ snapshot: SessionSnapshot) -> Bool {
    let needle = text.lowercased()
    let from = cursorAddress(snapshot)
    let listing = snapshot.listing
    let lines =
      backward
      ? listing.backward(from: from, count: 256).reversed()
      : Array(listing.forward(from: from, count: 2000).dropFirst())
    guard let found = lines.first(where: { Self.searched($0).contains(needle) }) else { return false }
    go(to: found.address, snapshot)
    return true
  }

  private static func searched(_ line: CodeLine) -> String {
    (line.labels.joined(separator: " ") + " " + line.instruction.text + " " + line.bytesText).lowercased()
  }

  package func goTo(_ text: String, _ snapshot: SessionSnapshot) -> String? {
    switch snapshot.evaluate(text) {
    case .failure(let error): return error.description
    case .success(let linear):
      let state = snapshot.vcpu
      let base = state.mode == .long64 ? 0 : state[.cs].base
      guard linear >= base else { return "\(Format.hex(linear))h lies below the code segment at \(Format.hex(base))h" }
      go(to: linear - base, snapshot)
      return nil
    }
  }
}
