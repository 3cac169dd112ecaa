import Debugger
import Session
import TerminalUI

/// Another vCPU's registers beside the current one's: the next in order.
package final class SecondRegistersPane: Pane {
  package let id = PaneID.secondRegisters
  private let registers = RegistersPane()

  package init() {}

  /// The session as if the other vCPU were the current one.
  private func other(_ snapshot: SessionSnapshot) -> SessionSnapshot {
    var other = snapshot
    other.currentVCPU = (snapshot.currentVCPU + 1) % max(snapshot.vcpus.count, 1)
    return other
  }

  package func title(_ snapshot: SessionSnapshot) -> String {
    let other = other(snapshot)
    let place = other.symbols.name(of: other.vcpu.linearRIP.value).map { "  \($0)" } ?? ""
    return "vCPU\(other.currentVCPU) registers  \(other.vcpu.mode.name) CPL\(other.vcpu.cpl)\(place)"
  }

  package func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool) {
    registers.render(other(snapshot), on: canvas, focused: focused)
  }

  package func handle(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    if key.code == .enter { return .perform("vcpu \(other(snapshot).currentVCPU)") }
    return registers.handle(key, other(snapshot))
  }

  package func scroll(_ rows: Int, _ snapshot: SessionSnapshot) { registers.scroll(rows, other(snapshot)) }

  package func find(_ text: String, backward: Bool, _ snapshot: SessionSnapshot) -> Bool {
    registers.find(text, backward: backward, other(snapshot))
  }

  package func click(x: Int, y: Int, _ snapshot: SessionSnapshot) { registers.click(x: x, y: y, other(snapshot)) }

  package func subject(_ snapshot: SessionSnapshot) -> ExplainSubject? { registers.subject(other(snapshot)) }
}
