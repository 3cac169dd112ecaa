import Session
import TerminalUI

/// The newest hypercalls in words, the entries of a multicall before it; of the selected one all of it, where its row
/// has no room, and what it pointed at.
package final class HypercallsPane: ListPane {
  /// Of the current call what its row does not say.
  private var details: [String] = []
  private static let callColumn = 43
  private static let mostDetails = 6

  package init() { super.init(.hypercalls, followsEnd: true) }

  package override func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool) {
    details = current(snapshot).map { Array(lines($0, width: canvas.width).prefix(min(Self.mostDetails, canvas.height / 3))) } ?? []
    super.render(snapshot, on: canvas, focused: focused)
  }

  private func lines(_ record: HypercallRecord, width: Int) -> [String] {
    let isCut = Self.callColumn + CharacterWidth.of(record.text) + (record.isInner ? 2 : 0) > width
    let whole = isCut ? Format.wrap("> " + record.text, width: max(width - 1, 1)) : []
    return whole + record.structures.map { "    " + $0 }
  }

  package override func detailRows(height: Int) -> Int { details.count }

  package override func drawDetail(_ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas) {
    for (y, line) in details.prefix(canvas.height).enumerated() { canvas.fitted(line, x: 1, y: y, .value) }
  }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    isLookingBack ? "Hypercalls (looking back; End follows)" : "Hypercalls"
  }

  package override func identities(_ snapshot: SessionSnapshot) -> [UInt64] { snapshot.hypercalls.map(\.sequence) }

  /// The call of the row keys act on.
  package func current(_ snapshot: SessionSnapshot) -> HypercallRecord? {
    currentIndex(identities(snapshot)).map { snapshot.hypercalls[$0] }
  }

  package override func header(width: Int, _ snapshot: SessionSnapshot) -> String? {
    "   seq  " + Format.left("time", 9) + Format.left("rip", 18) + Format.left("cost", 8) + "call"
  }

  package override func drawRow(
    _ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, y: Int, surface: StyleRole
  ) {
    let record = snapshot.hypercalls[index]
    canvas.text(Format.right("#\(record.sequence)", 7), x: 0, y: y, .address)
    canvas.text(Format.duration(record.time), x: 8, y: y, .dim, limit: 8)
    canvas.text(Format.hex(record.rip, 4), x: 17, y: y, .address, limit: 17)
    let cost = snapshot.exit(of: record)?.cost ?? 0
    canvas.text(cost == 0 ? "-" : Format.duration(cost), x: 35, y: y, .dim, limit: 7)
    canvas.fitted((record.isInner ? "| " : "") + record.text, x: Self.callColumn, y: y, record.isError ? .error : .hypercall)
  }

  package override func rowText(_ index: Int, _ snapshot: SessionSnapshot) -> String {
    let record = snapshot.hypercalls[index]
    return ([record.text] + record.structures).joined(separator: " ")
  }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String {
    "no hypercalls yet: press h to run to the first"
  }

  package override func handle(_ key: Key, row index: Int?, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.code == .enter, let index else { return .ignored }
    let record = snapshot.hypercalls[index]
    return snapshot.exit(of: record).map { .openExit($0.sequence) } ?? .show(record.rip, in: .code)
  }
}
