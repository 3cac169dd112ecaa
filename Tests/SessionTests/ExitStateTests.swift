import Debugger
import Session
import Testing
import VMCore
import X86

@Suite("The registers around exits")
struct ExitStateTests {
  @Test func `an exit the guest stands at has no after, then it has`() throws {
    let session = try Scripted([0x1002: Scripted.out(0x3F8, 0x4B), 0x1008: .jump(0x1000)]).session {
      $0.recordsStates = true
    }
    _ = session.perform("exit")
    let open = try #require(session.currentSnapshot().exits.last)
    #expect(open.answer == nil)
    #expect(open.states?.before.rip == 0x1002)
    #expect(open.states?.after == nil)
    let words = try #require(ExitAnatomy(open.sequence, in: session.currentSnapshot())).rows.lines.joined(separator: "\n")
    #expect(words.contains("not asked yet"))
    _ = session.perform("step")
    let done = try #require(session.currentSnapshot().exits.last)
    #expect(done.sequence == open.sequence)
    #expect(done.answer == .complete(0))
    #expect(done.states?.after?.rip == 0x1003)
    #expect((done.answerEvent ?? 0) > done.event)
  }

  @Test func `without recording the anatomy says what it does not know`() throws {
    let session = try Scripted([0x1002: Scripted.out(0x3F8, 0x4B), 0x1008: .jump(0x1000)]).session()
    _ = session.perform("exit 2")
    let answer = session.perform("info exit 0")
    #expect(answer.lines.contains { $0.contains("were not recorded") })
    #expect(session.perform("info exit 999").failed)
  }

  @Test func `of a guest that runs freely and exits often, the exits it is paused at are kept, of the others a part is measured`() throws {
    let session = try Scripted([0x1002: Scripted.out(0x3F8, 0x4B), 0x1008: .jump(0x1000)]).session {
      $0.recordsStates = true
      $0.measuresCost = true
    }
    session.start()
    defer { session.stop() }
    session.submit("continue")
    try #require(ThreadTests.wait(session) { $0.exitCount > 20_000 } != nil)
    session.pause()
    let paused = try #require(ThreadTests.wait(session) { $0.phase == .paused })
    #expect(paused.exits.suffix(100).allSatisfy { $0.states != nil })
    let measured = paused.reasons.reduce(UInt64(0)) { $0 + $1.histogram.reduce(0, +) }
    #expect(measured > 128 && measured < paused.exitCount / 2)
    session.submit("be io hits>=1000000000")
    session.submit("continue")
    let before = paused.exitCount
    try #require(ThreadTests.wait(session) { $0.phase == .running && $0.exitCount > before + 2000 } != nil)
    session.pause()
    let watched = try #require(ThreadTests.wait(session) { $0.phase == .paused && $0.exitCount > before + 2000 })
    #expect(watched.exits.suffix(900).allSatisfy { $0.states != nil }, "with a breakpoint set each exit is looked at")
  }

  @Test("percentiles are right within a sixteenth", arguments: [(1...100, 99), (1000...1999, 1990), (5...5, 5)])
  func percentiles(_ range: ClosedRange<Int>, _ expected: UInt64) {
    var histogram = [UInt32](repeating: 0, count: CostHistogram.classes)
    for cost in range { histogram[CostHistogram.index(UInt64(cost))] += 1 }
    let found = CostHistogram(histogram).percentile(0.99)
    #expect(found >= expected)
    #expect(Double(found) <= Double(expected) * 17 / 16 + 1)
  }

  @Test func `powers of two count what falls between them`() {
    var histogram = [UInt32](repeating: 0, count: CostHistogram.classes)
    for cost in [0, 1, 2, 3, 4, 1023, 1024] as [UInt64] { histogram[CostHistogram.index(cost)] += 1 }
    let counts = CostHistogram(histogram).byPowerOfTwo
    #expect(counts[0] == 2 && counts[1] == 2 && counts[2] == 1 && counts[9] == 1 && counts[10] == 1)
  }
}
