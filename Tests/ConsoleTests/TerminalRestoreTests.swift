import Console
import Foundation
import Glibc
import TerminalDriver
import TerminalUI
import Testing

/// What a console does with a real terminal. The program under test is a child process on a
/// pseudo-terminal; the parent looks at what it left.
@Suite(.serialized) struct TerminalRestoreTests {
  private static let enter = "\u{1B}[?1049h"
  private static let leave = "\u{1B}[?1049l"

  private func expectRestored(_ terminal: PseudoTerminal, _ comment: Comment) {
    let output = terminal.output
    #expect(output.contains(Self.enter), comment)
    #expect(output.contains("the guest"), comment)
    let tail = output.range(of: Self.leave, options: .backwards)
    #expect(tail != nil && output.range(of: Self.enter, options: .backwards)?.lowerBound ?? output.endIndex < tail?.lowerBound ?? output.startIndex, comment)
    #expect(output.contains("\u{1B}[?1006l"), comment)
    #expect(terminal.isCooked, comment)
  }

  @Test("a crash gives the terminal back", arguments: [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP])
  func crash(_ signal: Int32) async throws {
    let terminal = try #require(PseudoTerminal())
    let path = terminal.path
    await #expect(processExitsWith: .signal(signal)) { [path = path as String, signal = signal as Int32] in
      PseudoTerminal.adopt(path)
      try Child.draw()
      // A worker thread of the test runner has SIGABRT blocked; `abort` unblocks it.
      if signal == SIGABRT { abort() } else { raise(signal) }
    }
    expectRestored(terminal, "signal \(signal)")
  }

  @Test func `a fault of our own code gives the terminal back`() async throws {
    let terminal = try #require(PseudoTerminal())
    let path = terminal.path
    await #expect(processExitsWith: .failure) { [path = path as String] in
      PseudoTerminal.adopt(path)
      try Child.draw()
      let nowhere = UnsafeMutablePointer<Int>(bitPattern: 8)
      nowhere?.pointee = 1
    }
    expectRestored(terminal, "fault")
  }

  @Test("a signal to end gives the terminal back", arguments: [SIGTERM, SIGHUP, SIGINT, SIGQUIT])
  func end(_ signal: Int32) async throws {
    let terminal = try #require(PseudoTerminal())
    let path = terminal.path
    await #expect(processExitsWith: .exitCode(128 + signal)) { [path = path as String, signal = signal as Int32] in
      PseudoTerminal.adopt(path)
      Thread {
        usleep(200_000)
        kill(getpid(), signal)
      }.start()
      exit(try Child.runConsole())
    }
    expectRestored(terminal, "signal \(signal)")
  }

  @Test func `a second signal ends a program that hangs`() async throws {
    let terminal = try #require(PseudoTerminal())
    let path = terminal.path
    await #expect(processExitsWith: .signal(SIGTERM)) { [path = path as String] in
      PseudoTerminal.adopt(path)
      try Child.draw()
      for _ in 0..<20 {
        kill(getpid(), SIGTERM)
        usleep(100_000)
      }
    }
    expectRestored(terminal, "hang")
  }

  @Test func `quitting gives the terminal back`() async throws {
    let terminal = try #require(PseudoTerminal())
    let path = terminal.path
    Thread {
      usleep(500_000)
      terminal.type("\u{1B}[Bz\u{1B}")
      usleep(200_000)
      terminal.type("q")
    }.start()
    await #expect(processExitsWith: .exitCode(0)) { [path = path as String] in
      PseudoTerminal.adopt(path)
      exit(try Child.runConsole())
    }
    expectRestored(terminal, "quit")
  }

  @Test func `suspending gives the terminal back and resuming takes it again`() async throws {
    let terminal = try #require(PseudoTerminal())
    let path = terminal.path
    await #expect(processExitsWith: .exitCode(0)) { [path = path as String] in
      PseudoTerminal.adopt(path)
      let own = try Child.draw()
      Child.shell("sleep 0.4; kill -CONT \(getpid())")
      own.suspend()
      // A frame that was due comes before the terminal is taken again.
      let frame = CellBuffer(own.size)
      Canvas(frame).text("drawn on the shell's screen", x: 0, y: 0)
      _ = own.present(frame, theme: .plain, cursor: nil)
      exit(own.events(wake: nil, milliseconds: 1000).contains(.resume) ? 0 : 1)
    }
    let output = terminal.output
    #expect(output.components(separatedBy: Self.enter).count == 3)
    #expect(output.components(separatedBy: Self.leave).count >= 2)
    #expect(!output.contains("drawn on the shell's screen"))
  }

  @Test func `a resize is noticed and drawn`() async throws {
    let terminal = try #require(PseudoTerminal())
    let path = terminal.path
    await #expect(processExitsWith: .exitCode(0)) { [path = path as String] in
      PseudoTerminal.adopt(path)
      let own = try Child.draw()
      var size = winsize(ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0)
      _ = ioctl(STDIN_FILENO, UInt(TIOCSWINSZ), &size)
      kill(getpid(), SIGWINCH)
      let events = own.events(wake: nil, milliseconds: 1000)
      let isRight = events == [.resize] && own.size == Size(width: 120, height: 40)
      own.close()
      exit(isRight ? 0 : 1)
    }
    #expect(terminal.isCooked)
  }

  @Test func `without a terminal one line says what to do`() {
    let error = #expect(throws: TerminalError.self) {
      try CursesTerminal(environment: ["TERM": "no-such-terminal"])
    }
    #expect(error?.description.contains("\n") == false)
    #expect(error?.remedy != nil)
  }
}

/// What the child processes do.
enum Child {
  static let environment = ["TERM": "xterm-256color", "LANG": "C.UTF-8"]

  @discardableResult
  static func draw() throws -> CursesTerminal {
    let terminal = try CursesTerminal(environment: environment)
    let buffer = CellBuffer(terminal.size)
    Canvas(buffer).text("the guest", x: 3, y: 3)
    _ = terminal.present(buffer, theme: .plain, cursor: nil)
    return Unmanaged.passRetained(terminal).takeUnretainedValue()
  }

  static func runConsole() throws -> Int32 {
    var snapshot = try Fixture.realMode()
    snapshot.stopSentence = "the guest stands still"
    return Console.run(
      session: FakeSession(snapshot), theme: "dark", layout: nil, themeDirectories: [Fixture.themes],
      environment: environment)
  }

  static func shell(_ script: String) {
    var process = pid_t()
    let words = ["/bin/sh", "-c", script]
    var arguments = words.map { strdup($0) } + [nil]
    posix_spawn(&process, "/bin/sh", nil, nil, &arguments, nil)
  }
}
