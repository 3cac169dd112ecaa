import CNcurses

/// What to send to a terminal, by its description in terminfo.
package struct TerminalCapabilities: Sendable {
  /// Sent when the terminal is taken, and when it is given back.
  package var enter: [UInt8]
  package var leave: [UInt8]
  package var clear: [UInt8]
  package var hideCursor: [UInt8]
  package var showCursor: [UInt8]
  package var depth: ColorDepth
  /// Keys by the sequences this terminal sends for them.
  package var keys: [[UInt8]: Key]
  /// Characters in the last column do not scroll the screen.
  package var safeCorner: Bool
  /// What shortens drawing.
  package var drawing: FrameEncoder.Abilities = []

  private static let keyNames: [(String, KeyCode)] =
    [
      ("kcuu1", .up), ("kcud1", .down), ("kcuf1", .right), ("kcub1", .left), ("khome", .home), ("kend", .end),
      ("kpp", .pageUp), ("knp", .pageDown), ("kich1", .insert), ("kdch1", .delete), ("kcbt", .backTab),
      ("kbs", .backspace),
    ] + (1...12).map { ("kf\($0)", KeyCode.function($0)) }

  /// Reads the description of terminal `name`. Nil if ncurses has none, or it cannot move its cursor as
  /// ECMA-48 says (nothing sold in forty years; ask for TERM=xterm there).
  package init?(name: String, environment: [String: String], mouse: Bool = true) {
    guard cncurses_setup(name) == 0 else { return nil }
    guard let move = Self.parameterized("cup", 6, 8), move == Array("\u{1B}[7;9H".utf8) else { return nil }
    func string(_ name: String) -> [UInt8] { Self.string(name) ?? [] }
    // Besides full screen and keypad mode: autowrap off, bracketed paste, mouse clicks, drags and wheel.
    let xterm = ["xterm", "tmux", "screen", "rxvt", "alacritty", "kitty", "foot", "st"].contains { name.hasPrefix($0) }
    let mouseOn = mouse ? "\u{1B}[?1000h\u{1B}[?1002h\u{1B}[?1006h" : ""
    let extrasOn = xterm ? "\u{1B}[?2004h" + mouseOn : ""
    let extrasOff = xterm ? "\u{1B}[?1006l\u{1B}[?1002l\u{1B}[?1000l\u{1B}[?2004l" : ""
    enter = string("smcup") + string("smkx") + string("rmam") + Array(extrasOn.utf8)
    leave = Array(extrasOff.utf8) + Array("\u{1B}[0m".utf8) + string("smam") + string("rmkx") + string("cnorm")
      + string("rmcup")
    clear = string("clear")
    hideCursor = string("civis")
    showCursor = string("cnorm")
    depth = ColorDepth.detect(
      environment: environment, terminfoColors: Int(cncurses_number("colors")), direct: cncurses_flag("RGB") > 0)
    safeCorner = Self.string("rmam") != nil || cncurses_flag("am") == 0 || cncurses_flag("xenl") > 0
    if cncurses_flag("bce") > 0 { drawing.insert(.erasesInColor) }
    if Self.parameterized("ech", 7, 0) == Array("\u{1B}[7X".utf8) { drawing.insert(.erasesCharacters) }
    if Self.parameterized("rep", Int32(UInt8(ascii: "x")), 7) == Array("x\u{1B}[6b".utf8) { drawing.insert(.repeats) }
    if Self.string("rmam") != nil { drawing.insert(.staysInRow) }
    if Self.hasBoth(("il", "L"), ("dl", "M")) { drawing.insert(.movesRows) }
    if Self.hasBoth(("ich", "@"), ("dch", "P")) { drawing.insert(.movesColumns) }
    if Self.string("sc") == Array("\u{1B}7".utf8), Self.string("rc") == Array("\u{1B}8".utf8) { drawing.insert(.keepsPen) }
    if Self.string("ht") == [0x09], cncurses_number("it") == 8 { drawing.insert(.tabs) }
    // Terminfo has no name for these two; who is xterm's kin, or Linux' own console, knows them.
    if xterm || name.hasPrefix("linux") { drawing.insert(.goesByLines) }
    keys = [:]
    for (capability, code) in Self.keyNames {
      guard let sequence = Self.string(capability), sequence.count > 1, sequence.first == 0x1B else { continue }
      keys[sequence] = Key(code)
    }
  }

  /// Two capabilities with a count, as ECMA-48 has them.
  private static func hasBoth(_ one: (name: String, letter: String), _ other: (name: String, letter: String)) -> Bool {
    [one, other].allSatisfy { parameterized($0.name, 7, 0) == Array("\u{1B}[7\($0.letter)".utf8) }
  }

  /// A capability with its padding ($<5>) left out: no terminal in use needs it.
  private static func string(_ name: String) -> [UInt8]? { cncurses_string(name).map { unpadded(String(cString: $0)) } }

  private static func parameterized(_ name: String, _ first: Int32, _ second: Int32) -> [UInt8]? {
    cncurses_parameterized(name, first, second).map { unpadded(String(cString: $0)) }
  }

  private static func unpadded(_ text: String) -> [UInt8] {
    var result: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.first {
      if rest.starts(with: Array("$<".utf8)), let end = rest.firstIndex(of: UInt8(ascii: ">")) {
        rest = rest[(end + 1)...]
        continue
      }
      result.append(byte)
      rest = rest.dropFirst()
    }
    return result
  }
}
