import Debugger
import VMCore
import X86

/// Topics of `info` that print what a pane of the console shows: the same rows, from the same snapshot.
enum ReportTopics {
  static let all: [InfoCommands.Topic] = [
    .init(names: ["exit", "anatomy"], help: "one exit taken apart: [NUMBER]") {
      core, scanner throws(CommandError) in try anatomy(core, &scanner)
    },
    .init(names: ["frames"], help: "who called whom, and the stack: [SLOTS]") { core, scanner throws(CommandError) in
      let count = Int(clamping: scanner.takeNumber() ?? 32)
      return result(StackReport(core.currentState, core.machine.memory, symbols: core.symbols).whole(slots: count))
    },
    .init(names: ["tables"], help: "GDT, LDT, IDT or IVT and TSS, each entry with what is wrong with it") {
      core, _ throws(CommandError) in
      let report = TableReport(core.currentState, core.machine.memory, symbols: core.symbols)
      return result(report.gdt + report.ldt + report.interrupts + report.tss)
    },
    .init(names: ["page"], help: "the page walk of an address with every bit, and who may do what: [ADDR]", completion: .symbol) {
      core, scanner throws(CommandError) in
      let address = scanner.isAtEnd ? core.currentState.linearRIP : try core.takeAddress(&scanner, "an address")
      return result(PagingReport(core.currentState, core.machine.memory, symbols: core.symbols).walk(address))
    },
    .init(names: ["map", "tlb"], help: "what the guest's page tables map") { core, _ throws(CommandError) in
      result(PagingReport(core.currentState, core.machine.memory, symbols: core.symbols).map())
    },
    .init(names: ["interrupts", "pic", "apic", "lapic", "ioapic", "irq"], help: "interrupt controllers bit by bit, timers") {
      core, _ throws(CommandError) in result(InterruptReport(core.machine.platform.inspection).whole)
    },
    .init(names: ["events", "log"], help: "the newest events: [N] [KIND]", completion: .words(EventReport.Group.allCases.map(\.rawValue))) { core, scanner throws(CommandError) in
      try events(core, &scanner)
    },
    .init(names: ["costs"], help: "exits by reason, address and symbol, with costs and histogram") {
      core, _ throws(CommandError) in
      core.stream.drain()
      let report = StatisticsReport(core.snapshot())
      return result(report.reasons() + report.addresses(20) + report.symbols(20))
    },
    .init(names: ["x87"], help: "x87 registers as numbers, control and status by name") {
      core, _ throws(CommandError) in result(registers(core).x87)
    },
    .init(names: ["xmm"], help: "SSE registers: [bytes|words|dwords|qwords|signed|floats|doubles]",
      completion: .words(VectorFormat.allCases.map { "\($0)" })) {
      core, scanner throws(CommandError) in try vectors(core, &scanner)
    },
    .init(names: ["msrs"], help: "model-specific registers with their meaning") { core, _ throws(CommandError) in
      result(registers(core).msrs)
    },
    .init(names: ["dr"], help: "debug registers with their conditions") { core, _ throws(CommandError) in
      result(registers(core).debug)
    },
    .init(names: ["vmcs"], help: "the VM's VMCS: [guest|host|controls|exit|bitmaps]", completion: .words(VMCSArea.allCases.map(\.rawValue))) {
      core, scanner throws(CommandError) in try vmcs(core, &scanner)
    },
    .init(names: ["host"], help: "engine, technique, traits, speed, and what this host lacks") {
      core, _ throws(CommandError) in result(CapabilityReport(core.snapshot()).rows)
    },
  ]

  /// What changed since the stop before is marked, as in the pane.
  private static func registers(_ core: SessionCore) -> RegisterReport {
    let current = core.control.current
    let before = core.previousStates.indices.contains(current) ? core.previousStates[current] : nil
    return RegisterReport(core.currentState, before: before)
  }

  private static func result(_ rows: [ReportRow]) -> CommandResult { CommandResult(rows.lines) }

  private static func anatomy(
    _ core: SessionCore, _ scanner: inout ArgumentScanner
  ) throws(CommandError) -> CommandResult {
    core.stream.drain()
    let snapshot = core.snapshot()
    let typed = scanner.takeWord() ?? ""
    let word = typed.hasPrefix("#") ? String(typed.dropFirst()) : typed
    let number = word.isEmpty ? snapshot.exits.last?.sequence : UInt64(word)
    guard let number, let anatomy = ExitAnatomy(number, in: snapshot) else {
      let range = snapshot.exits.first.map { "#\($0.sequence) to #\(snapshot.exits.last?.sequence ?? 0) are kept" }
      throw scanner.fail(word, "no such exit" + (range.map { "; \($0)" } ?? ": there was none yet"))
    }
    return result(anatomy.rows)
  }

  private static func vmcs(_ core: SessionCore, _ scanner: inout ArgumentScanner) throws(CommandError) -> CommandResult {
    let names = VMCSArea.allCases.map(\.rawValue)
    let word = scanner.takeWord()?.lowercased() ?? VMCSArea.controls.rawValue
    let fitting = VMCSArea.allCases.filter { $0.rawValue.hasPrefix(word) }
    guard fitting.count == 1 else {
      throw scanner.fail(
        word, "expected one of \(names.joined(separator: ", "))", nearest: NearestName.find(word, in: names))
    }
    try scanner.end()
    core.stream.drain()
    return VMCSCommands.info(VMCSReport(core.snapshot()), fitting[0])
  }

  private static func events(_ core: SessionCore, _ scanner: inout ArgumentScanner) throws(CommandError) -> CommandResult {
    core.stream.drain()
    var count = 20
    var group = EventReport.Group.all
    while let word = scanner.takeWord() {
      if let number = Int(word) {
        count = max(number, 0)
      } else if let named = EventReport.Group(rawValue: word.lowercased()) {
        group = named
      } else {
        let names = EventReport.Group.allCases.map(\.rawValue)
        throw scanner.fail(
          word, "expected one of \(names.joined(separator: ", "))", nearest: NearestName.find(word, in: names))
      }
    }
    let snapshot = core.snapshot()
    let report = EventReport(snapshot)
    let events = snapshot.events.filter { group.contains($0.kind) }.suffix(count)
    return InfoCommands.rows(
      events.map { report.row($0).text }, empty: "no such events so far",
      json: .array(events.map { EventJSON.value(of: $0, counts: core.control.countsInstructions) }))
  }

  private static func vectors(
    _ core: SessionCore, _ scanner: inout ArgumentScanner
  ) throws(CommandError) -> CommandResult {
    let names = VectorFormat.allCases.map { "\($0)" }
    let word = scanner.takeWord()?.lowercased() ?? "dwords"
    guard let format = VectorFormat.allCases.first(where: { "\($0)" == word }) else {
      throw scanner.fail(
        word, "expected one of \(names.joined(separator: ", "))", nearest: NearestName.find(word, in: names))
    }
    return result(registers(core).sse(format))
  }
}
