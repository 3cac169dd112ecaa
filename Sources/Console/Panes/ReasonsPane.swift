import Session
import TerminalUI
import VMCore

/// Exit reasons with counts, share and cost.
package final class ReasonsPane: ListPane {
  private enum Order: String, CaseIterable { case count, cost, name }
  private var order = Order.count

  package init() { super.init(.reasons, followsEnd: false) }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    "Exit reasons by \(order.rawValue) (o sorts), \(Format.grouped(snapshot.exitCount)) in all"
  }

  private func sorted(_ snapshot: SessionSnapshot) -> [ReasonStatistics] {
    snapshot.reasons.sorted { a, b in
      switch order {
      case .count: (b.count, a.reason.rawValue) < (a.count, b.reason.rawValue)
      case .cost:
        (b.averageCost * Double(b.count), a.reason.rawValue) < (a.averageCost * Double(a.count), b.reason.rawValue)
      case .name: a.reason.label < b.reason.label
      }
    }
  }

  package override func identities(_ snapshot: SessionSnapshot) -> [UInt64] {
    sorted(snapshot).map { UInt64($0.reason.rawValue) }
  }

  package override func header(width: Int, _ snapshot: SessionSnapshot) -> String? {
    let cost = width >= 44 ? Format.right("avg", 9) + Format.right("max", 9) : ""
    return " " + Format.left("reason", 12) + Format.right("count", 9) + Format.right("share", 8) + cost
  }

  package override func drawRow(
    _ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, y: Int, surface: StyleRole
  ) {
    let row = sorted(snapshot)[index]
    canvas.text(row.reason.label, x: 1, y: y, .exitReason)
    let count = row.count < 10_000_000 ? Format.grouped(row.count) : Format.short(Double(row.count))
    canvas.text(Format.right(count, 9), x: 13, y: y, .value)
    canvas.text(Format.right(Format.fixed(row.share * 100, 1) + "%", 8), x: 22, y: y, .value)
    var x = 30
    if canvas.width >= 44 {
      let average = row.averageCost.isFinite && row.averageCost >= 0 ? UInt64(min(row.averageCost, 1e15)) : 0
      canvas.text(Format.right(average == 0 ? "-" : Format.duration(average), 9), x: x, y: y, .dim)
      let most = row.maximumCost == 0 ? "-" : Format.duration(row.maximumCost)
      canvas.text(Format.right(most, 9), x: x + 9, y: y, .dim)
      x += 18
    }
    canvas.bar(row.share, x: x + 1, y: y, columns: canvas.width - x - 2)
  }

  package override func rowText(_ index: Int, _ snapshot: SessionSnapshot) -> String {
    sorted(snapshot)[index].reason.label
  }

  package override func handle(_ key: Key, row index: Int?, _ snapshot: SessionSnapshot) -> PaneResponse {
    if key.typed == "o" {
      let all = Order.allCases
      order = all[((all.firstIndex(of: order) ?? 0) + 1) % all.count]
      return .handled
    }
    return .ignored
  }

  package func currentReason(_ snapshot: SessionSnapshot) -> ExitReason? {
    let rows = sorted(snapshot)
    return currentIndex(rows.map { UInt64($0.reason.rawValue) }).map { rows[$0].reason }
  }
}
