import Debugger
import Session
import TerminalUI
import VMCore

/// Exits in numbers: by reason with share, cost and histogram, by guest address, by symbol.
package final class ReasonsPane: ReportPane {
  private enum View: Int, CaseIterable {
    case reason, address, symbol
    var name: String { self == .reason ? "reason" : self == .address ? "RIP" : "symbol" }
  }
  private var by = View.reason
  private var order = StatisticsReport.Order.count

  package init() { super.init(.reasons, followsEnd: false) }

  package override var view: Int { by.rawValue * 8 + (StatisticsReport.Order.allCases.firstIndex(of: order) ?? 0) }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    let sorting = by == .reason ? ", o: \(order.rawValue)" : ""
    return "Exits by \(by.name) (m: next\(sorting)), \(Format.grouped(snapshot.exitCount)) in all"
  }

  package override func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] {
    let report = StatisticsReport(snapshot)
    switch by {
    case .reason: return Array(report.reasons(order).dropFirst())
    case .address: return Array(report.addresses().dropFirst())
    case .symbol: return Array(report.symbols().dropFirst())
    }
  }

  private func sorted(_ snapshot: SessionSnapshot) -> [ReasonStatistics] { StatisticsReport(snapshot).sorted(order) }

  /// Which columns there is room for; the histogram goes first, then p99 and minimum.
  private struct Columns {
    var costs: Bool
    var extremes: Bool
    var histogram: Bool
    init(width: Int, exponents: Int) {
      costs = width >= 50
      extremes = width >= 68
      histogram = exponents > 0 && width >= 70 + exponents
    }
  }

  private func columns(_ width: Int, _ snapshot: SessionSnapshot) -> Columns {
    Columns(width: width, exponents: StatisticsReport(snapshot).exponents.count)
  }

  package override func header(width: Int, _ snapshot: SessionSnapshot) -> String? {
    switch by {
    case .address: return " address                   count  share  symbol"
    case .symbol: return " symbol                                      count  share"
    case .reason: break
    }
    let columns = columns(width, snapshot)
    var text = " " + Format.left("reason", 12) + Format.right("count", 9) + Format.right("share", 8)
    if columns.extremes { text += Format.right("min", 9) }
    if columns.costs { text += Format.right("avg", 9) }
    if columns.extremes { text += Format.right("p99", 9) }
    if columns.costs { text += Format.right("max", 9) }
    let exponents = StatisticsReport(snapshot).exponents
    if columns.histogram {
      text += "  " + Format.duration(1 << UInt64(exponents.lowerBound)) + " and twice that, ..."
    }
    return text
  }

  package override func drawRow(
    _ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, y: Int, surface: StyleRole
  ) {
    guard by == .reason else {
      super.drawRow(index, snapshot, canvas, y: y, surface: surface)
      return
    }
    let sorted = sorted(snapshot)
    guard sorted.indices.contains(index) else { return }
    let row = sorted[index]
    let columns = columns(canvas.width, snapshot)
    canvas.text(row.reason.label, x: 1, y: y, .exitReason, limit: 12)
    let count = row.count < 10_000_000 ? Format.grouped(row.count) : Format.short(Double(row.count))
    canvas.text(Format.right(count, 9), x: 13, y: y, .value)
    canvas.text(Format.right(Format.fixed(row.share * 100, 1) + "%", 8), x: 22, y: y, .value)
    var x = 30
    func cost(_ nanoseconds: UInt64) {
      let text = row.maximumCost == 0 ? "-" : Format.duration(nanoseconds)
      canvas.text(Format.right(text, 9), x: x, y: y, .dim)
      x += 9
    }
    let average = row.averageCost.isFinite && row.averageCost >= 0 ? UInt64(min(row.averageCost, 1e15)) : 0
    if columns.extremes { cost(row.minimumCost) }
    if columns.costs { cost(average) }
    if columns.extremes { cost(row.p99Cost) }
    if columns.costs { cost(row.maximumCost) }
    if columns.histogram { x = histogram(row, StatisticsReport(snapshot).exponents, canvas, x: x + 2, y: y) }
    canvas.bar(row.share, x: x + 1, y: y, columns: min(canvas.width - x - 2, 50))
  }

  /// A column for each power of two, as high as its count; gives the column after.
  private func histogram(_ row: ReasonStatistics, _ exponents: Range<Int>, _ canvas: Canvas, x: Int, y: Int) -> Int {
    let text = StatisticsReport.histogram(row.histogram, exponents)
    for (offset, character) in text.unicodeScalars.enumerated() {
      var scalar = character.value
      // Of eight steps as many as there are glyphs for.
      let levels = canvas.glyphs.levels
      if !levels.isEmpty, let step = Int(String(character)), step > 0 {
        scalar = levels[(min(step, 8) * levels.count + 7) / 8 - 1]
      }
      canvas.put(scalar, x: x + offset, y: y, character == "." ? .dim : .bar)
    }
    return x + exponents.count
  }

  package override func handleKey(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.modifiers.isEmpty else { return .ignored }
    switch key.code {
    case .character("o"):
      let all = StatisticsReport.Order.allCases
      order = all[((all.firstIndex(of: order) ?? 0) + 1) % all.count]
    case .character("m"), .right: show(View.allCases[(by.rawValue + 1) % View.allCases.count])
    case .left: show(View.allCases[(by.rawValue + View.allCases.count - 1) % View.allCases.count])
    default: return .ignored
    }
    return .handled
  }

  private func show(_ view: View) {
    by = view
    select(nil)
  }

  package func currentReason(_ snapshot: SessionSnapshot) -> ExitReason? {
    guard by == .reason else { return nil }
    let rows = sorted(snapshot)
    return currentIndex(identities(snapshot)).flatMap { rows.indices.contains($0) ? rows[$0].reason : nil }
  }
}
