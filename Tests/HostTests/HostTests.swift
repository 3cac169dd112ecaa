import Host
import Synchronization
import Testing

@Suite struct HostTests {
  @Test func `a thread does its work and can be waited for`() throws {
    let done = Atomic<Int>(0)
    let threads = try (0..<4).map { number in
      try #require(HostThread { done.add(number + 1, ordering: .relaxed) })
    }
    for thread in threads { thread.join() }
    #expect(done.load(ordering: .relaxed) == 10)
  }

  /// Four take turns by number, ten rounds.
  @Test func `a monitor lets one in at a time and wakes those who wait`() throws {
    final class Table: @unchecked Sendable {
      let monitor = HostMonitor()
      var turns: [Int] = []
    }
    let table = Table()
    let threads = try (0..<4).map { number in
      try #require(
        HostThread {
          table.monitor.take()
          for round in 0..<10 {
            while table.turns.count != round * 4 + number { table.monitor.wait() }
            table.turns.append(number)
            table.monitor.wakeAll()
          }
          table.monitor.give()
        })
    }
    for thread in threads { thread.join() }
    #expect(table.turns == (0..<40).map { $0 % 4 })
  }

  @Test func `a wait with an end comes back without being woken`() {
    let monitor = HostMonitor()
    monitor.take()
    monitor.wait(nanoseconds: 1_000_000)
    monitor.give()
  }
}
