import Debugger
import Session
import TerminalUI

/// A pane of rows with a selection that stays on its row while the list grows: by identity, not by
/// place. With nothing selected it follows the newest row (or stays at the top, for lists that do not
/// grow at the end).
package class ListPane: Pane {
  package let id: PaneID
  private let followsEnd: Bool
  private(set) package var selected: UInt64?
  /// The row that stands first although newer ones are below the last, until somebody moves.
  package var pinned: UInt64?
  private var top = 0
  private var visibleRows = 1

  package init(_ id: PaneID, followsEnd: Bool) {
    self.id = id
    self.followsEnd = followsEnd
  }

  // What a list provides.

  package func title(_ snapshot: SessionSnapshot) -> String { id.tabName }
  /// Identities of the rows, in order.
  package func identities(_ snapshot: SessionSnapshot) -> [UInt64] { [] }
  package func drawRow(_ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, y: Int, surface: StyleRole) {}
  /// What `find` looks at.
  package func rowText(_ index: Int, _ snapshot: SessionSnapshot) -> String { "" }
  /// Column headings, or nil.
  package func header(width: Int, _ snapshot: SessionSnapshot) -> String? { nil }
  /// Rows kept at the bottom for details of the selected row.
  package func detailRows(height: Int) -> Int { 0 }
  package func drawDetail(_ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas) {}
  package func emptyText(_ snapshot: SessionSnapshot) -> String { "nothing yet" }
  /// Keys beyond moving; `index` is the selected row, or the newest.
  package func handle(_ key: Key, row index: Int?, _ snapshot: SessionSnapshot) -> PaneResponse { .ignored }

  package func stopped(_ snapshot: SessionSnapshot) {}
  package var takesText: Bool { false }
  package func subject(_ snapshot: SessionSnapshot) -> ExplainSubject? { nil }

  /// The row keys act on: the selected one, else the one being followed.
  package func currentIndex(_ identities: [UInt64]) -> Int? {
    if let selected, let index = identities.firstIndex(of: selected) { return index }
    return identities.isEmpty ? nil : followsEnd ? identities.count - 1 : 0
  }

  /// The selected row is a row of the past.
  package var isLookingBack: Bool { selected != nil }

  package func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool) {
    let identities = identities(snapshot)
    var first = 0
    if let header = header(width: canvas.width, snapshot), canvas.height > 2 {
      canvas.fitted(header, x: 0, y: 0, .dim)
      first = 1
    }
    guard !identities.isEmpty else {
      canvas.fitted(emptyText(snapshot), x: 1, y: first, .dim)
      return
    }
    let details = detailRows(height: canvas.height)
    visibleRows = max(canvas.height - first - details, 1)
    let current = currentIndex(identities) ?? 0
    if selected == nil, let pinned, let index = identities.firstIndex(of: pinned) {
      top = index
    } else if selected == nil {
      top = followsEnd ? identities.count - visibleRows : 0
    } else if current < top {
      top = current
    } else if current >= top + visibleRows {
      top = current - visibleRows + 1
    }
    top = min(max(top, 0), max(identities.count - visibleRows, 0))
    for row in 0..<min(visibleRows, identities.count - top) {
      let index = top + row
      let isSelected = index == current && (selected != nil || (focused && !followsEnd))
      let y = first + row
      guard y < canvas.height else { break }
      drawRow(index, snapshot, canvas.inner(y: y, height: 1), y: 0, surface: .text)
      if isSelected { canvas.lay(.selection, row: y) }
    }
    if details > 0 {
      drawDetail(current, snapshot, canvas.inner(y: canvas.height - details, height: details))
    }
  }

  package func handle(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    let identities = identities(snapshot)
    if key.modifiers.isEmpty, let distance = distance(key.code) {
      move(distance, identities)
      return .handled
    }
    if key.code == .end && key.modifiers.isEmpty {
      pinned = nil
      selected = followsEnd ? nil : identities.last
      return .handled
    }
    if key.code == .escape, selected != nil {
      selected = nil
      return .handled
    }
    return handle(key, row: currentIndex(identities), snapshot)
  }

  private func distance(_ code: KeyCode) -> Int? {
    switch code {
    case .up: -1
    case .down: 1
    case .pageUp: -visibleRows
    case .pageDown: visibleRows
    case .home: -1_000_000
    default: nil
    }
  }

  /// Moves the selection; past the newest row it follows again.
  package func move(_ distance: Int, _ identities: [UInt64]) {
    guard let current = place(toMoveFrom: identities, by: distance) else { return }
    pinned = nil
    let target = current + distance
    if followsEnd && target >= identities.count {
      selected = nil
    } else {
      selected = identities[min(max(target, 0), identities.count - 1)]
    }
  }

  /// From rows that are pinned the first key leads to the row above or below them.
  private func place(toMoveFrom identities: [UInt64], by distance: Int) -> Int? {
    guard selected == nil, let pinned, let first = identities.firstIndex(of: pinned) else { return currentIndex(identities) }
    return distance < 0 ? first : min(first + visibleRows, identities.count) - 1
  }

  package func scroll(_ rows: Int, _ snapshot: SessionSnapshot) { move(rows, identities(snapshot)) }

  package func select(_ identity: UInt64?) { selected = identity }

  package func click(x: Int, y: Int, _ snapshot: SessionSnapshot) {
    let identities = identities(snapshot)
    let index = top + y - (header(width: 80, snapshot) == nil ? 0 : 1)
    if identities.indices.contains(index) { selected = identities[index] }
  }

  package func find(_ text: String, backward: Bool, _ snapshot: SessionSnapshot) -> Bool {
    let identities = identities(snapshot)
    guard let current = currentIndex(identities) else { return false }
    let needle = text.lowercased()
    let count = identities.count
    for step in 1...count {
      let index = (current + (backward ? count - step : step)) % count
      if rowText(index, snapshot).lowercased().contains(needle) {
        selected = identities[index]
        return true
      }
    }
    return false
  }

  package func goTo(_ text: String, _ snapshot: SessionSnapshot) -> String? {
    guard let number = UInt64(text.hasPrefix("#") ? String(text.dropFirst()) : text) else {
      return "expected a sequence number such as 1842"
    }
    let identities = identities(snapshot)
    guard let nearest = identities.last(where: { $0 <= number }) ?? identities.first else { return "the list is empty" }
    selected = nearest
    return nearest == number ? nil : "#\(number) is not in the list; the nearest is #\(nearest)"
  }
}
