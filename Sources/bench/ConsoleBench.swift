import Console
import Session
import TerminalDriver
import TerminalUI
import VMCore

extension Session: SessionFacade {}

/// What the console costs: a frame, the bytes it sends, a key's answer while the guest runs, and doing nothing.
struct ConsoleBench {
  private static let xterm: FrameEncoder.Abilities = [.erasesInColor, .erasesCharacters, .staysInRow]
  private static let size = Size(width: 200, height: 60)

  func findings() throws(VMError) -> [Finding] { try frames() + [try key(), try idle()] }

  // MARK: frames

  /// One console over a session of its own, stepping through the guest that shows the most.
  private func frames() throws(VMError) -> [Finding] {
    var configuration = SessionConfiguration()
    configuration.guest = SampleLibrary.showpiece
    let session = try Session(configuration)
    session.start()
    defer { session.stop() }
    let themes = ThemeLibrary(directories: SampleLibrary.dataFolders.map { "\($0)/Themes" })
    let theme = (try? themes.load("dark")) ?? .plain
    let model = ConsoleModel(session: session, theme: theme, themes: themes, layout: .standard)
    let shown = CellBuffer(Self.size)
    var known = false
    var times: [Double] = []
    var bytes = 0
    var sentCells = 0
    var (styles, places) = (0, 0)
    var changed = 0
    var generation = session.snapshot.generation
    for round in 0..<400 {
      session.submit(round % 4 == 0 ? "exit" : "step")
      guard let snapshot = session.waitForNewSnapshot(after: generation, timeout: 2000) else { continue }
      generation = snapshot.generation
      let buffer = CellBuffer(Self.size)
      let start = HostClock.now()
      model.update()
      let cursor = model.draw(on: buffer, glyphs: .unicode)
      let sent = FrameEncoder(depth: .palette256, abilities: Self.xterm).encode(
        from: known ? shown : nil, to: buffer, theme: theme, cursor: cursor)
      if known {
        times.append(Double(HostClock.now() &- start))
        bytes += sent.count
        sentCells += Self.cells(sent)
        let parts = Self.parts(sent)
        (styles, places) = (styles + parts.styles, places + parts.places)
        changed += zip(shown.cells, buffer.cells).reduce(0) { $0 + ($1.0 == $1.1 ? 0 : 1) }
      }
      shown.copy(from: buffer)
      known = true
    }
    let median = Statistics.median(times) ?? 0
    let share = Double(sentCells) / Double(max(changed, 1))
    let perCell = Double(bytes) / Double(max(changed, 1))
    return [
      Finding(
        what: "frame at 200x60 after a step", measured: Figure.time(median),
        peer: "longest \(Figure.time(times.max() ?? 0))", target: Figure.time(4e6), isReached: median <= 4e6),
      Finding(
        what: "cells sent for each changed cell", measured: Figure.number(share),
        peer: "\(bytes / max(times.count, 1)) bytes a frame, \(Figure.number(perCell)) a changed cell: "
          + "\((bytes - styles - places) * 100 / max(bytes, 1)) % text, \(styles * 100 / max(bytes, 1)) % styles, "
          + "\(places * 100 / max(bytes, 1)) % places",
        target: "1.5", isReached: share <= 1.5),
    ]
  }

  /// Bytes of a frame that set styles, and those that place the cursor or erase.
  private static func parts(_ sent: [UInt8]) -> (styles: Int, places: Int) {
    var (styles, places, length) = (0, 0, 0)
    for byte in sent {
      if byte == 0x1B {
        length = 1
      } else if length > 0 {
        length += 1
        guard byte >= 0x40, byte != UInt8(ascii: "[") else { continue }
        if byte == UInt8(ascii: "m") { styles += length } else { places += length }
        length = 0
      } else if byte < 0x20 {
        places += 1
      }
    }
    return (styles, places)
  }

