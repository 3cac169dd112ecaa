/// What a piece of text is, for the eye. A theme gives each role its colours; nothing that draws names a
/// colour. The names are the keys of a theme file's `[roles]`.
package enum StyleRole: UInt8, CaseIterable, Sendable {
  case text, dim, title, titleFocused, border, tab, tabActive
  case status, statusRunning, statusStopped, help, helpKey, stop, prompt, command, error, notice
  case address, bytes, instruction, symbol, label, value, changed, currentLine, selection
  case breakpoint, breakpointDisabled, privileged, sensitive, flagSet, flagClear, unreadable, bar
  case exitReason, hypercall, guest, guestFocused, overlay, match
  /// The guest's own VGA colours: the cell's attribute byte decides, no theme does.
  case vga

  /// Its key in a theme file: `titleFocused` is `title-focused`.
  package var name: String {
    String(describing: self).reduce(into: "") { name, character in
      name += character.isUppercase ? "-" + character.lowercased() : String(character)
    }
  }

  package init?(name: String) {
    guard let role = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = role
  }

  /// The role whose style stands in where a theme says nothing of this one.
  package var fallback: StyleRole? {
    switch self {
    case .text, .vga: nil
    case .titleFocused: .title
    case .tabActive: .selection
    case .tab, .title, .border: .dim
    case .statusRunning, .statusStopped: .status
    case .helpKey: .help
    case .help, .bytes, .flagClear, .unreadable, .breakpointDisabled: .dim
    case .stop, .command, .prompt, .guest, .overlay, .status, .instruction, .value: .text
    case .error, .privileged: .breakpoint
    case .breakpoint, .sensitive, .exitReason, .hypercall, .notice: .changed
    case .label: .symbol
    case .guestFocused: .selection
    case .match: .selection
    default: .text
    }
  }

  /// What tells the role apart on a terminal without colours.
  package var monochrome: TextAttributes {
    switch self {
    case .titleFocused, .status, .statusRunning, .statusStopped, .selection, .tabActive, .guestFocused, .match:
      .reverse
    case .changed, .currentLine, .title, .helpKey, .flagSet, .error, .breakpoint, .privileged, .sensitive: .bold
    case .label, .symbol: .underline
    default: []
    }
  }
}

/// Attributes besides colour.
package struct TextAttributes: OptionSet, Hashable, Sendable {
  package let rawValue: UInt8
  package init(rawValue: UInt8) { self.rawValue = rawValue }
  package static let bold = Self(rawValue: 1)
  package static let dim = Self(rawValue: 2)
  package static let underline = Self(rawValue: 4)
  package static let reverse = Self(rawValue: 8)
  package static let italic = Self(rawValue: 16)
}
