/// Turns the difference between two screens into what an ECMA-48 terminal must be sent.
///
/// What is on the screen already, but elsewhere, is moved where that is shorter. What then differs is cut into spans of
/// one style, and these are sent in an order that needs few bytes for moving the cursor and switching styles: a style is
/// switched to about once a frame, not once a row.
package struct FrameEncoder: Sendable {
  /// What a terminal can do beyond placing its cursor and setting styles.
  package struct Abilities: OptionSet, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }
    /// Erased places take the background that is set (`bce`).
    package static let erasesInColor = Self(rawValue: 1)
    /// ECH: the next n places are erased.
    package static let erasesCharacters = Self(rawValue: 2)
    /// The cursor stays in its row behind the last column.
    package static let staysInRow = Self(rawValue: 4)
    /// REP: the last character n times more; sent for ASCII alone.
    package static let repeats = Self(rawValue: 8)
    /// IL and DL: rows put in and taken out.
    package static let movesRows = Self(rawValue: 16)
    /// ICH and DCH: cells put into a row and taken out.
    package static let movesColumns = Self(rawValue: 32)
    /// DECSC and DECRC: a place and a style kept, and gone back to.
    package static let keepsPen = Self(rawValue: 64)
    /// HT goes to the next of the tab stops that are every eight columns.
    package static let tabs = Self(rawValue: 128)
    /// CNL and CPL: to the beginning of a row below or above.
    package static let goesByLines = Self(rawValue: 256)
  }

  /// What is known of a terminal besides its cells, from one frame to the next.
  package struct Memory: Sendable {
    /// What it draws in, nil if unknown.
    package fileprivate(set) var style: Style?
    /// The place and style it keeps.
    fileprivate var kept: (place: Position, style: Style)?
    /// How often text in the style it keeps ended somewhere, lately.
    private var ends: [Position: Int] = [:]
    private static let mostEnds = 32
    /// A place is worth two bytes when so much more text ends there than where the terminal would go back to.
    private static let advantage = 3
    /// Nothing is known.
    package init() {}

    /// Takes note of where text ended, and says if the terminal should go back to there from now on.
    fileprivate mutating func shouldKeep(_ end: Position, insteadOf kept: Position?) -> Bool {
      let count = ends[end, default: 0] + 1
      ends[end] = count
      if count >= Self.mostEnds { ends = ends.compactMapValues { $0 > 1 ? $0 / 2 : nil } }
      guard let kept else { return true }
      return count > ends[kept, default: 0] + Self.advantage
    }
  }

  private let depth: ColorDepth
  private let skipsCorner: Bool
  private let abilities: Abilities

  /// `skipsCorner`: the last cell of the last row would scroll this terminal and is left alone.
  package init(depth: ColorDepth, skipsCorner: Bool = false, abilities: Abilities = []) {
    self.depth = depth
    self.skipsCorner = skipsCorner
    self.abilities = abilities
  }

  /// `old` nil draws everything, on a screen whose content is not known.
  package func encode(
    from old: CellBuffer?, to new: CellBuffer, theme: Theme, cursor: Position?, memory: inout Memory
  ) -> [UInt8] {
    var styles = StyleTable(theme: theme, depth: depth)
    // The frame before left the cursor somewhere, but a stray message may have moved it: the first move is absolute.
    let kept = memory.kept.map { PenState.Kept(place: $0.place, style: styles.index($0.style)) }
    var pen = Pen(PenState(style: memory.style.map { styles.index($0) }, kept: kept), width: new.size.width, abilities: abilities)
    let shown = move(old, to: new, &pen)
    let spans = spans(from: shown, to: new, &styles)
    let keeping = styles.index(theme.style(of: .blank, depth: depth))
    for span in Route.plan(spans, new, from: pen.state, &styles) {
      pen.send(span, of: new, &styles)
      guard pen.state.style == keeping, let end = pen.state.at else { continue }
      if memory.shouldKeep(end, insteadOf: pen.state.kept?.place) { pen.keep() }
    }
    if let cursor, pen.state.at != cursor { pen.move(to: cursor) }
    memory.style = pen.state.style.map { styles[$0] }
    memory.kept = pen.state.kept.map { ($0.place, styles[$0.style]) }
    return pen.bytes
  }

  /// How many cells look different, whatever roles they have; all of them where `old` is nil.
  package func changedCells(from old: CellBuffer?, to new: CellBuffer, theme: Theme) -> Int {
    var styles = StyleTable(theme: theme, depth: depth)
    let finder = SpanFinder(old: old?.cells, new: new, abilities: abilities)
    var count = 0
    for y in 0..<new.size.height {
      for x in 0..<new.size.width where !finder.isSame(x, y, &styles) { count += 1 }
    }
    return count
  }

  // MARK: what changed

  /// Moves what is elsewhere on the screen, and gives what it shows then.
  private func move(_ old: CellBuffer?, to new: CellBuffer, _ pen: inout Pen) -> [Cell]? {
    guard let old, !skipsCorner, abilities.contains(.movesRows) || abilities.contains(.movesColumns) else { return old?.cells }
    var finder = MotionFinder(old: old, new: new)
    finder.find(abilities)
    var cells = old.cells
    for motion in finder.motions {
      pen.perform(motion, height: new.size.height)
      motion.apply(to: &cells, width: new.size.width, free: .unknown)
    }
    return cells
  }

  private func spans(from old: [Cell]?, to new: CellBuffer, _ styles: inout StyleTable) -> [Span] {
    var finder = SpanFinder(old: old, new: new, abilities: abilities)
    for y in 0..<new.size.height {
      let isLast = y == new.size.height - 1
      finder.find(row: y, width: new.size.width - (skipsCorner && isLast ? 1 : 0), &styles)
    }
    return finder.spans
  }
}
