import Console
import Session
import TerminalUI
import Testing
import VMCore
import X86

/// The fifteen mistakes of other debuggers' consoles that must not be made here: those seen on the screen.
@Suite("Peers' mistakes") struct PeersMistakesTests {
  @Test func `mistake 1, a small screen loses code or status: 80x24 shows code, registers, status and help`() throws {
    let screen = Desk(try Fixture.realMode()).screen
    for needed in ["=>7c16", "out dx, al", "RAX 000000000000004b*", "REAL16", "STOPPED", "F1 help", "VM exit #1842"] {
      #expect(screen.contains(needed), "\(needed)")
    }
  }

  @Test("the status line never overflows and always says the phase", arguments: [80, 81, 90, 120, 200, 400])
  func status(_ width: Int) throws {
    var snapshot = try Fixture.longModeUnmapped()
    snapshot.guestName = String(repeating: "very-long-guest-name-", count: 12)
    snapshot.instructionCount = .max
    snapshot.virtualTime = .max
    snapshot.exitCount = .max
    snapshot.droppedEvents = .max
    let row = Desk(snapshot, width: width, height: 24).rows[0]
    #expect(row.count <= width)
    #expect(row.contains("STOPPED"))
    #expect(row.contains("LONG64"))
  }

  @Test("what never changes in a run stays in the status line, or out of it, whatever happens", arguments: [80, 92, 100, 120, 200])
  func steadyStatus(_ width: Int) throws {
    var snapshot = try Fixture.realMode()
    snapshot.guestName = "long-kernel"
    var seen: Set<Bool> = []
    let stops: [StopReason] = [.created, .step, .breakpoint(1), .exit(.io), .interrupt(0x20)]
    for (stop, count) in zip(stops, [0, 99_999, 16_654_588, 123_456_789, 7] as [UInt64]) {
      (snapshot.stop, snapshot.instructionCount, snapshot.exitCount) = (stop, count, count / 3)
      let row = Desk(snapshot, width: width, height: 24).rows[0]
      #expect(row.contains("hvm/interpreter"))
      seen.insert(row.contains("long-kernel"))
    }
    #expect(seen.count == 1)
    #expect(seen == [width >= 92])
  }

  @Test func `which of several vCPUs is looked at is said on a small screen, too`() throws {
    var snapshot = try Fixture.realMode()
    snapshot.vcpus.append(snapshot.vcpus[0])
    snapshot.previous.append(snapshot.previous[0])
    snapshot.currentVCPU = 1
    #expect(Desk(snapshot).rows[0].contains("vcpu 1/2"))
  }

  @Test func `quit with a word too many is refused, and so is a pane that is not there`() throws {
    let desk = Desk(try Fixture.realMode())
    #expect(desk.type(":quit now\n") == .none)
    #expect(desk.session.submitted == ["quit now"])
    desk.type(":focus zz\n")
    #expect(desk.screen.contains("no pane 'zz'; Tab completes their names"))
  }

  @Test func `an answer too long for its row has two, and the log has all of it`() throws {
    var snapshot = try Fixture.realMode()
    let long = "'zz': " + (1...18).map { "word\($0)" }.joined(separator: " ") + " end-of-it"
    snapshot.messages.append(ConsoleMessage(.command, "zz", number: 4))
    snapshot.messages.append(ConsoleMessage(.error, long, number: 5))
    let desk = Desk(snapshot)
    let rows = desk.rows
    #expect(rows[21].hasPrefix(" 'zz': word1 ") && rows[22].hasSuffix("end-of-it"), "\(rows.suffix(4))")
    #expect(rows[20].hasPrefix(" VM exit #1842"))
    desk.type("0")
    let log = desk.rows[11...19]
    #expect(log.contains { $0.hasPrefix("  'zz': word1") } && log.contains { $0.contains("end-of-it") }, "\(log)")
    desk.type(":")
    #expect(desk.rows[22].hasPrefix(" :"), "the command line comes before an answer")
  }

  @Test func `a low register pane keeps RIP, the flags and the privilege level`() throws {
    let desk = Desk(try Fixture.realMode(), width: 80, height: 12)
    #expect(desk.screen.contains("RIP 0000:7c16"), "\(desk.screen)")
    #expect(desk.screen.contains("CPL0 ZF PF"))
  }

