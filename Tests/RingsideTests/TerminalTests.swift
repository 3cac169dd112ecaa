import Foundation
import Glibc
import TerminalDriver
import Testing

/// The built program on a terminal: what a person sees, and what the terminal is like afterwards.
@Suite("The program on a terminal", .serialized)
struct TerminalTests {
  /// A program with a console open on a guest.
  private struct Visit {
    let terminal: PseudoTerminal
    let program: RunningProgram
    let settingsBefore: [UInt8]

    init(_ arguments: [String], variables: [String] = []) throws {
      terminal = try #require(PseudoTerminal(width: 100, height: 30))
      settingsBefore = terminal.settings
      program = try #require(
        RunningProgram(
          Shell.path, arguments, input: terminal.path, output: terminal.path, errors: terminal.path,
          environment: ["TERM=xterm-256color", "LANG=C.UTF-8", "HOME=/dev/null"] + variables))
    }

    /// Types keys, has everything drawn anew, and waits until the screen shows `text`.
    func type(_ keys: String, andSee text: String) -> Bool {
      terminal.type(keys)
      usleep(300_000)
      let before = terminal.output.utf8.count
      terminal.type("\u{0C}")
      return terminal.waits(for: text, after: before)
    }

    func expectRestored(_ comment: Comment) {
      let output = terminal.output
      func last(_ sequence: String) -> String.Index? { output.range(of: sequence, options: .backwards)?.lowerBound }
      #expect(terminal.settings == settingsBefore, comment)
      for (on, off) in [("\u{1B}[?1049h", "\u{1B}[?1049l"), ("\u{1B}[?25l", "\u{1B}[?25h")] {
        guard let taken = last(on), let given = last(off) else {
          Issue.record("\(comment): \(on.dropFirst()) without \(off.dropFirst())")
          continue
        }
        #expect(taken < given, comment)
      }
    }
  }

  @Test func `opens a guest, steps, and quits without a trace`() throws {
    let visit = try Visit(["long-kernel"])
    #expect(visit.terminal.waits(for: "stopped before its first instruction"))
    #expect(visit.type("s", andSee: "Stepped to"))
    visit.terminal.type("q")
    #expect(visit.program.end() == .status(0))
    visit.expectRestored("q")
  }

  @Test("ends as a signal asks, stopped or running", arguments: [SIGTERM, SIGHUP, SIGINT, SIGQUIT], [false, true])
  func signals(_ signal: Int32, isRunning: Bool) throws {
    let visit = try Visit(["bench", "--append", "intloop:1000000000"])
    #expect(visit.terminal.waits(for: "stopped before its first instruction"))
    if isRunning { #expect(visit.type("c", andSee: "RUNNING")) }
    visit.program.signal(signal)
    #expect(visit.program.end() == .status(128 + signal))
    visit.expectRestored("signal \(signal)")
  }

  @Test("a crash gives the terminal back", arguments: [SIGSEGV, SIGILL, SIGABRT])
  func crash(_ signal: Int32) throws {
    let visit = try Visit(["long-kernel"])
    #expect(visit.terminal.waits(for: "stopped before its first instruction"))
    visit.program.signal(signal)
    #expect(visit.program.end() == .signal(signal))
    visit.expectRestored("signal \(signal)")
  }

  @Test func `commands are remembered from one session to the next, in the state folder`() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("ringside-\(getpid())-state").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let first = try Visit(["long-kernel"], variables: ["XDG_STATE_HOME=\(folder)"])
    #expect(first.terminal.waits(for: "stopped before its first instruction"))
    #expect(first.type(":print 6*7\r", andSee: "42 = 0x2a"))
    first.terminal.type("q")
    #expect(first.program.end() == .status(0))
    let kept = try String(contentsOfFile: "\(folder)/ringside/history", encoding: .utf8)
    #expect(kept == "print 6*7\n")

    let second = try Visit(["long-kernel"], variables: ["XDG_STATE_HOME=\(folder)"])
    #expect(second.terminal.waits(for: "stopped before its first instruction"))
    let before = second.terminal.output.utf8.count
    second.terminal.type(":\u{1B}OA")
    #expect(second.terminal.waits(for: "print 6*7", after: before))
    second.terminal.type("\u{1B}")
    usleep(300_000)
    second.terminal.type("q")
    #expect(second.program.end() == .status(0))
  }

  @Test func `typing to a guest with a BIOS reaches its keyboard`() throws {
    let image = try BootSector.echo.write()
    defer { unlink(image) }
    let visit = try Visit([image])
    #expect(visit.terminal.waits(for: "stopped before its first instruction"))
    visit.terminal.type("c8\r")
    usleep(300_000)
    visit.terminal.type("hello\r")
    #expect(visit.terminal.waits(for: "status 33"))
    #expect(visit.type("\u{1D}", andSee: "hello"))
    visit.terminal.type("q")
    #expect(visit.program.end() == .status(0))
  }
}

