/// The order in which the spans of a frame are sent: one that needs few bytes for moving the cursor and switching styles.
struct Route {
  private let buffer: CellBuffer
  private var styles: StyleTable

  /// How many spans are looked at for the next one, and how many are put into a better order together afterwards.
  private static let window = 160
  private static let reorderedTogether = 100
  /// So many spans move together, and so many places are tried in all, so that a frame takes no longer for it.
  private static let longestMove = 8
  private static let tries = 150_000
  private static let passes = 6
  /// Going back to what the terminal keeps, and on from there, is not shorter than this.
  private static let shortestReturn = PenState.restoring + 2

  init(_ buffer: CellBuffer, _ styles: StyleTable) {
    self.buffer = buffer
    self.styles = styles
  }

  /// The spans in order, blanks in the style they are best drawn in; and the styles, of which there may be more now.
  static func plan(_ spans: [Span], _ buffer: CellBuffer, from pen: PenState, _ styles: inout StyleTable) -> [Span] {
    var route = Route(buffer, styles)
    let greedy = route.greedy(spans, from: pen)
    let order = route.reordered(greedy, from: pen)
    styles = route.styles
    return order
  }

  /// Always the one next that costs least from where the pen is.
  private mutating func greedy(_ spans: [Span], from pen: PenState) -> [Span] {
    var left = spans
    var order: [Span] = []
    var pen = pen
    order.reserveCapacity(spans.count)
    while !left.isEmpty {
      var best = 0
      var least = Int.max
      for index in 0..<min(left.count, Self.window) {
        let cost = cost(dressed(left[index], pen), from: pen, below: least)
        guard cost < least else { continue }
        (best, least) = (index, cost)
        if cost == 0 { break }
      }
      let span = dressed(left.remove(at: best), pen)
      pen = span.after(pen, buffer.size.width)
      order.append(span)
    }
    return order
  }

  /// A span in the style to draw it in: for blanks the pen's own, but for the background.
  private mutating func dressed(_ span: Span, _ pen: PenState) -> Span {
    guard span.isBlank, let now = pen.style else { return span }
    var span = span
    span.style = styles.blank(now, like: span.style)
    return span
  }

  /// Bytes before a span's own, by the shortest way. May be anything not below `limit` where it is not less.
  private mutating func cost(_ span: Span, from pen: PenState, below limit: Int = .max) -> Int {
    let cost = span.cost(from: pen, buffer, &styles, below: limit)
    guard cost > Self.shortestReturn, let restored = pen.restored else { return cost }
    return min(cost, span.cost(from: restored, buffer, &styles, below: min(cost, limit)) + PenState.restoring)
  }

  // MARK: a better order

  /// Long ways in parts, each from where the one before ends.
  private mutating func reordered(_ spans: [Span], from pen: PenState) -> [Span] {
    var (order, pen) = ([Span](), pen)
    let parts = max((spans.count + Self.reorderedTogether - 1) / Self.reorderedTogether, 1)
    let length = (spans.count + parts - 1) / parts
    for start in stride(from: 0, to: spans.count, by: max(length, 1)) {
      order += improved(Array(spans[start..<min(start + length, spans.count)]), from: pen, parts: parts)
      if let last = order.last { pen = last.after(pen, buffer.size.width) }
    }
    return order
  }

  /// Moves groups of spans to where they cost less (Or's exchange), as long as that helps.
  private mutating func improved(_ spans: [Span], from pen: PenState, parts: Int) -> [Span] {
    let count = spans.count
    guard count > 2 else { return spans }
    // From each span to each other; the last row is from the start.
    var costs = [Int](repeating: 0, count: (count + 1) * count)
    for from in 0...count {
      let state = from == count ? pen : spans[from].after(pen, buffer.size.width)
      for to in 0..<count where to != from { costs[from * count + to] = cost(spans[to], from: state) }
    }
    var tour = Tour(costs: costs, count: count)
    let passes = min(Self.passes, max(Self.tries / (count * count * Self.longestMove * parts), 1))
    for _ in 0..<passes { guard tour.improve(longest: Self.longestMove) else { break } }
    return tour.order.map { spans[$0] }
  }
}

/// A way through all of a number of places, each once.
private struct Tour {
  private let costs: [Int]
  private let count: Int
  private(set) var order: [Int]

  init(costs: [Int], count: Int) {
    self.costs = costs
    self.count = count
    order = Array(0..<count)
  }

  /// From the place at one position to that at another; position -1 is the start, and behind the last comes nothing.
  private func cost(_ from: Int, _ to: Int) -> Int {
    to >= count ? 0 : costs[(from < 0 ? count : order[from]) * count + order[to]]
  }

  /// Tries every group of neighbours everywhere else; whether anything got better.
  mutating func improve(longest: Int) -> Bool {
    var isBetter = false
    for length in 1...min(longest, count - 1) {
      var first = 0
      while first + length <= count {
        if move(first, length) { isBetter = true }
        first += 1
      }
    }
    return isBetter
  }

  /// Moves a group to the best place for it, in its order or the other way round.
  private mutating func move(_ first: Int, _ length: Int) -> Bool {
    let last = first + length - 1
    let removed = cost(first - 1, first) + cost(last, last + 1) - (last + 1 < count ? cost(first - 1, last + 1) : 0)
    let turning = (first..<last).reduce(0) { $0 + cost($1 + 1, $1) - cost($1, $1 + 1) }
    var best = (saved: 0, behind: first, isTurned: false)
    for behind in -1..<count where behind < first || behind > last {
      let next = behind == first - 1 ? last + 1 : behind + 1
      let gap = removed + (next < count ? cost(behind, next) : 0)
      let straight = gap - cost(behind, first) - cost(last, next)
      let turned = gap - cost(behind, last) - cost(first, next) - turning
      if straight > best.saved { best = (straight, behind, false) }
      if turned > best.saved { best = (turned, behind, true) }
    }
    guard best.saved > 0 else { return false }
    let group = best.isTurned ? order[first...last].reversed() : Array(order[first...last])
    order.removeSubrange(first...last)
    order.insert(contentsOf: group, at: best.behind < first ? best.behind + 1 : best.behind + 1 - length)
    return true
  }
}
