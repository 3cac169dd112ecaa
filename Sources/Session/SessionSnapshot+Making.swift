import Debugger
import VMCore
import X86

// What outsiders need to make a snapshot by hand: a test of what is drawn has no session to take one of.

extension SessionSnapshot {
  /// A session before its first instruction, with nothing in it but memory and vCPUs.
  package init(memory: GuestMemory, vcpus: [VCPUState], symbols: SymbolTable = .empty) {
    self.init(
      generation: 1, phase: .created, stop: .created, stopSentence: "", guestName: "", technique: "hvm",
      engine: "interpreter", capabilities: [], currentVCPU: 0, vcpus: vcpus, previous: vcpus, instructionCount: 0,
      virtualTime: 0, mips: 0, exitsPerSecond: 0, exitCount: 0, exits: [], reasons: [], hypercalls: [],
      breakpoints: [], guestConsole: [], screen: nil, devices: [], messages: [], droppedEvents: 0, eventCount: 0,
      symbols: symbols, memory: memory)
  }
}

extension ExitRecord {
  package init(_ exit: VMExit, sequence: UInt64, detail: String) {
    self.init(sequence: sequence, time: 0, exit: exit, handler: "", cost: 0, detail: detail)
  }
}

extension ReasonStatistics {
  package init(_ reason: ExitReason, count: UInt64, share: Double) {
    self.init(reason: reason, count: count, share: share, averageCost: 0, maximumCost: 0)
  }
}

extension HypercallRecord {
  package init(_ text: String, sequence: UInt64) {
    self.init(sequence: sequence, time: 0, rip: 0, number: 0, name: "", arguments: [], result: 0, text: text)
  }
}

extension BreakpointSummary {
  package init(_ what: String, number: Int) {
    self.init(
      number: number, enabled: true, what: what, condition: nil, hits: 0, hitLimit: nil, action: nil, oneShot: false)
  }
}

extension TextScreen {
  /// `cells` as character and attribute, row by row.
  package init(_ cells: [UInt16], columns: Int = 80, cursor: Int?) {
    self.init(columns: columns, rows: cells.count / max(columns, 1), cells: cells, cursor: cursor)
  }
}

extension ConsoleMessage {
  package init(_ kind: Kind, _ text: String, number: UInt64) { self.init(number: number, kind: kind, text: text) }
}
