import Debugger
import VMCore
import X86

/// Rewritten code as rows: totals, the policy, sites, and what trap and emulate would have missed.
package struct RewritingReport {
  private let view: RewritingView
  private let symbols: SymbolTable
  private let retired: UInt64

  package init(_ snapshot: SessionSnapshot) {
    self.init(snapshot.rewriting, symbols: snapshot.symbols, retired: snapshot.instructionCount)
  }

  init(_ view: RewritingView, symbols: SymbolTable, retired: UInt64) {
    self.view = view
    self.symbols = symbols
    self.retired = retired
  }

  /// Why there is nothing to show; nil where there is.
  package var whyEmpty: String? {
    if view.totals != nil { return nil }
    return "nothing is rewritten here: technique \(view.technique) on engine \(view.engine) (--technique rewrite, or --engine rewriter)"
  }

  // MARK: totals

  package var totals: [ReportRow] {
    if let whyEmpty { return [ReportRow(whyEmpty, .dim)] }
    guard let totals = view.totals else { return [] }
    return (totals.size > 0 ? cacheRows(totals) : [Self.line("code cache", "none: the \(view.engine) executes all of it")])
      + [sensitiveRow]
  }

  private func cacheRows(_ totals: RewritingTotals) -> [ReportRow] {
    let kinds = RewritingKind.allCases.map { kind in
      "\(kind.name) \(StatisticsReport.percent(totals.share(kind)))"
    }
    return [
      Self.line("blocks", "\(totals.blocks) rewritten, \(totals.refused) left to the interpreter"),
      Self.line("instructions", "\(totals.instructions): " + kinds.joined(separator: ", ")),
      Self.line("expansion", "\(totals.guestBytes) bytes -> \(totals.hostBytes), x\(Self.decimal(totals.expansion))"),
      Self.line("cache", "\(Recording.bytes(totals.used)) of \(Recording.bytes(totals.size)), parts of it given up \(totals.flushes) times"),
      Self.line("dropped", "\(totals.invalidations) times code was changed, \(totals.adaptive) accesses rewritten again"),
      Self.line(
        "executed",
        "\(totals.cached) in the cache, \(totals.interpreted) interpreted (\(StatisticsReport.percent(totals.interpretedShare)))"),
      Self.line(
        "pages", "looked up once for many rounds: \(totals.streams) operands of loops"),
      Self.line(
        "not in TLB", "\(totals.slowAccesses) loads and stores in the cache, 1 in \(totals.instructionsPerSlowAccess) instructions"),
    ]
  }

  private var sensitiveRow: ReportRow {
    guard !view.policy.isEmpty else {
      return Self.line("sensitive", "not counted: the VMCS decides what exits (technique \(view.technique))")
    }
    let count = view.sites.reduce(UInt64(0)) { $0 &+ $1.count }
    let share = retired == 0 ? 0 : min(Double(count) / Double(retired), 1)
    return Self.line(
      "sensitive", "\(count) at \(view.sites.count { $0.count > 0 }) places; \(Self.fine(1 - share)) of \(retired) instructions were harmless")
  }

  private static func line(_ title: String, _ text: String) -> ReportRow {
    var row = ReportRow()
    row.add(title, width: 13, .heading)
    row.add(text, .plain)
    return row
  }

  private static func decimal(_ value: Double) -> String {
    guard value.isFinite, value >= 0, value < 1e9 else { return "-" }
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }

  /// Three decimals: what is harmless is nearly everything.
  private static func fine(_ share: Double) -> String {
    guard share.isFinite, share >= 0, share <= 1 else { return "-" }
    let parts = Int((share * 100_000).rounded(.down))
    return "\(parts / 1000).\(Column.right("\(parts % 1000)", 3).replacing(" ", with: "0"))%"
  }

  // MARK: callouts by cause and by site

  package var causes: [ReportRow] {
    guard !view.policy.isEmpty else { return [] }
    var counts: [SensitiveOperation: (count: UInt64, sites: Int)] = [:]
    for site in view.sites where site.count > 0 {
      counts[site.operation, default: (0, 0)].count += site.count
      counts[site.operation]?.sites += 1
    }
    let sorted = counts.sorted { ($1.value.count, $0.key.rawValue) < ($0.value.count, $1.key.rawValue) }
    return [ReportRow("sensitive instruction              count   sites  treated", .dim)]
      + sorted.map { operation, tally in
        var row = ReportRow()
        row.add(operation.name, width: 28, .exit)
        row.add(Column.right("\(tally.count)", 11), .value)
        row.add(Column.right("\(tally.sites)", 8) + "  ", .value)
        row.add(view.policy.treatment(of: operation).rawValue, .plain)
        return row
      }
  }

  package func sites(_ limit: Int = .max) -> [ReportRow] {
    guard !view.policy.isEmpty else { return [] }
    let sorted = view.sites.filter { $0.count > 0 }.sorted { ($1.count, $0.rip) < ($0.count, $1.rip) }
    return [ReportRow("rip                   count  ring  instruction", .dim)]
      + sorted.prefix(limit).map { siteRow($0, $0.operation.name + ", " + $0.treatment.rawValue) }
  }

  private func siteRow(_ site: SensitiveSite, _ text: String) -> ReportRow {
    var row = ReportRow(target: .code(site.rip))
    row.add(Hex.padded(site.rip, site.rip > 0xFFFF_FFFF ? 16 : 8), width: 16, .address)
    row.add(Column.right("\(site.count)", 10), .value)
    row.add(Column.right("\(site.cpl)", 6) + "  ", .plain)
    row.add(text, .plain)
    if let name = symbols.name(of: site.rip) { row.add("  <\(name)>", .symbol) }
    return row
  }

  // MARK: what would trap and emulate have missed?

  package var missed: [ReportRow] {
    guard !view.policy.isEmpty else {
      return [ReportRow("not counted here: with --technique rewrite every sensitive instruction is", .dim)]
    }
    let silent = view.sites.filter { $0.count > 0 && $0.operation.silently != nil }
    let count = silent.reduce(UInt64(0)) { $0 &+ $1.count }
    guard count > 0 else { return [ReportRow("nothing so far: every sensitive instruction executed traps outside ring 0")] }
    let sorted = silent.sorted { ($1.count, $0.rip) < ($0.count, $1.rip) }
    return [
      ReportRow("\(count) executions at \(silent.count) places do not trap outside ring 0: trap and emulate would never have seen them", .heading),
      ReportRow("rip                   count  ring  instruction", .dim),
    ] + sorted.map { siteRow($0, "\($0.operation.name): \($0.operation.silently ?? "")") }
  }

  // MARK: the policy

  package var policy: [ReportRow] {
    guard !view.policy.isEmpty else {
      return [ReportRow("no policy is in force: the VMCS decides what exits (technique \(view.technique))", .dim)]
    }
    return [ReportRow("instruction                    treated   why", .dim)]
      + SensitiveOperation.allCases.map { operation in
        var row = ReportRow()
        row.add(operation.name, width: 30, .exit)
        row.add(view.policy.treatment(of: operation).rawValue, width: 9, .value)
        row.add(operation.reason, .plain)
        return row
      }
  }

  package var json: JSONValue {
    let totals = view.totals ?? RewritingTotals()
    return .members(
      ("technique", .string(view.technique)), ("engine", .string(view.engine)), ("blocks", .number(totals.blocks)),
      ("refused", .number(totals.refused)), ("instructions", .number(totals.instructions)),
      ("kinds", .object(RewritingKind.allCases.map { .init($0.name, .number(totals.kinds[$0] ?? 0)) })),
      ("guestBytes", .number(totals.guestBytes)), ("hostBytes", .number(totals.hostBytes)), ("cacheUsed", .number(totals.used)),
      ("cacheSize", .number(totals.size)), ("flushes", .number(totals.flushes)),
      ("invalidations", .number(totals.invalidations)), ("adaptive", .number(totals.adaptive)),
      ("streams", .number(totals.streams)),
      ("slowAccesses", .number(totals.slowAccesses)), ("interpreted", .number(totals.interpreted)), ("cached", .number(totals.cached)),
      ("sites", .array(view.sites.filter { $0.count > 0 }.map { site in
        .members(
          ("rip", .hex(site.rip)), ("operation", .string(site.operation.name)), ("treatment", .string(site.treatment.rawValue)),
          ("ring", .number(UInt64(site.cpl))), ("count", .number(site.count)),
          ("silently", site.operation.silently.map { .string($0) } ?? .null))
      })))
  }
}
