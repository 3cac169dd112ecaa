import Debugger
import VMCore
import X86

/// How closely two machines are compared.
package struct ComparisonPlan: Equatable, Sendable {
  /// Instructions between two comparisons of all registers.
  package var every: UInt64 = 100_000
  /// Instructions between two comparisons of all memory.
  package var memoryEvery: UInt64 = 20_000_000
  /// Instructions after which the comparison ends; nil follows the guest to its end.
  package var limit: UInt64?
  package init() {}
}

/// Makes one of two compared machines, anew for each repetition of the run.
package protocol MachineMaker {
  /// What the machine is called in reports.
  var name: String { get }
  func make() throws(VMError) -> VirtualMachine
}

/// The guest of a configuration on an engine.
package struct EngineMaker: MachineMaker {
  package let name: String
  private let configuration: SessionConfiguration

  package init(_ configuration: SessionConfiguration, engine: String) {
    name = engine
    var own = configuration
    own.engine = engine
    own.diskIsTemporary = true
    self.configuration = own
  }

  package func make() throws(VMError) -> VirtualMachine { try VirtualMachine.build(configuration) }
}

/// The same guest on two machines in step by instruction count. At each exit both must leave at the same instruction,
/// for the same reason, with the same registers; every so many instructions all registers must agree, and less often
/// all of memory. The first difference ends it; then both runs are repeated, more and more finely, until the
/// instruction is known. Both engines must count instructions and be deterministic.
package final class Comparison {
  private let configuration: SessionConfiguration
  private let makers: [any MachineMaker]
  private let plan: ComparisonPlan
  /// What came from outside into the run that is repeated.
  private let script: RunScript
  /// Asked between two steps with the instructions done; false ends the comparison.
  package var goesOn: (UInt64) -> Bool = { _ in true }

  private var names: [String] { makers.map(\.name) }

  /// Two machines; `configuration` says of both what does not make the machine.
  package convenience init(
    _ configuration: SessionConfiguration, _ makers: [any MachineMaker], plan: ComparisonPlan = ComparisonPlan()
  ) {
    self.init(configuration, makers, plan: plan, script: RunScript())
  }

  init(_ configuration: SessionConfiguration, _ makers: [any MachineMaker], plan: ComparisonPlan, script: RunScript) {
    precondition(makers.count == 2, "two machines are compared")
    self.configuration = configuration
    self.makers = makers
    self.plan = plan
    self.script = script
  }

  /// The guest of `configuration` on two engines, by name.
  package static func ofEngines(
    _ engines: [String], _ configuration: SessionConfiguration, plan: ComparisonPlan = ComparisonPlan()
  ) -> Comparison {
    Comparison(configuration, engines.map { EngineMaker(configuration, engine: $0) }, plan: plan)
  }

  // MARK: the run

  /// Follows both machines to the guest's end, the limit, or the first difference.
  package func run() throws(VMError) -> ComparisonReport {
    let pair = try makePair()
    var report = ComparisonReport(names: names, technique: configuration.technique.rawValue)
    var equal: UInt64 = 0
    var equalMemory: UInt64 = 0
    while true {
      let target = min(equal + max(plan.every, 1), plan.limit ?? .max)
      advance(pair, from: equal, to: target)
      let isOver = pair.a.end != nil || pair.b.end != nil || target == plan.limit
      let isMemoryDue = isOver || target - equalMemory >= plan.memoryEvery
      report.comparisons += 1
      report.memoryComparisons += isMemoryDue ? 1 : 0
      report.exits += UInt64(pair.a.exits.count)
      if let upper = firstDifference(pair, target, memory: isMemoryDue) {
        report.take(pair.a, pair.b)
        let isInRegisters = firstDifference(pair, target, memory: false) != nil
        let lower = isInRegisters ? equal : equalMemory
        report.divergence = try locate(from: lower, to: [max(upper, lower + 1), target], memory: !isInRegisters, seen: pair)
        return report
      }
      pair.a.forgetExits()
      pair.b.forgetExits()
      equal = target
      if isMemoryDue { equalMemory = target }
      if isOver { break }
      if !goesOn(pair.a.retired) {
        report.isCutShort = true
        break
      }
    }
    report.take(pair.a, pair.b)
    return report
  }

  private typealias Pair = (a: ComparisonSide, b: ComparisonSide)

  private func makePair() throws(VMError) -> Pair {
    (try makeSide(0), try makeSide(1))
  }

  private func makeSide(_ index: Int) throws(VMError) -> ComparisonSide {
    let machine = try makers[index].make()
    guard machine.engine.capabilities.isSuperset(of: [.deterministic, .instructionBudget]) else {
      throw VMError(
        .usage, "compare: the engine \(names[index]) does not count instructions, or does not repeat a run: it cannot be held in step",
        remedy: "compare interpreter and rewriter")
    }
    return ComparisonSide(names[index], configuration, machine)
  }

  /// Both to `target`, with what came from outside on the way.
  private func advance(_ pair: Pair, from: UInt64, to target: UInt64) {
    for (at, input) in script.inputs where at >= from && at < target {
      for side in [pair.a, pair.b] {
        side.run(to: at)
        if side.end == nil { side.take(input) }
      }
    }
    pair.a.run(to: target)
    pair.b.run(to: target)
  }

  // MARK: comparing

  /// So many instructions after which the difference is there for certain; nil where all is equal.
  private func firstDifference(_ pair: Pair, _ target: UInt64, memory: Bool) -> UInt64? {
    let (a, b) = pair
    for index in 0..<min(a.exits.count, b.exits.count) where a.exits[index] != b.exits[index] {
      return min(min(a.exits[index].exit.instructionCount, b.exits[index].exit.instructionCount) + 1, target)
    }
    if a.exits.count != b.exits.count {
      let longer = a.exits.count > b.exits.count ? a.exits : b.exits
      return min(longer[min(a.exits.count, b.exits.count)].exit.instructionCount + 1, target)
    }
    let isSame = a.retired == b.retired && a.end == b.end && a.states == b.states && a.console == b.console
    if !isSame { return min(target, min(a.retired, b.retired) + 1) }
    return memory && firstPage(pair) != nil ? target : nil
  }

  /// The first page of RAM in which the two differ.
  private func firstPage(_ pair: Pair) -> UInt64? {
    let pages = Set((PageComparison.touched(pair.a.memory) + PageComparison.touched(pair.b.memory)).map(\.page))
    return pages.sorted().first { pair.a.memory.differs(from: pair.b.memory, page: $0) }
  }

  // MARK: finding the instruction

  /// `lower` instructions leave both equal, one of `uppers` does not: runs both again until the instruction that parts
  /// them is known. The first of `uppers` is where the difference was seen; a run that ends right there may execute the
  /// last instructions one by one and not show what code made of a whole block does, a longer one does.
  private func locate(
    from lower: UInt64, to uppers: [UInt64], memory: Bool, seen: Pair
  ) throws(VMError) -> Divergence {
    for upper in uppers where try parts(after: lower, at: upper, memory: memory) {
      var (equal, different) = (lower, upper)
      while different - equal > 1 {
        let middle = equal + (different - equal) / 2
        if try parts(after: lower, at: middle, memory: memory) { different = middle } else { equal = middle }
        _ = goesOn(middle)
      }
      var divergence = try describe(pair(after: lower, at: different), different)
      divergence.isOfBlock = try isOfBlock(lower, divergence.count, memory: memory)
      return divergence
    }
    var divergence = try describe(seen, uppers[uppers.count - 1])
    divergence.isRepeatable = false
    return divergence
  }

  /// A fresh pair run to `lower` as the comparison ran, and from there to `target` in one go.
  private func pair(after lower: UInt64, at target: UInt64) throws(VMError) -> Pair {
    let pair = try makePair()
    var at: UInt64 = 0
    while at < lower {
      let next = min(at + max(plan.every, 1), lower)
      advance(pair, from: at, to: next)
      at = next
    }
    pair.a.forgetExits()
    pair.b.forgetExits()
    advance(pair, from: lower, to: target)
    return pair
  }

  private func parts(after lower: UInt64, at target: UInt64, memory: Bool) throws(VMError) -> Bool {
    let pair = try pair(after: lower, at: target)
    return firstDifference(pair, target, memory: memory) != nil
  }

  /// The first exit in which two machines differ; nil where the exits agree.
  private func firstExit(_ pair: Pair) -> Int? {
    let (a, b) = (pair.a.exits, pair.b.exits)
    if let index = zip(a, b).enumerated().first(where: { $0.element.0 != $0.element.1 })?.offset { return index }
    return a.count == b.count ? nil : min(a.count, b.count)
  }

  /// A pair that differs after `count` instructions, in words. Where an exit shows it before that, it is that one.
  private func describe(_ pair: Pair, _ count: UInt64) throws(VMError) -> Divergence {
    let sides = [pair.a, pair.b]
    let exits = firstExit(pair).map { index in sides.map { $0.exits.indices.contains(index) ? $0.exits[index] : nil } }
    let shown = exits.map { pair in (pair.compactMap { $0?.exit.instructionCount }.min() ?? count - 1) + 1 }
    var divergence = Divergence(count: min(shown ?? count, count), isRepeatable: true, states: sides.map(\.states))
    divergence.retired = sides.map(\.retired)
    divergence.ends = sides.map(\.end)
    if let exits {
      divergence.exits = exits.map { $0?.exit }
      divergence.exitTexts = zip(sides, exits).map { side, exit in
        exit.map { "\($0.exit.reason.name.uppercased()) \(side.core.describe.detail(of: $0.exit))" }
      }
      if let a = exits[0], let b = exits[1] { divergence.atExit = StateChange.between(a.registers, b.registers) }
    }
    if let page = firstPage(pair) { divergence.memory = pair.a.memory.difference(from: pair.b.memory, page: page) }
    divergence.code = try trace(to: divergence.count)
    return divergence
  }

  /// The last instructions before the difference, as the first machine executes them one by one.
  private func trace(to count: UInt64) throws(VMError) -> [DivergentLine] {
    let side = try makeSide(0)
    let start = count - min(count, 24)
    for (at, input) in script.inputs where at < start {
      side.run(to: at)
      if side.end == nil { side.take(input) }
    }
    side.run(to: start)
    var lines: [DivergentLine] = []
    while side.retired < count, side.end == nil {
      let vcpu = side.core.control.current
      let state = side.core.control.vcpus[vcpu].state
      let code = Disassembly(state: state, memory: side.memory, symbols: side.core.symbols)
      let instruction = code.instruction(at: state.rip)
      lines.append(
        DivergentLine(
          rip: state.rip, place: side.core.symbols.name(of: state.linearRIP.value) ?? "", bytes: instruction.bytes,
          text: instruction.text, endsBlock: instruction.flow != .sequential, number: side.retired))
      let before = side.retired
      side.run(to: before + 1)
      if side.retired == before { break }
    }
    let lastBlock = lines.dropLast().lastIndex { $0.endsBlock }.map { $0 + 1 } ?? 0
    return Array(lines[min(lastBlock, max(lines.count - 1, 0))...])
  }

  /// The difference goes away where the second machine executes the last instruction by itself: the code made of
  /// its block is at fault.
  private func isOfBlock(_ lower: UInt64, _ count: UInt64, memory: Bool) throws(VMError) -> Bool {
    guard count > lower + 1 else { return false }
    let pair = try pair(after: lower, at: count - 1)
    guard firstDifference(pair, count - 1, memory: memory) == nil else { return false }
    advance(pair, from: count - 1, to: count)
    return firstDifference(pair, count, memory: memory) == nil
  }
}
