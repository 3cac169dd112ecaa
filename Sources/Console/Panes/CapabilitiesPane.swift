import Debugger
import Session
import TerminalUI

/// What the engine and the technique can do here, how fast, and what this host lacks.
package final class CapabilitiesPane: ReportPane {
  package init() { super.init(.capabilities, followsEnd: false) }

  package override func title(_ snapshot: SessionSnapshot) -> String { "Capabilities of \(snapshot.engine)" }

  package override func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] {
    CapabilityReport(snapshot).rows.flatMap { $0.wrapped(to: width - 2, indent: 13) }
  }
}
