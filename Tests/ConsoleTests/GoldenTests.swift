import Console
import Session
import TerminalUI
import Testing

struct GoldenTests {
  static let sizes = [(80, 24), (120, 40), (200, 60)]

  @Test("the whole screen", arguments: sizes)
  func screens(_ width: Int, _ height: Int) throws {
    expectGolden(Desk(try Fixture.realMode(), width: width, height: height).screen, "screen-\(width)x\(height)")
    let unicode = Desk(try Fixture.realMode(), width: width, height: height, glyphs: .unicode)
    expectGolden(unicode.screen, "screen-\(width)x\(height)-unicode")
    expectStyles(unicode, "screen-\(width)x\(height)")
  }

  @Test("the other layouts", arguments: ["monitor", "guest"], sizes)
  func layouts(_ name: String, _ size: (Int, Int)) throws {
    let layout = try #require(ConsoleLayout.named(name))
    let desk = Desk(try Fixture.realMode(), width: size.0, height: size.1, layout: layout)
    expectGolden(desk.screen, "layout-\(layout.name)-\(size.0)x\(size.1)")
    expectStyles(desk, "layout-\(layout.name)-\(size.0)x\(size.1)")
  }

  @Test("every pane zoomed", arguments: PaneID.allCases.filter { !$0.isFrame && $0 != .secondRegisters && $0 != .lesson }, sizes)
  func panes(_ pane: PaneID, _ size: (Int, Int)) throws {
    for (glyphs, suffix) in [(Glyphs.ascii, ""), (.unicode, "-unicode")] {
      let desk = Desk(try Fixture.realMode(), width: size.0, height: size.1, glyphs: glyphs)
      desk.show(pane)
      desk.type("z")
      #expect(desk.model.focus == pane)
      expectGolden(desk.screen, "pane-\(pane.tabName)-\(size.0)x\(size.1)\(suffix)")
      // Bars end in eighths of a place in Unicode; all else looks the same in both.
      if glyphs == .unicode { expectStyles(desk, "pane-\(pane.tabName)-\(size.0)x\(size.1)") }
    }
  }

  /// Views of a pane by the keys that lead there, over the long-mode guest.
  static let views: [(name: String, pane: PaneID, keys: String)] = [
    ("gdt", .tables, "g"), ("ldt", .tables, "l"), ("idt", .tables, "d"), ("tss", .tables, "t"), ("map", .tables, "m"),
    ("walk", .tables, "w"), ("msr", .tables, "x"), ("paging", .paging, ""), ("fault", .paging, "g3000\n"),
    ("stack", .stack, ""), ("regs-msr", .registers, "m"), ("regs-x87", .registers, "mm"), ("regs-sse", .registers, "mmm"),
    ("regs-floats", .registers, "mmmddd"), ("regs-debug", .registers, "mmmm"), ("code", .code, ""),
  ]

  @Test("the views of a long-mode guest", arguments: views, sizes)
  func longMode(_ view: (name: String, pane: PaneID, keys: String), _ size: (Int, Int)) throws {
    for (glyphs, suffix) in [(Glyphs.ascii, ""), (.unicode, "-unicode")] {
      let desk = Desk(try Fixture.longMode(), width: size.0, height: size.1, glyphs: glyphs)
      desk.show(view.pane)
      desk.type("z")
      desk.draw()
      desk.type(view.keys)
      expectGolden(desk.screen, "long-\(view.name)-\(size.0)x\(size.1)\(suffix)")
      expectStyles(desk, "long-\(view.name)-\(size.0)x\(size.1)")
    }
  }

  @Test("the anatomy of exits of several kinds", arguments: [("open", ""), ("handled", "[["), ("unrecorded", "{")], sizes)
  func anatomy(_ kind: (String, String), _ size: (Int, Int)) throws {
    let desk = Desk(try Fixture.realMode(), width: size.0, height: size.1)
    desk.show(.anatomy)
    desk.type("z")
    desk.draw()
    desk.type(kind.1)
    expectGolden(desk.screen, "anatomy-\(kind.0)-\(size.0)x\(size.1)")
    expectStyles(desk, "anatomy-\(kind.0)-\(size.0)x\(size.1)")
  }

  @Test("statistics by address and by symbol", arguments: [("rip", "m"), ("symbol", "mm")], sizes)
  func statistics(_ kind: (String, String), _ size: (Int, Int)) throws {
    let desk = Desk(try Fixture.realMode(), width: size.0, height: size.1)
    desk.show(.reasons)
    desk.type("z" + kind.1)
    expectGolden(desk.screen, "stat-\(kind.0)-\(size.0)x\(size.1)")
    expectStyles(desk, "stat-\(kind.0)-\(size.0)x\(size.1)")
  }

  @Test("a triple fault in long mode, nothing mapped", arguments: sizes)
  func unmapped(_ width: Int, _ height: Int) throws {
    expectGolden(Desk(try Fixture.longModeUnmapped(), width: width, height: height).screen, "unmapped-\(width)x\(height)")
  }

  @Test("the key sheet", arguments: sizes)
  func help(_ width: Int, _ height: Int) throws {
    let desk = Desk(try Fixture.realMode(), width: width, height: height)
    desk.press(Key(.function(1)))
    expectGolden(desk.screen, "help-\(width)x\(height)")
    expectStyles(desk, "help-\(width)x\(height)")
  }

  @Test func `a running guest`() throws {
    var snapshot = try Fixture.realMode()
    snapshot.phase = .running
    snapshot.stopSentence = ""
    snapshot.mips = 123.4
    snapshot.exitsPerSecond = 12_400
    expectGolden(Desk(snapshot).screen, "running-80x24")
    expectStyles(Desk(snapshot), "running-80x24")
  }

  @Test func `an explanation`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type("?")
    expectGolden(desk.screen, "explain-80x24")
    expectStyles(desk, "explain-80x24")
  }

  @Test("a recording that is looked at, one that is made", arguments: sizes)
  func recordings(_ width: Int, _ height: Int) throws {
    var snapshot = try Fixture.realMode()
    snapshot.recording = RecordingStatus(path: "run.rec", bytes: 2_100_000, events: 40_000, failed: false)
    expectGolden(Desk(snapshot, width: width, height: height).screen, "recording-\(width)x\(height)")
    expectStyles(Desk(snapshot, width: width, height: height), "recording-\(width)x\(height)")
    snapshot.recording = nil
    snapshot.replay = ReplayStatus(
      path: "run.rec", position: 39_917, events: 40_000, exits: 1843, stops: 12, bytes: 2_100_000, stop: nil, pages: 9,
      complaint: "damaged after event 40000")
    expectGolden(Desk(snapshot, width: width, height: height).screen, "replay-\(width)x\(height)")
  }
}
