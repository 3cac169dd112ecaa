import Debugger
import Session
import TerminalUI
import VMCore

/// The stack word by word with symbols, and who called whom; side by side where there is room.
package final class StackPane: ReportPane {
  /// Slots shown.
  private var slots = 64

  package init() { super.init(.stack, followsEnd: false) }

  package override var view: Int { slots }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    "Stack and back-trace (Enter goes there, d: \(slots == 64 ? "512" : "64") words)"
  }

  package override func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] {
    let report = StackReport(snapshot.vcpu, snapshot.memory, symbols: snapshot.symbols)
    if width >= 100 { return report.beside(left: min(width / 2, 70), slots: slots) }
    return report.whole(slots: slots)
  }

  package override func handleKey(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.typed == "d" else { return .ignored }
    slots = slots == 64 ? 512 : 64
    return .handled
  }

  package override func goTo(_ text: String, _ snapshot: SessionSnapshot) -> String? {
    switch snapshot.evaluate(text) {
    case .failure(let error): return error.description
    case .success(let address):
      let found = rows(snapshot).firstIndex { $0.target == .linear(address) }
      guard let found else { return "\(Format.hex(address))h is not among the \(slots) words shown" }
      select(UInt64(found))
      return nil
    }
  }

  package override func stopped(_ snapshot: SessionSnapshot) { select(nil) }
}
