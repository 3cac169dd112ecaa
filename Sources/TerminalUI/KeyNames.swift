/// Keys by name, as help shows them and settings write them.
extension Key {
  private static let named: [(String, KeyCode)] = [
    ("Up", .up), ("Down", .down), ("Left", .left), ("Right", .right), ("Home", .home), ("End", .end), ("PgUp", .pageUp),
    ("PgDn", .pageDown), ("Ins", .insert), ("Del", .delete), ("Backspace", .backspace), ("Tab", .tab),
    ("Shift-Tab", .backTab), ("Enter", .enter), ("Esc", .escape),
  ]

  /// `s`, `Space`, `^C`, `Alt-x`, `F8`, `Shift-Tab`, `PgUp`.
  package var name: String {
    var text = ""
    if modifiers.contains(.alt) { text += "Alt-" }
    if modifiers.contains(.shift) { text += "Shift-" }
    switch code {
    case .character(" "): return text + (modifiers.contains(.control) ? "^Space" : "Space")
    case .character(let scalar):
      return modifiers.contains(.control) ? text + "^" + String(scalar).uppercased() : text + String(scalar)
    case .function(let number): text += "F\(number)"
    default: text += Self.named.first { $0.1 == code }?.0 ?? "?"
    }
    return modifiers.contains(.control) ? "Ctrl-" + text : text
  }

  /// By name: `s`, `Space`, `^C` or `Ctrl-c`, `Alt-x`, `F8`, `Shift-Tab`, `PgUp`; nil for anything else.
  package init?(name: String) {
    var rest = Substring(name)
    var modifiers: KeyModifiers = []
    if let code = Self.named.first(where: { $0.0.lowercased() == name.lowercased() })?.1 {
      self.init(code)
      return
    }
    let prefixes: [(String, KeyModifiers)] = [("ctrl-", .control), ("alt-", .alt), ("shift-", .shift)]
    while let found = prefixes.first(where: { rest.lowercased().hasPrefix($0.0) && rest.count > $0.0.count }) {
      rest = rest.dropFirst(found.0.count)
      modifiers.insert(found.1)
    }
    if rest.count > 1, rest.first == "^" {
      rest = rest.dropFirst()
      modifiers.insert(.control)
    }
    if rest.lowercased() == "space" {
      self.init(" ", modifiers)
    } else if let code = Self.named.first(where: { $0.0.lowercased() == rest.lowercased() })?.1 {
      self.init(code, modifiers)
    } else if rest.count > 1, rest.first == "F" || rest.first == "f", let number = Int(rest.dropFirst()), (1...12).contains(number) {
      self.init(.function(number), modifiers)
    } else if rest.unicodeScalars.count == 1, let scalar = rest.unicodeScalars.first, scalar.value > 0x20 {
      let isControl = modifiers.contains(.control)
      self.init(isControl ? Unicode.Scalar(String(rest).lowercased()) ?? scalar : scalar, modifiers)
    } else {
      return nil
    }
  }
}
