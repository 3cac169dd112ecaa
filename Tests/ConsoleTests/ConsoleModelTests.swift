import Console
import Session
import TerminalUI
import Testing
import VMCore
import X86

struct ConsoleModelTests {
  @Test("a key asks the session for its command", arguments: [
    ("s", "step"), ("n", "next"), ("f", "finish"), ("e", "exit"), ("10e", "exit 10"), ("3s", "step 3"), ("i", "interrupt"),
    ("h", "hypercall"), ("25h", "hypercall 25"), ("c", "continue"), ("C", "continue"), ("u", "until 0x7c16"),
    ("E", "exit hlt"), ("2E", "exit 2 hlt"), ("b", "break 0x7c16"),
  ])
  func commands(_ keys: String, _ line: String) throws {
    var snapshot = try Fixture.realMode()
    snapshot.exits.removeLast(1)
    let desk = Desk(snapshot)
    desk.type(keys)
    #expect(desk.session.submitted == [line])
  }

  @Test("function keys do what fingers know", arguments: [
    (5, "continue"), (7, "until 0x7c16"), (8, "step"), (9, "break 0x7c16"), (10, "next"), (11, "step"),
  ])
  func functionKeys(_ number: Int, _ line: String) throws {
    let desk = Desk(try Fixture.realMode())
    desk.press(Key(.function(number)))
    #expect(desk.session.submitted == [line])
  }

