import Debugger
import Session
import TerminalUI
import VMCore
import X86

/// `?`: what is under the cursor, and from there anything on the screen by the arrow keys or the mouse.
extension ConsoleModel {
  func explain() {
    if let lines = paneExplanation() {
      note = lines
    } else if let first = firstWord {
      point(at: first)
    } else {
      note = ["Nothing here has an explanation of its own. 'explain NAME' knows \(ExplainCatalogue.all.count) names (Tab completes)."]
    }
  }

  /// What the focused pane says its cursor is on.
  private func paneExplanation() -> [String]? {
    if let subject = focusedPane?.subject(snapshot) ?? rowSubject {
      return Explain.lines(subject, state: snapshot.vcpu, width: noteWidth)
    }
    guard focus == .code else { return nil }
    return CodeAdvice.explain(snapshot.listing.instruction(at: code.cursorAddress(snapshot))).lines
  }

  /// The row the keys act on, in the lists of exits, hypercalls and reasons.
  private var rowSubject: ExplainSubject? {
    switch focus {
    case .exits, .anatomy:
      guard let index = exits.currentIndex(exits.identities(snapshot)) else { return nil }
      let record = snapshot.exits[index]
      return ExplainSubject(
        "exit.\(record.exit.reason.name)", present: "#\(record.sequence) \(record.exit.reason.label): \(record.detail)")
    case .hypercalls:
      guard let record = hypercalls.current(snapshot) else { return nil }
      let name = "xen." + record.name.prefix { $0 != "." }
      return ExplainSubject(ExplainCatalogue.entry(name) == nil ? "qualification.number" : name, present: record.text)
    case .reasons: return reasons.currentReason(snapshot).map { ExplainSubject("exit.\($0.name)") }
    default: return nil
    }
  }

  /// Where pointing begins: in the selected row, else at the top of the focused pane.
  private var firstWord: ScreenWord? {
    let region = contentRegion(of: focus)
    let selected = words(in: region, of: focus, atMost: 1) { frame?[$0.x, $0.y].surface == .selection }
    return selected.first ?? words(in: region, of: focus, atMost: 1).first
  }

  private var noteWidth: Int { max(min(screen.width - 4, 96), 16) }

  /// A key while an explanation stands: arrows point elsewhere, `y` copies; nil for what ends it.
  func handleWhileExplaining(_ key: Key) -> Request? {
    if keys.binding(for: key)?.action == .copy { return copy() }
    guard key.modifiers.isEmpty, [.up, .down, .left, .right].contains(key.code) else { return nil }
    if let probe {
      if let next = neighbour(of: probe, towards: key.code) { point(at: next) }
      return Request.none
    }
    // The pane has a cursor of its own: it moves, and the explanation follows.
    if (key.code == .up || key.code == .down), focusedPane?.handle(key, snapshot) != .ignored {
      note = paneExplanation() ?? note
      return Request.none
    }
    if let first = firstWord { point(at: first) }
    return Request.none
  }

  package func contentRegion(of pane: PaneID) -> Region {
    if zoomed != nil { return zoomRegion.dropTop(1) }
    return placements.first { front(of: $0) == pane }?.content ?? Region(x: 0, y: 0, width: 0, height: 0)
  }

  // MARK: words of the screen

  /// A word drawn on the screen that the catalogue knows.
  struct ScreenWord {
    var region: Region
    var text: String
    var entry: ExplainEntry
    var context: [String]
  }

  /// What a pane is about, where its rows do not say it.
  private static func subjects(of pane: PaneID) -> [String] {
    switch pane {
    case .registers, .secondRegisters: ["rflags", "segment"]
    case .anatomy: ["qualification"]
    case .events: ["event"]
    case .tables: ["descriptor", "segment", "pte"]
    case .paging: ["pte"]
    case .interrupts: ["lapic", "ioapic", "pic", "pit", "rtc"]
    case .capabilities: ["capability"]
    case .hypercalls, .xen: ["xen", "event"]
    case .rewriter, .comparison, .techniques: ["rewriting", "instruction"]
    default: []
    }
  }

  /// The words of a pane's region that have an explanation, in reading order; only the first few of those in wanted places.
  func words(
    in region: Region, of pane: PaneID, atMost limit: Int = .max, where isWanted: (Region) -> Bool = { _ in true }
  ) -> [ScreenWord] {
    let subjects = Self.subjects(of: pane)
    guard let frame else { return [] }
    var found: [ScreenWord] = []
    var heads: [String] = []
    for y in region.y..<max(region.endY, region.y) {
      let row = Self.split(frame, region, y)
      for (index, word) in row.enumerated() where isWanted(word.region) {
        let context = row[..<index].reversed().prefix(8).map(\.text) + heads.suffix(40).reversed() + subjects
        let joined = row[index...].prefix(2).map(\.text).joined()
        let entry =
          (index == 0 ? ExplainCatalogue.entry(joined: joined, context: context) : nil)
          ?? ExplainCatalogue.entry(word: word.text, context: context, inProse: true)
        if let entry, !Self.isLetter(word.text) || Self.isFlag(entry, at: index, in: row.map(\.text), context) {
          found.append(ScreenWord(region: word.region, text: word.text, entry: entry, context: context))
        }
        if found.count >= limit { return found }
      }
      heads += row.prefix(2).map(\.text)
    }
    return found
  }

