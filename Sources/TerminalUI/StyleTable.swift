/// The styles of one frame, numbered, and what switching between them costs.
struct StyleTable {
  let theme: Theme
  let depth: ColorDepth
  private var styles: [Style] = []
  private var numbers: [Style: Int] = [:]
  private var ofCell: [UInt32: Int] = [:]
  private var lastKey: UInt32 = .max
  private var last = 0
  /// Bytes from one to another, filled as they are asked for; -1 where not yet. Row 0 is from an unknown style.
  private var costs: [[Int]] = []

  init(theme: Theme, depth: ColorDepth) {
    self.theme = theme
    self.depth = depth
  }

  subscript(index: Int) -> Style { styles[index] }

  mutating func index(of cell: Cell) -> Int {
    let key = UInt32(cell.role.rawValue) << 16 | UInt32(cell.surface.rawValue) << 8 | UInt32(cell.attribute)
    if key == lastKey { return last }
    lastKey = key
    if let known = ofCell[key] {
      last = known
    } else {
      last = index(theme.style(of: cell, depth: depth))
      ofCell[key] = last
    }
    return last
  }

  mutating func index(_ style: Style) -> Int {
    if let known = numbers[style] { return known }
    styles.append(style)
    numbers[style] = styles.count - 1
    return styles.count - 1
  }

  /// Nothing but the background shows of a blank in this style.
  func isPlain(_ index: Int) -> Bool { styles[index].attributes.isDisjoint(with: [.underline, .reverse]) }

  /// A blank looks the same in both.
  func areBlankAlike(_ one: Int, _ other: Int) -> Bool {
    one == other && isPlain(one) || styles[one].background == styles[other].background && isPlain(one) && isPlain(other)
  }

  /// The style nearest to `now` in which a blank looks as it does in `wanted`.
  mutating func blank(_ now: Int, like wanted: Int) -> Int {
    if areBlankAlike(now, wanted) { return now }
    var style = styles[now]
    style.background = styles[wanted].background
    style.attributes.subtract([.underline, .reverse])
    return index(style)
  }

  // MARK: switching

  /// Bytes that switch from one style (nil: unknown) to another.
  mutating func cost(from: Int?, to: Int) -> Int {
    let row = (from ?? -1) + 1
    while costs.count <= row { costs.append([]) }
    while costs[row].count <= to { costs[row].append(-1) }
    if costs[row][to] < 0 { costs[row][to] = sequence(from: from, to: to).count }
    return costs[row][to]
  }

  private static let attributeCodes: [(attribute: TextAttributes, on: String, off: String)] = [
    (.bold, "1", "22"), (.dim, "2", "22"), (.italic, "3", "23"), (.underline, "4", "24"), (.reverse, "7", "27"),
  ]

  /// SGR from one style (nil: unknown) to another; empty where they are the same.
  func sequence(from: Int?, to: Int) -> [UInt8] {
    if from == to { return [] }
    let style = styles[to]
    var codes = whole(style)
    if let from {
      let before = styles[from]
      let changes = changes(from: before, to: style)
      // Terminals without colours need not know how to switch one attribute off.
      let mayKeep = depth > .monochrome || before.attributes.isSubset(of: style.attributes)
      if mayKeep, Self.length(changes) <= Self.length(codes) { codes = changes }
    }
    return codes.isEmpty ? [] : Array("\u{1B}[\(codes.joined(separator: ";"))m".utf8)
  }

  private static func length(_ codes: [String]) -> Int { codes.reduce(0) { $0 + $1.utf8.count + 1 } }

  /// From nothing known.
  private func whole(_ style: Style) -> [String] {
    // An empty number is a zero.
    var codes = [""]
    for entry in Self.attributeCodes where style.attributes.contains(entry.attribute) { codes.append(entry.on) }
    append(style.foreground, base: 30, &codes)
    append(style.background, base: 40, &codes)
    return codes
  }

  /// Only what differs.
  private func changes(from before: Style, to style: Style) -> [String] {
    var codes: [String] = []
    let gone = before.attributes.subtracting(style.attributes)
    var held = before.attributes
    for entry in Self.attributeCodes where gone.contains(entry.attribute) && !codes.contains(entry.off) {
      codes.append(entry.off)
      held.subtract(entry.off == "22" ? [.bold, .dim] : entry.attribute)
    }
    for entry in Self.attributeCodes where style.attributes.contains(entry.attribute) && !held.contains(entry.attribute) {
      codes.append(entry.on)
    }
    if before.foreground != style.foreground { append(style.foreground ?? .terminal, base: 30, reset: true, &codes) }
    if before.background != style.background { append(style.background ?? .terminal, base: 40, reset: true, &codes) }
    return codes
  }

  private func append(_ color: Color?, base: Int, reset: Bool = false, _ codes: inout [String]) {
    guard depth > .monochrome, let color else { return }
    switch color {
    case .terminal: if reset { codes.append("\(base + 9)") }
    case .indexed(let index) where index < 8: codes.append("\(base + Int(index))")
    case .indexed(let index) where index < 16: codes.append("\(base + 60 + Int(index) - 8)")
    case .indexed(let index): codes.append("\(base + 8);5;\(index)")
    case .rgb(let r, let g, let b): codes.append("\(base + 8);2;\(r);\(g);\(b)")
    }
  }
}
