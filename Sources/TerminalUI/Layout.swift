/// Where panes go: a tree of rows and columns with sizes given by rules, so that every size of terminal
/// gets a layout without being named.
package indirect enum LayoutNode<ID: Hashable & Sendable>: Sendable {
  case leaf(LayoutLeaf<ID>)
  /// Children side by side, left to right.
  case columns([LayoutNode])
  /// Children above each other.
  case rows([LayoutNode])

  package var leaves: [LayoutLeaf<ID>] {
    switch self {
    case .leaf(let leaf): [leaf]
    case .columns(let children), .rows(let children): children.flatMap(\.leaves)
    }
  }

  /// The same tree with every leaf changed.
  package func mapLeaves(_ change: (LayoutLeaf<ID>) -> LayoutLeaf<ID>) -> LayoutNode {
    switch self {
    case .leaf(let leaf): .leaf(change(leaf))
    case .columns(let children): .columns(children.map { $0.mapLeaves(change) })
    case .rows(let children): .rows(children.map { $0.mapLeaves(change) })
    }
  }

  /// The same tree by the leaves' floors, for a region their minima do not fit; by their widths only where it is too
  /// narrow, and then without those that are not for narrow ones.
  fileprivate func lowered(width: Bool) -> LayoutNode {
    mapLeaves { leaf in
      var low = leaf
      low.minimum.height = leaf.floor.height
      if width { low.minimum.width = leaf.floorPriority > 0 ? leaf.floor.width : .max / 4 }
      low.priority = leaf.floorPriority
      return low
    }
  }
}

/// A place for one pane, or for several as tabs.
package struct LayoutLeaf<ID: Hashable & Sendable>: Sendable {
  /// The panes that live here, the first in front.
  package var panes: [ID]
  /// Least size, title included.
  package var minimum: Size
  /// More than this is not used; it goes to the neighbours.
  package var maximum: Size
  /// Share of what is left after the minima.
  package var weight: Int
  /// Where there is not room for all, the lowest goes first; `Int.max` never goes.
  package var priority: Int
  /// Panes of leaves that had to go become tabs here.
  package var adopts: Bool
  /// Whether a title row stands on top.
  package var titled: Bool
  /// For regions too small for the minima: the least size it lives with, and its priority then (0: where it is too
  /// narrow, not at all).
  package var floor: Size
  package var floorPriority: Int
  /// The size a person gave it by dragging, in thousandths of what there is to share out; nil follows the weight.
  package var share = LayoutShare()

  package init(
    _ panes: [ID], minimum: Size, maximum: Size = Size(width: 100_000, height: 100_000), weight: Int = 1,
    priority: Int = Int.max, adopts: Bool = false, titled: Bool = true, floor: Size? = nil, floorPriority: Int? = nil
  ) {
    self.panes = panes
    self.minimum = minimum
    self.maximum = maximum
    self.weight = weight
    self.priority = priority
    self.adopts = adopts
    self.titled = titled
    self.floor = floor ?? minimum
    self.floorPriority = floorPriority ?? (priority == Int.max ? Int.max : 0)
  }
}

/// Sizes chosen by hand, in thousandths of the row's width and of the rows' height.
package struct LayoutShare: Equatable, Sendable {
  package var width: Int?
  package var height: Int?
  package init(width: Int? = nil, height: Int? = nil) {
    self.width = width
    self.height = height
  }
}

/// A leaf that got its place.
package struct LayoutPlacement<ID: Hashable & Sendable>: Equatable, Sendable {
  package var panes: [ID]
  /// The row above the content; empty where there is no title.
  package var title: Region
  package var content: Region
}

package struct LayoutResult<ID: Hashable & Sendable>: Equatable, Sendable {
  package var placements: [LayoutPlacement<ID>]
  /// Vertical lines, one column wide, between columns.
  package var separators: [Region]

  package func placement(of pane: ID) -> LayoutPlacement<ID>? { placements.first { $0.panes.contains(pane) } }
}

