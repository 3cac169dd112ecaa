import Debugger

/// The same work under several techniques, side by side.
package struct TechniquesReport: Equatable, Sendable {
  package var guest: String
  package var runs: [TechniqueRun] = []

  package init(guest: String) { self.guest = guest }

  private var measured: [TechniqueRun] { runs.filter { $0.refusal == nil } }

  /// Everything caught, the most frequent first.
  package var kindNames: [String] {
    var most: [String: UInt64] = [:]
    for run in measured { for (kind, tally) in run.total.kinds { most[kind.name] = max(most[kind.name] ?? 0, tally.count) } }
    return most.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map(\.key)
  }

  /// Operations that any run has, in the order of the first that has them; the empty loop left out.
  package var operationNames: [String] {
    var names: [String] = []
    for operation in measured.flatMap(\.operations) where !names.contains(operation.name) { names.append(operation.name) }
    return names.filter { $0 != "nothing" }
  }

  /// One sentence.
  package var verdict: String {
    guard let first = measured.first else { return "\(guest) runs under none of these techniques" }
    let other = measured.dropFirst().filter { $0.console != first.console }.map(\.choice.name)
    let count = "\(measured.count) technique\(measured.count == 1 ? "" : "s")"
    guard other.isEmpty else { return "\(guest) says something else under \(other.joined(separator: ", ")) than under \(first.choice.name)" }
    return "\(guest) says the same \(first.console.count) bytes under \(count)"
  }

  /// Why none could run it, where all say the same.
  private var commonRefusal: String? {
    let reasons = Set(runs.map(\.refusal))
    return reasons.count == 1 ? reasons.first ?? nil : nil
  }

  /// The guest ran somewhere, and said the same wherever it did.
  package var isSame: Bool {
    guard let first = measured.first else { return false }
    return measured.allSatisfy { $0.console == first.console }
  }

  // MARK: rows

  /// All of it as text; where `width` has no room for all techniques side by side, in several tables one below the other.
  package func rows(width: Int = .max) -> [ReportRow] {
    if measured.isEmpty, let why = commonRefusal { return [ReportRow(why, .bad)] }
    var rows = [ReportRow(verdict, .set)]
    for run in runs { if let why = run.refusal { rows.append(ReportRow("\(run.choice.name): \(why)", .bad)) } }
    guard !measured.isEmpty else { return rows }
    let columns = TechniqueTable.columns(in: width)
    let tables = stride(from: 0, to: measured.count, by: columns).map { first in
      TechniqueTable(runs: Array(measured[first..<min(first + columns, measured.count)]))
    }
    rows += tables.flatMap { $0.totals + $0.caught(kindNames) }
    rows += tables.flatMap { $0.missed }
    if !operationNames.isEmpty { rows += tables.flatMap { $0.operations(operationNames) } + causes }
    return rows + notes
  }

  /// What an operation is caught by, each time.
  private var causes: [ReportRow] {
    operationNames.flatMap { name in measured.compactMap { TechniqueTable.causes(name, $0) } }
  }

  // MARK: notes

  private var notes: [ReportRow] {
    let isClassic = operationNames.contains { Self.paper[$0] != nil }
    return (Self.modelNotes + (isClassic ? [Self.paperNote] : [])).map { ReportRow($0, .dim) }
  }

  private static let modelNotes = [
    "ns: on the clock of the host, measuring and all; operations without an empty loop",
    "These are a software model's costs. An exit here is a return from a function, on a processor with VT-x a change of mode of hundreds "
      + "to thousands of cycles; a trap, which a processor takes by itself, is emulated step by step; page tables are walked in software "
      + "under every technique. The counts are what a processor's would be, the ratios of ns are not.",
  ]

  /// What Adams and Agesen measured: which came first, by time.
  package static let paper = [
    "syscall": "n = h < s", "in": "s < n < h", "cr8wr": "s < n < h", "callret": "n = h < s", "pgfault": "n < s < h",
    "divzero": "n < h < s", "ptemod": "n < s < h",
  ]

  private static let paperNote =
    "In brackets: the order in time that K. Adams and O. Agesen found in 2006 (A Comparison of Software and Hardware Techniques for x86 "
    + "Virtualization, ASPLOS) on a Pentium 4: n native, s their binary translator, h their monitor on the first VT-x"

  // MARK: JSON

  package var json: JSONValue {
    .members(
      ("guest", .string(guest)), ("verdict", .string(verdict)), ("runs", .array(runs.map { Self.json($0, operationNames) })),
      ("paper", .object(operationNames.compactMap { name in Self.paper[name].map { .init(name, .string($0)) } })))
  }

  private static func json(_ run: TechniqueRun, _ names: [String]) -> JSONValue {
    guard run.refusal == nil else {
      return .members(("technique", .string(run.choice.technique.rawValue)), ("engine", .string(run.choice.engine)), ("refusal", .string(run.refusal ?? "")))
    }
    return .members(
      ("technique", .string(run.choice.technique.rawValue)), ("engine", .string(run.choice.engine)), ("end", .string(run.end)),
      ("consoleBytes", .number(UInt64(run.console.count))), ("total", json(run.total, run)),
      ("missed", run.missed.map { missed in
        .object(missed.sorted { $0.key < $1.key }.map { .init($0.key, .number($0.value)) })
      } ?? .null),
      ("operations", .array(names.compactMap { run.operation($0) }.map { operation in
        .members(("name", .string(operation.name)), ("times", .number(operation.times)), ("counts", json(operation.counts, run)))
      })))
  }

  private static func json(_ counts: TechniqueCounts, _ run: TechniqueRun) -> JSONValue {
    .members(
      ("instructions", run.countsInstructions ? .number(counts.instructions) : .null), ("entries", .number(counts.entries)),
      ("virtualNanoseconds", .number(counts.virtualTime)), ("hostNanoseconds", .number(counts.hostTime)),
      ("monitorNanoseconds", .number(counts.monitorTime)),
      ("caught", .array(counts.kinds.sorted { $0.key < $1.key }.map { kind, tally in
        .members(
          ("what", .string(kind.name)), ("how", .string(kind.treatment.rawValue)), ("count", .number(tally.count)),
          ("nanoseconds", .number(tally.cost)))
      })))
  }
}
