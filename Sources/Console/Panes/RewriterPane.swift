import Debugger
import Session
import TerminalUI

/// Rewritten code: the block at RIP beside its host form, what was made of the whole, where sensitive instructions
/// were met, and what trap and emulate would have missed.
package final class RewriterPane: ReportPane {
  package enum View: Int, CaseIterable, Sendable {
    case block, totals, sites, missed, policy
    var title: String { self == .missed ? "missed by trap and emulate" : "\(self)" }
  }
  private var shown = View.block

  package init() { super.init(.rewriter, followsEnd: false) }

  package override var view: Int { shown.rawValue }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    let tabs = View.allCases.map { $0 == shown ? "[\($0.title)]" : $0.title }.joined(separator: " ")
    return "Rewriter \(tabs) (m, b: next block)"
  }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String {
    if let why = RewritingReport(snapshot).whyEmpty { return why }
    return snapshot.phase == .running ? "shown when the guest stops" : "nothing at this address was executed yet: no block is known"
  }

  package override func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] {
    let report = RewritingReport(snapshot)
    guard report.whyEmpty == nil else { return [] }
    switch shown {
    case .block:
      guard let block = snapshot.rewriting.block else { return [] }
      let side = BlockReport(block, snapshot.vcpu, snapshot.memory, symbols: snapshot.symbols)
      return side.head.flatMap { $0.wrapped(to: width - 2, indent: 2) } + side.rows(width: width - 2)
    case .totals: return (report.totals + report.causes).flatMap { $0.wrapped(to: width - 2, indent: 14) }
    case .sites: return report.sites()
    case .missed: return report.missed
    case .policy: return report.policy
    }
  }

  package override func handleKey(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.modifiers.isEmpty else { return .ignored }
    switch key.typed {
    case "m":
      shown = View(rawValue: (shown.rawValue + 1) % View.allCases.count) ?? .block
      select(nil)
      return .handled
    case "b": return .perform("stepblock")
    default: return .ignored
    }
  }
}
