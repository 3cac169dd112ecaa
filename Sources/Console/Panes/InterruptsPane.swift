import Debugger
import Session
import TerminalUI

/// Interrupt controllers bit by bit (asked, in service, masked) and timers with the time to their next event.
package final class InterruptsPane: ReportPane {
  private enum View: Int, CaseIterable {
    case all, controllers, timers
    var name: String { self == .all ? "all" : self == .controllers ? "controllers" : "timers" }
  }
  private var part = View.all

  package init() { super.init(.interrupts, followsEnd: false) }

  package override var view: Int { part.rawValue }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    "Interrupt controllers and timers (m: \(part.name))"
  }

  package override func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] {
    let report = InterruptReport(snapshot.devices)
    switch part {
    case .all: return report.whole
    case .controllers: return report.controllers
    case .timers: return report.timers
    }
  }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String {
    "the platform has no interrupt controllers or timers of its own"
  }

  package override func handleKey(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.typed == "m" else { return .ignored }
    part = View.allCases[(part.rawValue + 1) % View.allCases.count]
    select(nil)
    return .handled
  }
}
