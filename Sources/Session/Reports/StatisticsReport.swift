import Debugger
import VMCore
import X86

/// Exits counted by reason, by guest address and by symbol, as rows.
package struct StatisticsReport {
  package enum Order: String, CaseIterable, Sendable { case count, cost, name }
  private let snapshot: SessionSnapshot

  package init(_ snapshot: SessionSnapshot) { self.snapshot = snapshot }

  // MARK: by reason

  package func sorted(_ order: Order) -> [ReasonStatistics] {
    snapshot.reasons.sorted { a, b in
      switch order {
      case .count: (b.count, a.reason.rawValue) < (a.count, b.reason.rawValue)
      case .cost:
        (b.averageCost * Double(b.count), a.reason.rawValue) < (a.averageCost * Double(a.count), b.reason.rawValue)
      case .name: a.reason.name < b.reason.name
      }
    }
  }

  /// The powers of two that occur in any reason's histogram, at most 16 columns.
  package var exponents: Range<Int> {
    let used = snapshot.reasons.flatMap { row in row.histogram.indices.filter { row.histogram[$0] > 0 } }
    guard let first = used.min(), let last = used.max() else { return 0..<0 }
    return max(first, last - 15)..<last + 1
  }

  /// A histogram as one character for each power of two: a dot where there is none, then by tenths of the most.
  package static func histogram(_ counts: [UInt64], _ exponents: Range<Int>) -> String {
    let most = counts.max() ?? 0
    guard most > 0 else { return "" }
    return String(
      exponents.map { exponent -> Character in
        let count = counts.indices.contains(exponent) ? counts[exponent] : 0
        guard count > 0 else { return "." }
        let step = Int(count.multipliedFullWidth(by: 9).low / most)
        return Character(String(max(step, 1)))
      })
  }

  package static func duration(_ nanoseconds: UInt64) -> String {
    nanoseconds < 10_000 ? "\(nanoseconds) ns" : nanoseconds < 10_000_000 ? "\(nanoseconds / 1000) us" : "\(nanoseconds / 1_000_000) ms"
  }

  /// Count, share, cost and histogram of each reason.
  package func reasons(_ order: Order = .count) -> [ReportRow] {
    var head = ReportRow(Column.left("reason", 13), .dim)
    head.add("       count  share       min       avg       p99       max", .dim)
    if !exponents.isEmpty { head.add("  2^\(exponents.lowerBound)..2^\(exponents.upperBound) ns", .dim) }
    return [head] + sorted(order).map { reason in
      var row = ReportRow()
      row.add(reason.reason.name.uppercased(), width: 12, .exit)
      row.add(Column.right("\(reason.count)", 12), .value)
      row.add(Column.right(Self.percent(reason.share), 7), .value)
      let isMeasured = reason.maximumCost > 0
      let average = reason.averageCost.isFinite && reason.averageCost >= 0 ? UInt64(min(reason.averageCost, 1e15)) : 0
      for cost in [reason.minimumCost, average, reason.p99Cost, reason.maximumCost] {
        row.add(Column.right(isMeasured ? Self.duration(cost) : "-", 10), .plain)
      }
      row.add("  " + Self.histogram(reason.histogram, exponents), .dim)
      return row
    }
  }

  /// One decimal and a percent sign.
  package static func percent(_ share: Double) -> String {
    guard share.isFinite, share >= 0, share <= 1 else { return "-" }
    let tenths = Int((share * 1000).rounded())
    return "\(tenths / 10).\(tenths % 10)%"
  }

  // MARK: by place

  private func share(_ count: UInt64) -> Double { Double(count) / Double(max(snapshot.exitCount, 1)) }

  /// The addresses exits come from.
  package func addresses(_ limit: Int = .max) -> [ReportRow] {
    var rows = snapshot.exitAddresses.prefix(limit).map { entry -> ReportRow in
      var row = ReportRow(target: target(entry.address))
      row.add(Hex.padded(entry.address, entry.address > 0xFFFF_FFFF ? 16 : 8), width: 18, .address)
      row.add(Column.right("\(entry.count)", 12), .value)
      row.add(Column.right(Self.percent(share(entry.count)), 7) + "  ", .value)
      row.add(snapshot.symbols.name(of: entry.address) ?? "", .symbol)
      return row
    }
    rows.insert(ReportRow("address                   count  share  symbol", .dim), at: 0)
    if snapshot.otherExitAddresses > 0 {
      rows.append(ReportRow("elsewhere          \(Column.right("\(snapshot.otherExitAddresses)", 12))", .dim))
    }
    return rows
  }

  /// Code where the code segment of now reaches it, else memory.
  private func target(_ address: UInt64) -> ReportTarget {
    let vcpu = snapshot.vcpus[snapshot.currentVCPU]
    let base = vcpu.linearRIP.value &- vcpu.rip
    return address >= base ? .code(address - base) : .linear(address)
  }

  /// Exits by the symbol their address lies in.
  package var bySymbol: [(name: String, count: UInt64)] {
    var counts: [String: UInt64] = [:]
    for entry in snapshot.exitAddresses {
      counts[snapshot.symbols.place(of: entry.address)?.symbol.name ?? "(no symbol)", default: 0] += entry.count
    }
    return counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { ($0.key, $0.value) }
  }

  package func symbols(_ limit: Int = .max) -> [ReportRow] {
    [ReportRow("symbol                                      count  share", .dim)]
      + bySymbol.prefix(limit).map { entry in
        var row = ReportRow(target: snapshot.symbols.symbol(named: entry.name).map { .linear($0.address) })
        row.add(entry.name, width: 36, .symbol)
        row.add(Column.right("\(entry.count)", 12), .value)
        row.add(Column.right(Self.percent(share(entry.count)), 7), .value)
        return row
      }
  }
}
