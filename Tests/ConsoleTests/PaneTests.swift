import Console
import Debugger
import Session
import TerminalUI
import Testing
import VMCore
import X86

struct PaneTests {
  @Test func `Enter on an exit opens its anatomy, brackets walk, Esc goes back`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    desk.type("1")
    desk.press(Key(.enter))
    #expect(desk.model.focus == .anatomy)
    desk.type("z")
    #expect(desk.screen.contains("#1842 anatomy"))
    #expect(desk.screen.contains("not asked yet"))
    desk.type("[[")
    #expect(desk.screen.contains("#1840 anatomy"))
    desk.type("]")
    #expect(desk.screen.contains("#1841 anatomy"))
    desk.press(Key(.escape))
    #expect(desk.model.focus == .exits)
  }

  @Test func `s in the anatomy steps the guest`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    desk.show(.anatomy)
    desk.draw()
    desk.type("s")
    #expect(desk.session.submitted == ["step"])
  }

  @Test func `the anatomy names registers that changed and says what it does not know`() throws {
    let snapshot = try Fixture.realMode()
    let cpuid = try #require(ExitAnatomy(1840, in: snapshot))
    let text = cpuid.rows.lines.joined(separator: "\n")
    #expect(text.contains("SDM basic exit reason 10"))
    #expect(text.contains("rax"))
    #expect(text.contains("000506e3"))
    #expect(text.contains("skip"))
    let old = try #require(ExitAnatomy(1803, in: snapshot))
    #expect(old.rows.lines.joined().contains("were not recorded"))
    #expect(ExitAnatomy(7, in: snapshot) == nil)
  }

  @Test func `the qualification of an OUT has the manual's bits`() throws {
    let snapshot = try Fixture.realMode()
    let out = try #require(ExitAnatomy(1842, in: snapshot))
    let text = out.rows.lines.joined(separator: "\n")
    // Port in 31:16, direction OUT = 0, one byte = 0.
    #expect(text.contains("0000000003f80000"))
    #expect(text.contains("COM1 THR"))
  }

  @Test func `the neighbour key goes through the panes of a digit, and digits stay counts`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    desk.type("5")
    #expect(desk.model.focus == .tables)
    desk.type("`")
    #expect(desk.model.focus == .interrupts)
    desk.type("`")
    #expect(desk.model.focus == .devices)
    desk.type("5")
    #expect(desk.model.focus == .capabilities)
    desk.type("55e")
    #expect(desk.session.submitted == ["exit 555"])
  }

  @Test func `every pane that has no place is behind a digit`() {
    for pane in PaneID.allCases where !pane.isFrame && ![.code, .registers, .secondRegisters, .lesson].contains(pane) {
      #expect(pane.digit != nil, "\(pane)")
    }
  }

  @Test("invalid descriptors are said to be", arguments: [
    ("reserved type", "type 5 is reserved"), ("not present gate", "not present: #NP"),
    ("gate to data", "selector names no code segment"),
  ])
  func invalid(_ what: String, _ words: String) throws {
    let snapshot = try Fixture.longMode()
    let report = TableReport(snapshot.vcpu, snapshot.memory, symbols: snapshot.symbols)
    let text = (report.gdt + report.interrupts).lines.joined(separator: "\n")
    #expect(text.contains(words), "\(what)")
  }

  @Test func `the walk says which level faults, and Enter on the map walks there`() throws {
    let desk = Desk(try Fixture.longMode(), width: 120, height: 40)
    desk.show(.paging)
    desk.type("z")
    desk.draw()
    desk.type("g3000\n")
    #expect(desk.screen.contains("PTE not present"))
    #expect(desk.screen.contains("error code at CPL0: read 0x0, write 0x2"))
    desk.type("/00200000\n")
    desk.press(Key(.enter))
    #expect(desk.screen.contains("Page walk of 200000h"))
    #expect(desk.screen.contains("maps 2 MiB"))
  }

  @Test func `a page that user code may not write says so`() throws {
    let snapshot = try Fixture.longMode()
    let report = PagingReport(snapshot.vcpu, snapshot.memory, symbols: snapshot.symbols)
    let text = report.walk(GVA(0x10_0000)).lines.joined(separator: "\n")
    #expect(text.contains("CPL3  no access: page is for the supervisor only"))
    let data = report.walk(GVA(0x5000)).lines.joined(separator: "\n")
    #expect(data.contains("execute no: page is no-execute"))
  }

  @Test func `the back-trace follows the frame pointers`() throws {
    let snapshot = try Fixture.longMode()
    let report = StackReport(snapshot.vcpu, snapshot.memory, symbols: snapshot.symbols)
    #expect(report.frames.map(\.place) == ["inner+4", "outer+9"])
    let slots = report.slots(4).lines
    #expect(slots[0].contains("saved frame pointer"))
    #expect(slots[1].contains("return #1 outer+9"))
  }

  @Test func `events are filtered by kind and by what was searched`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    desk.show(.events)
    desk.type("z")
    desk.type("m")
    #expect(desk.screen.contains("Events: exits"))
    #expect(!desk.screen.contains("  output "))
    desk.type("/cpuid\n=")
    let rows = desk.rows.filter { $0.contains("entry") }
    #expect(rows.isEmpty)
    #expect(desk.screen.contains("with 'cpuid'"))
    desk.type("=")
    desk.type("g39800\n")
    #expect(desk.screen.contains("#39800"))
  }

  @Test func `Enter on an exit event opens its anatomy`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    desk.show(.events)
    desk.draw()
    desk.press(Key(.enter))
    #expect(desk.model.focus == .anatomy)
    #expect(desk.screen.contains("#1842 anatomy"))
  }

  @Test func `the share of exits stands beside the code that makes them`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    desk.type("z")
    let line = try #require(desk.rows.first { $0.contains("7c16") && $0.contains("out dx") })
    #expect(line.contains("58%"))
  }

  @Test func `the code pane says what the next instruction touches and whether it jumps`() throws {
    var snapshot = try Fixture.longMode()
    #expect(Desk(snapshot, width: 200, height: 60).screen.contains("reads ss:0000000000009fe0"))
    snapshot.vcpus[0].rip = 0x10_0028
    #expect(Desk(snapshot, width: 200, height: 60).screen.contains("will jump"))
    snapshot.vcpus[0].rflags = 0x206
    #expect(Desk(snapshot, width: 200, height: 60).screen.contains("will not jump"))
  }

  @Test("vector registers by width and type", arguments: [
    (VectorFormat.dwords, "40800000 40400000 40000000 3f800000"), (.qwords, "4080000040400000 400000003f800000"),
    (.words, "4080 0000 4040 0000 4000 0000 3f80 0000"),
    (.floats, "            4.0             3.0             2.0             1.0"),
  ])
  func vectors(_ format: VectorFormat, _ text: String) {
    #expect(RegisterReport.vector(0x4080_0000_4040_0000, 0x4000_0000_3F80_0000, format) == text)
  }

  @Test func `an interrupt line shows request, service and mask`() throws {
    let rows = InterruptReport(try Fixture.realMode().devices).controllers.lines
    let timer = try #require(rows.first { $0.contains("timer") })
    #expect(timer.contains("08"))
    let keyboard = try #require(rows.first { $0.contains("keyboard") })
    #expect(keyboard.contains("*"))
    #expect(rows.contains { $0.contains("IRR") && $0.contains("20 31") })
  }

  @Test func `long lines of the guest are read on by Right and Left`() throws {
    var snapshot = try Fixture.realMode()
    snapshot.guestConsole = ["short", String(repeating: "a", count: 70) + "the line's end stands here"]
    let desk = Desk(snapshot)
    desk.type("8")
    #expect(!desk.screen.contains("stands here"))
    desk.press(Key(.right), Key(.right))
    #expect(desk.screen.contains("stands here") && desk.screen.contains("from column 41"))
    for _ in 0..<9 { desk.press(Key(.right)) }
    #expect(desk.screen.contains("no line goes on there"))
    for _ in 0..<9 { desk.press(Key(.left)) }
    #expect(desk.screen.contains("short"))
  }
}
