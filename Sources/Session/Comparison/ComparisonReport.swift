import Debugger
import VMCore
import X86

/// One instruction on the way to a difference.
package struct DivergentLine: Equatable, Sendable {
  package var rip: UInt64
  package var place: String
  package var bytes: [UInt8]
  package var text: String
  package var endsBlock: Bool
  /// Instructions that had retired before it.
  package var number: UInt64

  package init(rip: UInt64, place: String, bytes: [UInt8], text: String, endsBlock: Bool, number: UInt64) {
    (self.rip, self.place, self.bytes, self.text, self.endsBlock, self.number) = (rip, place, bytes, text, endsBlock, number)
  }
}

/// Where two machines part.
package struct Divergence: Equatable, Sendable {
  /// After one instruction less both were equal.
  package var count: UInt64
  /// Repeating the run showed it again.
  package var isRepeatable: Bool
  /// By machine, then by vCPU.
  package var states: [[VCPUState]]
  package var retired: [UInt64] = [0, 0]
  package var ends: [StopReason?] = [nil, nil]
  /// The first exits that are not the same; nil where a machine had none, or the exits agree.
  package var exits: [VMExit?] = [nil, nil]
  package var exitTexts: [String?] = [nil, nil]
  package var memory: ByteDifference?
  /// The block in which it happens; its last line is the instruction.
  package var code: [DivergentLine] = []
  /// Only the rewritten block as a whole shows it, not its last instruction by itself.
  package var isOfBlock = false

  package init(count: UInt64, isRepeatable: Bool, states: [[VCPUState]]) {
    self.count = count
    self.isRepeatable = isRepeatable
    self.states = states
  }

  /// The instruction at which they part.
  package var instruction: DivergentLine? { code.last }

  /// Registers that differ at the exit that shows it, where an exit does.
  package var atExit: [StateChange] = []

  /// Registers that differ: at the exit that shows it, else of the first vCPU that has any.
  package var registers: [StateChange] {
    if !atExit.isEmpty { return atExit }
    return zip(states[0], states[1]).lazy.map { StateChange.between($0, $1) }.first { !$0.isEmpty } ?? []
  }
}

