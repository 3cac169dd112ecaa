/// Moves what a terminal shows already.
enum ScreenMotion: Equatable {
  /// Rows `top` to `bottom` go up (`up` negative: down); as many at the other end come free.
  case rows(top: Int, bottom: Int, up: Int)
  /// From a column on, a row's cells go right (`right` negative: left).
  case columns(row: Int, from: Int, right: Int)

  /// Does to a screen's cells what it does to the terminal's; `free` stands where something came free.
  func apply<Content>(to cells: inout [Content], width: Int, free: Content) {
    switch self {
    case .rows(let top, let bottom, let up):
      let count = abs(up) * width
      let moved = Array(cells[(top + max(up, 0)) * width..<(bottom + 1 + min(up, 0)) * width])
      let erased = Array(repeating: free, count: count)
      cells.replaceSubrange(top * width..<(bottom + 1) * width, with: up > 0 ? moved + erased : erased + moved)
    case .columns(let row, let from, let right):
      let (start, end) = (row * width + from, (row + 1) * width)
      let erased = Array(repeating: free, count: min(abs(right), end - start))
      let moved = Array(right > 0 ? cells[start..<end - erased.count] : cells[start + erased.count..<end])
      cells.replaceSubrange(start..<end, with: right > 0 ? erased + moved : moved + erased)
    }
  }
}

/// Finds what is shorter to move than to draw anew: lists that scroll, lines of which a part got longer or shorter.
///
/// Its prices are estimates: a motion that was no good idea costs bytes, and nothing else.
struct MotionFinder {
  private(set) var motions: [ScreenMotion] = []
  /// What stands in each place, as a number; after the motions found.
  private var old: [UInt64]
  private let new: [UInt64]
  private let width: Int
  private let height: Int

  /// About what a motion takes to send, and the cells it touches to be looked at again.
  private static let rowsPrice = 24
  private static let columnsPrice = 14
  /// A run of changed cells needs the cursor to be moved.
  private static let runPrice = 4
  /// So many changed cells tell how far everything moved, on the screen and in a row.
  private static let sample = 400
  private static let rowSample = 24
  private static let farthestColumns = 60

  init(old: CellBuffer, new: CellBuffer) {
    self.old = old.cells.map(Self.number)
    self.new = new.cells.map(Self.number)
    (width, height) = (new.size.width, new.size.height)
  }

  private static func number(_ cell: Cell) -> UInt64 {
    let look = UInt64(cell.role.rawValue) | UInt64(cell.surface.rawValue) << 8 | UInt64(cell.attribute) << 16
    return UInt64(cell.scalar) | look << 32 | UInt64(cell.width) << 56 ^ UInt64(cell.mark) << 24
  }

  private static func isSpace(_ number: UInt64) -> Bool { number & 0xFFFF_FFFF == 0x20 }
  private static let free: UInt64 = .max

  mutating func find(_ abilities: FrameEncoder.Abilities) {
    if abilities.contains(.movesRows) {
      for _ in 0..<2 { guard moveRows() else { break } }
    }
    if abilities.contains(.movesColumns) {
      for row in 0..<height { moveColumns(row) }
    }
  }

  private mutating func add(_ motion: ScreenMotion) {
    motion.apply(to: &old, width: width, free: Self.free)
    motions.append(motion)
  }

  // MARK: rows

  /// The scroll that saves most; false where none saves anything.
  private mutating func moveRows() -> Bool {
    guard let up = likelyScroll() else { return false }
    let now = (0..<height).map { cost($0, from: $0) }
    // What each row saves where it comes from another, or comes free; summed up from the first on.
    var (moved, freed) = ([0], [0])
    for row in 0..<height {
      let isThere = (0..<height).contains(row + up)
      moved.append(moved[row] + (isThere ? now[row] - cost(row, from: row + up) : 0))
      freed.append(freed[row] + now[row] - cost(row, from: nil))
    }
    let count = abs(up)
    var best = (saved: Self.rowsPrice, top: 0, bottom: 0)
    for top in 0..<height - count {
      for bottom in top + count..<height {
        let middle = up > 0 ? bottom + 1 - count : top + count
        let saved = up > 0
          ? moved[middle] - moved[top] + freed[bottom + 1] - freed[middle]
          : freed[middle] - freed[top] + moved[bottom + 1] - moved[middle]
        if saved > best.saved { best = (saved, top, bottom) }
      }
    }
    guard best.bottom > best.top else { return false }
    add(.rows(top: best.top, bottom: best.bottom, up: up))
    return true
  }

