import Session
import TerminalUI
import VMCore
import X86

/// The newest VM exits: reason, decoded qualification, where, who handled it, what it cost.
package final class ExitsPane: ListPane {
  package init() { super.init(.exits, followsEnd: true) }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    isLookingBack ? "looking back at exits (End follows, Enter: anatomy)" : "Exits (Enter: anatomy)"
  }

  package override func identities(_ snapshot: SessionSnapshot) -> [UInt64] { snapshot.exits.map(\.sequence) }

  /// Columns that need room go first: symbol, then handler. Addresses take what they need.
  private struct Columns {
    var detail: Int
    var place: Int
    var symbol: Int
    var handler: Int
    /// What the exit changed, behind the cost.
    var change: Int
    init(width: Int, _ snapshot: SessionSnapshot) {
      symbol = width >= 110 ? 18 : 0
      change = width >= 130 ? 22 : 0
      handler = width >= 70 ? 11 : 0
      let isHigh = snapshot.exits.suffix(64).contains { $0.exit.rip > 0xFFFF_FFFF }
      let isSegmented = snapshot.exits.suffix(64).contains { $0.segment.base != 0 }
      place = 5 + (isHigh ? 16 : isSegmented ? 9 : snapshot.vcpu.mode.codeBits == 16 ? 4 : 8)
      detail = max(width - 8 - 8 - 12 - place - 7 - handler - symbol - change, 8)
    }
  }

  package override func header(width: Int, _ snapshot: SessionSnapshot) -> String? {
    let columns = Columns(width: width, snapshot)
    var text = Format.left("   seq", 8) + Format.left("dt", 8) + Format.left("reason", 12)
    text += Format.left("detail", columns.detail) + Format.left("rip", columns.place)
    if columns.symbol > 0 { text += Format.left("symbol", columns.symbol) }
    if columns.handler > 0 { text += Format.left("handler", columns.handler) }
    return text + (columns.change > 0 ? "cost   changed" : "cost")
  }

  package override func drawRow(
    _ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, y: Int, surface: StyleRole
  ) {
    let record = snapshot.exits[index]
    let columns = Columns(width: canvas.width, snapshot)
    canvas.text(Format.right("#\(record.sequence)", 7), x: 0, y: y, .address)
    let before = index > 0 ? snapshot.exits[index - 1].time : record.time
    canvas.text("+" + Format.duration(record.time &- min(before, record.time)), x: 8, y: y, .dim, limit: 7)
    canvas.text(record.exit.reason.label, x: 16, y: y, .exitReason, limit: 12)
    canvas.fitted(record.detail, x: 28, y: y, limit: columns.detail - 1)
    var x = 28 + columns.detail
    canvas.fitted(Self.place(record), x: x, y: y, .address, limit: columns.place - 1)
    x += columns.place
    if columns.symbol > 0 {
      if let name = snapshot.symbols.name(of: record.linear) {
        canvas.fitted(name, x: x, y: y, .symbol, limit: columns.symbol - 1)
      }
      x += columns.symbol
    }
    if columns.handler > 0 {
      canvas.fitted(record.handler.isEmpty ? "-" : record.handler, x: x, y: y, .dim, limit: columns.handler - 1)
      x += columns.handler
    }
    canvas.text(record.cost == 0 ? "-" : Format.duration(record.cost), x: x, y: y, .dim)
    if columns.change > 0 { canvas.fitted(ExitAnatomy.change(record), x: x + 7, y: y, .dim, limit: columns.change - 1) }
  }

  private static func place(_ record: ExitRecord) -> String { "rip " + record.place }

  package override func rowText(_ index: Int, _ snapshot: SessionSnapshot) -> String {
    let record = snapshot.exits[index]
    return "\(record.exit.reason.label) \(record.detail) \(Self.place(record)) \(record.handler)"
  }

  package override func detailRows(height: Int) -> Int { height >= 12 ? 3 : height >= 7 ? 1 : 0 }

  package override func drawDetail(_ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas) {
    let record = snapshot.exits[index]
    let number = record.exit.reason.rawValue
    let source = number < 256 ? "SDM basic exit reason \(number)" : "Ringside's own reason \(number)"
    canvas.fitted(
      "> #\(record.sequence) \(record.exit.reason.label): \(record.detail)", x: 1, y: 0, .value)
    guard canvas.height >= 3 else { return }
    let length = record.exit.instructionLength
    let after =
      snapshot.countsInstructions
      ? "after \(Format.grouped(record.exit.instructionCount)) instructions"
      : "instructions \(SessionSnapshot.notCounted)"
    canvas.fitted(
      "  \(source), vcpu \(record.exit.vcpu), \(after), "
        + "instruction of \(length) byte\(length == 1 ? "" : "s") at \(Self.place(record))",
      x: 1, y: 1, .dim)
    let handler = record.handler.isEmpty ? "nobody claimed it" : "handled by \(record.handler)"
    let cost = record.cost == 0 ? "" : ", \(Format.duration(record.cost)) until the guest went on"
    canvas.fitted("  \(handler)\(cost)", x: 1, y: 2, .dim)
  }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String {
    "no exits yet: press e to run to the first"
  }

  package override func handle(_ key: Key, row index: Int?, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.code == .enter, let index else { return .ignored }
    return .openExit(snapshot.exits[index].sequence)
  }

  /// The reason of the row keys act on, for "to the next exit of this reason".
  package func currentReason(_ snapshot: SessionSnapshot) -> ExitReason? {
    currentIndex(identities(snapshot)).map { snapshot.exits[$0].exit.reason }
  }
}
