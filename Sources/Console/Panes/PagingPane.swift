import Debugger
import Session
import TerminalUI
import VMCore

/// The page walk of one address level by level, and the map of everything mapped.
package final class PagingPane: ReportPane {
  /// The address asked for; nil follows the cursor of the memory pane, else of the code pane.
  package private(set) var address: UInt64?
  private let code: CodePane
  private let memory: MemoryPane
  private var shown: UInt64 = 0
  private var map: (generation: UInt64, rows: [ReportRow])?

  package init(code: CodePane, memory: MemoryPane) {
    self.code = code
    self.memory = memory
    super.init(.paging, followsEnd: false)
  }

  package override var view: Int { Int(truncatingIfNeeded: shown) }

  /// The address walked for.
  package func target(_ snapshot: SessionSnapshot) -> UInt64 {
    address ?? memory.cursorLinear ?? code.cursorLinear(snapshot)
  }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    let whose = address != nil ? "asked for; Esc: cursor" : memory.cursorLinear != nil ? "memory's cursor" : "code's cursor"
    return "Page walk of \(Format.hex(target(snapshot)))h (\(whose)), then the map"
  }

  package override func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool) {
    shown = target(snapshot)
    super.render(snapshot, on: canvas, focused: focused)
  }

  /// The walk's rows alone.
  package func walk(_ snapshot: SessionSnapshot) -> [ReportRow] {
    PagingReport(snapshot.vcpu, snapshot.memory, symbols: snapshot.symbols).walk(GVA(target(snapshot)))
  }

  package override func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] {
    walk(snapshot) + [ReportRow.heading("Map")] + mapRows(snapshot)
  }

  /// The map is long work: while the guest runs it is a second old.
  private func mapRows(_ snapshot: SessionSnapshot) -> [ReportRow] {
    if let map, map.generation == snapshot.generation || snapshot.isRunning && map.generation &+ 30 > snapshot.generation {
      return map.rows
    }
    let rows = PagingReport(snapshot.vcpu, snapshot.memory, symbols: snapshot.symbols).map()
    map = (snapshot.generation, rows)
    return rows
  }

  package func show(_ target: UInt64) {
    address = target
    shown = target
    select(nil)
  }

  package override func handleKey(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.code == .escape, address != nil else { return .ignored }
    address = nil
    return .handled
  }

  package override func goTo(_ text: String, _ snapshot: SessionSnapshot) -> String? {
    switch snapshot.evaluate(text) {
    case .failure(let error): return error.description
    case .success(let target):
      show(target)
      return nil
    }
  }
}
