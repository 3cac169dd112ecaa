import Glibc
import TerminalDriver
import Testing

/// The built program on a real pseudo-terminal, driven and read as a person does.
@Suite("On a terminal", .serialized) struct DrivenTerminalTests {
  static func start(
    _ arguments: [String] = ["long-kernel"], term: String = "xterm-256color", width: Int = 80, height: Int = 24,
    more: [String: String] = [:]
  ) throws -> DrivenProgram {
    var environment = ["TERM": term, "LANG": "C.UTF-8", "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"]
    environment.merge(more) { $1 }
    return try #require(DrivenProgram([Shell.path] + arguments, environment: environment, width: width, height: height))
  }

  static let kinds = ["xterm-256color", "tmux-256color", "screen-256color", "screen", "linux", "vt220", "vt100", "xterm"]

  @Test("opens, steps, explains, resizes and gives the terminal back", arguments: kinds)
  func whole(_ term: String) throws {
    let program = try Self.start(term: term)
    #expect(program.waitFor("F1 help"), "\(program.screen.text)")
    program.type("s")
    #expect(program.waitFor("Stepped to"))
    program.type("?")
    #expect(program.waitFor("Explain (arrows"))
    program.type("\u{1B}")
    #expect(program.wait(milliseconds: DrivenProgram.patience) { !$0.text.contains("Explain (arrows") })
    program.type("3z")
    #expect(program.waitFor("3 Memory"))
    program.resize(width: 120, height: 40)
    #expect(program.wait(milliseconds: DrivenProgram.patience) { $0.rows.last?.contains("F1 help") == true && $0.rows[1].contains("Memory") })
    program.type("q")
    #expect(program.waitForEnd() == 0)
    #expect(program.isCooked)
    #expect(!program.screen.isAlternate)
  }

  @Test("a terminal that cannot place its cursor is refused with the remedy", arguments: ["dumb", "", "no-such-terminal"])
  func refused(_ term: String) throws {
    let program = try Self.start(term: term)
    #expect(program.waitForEnd() == 2)
    let line = String(decoding: program.output, as: UTF8.self)
    #expect(line.contains("TERM=xterm-256color") && line.split(whereSeparator: \.isNewline).count == 1, "\(line)")
  }

  @Test func `without Unicode there is nothing but ASCII, without colour no colour`() throws {
    let program = try Self.start(more: ["LANG": "C", "NO_COLOR": "1"])
    #expect(program.waitFor("F1 help"))
    program.type("sz")
    #expect(program.waitFor("Stepped to"))
    #expect(program.output.allSatisfy { $0 < 0x80 })
    let text = String(decoding: program.output, as: UTF8.self)
    let styles = text.split(separator: "\u{1B}[").compactMap { part -> Substring? in
      let codes = part.prefix { $0.isNumber || $0 == ";" }
      return part.dropFirst(codes.count).first == "m" ? codes : nil
    }
    #expect(!styles.isEmpty && styles.allSatisfy { $0.split(separator: ";").allSatisfy { (Int($0) ?? 99) < 10 } }, "\(styles)")
  }

  /// The Linux console, and what ssh brings of others where the locale is not known: letters, no box drawing, no
  /// colour where there is none, and every key it is worked with.
  @Test("without a locale all of it is there in plain characters", arguments: ["linux", "screen", "vt220", "xterm-256color"])
  func plain(_ term: String) throws {
    let program = try Self.start(term: term, width: 120, height: 40, more: ["LANG": "C", "LC_ALL": "C"])
    #expect(program.waitFor("F1 help"))
    program.type("5e")
    #expect(program.waitFor("STOPPED #4"))
    program.type(":info regs\r")
    #expect(program.waitFor("all "))
    program.type("?")
    #expect(program.waitFor("Explain (arrows"))
    program.type("\u{1B}")
    // Esc with a key right behind it is that key with Alt.
    #expect(program.wait(milliseconds: DrivenProgram.patience) { !$0.text.contains("Explain (arrows") })
    program.type("q")
    #expect(program.waitForEnd() == 0)
    #expect(program.output.allSatisfy { $0 < 0x80 })
    // Colours are SGR 30 to 39 and 90 to 97; a terminal without colour must get none.
    let codes = Self.styleCodes(program.output)
    #expect(term != "vt220" || codes.allSatisfy { $0 < 30 }, "\(codes)")
    #expect(program.isCooked)
  }

  @Test func `a function key, a click, a drag, a wheel and a paste arrive`() throws {
    let program = try Self.start(width: 120, height: 40)
    #expect(program.waitFor("F1 help"))
    program.type("\u{1B}OQ?")
    #expect(program.waitFor("general-purpose register"))
    program.type("\u{1B}")
    program.type("\u{1B}[<0;70;12M\u{1B}[<0;70;12m")
    program.type("\u{1B}[<65;70;5M")
    program.type(":\u{1B}[200~info engine\u{1B}[201~")
    #expect(program.waitFor(":info engine"))
    program.type("\r")
    #expect(program.waitFor("engine interpreter"))
  }

