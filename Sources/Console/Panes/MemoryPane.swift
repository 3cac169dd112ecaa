import Debugger
import Session
import TerminalUI
import VMCore
import X86

/// The guest's memory in hexadecimal and ASCII, by linear or by physical address.
package final class MemoryPane: Pane {
  package let id = PaneID.memory
  /// Shows guest-physical addresses; else linear ones, through the guest's page tables.
  private var physical = false
  /// Bytes a number: 1, 2, 4 or 8.
  private var unit = 1
  private var address: UInt64?
  private var cursor: UInt64?
  /// Where "back" leads after following pointers.
  private var trail: [UInt64] = []
  private var perRow = 16
  private var rows = 1

  package init() {}

  package func title(_ snapshot: SessionSnapshot) -> String {
    "Memory \(physical ? "GPA (m: GVA)" : "GVA (m: GPA)")\(focusText(snapshot))"
  }

  private func focusText(_ snapshot: SessionSnapshot) -> String {
    guard let cursor else { return "" }
    var text = "  at \(Format.hex(cursor))h"
    if !physical {
      text += snapshot.view.translate(GVA(cursor)).map { " = GPA \(Format.hex($0.value))h" } ?? " (not mapped)"
      if let name = snapshot.symbols.name(of: cursor) { text += " \(name)" }
    }
    return text
  }

  private func start(_ snapshot: SessionSnapshot) -> UInt64 {
    if let address { return address }
    let linear = snapshot.vcpu.linearRIP
    let begin = physical ? snapshot.view.translate(linear)?.value ?? 0 : linear.value
    return begin & ~15
  }

  private func bytes(_ snapshot: SessionSnapshot, at: UInt64, count: Int) -> [UInt8?] {
    physical ? snapshot.memory.readBytes(GPA(at), count: count) : snapshot.view.read(GVA(at), count: count)
  }

  /// Columns of a row: 16 bytes where they fit, else 8, else 4.
  private func layout(width: Int, digits: Int) -> Int {
    for count in [16, 8, 4] {
      let numbers = count * 2 + count / unit + 1
      if 1 + digits + 2 + numbers + 1 + count <= width { return count }
    }
    return 4
  }

  package func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool) {
    let begin = start(snapshot)
    address = begin
    let isLong = begin > 0xFFFF_FFFF
    let digits = isLong ? 16 : 8
    perRow = layout(width: canvas.width, digits: digits)
    rows = max(canvas.height, 1)
    let content = bytes(snapshot, at: begin, count: perRow * rows)
    for y in 0..<canvas.height {
      let from = y * perRow
      guard from + perRow <= content.count else { break }
      draw(Array(content[from..<from + perRow]), at: begin &+ UInt64(from), canvas, y, digits, focused)
    }
  }

  private func draw(
    _ row: [UInt8?], at begin: UInt64, _ canvas: Canvas, _ y: Int, _ digits: Int, _ focused: Bool
  ) {
    canvas.text(Format.hex(begin, digits), x: 1, y: y, .address)
    var x = 1 + digits + 2
    for offset in stride(from: 0, to: row.count, by: unit) {
      if offset == row.count / 2 && offset > 0 { x += 1 }
      let part = row[offset..<min(offset + unit, row.count)]
      let here = begin &+ UInt64(offset)
      let isCursor = focused && cursor.map { $0 >= here && $0 < here &+ UInt64(unit) } ?? false
      let known = part.allSatisfy { $0 != nil }
      let text = known
        ? part.reversed().map { Format.hex(UInt64($0 ?? 0), 2) }.joined() : String(repeating: "?", count: unit * 2)
      canvas.text(text, x: x, y: y, known ? .value : .unreadable, surface: isCursor ? .selection : .text)
      x += unit * 2 + 1
    }
    x += 1
    for (offset, byte) in row.enumerated() {
      let isCursor = focused && cursor == begin &+ UInt64(offset)
      canvas.put(
        byte.map(Format.ascii) ?? 0x3F, x: x + offset, y: y, byte == nil ? .unreadable : .bytes,
        surface: isCursor ? .selection : .text)
    }
  }

  package func handle(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.modifiers.isEmpty else { return .ignored }
    let row = Int64(perRow)
    switch key.code {
    case .left: move(-Int64(unit), snapshot)
    case .right: move(Int64(unit), snapshot)
    case .up: move(-row, snapshot)
    case .down: move(row, snapshot)
    case .pageUp: move(-row * Int64(rows), snapshot)
    case .pageDown: move(row * Int64(rows), snapshot)
    case .character("m"): return switchSpace(snapshot)
    case .character("d"): unit = unit == 8 ? 1 : unit * 2
    case .enter: return follow(snapshot)
    case .escape:
      guard let back = trail.popLast() else {
        guard cursor != nil else { return .ignored }
        cursor = nil
        return .handled
      }
      show(back)
    default: return .ignored
    }
    return .handled
  }

  private func switchSpace(_ snapshot: SessionSnapshot) -> PaneResponse {
    let here = cursor ?? start(snapshot)
    if physical {
      physical = false
      show(here)
      return .say("linear addresses, through the guest's page tables")
    }
    guard let target = snapshot.view.translate(GVA(here)) else {
      return .say("\(Format.hex(here))h is not mapped: no physical address to show")
    }
    physical = true
    show(target.value)
    return .say("guest-physical addresses")
  }

  /// Goes to the address stored under the cursor.
  private func follow(_ snapshot: SessionSnapshot) -> PaneResponse {
    let here = cursor ?? start(snapshot)
    let size = unit == 1 ? max(snapshot.vcpu.mode.codeBits / 8, 2) : unit
    let raw = bytes(snapshot, at: here, count: size)
    var value: UInt64 = 0
    for byte in raw.reversed() {
      guard let byte else { return .say("no memory at \(Format.hex(here))h") }
      value = value << 8 | UInt64(byte)
    }
    if trail.count < 100 { trail.append(here) }
    show(value)
    return .say("followed the \(size)-byte pointer to \(Format.hex(value))h; Esc goes back")
  }

  private func show(_ target: UInt64) {
    cursor = target
    address = target & ~UInt64(perRow - 1)
  }

  private func move(_ distance: Int64, _ snapshot: SessionSnapshot) {
    let here = cursor ?? start(snapshot)
    let target = here &+ UInt64(bitPattern: distance)
    cursor = target
    let begin = start(snapshot)
    let size = UInt64(perRow * rows)
    if target &- begin >= size {
      let rowStart = target & ~UInt64(perRow - 1)
      address = distance < 0 ? rowStart : rowStart &- size &+ UInt64(perRow)
    }
  }

  package func scroll(_ rows: Int, _ snapshot: SessionSnapshot) {
    address = start(snapshot) &+ UInt64(bitPattern: Int64(rows * perRow))
  }

  package func goTo(_ text: String, _ snapshot: SessionSnapshot) -> String? {
    switch snapshot.evaluate(text) {
    case .failure(let error): return error.description
    case .success(let target):
      trail.append(start(snapshot))
      show(target)
      return nil
    }
  }

  /// Goes to an address given as a linear one.
  package func go(toLinear target: UInt64) {
    physical = false
    show(target)
  }

  /// Finds text, or bytes written in hexadecimal (`55 aa`), within the next or last 4 MiB.
  package func find(_ text: String, backward: Bool, _ snapshot: SessionSnapshot) -> Bool {
    let words = text.split(separator: " ")
    let numbers = words.compactMap { $0.count == 2 ? UInt8($0, radix: 16) : nil }
    let needle = numbers.count == words.count && !numbers.isEmpty ? numbers : Array(text.utf8)
    guard !needle.isEmpty else { return false }
    let from = cursor ?? start(snapshot)
    let chunk = 1 << 16
    for step in 0..<64 {
      let offset = UInt64(step * chunk)
      let base = backward ? from &- offset &- UInt64(chunk) : from &+ 1 &+ offset
      let content = bytes(snapshot, at: base, count: chunk + needle.count - 1)
      if content.allSatisfy({ $0 == nil }) { return false }
      if let index = Self.index(of: needle, in: content, last: backward) {
        show(base &+ UInt64(index))
        return true
      }
    }
    return false
  }

  private static func index(of needle: [UInt8], in content: [UInt8?], last: Bool) -> Int? {
    guard content.count >= needle.count else { return nil }
    let starts = 0...(content.count - needle.count)
    func matches(_ start: Int) -> Bool { needle.indices.allSatisfy { content[start + $0] == needle[$0] } }
    return last ? starts.last(where: matches) : starts.first(where: matches)
  }
}
