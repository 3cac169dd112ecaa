import Console
import Session
import TerminalDriver
import TerminalUI
import VMCore

extension Session: SessionFacade {}

/// What the console costs: a frame, the bytes it sends, a key's answer while the guest runs, doing nothing, and
/// watching a guest.
struct ConsoleBench {
  func findings() throws(VMError) -> [Finding] { try frames() + [try key(), try idle()] + AttachBench().findings() }

  // MARK: frames

  private static let sizes = [Size(width: 80, height: 24), Size(width: 120, height: 40), Size(width: 200, height: 60)]

  func frames() throws(VMError) -> [Finding] {
    var found: [Finding] = []
    for size in Self.sizes {
      var bench = try FrameBench(size: size)
      found += bench.findings()
      bench.stop()
      let long = FrameBench.longRun
      var live = try FrameBench(size: size, long.configuration)
      found.append(live.running(long.name))
      live.stop()
      let median = Statistics.median(bench.times) ?? 0
      found.append(
        Finding(
          what: "\(size.width)x\(size.height) a frame, median of \(bench.times.count)", measured: Figure.time(median),
          peer: "longest \(Figure.time(bench.times.max() ?? 0))", target: Figure.time(4e6), isReached: median <= 4e6))
    }
    return found
  }

  // MARK: the program on a terminal

  static func start(_ guest: [String], width: Int = 200, height: Int = 60) throws(VMError) -> DrivenProgram {
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
    let program = try Self.start(["--mode", "real", image])
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

  private static func hasPrompt(_ screen: ScreenReader) -> Bool { screen.row(screen.height - 2).hasPrefix(" :") }

  private func idle() throws(VMError) -> Finding {
    let program = try Self.start([])
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
