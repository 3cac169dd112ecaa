import TerminalUI

/// The layouts by name: trees of rules, good for every size from 80x24 up.
package enum ConsoleLayout: String, CaseIterable, Sendable {
  /// Code and registers above, exits below; memory, breakpoints and the guest's console as room allows.
  case standard
  /// For watching the monitor: exits, reasons and hypercalls large.
  case monitor
  /// For using the guest: its console large.
  case guest

  package static let minimum = Size(width: 80, height: 24)

  package var tree: LayoutNode<PaneID> {
    .rows(
      [frame(.status)] + body + [frame(.stop, rows: 2), frame(.command), frame(.help)])
  }

  private func frame(_ pane: PaneID, rows: Int = 1) -> LayoutNode<PaneID> {
    .leaf(
      LayoutLeaf(
        [pane], minimum: Size(width: 1, height: rows), maximum: Size(width: 100_000, height: rows), weight: 1,
        titled: false))
  }

  private var code: LayoutLeaf<PaneID> { LayoutLeaf([.code], minimum: Size(width: 34, height: 7), weight: 8) }

  private func registers(maximum height: Int) -> LayoutLeaf<PaneID> {
    LayoutLeaf(
      [.registers], minimum: Size(width: 44, height: 7), maximum: Size(width: 92, height: height), weight: 8)
  }

  /// The pane with tabs: everything that has no place of its own can be brought up here.
  private func tabs(_ first: [PaneID], weight: Int) -> LayoutLeaf<PaneID> {
    let rest: [PaneID] = [
      .anatomy, .events, .tables, .interrupts, .devices, .capabilities, .paging, .stack, .screen, .messages,
    ]
    let first = first + rest.filter { !first.contains($0) && !hasOwnPlace($0) }
    return LayoutLeaf(first, minimum: Size(width: 78, height: 7), weight: weight, adopts: true)
  }

  /// Panes the standard layout shows apart where there is room.
  private func hasOwnPlace(_ pane: PaneID) -> Bool {
    self == .standard && [.tables, .interrupts, .devices, .capabilities, .paging, .stack].contains(pane)
  }

  private func side(_ pane: PaneID, width: Int, height: Int, weight: Int, priority: Int) -> LayoutNode<PaneID> {
    .leaf(
      LayoutLeaf([pane], minimum: Size(width: width, height: height), weight: weight, priority: priority))
  }

  private var body: [LayoutNode<PaneID>] {
    switch self {
    case .standard:
      [
        .columns([
          .leaf(code), .leaf(registers(maximum: 32)),
          .leaf(
            LayoutLeaf(
              [.stack, .tables, .paging, .interrupts, .devices, .capabilities], minimum: Size(width: 60, height: 7),
              weight: 6, priority: 40)),
        ]),
        .columns([
          .leaf(tabs([.exits], weight: 4)),
          side(.reasons, width: 38, height: 7, weight: 2, priority: 90),
        ]),
        .columns([
          side(.memory, width: 79, height: 8, weight: 3, priority: 80),
          side(.breakpoints, width: 38, height: 8, weight: 2, priority: 60),
        ]),
        .columns([
          side(.hypercalls, width: 70, height: 14, weight: 2, priority: 50),
          side(.console, width: 70, height: 14, weight: 2, priority: 55),
        ]),
      ]
    case .monitor:
      [
        .columns([.leaf(code), .leaf(registers(maximum: 20))]),
        .columns([
          .leaf(tabs([.exits, .memory, .breakpoints, .console], weight: 8)),
          side(.reasons, width: 44, height: 7, weight: 3, priority: 90),
        ]),
        side(.hypercalls, width: 78, height: 7, weight: 4, priority: 80),
      ]
    case .guest:
      [
        .columns([.leaf(code), .leaf(registers(maximum: 14))]),
        .columns([
          .leaf(
            tabs([.console, .exits, .hypercalls, .memory, .breakpoints], weight: 10)),
          side(.reasons, width: 38, height: 7, weight: 2, priority: 50),
        ]),
      ]
    }
  }
}
