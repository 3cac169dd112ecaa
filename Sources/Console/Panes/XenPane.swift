import Debugger
import Session
import TerminalUI

/// A paravirtual domain: hypercalls by number and caller, traps, event channels, who owns and maps which frame,
/// start_info.
package final class XenPane: ReportPane {
  package enum View: Int, CaseIterable, Sendable { case calls, domain, traps, events, frames, start_info }
  private var shown = View.calls
  /// The frame looked at, by its machine number.
  private var frame: UInt64?

  package init() { super.init(.xen, followsEnd: false) }

  package override var view: Int { shown.rawValue + Int(truncatingIfNeeded: (frame ?? .max) &+ 1) << 4 }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    let tabs = View.allCases.map { $0 == shown ? "[\($0)]" : "\($0)" }.joined(separator: " ")
    return "Xen \(tabs) (m: next, g: a frame)"
  }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String {
    if shown == .calls { return "no hypercalls yet: press h to run to the first" }
    return XenReport(snapshot).whyEmpty ?? "nothing yet"
  }

  package override func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] {
    let report = XenReport(snapshot)
    if shown == .calls { return report.calls }
    guard report.whyEmpty == nil else { return [] }
    switch shown {
    case .calls: return report.calls
    case .domain: return report.domain
    case .traps: return report.traps
    case .events: return report.eventChannels
    case .frames: return frame.map { report.frame($0) } ?? report.frames
    case .start_info: return report.startInfo
    }
  }

  package override func handleKey(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.modifiers.isEmpty else { return .ignored }
    if key.code == .escape, frame != nil, selected == nil {
      frame = nil
      return .handled
    }
    guard key.typed == "m" else { return .ignored }
    shown = View(rawValue: (shown.rawValue + 1) % View.allCases.count) ?? .calls
    frame = nil
    select(nil)
    return .handled
  }

  /// A machine frame's number in hexadecimal, or `pfn N`.
  package override func goTo(_ text: String, _ snapshot: SessionSnapshot) -> String? {
    guard let xen = snapshot.xen else { return XenReport(snapshot).whyEmpty }
    let words = text.lowercased().split(separator: " ").map(String.init)
    let isPseudo = words.first == "pfn"
    let digits = words.last.map { $0.hasPrefix("0x") ? String($0.dropFirst(2)) : $0 } ?? ""
    guard let number = UInt64(digits, radix: 16) else { return "a frame's number in hexadecimal was expected, or pfn and one" }
    guard let mfn = isPseudo ? xen.machineFrame(number) : number, mfn < xen.machineFrameCount else { return "there is no such frame" }
    shown = .frames
    frame = mfn
    select(nil)
    return nil
  }
}