  @Test func `y reaches the clipboard by OSC 52`() throws {
    let program = try Self.start()
    #expect(program.waitFor("F1 help"))
    program.type("y")
    #expect(program.waitFor("copied: "))
    #expect(program.screen.clipboard.count == 1)
  }

  @Test func `^Z gives the terminal back, fg takes it again`() throws {
    let program = try Self.start()
    #expect(program.waitFor("F1 help"))
    program.type("\u{1A}")
    #expect(program.wait(milliseconds: DrivenProgram.patience) { !$0.isAlternate && program.isCooked && program.isStopped })
    program.signal(SIGCONT)
    #expect(program.wait(milliseconds: DrivenProgram.patience) { $0.isAlternate && $0.text.contains("F1 help") })
    program.type("s")
    #expect(program.waitFor("Stepped to"))
  }

  @Test func `while the guest runs flat out RUNNING is seen, keys are answered and none is swallowed`() throws {
    let program = try Self.start(["long-kernel"])
    #expect(program.waitFor("F1 help"))
    program.type(":run\r")
    #expect(program.wait(milliseconds: DrivenProgram.patience) { screen in ["RUNNING", "ENDED", "IDLE"].contains { screen.text.contains($0) } })
    program.type(":stepp\r")
    #expect(program.wait(milliseconds: DrivenProgram.patience) { $0.text.contains("did you mean 'step'?") || $0.text.contains("running") })
    program.type("Q")
    #expect(program.waitFor("this key does nothing here"))
  }

  @Test func `settings, own themes, layouts and the history are found in the XDG folders`() throws {
    let home = "/tmp/ringside-home-\(getpid())"
    _ = system("mkdir -p \(home)/.config/ringside/themes && cp \(Self.root)/Themes/light.toml \(home)/.config/ringside/themes/mine.toml")
    defer { _ = system("rm -rf \(home)") }
    let settings = "theme = 'mine'\nlayout = 'monitor'\nstartup = ['echo good morning']\nmousee = true\n[aliases]\nwhereami = 'print rip'\n[keys]\nstep = ['S']\n"
    _ = system("printf \"\(settings.replacing("\n", with: "\\n"))\" > \(home)/.config/ringside/config.toml")
    let program = try Self.start(width: 120, height: 40, more: ["HOME": home])
    #expect(program.waitFor("good morning"), "\(program.screen.text)")
    #expect(program.waitFor("mousee: no such setting; did you mean 'mouse'?"))
    program.type("S")
    #expect(program.waitFor("Stepped to"))
    program.type(":whereami\r:layout save own\r:theme\r")
    #expect(program.waitFor("theme light; there are"))
    #expect(program.screen.text.contains("mine"))
    program.type("q")
    #expect(program.waitForEnd() == 0)
    #expect(system("grep -qx whereami \(home)/.local/state/ringside/history") == 0)
    #expect(system("grep -qx step \(home)/.local/state/ringside/history") != 0, "a key is no line of the history")
    #expect(system("test -s \(home)/.config/ringside/layouts/own.toml") == 0)
    let again = try Self.start(["--layout", "own"], more: ["HOME": home])
    #expect(again.waitFor("F1 help"))
    again.type(":\u{1B}[A\u{1B}[A\u{1B}[A")
    #expect(again.waitFor(":whereami"))
  }

  @Test("what is wrong on the command line is one line before the terminal is taken", arguments: [
    (["--theme", "nope", "hello-real"], "no theme 'nope'"), (["--layout", "nope", "hello-real"], "no layout 'nope'"),
    (["--theme", "/etc/hostname", "hello-real"], "/etc/hostname"),
  ])
  func mistakes(_ arguments: [String], _ expected: String) throws {
    let program = try Self.start(arguments)
    #expect(program.waitForEnd() == 2)
    let text = String(decoding: program.output, as: UTF8.self)
    #expect(text.contains(expected) && !text.contains("\u{1B}[?1049h"), "\(text)")
  }

  @Test("random bytes do no harm and the terminal comes back", arguments: [1, 2, 3] as [UInt64])
  func random(_ seed: UInt64) throws {
    let program = try Self.start(["timer-keyboard"])
    #expect(program.waitFor("F1 help"))
    program.sendNoise(seed)
    program.signal(SIGTERM)
    let status = program.waitForEnd()
    #expect(status == 128 + SIGTERM || status == 0)
    #expect(program.isCooked && !program.screen.isAlternate)
  }

  /// The numbers of all SGR sequences.
  private static func styleCodes(_ output: [UInt8]) -> [Int] {
    String(decoding: output, as: UTF8.self).split(separator: "\u{1B}[").flatMap { part -> [Int] in
      let codes = part.prefix { $0.isNumber || $0 == ";" }
      guard part.dropFirst(codes.count).first == "m" else { return [] }
      return codes.split(separator: ";").map { Int($0) ?? 0 }
    }
  }

  static let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
}
