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