  @Test func `the key sheet cuts no help off at 80 columns`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.press(Key(.function(1)))
    var text = ""
    for _ in 0..<12 {
      text += desk.screen
      desk.press(Key(.pageDown))
    }
    #expect(!text.contains("...") && text.contains("look at the exit before"), "\(text.prefix(2000))")
  }

  @Test func `no exit is promised where ring 3 has not the privilege for it`() throws {
    var snapshot = try Fixture.realMode()
    #expect(Desk(snapshot).screen.contains("!IO"))
    snapshot.vcpus[0].cr0 |= CR0.pe
    snapshot.vcpus[0][.cs] = SegmentState(selector: 3, base: 0, access: 0xFB)
    snapshot.vcpus[0][.ss] = SegmentState(selector: 3, base: 0, access: 0xF3)
    let screen = Desk(snapshot).screen
    #expect(snapshot.vcpu.cpl == 3 && screen.contains("out dx, al") && screen.contains("!CPUID"))
    #expect(!screen.contains("!IO") && !screen.contains("!HLT"))
    snapshot.vcpus[0].rflags |= 3 << 12
    #expect(Desk(snapshot).screen.contains("!IO"))
  }

  @Test func `mistake 2, resize clears history: it keeps history, scroll and the command being typed`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.type("1")
    desk.press(Key(.up), Key(.up), Key(.up))
    desk.type(":break 7c1")
    for size in [(10, 3), (200, 60), (1, 1), (80, 24)] {
      desk.terminal.size = Size(width: size.0, height: size.1)
      #expect(desk.model.handle(.resize) == .redraw)
      _ = desk.screen
    }
    #expect(desk.screen.contains(":break 7c1"))
    #expect(desk.screen.contains("> #1839"))
    desk.type("c\n:")
    desk.press(Key(.up))
    #expect(desk.screen.contains(":break 7c1c"))
  }

  @Test func `a terminal too small says what is needed`() throws {
    let desk = Desk(try Fixture.realMode(), width: 79, height: 4)
    #expect(desk.screen.hasPrefix("terminal too small: 20x5 needed, now 79x4"))
  }

  @Test func `mistake 3, rewinding leaves open what moved: looking back says that the machine's state did not`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    desk.type("[")
    #expect(desk.screen.contains("registers and memory stay those of now"))
  }

  @Test func `mistake 4, commands are swallowed while running: RUNNING is seen and they are answered`() throws {
    let desk = Desk(try Fixture.realMode())
    desk.session.publish { $0.phase = .running }
    #expect(desk.rows[0].contains("RUNNING"))
    desk.type(":break 7c1c\n")
    #expect(desk.session.submitted == ["break 7c1c"])
    desk.session.publish {
      $0.messages.append(ConsoleMessage(.command, "break 7c1c", number: 8))
      $0.messages.append(ConsoleMessage(.error, "the guest is running; pause first (Space)", number: 9))
    }
    #expect(desk.screen.contains("pause first (Space)"))
  }

  @Test func `a key without a meaning is answered`() throws {
    let desk = Desk(try Fixture.realMode())
    for key in [Key("Q"), .control("q"), .alt("x"), Key(.function(12)), Key("漢")] {
      desk.press(key)
      #expect(desk.screen.contains("this key does nothing here"))
    }
  }

  @Test func `every key of the key sheet does one thing`() {
    var seen: Set<Key> = []
    for binding in KeyTable.bindings {
      #expect(!binding.keys.isEmpty && !binding.help.isEmpty)
      for key in binding.keys {
        #expect(seen.insert(key).inserted, "\(binding.shown)")
        #expect(KeyTable.binding(for: key)?.shown == binding.shown)
      }
    }
  }

  @Test func `mistake 11, guest output draws over the screen: it stays in its pane`() throws {
    var snapshot = try Fixture.realMode()
    snapshot.guestConsole = ["\u{1B}[2J\u{1B}[1;1Hgot you \u{9B}31m \u{202E}evil \u{7}", String(repeating: "漢", count: 500)]
    let desk = Desk(snapshot, layout: .guest)
    let screen = desk.screen
    #expect(screen.unicodeScalars.allSatisfy { $0.value >= 0x20 && !(0x7F..<0xA0).contains($0.value) || $0 == "\n" })
    #expect(desk.rows[0].contains("REAL16"))
    #expect(desk.rows.allSatisfy { CharacterWidth.of($0) <= 80 })
  }

  @Test func `mistake 7, real mode is shown as if it were protected: IVT, and rip as segment and offset`() throws {
    let desk = Desk(try Fixture.realMode(), width: 120, height: 40)
    desk.press(Key(.function(2)))
    desk.type("z")
    let screen = desk.screen
    #expect(screen.contains("RIP 0000:7c16"))
    #expect(screen.contains("(IVT)"))
  }

  @Test("the code and the next instruction stay visible at every size", arguments: [80, 100, 133, 200, 320])
  func codeStays(_ width: Int) throws {
    for height in stride(from: 24, through: 90, by: 3) {
      for layout in ConsoleLayout.builtIn {
        let screen = Desk(try Fixture.realMode(), width: width, height: height, layout: layout).screen
        #expect(screen.split(separator: "\n").contains { $0.contains("=>") && $0.contains("7c16  ") }, "\(width)x\(height) \(layout.name)")
        #expect(screen.contains("VM exit #1842"), "\(width)x\(height) \(layout.name)")
        #expect(screen.contains("RAX"), "\(width)x\(height) \(layout.name)")
      }
    }
  }
}

/// xorshift64*: the same numbers every time.
struct Xorshift: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 2_685_821_657_736_338_717
  }
}
