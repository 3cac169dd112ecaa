/// Which key.
package enum KeyCode: Hashable, Sendable {
  case character(Unicode.Scalar)
  case function(Int)
  case up, down, left, right, home, end, pageUp, pageDown, insert, delete
  case backspace, tab, backTab, enter, escape
}

package struct KeyModifiers: OptionSet, Hashable, Sendable {
  package let rawValue: UInt8
  package init(rawValue: UInt8) { self.rawValue = rawValue }
  package static let shift = Self(rawValue: 1)
  package static let alt = Self(rawValue: 2)
  package static let control = Self(rawValue: 4)
}

/// One key press.
package struct Key: Hashable, Sendable {
  package var code: KeyCode
  package var modifiers: KeyModifiers

  package init(_ code: KeyCode, _ modifiers: KeyModifiers = []) {
    self.code = code
    self.modifiers = modifiers
  }
  package init(_ character: Unicode.Scalar, _ modifiers: KeyModifiers = []) {
    self.init(.character(character), modifiers)
  }
  package static func control(_ character: Unicode.Scalar) -> Key { Key(character, .control) }
  package static func alt(_ character: Unicode.Scalar) -> Key { Key(character, .alt) }

  /// The character, for a key that types one.
  package var typed: Unicode.Scalar? {
    guard case .character(let scalar) = code, modifiers.isEmpty else { return nil }
    return scalar
  }

  /// The bytes a terminal would send for it (what a guest's serial console gets).
  package var bytes: [UInt8] {
    let prefix: [UInt8] = modifiers.contains(.alt) ? [0x1B] : []
    switch code {
    case .character(let scalar):
      if modifiers.contains(.control), scalar.value < 0x80 { return prefix + [UInt8(scalar.value & 0x1F)] }
      return prefix + Array(String(scalar).utf8)
    case .enter: return prefix + [0x0D]
    case .tab: return prefix + [0x09]
    case .backspace: return prefix + [0x7F]
    case .escape: return [0x1B]
    case .up: return Array("\u{1B}[A".utf8)
    case .down: return Array("\u{1B}[B".utf8)
    case .right: return Array("\u{1B}[C".utf8)
    case .left: return Array("\u{1B}[D".utf8)
    case .home: return Array("\u{1B}[H".utf8)
    case .end: return Array("\u{1B}[F".utf8)
    case .insert: return Array("\u{1B}[2~".utf8)
    case .delete: return Array("\u{1B}[3~".utf8)
    case .pageUp: return Array("\u{1B}[5~".utf8)
    case .pageDown: return Array("\u{1B}[6~".utf8)
    case .backTab: return Array("\u{1B}[Z".utf8)
    case .function(let number):
      let codes = [11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 23, 24]
      guard number >= 1, number <= codes.count else { return [] }
      return Array("\u{1B}[\(codes[number - 1])~".utf8)
    }
  }
}

/// A mouse report; columns and rows count from 0.
package struct MouseEvent: Hashable, Sendable {
  package enum Action: Hashable, Sendable { case press, release, drag, wheelUp, wheelDown }
  package var action: Action
  /// 0 left, 1 middle, 2 right.
  package var button: Int
  package var x: Int
  package var y: Int
  package var modifiers: KeyModifiers

  package init(_ action: Action, button: Int = 0, x: Int, y: Int, modifiers: KeyModifiers = []) {
    self.action = action
    self.button = button
    self.x = x
    self.y = y
    self.modifiers = modifiers
  }
}

/// Everything that comes from a terminal.
package enum InputEvent: Equatable, Sendable {
  case key(Key)
  case mouse(MouseEvent)
  /// Text pasted in brackets (at most 1 MiB).
  case paste(String)
  case resize
  /// Stopped from outside (SIGTSTP).
  case suspend
  /// Going on after being stopped: the screen must be drawn whole.
  case resume
  /// A signal asks the program to end.
  case terminate(Int32)
  /// The terminal went away.
  case hangup
}