  @Test func `a digit whose pane was looked at for a while is no count`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.model.now = 1_000_000_000
    desk.type("3")
    desk.model.now = 4_000_000_000
    desk.type("s")
    #expect(desk.model.focus == .memory)
    #expect(desk.session.submitted == ["step"])
  }

  @Test func `a digit shows its pane, and a count leaves the view as it was`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type("3")
    #expect(desk.model.focus == .memory)
    desk.press(Key(.tab))
    desk.press(Key(.tab))
    let before = desk.model.focus
    desk.type("8s")
    #expect(desk.model.focus == before)
    #expect(desk.session.submitted == ["step 8"])
  }

  @Test func `what a stop says is not said again below it, unless the code is out of sight`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.session.publish {
      $0.stopSentence = "Stepped to 0000:7c16 <boot+16>."
      $0.messages += [
        ConsoleMessage(.command, "step", number: 4), ConsoleMessage(.answer, $0.stopSentence, number: 5),
        ConsoleMessage(.answer, "=> 0000:7c16  out dx, al", number: 6),
      ]
    }
    #expect(desk.screen.occurrences(of: "Stepped to") == 1 && !desk.screen.contains("=> 0000:7c16"))
    desk.type("3z")
    #expect(desk.screen.contains("=> 0000:7c16  out dx, al"))
  }

  @Test func `an answer of many lines stands in the log, and its last is not said again`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.session.publish {
      $0.messages += [ConsoleMessage(.command, "help be", number: 4)] + (5..<9).map { ConsoleMessage(.answer, "line \($0)", number: $0) }
    }
    #expect(desk.screen.occurrences(of: "line 8") == 1)
    desk.type("0")
    #expect(desk.screen.occurrences(of: "line 8") == 1 && desk.screen.contains("line 5"))
  }

  @Test func `a long answer is read from its beginning, and keys go on from there`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.session.publish {
      $0.messages += [ConsoleMessage(.command, "help", number: 4)] + (5..<65).map { ConsoleMessage(.answer, "line <\($0)>", number: $0) }
    }
    desk.type("0")
    #expect(desk.screen.contains("> help") && desk.screen.contains("line <5>") && !desk.screen.contains("line <64>"))
    desk.press(Key(.pageDown))
    #expect(!desk.screen.contains("line <5>") && desk.screen.contains("line <14>"), "\(desk.screen)")
    desk.press(Key(.end))
    #expect(desk.screen.contains("line <64>") && !desk.screen.contains("answer begins"))
    desk.session.publish { $0.messages += [ConsoleMessage(.command, "step", number: 65), ConsoleMessage(.answer, "Stepped", number: 66)] }
    #expect(desk.screen.contains("> step"))
  }

  @Test func `counters are short while the guest runs, and exact where it stands`() throws {
    let desk = Desk(try Fixture.realMode(), width: 160)
    #expect(desk.rows[0].contains("exits 18,553") && desk.rows[0].contains("icount 16,654,588"))
    desk.session.publish { $0.phase = .running }
    #expect(desk.rows[0].contains("exits 18.6k") && desk.rows[0].contains("icount 16.7M"), "\(desk.rows[0])")
  }

  @Test func `Space on a guest that has ended says so`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.session.publish { $0.phase = .ended(status: 0) }
    _ = desk.screen
    desk.type(" ")
    #expect(desk.screen.contains("the guest has ended; :reset loads it again") && desk.session.pauses == 0)
  }

  @Test func `of the focused pane's title its name is marked, not what changes behind it`() throws {
    let desk = Desk(try Fixture.realMode())
    let cells = (0..<40).map { desk.shown[$0, 1] }
    let marked = cells.filter { $0.role == .titleFocused }.map { Character(Unicode.Scalar($0.scalar) ?? " ") }
    #expect(String(marked) == " Code ", "\(desk.rows[1])")
  }

  @Test func `the key sheet has room for every key it names`() {
    #expect(HelpOverlay(.standard).cutKeys.isEmpty, "\(HelpOverlay(.standard).cutKeys)")
  }

  @Test func `b on a breakpoint removes it`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.session.publish { $0.breakpoints.append(BreakpointSummary("exec 7c16 <boot+16>", number: 9)) }
    _ = desk.screen
    desk.type("b")
    #expect(desk.session.submitted == ["delete 9"])
  }

  @Test func `Space pauses a running guest and says so to a stopped one`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type(" ")
    #expect(desk.session.pauses == 0)
    #expect(desk.screen.contains("already stopped"))
    desk.session.publish { $0.phase = .running }
    _ = desk.screen
    desk.type(" ")
    desk.press(.control("c"))
    #expect(desk.session.pauses == 2)
  }

  @Test func `q quits at once when stopped and asks when running`() throws {
    let desk = Desk(try Fixture.realMode())
    #expect(desk.type("q") == .quit)
    desk.session.publish { $0.phase = .running }
    _ = desk.screen
    #expect(desk.type("q") == .none)
    #expect(desk.screen.contains("q again quits"))
    #expect(desk.type("x") == .none)
    #expect(desk.model.mode == .panes)
    desk.type("q")
    #expect(desk.type("q") == .quit)
  }

  @Test func `the command line completes, recalls and repeats`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type(":bre")
    desk.press(Key(.tab))
    #expect(desk.screen.contains(":break"))
    #expect(desk.screen.contains("break  breakpoints"))
    desk.type(" put")
    desk.press(Key(.tab))
    desk.type("\n")
    desk.type(":\n")
    #expect(desk.session.submitted == ["break putchar ", ""], "an empty line is the session's to repeat")
    desk.type(":")
    desk.press(Key(.up), Key(.up))
    #expect(desk.screen.contains(":info regs"))
  }

  @Test func `keys go to the guest until Ctrl-]`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type("8\n")
    #expect(desk.model.mode == .guest)
    #expect(desk.screen.contains("Ctrl-]"))
    desk.type("qs\n")
    desk.press(.control("c"), Key(.escape), Key(.up))
    #expect(desk.session.typed == Array("qs\r\u{3}\u{1B}\u{1B}[A".utf8))
    _ = desk.model.handle(.paste("ls\n"))
    #expect(desk.session.typed.suffix(3) == Array("ls\n".utf8)[...])
    desk.press(GuestConsolePane.leaveKey)
    #expect(desk.model.mode == .panes)
    #expect(desk.session.submitted.isEmpty)
  }

  @Test func `an answer of several lines brings up the log, a short one does not`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type(":info regs\n")
    desk.session.publish { $0.messages.append(ConsoleMessage(.answer, "rax 1", number: 4)) }
    #expect(!desk.screen.contains("[0Log]"))
    desk.type(":info regs\n")
    desk.session.publish { $0.messages.append(ConsoleMessage(.answer, "rax 1\nrbx 2", number: 5)) }
    #expect(desk.screen.contains("[0Log]"))
  }

  @Test func `the theme and the layout change while it runs`() throws {
    let desk = Desk(try Fixture.realMode())
    #expect(desk.type(":theme light\n") == .redraw)
    #expect(desk.model.theme.name == "light")
    desk.type(":theme nope\n")
    #expect(desk.screen.contains("no theme 'nope'; there are colour-blind, dark,"))
    desk.type(":layout monitor\n")
    #expect(desk.model.layout.name == "monitor")
    desk.type("L")
    #expect(desk.model.layout.name == "guest")
  }

  @Test func `memory follows pointers, switches spaces and finds text`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    desk.type("3g7d00\n")
    #expect(desk.screen.contains("Ringside says he"))
    desk.type("m")
    #expect(desk.screen.contains("GPA (m: HVA)"))
    desk.type("g7000\n/says\n")
    #expect(desk.screen.contains("at 7d09h"))
    desk.type("/55 aa\n")
    #expect(desk.screen.contains("'55 aa' is not in this pane"))
    desk.type("d")
    #expect(desk.screen.contains("6952"))
  }

  @Test func `go to takes symbols and says what is wrong`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type("gputchar\n")
    #expect(desk.model.handle(.key(Key("b"))) == .none)
    #expect(desk.session.submitted == ["delete 1"])
    desk.type("gputchr\n")
    #expect(desk.screen.contains("putchar"))
  }

  @Test func `selections stay on their exit while the list grows`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type("1")
    desk.press(Key(.up), Key(.up))
    #expect(desk.screen.contains("> #1840"))
    desk.session.publish { snapshot in
      var record = snapshot.exits[0]
      record.sequence = 1843
      snapshot.exits.append(record)
      snapshot.exits.removeFirst(5)
    }
    #expect(desk.screen.contains("> #1840"))
    #expect(desk.screen.contains("looking back"))
    desk.press(Key(.end))
    #expect(desk.screen.contains("> #1843"))
  }

  @Test func `a click focuses and a wheel scrolls`() throws {
    let desk = Desk(try Fixture.realMode())
    _ = desk.screen
    _ = desk.model.handle(.mouse(MouseEvent(.press, x: 60, y: 3)))
    #expect(desk.model.focus == .registers)
    let before = desk.screen
    _ = desk.model.handle(.mouse(MouseEvent(.wheelDown, x: 60, y: 3)))
    #expect(desk.screen != before)
  }

  @Test func `running without drawing says so and shows everything again at the stop`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type("C")
    desk.session.publish { $0.phase = .running }
    #expect(desk.screen.contains("(not drawn)"))
    desk.session.publish { $0.phase = .paused }
    #expect(desk.screen.contains("out dx, al"))
  }
}

extension String {
  /// How often a text stands in it.
  fileprivate func occurrences(of text: String) -> Int { ranges(of: text).count }
}