/// Signals to a program without a terminal.
@Suite("The program without a terminal")
struct HeadlessSignalTests {
  private static let endless = ["--headless", "bench", "--append", "intloop:1000000000"]

  private func run(_ arguments: [String], signal: Int32, after microseconds: UInt32 = 700_000) throws -> RunningProgram.End {
    let program = try #require(
      RunningProgram(
        Shell.path, arguments, input: "/dev/null", output: "/dev/null", errors: "/dev/null", environment: ["HOME=/dev/null"]))
    usleep(microseconds)
    program.signal(signal)
    return program.end()
  }

  @Test("ends in order, with every event written", arguments: [SIGTERM, SIGINT, SIGHUP])
  func events(_ signal: Int32) throws {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("ringside-\(getpid())-\(signal).jsonl").path
    defer { unlink(path) }
    #expect(try run(Self.endless + ["--events", path], signal: signal) == .status(128 + signal))
    let text = try String(contentsOfFile: path, encoding: .utf8)
    #expect(text.hasSuffix("}\n"))
    let lines = text.split(separator: "\n")
    #expect(lines.count > 10)
    for (index, line) in lines.enumerated() {
      let event = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
      guard event["seq"] as? Int == index else {
        Issue.record("line \(index) is event \(event["seq"] ?? "?")")
        break
      }
    }
    #expect(lines.last?.contains("\"kind\":\"stop\"") ?? false)
  }

  @Test("ends the commands that are left", arguments: [SIGTERM, SIGINT])
  func commands(_ signal: Int32) throws {
    #expect(try run(Self.endless + ["-c", "c", "-c", "c", "-c", "c"], signal: signal) == .status(128 + signal))
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("ringside-\(getpid())-\(signal).commands").path
    try "c\nc\nc\n".write(toFile: file, atomically: true, encoding: .utf8)
    defer { unlink(file) }
    #expect(try run(Self.endless + ["--commands", file], signal: signal) == .status(128 + signal))
  }

  @Test func `ends a guest that waits for input`() throws {
    let image = try BootSector.echo.write()
    defer { unlink(image) }
    #expect(try run(["--headless", image], signal: SIGTERM) == .status(128 + SIGTERM))
  }
}

/// Boot sectors made here.
enum BootSector {
  /// Reads keys by INT 16h and shows them by INT 10h until Enter; then ends with status 33.
  case echo
  /// Masks every interrupt and halts with interrupts on, while the timer ticks.
  case waitInVain

  private var code: [UInt8] { self == .echo ? Self.echoCode : Self.waitCode }

  private static let waitCode: [UInt8] = [
    0xB0, 0xFF,  // mov al, 0FFh
    0xE6, 0x21,  // out 21h, al
    0xE6, 0xA1,  // out 0A1h, al
    0xFB,  // sti
    0xF4,  // hlt
    0xEB, 0xFD,  // jmp to the hlt
  ]

  private static let echoCode: [UInt8] = [
    0x30, 0xE4,  // xor ah, ah
    0xCD, 0x16,  // int 16h
    0x3C, 0x0D,  // cmp al, 0Dh
    0x74, 0x06,  // je done
    0xB4, 0x0E,  // mov ah, 0Eh
    0xCD, 0x10,  // int 10h
    0xEB, 0xF2,  // jmp to the start
    0xB0, 0x10,  // done: mov al, 10h
    0xE6, 0xF4,  // out 0F4h, al
  ]

  /// Writes the image to a file of its own; gives its path.
  func write() throws -> String {
    let image = code + [UInt8](repeating: 0, count: 510 - code.count) + [0x55, 0xAA]
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("ringside-\(UUID().uuidString).img").path
    try Data(image).write(to: URL(fileURLWithPath: path))
    return path
  }
}

@Suite("A guest that waits")
struct WaitingTests {
  @Test func `for masked timers ends when no input can come`() throws {
    let image = try BootSector.waitInVain.write()
    defer { unlink(image) }
    let result = Shell.run("--headless --limit 1000 \(image)")
    #expect(result.status == 0)
    #expect(result.errors.contains("nothing is left that could bring one"))
  }
}

@Suite("Input from a pipe")
struct PipedInputTests {
  private static let texts = ["abc", "Hello, World!", String(repeating: "0123456789 The quick brown fox. ", count: 40)]

  @Test(arguments: texts)
  func `arrives at a guest that reads its keyboard by INT 16h, whole and in order`(text: String) throws {
    let image = try BootSector.echo.write()
    defer { unlink(image) }
    let file = image + ".input"
    try "\(text)\n".write(toFile: file, atomically: true, encoding: .utf8)
    defer { unlink(file) }
    let result = Shell.run("--headless \(image)", input: "<\(file)")
    #expect(result.output == text)
    #expect(result.status == 33)
  }
}
