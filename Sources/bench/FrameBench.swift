import Console
import Glibc
import Session
import TerminalUI
import VMCore

/// Frames of the console and the bytes they send to a terminal of the kind xterm is, in 256 colours and the theme
/// `dark`, for each way of using it.
struct FrameBench {
  /// What a person does, and how often it is measured.
  private struct Use {
    var name: String
    var rounds: Int
    /// Input of each round in turn: a command for the session, or keys for the console.
    var inputs: [String]
    var areKeys = false
  }

  private static let uses = [
    Use(name: "stepping, every fourth to an exit", rounds: 400, inputs: ["step", "step", "step", "exit"]),
    Use(name: "from exit to exit", rounds: 120, inputs: ["exit"]),
    Use(name: "two hundred instructions a step", rounds: 120, inputs: ["step 200"]),
    Use(name: "scrolling memory by rows and pages", rounds: 60, inputs: ["3j", "j", "j", "\u{6}"], areKeys: true),
    Use(name: "whole redraws: zoom, help, layouts", rounds: 36, inputs: ["z", "z", "H", "H", "L", "L"], areKeys: true),
  ]

  static let target = 1.5
  private static let xterm: FrameEncoder.Abilities = [
    .erasesInColor, .erasesCharacters, .staysInRow, .repeats, .movesRows, .movesColumns, .keepsPen, .tabs, .goesByLines,
  ]

  private let size: Size
  private let theme: Theme
  private let session: Session
  private let model: ConsoleModel
  private let encoder = FrameEncoder(depth: .palette256, abilities: xterm)
  private let shown: CellBuffer
  private var memory = FrameEncoder.Memory()
  private var isKnown = false
  /// Nanoseconds of this thread a frame took, of all uses.
  private(set) var times: [Double] = []

  /// The guest that shows the most.
  static var showpiece: SessionConfiguration {
    var configuration = SessionConfiguration()
    configuration.guest = SampleLibrary.showpiece
    return configuration
  }

  /// One that runs for a second at least, with its name: Linux, or the compute kernels where its images are missing.
  static var longRun: (name: String, configuration: SessionConfiguration) {
    var configuration = SessionConfiguration()
    if let images = AttachBench.linuxImages {
      (configuration.guest, configuration.initrd) = (images.kernel, images.initrd)
      return ("Linux boots", configuration)
    }
    (configuration.guest, configuration.append) = ("bench", "x:200 compute")
    return ("the compute kernels", configuration)
  }

  /// A console over a session of its own. `stop` ends it.
  init(size: Size, _ configuration: SessionConfiguration = showpiece) throws(VMError) {
    session = try Session(configuration)
    session.start()
    let themes = ThemeLibrary(directories: SampleLibrary.dataFolders.map { "\($0)/Themes" })
    theme = (try? themes.load("dark")) ?? .plain
    model = ConsoleModel(session: session, theme: theme, themes: themes, layout: .standard)
    self.size = size
    shown = CellBuffer(size)
    _ = draw()
  }

  func stop() { session.stop() }

  /// A line for each use: bytes for each cell whose look changed.
  mutating func findings() -> [Finding] { Self.uses.map { finding($0) } }

  /// The guest runs, and 30 times a second what is there then is drawn: bytes for each cell whose look changed.
  mutating func running(_ name: String) -> Finding {
    var tally = Tally()
    session.submit("continue")
    for _ in 0..<Self.liveFrames {
      usleep(33_000)
      _ = session.waitForNewSnapshot(after: model.snapshot.generation, timeout: 100)
      tally.add(draw())
    }
    return tally.finding("\(size.width)x\(size.height) running at 30 frames a second: \(name)")
  }

  private static let liveFrames = 40

  private mutating func finding(_ use: Use) -> Finding {
    var tally = Tally()
    for round in 0..<use.rounds {
      guard act(use.inputs[round % use.inputs.count], areKeys: use.areKeys) else { continue }
      tally.add(draw())
    }
    return tally.finding("\(size.width)x\(size.height) \(use.name)")
  }

  /// False where nothing came of it.
  private func act(_ input: String, areKeys: Bool) -> Bool {
    guard areKeys else {
      // Not the first snapshot after it: that one may say only that the guest runs.
      session.submit(input)
      return session.waitForAnswers(timeout: 2000)
    }
    for scalar in input.unicodeScalars { _ = model.handle(.key(Self.key(scalar))) }
    return true
  }

  /// `j` is a row down, `H` the help page and back, ^F a page down.
  private static func key(_ scalar: Unicode.Scalar) -> Key {
    switch scalar {
    case "j": Key(.down)
    case "H": Key(.function(1))
    case "\u{6}": Key(.pageDown)
    default: Key(scalar)
    }
  }

  private mutating func draw() -> (sent: [UInt8], changed: Int) {
    let buffer = CellBuffer(size)
    let start = HostClock.threadCPUTime()
    model.update()
    let cursor = model.draw(on: buffer, glyphs: .unicode)
    let sent = encoder.encode(from: isKnown ? shown : nil, to: buffer, theme: theme, cursor: cursor, memory: &memory)
    times.append(Double(HostClock.threadCPUTime() &- start))
    let changed = encoder.changedCells(from: isKnown ? shown : nil, to: buffer, theme: theme)
    shown.copy(from: buffer)
    isKnown = true
    return (sent, changed)
  }
}

/// What frames sent for how many changed cells.
private struct Tally {
  private var shares: [Double] = []
  private var bytes = 0
  private var changed = 0
  private var parts = Parts()

  mutating func add(_ frame: (sent: [UInt8], changed: Int)) {
    guard frame.changed > 0 else { return }
    shares.append(Double(frame.sent.count) / Double(frame.changed))
    bytes += frame.sent.count
    changed += frame.changed
    parts.count(frame.sent)
  }

  func finding(_ name: String) -> Finding {
    let share = Double(bytes) / Double(max(changed, 1))
    let shares = shares.sorted()
    func percent(_ part: Int) -> Int { part * 100 / max(bytes, 1) }
    let text = bytes - parts.styles - parts.places
    return Finding(
      what: name, measured: Figure.number(share),
      peer: "frames: median \(Figure.number(Statistics.median(shares) ?? 0)), "
        + "90 % below \(Figure.number(shares.isEmpty ? 0 : shares[shares.count * 9 / 10])), "
        + "\(changed / max(shares.count, 1)) cells, \(bytes / max(shares.count, 1)) bytes: "
        + "\(percent(text)) % text, \(percent(parts.styles)) % styles, \(percent(parts.places)) % places",
      target: Figure.number(FrameBench.target), isReached: share <= FrameBench.target)
  }
}

/// Bytes of frames that set styles, and those that place the cursor, erase or scroll.
private struct Parts {
  var styles = 0
  var places = 0

  mutating func count(_ sent: [UInt8]) {
    var length = 0
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
  }
}
