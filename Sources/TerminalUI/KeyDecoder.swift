/// Turns the bytes of a terminal into keys, mouse reports and pastes.
///
/// A pure state machine: `feed` takes bytes as they come, cut anywhere; `flush` says that no more came
/// for a while, which makes a lone ESC the Escape key. Input that means nothing is dropped whole and
/// never blocks what follows.
package struct KeyDecoder: Sendable {
  /// Sequences of this terminal (from terminfo) beyond the ones known everywhere.
  private let special: [[UInt8]: Key]
  private var pending: [UInt8] = []
  private var paste: [UInt8]?

  private static let longestSequence = 32
  private static let longestPaste = 1 << 20
  private static let pasteEnd = Array("\u{1B}[201~".utf8)

  package init(special: [[UInt8]: Key] = [:]) { self.special = special }

  /// Bytes wait for more: call `flush` if none come within some 25 ms.
  package var isWaiting: Bool { !pending.isEmpty && paste == nil }

  package mutating func feed(_ bytes: some Sequence<UInt8>) -> [InputEvent] {
    var events: [InputEvent] = []
    for byte in bytes {
      if paste != nil {
        takePasted(byte, &events)
        continue
      }
      pending.append(byte)
      drain(&events, final: false)
    }
    return events
  }

  package mutating func flush() -> [InputEvent] {
    var events: [InputEvent] = []
    if paste == nil { drain(&events, final: true) }
    return events
  }

  private mutating func takePasted(_ byte: UInt8, _ events: inout [InputEvent]) {
    guard var text = paste else { return }
    paste = nil
    text.append(byte)
    if byte == UInt8(ascii: "~"), text.count >= Self.pasteEnd.count, text.suffix(Self.pasteEnd.count) == Self.pasteEnd[...] {
      text.removeLast(Self.pasteEnd.count)
      events.append(.paste(String(decoding: text, as: UTF8.self)))
    } else if text.count > Self.longestPaste {
      events.append(.paste(String(decoding: text, as: UTF8.self)))
    } else {
      paste = text
    }
  }

  /// What the first bytes of `pending` are.
  private enum Parsed {
    case more
    case event(InputEvent, Int)
    case nothing(Int)
    case pasteStart(Int)
  }

  private mutating func drain(_ events: inout [InputEvent], final: Bool) {
    while !pending.isEmpty {
      switch parse(final: final) {
      case .more: return
      case .event(let event, let count):
        events.append(event)
        pending.removeFirst(count)
      case .nothing(let count): pending.removeFirst(count)
      case .pasteStart(let count):
        paste = Array(pending.dropFirst(count))
        pending = []
        return
      }
    }
  }

  private func parse(final: Bool) -> Parsed {
    let first = pending[0]
    if first == 0x1B { return parseEscape(final: final) }
    if first < 0x80 { return .event(.key(Self.plain(first)), 1) }
    return parseUTF8(from: 0, final: final)
  }

  private static func plain(_ byte: UInt8) -> Key {
    switch byte {
    case 0x09: Key(.tab)
    case 0x0A, 0x0D: Key(.enter)
    case 0x7F, 0x08: Key(.backspace)
    case 0x1B: Key(.escape)
    case 0x00: Key.control(" ")
    case 0x01...0x1A: Key.control(Unicode.Scalar(byte + 0x60))
    case 0x1C...0x1F: Key.control(Unicode.Scalar(byte + 0x40))
    default: Key(Unicode.Scalar(byte))
    }
  }

  private func parseUTF8(from start: Int, final: Bool) -> Parsed {
    let lead = pending[start]
    let length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 0
    guard length > 0, lead < 0xF5 else { return .nothing(start + 1) }
    let available = pending.count - start
    for i in 1..<length where i < available && pending[start + i] & 0xC0 != 0x80 { return .nothing(start + i) }
    guard available >= length else { return final ? .nothing(pending.count) : .more }
    let text = String(decoding: pending[start..<start + length], as: UTF8.self)
    guard let scalar = text.unicodeScalars.first, scalar != "\u{FFFD}" else { return .nothing(start + length) }
    return .event(.key(Key(scalar, start == 1 ? .alt : [])), start + length)
  }

  private func parseEscape(final: Bool) -> Parsed {
    if let key = special[pending] { return .event(.key(key), pending.count) }
    guard pending.count > 1 else { return final ? .event(.key(Key(.escape)), 1) : .more }
    switch pending[1] {
    case UInt8(ascii: "["): return parseCSI(final: final)
    case UInt8(ascii: "O"): return parseSS3(final: final)
    case 0x1B: return .event(.key(Key(.escape)), 1)
    case 0x80...: return parseUTF8(from: 1, final: final)
    default:
      var key = Self.plain(pending[1])
      key.modifiers.insert(.alt)
      return .event(.key(key), 2)
    }
  }

  private func parseSS3(final: Bool) -> Parsed {
    guard pending.count > 2 else { return final ? .event(.key(Key.alt("O")), 2) : .more }
    if let code = Self.letters[pending[2]] { return .event(.key(Key(code)), 3) }
    if pending[2] == UInt8(ascii: "M") { return .event(.key(Key(.enter)), 3) }
    return .nothing(3)
  }

  /// Final letters of `ESC [` and `ESC O` sequences.
  private static let letters: [UInt8: KeyCode] = [
    UInt8(ascii: "A"): .up, UInt8(ascii: "B"): .down, UInt8(ascii: "C"): .right, UInt8(ascii: "D"): .left,
    UInt8(ascii: "H"): .home, UInt8(ascii: "F"): .end, UInt8(ascii: "P"): .function(1), UInt8(ascii: "Q"): .function(2),
    UInt8(ascii: "R"): .function(3), UInt8(ascii: "S"): .function(4), UInt8(ascii: "Z"): .backTab,
  ]

  /// Numbers of `ESC [ n ~` sequences.
  private static let tildes: [Int: KeyCode] = [
    1: .home, 2: .insert, 3: .delete, 4: .end, 5: .pageUp, 6: .pageDown, 7: .home, 8: .end, 11: .function(1),
    12: .function(2), 13: .function(3), 14: .function(4), 15: .function(5), 17: .function(6), 18: .function(7),
    19: .function(8), 20: .function(9), 21: .function(10), 23: .function(11), 24: .function(12),
  ]

  private func parseCSI(final: Bool) -> Parsed {
    guard pending.count > 2 else { return final ? .event(.key(Key.alt("[")), 2) : .more }
    if pending[2] == UInt8(ascii: "[") {
      // The Linux console's F1 to F5: ESC [ [ A ... E.
      guard pending.count > 3 else { return final ? .nothing(3) : .more }
      let number = Int(pending[3]) - 0x40
      return number >= 1 && number <= 5 ? .event(.key(Key(.function(number))), 4) : .nothing(4)
    }
    if pending[2] == UInt8(ascii: "M") { return parseX10Mouse(final: final) }
    var end = 2
    while end < pending.count, pending[end] >= 0x20 && pending[end] < 0x40 { end += 1 }
    guard end < pending.count else {
      return final || pending.count > Self.longestSequence ? .nothing(pending.count) : .more
    }
    guard pending[end] >= 0x40 && pending[end] < 0x7F else { return .nothing(end) }
    return finishCSI(parameters: pending[2..<end], letter: pending[end], count: end + 1)
  }

  private func finishCSI(parameters: ArraySlice<UInt8>, letter: UInt8, count: Int) -> Parsed {
    if parameters.first == UInt8(ascii: "<") {
      let fields = Self.numbers(parameters.dropFirst())
      guard fields.count == 3, letter == UInt8(ascii: "M") || letter == UInt8(ascii: "m") else { return .nothing(count) }
      let event = Self.mouse(fields[0], x: fields[1] - 1, y: fields[2] - 1, released: letter == UInt8(ascii: "m"))
      return event.map { .event($0, count) } ?? .nothing(count)
    }
    let fields = Self.numbers(parameters)
    let modifiers = fields.count > 1 ? Self.modifiers(fields[1]) : []
    if letter == UInt8(ascii: "~") {
      if fields.first == 200 { return .pasteStart(count) }
      guard let number = fields.first, let code = Self.tildes[number] else { return .nothing(count) }
      return .event(.key(Key(code, modifiers)), count)
    }
    guard let code = Self.letters[letter] else { return .nothing(count) }
    return .event(.key(Key(code, code == .backTab ? [] : modifiers)), count)
  }

  private func parseX10Mouse(final: Bool) -> Parsed {
    guard pending.count >= 6 else { return final ? .nothing(pending.count) : .more }
    let button = Int(pending[3]) - 32
    let event = Self.mouse(button, x: Int(pending[4]) - 33, y: Int(pending[5]) - 33, released: button & 3 == 3 && button < 64)
    return event.map { .event($0, 6) } ?? .nothing(6)
  }

  private static func numbers(_ bytes: ArraySlice<UInt8>) -> [Int] {
    bytes.split(separator: UInt8(ascii: ";"), omittingEmptySubsequences: false).map { field in
      field.reduce(0) { value, byte in
        byte >= 0x30 && byte <= 0x39 && value < 100_000 ? value * 10 + Int(byte - 0x30) : value
      }
    }
  }

  /// xterm's modifier parameter: 1 + shift 1 + alt 2 + control 4.
  private static func modifiers(_ parameter: Int) -> KeyModifiers {
    KeyModifiers(rawValue: UInt8(truncatingIfNeeded: max(parameter - 1, 0) & 7))
  }

  private static func mouse(_ code: Int, x: Int, y: Int, released: Bool) -> InputEvent? {
    guard x >= 0, y >= 0 else { return nil }
    var modifiers: KeyModifiers = []
    if code & 4 != 0 { modifiers.insert(.shift) }
    if code & 8 != 0 { modifiers.insert(.alt) }
    if code & 16 != 0 { modifiers.insert(.control) }
    if code & 64 != 0 {
      let action: MouseEvent.Action = code & 1 == 0 ? .wheelUp : .wheelDown
      return .mouse(MouseEvent(action, x: x, y: y, modifiers: modifiers))
    }
    let action: MouseEvent.Action = released ? .release : code & 32 != 0 ? .drag : .press
    return .mouse(MouseEvent(action, button: code & 3, x: x, y: y, modifiers: modifiers))
  }
}