  /// By how many rows most of what changed moved.
  private func likelyScroll() -> Int? {
    let changed = new.indices.filter { new[$0] != old[$0] && !Self.isSpace(new[$0]) }
    let step = changed.count / Self.sample + 1
    var best = (count: Self.rowsPrice / step, up: 0)
    for up in -(height / 2)...height / 2 where up != 0 {
      var count = 0
      for at in stride(from: 0, to: changed.count, by: step) {
        let other = changed[at] + up * width
        if old.indices.contains(other), old[other] == new[changed[at]] { count += 1 }
      }
      if count > best.count { best = (count, up) }
    }
    return best.up == 0 ? nil : best.up
  }

  /// About what a row takes to be drawn over another, or over nothing known.
  private func cost(_ row: Int, from other: Int?) -> Int {
    let start = row * width
    guard let from = other.map({ $0 * width }) else {
      return (new[start..<start + width].lastIndex { !Self.isSpace($0) } ?? start) - start + Self.runPrice
    }
    var (cost, wasSame) = (0, true)
    for column in 0..<width {
      let isSame = new[start + column] == old[from + column]
      if !isSame { cost += wasSame ? 1 + Self.runPrice : 1 }
      wasSame = isSame
    }
    return cost
  }

  // MARK: columns

  private mutating func moveColumns(_ row: Int) {
    let start = row * width
    let changed = (start..<start + width).filter { new[$0] != old[$0] }
    guard changed.count > Self.columnsPrice, let right = likelyShift(start, changed),
      (start..<start + width).allSatisfy({ Self.isNarrow(new[$0]) && Self.isNarrow(old[$0]) })
    else { return }
    let behind = costsBehind(start, right)
    var best = (cost: changed.count - Self.columnsPrice, from: -1)
    var before = 0
    for from in 0..<width {
      if before + behind[from] < best.cost { best = (before + behind[from], from) }
      if new[start + from] != old[start + from] { before += 1 }
    }
    if best.from >= 0 { add(.columns(row: row, from: best.from, right: right)) }
  }

  private static func isNarrow(_ number: UInt64) -> Bool { number >> 56 == 1 }

  /// By how many columns most of a row's changed cells moved.
  private func likelyShift(_ start: Int, _ changed: [Int]) -> Int? {
    let step = changed.count / Self.rowSample + 1
    let farthest = min(width / 2, Self.farthestColumns)
    var best = (count: Self.columnsPrice / 2 / step, right: 0)
    for right in -farthest...farthest where right != 0 {
      var count = 0
      for at in stride(from: 0, to: changed.count, by: step) {
        let other = changed[at] - right
        if other >= start, other < start + width, old[other] == new[changed[at]], !Self.isSpace(old[other]) { count += 1 }
      }
      if count > best.count { best = (count, right) }
    }
    return best.right == 0 ? nil : best.right
  }

  /// For each column, the cells to be drawn from there on if everything there moves.
  private func costsBehind(_ start: Int, _ right: Int) -> [Int] {
    var different = [Int](repeating: 0, count: width + 1)
    for column in (0..<width).reversed() {
      let other = column - right
      let isWrong = (0..<width).contains(other) && new[start + column] != old[start + other]
      different[column] = different[column + 1] + (isWrong ? 1 : 0)
    }
    return (0..<width).map { different[min($0 + max(right, 0), width)] + min(abs(right), width - $0) }
  }
}