  private static func isLetter(_ text: String) -> Bool {
    text.count { $0.isLetter } == 1 && !text.contains { $0.isNumber || $0 == "=" || $0 == "#" }
  }

  /// A lone letter is a bit among the bits of its register; in a sentence it is a word.
  private static func isFlag(_ entry: ExplainEntry, at index: Int, in row: [String], _ context: [String]) -> Bool {
    let head = entry.name.prefix { $0 != "." }
    return [index - 1, index + 1].contains { other in
      guard row.indices.contains(other), row[other].count <= 4 else { return false }
      return ExplainCatalogue.entry(word: row[other], context: context)?.name.prefix { $0 != "." } == head
    }
  }

  private static func split(_ frame: CellBuffer, _ region: Region, _ y: Int) -> [(text: String, region: Region)] {
    var words: [(String, Region)] = []
    var text = ""
    var start = region.x
    for x in region.x...region.endX {
      let scalar = x < region.endX ? Unicode.Scalar(frame[x, y].scalar) : nil
      if let scalar, scalar.value > 0x20, !(0x2500...0x259F).contains(scalar.value), scalar != "|" {
        if text.isEmpty { start = x }
        text.unicodeScalars.append(scalar)
      } else if !text.isEmpty {
        words.append((text, Region(x: start, y: y, width: x - start, height: 1)))
        text = ""
      }
    }
    return words
  }

  func point(at word: ScreenWord) {
    probe = word.region
    note = Explain.lines(word.entry, value: value(of: word), present: nil, width: noteWidth)
  }

  /// Rights of the segment whose row it stands in, else the vCPU's register.
  private func value(of word: ScreenWord) -> UInt64? {
    if word.entry.name.hasPrefix("segment."),
      let name = SegmentName.allCases.first(where: { word.context.map { $0.lowercased() }.contains($0.name) })
    {
      return UInt64(snapshot.vcpu[name].access)
    }
    return Explain.present(word.entry, snapshot.vcpu)
  }

  private func neighbour(of probe: Region, towards code: KeyCode) -> ScreenWord? {
    let all = words(in: contentRegion(of: focus), of: focus)
    switch code {
    case .left: return all.last { ($0.region.y, $0.region.x) < (probe.y, probe.x) }
    case .right: return all.first { ($0.region.y, $0.region.x) > (probe.y, probe.x) }
    case .up, .down:
      let rows = all.filter { code == .up ? $0.region.y < probe.y : $0.region.y > probe.y }
      guard let y = (code == .up ? rows.last : rows.first)?.region.y else { return nil }
      return rows.filter { $0.region.y == y }.min { abs($0.region.x - probe.x) < abs($1.region.x - probe.x) }
    default: return nil
    }
  }

  /// The word at a place of the screen, if it has an explanation.
  func word(x: Int, y: Int, in region: Region, of pane: PaneID) -> ScreenWord? {
    words(in: region, of: pane, atMost: 1) { $0.contains(x: x, y: y) }.first
  }

  // MARK: copying

  /// The explained word, or the selected row of the focused pane, for the terminal's clipboard.
  func copy() -> Request {
    guard let text = copied(), !text.isEmpty else {
      say("nothing is selected to copy: arrows select a row, ? and arrows a word")
      return .none
    }
    say("copied: \(text)")
    return .copy(text)
  }

  private func copied() -> String? {
    guard let frame else { return nil }
    if let probe { return Self.text(frame, probe) }
    let region = contentRegion(of: focus)
    let rows = region.y..<max(region.endY, region.y)
    for surface in [StyleRole.selection, .currentLine] {
      if let y = rows.first(where: { frame[region.x, $0].surface == surface }) { return Self.text(frame, region.row(y - region.y)) }
    }
    return nil
  }

  private static func text(_ frame: CellBuffer, _ region: Region) -> String {
    var text = ""
    for x in region.x..<region.endX {
      if frame[x, region.y].width > 0, let scalar = Unicode.Scalar(frame[x, region.y].scalar) { text.unicodeScalars.append(scalar) }
    }
    let trimmed = text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()
    return String(trimmed)
  }
}
