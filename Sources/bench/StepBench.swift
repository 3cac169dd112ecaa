import Session
import VMCore

/// Single steps and events, on one thread.
struct StepBench {
  let guest: String
  private static let steps = 100_000
  private static let rounds = 3

  func findings() throws(VMError) -> [Finding] {
    let target = 200_000.0
    let bySession = try Statistics.median(Self.repeated { () throws(VMError) in try commandRate() }) ?? 0
    let byControl = try Statistics.median(Self.repeated { () throws(VMError) in try controlRate() }) ?? 0
    return [
      Finding(
        what: "single steps by command `step`", measured: Figure.rate(bySession), target: Figure.rate(target),
        isReached: bySession >= target),
      Finding(what: "single steps by run control", measured: Figure.rate(byControl)),
      Self.events(),
    ]
  }

  private static func repeated(_ measure: () throws(VMError) -> Double) throws(VMError) -> [Double] {
    var values: [Double] = []
    for _ in 0..<rounds { values.append(try measure()) }
    return values
  }

  /// A session in the midst of a compute kernel.
  private func configuration() -> SessionConfiguration { .benchGuest(guest, words: "intloop:1000000000") }
  private static let intoTheKernel: UInt64 = 3_000_000

  private func commandRate() throws(VMError) -> Double {
    let session = try Session(configuration())
    try session.check("step \(Self.intoTheKernel)")
    let start = HostClock.ownCPUTime()
    for _ in 0..<Self.steps { try session.check("step") }
    return Self.rate(Self.steps, since: start)
  }

  private func controlRate() throws(VMError) -> Double {
    let machine = try VirtualMachine.build(configuration())
    let control = RunControl(vcpus: machine.engine.vcpus, platform: machine.platform, events: machine.events)
    machine.events.onFull = { sink in sink.consume { _ in } }
    control.restart(machine.initialStates)
    var goal = RunGoal()
    goal.vcpu = 0
    goal.target = Self.intoTheKernel
    guard control.run(goal) == .target else { throw VMError(.session, "the bench guest stopped before its first kernel") }
    let start = HostClock.ownCPUTime()
    for _ in 0..<Self.steps {
      goal.target += 1
      guard control.run(goal) == .target else { throw VMError(.session, "a single step did not end after its instruction") }
    }
    return Self.rate(Self.steps, since: start)
  }

  private static func rate(_ count: Int, since start: UInt64) -> Double {
    Double(count) * 1e9 / Double(max(HostClock.ownCPUTime() &- start, 1))
  }

  // MARK: events

  /// Events into the ring, emptied as it fills, beside appends to an array under a mutex, emptied as often.
  private static func events() -> Finding {
    var rings: [Double] = []
    var arrays: [Double] = []
    for _ in 0..<rounds {
      rings.append(ringRate())
      arrays.append(arrayRate())
    }
    let ring = Statistics.median(rings) ?? 0
    let array = Statistics.median(arrays) ?? 0
    let target = 10e6
    return Finding(
      what: "events into the ring", measured: Figure.rate(ring),
      peer: "array under a mutex \(Figure.rate(array)), \(Figure.ratio(ring / max(array, 1)))",
      target: Figure.rate(target), isReached: ring >= target)
  }

  private static let eventCount = 20_000_000
  private static let capacity = 1 << 14

  private static func ringRate() -> Double {
    let sink = EventSink(capacity: capacity)
    var sum: UInt64 = 0
    sink.onFull = { sink in sink.consume { for event in $0 { sum &+= event.b } } }
    let start = HostClock.ownCPUTime()
    for number in 0..<UInt64(eventCount) { sink.emit(Event(.output, rip: number, b: number)) }
    sink.consume { for event in $0 { sum &+= event.b } }
    let rate = rate(eventCount, since: start)
    precondition(sum == UInt64(eventCount) * UInt64(eventCount - 1) / 2, "every event emitted is consumed")
    return rate
  }

  private static func arrayRate() -> Double {
    let queue = LockedQueue(capacity: capacity)
    var sum: UInt64 = 0
    let start = HostClock.ownCPUTime()
    for number in 0..<UInt64(eventCount) {
      if queue.append(Event(.output, rip: number, b: number)) == capacity { queue.empty { sum &+= $0.b } }
    }
    queue.empty { sum &+= $0.b }
    let rate = rate(eventCount, since: start)
    precondition(sum == UInt64(eventCount) * UInt64(eventCount - 1) / 2, "every event appended is taken out")
    return rate
  }
}

extension SessionConfiguration {
  /// The bench guest with these words, in 256 MiB.
  static func benchGuest(_ path: String, words: String) -> SessionConfiguration {
    var configuration = SessionConfiguration()
    configuration.guest = path
    configuration.append = words
    configuration.memory = defaultMemory
    return configuration
  }
}

extension Session {
  /// Carries out a command; throws what it answers where it fails.
  func check(_ line: String) throws(VMError) {
    let result = perform(line)
    if result.failed { throw VMError(.session, "\(line): \(result.lines.joined(separator: "; "))") }
  }
}
