import VMCore
import X86

/// Memory that checkpoints hold together.
final class CheckpointBudget {
  fileprivate(set) var bytes = 0
  /// All checkpoints together have at most so much.
  static let limit = 256 << 20
}

/// A page as it was: shared by every checkpoint between two changes of it.
final class SavedPage {
  let bytes: [UInt8]
  private let budget: CheckpointBudget

  init(_ host: UnsafeMutableRawPointer, _ budget: CheckpointBudget) {
    bytes = Array(UnsafeRawBufferPointer(start: host, count: Int(GuestMemory.pageSize)))
    self.budget = budget
    budget.bytes += bytes.count
  }

  deinit { budget.bytes -= bytes.count }
}

/// The whole machine at one moment, with everything that was counted until then.
struct Checkpoint {
  var retired: UInt64
  var time: UInt64
  var current: Int
  var turn: VCPUTurn
  var lanes: [RunLane]
  var states: [VCPUState]
  var clocks: [(instructions: UInt64, time: UInt64)]
  var platform: [UInt8]
  var costs: ExitCosts
  var exitStates: ExitStateRing
  var tallies: EventTallies
  var console: GuestConsole
  /// Executions of sensitive sites.
  var siteCounts: [UInt64]
  /// Inputs from outside that had entered.
  var inputs: Int
  /// Every page that is not zero.
  var pages: [UInt64: SavedPage]
  /// Bytes beside the pages, roughly: what is counted and kept of events.
  static let overhead = 3 << 19
}

/// The pages of RAM as last saved, so that the next checkpoint copies only what changed.
struct PageSaver {
  private var comparison = PageComparison()
  private var saved: [UInt64: SavedPage] = [:]
  let budget = CheckpointBudget()

  /// Every page that is not zero; nil where they would not fit into the budget.
  mutating func save(_ memory: GuestMemory) -> [UInt64: SavedPage]? {
    var changed = Set(comparison.changes(memory) ?? [])
    let touched = PageComparison.touched(memory)
    if saved.isEmpty { changed = Set(touched.map(\.page)) }
    guard changed.count * Int(GuestMemory.pageSize) <= CheckpointBudget.limit else { return nil }
    for (page, host) in touched where changed.contains(page) {
      saved[page] = Self.isZero(host) ? nil : SavedPage(host, budget)
    }
    return saved
  }

  /// Memory was changed as a whole: nothing is known of it.
  mutating func forget() {
    comparison = PageComparison()
    saved = [:]
  }

  /// Memory was made to hold exactly these pages.
  mutating func resume(_ pages: [UInt64: SavedPage], _ memory: GuestMemory) {
    comparison = PageComparison()
    _ = comparison.changes(memory)
    saved = pages
  }

  private static func isZero(_ host: UnsafeMutableRawPointer) -> Bool {
    let words = UnsafeBufferPointer(start: host.assumingMemoryBound(to: UInt64.self), count: Int(GuestMemory.pageSize) / 8)
    return words.allSatisfy { $0 == 0 }
  }
}

/// Checkpoints of the run so far, close together for what was lately and further apart for what is long ago.
struct CheckpointList {
  private(set) var all: [Checkpoint] = []
  static let most = 64
  /// Instructions between two at least.
  let interval: UInt64
  /// A run may spend one part in so many of its time on making them.
  private static let share: UInt64 = 50
  /// Instructions at which the next is due.
  private(set) var due: UInt64
  private var lastTime: UInt64 = 0

  init(interval: UInt64) {
    self.interval = max(interval, 1)
    due = self.interval
  }

  mutating func add(_ checkpoint: Checkpoint, bytes: () -> Int) {
    all.removeAll { $0.retired >= checkpoint.retired }
    all.append(checkpoint)
    while all.count > Self.most || bytes() + all.count * Checkpoint.overhead > CheckpointBudget.limit, all.count > 1 {
      all.remove(at: mostDispensable)
    }
  }

  /// The one whose going leaves the smallest gap for its age; never the newest.
  private var mostDispensable: Int {
    let now = all[all.count - 1].retired
    return all.indices.dropLast().min { weight($0, now) < weight($1, now) } ?? 0
  }

  private func weight(_ index: Int, _ now: UInt64) -> Double {
    let before = index == 0 ? 0 : all[index - 1].retired
    let gap = all[index + 1].retired - before
    return Double(gap) / Double(now - all[index].retired + 1)
  }

  /// Sets when the next is due, from what the last one cost in host nanoseconds and how far the guest came since the
  /// one before.
  mutating func schedule(after retired: UInt64, cost: UInt64, now: UInt64) {
    let elapsed = max(now &- lastTime, 1)
    let isFirst = lastTime == 0
    lastTime = now
    let perNanosecond = isFirst ? 1.0 : Double(interval) / Double(elapsed)
    let fair = Double(cost) * Double(Self.share) * min(max(perNanosecond, 0.01), 4)
    due = retired &+ (interval < SessionConfiguration.checkpointInterval ? interval : max(interval, UInt64(fair)))
  }

  /// The last one with fewer instructions: with as many, time may have gone on in HLT or an interrupt been delivered.
  func index(before count: UInt64) -> Int? { all.lastIndex { $0.retired < count } }

  /// What came after so many instructions never happened.
  mutating func forget(after count: UInt64) {
    all.removeAll { $0.retired > count }
    due = min(due, count + interval)
  }

  mutating func removeAll() {
    all = []
    due = interval
    lastTime = 0
  }
}