  /// Characters among the bytes of a frame: what is left without the control sequences.
  private static func cells(_ sent: [UInt8]) -> Int {
    var count = 0
    var isControl = false
    for byte in sent {
      if byte == 0x1B {
        isControl = true
      } else if isControl {
        isControl = byte == UInt8(ascii: "[") || byte < 0x40
      } else if byte & 0xC0 != 0x80 {
        count += 1
      }
    }
    return count
  }

  // MARK: the program on a terminal

  private func start(_ guest: [String], width: Int = 200, height: Int = 60) throws(VMError) -> DrivenProgram {
    let environment = ["TERM": "xterm-256color", "LANG": "C.UTF-8", "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"]
    guard
      let program = DrivenProgram([Emulator.ringsidePath] + guest, environment: environment, width: width, height: height),
      program.waitFor("F1 help")
    else { throw VMError(.unavailable, "ringside did not open its console on a pseudo-terminal") }
    return program
  }

  /// From a key sent to its answer on the screen, while the guest runs flat out.
  private func key() throws(VMError) -> Finding {
    let folder = try Host.makeTemporaryFolder()
    defer { Host.remove(folder: folder) }
    let image = "\(folder)/spin.bin"
    try Host.write([0x40, 0xEB, 0xFD], to: image)  // INC AX; JMP back
    let program = try start(["--mode", "real", image])
    program.type("c")
    guard program.waitFor("RUNNING") else { throw VMError(.unavailable, "the guest did not run") }
    var times: [Double] = []
    for round in 0..<100 {
      let isOpen = round % 2 == 1
      let start = DrivenProgram.now()
      program.type(isOpen ? "\u{3}" : ":")
      let isAnswered = program.wait(milliseconds: 1000) { Self.hasPrompt($0) != isOpen }
      if isAnswered { times.append(Double(DrivenProgram.now() - start)) }
      program.take(milliseconds: 7)
    }
    let sorted = times.sorted()
    let late = sorted.isEmpty ? 1e9 : sorted[sorted.count * 95 / 100]
    return Finding(
      what: "key answered while the guest runs, 95 of 100", measured: Figure.time(late),
      peer: "median \(Figure.time(Statistics.median(times) ?? 0)), longest \(Figure.time(sorted.last ?? 0)); cat(1) \(Figure.time(Self.echo()))",
      target: Figure.time(20e6), isReached: late <= 20e6)
  }

  /// The same keys through a program that only gives them back: what the machine and the pseudo-terminal take.
  private static func echo() -> Double {
    let command = ["/bin/sh", "-c", "stty raw -echo; exec cat"]
    guard let program = DrivenProgram(command, environment: ["PATH": "/usr/bin:/bin"]) else { return 0 }
    program.take(milliseconds: 300)
    var times: [Double] = []
    for round in 0..<50 {
      let before = program.output.count
      let start = DrivenProgram.now()
      program.type(round % 2 == 0 ? "x" : "\r")
      while program.output.count == before, DrivenProgram.now() - start < 1_000_000_000 { program.take(milliseconds: 20) }
      times.append(Double(DrivenProgram.now() - start))
    }
    return Statistics.median(times) ?? 0
  }

  private static func hasPrompt(_ screen: ScreenReader) -> Bool { screen.rows[screen.height - 2].hasPrefix(" :") }

  private func idle() throws(VMError) -> Finding {
    let program = try start([])
    while program.take(milliseconds: 500) {}
    let before = program.cpuTime
    let start = DrivenProgram.now()
    while DrivenProgram.now() - start < 5_000_000_000 { program.take(milliseconds: 200) }
    let share = Double(program.cpuTime - before) / Double(DrivenProgram.now() - start) * 100
    return Finding(
      what: "idle console, of a core", measured: "\(Figure.number(share)) %", peer: "Blinkenlights 0.0 %, QEMU's curses 0.3 %",
      target: "0.2 %", isReached: share < 0.2)
  }
}
