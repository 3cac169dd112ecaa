import Session
import TerminalUI

extension ConsoleModel {
  /// A border between panes that can be dragged.
  enum Border: Equatable {
    /// Between two places of a row, by the pane in front of each.
    case column(left: PaneID, right: PaneID)
    /// Between two rows, by a pane of each.
    case row(above: PaneID, below: PaneID)
  }

  func handle(_ mouse: MouseEvent) {
    guard mode != .help, mode != .confirmQuit else { return }
    settleFocus()
    switch mouse.action {
    case .drag:
      if let drag { move(drag, x: mouse.x, y: mouse.y) }
      return
    case .release:
      drag = nil
      return
    case .press:
      note = []
      probe = nil
      remark = nil
      drag = mouse.button == 0 && zoomed == nil ? border(x: mouse.x, y: mouse.y) : nil
    default: break
    }
    guard let (pane, content) = target(x: mouse.x, y: mouse.y) else { return }
    switch mouse.action {
    case .wheelUp: panes[pane]?.scroll(-3, snapshot)
    case .wheelDown: panes[pane]?.scroll(3, snapshot)
    case .press where mouse.button == 2: explain(mouse, pane, content)
    case .press where mouse.button == 0: press(mouse, pane, content)
    default: break
    }
  }

  private func press(_ mouse: MouseEvent, _ pane: PaneID, _ content: Region) {
    if mode == .guest && pane != .console { mode = .panes }
    focus = pane
    if content.contains(x: mouse.x, y: mouse.y) {
      let role = frame?[mouse.x, mouse.y].role
      panes[pane]?.click(x: mouse.x - content.x, y: mouse.y - content.y, snapshot)
      // A flag says what it is; values and rows are only selected.
      if role == .flagSet || role == .flagClear || role == .changed { explain(mouse, pane, content) }
    } else if zoomed == nil, let tab = tab(x: mouse.x, y: mouse.y) {
      bringUp(tab)
    }
  }

  private func explain(_ mouse: MouseEvent, _ pane: PaneID, _ content: Region) {
    guard mode == .panes, let word = word(x: mouse.x, y: mouse.y, in: content, of: pane) else { return }
    focus = pane
    point(at: word)
  }

  private func target(x: Int, y: Int) -> (PaneID, Region)? {
    if let zoomed { return (zoomed, zoomRegion.dropTop(1)) }
    for placement in placements {
      let pane = front(of: placement)
      let isHit = placement.content.contains(x: x, y: y) || placement.title.contains(x: x, y: y)
      if isHit && !pane.isFrame { return (pane, placement.content) }
    }
    return nil
  }

  // MARK: borders

  /// Where the place is that has a pane first; nil where there is no room for it.
  private func place(_ pane: PaneID) -> Region? {
    placements.first { $0.panes.first == pane }.map {
      Region(x: $0.title.x, y: $0.title.y, width: $0.title.width, height: $0.title.height + $0.content.height)
    }
  }

  private func border(x: Int, y: Int) -> Border? {
    let inner = placements.filter { !($0.panes.first ?? .status).isFrame }
    if arrangement.separators.contains(where: { $0.contains(x: x, y: y) }) {
      func beside(_ column: Int) -> PaneID? {
        inner.first { $0.title.x <= column && column < $0.title.endX && $0.title.y <= y && y < $0.content.endY }?.panes.first
      }
      guard let left = beside(x - 1), let right = beside(x + 1) else { return nil }
      return .column(left: left, right: right)
    }
    guard let below = inner.first(where: { $0.title.contains(x: x, y: y) })?.panes.first,
      let above = inner.first(where: { $0.content.endY == y && $0.title.x <= x && x < $0.title.endX })?.panes.first
    else { return nil }
    return .row(above: above, below: below)
  }

  /// Gives the two sides of a border new sizes; the others of the row or screen keep theirs.
  private func move(_ border: Border, x: Int, y: Int) {
    switch border {
    case .column(let left, let right):
      guard let a = place(left), let b = place(right) else { return }
      let width = min(max(x - a.x, 1), a.width + b.width - 1)
      resizeColumns(of: left) { pane, now in
        pane == left ? width : pane == right ? a.width + b.width - width : now
      }
    case .row(let above, let below):
      guard let a = place(above), let b = place(below) else { return }
      let height = min(max(y - a.y, 2), a.height + b.height - 2)
      resizeRows { row, now in
        row.contains(above) ? height : row.contains(below) ? a.height + b.height - height : now
      }
    }
  }

  private func resizeColumns(of pane: PaneID, _ size: (PaneID, Int) -> Int) {
    guard let index = layout.rows.firstIndex(where: { $0.places.contains { $0.panes.contains(pane) } }) else { return }
    let total = max(screen.width - (layout.rows[index].places.count - 1), 1)
    for column in layout.rows[index].places.indices {
      guard let front = layout.rows[index].places[column].panes.first, let now = place(front) else { continue }
      layout.rows[index].places[column].width = size(front, now.width) * 1000 / total + 1
    }
  }

  private func resizeRows(_ size: (Set<PaneID>, Int) -> Int) {
    for index in layout.rows.indices {
      let members = Set(layout.rows[index].places.flatMap(\.panes))
      guard let now = layout.rows[index].places.compactMap({ $0.panes.first.flatMap { place($0) } }).first else { continue }
      layout.rows[index].height = size(members, now.height) * 1000 / max(screen.height, 1) + 1
    }
  }
}
