import Debugger
import VMCore
import X86

/// One of two stops that are compared.
struct ComparedStop {
  var number: UInt64
  var state: VCPUState
  var vcpu: Int
  var retired: UInt64
  var time: UInt64
  var exits: UInt64
  var events: UInt64
  var reasons: [UInt64]
}

/// What is known of memory between two stops.
enum MemoryDifference: Equatable {
  /// Page numbers that changed.
  case known([UInt64])
  /// Pages kept at both, and which of them differ; nothing is known of the others.
  case kept(Int, changed: [UInt64])
  case unknown(String)
}

extension SessionCore {
  /// A stop of this session or of its recording; nil where it is not kept.
  func comparedStop(_ number: UInt64) -> ComparedStop? {
    if let recorded {
      guard let place = recorded.stop(number: number) else { return nil }
      let moment = recorded.moment(place.position)
      guard let stop = moment.stop, let state = stop.states.indices.contains(stop.vcpu) ? stop.states[stop.vcpu] : stop.states.first
      else { return nil }
      return ComparedStop(
        number: number, state: state, vcpu: stop.vcpu, retired: stop.retired, time: stop.time, exits: moment.exits,
        events: moment.position, reasons: moment.tallies.reasonCounts)
    }
    guard let point = stops[number], point.states.indices.contains(point.vcpu) else { return nil }
    return ComparedStop(
      number: number, state: point.states[point.vcpu], vcpu: point.vcpu, retired: point.retired, time: point.time,
      exits: point.exits, events: point.events, reasons: point.reasons)
  }

  /// Pages that changed between two stops, as far as that is known.
  func memoryDifference(_ first: UInt64, _ second: UInt64) -> MemoryDifference {
    let (from, to) = (min(first, second), max(first, second))
    if from == to { return .known([]) }
    var changed: Set<UInt64> = []
    guard let recorded else {
      for number in from + 1...to {
        guard let pages = stops[number]?.changedPages else {
          return .unknown("memory was not compared at stop \(number) (without a console only the first stops are)")
        }
        changed.formUnion(pages)
      }
      return .known(changed.sorted())
    }
    var isWhole = true
    for place in recorded.stops where place.number > from && place.number <= to {
      guard let pages = recorded.moment(place.position).stop?.changedPages else {
        isWhole = false
        break
      }
      changed.formUnion(pages)
    }
    if isWhole { return .known(changed.sorted()) }
    func pages(_ number: UInt64) -> [UInt64: Int] {
      let stop = recorded.stop(number: number).flatMap { recorded.moment($0.position).stop }
      return Dictionary((stop?.pages ?? []).map { ($0.address >> 12, $0.content) }, uniquingKeysWith: { $1 })
    }
    let (before, after) = (pages(from), pages(to))
    let both = before.keys.filter { after[$0] != nil }
    return .kept(both.count, changed: both.filter { before[$0] != after[$0] }.sorted())
  }
}

/// Two stops side by side: what is another, by name.
struct StopDifference {
  private let first: ComparedStop
  private let second: ComparedStop
  private let memory: MemoryDifference
  private let symbols: SymbolTable
  private let core: SessionCore

  init(_ first: ComparedStop, _ second: ComparedStop, core: SessionCore) {
    self.first = first
    self.second = second
    self.core = core
    symbols = core.symbols
    memory = core.memoryDifference(first.number, second.number)
  }

  /// Registers that differ.
  var registers: [StateChange] { StateChange.between(first.state, second.state) }

  private var reasons: [(name: String, before: UInt64, after: UInt64)] {
    ExitReason.allCases.compactMap { reason in
      let index = EventTallies.index(reason)
      let (before, after) = (first.reasons[index], second.reasons[index])
      return before == after ? nil : (reason.name, before, after)
    }
  }

  private static func signed(_ before: UInt64, _ after: UInt64) -> String {
    after >= before ? "+\(after - before)" : "-\(before - after)"
  }

