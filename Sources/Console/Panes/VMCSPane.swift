import Debugger
import Session
import TerminalUI
import VMCore
import X86

/// The VM's VMCS by areas: every field and control bit, what the last exit was due to, and each bit a switch.
/// For a guest that is itself a monitor also the VMCS it keeps, to look at.
package final class VMCSPane: ReportPane {
  private var area = VMCSArea.controls
  /// The guest monitor's own VMCS instead of ours.
  private var showsGuests = false
  /// A preset's letter is asked for.
  private var choosesPreset = false
  private var items: [VMCSItem?] = []
  private var whyIndex: Int?
  private var why = ""

  package init() { super.init(.vmcs, followsEnd: false) }

  package override var view: Int { (VMCSArea.allCases.firstIndex(of: area) ?? 0) * 2 + (showsGuests ? 1 : 0) }

  package override func title(_ snapshot: SessionSnapshot) -> String {
    if choosesPreset { return "VMCS preset: m minimal, s standard, n nested, w shadow, e everything; any other key leaves" }
    let tabs = VMCSArea.allCases.map { $0 == area ? "[\($0.title)]" : $0.title }.joined(separator: " ")
    let whose = showsGuests ? "VMCS of the guest's guest" : "VMCS"
    return "\(whose) \(tabs) (<- -> Space p U .)"
  }

  package override func makeRows(_ snapshot: SessionSnapshot, width: Int) -> [ReportRow] {
    let rows: [VMCSRow]
    if showsGuests, let report = GuestVMCSReport(snapshot) {
      rows = report.rows(area)
      why = "at \(Hex.text(report.address)) of the guest's memory; only the guest changes it (o: ours)"
    } else {
      let report = VMCSReport(snapshot)
      rows = report.rows(area)
      why = report.why.map { "why exit #\(report.last?.sequence ?? 0): \($0.text)" } ?? "no exit yet"
    }
    items = rows.map(\.item)
    whyIndex = rows.firstIndex(where: \.isWhy)
    return rows.map(\.row)
  }

  package override func header(width: Int, _ snapshot: SessionSnapshot) -> String? {
    _ = rows(snapshot)
    return why
  }

  package override func emptyText(_ snapshot: SessionSnapshot) -> String { "nothing here" }
  package override func stopped(_ snapshot: SessionSnapshot) {}

  package override func drawRow(
    _ index: Int, _ snapshot: SessionSnapshot, _ canvas: Canvas, y: Int, surface: StyleRole
  ) {
    super.drawRow(index, snapshot, canvas, y: y, surface: surface)
    if index == whyIndex { canvas.lay(.currentLine, row: y) }
  }

  // MARK: keys

  package override var takesText: Bool { choosesPreset }

  package override func handle(_ key: Key, _ snapshot: SessionSnapshot) -> PaneResponse {
    if choosesPreset { return choose(key) }
    return super.handle(key, snapshot)
  }

  private func choose(_ key: Key) -> PaneResponse {
    choosesPreset = false
    let presets: [Unicode.Scalar: VMCSPreset] = [
      "m": .minimal, "s": .standard, "n": .nested, "w": .shadow, "e": .everything,
    ]
    guard let preset = key.typed.flatMap({ presets[$0] }) else { return .say("no preset was taken") }
    return .perform("vmcs preset \(preset.rawValue)")
  }

  package override func handle(_ key: Key, row index: Int?, _ snapshot: SessionSnapshot) -> PaneResponse {
    guard key.modifiers.isEmpty else { return .ignored }
    switch key.code {
    case .right: return turn(1)
    case .left: return turn(VMCSArea.allCases.count - 1)
    case .enter: return toggle(index, snapshot) ?? super.handle(key, row: index, snapshot)
    default: break
    }
    switch key.typed {
    case " ": return toggle(index, snapshot) ?? .ignored
    case "m": return turn(1)
    case "p":
      if let why = whyNot(snapshot) { return .say(why) }
      choosesPreset = true
      return .handled
    case "U": return .perform("vmcs undo")
    case "o": return switchVMCS(snapshot)
    case ".": return goToWhy(snapshot)
    default: return .ignored
    }
  }

  private func turn(_ distance: Int) -> PaneResponse {
    let all = VMCSArea.allCases
    area = all[((all.firstIndex(of: area) ?? 0) + distance) % all.count]
    select(nil)
    return .handled
  }

  private func switchVMCS(_ snapshot: SessionSnapshot) -> PaneResponse {
    guard showsGuests || GuestVMCSReport(snapshot) != nil else {
      return .say("the guest has no current VMCS of its own: it is no monitor, or has not loaded one")
    }
    showsGuests.toggle()
    select(nil)
    return .handled
  }

  /// To the bit that made the last exit.
  private func goToWhy(_ snapshot: SessionSnapshot) -> PaneResponse {
    showsGuests = false
    for candidate in [area] + VMCSArea.allCases where candidate != .exit {
      area = candidate
      forget()
      _ = rows(snapshot)
      if let whyIndex {
        select(UInt64(whyIndex))
        return .handled
      }
    }
    area = .exit
    return .say("the last exit was due to no bit that stands here")
  }

  private func whyNot(_ snapshot: SessionSnapshot) -> String? {
    showsGuests ? "this VMCS is the guest's own: only the guest changes it" : snapshot.vmcs.whyFixed
  }

  /// The command that turns the row's bit round; nil for a row without one.
  private func toggle(_ index: Int?, _ snapshot: SessionSnapshot) -> PaneResponse? {
    _ = rows(snapshot)
    guard let index, items.indices.contains(index), let item = items[index] else { return nil }
    let base = snapshot.vmcs.base
    func word(_ isOn: Bool) -> String { isOn ? "off" : "on" }
    let command: String
    switch item {
    case .field: return nil
    case .always(let name): return .say("\(name): no control bit, always exits")
    case .bit(let bit):
      if let why = VMCSChange.whyFixed(bit) { return .say("\(bit.name) cannot be changed: \(why)") }
      let isOn = bit == .savePreemptionTimer ? base.savesPreemptionTimer : base.vmcs.has(bit)
      command = VMCSCommandLine.set(.bit(bit, !isOn))
    case .exception(let vector):
      command = "vmcs set exception \(vector) \(word(base.vmcs.exceptions >> UInt32(vector) & 1 != 0))"
    case .port(let range):
      command = VMCSCommandLine.set(.ports(range, !base.bitmaps[port: range.lowerBound]))
    case .msr(let msr, let write):
      let isOn = base.bitmaps.contains(msr: msr, write: write) == true
      command = VMCSCommandLine.set(.msr(msr, write ? .write : .read, !isOn))
    case .mask(let field, let bit):
      let mask = field == .cr0Mask ? base.vmcs.cr0Mask : base.vmcs.cr4Mask
      command = VMCSCommandLine.set(.mask(field, 1 << UInt64(bit), mask >> UInt64(bit) & 1 == 0))
    }
    if let why = whyNot(snapshot) { return .say(why) }
    return .perform(command)
  }

  package override func subject(_ snapshot: SessionSnapshot) -> ExplainSubject? {
    let rows = rows(snapshot)
    guard let index = currentIndex(identities(snapshot)), items.indices.contains(index), let item = items[index] else {
      return nil
    }
    let present = rows[index].text
    switch item {
    case .field(let field): return ExplainSubject(ExplainVMCS.name(field), present: present)
    case .bit(let bit): return ExplainSubject(ExplainVMCS.name(bit), present: present)
    case .exception: return ExplainSubject(ExplainVMCS.name(.exceptionBitmap), present: present)
    case .port: return ExplainSubject(ExplainVMCS.name(.ioBitmapA), present: present)
    case .msr: return ExplainSubject(ExplainVMCS.name(.msrBitmap), present: present)
    case .mask(let field, _): return ExplainSubject(ExplainVMCS.name(field), present: present)
    case .always(let name): return ExplainSubject("exit.\(name)", present: present)
    }
  }
}
