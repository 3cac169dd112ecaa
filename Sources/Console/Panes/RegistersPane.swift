import Debugger
import Session
import TerminalUI
import VMCore
import X86

/// The current vCPU's registers; what differs from the last stop is marked by colour and `*`.
package final class RegistersPane: Pane {
  /// What is shown: the general registers with flags, segments and control registers, or one of the others.
  private enum View: Int, CaseIterable {
    case general, msr, x87, sse, debug
    var name: String {
      switch self {
      case .general: "registers"
      case .msr: "MSRs"
      case .x87: "x87"
      case .sse: "SSE"
      case .debug: "debug registers"
      }
    }
  }
  package let id = PaneID.registers
  private var view = View.general
  private var decimal = false
  private var format = VectorFormat.dwords
  private var first = 0
  private var rowCount = 0

  package init() {}

  package func title(_ snapshot: SessionSnapshot) -> String {
    let form = view == .sse ? ", d: \(format.rawValue)" : ""
    return "vCPU\(snapshot.currentVCPU) \(view.name) (* changed\(form), m: more)"
  }

  /// A row is a list of words with their roles; all rows are built, the visible ones drawn.
  private struct Row {
    var words: [(String, StyleRole)] = []
    mutating func add(_ text: String, _ role: StyleRole = .text) { words.append((text, role)) }
  }

  /// Columns that two registers beside each other take.
  private static let twoColumns = 43

  /// The row with RIP, where it does not come first.
  private func pointerPlace(width: Int) -> Int? { width >= Self.twoColumns ? Self.left.count : nil }

  private static let left: [GPR] = [.rax, .rbx, .rcx, .rdx, .rsi, .rdi, .rbp, .rsp]
  private static let right: [GPR] = [.r8, .r9, .r10, .r11, .r12, .r13, .r14, .r15]

  package func render(_ snapshot: SessionSnapshot, on canvas: Canvas, focused: Bool) {
    let rows = rows(snapshot, width: canvas.width)
    rowCount = rows.count
    first = min(max(first, 0), max(rows.count - canvas.height, 0))
    var visible = Array(rows.dropFirst(first).prefix(canvas.height))
    // Where RIP and the flags would be cut off they are in the last row: no register says more of where the guest is.
    if view == .general, first == 0, let place = pointerPlace(width: canvas.width), visible.count > 1, place >= visible.count {
      visible[visible.count - 1] = rows[place]
    }
    for (y, row) in visible.enumerated() {
      var x = 1
      for (text, role) in row.words where x < canvas.width {
        x = canvas.word(text, x: x, y: y, role)
      }
    }
  }

  private func rows(_ snapshot: SessionSnapshot, width: Int) -> [Row] {
    let report = RegisterReport(snapshot.vcpu, before: snapshot.before)
    switch view {
    case .general: return general(snapshot, width: width) + report.flagsInWords.map(Self.row)
    case .msr: return report.msrs.map(Self.row)
    case .x87: return report.x87.map(Self.row)
    case .sse: return report.sse(format).map(Self.row)
    case .debug: return report.debug.map(Self.row)
    }
  }

  private static func row(_ report: ReportRow) -> Row {
    var row = Row()
    for word in report.words { row.add(word.text, word.tone.role) }
    return row
  }

  private func general(_ snapshot: SessionSnapshot, width: Int) -> [Row] {
    let now = snapshot.vcpu
    let before = snapshot.before
    var rows: [Row] = []
    if width >= Self.twoColumns {
      for (a, b) in zip(Self.left, Self.right) {
        var row = Row()
        register(a.name, now[a], before[a], &row)
        register(b.name, now[b], before[b], &row)
        rows.append(row)
      }
      rows.append(pointerRow(now, before, width: width))
    } else {
      rows.append(pointerRow(now, before, width: width))
      for gpr in Self.left + Self.right {
        var row = Row()
        register(gpr.name, now[gpr], before[gpr], &row)
        rows.append(row)
      }
    }
    if width < 96 { rows.append(contentsOf: flagRows(now, before, width: width)) }
    rows += segmentRows(now, before, width: width)
    rows += controlRows(now, before, width: width)
    return rows
  }

  private func register(_ name: String, _ value: UInt64, _ before: UInt64, _ row: inout Row) {
    let changed = value != before
    row.add(Format.left(name.uppercased(), 4), .dim)
    let text = decimal ? Format.right(String(Int64(bitPattern: value)), 16) : Format.hex(value, 16)
    row.add(text, changed ? .changed : .value)
    row.add(changed ? "* " : "  ", .changed)
  }

  private func pointerRow(_ now: VCPUState, _ before: VCPUState, width: Int) -> Row {
    var row = Row()
    row.add("RIP ", .dim)
    let digits = now.mode == .long64 ? 16 : now.mode.codeBits / 4
    let long = now.mode == .long64
    let text = (long ? "" : Format.hex(UInt64(now[.cs].selector), 4) + ":") + Format.hex(now.rip, digits)
    row.add(text, now.rip != before.rip ? .changed : .value)
    row.add(now.rip != before.rip ? "*" : " ", .changed)
    row.add(" fl ", .dim)
    row.add(Format.hex(now.rflags, 4), now.rflags != before.rflags ? .changed : .value)
    row.add(now.rflags != before.rflags ? "* " : "  ", .changed)
    if width >= 96 {
      for part in flags(now, before) { row.add(part.0, part.1) }
    }
    row.add("CPL\(now.cpl)", .value)
    if width < 96 {
      // The flags in words have rows of their own, which a low pane cuts: here are those that are set.
      for bit in Format.bits(now.rflags, RFLAGS.bits) where bit.isSet { row.add(" " + bit.text, .flagSet) }
    }
    return row
  }

  /// Flags in words, capitals where set.
  private func flags(_ now: VCPUState, _ before: VCPUState) -> [(String, StyleRole)] {
    let old = Format.bits(before.rflags, RFLAGS.bits)
    return zip(Format.bits(now.rflags, RFLAGS.bits), old).map { bit, old in
      (bit.text + " ", bit.text != old.text ? .changed : bit.isSet ? .flagSet : .flagClear)
    }
  }

  private func flagRows(_ now: VCPUState, _ before: VCPUState, width: Int) -> [Row] {
    wrapped("", flags(now, before), width: width)
  }

  /// Words in rows that fit, each beginning with `head`.
  private func wrapped(_ head: String, _ words: [(String, StyleRole)], width: Int) -> [Row] {
    var rows: [Row] = []
    var row = Row()
    row.add(head, .dim)
    var used = head.utf8.count
    for word in words {
      if used + word.0.utf8.count > width && row.words.count > 1 {
        rows.append(row)
        row = Row()
        row.add(String(repeating: " ", count: head.utf8.count))
        used = head.utf8.count
      }
      row.add(word.0, word.1)
      used += word.0.utf8.count
    }
    rows.append(row)
    return rows
  }

  private func segmentRows(_ now: VCPUState, _ before: VCPUState, width: Int) -> [Row] {
    let names: [SegmentName] = [.cs, .ss, .ds, .es, .fs, .gs, .tr, .ldtr]
    var words: [(String, StyleRole)] = []
    for name in names {
      let segment = now[name]
      let changed = segment != before[name]
      var text = "\(name == .ldtr ? "LDT" : name.name.uppercased()) \(Format.hex(UInt64(segment.selector), 4))"
      text += " b=\(Format.hex(segment.base, 8)) l=\(Format.hex(UInt64(segment.limit), 4)) "
      text += Self.kind(segment)
      words.append((Format.left(text + (changed ? "*" : ""), 39), changed ? .changed : .value))
    }
    return wrapped("", words, width: width)
  }

  private static func kind(_ segment: SegmentState) -> String {
    if segment.unusable { return "unusable" }
    return SegmentText.short(accessRights: segment.access)
  }

  private func controlRows(_ now: VCPUState, _ before: VCPUState, width: Int) -> [Row] {
    var rows = control("CR0", now.cr0, before.cr0, CR0.bits, width)
    rows += control("CR4", now.cr4, before.cr4, CR4.bits, width)
    rows += control("EFER", now.efer, before.efer, EFER.bits, width)
    var words: [(String, StyleRole)] = []
    func add(_ name: String, _ value: UInt64, _ old: UInt64) {
      let changed = value != old
      words.append((name + " " + Format.hex(value) + (changed ? "*  " : "  "), changed ? .changed : .value))
    }
    add("CR2", now.cr2, before.cr2)
    add("CR3", now.cr3, before.cr3)
    add("CR8", now.cr8, before.cr8)
    words.append(("GDT \(Format.hex(now.gdtr.base)):\(Format.hex(UInt64(now.gdtr.limit)))  ", mark(now.gdtr != before.gdtr)))
    let vectors = now.mode == .real16 ? " (IVT)" : ""
    let idt = "IDT \(Format.hex(now.idtr.base)):\(Format.hex(UInt64(now.idtr.limit)))\(vectors)  "
    words.append((idt, mark(now.idtr != before.idtr)))
    for index in now.dr.indices where before.dr.indices.contains(index) { add("DR\(index)", now.dr[index], before.dr[index]) }
    add("DR6", now.dr6, before.dr6)
    add("DR7", now.dr7, before.dr7)
    if now.activity != .active { words.append(("activity \(now.activity)  ", .changed)) }
    if now.interruptShadow { words.append(("interrupt shadow  ", .changed)) }
    if now.nmiBlocked { words.append(("NMI blocked  ", .changed)) }
    return rows + wrapped("", words, width: width)
  }

  private func mark(_ changed: Bool) -> StyleRole { changed ? .changed : .value }

  private func control(
    _ name: String, _ value: UInt64, _ before: UInt64, _ bits: [BitName], _ width: Int
  ) -> [Row] {
    var words: [(String, StyleRole)] = [
      (Format.hex(value, 8) + (value != before ? "* " : "  "), value != before ? .changed : .value)
    ]
    let old = Format.bits(before, bits)
    for (bit, old) in zip(Format.bits(value, bits), old) {
      words.append((bit.text + " ", bit.text != old.text ? .changed : bit.isSet ? .flagSet : .flagClear))
    }
    return wrapped(Format.left(name, 5), words, width: width)
  }

  package func handle(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.modifiers.isEmpty else { return .ignored }
    switch key.code {
    case .up: first -= 1
    case .down: first += 1
    case .pageUp: first -= 8
    case .pageDown: first += 8
    case .home: first = 0
    case .end: first = rowCount
    case .character("d"): nextFormat()
    case .character("m"), .right: show(View.allCases[(view.rawValue + 1) % View.allCases.count])
    case .left: show(View.allCases[(view.rawValue + View.allCases.count - 1) % View.allCases.count])
    default: return .ignored
    }
    return .handled
  }

  private func show(_ next: View) {
    view = next
    first = 0
  }

  private func nextFormat() {
    guard view == .sse else {
      decimal.toggle()
      return
    }
    let all = VectorFormat.allCases
    format = all[((all.firstIndex(of: format) ?? 0) + 1) % all.count]
  }

  package func scroll(_ rows: Int, _ snapshot: SessionSnapshot) { first += rows }

  package func find(_ text: String, backward: Bool, _ snapshot: SessionSnapshot) -> Bool {
    let rows = rows(snapshot, width: 43)
    let needle = text.lowercased()
    let found = rows.firstIndex { $0.words.map(\.0).joined().lowercased().contains(needle) }
    if let found { first = found }
    return found != nil
  }
}
