import Console
import Glibc
import Session
import TerminalUI
import Testing
import VMCore
import X86

struct HabitsTests {
  @Test func `? in the registers points at a word, arrows move on, y copies it`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    _ = desk.screen
    desk.press(Key(.function(2)), Key("?"))
    #expect(desk.screen.contains("RAX: general-purpose register"))
    desk.press(Key(.right))
    #expect(desk.screen.contains("R8: general-purpose register"))
    #expect(desk.press(Key("y")) == .copy("R8"))
    desk.press(Key(.escape))
    #expect(!desk.screen.contains("Explain (arrows"))
  }

  @Test("every flag word in the registers is explained by a click", arguments: [("ZF", "RFLAGS.ZF"), ("of", "RFLAGS.OF"), ("IOPL0", "RFLAGS.IOPL"), ("pg", "CR0.PG"), ("ET", "CR0.ET"), ("lma", "EFER.LMA"), ("smep", "CR4.SMEP")])
  func click(_ word: String, _ title: String) throws {
    let desk = Desk(try Fixture.realMode(), width: 200, height: 60)
    desk.press(Key(.function(2)), Key("z"))
    let rows = desk.rows
    let y = try #require(rows.firstIndex { row in row.split(whereSeparator: { $0 == " " || $0 == "|" }).contains(Substring(word)) })
    let cells = Array(rows[y])
    let needle = Array(" \(word) ")
    let padded = [Character(" ")] + cells + [Character(" ")]
    let x = try #require((0..<padded.count - needle.count).last { Array(padded[$0..<$0 + needle.count]) == needle })
    _ = desk.model.handle(.mouse(MouseEvent(.press, x: x, y: y)))
    #expect(desk.screen.contains(title), "\(word)")
  }

  @Test func `a right click explains a reason of the exit list`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    let y = try #require(desk.rows.firstIndex { $0.contains("HLT ") && $0.contains("#18") })
    let x = try #require(Array(desk.rows[y]).firstIndex(of: "H"))
    _ = desk.model.handle(.mouse(MouseEvent(.press, button: 2, x: x, y: y)))
    #expect(desk.screen.contains("HLT, basic exit reason 12"))
  }

  @Test func `y copies the selected row and says so`() throws {
    let desk = Desk(try Fixture.realMode())
    _ = desk.screen
    guard case .copy(let text) = desk.press(Key("y")) else {
      Issue.record("nothing copied")
      return
    }
    #expect(text.contains("out dx, al"))
    #expect(desk.screen.contains("copied: "))
    #expect(String(decoding: Clipboard.sequence("Ringside"), as: UTF8.self) == "\u{1B}]52;c;UmluZ3NpZGU=\u{7}")
  }

  @Test func `animation steps by itself, faster, flat out, and Space ends it`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type("A")
    #expect(desk.screen.contains("ANIMATION 2/s"))
    var now: UInt64 = 1_000_000_000
    #expect(desk.model.animate(now) == now + 500_000_000)
    #expect(desk.session.submitted == ["step"])
    _ = desk.model.animate(now + 600_000_000)
    #expect(desk.session.submitted.count == 1, "the step before has not come back")
    desk.session.publish { $0.stop = .step }
    _ = desk.screen
    now += 600_000_000
    _ = desk.model.animate(now)
    #expect(desk.session.submitted.count == 2)
    desk.type("AAA")
    #expect(desk.session.submitted.last == "continue")
    #expect(desk.model.animate(now) == nil)
    desk.type("A ")
    #expect(desk.screen.contains("animation stopped"))
  }

  @Test func `a breakpoint ends an animation`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type("A")
    desk.session.publish { $0.stop = .breakpoint(1) }
    _ = desk.screen
    #expect(desk.model.animate(5_000_000_000) == nil)
  }

  @Test func `several pasted lines are as many commands, the last waits for Enter`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type(":")
    _ = desk.model.handle(.paste("info regs\nbreak 7c1c\nstep"))
    #expect(desk.session.submitted == ["info regs", "break 7c1c"])
    #expect(desk.screen.contains(":step"))
  }

  @Test func `search repeats with n and N in a list and with / Enter in the code`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type("1/cpuid\n")
    let first = desk.screen
    desk.type("n")
    #expect(desk.screen != first)
    desk.type("N")
    #expect(desk.screen == first)
    #expect(desk.session.submitted.isEmpty)
  }

  @Test func `v makes the next vCPU the current one`() throws {
    let desk = Desk(try Fixture.twoVCPUs())
    desk.type("v")
    #expect(desk.session.submitted == ["vcpu 1"])
    let alone = Desk(try Fixture.realMode())
    alone.type("v")
    #expect(alone.screen.contains("one vCPU"))
  }

  @Test("keys have names that read back", arguments: KeyTable.bindings.flatMap(\.keys) + [Key.alt("x"), Key(.up, .control), Key(.pageDown, [.shift, .alt])])
  func names(_ key: Key) { #expect(Key(name: key.name) == key, "\(key.name)") }
}

