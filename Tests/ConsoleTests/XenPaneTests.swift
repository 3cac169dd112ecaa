import Console
import Debugger
import Session
import TerminalUI
import Testing

@Suite("A paravirtual domain's panes") struct XenPaneTests {
  /// The domain at its power off.
  private static func snapshot() throws -> SessionSnapshot {
    let session = try PVGuest.session()
    _ = session.perform("continue")
    var snapshot = session.currentSnapshot()
    // The file it came from has another name each time.
    snapshot.guestName = "pv"
    return snapshot
  }

  static let views = ["calls", "domain", "traps", "events", "frames", "start_info"]

  @Test("each view", arguments: views, GoldenTests.sizes)
  func eachView(_ view: String, _ size: (Int, Int)) throws {
    let snapshot = try Self.snapshot()
    for (glyphs, suffix) in [(Glyphs.ascii, ""), (.unicode, "-unicode")] {
      let desk = Desk(snapshot, width: size.0, height: size.1, glyphs: glyphs)
      desk.show(.xen)
      desk.type("z" + String(repeating: "m", count: Self.views.firstIndex(of: view) ?? 0))
      expectGolden(desk.screen, "xen-\(view)-\(size.0)x\(size.1)\(suffix)")
      if glyphs == .unicode { expectStyles(desk, "xen-\(view)-\(size.0)x\(size.1)") }
    }
  }

  @Test("hypercalls with arguments, structures, errors and multicalls unrolled", arguments: GoldenTests.sizes)
  func hypercalls(_ width: Int, _ height: Int) throws {
    let desk = Desk(try Self.snapshot(), width: width, height: height)
    desk.type("2z")
    expectGolden(desk.screen, "xen-hypercalls-\(width)x\(height)")
    expectStyles(desk, "xen-hypercalls-\(width)x\(height)")
  }

  @Test func `the structures a call pointed at are in words`() throws {
    let calls = try Self.snapshot().hypercalls
    func call(_ name: String) throws -> HypercallRecord { try #require(calls.first { $0.name == name }) }
    #expect(try call("set_trap_table").structures == ["#PF -> ffffffff801000f6h, ring 0"])
    #expect(try call("event_channel_op.bind_virq").structures == ["virq 0, vcpu 0 -> port 3"])
    #expect(try call("mmu_update").structures == ["mfn 0h[0] <- mfn 0h P RW US"])
    #expect(try call("mmu_update").isError && call("mmu_update").text.contains("domain=0x7ff0"))
    #expect(try call("mmuext_op").structures == ["flush TLB"])
    #expect(try call("sched_op.shutdown").structures == ["reason poweroff"])
    let inner = calls.filter(\.isInner)
    #expect(inner.map(\.name) == ["xen_version.version", "update_va_mapping"] && inner[1].isError && !inner[0].isError)
  }

  @Test func `entries of a multicall are marked as such in JSON`() throws {
    let session = try PVGuest.session()
    _ = session.perform("continue")
    let text = session.perform("info events 100").json.text
    let calls = text.ranges(of: "\"kind\":\"hypercall\"").count
    #expect(calls == 10 && text.ranges(of: "\"inner\":true").count == 2 && text.ranges(of: "\"inner\":false").count == 8)
  }

  @Test func `the pane's numbers are those of the commands`() throws {
    let session = try PVGuest.session(measures: true)
    _ = session.perform("continue")
    let snapshot = session.currentSnapshot()
    let report = XenReport(snapshot)
    #expect(session.perform("info calls").lines == report.calls.lines)
    let count = snapshot.hypercallStatistics.reduce(0) { $0 + $1.count }
    #expect(count == UInt64(snapshot.hypercalls.count) && count == 10)
    #expect(snapshot.hypercallStatistics.reduce(0) { $0 + $1.errors } == 3)
    let measured = snapshot.hypercallStatistics.filter { $0.maximumCost > 0 }
    #expect(!measured.isEmpty && measured.allSatisfy { UInt64($0.averageCost) <= $0.maximumCost })
    for mfn in [0, 6, 0x400, 0x500] as [UInt64] {
      let said = session.perform("info xen mfn 0x\(String(mfn, radix: 16))").lines
      let shown = report.frame(mfn).lines.map { $0.split(separator: " ", maxSplits: 1).map(String.init) }
      #expect(said.count == shown.count)
      for (line, words) in zip(said, shown) {
        #expect(line.hasPrefix(words[0]) && line.hasSuffix(words.last.map { $0.drop { $0 == " " } } ?? ""), "\(line)")
      }
    }
  }

  @Test func `g looks a frame up by machine and by pseudo-physical number`() throws {
    let desk = Desk(try Self.snapshot(), width: 120, height: 40)
    desk.show(.xen)
    desk.type("zgpfn 100\n")
    #expect(desk.screen.contains("references") && desk.screen.contains("domain"))
    desk.type("gffffff\n")
    #expect(desk.screen.contains("there is no such frame"))
    desk.type("gxyz\n")
    #expect(desk.screen.contains("a frame's number in hexadecimal"))
  }

  @Test func `its words are explained`() throws {
    let desk = Desk(try Self.snapshot(), width: 120, height: 40)
    desk.show(.xen)
    desk.type("zmmmm")
    _ = desk.screen
    desk.type("?")
    #expect(desk.screen.contains("Explain"))
    for word in ["xen.mfn", "xen.pfn", "xen.pinned", "xen.port", "xen.pending", "xen.start_info", "xen.mmu_update", "xen.multicall"] {
      #expect(ExplainCatalogue.entry(word) != nil, "\(word)")
    }
  }

  @Test func `the call under the cursor is explained, not a word beside it`() throws {
    let snapshot = try Self.snapshot()
    let desk = Desk(snapshot, width: 120, height: 40)
    desk.show(.hypercalls)
    desk.type("?")
    for row in snapshot.hypercalls.reversed() {
      let known = ExplainCatalogue.entry("xen." + row.name.prefix { $0 != "." }) ?? ExplainCatalogue.entry("qualification.number")
      let entry = try #require(known, "\(row.name)")
      #expect(desk.screen.contains(entry.title) && desk.model.note.contains { $0.contains(row.name) }, "\(row.name)\n\(desk.screen)")
      desk.press(Key(.up))
    }
  }

  @Test func `a guest that is no domain says so, and its doorbell's calls are counted all the same`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    desk.show(.xen)
    desk.type("zm")
    #expect(desk.screen.contains("no paravirtual domain"))
  }

  @Test func `going back takes the counts back with it`() throws {
    let session = try PVGuest.session()
    _ = session.perform("hypercall 3")
    let before = session.currentSnapshot()
    _ = session.perform("continue")
    _ = session.perform("reset")
    _ = session.perform("hypercall 3")
    let after = session.currentSnapshot()
    #expect(after.hypercallStatistics == before.hypercallStatistics && after.hypercalls.map(\.text) == before.hypercalls.map(\.text))
  }
}
