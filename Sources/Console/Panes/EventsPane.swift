import Debugger
import Session
import TerminalUI
import VMCore

/// The event stream: everything engine, platform and run control reported, by kind and by text.
package final class EventsPane: ListPane {
  private var group = EventReport.Group.all
  /// Only rows with this text, as searched for last.
  private var needle: String?
  private var searched: String?
  private var known: (generation: UInt64, group: EventReport.Group, needle: String?, events: [Event])?
  private var reported: (generation: UInt64, report: EventReport)?

  package init() { super.init(.events, followsEnd: true) }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    let filter = needle.map { ", with '\($0)'" } ?? ""
    let lost = snapshot.droppedEvents > 0 ? ", \(Format.grouped(snapshot.droppedEvents)) older ones not kept" : ""
    return "Events: \(group.rawValue)\(filter) (m: kind, = only what was searched\(lost))"
  }

  private func report(_ snapshot: SessionSnapshot) -> EventReport {
    if let reported, reported.generation == snapshot.generation { return reported.report }
    let report = EventReport(snapshot)
    reported = (snapshot.generation, report)
    return report
  }

  private func events(_ snapshot: SessionSnapshot) -> [Event] {
    if let known, known.generation == snapshot.generation, known.group == group, known.needle == needle {
      return known.events
    }
    var events = snapshot.events.filter { group.contains($0.kind) }
    if let needle {
      let report = report(snapshot)
      events = events.filter { report.row($0).text.lowercased().contains(needle) }
    }
    known = (snapshot.generation, group, needle, events)
    return events
  }

  package override func identities(_ snapshot: SessionSnapshot) -> [UInt64] { events(snapshot).map(\.sequence) }

  package override func header(width: Int, _ snapshot: SessionSnapshot) -> String? {
    "     event      time us  vcpu kind      what"
  }

  package override func drawRow(
    _ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, y: Int, surface: StyleRole
  ) {
    let events = events(snapshot)
    guard events.indices.contains(index) else { return }
    canvas.draw(report(snapshot).row(events[index]), x: 0, y: y)
  }

  package override func rowText(_ index: Int, _ snapshot: SessionSnapshot) -> String {
    let events = events(snapshot)
    return events.indices.contains(index) ? report(snapshot).row(events[index]).text : ""
  }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String {
    group == .all && needle == nil ? "no events yet" : "no such event among the newest \(snapshot.events.count); m: other kinds"
  }

  package override func find(_ text: String, backward: Bool, _ snapshot: SessionSnapshot) -> Bool {
    searched = text
    return super.find(text, backward: backward, snapshot)
  }

  package override func handle(_ key: Key, row index: Int?, _ snapshot: SessionSnapshot) -> PaneResponse {
    switch (key.code, key.typed) {
    case (_, "m"):
      let all = EventReport.Group.allCases
      group = all[((all.firstIndex(of: group) ?? 0) + 1) % all.count]
      return .say("events: \(group.rawValue)")
    case (_, "="):
      guard let text = searched, needle == nil else {
        needle = nil
        return searched == nil ? .say("search first (/), then = shows only what was found") : .handled
      }
      needle = text.lowercased()
      return .say("only events with '\(text)'; = shows all again")
    case (.enter, _):
      let events = events(snapshot)
      guard let index, events.indices.contains(index) else { return .ignored }
      guard let target = report(snapshot).row(events[index]).target else {
        return .say("this event has no place in the code")
      }
      return ReportPane.response(target)
    default: return .ignored
    }
  }
}
