import VMCore

/// A technique, and the engine it is measured with.
package struct TechniqueChoice: Equatable, Sendable {
  package var technique: Technique
  package var engine: String
  package var name: String { "\(technique.rawValue)/\(engine)" }

  package init(_ technique: Technique, _ engine: String) {
    self.technique = technique
    self.engine = engine
  }

  /// `pv`, `hvm/kvm`: without an engine the rewriter, which all three techniques have. Nil for anything else.
  package init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { String($0) }
    guard let technique = parts.first.flatMap({ Technique(rawValue: $0) }), parts.count <= 2 else { return nil }
    let engine = parts.count == 2 ? parts[1] : "rewriter"
    guard ["interpreter", "rewriter", "kvm"].contains(engine) else { return nil }
    self.init(technique, engine)
  }

  /// All three on the engine they share, and KVM where it can be had.
  package static var usual: [TechniqueChoice] {
    let kvm = EngineReport.refusal(of: "kvm") == nil ? [TechniqueChoice(.hvm, "kvm")] : []
    return [TechniqueChoice(.hvm, "rewriter")] + kvm + [TechniqueChoice(.rewrite, "rewriter"), TechniqueChoice(.pv, "rewriter")]
  }
}

/// How something of the guest's was caught.
package enum TechniqueTreatment: String, CaseIterable, Sendable {
  /// The VMCS said so; on KVM the kernel could not answer by itself.
  case exit
  /// Rewritten code left for the monitor.
  case callout
  /// Rewritten code did it where it stood.
  case inCache = "in cache"
  case hypercall
  /// A trap handed to the guest's kernel.
  case bounce
  /// A faulting instruction, carried out by the monitor.
  case emulated
  /// An event channel's call of the guest's handler.
  case upcall

  /// Whether the guest left for the monitor; an upcall begins there.
  package var isEntry: Bool { self != .inCache && self != .upcall }
}

/// One kind of instruction or event, and how it was caught.
package struct TechniqueKind: Hashable, Comparable, Sendable {
  package var name: String
  package var treatment: TechniqueTreatment
  package init(_ name: String, _ treatment: TechniqueTreatment) {
    self.name = name
    self.treatment = treatment
  }
  package static func < (a: Self, b: Self) -> Bool { (a.name, a.treatment.rawValue) < (b.name, b.treatment.rawValue) }
}

package struct TechniqueTally: Equatable, Sendable {
  package var count: UInt64 = 0
  /// Host nanoseconds between exit and entry, of all together.
  package var cost: UInt64 = 0
  package init(count: UInt64 = 0, cost: UInt64 = 0) {
    self.count = count
    self.cost = cost
  }
}

/// What was counted in a run or a part of one.
package struct TechniqueCounts: Equatable, Sendable {
  /// Guest instructions; 0 where the engine does not count.
  package var instructions: UInt64 = 0
  /// Virtual nanoseconds.
  package var virtualTime: UInt64 = 0
  /// Host nanoseconds in all, measuring among them, by the clock that exits are timed with.
  package var hostTime: UInt64 = 0
  package var kinds: [TechniqueKind: TechniqueTally] = [:]
  package init() {}

  /// Times the guest left for the monitor.
  package var entries: UInt64 { kinds.reduce(0) { $1.key.treatment.isEntry ? $0 &+ $1.value.count : $0 } }
  /// Host nanoseconds the monitor worked.
  package var monitorTime: UInt64 { kinds.values.reduce(0) { $0 &+ $1.cost } }

  /// All of this without `other`; what would be less than nothing is nothing.
  package func without(_ other: TechniqueCounts) -> TechniqueCounts {
    func less(_ a: UInt64, _ b: UInt64) -> UInt64 { a > b ? a - b : 0 }
    var result = TechniqueCounts()
    result.instructions = less(instructions, other.instructions)
    result.virtualTime = less(virtualTime, other.virtualTime)
    result.hostTime = less(hostTime, other.hostTime)
    for (kind, tally) in kinds {
      let old = other.kinds[kind] ?? TechniqueTally()
      let count = less(tally.count, old.count)
      if count > 0 { result.kinds[kind] = TechniqueTally(count: count, cost: less(tally.cost, old.cost)) }
    }
    return result
  }
}

/// An operation of the guest's, done many times between its two marks.
package struct TechniqueOperation: Equatable, Sendable {
  package var name: String
  package var times: UInt64
  package var counts: TechniqueCounts
  package init(name: String, times: UInt64, counts: TechniqueCounts) {
    self.name = name
    self.times = times
    self.counts = counts
  }
  /// A total, for each time.
  package func each(_ total: UInt64) -> Double { Double(total) / Double(max(times, 1)) }
}

/// The guest's whole run under one technique.
package struct TechniqueRun: Equatable, Sendable {
  package var choice: TechniqueChoice
  /// Why there is none; nil where there is.
  package var refusal: String?
  /// How it ended, in a word.
  package var end = ""
  package var countsInstructions = true
  package var total = TechniqueCounts()
  /// In the order the guest did them, without what an empty loop costs.
  package var operations: [TechniqueOperation] = []
  /// What trap and emulate would not have seen, by instruction; nil where that was not counted.
  package var missed: [String: UInt64]?
  /// What the guest said.
  package var console: [UInt8] = []
  package init(_ choice: TechniqueChoice) { self.choice = choice }

  package func operation(_ name: String) -> TechniqueOperation? { operations.first { $0.name == name } }
}