/// What a comparison of two machines found.
package struct ComparisonReport: Equatable, Sendable {
  package var names: [String]
  package var technique: String
  package var comparisons: UInt64 = 0
  package var memoryComparisons: UInt64 = 0
  /// Exits that were compared.
  package var exits: UInt64 = 0
  package var retired: [UInt64] = [0, 0]
  package var mips: [Double] = [0, 0]
  package var exitCounts: [UInt64] = [0, 0]
  /// Why the guest ended; nil where it would go on.
  package var end: StopReason?
  /// Somebody stopped the comparison.
  package var isCutShort = false
  /// By instruction or reason, what each machine did.
  package var tallies: [[String: ComparisonTally]] = [[:], [:]]
  package var divergence: Divergence?

  package init(names: [String], technique: String) {
    self.names = names
    self.technique = technique
  }

  mutating func take(_ a: ComparisonSide, _ b: ComparisonSide) {
    retired = [a.retired, b.retired]
    mips = [a.mips, b.mips]
    exitCounts = [a.exitCount, b.exitCount]
    tallies = [a.allTallies, b.allTallies]
    end = a.end
  }

  /// One sentence.
  package var verdict: String {
    if let divergence {
      let place = divergence.instruction.map { " at \(Hex.text($0.rip)): \($0.text)" } ?? ""
      return "\(names[0]) and \(names[1]) part with instruction \(divergence.count)\(place)"
    }
    let how = isCutShort ? " as far as they were compared" : end.map { _ in ", to the guest's end" } ?? ""
    return "no difference in \(retired[0]) instructions and \(exits) exits\(how)"
  }

  // MARK: rows

  package var rows: [ReportRow] {
    var rows = [ReportRow(verdict, divergence == nil ? .set : .bad)]
    rows += divergence.map(Self.rows) ?? []
    return rows + summary + table
  }

  private var summary: [ReportRow] {
    var head = ReportRow(Column.left("", 22), .dim)
    for name in names { head.add(Column.right(name, 16), .heading) }
    func line(_ title: String, _ values: [String]) -> ReportRow {
      var row = ReportRow(Column.left(title, 22), .dim)
      for value in values { row.add(Column.right(value, 16), .value) }
      return row
    }
    return [
      head, line("instructions", retired.map { "\($0)" }), line("exits", exitCounts.map { "\($0)" }),
      line("million a second", mips.map { Self.decimal($0) }),
      ReportRow("registers compared \(comparisons) times and at every exit, memory \(memoryComparisons) times", .dim),
    ]
  }

  private static func decimal(_ value: Double) -> String {
    guard value.isFinite, value >= 0, value < 1e9 else { return "-" }
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }

  /// What was met, the most frequent first.
  package var kinds: [String] {
    Set(tallies[0].keys).union(tallies[1].keys).sorted { a, b in
      let (x, y) = (tallies[0][a]?.count ?? 0, tallies[0][b]?.count ?? 0)
      return (y, a) < (x, b)
    }
  }

  private var table: [ReportRow] {
    guard !kinds.isEmpty else { return [] }
    var sides = ReportRow(Column.left("", 26), .dim)
    for name in names { sides.add(Column.right(name, 25), .heading) }
    let columns = Column.right("what", 9) + Column.right("count", 10) + Column.right("ns", 6)
    return [sides, ReportRow(Column.left("instruction or event", 26) + columns + columns, .dim)]
      + kinds.map { kind in
        var row = ReportRow(Column.left(String(kind.prefix(26)), 26), .exit)
        for side in tallies {
          let tally = side[kind]
          row.add(Column.right(tally?.treatment ?? "-", 9), .plain)
          row.add(Column.right("\(tally?.count ?? 0)", 10), .value)
          row.add(Column.right(tally.map { $0.cost == 0 ? "-" : "\(UInt64($0.averageCost))" } ?? "-", 6), .plain)
        }
        return row
      }
  }

  private static func rows(_ divergence: Divergence) -> [ReportRow] {
    var rows: [ReportRow] = []
    if !divergence.isRepeatable {
      rows.append(ReportRow("a second run did not show it again: one of the two is not deterministic", .bad))
    }
    if divergence.isOfBlock {
      rows.append(ReportRow("the instruction by itself is right: the code made of the block below is at fault", .bad))
    }
    for line in divergence.code {
      let isLast = line == divergence.code.last
      var row = ReportRow(isLast ? " => " : "    ", .heading, target: .code(line.rip))
      row.add(Hex.padded(line.rip, line.rip > 0xFFFF_FFFF ? 16 : 8), width: 16, .address)
      row.add(Hex.bytes(line.bytes), width: 24, .dim)
      row.add(line.text, isLast ? .changed : .code)
      if !line.place.isEmpty { row.add("  <\(line.place)>", .symbol) }
      rows.append(row)
    }
    if divergence.exitTexts.contains(where: { $0 != nil }) {
      rows.append(ReportRow("exit       \(divergence.exitTexts[0] ?? "none")  |  \(divergence.exitTexts[1] ?? "none")", .exit))
    }
    if divergence.retired[0] != divergence.retired[1] {
      rows.append(ReportRow("retired    \(divergence.retired[0])  |  \(divergence.retired[1])", .changed))
    }
    let changes = divergence.registers
    rows += changes.map { change in
      var row = ReportRow(Column.left(change.name, 10) + " ", .heading)
      row.add(change.texts.before, .value)
      row.add("  |  ", .dim)
      row.add(change.texts.after, .changed)
      if !change.bits.isEmpty { row.add("  \(change.bits)", .dim) }
      return row
    }
    if let memory = divergence.memory {
      let text = memory.bytes.map { Hex.bytes($0) }.joined(separator: "  |  ")
      rows.append(ReportRow("memory     \(Hex.text(memory.address.value)): \(text)", .changed, target: .physical(memory.address.value)))
    }
    if changes.isEmpty, divergence.memory == nil, divergence.states[0] != divergence.states[1] {
      rows.append(ReportRow("they differ in floating-point or other inner state", .changed))
    }
    return rows
  }

  // MARK: JSON

  package var json: JSONValue {
    .members(
      ("equal", .bool(divergence == nil)), ("verdict", .string(verdict)), ("technique", .string(technique)),
      ("instructions", .array(retired.map { .number($0) })), ("exits", .array(exitCounts.map { .number($0) })),
      ("engines", .strings(names)), ("mips", .array(mips.map { .real($0) })),
      ("comparisons", .number(comparisons)), ("memoryComparisons", .number(memoryComparisons)),
      ("cutShort", .bool(isCutShort)),
      ("kinds", .array(kinds.map { kind in
        .members(("kind", .string(kind)), ("engines", .array(tallies.map { Self.json($0[kind] ?? ComparisonTally()) })))
      })),
      ("divergence", divergence.map(Self.json) ?? .null))
  }

  private static func json(_ tally: ComparisonTally) -> JSONValue {
    .members(
      ("treatment", .string(tally.treatment)), ("count", .number(tally.count)), ("averageNanoseconds", .real(tally.averageCost)))
  }

  private static func json(_ divergence: Divergence) -> JSONValue {
    .members(
      ("instruction", .number(divergence.count)), ("rip", divergence.instruction.map { .hex($0.rip) } ?? .null),
      ("text", divergence.instruction.map { .string($0.text) } ?? .null), ("repeatable", .bool(divergence.isRepeatable)),
      ("ofBlock", .bool(divergence.isOfBlock)),
      ("block", .array(divergence.code.map { .members(("rip", .hex($0.rip)), ("text", .string($0.text))) })),
      ("exits", .array(divergence.exitTexts.map { text in text.map { .string($0) } ?? .null })),
      ("registers", .object(divergence.registers.map { .init($0.name, .array([.hex($0.before), .hex($0.after)])) })),
      ("memory", divergence.memory.map { .members(
        ("address", .hex($0.address.value)), ("bytes", .strings($0.bytes.map { Hex.bytes($0) }))) } ?? .null))
  }
}
