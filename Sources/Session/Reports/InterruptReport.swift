import Debugger
import VMCore
import X86

/// Interrupt controllers bit by bit and timers with the time to their next event, as rows.
package struct InterruptReport {
  private let devices: [DeviceInspection]

  package init(_ devices: [DeviceInspection]) { self.devices = devices }

  package var controllers: [ReportRow] {
    devices.filter { $0.role == .interruptController }.flatMap { device in
      device.bitmaps.first?.count == 256 ? local(device) : lines(device)
    }
  }

  package var timers: [ReportRow] {
    devices.filter { $0.role == .timer }.flatMap { device in [ReportRow.heading(device.device)] + plain(device) }
  }

  package var whole: [ReportRow] { controllers + timers }

  private func plain(_ device: DeviceInspection, without hidden: Set<String> = []) -> [ReportRow] {
    device.rows.filter { !hidden.contains($0.name) }.map { entry in
      var row = ReportRow("  ")
      row.add(entry.name, width: 20, .dim)
      row.add(entry.value, .value)
      return row
    }
  }

  // MARK: controllers with wired lines

  /// A row for each line that has a name or a bit set: what is asked, served and masked there.
  private func lines(_ device: DeviceInspection) -> [ReportRow] {
    let names = device.bitmaps.first?.lines ?? []
    let count = device.bitmaps.first?.count ?? 0
    var head = ReportRow(device.device, .heading)
    for name in ["INTR", "id"] {
      if let value = device.rows.first(where: { $0.name == name })?.value { head.add("  \(name) \(value)", .value) }
    }
    var columns = ReportRow("  line            vector", .dim)
    for map in device.bitmaps { columns.add("  \(map.name)", .dim) }
    var rows = [head, columns]
    for line in 0..<count {
      let name = names.indices.contains(line) ? names[line] : ""
      let entry = device.rows.first { $0.name == "pin \(line)" }?.value
      let isUsed = device.bitmaps.contains { $0.name != "masked" && $0.name != "IMR" && $0.bits[Vector(line)] }
      guard !name.isEmpty && count == 16 || isUsed || entry != nil else { continue }
      rows.append(wired(line, name, device, entry))
    }
    if count != 16, rows.count == 2 { rows.append(ReportRow("  every pin is masked and down", .dim)) }
    return rows
  }

  private func wired(_ line: Int, _ name: String, _ device: DeviceInspection, _ entry: String?) -> ReportRow {
    var row = ReportRow("  ")
    row.add(Column.right("\(line)", 2) + " ", .address)
    row.add(name, width: 12, .symbol)
    row.add(Column.right(vector(line, device, entry), 6), .value)
    for map in device.bitmaps {
      let isSet = map.bits[Vector(line)]
      let mark = map.name == "IMR" || map.name == "masked" ? "masked" : map.name == "ELCR" ? "level" : "*"
      let width = map.name.count + 2
      let text = isSet ? (mark.count < width ? mark : String(mark.prefix(width - 1))) : "."
      row.add(Column.right(text, width), isSet ? (mark == "masked" ? .dim : .set) : .clear)
    }
    if let entry { row.add("  " + entry, .plain) }
    return row
  }

  /// The vector a line of the PIC pair raises, from its chip's base; a pin's is in its entry.
  private func vector(_ line: Int, _ device: DeviceInspection, _ entry: String?) -> String {
    if let entry {
      let words = entry.split(separator: " ")
      return words.count > 1 && words[0] == "vector" ? String(words[1]) : ""
    }
    let base = device.rows.first { $0.name == "PIC\(line / 8 + 1) base" }?.value
    return base.flatMap { UInt64($0, radix: 16) }.map { Hex.padded($0 + UInt64(line % 8), 2) } ?? ""
  }

  // MARK: local APICs

  /// Vectors by bitmap: eight rows of 32, with the ones that are set named below.
  private func local(_ device: DeviceInspection) -> [ReportRow] {
    var rows = [ReportRow.heading(device.device)]
    rows += plain(device, without: Set(device.bitmaps.map(\.name)))
    for map in device.bitmaps {
      var row = ReportRow("  ")
      row.add(map.name, width: 4, .heading)
      let set = (0..<256).filter { map.bits[Vector($0)] }
      row.add(set.isEmpty ? "no vector" : set.map { Hex.padded(UInt64($0), 2) }.joined(separator: " "), set.isEmpty ? .clear : .set)
      rows.append(row)
    }
    return rows + grid(device.bitmaps)
  }

  /// All bitmaps beside each other, 32 vectors a row: a character for each vector.
  private func grid(_ maps: [InspectionBitmap]) -> [ReportRow] {
    guard maps.contains(where: { !$0.bits.isEmpty }) else { return [] }
    return (0..<8).map { block in
      var row = ReportRow("  ")
      row.add(Hex.padded(UInt64(block * 32), 2) + "  ", .dim)
      for map in maps {
        for vector in block * 32..<block * 32 + 32 {
          row.add(map.bits[Vector(vector)] ? "#" : ".", map.bits[Vector(vector)] ? .set : .clear)
        }
        row.add("  ", .plain)
      }
      return row
    }
  }
}
