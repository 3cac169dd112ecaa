import Debugger
import Session
import TerminalUI
import VMCore
import X86

/// The guest's memory in hexadecimal and ASCII, by linear, guest-physical or host address: search, marks,
/// pointers, the last read and write, and editing with a way back.
package final class MemoryPane: Pane {
  package let id = PaneID.memory
  var space = MemorySpace.linear
  /// Bytes a number: 1, 2, 4 or 8.
  private var unit = 1
  /// Where the person has placed it.
  var address: UInt64?
  /// Where it stands until then: where the instruction pointer was, for as long as that is mapped.
  private var resting: UInt64?
  var cursor: UInt64?
  /// Where "back" leads after following pointers.
  private var trail: [(space: MemorySpace, address: UInt64)] = []
  private var marks: [UInt64] = []
  var edit = MemoryEdit()
  var touched = TouchedMemory()
  var perRow = 16
  private var rows = 1
  private var digits = 8

  package init() {}

  // MARK: what others ask

  /// Its cursor as a linear address, nil where it has none or shows other addresses.
  package var cursorLinear: UInt64? { space == .linear ? cursor : nil }
  package var takesText: Bool { edit.isActive }

  package func title(_ snapshot: SessionSnapshot) -> String {
    if edit.isActive {
      return "Memory \(space.name) EDIT at \(Format.hex(cursor ?? 0))h: hex digits change, u takes back, Esc ends"
    }
    let following = touched.following.map { $0 == .read ? ", follows reads" : ", follows writes" } ?? ""
    let kept = snapshot.replay.map { ", \($0.pages) pages recorded" } ?? ""
    return "Memory \(space.name)\(kept) (m: \(space.next.name)\(following))\(focusText(snapshot))"
  }

  /// The kind of address the cursor is on: bytes are no words to look up.
  package func subject(_ snapshot: SessionSnapshot) -> ExplainSubject? {
    ExplainSubject(space.name.lowercased(), present: cursor.map { "the cursor is on \(Format.hex($0))h" })
  }

  private func focusText(_ snapshot: SessionSnapshot) -> String {
    guard let cursor else { return "" }
    var text = "  at \(Format.hex(cursor))h"
    guard let physical = space.physical(cursor, snapshot) else { return text + (space == .linear ? " (not mapped)" : " (no memory)") }
    if space != .physical { text += " = GPA \(Format.hex(physical.value))h" }
    if space == .physical, let host = snapshot.memory.hva(physical) { text += " = HVA \(Format.hex(host.value))h" }
    if space == .linear, let name = snapshot.symbols.name(of: cursor) { text += " \(name)" }
    return text
  }

  func start(_ snapshot: SessionSnapshot) -> UInt64 {
    if let address { return address }
    if let resting, let first = bytes(snapshot, at: resting, count: 1).first, first != nil { return resting }
    let linear = snapshot.vcpu.linearRIP.value
    return (space == .linear ? linear : space.address(of: linear, in: .linear, snapshot) ?? 0) & ~15
  }

  func bytes(_ snapshot: SessionSnapshot, at: UInt64, count: Int) -> [UInt8?] {
    space.read(at, count: count, snapshot)
  }

  // MARK: drawing

  /// Columns of a row: 16 bytes where they fit, else 8, else 4.
  private func layout(width: Int) -> Int {
    for count in [16, 8, 4] {
      let numbers = count * 2 + count / unit + 1
      if 1 + digits + 2 + numbers + 1 + count <= width { return count }
    }
    return 4
  }

  package func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool) {
    let begin = start(snapshot)
    resting = begin
    digits = begin > 0xFFFF_FFFF ? 16 : 8
    perRow = layout(width: canvas.width)
    rows = max(canvas.height, 1)
    let content = bytes(snapshot, at: begin, count: perRow * rows)
    for y in 0..<canvas.height {
      let from = y * perRow
      guard from + perRow <= content.count else { break }
      draw(Array(content[from..<from + perRow]), at: begin &+ UInt64(from), snapshot, canvas, y, focused)
    }
  }

  private func draw(
    _ row: [UInt8?], at begin: UInt64, _ snapshot: SessionSnapshot, _ canvas: Canvas, _ y: Int, _ focused: Bool
  ) {
    canvas.text(Format.hex(begin, digits), x: 1, y: y, .address)
    var x = 1 + digits + 2
    for offset in stride(from: 0, to: row.count, by: unit) {
      if offset == row.count / 2 && offset > 0 { x += 1 }
      let part = row[offset..<min(offset + unit, row.count)]
      let here = begin &+ UInt64(offset)
      let isCursor = focused && cursor.map { $0 >= here && $0 < here &+ UInt64(unit) } ?? false
      let known = part.allSatisfy { $0 != nil }
      var text = known
        ? part.reversed().map { Format.hex(UInt64($0 ?? 0), 2) }.joined() : String(repeating: "?", count: unit * 2)
      if isCursor, unit == 1, let high = edit.high { text = Format.hex(UInt64(high)) + "_" }
      canvas.text(text, x: x, y: y, role(here, known), surface: isCursor ? .selection : .text)
      x += unit * 2 + 1
    }
    x += 1
    for (offset, byte) in row.enumerated() {
      let here = begin &+ UInt64(offset)
      canvas.put(
        byte.map(Format.ascii) ?? 0x3F, x: x + offset, y: y, byte == nil ? .unreadable : .bytes,
        surface: focused && cursor == here ? .selection : .text)
    }
    drawNotes(begin, row.count, snapshot, canvas, x: x + row.count + 1, y: y)
  }

  private func role(_ here: UInt64, _ known: Bool) -> StyleRole {
    guard known else { return .unreadable }
    if marks.contains(where: { $0 >= here && $0 < here &+ UInt64(unit) }) { return .label }
    guard space == .linear, let kind = touched.kind(at: here, size: unit) else { return .value }
    return kind == .write ? .changed : .symbol
  }

  /// Behind the text: the symbol that begins in this row, a mark, what was touched.
  private func drawNotes(_ begin: UInt64, _ count: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, x: Int, y: Int) {
    guard canvas.width - x > 8 else { return }
    let end = begin &+ UInt64(count)
    func isHere(_ address: UInt64) -> Bool { address &- begin < UInt64(count) }
    var words: [String] = []
    if let index = marks.firstIndex(where: isHere) { words.append("mark \(index + 1)") }
    if space == .linear {
      if let write = touched.write, isHere(write.address) { words.append("written") }
      if let read = touched.read, isHere(read.address) { words.append("read") }
      if end > begin, let symbol = snapshot.symbols.firstStart(in: begin..<end), let name = snapshot.symbols.name(of: symbol) {
        words.append(name)
      }
    }
    canvas.fitted(words.joined(separator: ", "), x: x, y: y, .symbol)
  }

  // MARK: keys

  package func handle(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    if edit.isActive { return handleInEdit(key, snapshot) }
    guard key.modifiers.isEmpty else { return .ignored }
    if moveByKey(key.code, snapshot) { return .handled }
    switch key.code {
    case .character("m"): return switchSpace(snapshot)
    case .character("d"): unit = unit == 8 ? 1 : unit * 2
    case .character("x"), .insert: return beginEdit(snapshot)
    case .character("u") where !edit.changes.isEmpty && !snapshot.isLive: return takeBack()
    case .character("M"): return toggleMark(snapshot)
    case .character("'"): return nextMark()
    case .character("r"): return follow(.read, snapshot)
    case .character("W"): return follow(.write, snapshot)
    case .enter: return followPointer(snapshot)
    case .escape:
      guard let back = trail.popLast() else {
        guard cursor != nil else { return .ignored }
        cursor = nil
        return .handled
      }
      space = back.space
      show(back.address)
    default: return .ignored
    }
    return .handled
  }

  /// Moves the cursor where the key is one that does.
  func moveByKey(_ code: KeyCode, _ snapshot: SessionSnapshot) -> Bool {
    let row = Int64(perRow)
    let step = edit.isActive ? 1 : Int64(unit)
    switch code {
    case .left: move(-step, snapshot)
    case .right: move(step, snapshot)
    case .up: move(-row, snapshot)
    case .down: move(row, snapshot)
    case .pageUp: move(-row * Int64(rows), snapshot)
    case .pageDown: move(row * Int64(rows), snapshot)
    case .home: move(-Int64(bitPattern: (cursor ?? start(snapshot)) & UInt64(perRow - 1)), snapshot)
    case .end: move(row - 1 - Int64(bitPattern: (cursor ?? start(snapshot)) & UInt64(perRow - 1)), snapshot)
    default: return false
    }
    return true
  }

  private func switchSpace(_ snapshot: SessionSnapshot) -> PaneResponse {
    let here = cursor ?? start(snapshot)
    let from = space
    space = from.next
    if let target = space.address(of: here, in: from, snapshot) {
      show(target)
      return .say("\(space.name): \(space == .host ? "addresses in the monitor itself" : "guest-physical addresses")")
    }
    if space == .linear {
      // Back to where linear addresses were last looked at; many may lead to one physical place.
      show(lastLinear ?? snapshot.vcpu.linearRIP.value)
      return .say("GVA: linear addresses, through the guest's page tables")
    }
    space = from
    return .say("\(Format.hex(here))h has no \(from.next.name): \(from == .linear ? "not mapped" : "no memory there")")
  }
  private var lastLinear: UInt64?

  private func toggleMark(_ snapshot: SessionSnapshot) -> PaneResponse {
    let here = cursor ?? start(snapshot)
    if let index = marks.firstIndex(of: here) {
      marks.remove(at: index)
      return .say("mark at \(Format.hex(here))h removed")
    }
    guard marks.count < 64 else { return .say("64 marks are set; remove one with M on it") }
    marks.append(here)
    return .say("mark \(marks.count) at \(Format.hex(here))h; ' goes from mark to mark")
  }

  private func nextMark() -> PaneResponse {
    guard !marks.isEmpty else { return .say("no marks yet: M sets one at the cursor") }
    let current = cursor.flatMap { marks.firstIndex(of: $0) }
    let index = current.map { ($0 + 1) % marks.count } ?? 0
    show(marks[index])
    return .say("mark \(index + 1) of \(marks.count)")
  }

  private func follow(_ kind: TouchedMemory.Kind, _ snapshot: SessionSnapshot) -> PaneResponse {
    if touched.following == kind {
      touched.following = nil
      return .say("stays where it is")
    }
    touched.following = kind
    space = .linear
    guard let place = touched.place(kind) else {
      return .say("follows each \(kind == .read ? "read" : "write") from the next single step on; \(touched.why)")
    }
    show(place.address)
    return .say("follows the last \(kind == .read ? "read" : "write")")
  }

  /// Goes to the address stored under the cursor.
  private func followPointer(_ snapshot: SessionSnapshot) -> PaneResponse {
    let here = cursor ?? start(snapshot)
    let size = unit == 1 ? max(snapshot.vcpu.mode.codeBits / 8, 2) : unit
    var value: UInt64 = 0
    for byte in bytes(snapshot, at: here, count: size).reversed() {
      guard let byte else { return .say("no memory at \(Format.hex(here))h") }
      value = value << 8 | UInt64(byte)
    }
    remember(here)
    space = space == .host ? .linear : space
    show(value)
    return .say("followed the \(size)-byte pointer to \(Format.hex(value))h; Esc goes back")
  }

  private func remember(_ here: UInt64) {
    if trail.count < 100 { trail.append((space, here)) }
  }

  // MARK: places

  func show(_ target: UInt64) {
    cursor = target
    if space == .linear { lastLinear = target }
    if let begin = address ?? resting, target &- begin < UInt64(perRow * rows) {
      address = begin
      return
    }
    address = target & ~UInt64(perRow - 1)
  }

  private func move(_ distance: Int64, _ snapshot: SessionSnapshot) {
    edit.moved()
    let here = cursor ?? start(snapshot)
    let target = here &+ UInt64(bitPattern: distance)
    cursor = target
    if space == .linear { lastLinear = target }
    let begin = start(snapshot)
    let size = UInt64(perRow * rows)
    address = begin
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
      remember(cursor ?? start(snapshot))
      show(target)
      return nil
    }
  }

  /// Goes to an address given as a linear one.
  package func go(toLinear target: UInt64) { go(to: target, in: .linear) }

  /// Goes to a guest-physical address.
  package func go(toPhysical target: UInt64) { go(to: target, in: .physical) }

  private func go(to target: UInt64, in other: MemorySpace) {
    if let here = cursor { remember(here) }
    if space != other { (address, resting) = (nil, nil) }
    space = other
    show(target)
  }

  package var searchLimit: String { ", \(MemoryNeedle.reach >> 20) MiB either way; the command 'find' looks at all" }

  /// Finds bytes, text or a value (see `MemoryNeedle`) as far from the cursor as `searchLimit` says.
  package func find(_ text: String, backward: Bool, _ snapshot: SessionSnapshot) -> Bool {
    guard let needle = MemoryNeedle(text) else { return false }
    let from = cursor ?? start(snapshot)
    func nearest(_ from: UInt64) -> UInt64? {
      needle.find(from: from, backward: backward) { bytes(snapshot, at: $0, count: $1) }
    }
    // Then from the other side up to here, as in a list.
    let reach = UInt64(MemoryNeedle.reach)
    let other = backward ? from &+ reach : from >= reach ? from - reach : .max
    guard let found = nearest(from) ?? nearest(other) else { return false }
    show(found)
    return true
  }

  package func click(x: Int, y: Int, _ snapshot: SessionSnapshot) {
    let top = start(snapshot)
    let begin = top &+ UInt64(y * perRow)
    address = top
    edit.moved()
    var column = 1 + digits + 2
    for offset in stride(from: 0, to: perRow, by: unit) {
      if offset == perRow / 2 && offset > 0 { column += 1 }
      if x < column + unit * 2 + 1 {
        cursor = begin &+ UInt64(offset)
        return
      }
      column += unit * 2 + 1
    }
    cursor = begin &+ UInt64(min(max(x - column - 1, 0), perRow - 1))
  }

  package func stopped(_ snapshot: SessionSnapshot) {
    touched.stopped(snapshot)
    if let kind = touched.following, let place = touched.place(kind) {
      space = .linear
      show(place.address)
    }
  }

  // MARK: editing

  private func beginEdit(_ snapshot: SessionSnapshot) -> PaneResponse {
    guard !snapshot.isLive else { return .say("the guest is running: pause first (Space), then edit") }
    if cursor == nil { show(start(snapshot)) }
    unit = 1
    edit.begin()
    return .handled
  }
}