package enum LayoutSolver {
  /// Places the tree in a region. Leaves come in by priority as long as the minima fit; in a region even the
  /// leaves that never go do not fit, all of them count with their floors, those of their widths where it is too narrow.
  /// What still does not fit is cut.
  package static func solve<ID>(_ tree: LayoutNode<ID>, in region: Region) -> LayoutResult<ID> {
    var result = LayoutResult<ID>(placements: [], separators: [])
    let essential = removing(tree.leaves.filter { $0.priority < Int.max }.map(\.panes), from: tree)
    let needed = essential.map(minimum) ?? Size(width: 0, height: 0)
    let (isNarrow, isLow) = (needed.width > region.width, needed.height > region.height)
    let (node, homeless) = choose(isNarrow || isLow ? tree.lowered(width: isNarrow) : tree, in: region)
    guard let node else { return result }
    place(adopting(homeless, in: node), region, &result)
    return result
  }

  private static func fits<ID>(_ node: LayoutNode<ID>, _ region: Region) -> Bool {
    let needed = minimum(node)
    return needed.width <= region.width && needed.height <= region.height
  }

  /// What is kept of a tree, and the panes of what is not.
  private static func choose<ID>(_ tree: LayoutNode<ID>, in region: Region) -> (LayoutNode<ID>?, [ID]) {
    let droppable = tree.leaves.filter { $0.priority < Int.max }
    var out = droppable.map(\.panes)
    for leaf in droppable.sorted(by: { $0.priority > $1.priority }) {
      let without = out.filter { $0 != leaf.panes }
      if let candidate = removing(without, from: tree), fits(candidate, region) { out = without }
    }
    let homeless = droppable.filter { $0.titled && out.contains($0.panes) }.flatMap(\.panes)
    return (removing(out, from: tree), homeless)
  }

  private static func minimum<ID>(_ node: LayoutNode<ID>) -> Size {
    switch node {
    case .leaf(let leaf): return leaf.minimum
    case .columns(let children):
      let sizes = children.map(minimum)
      let width = sizes.reduce(max(children.count - 1, 0)) { $0 + $1.width }
      return Size(width: width, height: sizes.map(\.height).max() ?? 0)
    case .rows(let children):
      let sizes = children.map(minimum)
      return Size(width: sizes.map(\.width).max() ?? 0, height: sizes.reduce(0) { $0 + $1.height })
    }
  }

  private static func maximum<ID>(_ node: LayoutNode<ID>) -> Size {
    switch node {
    case .leaf(let leaf): return leaf.maximum
    case .columns(let children):
      let sizes = children.map(maximum)
      return Size(width: sizes.reduce(0) { $0 + $1.width }, height: sizes.map(\.height).max() ?? 0)
    case .rows(let children):
      let sizes = children.map(maximum)
      return Size(width: sizes.map(\.width).max() ?? 0, height: sizes.reduce(0) { $0 + $1.height })
    }
  }

  private static func weight<ID>(_ node: LayoutNode<ID>) -> Int { node.leaves.map(\.weight).max() ?? 1 }

  private static func removing<ID>(_ leaves: [[ID]], from node: LayoutNode<ID>) -> LayoutNode<ID>? {
    switch node {
    case .leaf(let leaf): return leaves.contains(leaf.panes) ? nil : node
    case .columns(let children):
      let kept = children.compactMap { removing(leaves, from: $0) }
      return kept.isEmpty ? nil : .columns(kept)
    case .rows(let children):
      let kept = children.compactMap { removing(leaves, from: $0) }
      return kept.isEmpty ? nil : .rows(kept)
    }
  }

  /// The homeless become tabs where leaves adopt, and with none left, of the titled leaf that is heaviest.
  private static func adopting<ID>(_ panes: [ID], in node: LayoutNode<ID>) -> LayoutNode<ID> {
    let leaves = node.leaves
    let hasHome = leaves.contains { $0.adopts }
    let last = leaves.filter(\.titled).max { $0.weight < $1.weight }
    return node.mapLeaves { leaf in
      guard hasHome ? leaf.adopts : leaf.panes == last?.panes else { return leaf }
      var home = leaf
      home.panes += panes.filter { !leaf.panes.contains($0) }
      return home
    }
  }

  private static func share<ID>(_ node: LayoutNode<ID>) -> LayoutShare { node.leaves.first?.share ?? LayoutShare() }

  private static func place<ID>(_ node: LayoutNode<ID>, _ region: Region, _ result: inout LayoutResult<ID>) {
    switch node {
    case .leaf(let leaf):
      let titleHeight = leaf.titled ? 1 : 0
      result.placements.append(
        LayoutPlacement(
          panes: leaf.panes, title: leaf.titled ? region.row(0) : Region(x: region.x, y: region.y, width: 0, height: 0),
          content: region.dropTop(titleHeight)))
    case .columns(let children):
      let widths = distribute(
        region.width - max(children.count - 1, 0), minima: children.map { minimum($0).width },
        maxima: children.map { maximum($0).width }, weights: children.map(weight),
        shares: children.map { share($0).width })
      var x = region.x
      for (index, child) in children.enumerated() {
        place(child, Region(x: x, y: region.y, width: widths[index], height: region.height).intersection(region), &result)
        x += widths[index]
        if index + 1 < children.count {
          result.separators.append(Region(x: x, y: region.y, width: 1, height: region.height).intersection(region))
          x += 1
        }
      }
    case .rows(let children):
      let heights = distribute(
        region.height, minima: children.map { minimum($0).height }, maxima: children.map { maximum($0).height },
        weights: children.map(weight), shares: children.map { share($0).height })
      var y = region.y
      for (index, child) in children.enumerated() {
        place(child, Region(x: region.x, y: y, width: region.width, height: heights[index]).intersection(region), &result)
        y += heights[index]
      }
    }
  }

  /// Minima first, then the sizes given by hand, then the rest by weight up to the maxima; what nobody may
  /// take goes to the heaviest.
  private static func distribute(
    _ total: Int, minima: [Int], maxima: [Int], weights: [Int], shares: [Int?]
  ) -> [Int] {
    var sizes = minima
    var left = total - minima.reduce(0, +)
    guard left > 0, !sizes.isEmpty else { return sizes }
    var open = Set(sizes.indices.filter { sizes[$0] < maxima[$0] })
    for index in sizes.indices {
      guard let share = shares[index] else { continue }
      let wanted = min(total * share / 1000, maxima[index])
      let taken = min(max(wanted - sizes[index], 0), left)
      sizes[index] += taken
      left -= taken
      if open.count > 1 { open.remove(index) }
    }
    share(&left, among: &open, &sizes, maxima: maxima, weights: weights)
    if left > 0, let heaviest = weights.indices.max(by: { weights[$0] < weights[$1] }) { sizes[heaviest] += left }
    return sizes
  }

  private static func share(
    _ left: inout Int, among open: inout Set<Int>, _ sizes: inout [Int], maxima: [Int], weights: [Int]
  ) {
    while left > 0, !open.isEmpty {
      let sum = open.reduce(0) { $0 + weights[$1] }
      guard sum > 0 else { break }
      let round = left
      for index in sizes.indices where open.contains(index) {
        let share = max(round * weights[index] / sum, 1)
        let taken = min(share, maxima[index] - sizes[index], left)
        sizes[index] += taken
        left -= taken
        if sizes[index] >= maxima[index] { open.remove(index) }
      }
    }
  }
}
