import TerminalUI

/// A layout: rows of columns of places for panes. A tree of rules, good for every size; what has no place of its
/// own can be brought up as a tab.
package struct ConsoleLayout: Equatable, Sendable {
  /// One place: the panes that live there as tabs, the first in front.
  package struct Place: Equatable, Sendable {
    package var panes: [PaneID]
    package var weight: Int
    /// Where there is not room for all, the lowest goes first; nil never goes.
    package var priority: Int?
    /// Brings up every pane that has no place.
    package var adopts: Bool
    package var minimum: Size
    package var maximum: Size
    /// Least size on a small terminal, and its priority there (nil never goes).
    package var floor: Size
    package var floorPriority: Int?
    /// Columns given by hand, in thousandths of the row.
    package var width: Int?
  }

  package struct Row: Equatable, Sendable {
    package var places: [Place]
    /// Rows given by hand, in thousandths of the screen.
    package var height: Int?
  }

  package var name: String
  package var rows: [Row]

  /// A layout without enough columns and rows for this is not drawn at all.
  package static let minimum = Size(width: 20, height: 5)

  /// The layouts that are always there, in the order `L` goes through them.
  package static let builtIn: [ConsoleLayout] = [.standard, .monitor, .guest]

  package static func named(_ name: String) -> ConsoleLayout? { builtIn.first { $0.name == name } }

  /// The layout as rules: the frame around its rows. With more than one vCPU a second one's registers get a
  /// place beside the first's as soon as there is room.
  package func tree(vcpus: Int = 1, teaches: Bool = false) -> LayoutNode<PaneID> {
    var placed = Set(rows.flatMap { $0.places.flatMap(\.panes) })
    placed.formUnion([.secondRegisters, .lesson])
    let rest = PaneID.allCases.filter { !$0.isFrame && !placed.contains($0) }
    let body = rows.map { row -> LayoutNode<PaneID> in
      var leaves = row.places.map { leaf($0, in: row, rest: rest) }
      if vcpus > 1, let index = row.places.firstIndex(where: { $0.panes.contains(.registers) }) {
        leaves.insert(leaf(.second, in: row, rest: []), at: index + 1)
      }
      return .columns(leaves.map { .leaf($0) })
    }
    return .rows([frame(.status)] + body + (teaches ? [lessonRows] : []) + [stopRows, frame(.command), keyLine])
  }

  private func leaf(_ place: Place, in row: Row, rest: [PaneID]) -> LayoutLeaf<PaneID> {
    var leaf = LayoutLeaf(
      place.panes + (place.adopts ? rest : []), minimum: place.minimum, maximum: place.maximum, weight: place.weight,
      priority: place.priority ?? Int.max, adopts: place.adopts, floor: place.floor,
      floorPriority: place.floorPriority ?? Int.max)
    leaf.share = LayoutShare(width: place.width, height: row.height)
    return leaf
  }

  private func frame(_ pane: PaneID) -> LayoutNode<PaneID> {
    .leaf(
      LayoutLeaf(
        [pane], minimum: Size(width: 1, height: 1), maximum: Size(width: 100_000, height: 1), weight: 1, titled: false))
  }

  /// The stop sentence: two rows, one on a low terminal.
  private var stopRows: LayoutNode<PaneID> {
    .leaf(
      LayoutLeaf(
        [.stop], minimum: Size(width: 1, height: 2), maximum: Size(width: 100_000, height: 2), weight: 1, titled: false,
        floor: Size(width: 1, height: 1)))
  }

  /// A lesson's page; code and it are the last to go.
  private var lessonRows: LayoutNode<PaneID> {
    .leaf(
      LayoutLeaf(
        [.lesson], minimum: Size(width: 40, height: 14), maximum: Size(width: 100_000, height: 18), weight: 12,
        floor: Size(width: 20, height: 9), floorPriority: 250))
  }

  private var keyLine: LayoutNode<PaneID> {
    .leaf(
      LayoutLeaf(
        [.help], minimum: Size(width: 1, height: 1), maximum: Size(width: 100_000, height: 1), weight: 1, titled: false,
        floorPriority: 150))
  }
}

