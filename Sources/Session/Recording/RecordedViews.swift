import Debugger
import VMCore

/// What a snapshot shows of devices, screen and breakpoints, written whole where it changed.
enum RecordedViews {
  // MARK: devices

  static func put(_ devices: [DeviceInspection], _ out: inout ByteWriter) {
    out.put(number: UInt64(devices.count))
    for device in devices {
      out.put(device.device)
      out.put(device.role == .interruptController ? 1 : device.role == .timer ? 2 : 0)
      out.put(number: UInt64(device.rows.count))
      for row in device.rows {
        out.put(row.name)
        out.put(row.value)
      }
      out.put(number: UInt64(device.bitmaps.count))
      for bitmap in device.bitmaps {
        out.put(bitmap.name)
        let words = bitmap.bits.words
        for word in [words.0, words.1, words.2, words.3] { out.put(number: word) }
        out.put(number: UInt64(bitmap.count))
        out.put(number: UInt64(bitmap.lines.count))
        for line in bitmap.lines { out.put(line) }
      }
    }
  }

  static func devices(_ bytes: inout ByteReader) throws(DamagedRecording) -> [DeviceInspection] {
    var devices: [DeviceInspection] = []
    for _ in 0..<(try bytes.count(1024)) {
      let name = try bytes.text()
      let role: DeviceInspection.Role =
        switch try bytes.byte() {
        case 1: .interruptController
        case 2: .timer
        default: .other
        }
      var device = DeviceInspection(device: name, rows: [], role: role)
      for _ in 0..<(try bytes.count(1024)) { device.rows.append((name: try bytes.text(), value: try bytes.text())) }
      for _ in 0..<(try bytes.count(64)) { device.bitmaps.append(try bitmap(&bytes)) }
      devices.append(device)
    }
    return devices
  }

  private static func bitmap(_ bytes: inout ByteReader) throws(DamagedRecording) -> InspectionBitmap {
    let name = try bytes.text()
    var bits = VectorSet()
    bits.words = (try bytes.number(), try bytes.number(), try bytes.number(), try bytes.number())
    let count = try bytes.count(256)
    var lines: [String] = []
    for _ in 0..<(try bytes.count(256)) { lines.append(try bytes.text()) }
    return InspectionBitmap(name, bits: bits, count: count, lines: lines)
  }

  // MARK: the VGA text screen

  static func put(_ screen: TextScreen, _ out: inout ByteWriter) {
    out.put(number: UInt64(screen.columns))
    out.put(number: UInt64(screen.cells.count))
    out.put(number: UInt64((screen.cursor ?? -1) + 1))
    for cell in screen.cells {
      out.put(UInt8(truncatingIfNeeded: cell))
      out.put(UInt8(truncatingIfNeeded: cell >> 8))
    }
  }

  static func screen(_ bytes: inout ByteReader) throws(DamagedRecording) -> TextScreen {
    let columns = try bytes.count(1024)
    let count = try bytes.count(1 << 16)
    let cursor = try bytes.count(1 << 16) - 1
    guard columns > 0, count % columns == 0 else { throw DamagedRecording() }
    let raw = try bytes.raw(count * 2)
    let cells = (0..<count).map { UInt16(raw[$0 * 2]) | UInt16(raw[$0 * 2 + 1]) << 8 }
    return TextScreen(columns: columns, rows: count / columns, cells: cells, cursor: cursor < 0 ? nil : cursor)
  }

  // MARK: breakpoints

  static func put(_ breakpoints: [BreakpointSummary], _ out: inout ByteWriter) {
    out.put(number: UInt64(breakpoints.count))
    for one in breakpoints {
      out.put(number: UInt64(one.number))
      out.put((one.enabled ? 1 : 0) | (one.oneShot ? 2 : 0))
      out.put(one.what)
      out.put(one.condition ?? "")
      out.put(number: one.hits)
      out.put(number: one.hitLimit.map { $0 &+ 1 } ?? 0)
      out.put(one.action ?? "")
    }
  }

  static func breakpoints(_ bytes: inout ByteReader) throws(DamagedRecording) -> [BreakpointSummary] {
    var all: [BreakpointSummary] = []
    for _ in 0..<(try bytes.count(4096)) {
      let number = try bytes.count(1 << 30)
      let flags = try bytes.byte()
      var one = BreakpointSummary(try bytes.text(), number: number)
      one.enabled = flags & 1 != 0
      one.oneShot = flags & 2 != 0
      let condition = try bytes.text()
      one.condition = condition.isEmpty ? nil : condition
      one.hits = try bytes.number()
      let limit = try bytes.number()
      one.hitLimit = limit == 0 ? nil : limit &- 1
      let action = try bytes.text()
      one.action = action.isEmpty ? nil : action
      all.append(one)
    }
    return all
  }
}
