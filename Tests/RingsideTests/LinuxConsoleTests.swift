import Foundation
import TerminalDriver
import Testing

/// The built program on a Linux console, as its terminfo describes it: eight colours, no mouse, no keypad mode, F1 to F5
/// of its own.
@Suite("On a Linux console", .serialized)
struct LinuxConsoleTests {
  private static func start(_ guest: [String] = ["long-kernel"]) throws -> DrivenProgram {
    let program = try #require(
      DrivenProgram(
        [Shell.path] + guest, environment: ["TERM": "linux", "LANG": "C.UTF-8", "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"],
        width: 100, height: 30))
    try #require(program.waitFor("stopped before its first instruction"), "\(program.screen.text)")
    return program
  }

  /// A key's bytes as the console's keymap has them, and what then stands on the screen.
  static let keys: [(name: String, bytes: String, shows: String)] = [
    ("F1", "\u{1B}[[A", "Keys (arrows scroll"), ("Escape", "\u{1B}", "F1 help"), ("F2", "\u{1B}[[B", "F1 help"),
    ("F3", "\u{1B}[[C", "does nothing here (F3)"), ("F4", "\u{1B}[[D", "does nothing here (F4)"),
    ("F6", "\u{1B}[17~", "does nothing here (F6)"), ("F12", "\u{1B}[24~", "does nothing here (F12)"),
    ("F8", "\u{1B}[19~", "Stepped to 1002d8"), ("F11", "\u{1B}[23~", "Stepped to 1002dd"),
    ("F10", "\u{1B}[21~", "Stepped to 1002e3"), ("F9", "\u{1B}[20~", "breakpoint 1"), ("F7", "\u{1B}[18~", "1002e3"),
    ("Alt-x", "\u{1B}x", "does nothing here (Alt-x)"), ("Alt-7", "\u{1B}7", "does nothing here (Alt-7)"),
    ("Insert", "\u{1B}[2~", "does nothing here (Ins)"),
    (": a b Home c", ":print 42\u{1B}[1~", ":print 42"), ("Delete takes p", "\u{1B}[3~", ":rint 42"),
    ("Home, p is back", "p", ":print 42"), ("End, a digit", "\u{1B}[4~7", ":print 427"), ("Backspace", "\u{7F}", ":print 42"),
    ("Enter", "\r", "42 = 0x2a"), ("F5", "\u{1B}[[E", "The guest"),
  ]

  @Test func `F-keys, Home, End, Delete and Alt letters are themselves`() throws {
    let program = try Self.start()
    for key in Self.keys {
      program.type(key.bytes)
      #expect(program.waitFor(key.shows), "\(key.name): \(program.screen.text)")
    }
  }

  /// What drivers/tty/vt/vt.c acts on (console_codes(4)); anything else it would print, or take for something else.
  private static let finals = Set("@ABCDEFGHJKLMPXacdefghlmnqrsu`".utf8)
  private static let modes: Set<String> = ["1", "3", "5", "6", "7", "8", "9", "25", "1000"]

  @Test func `nothing is sent that a Linux console does not know`() throws {
    let program = try Self.start()
    for keys in ["10e", "z", "z", "3", "9", "?", "\u{1B}", "L", "L", "L", ":theme light\r", ":theme high-contrast\r", "y", "\u{0C}", "1", "\r"] {
      program.type(keys)
      program.take(milliseconds: 150)
    }
    program.type("q")
    #expect(program.waitForEnd() == 0)
    for sequence in Self.sequences(program.output) {
      #expect(Self.isKnown(sequence), "ESC \(sequence)")
    }
  }

  /// Of code page 437, which is what the fonts of Linux consoles have; each takes one column there.
  private static let characters: Set<Unicode.Scalar> = ["─", "│", "┌", "└", "►", "↑", "↓", "•", "▌", "█", "▄"]

  @Test func `no character is sent that a Linux console's font lacks, and none by another character set`() throws {
    let program = try Self.start()
    for keys in ["20e", "9", "m", "m", "b", "L", "6", "z", "z", "5", "d", "?", "\u{1B}", "8", ":info devices\r", "[", "F"] {
      program.type(keys)
      program.take(milliseconds: 120)
    }
    program.type("q")
    #expect(program.waitForEnd() == 0)
    let foreign = Set(String(decoding: program.output, as: UTF8.self).unicodeScalars.filter { $0.value > 0x7E }).subtracting(Self.characters)
    #expect(foreign.isEmpty, "\(foreign)")
    #expect(!program.output.contains(0x0E) && !Self.sequences(program.output).contains { $0.hasPrefix("(") || $0.hasPrefix(")") })
  }

  @Test func `a run that Space or ^C stops says where it was paused`() throws {
    let program = try Self.start(["bench", "--append", "x:100000 intloop"])
    for key in [" ", "\u{3}"] {
      program.type("c")
      #expect(program.waitFor("RUNNING"), "\(program.screen.text)")
      program.take(milliseconds: 300)
      program.type(key)
      #expect(program.waitFor("Paused at "), "\(program.screen.text)")
      #expect(program.screen.text.contains("STOPPED"))
    }
  }

  /// Everything between an ESC and the end of its sequence.
  private static func sequences(_ output: [UInt8]) -> Set<String> {
    var found: Set<String> = []
    var sequence: [UInt8]?
    for byte in output {
      if byte == 0x1B { sequence = [] } else if var open = sequence {
        open.append(byte)
        let isOver = open[0] == UInt8(ascii: "[") ? open.count > 1 && (0x40...0x7E).contains(byte) : !(0x20...0x2F).contains(byte)
        if isOver { found.insert(String(decoding: open, as: UTF8.self)) }
        sequence = isOver ? nil : open
      }
    }
    return found
  }

  private static func isKnown(_ sequence: String) -> Bool {
    // A string (ESC ]), as the clipboard's, it takes to its end and leaves.
    guard sequence.hasPrefix("["), let final = sequence.utf8.last else { return ["7", "8", "M", "D", "E", "c", "=", ">", "]"].contains(sequence) }
    let parameters = sequence.dropFirst().dropLast()
    if parameters.hasPrefix("?") { return final == UInt8(ascii: "c") || modes.contains(String(parameters.dropFirst())) }
    guard finals.contains(final), parameters.allSatisfy({ $0.isNumber || $0 == ";" }) else { return false }
    // Of colours the eight, and the attributes it has.
    return final != UInt8(ascii: "m") || parameters.split(separator: ";").allSatisfy { code in
      guard let number = Int(code) else { return false }
      return [0, 1, 2, 4, 7, 21, 22, 24, 27].contains(number) || (30...39).contains(number) && number != 38 || (40...49).contains(number) && number != 48
    }
  }
}