extension ConsoleLayout.Place {
  private static let unlimited = Size(width: 100_000, height: 100_000)

  private init(
    _ panes: [PaneID], weight: Int, priority: Int?, minimum: (Int, Int), maximum: Size = unlimited,
    floor: (Int, Int)? = nil, floorPriority: Int? = 0, adopts: Bool = false
  ) {
    self.panes = panes
    self.weight = weight
    self.priority = priority
    self.adopts = adopts
    self.minimum = Size(width: minimum.0, height: minimum.1)
    self.maximum = maximum
    self.floor = floor.map { Size(width: $0.0, height: $0.1) } ?? self.minimum
    self.floorPriority = floorPriority
    width = nil
  }

  /// The code: it never goes.
  static let code = Self([.code], weight: 8, priority: nil, minimum: (34, 7), floor: (20, 2), floorPriority: nil)

  static func registers(rows: Int) -> Self {
    Self(
      [.registers], weight: 8, priority: nil, minimum: (44, 7), maximum: Size(width: 92, height: rows), floor: (26, 3),
      floorPriority: 200)
  }

  /// A second vCPU's registers.
  fileprivate static let second = Self(
    [.secondRegisters], weight: 7, priority: 95, minimum: (44, 7), maximum: Size(width: 92, height: 100_000))

  /// The place with tabs: everything that has no place of its own can be brought up here.
  static func tabs(_ first: [PaneID], weight: Int) -> Self {
    Self(
      first, weight: weight, priority: nil, minimum: (78, 7), floor: (20, 4), floorPriority: 100, adopts: true)
  }

  static func side(_ panes: [PaneID], width: Int, height: Int, weight: Int, priority: Int) -> Self {
    Self(panes, weight: weight, priority: priority, minimum: (width, height))
  }

  static func side(_ pane: PaneID, width: Int, height: Int, weight: Int, priority: Int) -> Self {
    side([pane], width: width, height: height, weight: weight, priority: priority)
  }

  /// A place in a layout of one's own, by the pane in front.
  static func own(_ panes: [PaneID], isHome: Bool) -> Self {
    switch panes.first {
    case .code?: return code
    case .registers?: return registers(rows: 100_000)
    default:
      if isHome { return tabs(panes, weight: 4) }
      return side(panes, width: 38, height: 7, weight: 3, priority: 60)
    }
  }
}

extension ConsoleLayout {
  /// Code and registers above, exits below; memory, breakpoints and the guest's console as room allows.
  package static let standard = ConsoleLayout(
    name: "standard",
    rows: [
      Row(places: [
        .code, .registers(rows: 32),
        .side([.stack, .tables, .paging, .interrupts, .devices, .capabilities], width: 60, height: 7, weight: 6, priority: 40),
      ]),
      Row(places: [
        .tabs([.exits], weight: 4),
        .side(.reasons, width: 38, height: 7, weight: 2, priority: 90),
      ]),
      Row(places: [
        .side(.memory, width: 79, height: 8, weight: 3, priority: 80),
        .side([.breakpoints, .displays], width: 38, height: 8, weight: 2, priority: 60),
      ]),
      Row(places: [
        .side(.hypercalls, width: 70, height: 14, weight: 2, priority: 50),
        .side(.console, width: 70, height: 14, weight: 2, priority: 55),
      ]),
    ])

  /// For watching the monitor: exits, reasons and hypercalls large.
  package static let monitor = ConsoleLayout(
    name: "monitor",
    rows: [
      Row(places: [.code, .registers(rows: 20)]),
      Row(places: [
        .tabs([.exits, .memory, .breakpoints, .console], weight: 8),
        .side(.reasons, width: 44, height: 7, weight: 3, priority: 90),
      ]),
      Row(places: [.side(.hypercalls, width: 78, height: 7, weight: 4, priority: 80)]),
    ])

  /// For using the guest: its console large.
  package static let guest = ConsoleLayout(
    name: "guest",
    rows: [
      Row(places: [.code, .registers(rows: 14)]),
      Row(places: [
        .tabs([.console, .exits, .hypercalls, .memory, .breakpoints], weight: 10),
        .side(.reasons, width: 38, height: 7, weight: 2, priority: 50),
      ]),
    ])
}
