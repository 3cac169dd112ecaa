import Session
import TerminalUI

/// The platform's devices and what the engine can do, name and value a row.
package final class DevicesPane: ListPane {
  package init() { super.init(.devices, followsEnd: false) }

  private struct Row {
    var heading: Bool
    var name: String
    var value: String
  }

  private func rows(_ snapshot: SessionSnapshot) -> [Row] {
    var rows: [Row] = []
    for device in snapshot.devices {
      rows.append(Row(heading: true, name: device.device, value: ""))
      rows += device.rows.map { Row(heading: false, name: $0.name, value: $0.value) }
    }
    rows.append(Row(heading: true, name: "engine \(snapshot.engine)", value: ""))
    for capability in type(of: snapshot.capabilities).allCases {
      let has = snapshot.capabilities.contains(capability)
      rows.append(Row(heading: false, name: capability.name, value: has ? "yes" : "no"))
    }
    return rows
  }

  package override func title(_ snapshot: SessionSnapshot) -> String { "Devices and engine" }

  package override func identities(_ snapshot: SessionSnapshot) -> [UInt64] {
    (0..<rows(snapshot).count).map { UInt64($0) }
  }

  package override func drawRow(
    _ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, y: Int, surface: StyleRole
  ) {
    let row = rows(snapshot)[index]
    if row.heading {
      canvas.fitted(row.name, x: 1, y: y, .label)
    } else {
      canvas.fitted(row.name, x: 3, y: y, .dim, limit: 20)
      canvas.fitted(row.value, x: 24, y: y, .value)
    }
  }

  package override func rowText(_ index: Int, _ snapshot: SessionSnapshot) -> String {
    let row = rows(snapshot)[index]
    return "\(row.name) \(row.value)"
  }
}
