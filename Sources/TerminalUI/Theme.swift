/// A style for every role.
package struct Theme: Sendable {
  package let name: String
  /// One line about it.
  package let summary: String
  /// By `StyleRole.rawValue`.
  private let styles: [Style]
  private let given: Set<StyleRole>

  /// A role not in `roles` takes the style of its fallback, and so on down to the terminal's own colours.
  package init(name: String, summary: String = "", roles: [StyleRole: Style]) {
    self.name = name
    self.summary = summary
    given = Set(roles.keys)
    styles = StyleRole.allCases.map { role in
      var candidate: StyleRole? = role
      while let now = candidate {
        if let style = roles[now] { return style }
        candidate = now.fallback
      }
      return Style()
    }
  }

  /// Nothing but attributes: what is shown without a theme file.
  package static let plain = Theme(name: "plain", summary: "no colours at all", roles: [:])

  package func style(_ role: StyleRole) -> Style { styles[Int(role.rawValue)] }

  /// Whether the theme itself says something of this role.
  package func defines(_ role: StyleRole) -> Bool { given.contains(role) }

  /// What a cell looks like on a terminal with this many colours.
  package func style(of cell: Cell, depth: ColorDepth) -> Style {
    if cell.role == .vga { return Self.vga(cell.attribute, depth: depth) }
    if depth == .monochrome || self.given.isEmpty {
      return Style(attributes: cell.role.monochrome.union(cell.surface.monochrome))
    }
    let front = style(cell.role)
    let behind = style(cell.surface)
    let text = style(.text)
    let ground = text.background ?? .terminal
    let style = Style(
      foreground: front.foreground ?? behind.foreground ?? text.foreground ?? .terminal,
      background: cell.surface == .text ? front.background ?? ground : behind.background ?? ground,
      attributes: front.attributes.union(cell.surface == .text ? [] : behind.attributes))
    if depth == .eight { return Self.legible(style, on: ground, isSurface: cell.surface != .text) }
    return Style(
      foreground: style.foreground?.reduced(to: depth), background: style.background?.reduced(to: depth),
      attributes: style.attributes)
  }

  /// A style in eight colours, as a Linux console has: greys become the text's own colour, bold black (which is drawn
  /// grey) plain, and what lies behind rows and would look like the ground turns them round.
  private static func legible(_ style: Style, on ground: Color, isSurface: Bool) -> Style {
    let wanted = style.foreground ?? .terminal
    let behind = (style.background ?? .terminal).behindText
    var made = Style(foreground: wanted.reduced(to: .eight), background: behind, attributes: style.attributes)
    if behind != .terminal, wanted.isGrey || made.foreground == behind || made.foreground == .indexed(0) && behind.isDark {
      made.foreground = .indexed(behind.isDark ? 7 : 0)
    }
    if made.foreground == .indexed(0) { made.attributes.remove(.bold) }
    if isSurface, style.background != ground, behind == ground.behindText { made.attributes.insert(.reverse) }
    return made
  }

  /// VGA text attribute: 3:0 foreground, 6:4 background, with IBM's colour order (blue is 1).
  private static func vga(_ attribute: UInt8, depth: ColorDepth) -> Style {
    func ansi(_ color: UInt8) -> UInt8 { (color & 1) << 2 | color & 2 | (color & 4) >> 2 | color & 8 }
    if depth == .monochrome {
      let inverse = (attribute >> 4 & 7) > (attribute & 7)
      return Style(attributes: inverse ? .reverse : attribute & 8 != 0 ? .bold : [])
    }
    return Style(
      foreground: Color.indexed(ansi(attribute & 15)).reduced(to: depth),
      background: Color.indexed(ansi(attribute >> 4 & 7)).reduced(to: depth))
  }
}