struct LayoutTests {
  @Test("alive at every size from 20x5 to 400x120", arguments: [20, 26, 33, 47, 60, 79, 80, 100, 119, 120, 161, 200, 277, 400])
  func sizes(_ width: Int) throws {
    for height in [5, 6, 7, 9, 12, 16, 20, 23, 24, 31, 40, 60, 90, 120] {
      for layout in ConsoleLayout.builtIn {
        let desk = Desk(try Fixture.realMode(), width: width, height: height, layout: layout)
        let rows = desk.rows
        #expect(rows.contains { $0.contains("7c16") }, "\(width)x\(height) \(layout.name): the code never disappears")
        #expect(rows[0].contains("STOPPED"), "\(width)x\(height) \(layout.name)")
        #expect(rows.contains { $0.contains("VM exit #") }, "\(width)x\(height) \(layout.name)")
        #expect(rows.allSatisfy { $0.count <= width })
        desk.type("3")
        #expect(desk.model.visiblePanes.contains(.memory), "\(width)x\(height) \(layout.name): any pane can be brought up")
        desk.type(":info")
        #expect(desk.screen.contains(":in"), "\(width)x\(height)")
      }
    }
  }

  @Test func `as it gets narrow the bytes column goes first, then histogram, second column, segments`() throws {
    var lost: [String: Int] = [:]
    for width in (24...200).reversed() {
      let screen = Desk(try Fixture.realMode(), width: width, height: 40).screen
      let shown = [
        "bytes": screen.contains("baf803"), "histogram": screen.contains("##"), "second column": screen.contains("R8  0000"),
        "segments": screen.contains("CS 0000"),
      ]
      for (name, isShown) in shown where !isShown && lost[name] == nil { lost[name] = width }
    }
    let bytes = lost["bytes"] ?? 0
    let histogram = lost["histogram"] ?? 0
    let second = lost["second column"] ?? 0
    let segments = lost["segments"] ?? 0
    #expect(bytes >= second && histogram >= second && second >= segments, "\(lost)")
  }

  @Test func `a second vCPU's registers stand beside the first's where there is room`() throws {
    let wide = Desk(try Fixture.twoVCPUs(), width: 200, height: 60).screen
    #expect(wide.contains("vCPU0 registers") && wide.contains("vCPU1 registers"))
    #expect(wide.contains("RAX 0000000000002222"))
    #expect(!Desk(try Fixture.twoVCPUs()).screen.contains("vCPU1 registers"))
    #expect(!Desk(try Fixture.realMode(), width: 200, height: 60).screen.contains("vCPU1 registers"))
  }

  private func drag(_ desk: Desk, from: (Int, Int), to: (Int, Int)) {
    _ = desk.model.handle(.mouse(MouseEvent(.press, x: from.0, y: from.1)))
    _ = desk.model.handle(.mouse(MouseEvent(.drag, x: to.0, y: to.1)))
    _ = desk.model.handle(.mouse(MouseEvent(.release, x: to.0, y: to.1)))
  }

