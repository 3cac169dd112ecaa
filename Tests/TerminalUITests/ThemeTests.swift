import Glibc
import TerminalUI
import Testing

struct ThemeTests {
  @Test func `a missing role takes its fallback's look, in the end the text's`() throws {
    let theme = try ThemeFile.parse(
      "[roles]\ntext = { fg = \"white\" }\nbreakpoint = { fg = \"red\", bold = true }", name: "t")
    #expect(theme.style(.privileged).foreground == .indexed(1))
    #expect(theme.style(.bar).foreground == .indexed(7))
    #expect(!theme.defines(.bar))
  }

  @Test func `every fallback chain ends`() {
    for role in StyleRole.allCases {
      var steps = 0
      var now: StyleRole? = role
      while let next = now?.fallback {
        now = next
        steps += 1
        #expect(steps < 10, "\(role.name)")
        if steps >= 10 { break }
      }
    }
  }

  @Test func `role names and roles are one to one`() {
    for role in StyleRole.allCases { #expect(StyleRole(name: role.name) == role) }
    #expect(StyleRole.titleFocused.name == "title-focused")
  }

  @Test(arguments: [
    ("[roles", "t:1:"), ("x = 1", "expected a table [roles]"), ("[roles]\nnope = {}", "roles.nope: no such role"),
    ("[roles]\ntext = 3", "roles.text: expected a table"), ("[roles]\ntext = { fg = \"puce\" }", "roles.text.fg: expected"),
    ("[roles]\ntext = { bold = 1 }", "roles.text.bold: expected true or false"),
    ("[roles]\ntext = { weight = 1 }", "roles.text.weight: expected fg, bg"),
    ("[palette]\na = \"b\"\n[roles]", "palette.a: expected a colour"),
  ])
  func `a broken file is one line that names the place`(_ text: String, _ expected: String) {
    let error = #expect(throws: ThemeError.self) { try ThemeFile.parse(text, name: "t") }
    let line = error?.description ?? ""
    #expect(line.contains(expected))
    #expect(!line.contains("\n"))
  }

  @Test(arguments: ["dark", "light"])
  func `the themes that come with the program are whole`(_ name: String) throws {
    let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let theme = try ThemeFile.load(path: "/\(root)/Themes/\(name).toml")
    #expect(theme.name == name)
    for role in StyleRole.allCases where role != .vga { #expect(theme.defines(role), "\(role.name)") }
  }

  @Test(arguments: [("dark", 4.5), ("light", 4.5), ("colour-blind", 4.5), ("midnight", 4.5), ("high-contrast", 7.0)])
  func `what is to be read stands out from its ground`(_ name: String, _ least: Double) throws {
    let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let theme = try ThemeFile.load(path: "/\(root)/Themes/\(name).toml")
    let ground = theme.style(.text).background
    let roles: [StyleRole] = [.text, .value, .instruction, .changed, .stop, .error, .notice, .symbol, .exitReason, .privileged, .sensitive, .flagSet]
    for role in roles {
      let style = theme.style(role)
      let contrast = Self.contrast(style.foreground, style.background ?? ground)
      #expect(contrast >= least, "\(name) \(role.name): \(contrast)")
    }
  }

  /// WCAG 2.1's contrast ratio.
  private static func contrast(_ a: Color?, _ b: Color?) -> Double {
    func luminance(_ color: Color?) -> Double {
      guard case .rgb(let r, let g, let b)? = color else { return 0 }
      func linear(_ value: UInt8) -> Double {
        let share = Double(value) / 255
        return share <= 0.03928 ? share / 12.92 : pow((share + 0.055) / 1.055, 2.4)
      }
      return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }
    let (light, dark) = (max(luminance(a), luminance(b)), min(luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)
  }

  @Test func `every theme file can be read and is named as its file`() throws {
    let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    for name in ["dark", "light", "high-contrast", "monochrome", "colour-blind", "midnight"] {
      #expect(try ThemeFile.load(path: "/\(root)/Themes/\(name).toml").name == name)
    }
  }

  @Test func `colours are reduced to what the terminal shows`() {
    let orange = Color.rgb(255, 135, 0)
    #expect(orange.reduced(to: .trueColor) == orange)
    #expect(orange.reduced(to: .palette256) == .indexed(208))
    #expect(Color.rgb(250, 5, 5).reduced(to: .sixteen) == .indexed(9))
    #expect(Color.rgb(250, 5, 5).reduced(to: .eight) == .indexed(1))
    #expect(orange.reduced(to: .monochrome) == .terminal)
  }

  /// On a Linux console a grey of eight is black, and so is the ground: nothing may be drawn in the colour it lies on.
  @Test("in eight colours everything can be told from what lies behind it", arguments: [
    "dark", "light", "high-contrast", "colour-blind", "midnight",
  ])
  func eightColours(_ name: String) throws {
    let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let theme = try ThemeFile.load(path: "/\(root)/Themes/\(name).toml")
    let ground = theme.style(of: Cell(0x41), depth: .eight)
    for surface in [StyleRole.text, .selection, .currentLine, .match] {
      for role in StyleRole.allCases where role != .vga {
        let style = theme.style(of: Cell(0x41, role: role, surface: surface), depth: .eight)
        #expect(style.foreground != style.background, "\(role.name) on \(surface.name)")
        #expect(style.foreground != .indexed(0) || !style.attributes.contains(.bold), "\(role.name) on \(surface.name): bold black is grey")
        let stands = style.background != ground.background || style.attributes.contains(.reverse)
        if surface != .text { #expect(stands, "\(surface.name) can be seen") }
      }
    }
  }

  @Test(arguments: [
    (["NO_COLOR": "1", "COLORTERM": "truecolor"], 256, ColorDepth.monochrome), (["NO_COLOR": ""], 256, .palette256),
    (["COLORTERM": "24bit"], 8, .trueColor), ([:], 16, .sixteen), ([:], 8, .eight), ([:], -1, .monochrome),
    (["TERM": "dumb", "COLORTERM": "truecolor"], 8, .monochrome), ([:], 1 << 24, .trueColor),
  ])
  func `the depth follows the environment, then terminfo`(
    _ environment: [String: String], _ colors: Int, _ depth: ColorDepth
  ) {
    #expect(ColorDepth.detect(environment: environment, terminfoColors: colors, direct: false) == depth)
  }

  @Test func `without colours attributes tell roles apart`() {
    var cell = Cell(0x41, role: .text, surface: .selection)
    #expect(Theme.plain.style(of: cell, depth: .trueColor).attributes.contains(.reverse))
    cell.surface = .text
    cell.role = .changed
    #expect(Theme.plain.style(of: cell, depth: .monochrome).attributes.contains(.bold))
  }
}

struct LayoutTests {
  private let tree: LayoutNode<String> = .rows([
    .leaf(LayoutLeaf(["top"], minimum: Size(width: 1, height: 1), maximum: Size(width: 1000, height: 1), titled: false)),
    .columns([
      .leaf(LayoutLeaf(["a"], minimum: Size(width: 20, height: 5), adopts: true)),
      .leaf(LayoutLeaf(["b"], minimum: Size(width: 20, height: 5), priority: 2)),
    ]),
    .leaf(LayoutLeaf(["c"], minimum: Size(width: 20, height: 5), priority: 1)),
  ])

  private func solve(_ width: Int, _ height: Int) -> LayoutResult<String> {
    LayoutSolver.solve(tree, in: Region(x: 0, y: 0, width: width, height: height))
  }

  @Test func `with room everything has its place`() {
    let result = solve(60, 20)
    #expect(result.placements.map(\.panes) == [["top"], ["a"], ["b"], ["c"]])
    #expect(result.separators.count == 1)
  }

  @Test func `without room the lowest priority becomes a tab`() {
    #expect(solve(60, 8).placements.map(\.panes) == [["top"], ["a", "c"], ["b"]])
    #expect(solve(30, 20).placements.map(\.panes) == [["top"], ["a", "b"], ["c"]])
    #expect(solve(30, 8).placements.map(\.panes) == [["top"], ["a", "b", "c"]])
  }

  @Test func `at every size places fill the region and do not overlap`() {
    for width in stride(from: 20, through: 200, by: 7) {
      for height in stride(from: 6, through: 70, by: 3) {
        let result = solve(width, height)
        var covered = [Int](repeating: 0, count: width * height)
        let regions = result.placements.flatMap { [$0.title, $0.content] } + result.separators
        for region in regions where !region.isEmpty {
          for y in region.y..<region.endY { for x in region.x..<region.endX { covered[y * width + x] += 1 } }
        }
        let isExact = covered.allSatisfy { $0 == 1 }
        #expect(isExact, "\(width)x\(height)")
      }
    }
  }
}
