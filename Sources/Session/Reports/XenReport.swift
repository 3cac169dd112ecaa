import Debugger
import Paravirtual
import VMCore

/// A paravirtual domain in rows: its hypercalls by number and by caller, traps, event channels, frames, start_info.
package struct XenReport {
  private let snapshot: SessionSnapshot

  package init(_ snapshot: SessionSnapshot) { self.snapshot = snapshot }

  /// Why there is nothing of a domain to show; nil where there is.
  package var whyEmpty: String? {
    if snapshot.xen != nil { return nil }
    if snapshot.phase == .running { return "shown when the guest stops" }
    return snapshot.replay != nil ? "recordings keep hypercalls, not the domain's state" : "the guest is no paravirtual domain (--technique pv)"
  }

  // MARK: hypercalls

  /// Count, errors and host time by number, then the addresses calls came from.
  package var calls: [ReportRow] {
    let all = snapshot.hypercallStatistics
    guard !all.isEmpty else { return [] }
    let total = all.reduce(0) { $0 + $1.count }
    var rows = [ReportRow(Column.left("hypercall", 30) + "     count  share  errors      avg      max", .dim)]
    rows += all.map { row(of: $0, total) }
    rows += [ReportRow(), .heading("by caller")]
    for place in snapshot.hypercallAddresses {
      var row = ReportRow(Column.right("\(place.count)", 10) + "  ", .value)
      row.add(Hex.padded(place.address, 8) + " ", .address)
      row.add(snapshot.symbols.name(of: place.address).map { "<\($0)>" } ?? "", .symbol)
      row.target = .code(place.address)
      rows.append(row)
    }
    return rows
  }

  private func row(of call: HypercallStatistics, _ total: UInt64) -> ReportRow {
    var row = ReportRow()
    row.add(Column.left(call.name, 30), .exit)
    row.add(Column.right("\(call.count)", 10), .value)
    row.add(Column.right(StatisticsReport.percent(Double(call.count) / Double(max(total, 1))), 7), .value)
    row.add(Column.right("\(call.errors)", 8), call.errors > 0 ? .bad : .dim)
    row.add(cost(UInt64(min(max(call.averageCost, 0), 1e15)), call) + cost(call.maximumCost, call), .dim)
    return row
  }

  private func cost(_ nanoseconds: UInt64, _ call: HypercallStatistics) -> String {
    Column.right(call.maximumCost == 0 ? "-" : StatisticsReport.duration(nanoseconds), 9)
  }

  // MARK: what devices tell

  private func device(_ name: String) -> [ReportRow] {
    guard let device = snapshot.devices.first(where: { $0.device == name }) else { return [] }
    return [.heading(name)] + device.rows.map { named($0.name, $0.value, 14) }
  }

  private func named(_ name: String, _ value: String, _ width: Int) -> ReportRow {
    var row = ReportRow()
    row.add(name, width: width, .symbol)
    row.add(value, .value)
    return row
  }

  package var domain: [ReportRow] { device("domain") + device("xen timer") }

  /// The trap table: what the guest registered, and how often each trap was handed to it.
  package var traps: [ReportRow] { device("trap table") }

  /// Each port with what it is bound to, and whether it is pending and masked.
  package var eventChannels: [ReportRow] {
    guard let device = snapshot.devices.first(where: { $0.device == "event channels" }) else { return [] }
    let bits = device.bitmaps.map { ($0.name, $0.bits) }
    var rows: [ReportRow] = [.heading("event channels")]
    for row in device.rows {
      var shown = named(row.name, row.value, 14)
      let port = Int(row.name.split(separator: " ").last ?? "")
      for (name, set) in bits {
        guard let port else { break }
        let isSet = set[UInt8(truncatingIfNeeded: port)]
        shown.add(isSet ? "  \(name)" : "  not \(name)", isSet ? .set : .clear)
      }
      rows.append(shown)
    }
    return rows
  }

  /// start_info, field by field.
  package var startInfo: [ReportRow] { snapshot.xen?.startInfo.map { named($0.name, $0.value, 16) } ?? [] }

  // MARK: frames

  /// Counts by owner and type, then every frame that is a table.
  package var frames: [ReportRow] {
    guard let view = snapshot.xen?.frames else { return [] }
    var rows = [ReportRow(Column.left("owner", 10) + Column.left("type", 18) + Column.right("frames", 8), .dim)]
    for owner in [FrameOwner.domain, .shared, .monitor] {
      for type in FrameType.allCases {
        let count = view.count(owner, type)
        guard count > 0 else { continue }
        var row = ReportRow(Column.left("\(owner)", 10), .symbol)
        row.add(Column.left(type.name, 18), .exit)
        row.add(Column.right("\(count)", 8), .value)
        rows.append(row)
      }
    }
    rows += [ReportRow(), .heading("tables (g: who maps a frame; g pfn N by the guest's number)")]
    return rows + view.tables.map { table($0.mfn, $0.frame, view) }
  }

  private func table(_ mfn: UInt64, _ frame: Frame, _ view: FrameView) -> ReportRow {
    var row = ReportRow("mfn " + Column.left(String(mfn, radix: 16), 8), .address)
    row.add("pfn " + Column.left(view.layout.pseudoFrame(mfn).map { String($0, radix: 16) } ?? "-", 8), .address)
    row.add(frame.type.name, width: 16, .exit)
    row.add("\(frame.count) references", .value)
    if frame.isPinned { row.add("  pinned", .set) }
    row.target = .physical(mfn << 12)
    return row
  }

  /// One frame: owner, type, references, and the entries that map it.
  package func frame(_ mfn: UInt64) -> [ReportRow] {
    snapshot.xen?.frames.rows(mfn).map { named($0.name, $0.value, 12) } ?? []
  }
}