  @Test func `a border is dragged by the mouse`() throws {
    let desk = Desk(try Fixture.realMode(), width: 220, height: 40)
    func separator() -> Int? { Array(desk.rows[3]).firstIndex(of: "|") }
    let before = try #require(separator())
    drag(desk, from: (before, 3), to: (before - 12, 3))
    let after = try #require(separator())
    #expect(abs(after - (before - 12)) <= 1)
    func title() -> Int? { desk.rows.firstIndex { $0.contains("[1Exits]") } }
    let row = try #require(title())
    drag(desk, from: (76, row), to: (76, row - 3))
    #expect(abs(try #require(title()) - (row - 3)) <= 1)
    drag(desk, from: (76, try #require(title())), to: (76, 0))
    #expect(desk.screen.contains("7c16"))
  }

  @Test func `a layout of one's own is saved, found, cycled and read back with its sizes`() throws {
    let folder = "/tmp/ringside-layouts-\(getpid())"
    defer { _ = system("rm -rf \(folder)") }
    let library = LayoutLibrary(directory: folder + "/deep")
    let session = FakeSession(try Fixture.realMode())
    let model = ConsoleModel(
      session: session, theme: .plain, themes: ThemeLibrary(directories: []), layout: .monitor, layouts: library)
    for scalar in ":layout save mine".unicodeScalars { _ = model.handle(.key(Key(scalar))) }
    _ = model.handle(.key(Key(.enter)))
    #expect(model.remark?.hasPrefix("saved as \(folder)/deep/mine.toml") == true, "\(model.remark ?? "")")
    #expect(library.names == ["mine"])
    let mine = try library.load("mine")
    #expect(mine.rows.map { $0.places.map(\.panes) } == ConsoleLayout.monitor.rows.map { $0.places.map(\.panes) })
    _ = model.handle(.key(Key("L")))
    #expect(model.layout.name == "standard")
  }

  @Test("a saved layout looks as it did", arguments: ConsoleLayout.builtIn, [(80, 24), (120, 40), (200, 60)])
  func saved(_ layout: ConsoleLayout, _ size: (Int, Int)) throws {
    let folder = "/tmp/ringside-saved-\(getpid())-\(layout.name)-\(size.0)"
    defer { _ = system("rm -rf \(folder)") }
    let library = LayoutLibrary(directory: folder)
    _ = try library.save(layout, as: "kept")
    let before = Desk(try Fixture.realMode(), width: size.0, height: size.1, layout: layout)
    let after = Desk(try Fixture.realMode(), width: size.0, height: size.1, layout: try library.load("kept"))
    #expect(before.screen == after.screen)
  }

  @Test("a broken layout is one line that names the place", arguments: [
    ("x", "l:1:"), ("name = \"a\"", "expected [[rows]]"), ("[[rows]]\nplaces = [{ panes = [\"cod\"] }]", "no pane 'cod'"),
    ("[[rows]]\nplaces = [{ panes = [\"exits\"] }]", "the code pane needs a place"),
    ("[[rows]]\nplaces = [{ panes = [\"code\", \"code\"] }]", "has a place already"),
    ("[[rows]]\nheight = 0\nplaces = [{ panes = [\"code\"] }]", "rows[0].height: expected thousandths"),
    ("[[rows]]\nplaces = 3", "rows[0]: expected places"),
  ])
  func broken(_ text: String, _ expected: String) {
    let path = "/tmp/ringside-l-\(getpid())"
    _ = HostFile.write(text, to: path)
    defer { unlink(path) }
    let error = #expect(throws: SettingsError.self) { try LayoutLibrary(directory: nil).load(path) }
    let line = (error?.description ?? "").replacing(path, with: "l")
    #expect(line.contains(expected) && !line.contains("\n"), "\(line)")
  }
}
