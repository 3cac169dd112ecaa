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
    #expect(session.perform("info exit 999").failed && session.perform("info exit 0 x").failed)
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