  var rows: [ReportRow] {
    var rows = [ReportRow("stop \(first.number) -> stop \(second.number)")]
    if first.vcpu != second.vcpu { rows.append(ReportRow("vCPU \(first.vcpu) -> vCPU \(second.vcpu): registers of two processors")) }
    let changes = registers
    rows.append(ReportRow(changes.isEmpty ? "registers: none differs" : "registers: \(changes.count) differ"))
    for change in changes {
      let width = max(String(change.before | change.after, radix: 16).count, 4)
      let bits = change.bits.isEmpty ? "" : "  \(change.bits)"
      let name = change.name == "rip" ? symbols.name(of: second.state.linearRIP.value).map { "  <\($0)>" } ?? "" : ""
      rows.append(
        ReportRow("  \(Column.left(change.name, 12)) \(Hex.padded(change.before, width)) -> \(Hex.padded(change.after, width))\(bits)\(name)"))
    }
    rows.append(
      ReportRow(
        "counts: instructions \(Self.signed(first.retired, second.retired)), exits \(Self.signed(first.exits, second.exits)), "
          + "events \(Self.signed(first.events, second.events)), time \(Self.signed(first.time, second.time)) ns"))
    for reason in reasons {
      rows.append(ReportRow("  \(Column.left(reason.name, 12)) \(reason.before) -> \(reason.after) (\(Self.signed(reason.before, reason.after)))"))
    }
    return rows + memoryRows
  }

  private static let listedPages = 16

  private var memoryRows: [ReportRow] {
    let changed: [UInt64]
    switch memory {
    case .unknown(let why): return [ReportRow("memory: not known: \(why)")]
    case .known(let pages):
      changed = pages
      if pages.isEmpty { return [ReportRow("memory: no page changed")] }
    case .kept(let count, let pages):
      changed = pages
      let kept = "memory: of \(count) pages kept at both stops \(pages.count) differ; the others were not recorded"
      return [ReportRow(kept)] + pageRows(changed)
    }
    return [ReportRow("memory: \(changed.count) page\(changed.count == 1 ? "" : "s") changed")] + pageRows(changed)
  }

  private func pageRows(_ pages: [UInt64]) -> [ReportRow] {
    var rows = pages.prefix(Self.listedPages).map { page -> ReportRow in
      let address = page << 12
      let name = symbols.name(of: address).map { "  <\($0)>" } ?? ""
      return ReportRow("  \(Hex.padded(address, 8))..\(Hex.padded(address | 0xFFF, 8))\(name)")
    }
    if pages.count > Self.listedPages { rows.append(ReportRow("  and \(pages.count - Self.listedPages) more")) }
    return rows
  }

  var json: JSONValue {
    let pages: JSONValue
    let isWhole: Bool
    switch memory {
    case .known(let changed): (pages, isWhole) = (.array(changed.map { .hex($0 << 12) }), true)
    case .kept(_, let changed): (pages, isWhole) = (.array(changed.map { .hex($0 << 12) }), false)
    case .unknown: (pages, isWhole) = (.null, false)
    }
    return .members(
      ("from", .number(first.number)), ("to", .number(second.number)),
      ("registers", .object(registers.map { .init($0.name, .members(("before", .hex($0.before)), ("after", .hex($0.after)), ("bits", .string($0.bits)))) })),
      ("instructions", .signed(Int64(bitPattern: second.retired &- first.retired))),
      ("exits", .signed(Int64(bitPattern: second.exits &- first.exits))),
      ("events", .signed(Int64(bitPattern: second.events &- first.events))),
      ("time", .signed(Int64(bitPattern: second.time &- first.time))),
      ("reasons", .object(reasons.map { .init($0.name, .signed(Int64(bitPattern: $0.after &- $0.before))) })),
      ("pages", pages), ("allOfMemory", .bool(isWhole)))
  }
}
