/// How many colours a terminal shows.
package enum ColorDepth: Int, Comparable, CaseIterable, Sendable {
  case monochrome, eight, sixteen, palette256, trueColor
  package static func < (a: ColorDepth, b: ColorDepth) -> Bool { a.rawValue < b.rawValue }

  /// What the environment and the terminal's description say. A non-empty `NO_COLOR` wins
  /// (no-color.org); `COLORTERM=truecolor` or `24bit` comes next; then terminfo's number of colours.
  package static func detect(environment: [String: String], terminfoColors: Int, direct: Bool) -> ColorDepth {
    if let no = environment["NO_COLOR"], !no.isEmpty { return .monochrome }
    if environment["TERM"] == "dumb" { return .monochrome }
    if let term = environment["COLORTERM"], term == "truecolor" || term == "24bit" { return .trueColor }
    if direct || terminfoColors >= 1 << 24 { return .trueColor }
    switch terminfoColors {
    case 256...: return .palette256
    case 16...: return .sixteen
    case 8...: return .eight
    default: return .monochrome
    }
  }
}

/// A colour as a theme writes it.
package enum Color: Hashable, Sendable {
  /// The terminal's own foreground or background.
  case terminal
  /// 0...15 the sixteen names, 16...231 the colour cube, 232...255 the greys.
  case indexed(UInt8)
  case rgb(UInt8, UInt8, UInt8)

  package static let names = [
    "black", "red", "green", "yellow", "blue", "magenta", "cyan", "white", "bright-black", "bright-red",
    "bright-green", "bright-yellow", "bright-blue", "bright-magenta", "bright-cyan", "bright-white",
  ]

  /// `default`, one of the sixteen names, `0`...`255` or `#rrggbb`; nil for anything else.
  package init?(_ text: String) {
    if text == "default" {
      self = .terminal
    } else if let index = Self.names.firstIndex(of: text) {
      self = .indexed(UInt8(index))
    } else if text.hasPrefix("#"), text.utf8.count == 7, let value = UInt32(text.dropFirst(), radix: 16) {
      self = .rgb(UInt8(value >> 16 & 255), UInt8(value >> 8 & 255), UInt8(value & 255))
    } else if let index = UInt8(text) {
      self = .indexed(index)
    } else {
      return nil
    }
  }

  /// The usual values of the sixteen colours (xterm's).
  private static let sixteen: [(Int, Int, Int)] = [
    (0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229),
    (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255),
    (255, 255, 255),
  ]
  private static let cubeLevels = [0, 95, 135, 175, 215, 255]

  private var components: (Int, Int, Int) {
    switch self {
    case .terminal: return (0, 0, 0)
    case .rgb(let r, let g, let b): return (Int(r), Int(g), Int(b))
    case .indexed(let index):
      if index < 16 { return Self.sixteen[Int(index)] }
      if index >= 232 {
        let grey = 8 + 10 * (Int(index) - 232)
        return (grey, grey, grey)
      }
      let cube = Int(index) - 16
      return (Self.cubeLevels[cube / 36], Self.cubeLevels[cube / 6 % 6], Self.cubeLevels[cube % 6])
    }
  }

  /// The nearest colour the terminal can show.
  package func reduced(to depth: ColorDepth) -> Color {
    switch (self, depth) {
    case (.terminal, _), (_, .trueColor): return self
    case (_, .monochrome): return .terminal
    case (.indexed(let index), .palette256): return .indexed(index)
    case (.rgb, .palette256): return .indexed(nearest(in: 16...255))
    case (.indexed(let index), .sixteen) where index < 16: return self
    case (_, .sixteen): return .indexed(nearest(in: 0...15))
    case (.indexed(let index), .eight) where index < 16: return .indexed(index & 7)
    case (_, .eight): return .indexed(nearest(in: 0...15) & 7)
    }
  }

  /// The nearest of the eight colours that can stand behind text: a grey is no black by its lowest bits.
  var behindText: Color {
    guard self != .terminal else { return self }
    if case .indexed(let index) = self, index < 8 { return self }
    return .indexed(nearest(in: 0...7))
  }

  /// Neither black nor one of the seven colours: what a terminal of eight has no place for.
  var isGrey: Bool {
    guard self != .terminal else { return false }
    return (self == .indexed(8) ? 8 : nearest(in: 0...15)) == 8
  }

  /// Of the eight, those on which black cannot be read.
  var isDark: Bool { [.indexed(0), .indexed(1), .indexed(4), .indexed(5)].contains(self) }

  private func nearest(in range: ClosedRange<UInt8>) -> UInt8 {
    let (r, g, b) = components
    var best = range.lowerBound
    var least = Int.max
    for index in range {
      let (r2, g2, b2) = Color.indexed(index).components
      let red = (r - r2) * (r - r2)
      let green = (g - g2) * (g - g2)
      let blue = (b - b2) * (b - b2)
      let distance = 3 * red + 4 * green + 2 * blue
      if distance < least {
        least = distance
        best = index
      }
    }
    return best
  }
}

/// How a role looks. What is nil shows what lies behind.
package struct Style: Hashable, Sendable {
  package var foreground: Color?
  package var background: Color?
  package var attributes: TextAttributes

  package init(foreground: Color? = nil, background: Color? = nil, attributes: TextAttributes = []) {
    self.foreground = foreground
    self.background = background
    self.attributes = attributes
  }
}
