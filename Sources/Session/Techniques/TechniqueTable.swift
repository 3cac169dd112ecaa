import Debugger

/// Techniques side by side, a column each.
struct TechniqueTable {
  let runs: [TechniqueRun]

  private static let label = 26
  private static let cell = 24

  /// Columns that fit into `width` characters, at least one.
  static func columns(in width: Int) -> Int { max((min(width, 1000) - label) / cell, 1) }

  private func head(_ title: String, _ columns: String? = nil) -> [ReportRow] {
    var row = ReportRow(Column.left(title, Self.label), .heading)
    for run in runs { row.add(Column.right(run.choice.name, Self.cell), .heading) }
    guard let columns else { return [row] }
    let under = runs.map { _ in Column.right(columns, Self.cell) }.joined()
    return [row, ReportRow(Column.left("", Self.label) + under, .dim)]
  }

  private func line(_ title: String, _ value: (TechniqueRun) -> String) -> ReportRow {
    var row = ReportRow(Column.left(String(title.prefix(Self.label)), Self.label), .exit)
    for run in runs { row.add(Column.right(value(run), Self.cell), .value) }
    return row
  }

  var totals: [ReportRow] {
    head("the whole run") + [
      line("ended") { String($0.end.prefix(Self.cell - 1)) },
      line("guest instructions") { $0.countsInstructions ? "\($0.total.instructions)" : "not counted" },
      line("times in the monitor") { "\($0.total.entries)" },
      line("virtual time, us") { "\($0.total.virtualTime / 1000)" },
      line("host time, us") { "\($0.total.hostTime / 1000)" },
      line("of it in the monitor") { "\($0.total.monitorTime / 1000)" },
    ]
  }

  // MARK: what was caught

  func caught(_ names: [String]) -> [ReportRow] {
    head("what was caught", "count       how    ns")
      + names.filter { name in runs.contains { $0.total.kinds.contains { $0.key.name == name } } }
      .map { name in line(name) { Self.caught(name, in: $0) } }
  }

  private static func caught(_ name: String, in run: TechniqueRun) -> String {
    let found = run.total.kinds.filter { $0.key.name == name }
    guard let first = found.first else { return "-" }
    let count = found.reduce(UInt64(0)) { $0 + $1.value.count }
    let cost = found.reduce(UInt64(0)) { $0 + $1.value.cost }
    let treatment = found.count == 1 ? first.key.treatment.rawValue : "two ways"
    return "\(count)" + Column.right(treatment, 10) + Column.right(cost == 0 ? "-" : "\(cost / max(count, 1))", 6)
  }

  var missed: [ReportRow] {
    runs.compactMap { run in
      guard let missed = run.missed else { return nil }
      let found = missed.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
      let count = found.reduce(UInt64(0)) { $0 + $1.value }
      let names = found.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
      let text = count == 0 ? "nothing" : "\(count) executions that do not trap outside ring 0: \(names)"
      return ReportRow("trap and emulate would have missed (\(run.choice.name)): \(text)", .plain)
    }
  }

  // MARK: operations

  func operations(_ names: [String]) -> [ReportRow] {
    head("each operation", "monitor  insns       ns") + names.map { name in
      var row = line(name) { run in
        guard let operation = run.operation(name) else { return "-" }
        let counts = operation.counts
        let instructions = run.countsInstructions ? Self.decimal(operation.each(counts.instructions), 1) : "-"
        return Self.decimal(operation.each(counts.entries)) + Column.right(instructions, 7)
          + Column.right("\(UInt64(operation.each(counts.hostTime)))", 9)
      }
      if let order = TechniquesReport.paper[name] { row.add("  (\(order))", .dim) }
      return row
    }
  }

  /// What the operation is caught by under a technique; nil where the guest has no such operation.
  static func causes(_ name: String, _ run: TechniqueRun) -> ReportRow? {
    guard let operation = run.operation(name) else { return nil }
    let texts = operation.counts.kinds.sorted { $0.key < $1.key }.compactMap { kind, tally -> String? in
      let each = operation.each(tally.count)
      return each < 0.005 ? nil : "\(kind.name) \(kind.treatment.rawValue) \(decimal(each))"
    }
    var row = ReportRow(Column.left(name, 9) + Column.left(run.choice.name, 20), .dim)
    row.add(texts.isEmpty ? "the monitor is not needed" : texts.joined(separator: ", "), .plain)
    return row
  }

  private static func decimal(_ value: Double, _ places: Int = 2) -> String {
    guard value.isFinite, value >= 0, value < 1e12 else { return "-" }
    let scale = places == 1 ? 10 : 100
    let parts = Int((value * Double(scale)).rounded())
    let fraction = String(parts % scale)
    return "\(parts / scale)." + String(repeating: "0", count: places - fraction.count) + fraction
  }
}
