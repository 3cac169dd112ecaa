import Console
import Debugger
import Session
import TerminalUI
import Testing
import VMCore
import X86

/// Every pane's numbers can be had by a command: both are asked about the same stopped guest.
struct PaneNumbersTests {
  private static func session(_ sample: String, _ commands: [String]) throws -> Session {
    var configuration = SessionConfiguration()
    configuration.guest = "\(Fixture.root)/Samples/\(sample)/\(sample).elf"
    configuration.recordsStates = true
    let session = try Session(configuration)
    for command in commands { _ = session.perform(command) }
    return session
  }

  /// Command, pane, keys that lead to the view.
  static let pairs: [(command: String, pane: PaneID, keys: String)] = [
    ("info exit", .anatomy, ""), ("info frames", .stack, ""), ("info page", .paging, ""), ("info map", .tables, "m"),
    ("info interrupts", .interrupts, ""), ("info log 12", .events, ""), ("info host", .capabilities, ""),
    ("info msrs", .registers, "m"), ("info x87", .registers, "mm"), ("info xmm", .registers, "mmm"),
    ("info dr", .registers, "mmmm"), ("info msrs", .tables, "x"),
  ]

  @Test("a command prints what the pane shows", arguments: pairs)
  func same(_ pair: (command: String, pane: PaneID, keys: String)) throws {
    let session = try Self.session("long-kernel", ["exit 60"])
    let answer = session.perform(pair.command)
    #expect(!answer.failed)
    // The stack stands beside the back-trace where there is room: below it in 90 columns.
    let desk = Desk(session.currentSnapshot(), width: pair.pane == .stack ? 90 : 200, height: 100)
    desk.show(pair.pane)
    desk.type("z")
    desk.draw()
    desk.type(pair.keys)
    let screen = desk.screen
    for line in answer.lines.prefix(40) {
      let text = line.drop { $0 == " " }
      #expect(screen.contains(text), "\(pair.command): \(line)")
    }
  }

  @Test("tables and statistics too", arguments: [(PaneID.tables, ["g", "l", "d", "t"], "info tables"), (.reasons, ["m", "m"], "info costs")])
  func views(_ pane: PaneID, _ keys: [String], _ command: String) throws {
    let session = try Self.session("long-kernel", ["exit 60"])
    let answer = session.perform(command)
    let desk = Desk(session.currentSnapshot(), width: 200, height: 100)
    desk.show(pane)
    desk.type("z")
    var screens = desk.screen
    for key in keys {
      desk.type(key)
      screens += desk.screen
    }
    // Costs are written in other units; counts, shares, addresses and names are the same.
    let lines = pane == .reasons ? answer.lines.filter { $0.contains("%") && !$0.contains("ns") && !$0.contains(" - ") } : answer.lines
    #expect(lines.count > 3)
    for line in lines { #expect(screens.contains(line.drop { $0 == " " }), "\(line)") }
  }

  @Test func `exits have the registers around them, by a real guest`() throws {
    let session = try Self.session("long-kernel", ["exit 60"])
    let snapshot = session.currentSnapshot()
    let handled = snapshot.exits.dropLast().filter { $0.answer != nil && $0.answer != .resume }
    #expect(handled.count > 20)
    for record in handled {
      let states = try #require(record.states, "#\(record.sequence)")
      let after = try #require(states.after, "#\(record.sequence)")
      #expect(states.before.rip == record.exit.rip)
      if case .fault = record.answer { continue }
      if record.exit.instructionLength > 0, states.before != after {
        #expect(after.rip == record.exit.rip &+ UInt64(record.exit.instructionLength))
      }
    }
    let cpuid = handled.first { $0.exit.reason == .cpuid }
    if let cpuid, let states = cpuid.states, let after = states.after {
      let words = try #require(ExitAnatomy(cpuid.sequence, in: snapshot)).rows.lines.joined()
      #expect(states.before[.rax] != after[.rax])
      #expect(words.contains("rax"))
    }
  }

  @Test func `recording the registers changes nothing of the run`() throws {
    var digests: [String] = []
    for records in [false, true] {
      var configuration = SessionConfiguration()
      configuration.guest = "\(Fixture.root)/Samples/timer-keyboard/timer-keyboard.elf"
      configuration.recordsStates = records
      configuration.limit = 3_000_000
      let session = try Session(configuration)
      _ = session.perform("continue")
      digests.append(session.digest())
    }
    #expect(digests[0] == digests[1])
  }
}
