import Debugger
import VMCore
import X86

/// The areas of a VMCS as they are shown.
package enum VMCSArea: String, CaseIterable, Sendable {
  case guest, host, controls, exit, bitmaps
  package var title: String {
    switch self {
    case .guest: "guest state"
    case .host: "host state"
    case .controls: "controls"
    case .exit: "exit information"
    case .bitmaps: "bitmaps"
    }
  }
}

/// A row of the VMCS: its text, and what of the VMCS it is.
package struct VMCSRow: Sendable {
  package var row: ReportRow
  package var item: VMCSItem?
  /// The last exit happened because of it.
  package var isWhy = false
  package init(_ row: ReportRow, _ item: VMCSItem? = nil) {
    self.row = row
    self.item = item
  }
}

/// A VMCS in rows: what the pane draws and what `info vmcs` prints.
package struct VMCSReport {
  let snapshot: SessionSnapshot
  let view: VMCSView
  let image: VMCSImage
  /// The image at the stop before.
  let previous: VMCSImage
  package let last: ExitRecord?
  package let why: VMCSWhy?

  package init(_ snapshot: SessionSnapshot) {
    self.snapshot = snapshot
    view = snapshot.vmcs
    let index = snapshot.currentVCPU
    let state = snapshot.vcpus.indices.contains(index) ? snapshot.vcpus[index] : VCPUState()
    let before = snapshot.previous.indices.contains(index) ? snapshot.previous[index] : state
    last = snapshot.exits.last
    why = last.map { [view] in view.why($0.exit, $0.states?.cause ?? view.lastCause) }
    var image = VMCSImage(state: state, controls: view.effective)
    var previous = VMCSImage(state: before, controls: view.effective)
    Self.put(view.injection, into: &image)
    let newest = snapshot.exits.suffix(2)
    if let last { ExitInformation(last.exit, snapshot.instruction(of: last)).put(into: &image) }
    if newest.count == 2, let earlier = newest.first {
      ExitInformation(earlier.exit, snapshot.instruction(of: earlier)).put(into: &previous)
    }
    self.image = image
    self.previous = previous
  }

  private static func put(_ injection: InjectedEvent?, into image: inout VMCSImage) {
    switch injection {
    case .externalInterrupt(let vector):
      image[.entryInterruption] = UInt64(VMXFormat.interruption(.externalInterrupt, vector: vector))
    case .nmi: image[.entryInterruption] = UInt64(VMXFormat.interruption(.nmi, vector: 2))
    case .exception(let vector, let code):
      image[.entryInterruption] = UInt64(
        VMXFormat.interruption(.hardwareException, vector: vector, hasErrorCode: code != nil))
      image[.entryErrorCode] = UInt64(code ?? 0)
    case nil: break
    }
  }

  package func rows(_ area: VMCSArea) -> [VMCSRow] {
    let rows: [VMCSRow]
    switch area {
    case .guest: rows = guestRows
    case .host: rows = hostRows
    case .controls: rows = controlRows
    case .exit: rows = exitRows
    case .bitmaps: rows = bitmapRows
    }
    guard let item = why?.item else { return rows }
    return rows.map { row in
      var marked = row
      marked.isWhy = row.item.map { Self.matches($0, item) } ?? false
      if marked.isWhy { marked.row.add("  <- exit #\(last?.sequence ?? 0)", .exit) }
      return marked
    }
  }

  /// The row of a run of ports is the one of each of them; a mask's bits stand in its field's row.
  private static func matches(_ row: VMCSItem, _ item: VMCSItem) -> Bool {
    switch (row, item) {
    case (.port(let ports), .port(let wanted)): ports.contains(wanted.lowerBound)
    default: row == item
    }
  }

  // MARK: pieces

  private func heading(_ text: String) -> VMCSRow { VMCSRow(.heading(text)) }
  private func note(_ text: String) -> VMCSRow { VMCSRow(ReportRow("  \(text)", .dim)) }

  /// `6800 guest CR0   00000060  PE ET`, marked where it changed.
  func field(_ field: VMCSField, _ words: String = "") -> VMCSRow {
    let changed = image[field] != previous[field]
    var row = ReportRow()
    row.add(Hex.padded(UInt64(field.rawValue), 4) + " ", .dim)
    row.add(field.sdmName, width: 32, .plain)
    row.add(Hex.padded(image[field], field.bits / 4), width: 16, changed ? .changed : .value)
    row.add(changed ? "* " : "  ", .changed)
    row.add(words, .dim)
    return VMCSRow(row, .field(field))
  }

  /// `  [x] bit 7   HLT exiting`, with who asked for it or why it is fixed.
  private func bit(_ bit: VMXControlBit) -> VMCSRow {
    let isOn = image[bit.field] & bit.mask != 0
    let askers = view.askers { VMCSImage(state: VCPUState(), controls: $0)[bit.field] & bit.mask != 0 }
    var row = ReportRow(isOn ? "  [x] " : "  [ ] ", isOn ? .set : .clear)
    row.add("bit \(bit.bit)", width: 6, .dim)
    row.add(bit.name, width: 31, isOn ? .set : .plain)
    if isOn, !askers.isEmpty {
      row.add("asked for by \(askers.joined(separator: ", "))", .changed)
    } else if let why = VMCSChange.whyFixed(bit) {
      row.add("fixed: \(why)", .dim)
    }
    return VMCSRow(row, .bit(bit))
  }

  private func word(_ field: VMCSField) -> [VMCSRow] {
    let named = VMXControlBit.all.filter { $0.field == field }
    let other = named.reduce(VMXCapabilities.mustBeOne(field)) { $0 & ~$1.mask }
    let bits = (0..<32).filter { other >> UInt64($0) & 1 != 0 }.map(String.init).joined(separator: ",")
    return [self.field(field, bits.isEmpty ? "" : "reserved, must be 1: bits \(bits)")] + named.map(bit)
  }

  // MARK: guest state

  private var guestRows: [VMCSRow] {
    var rows: [VMCSRow] = [heading("Control registers, debug, stack, instruction pointer")]
    let bits = RegisterDescription.setBits
    rows += [
      field(.guestCR0, bits(image[.guestCR0], CR0.bits)), field(.guestCR3), field(.guestCR4, bits(image[.guestCR4], CR4.bits)),
      field(.guestDR7), field(.guestRSP), field(.guestRIP), field(.guestRFLAGS, bits(image[.guestRFLAGS], RFLAGS.bits)),
      heading("Segment registers"),
    ]
    for i in 0..<8 {
      rows += [field(.selector(i)), field(.base(i)), field(.limit(i)), field(.access(i), Self.rights(image[.access(i)]))]
    }
    rows += [field(.guestGDTRBase), field(.guestGDTRLimit), field(.guestIDTRBase), field(.guestIDTRLimit)]
    rows += [
      heading("MSRs"), field(.guestSysenterCS), field(.guestSysenterESP), field(.guestSysenterEIP), field(.guestPAT),
      field(.guestEFER, bits(image[.guestEFER], EFER.bits)), field(.guestDebugControl),
      heading("Non-register state"), field(.guestActivity, Self.activity(image[.guestActivity])),
      field(.guestInterruptibility, Self.blocking(image[.guestInterruptibility])),
      field(.guestPendingDebug, image[.guestPendingDebug] >> 14 & 1 != 0 ? "single step" : "none"),
      field(.linkPointer, "no VMCS shadowing"), field(.guestSMBase, "no system-management mode here"),
    ]
    return rows + [VMCSField.guestPDPTE0, .guestPDPTE1, .guestPDPTE2, .guestPDPTE3].map {
      VMCSRow(ReportRow("\(Hex.padded(UInt64($0.rawValue), 4)) \($0.sdmName): held by the processor, not shown", .dim), .field($0))
    }
  }

  static func rights(_ access: UInt64) -> String {
    if access & 0x1_0000 != 0 { return "unusable" }
    let isCode = access & 0x18 == 0x18
    let kind = access & 0x10 == 0 ? "system type \(access & 0xF)" : isCode ? "code" : "data"
    let size = isCode && access & 0x2000 != 0 ? " 64-bit" : access & 0x4000 != 0 ? " 32-bit" : " 16-bit"
    return "\(kind)\(size) DPL \(access >> 5 & 3)\(access & 0x80 != 0 ? "" : " not present")"
  }

  static func activity(_ value: UInt64) -> String {
    ["active", "HLT", "shutdown", "wait for SIPI"][Int(value & 3)]
  }

  static func blocking(_ value: UInt64) -> String {
    let names = ["STI", "MOV SS", "SMI", "NMI"]
    let on = names.indices.filter { value >> UInt64($0) & 1 != 0 }.map { "blocking by \(names[$0])" }
    return on.isEmpty ? "nothing blocked" : on.joined(separator: ", ")
  }

  // MARK: host state

  private var hostRows: [VMCSRow] {
    let used: [VMCSField: String] = [
      .hostCR0: "PE, NE and PG are 1 in VMX operation", .hostCR3: "the monitor's page tables",
      .hostCR4: "VMXE, and PAE for a 64-bit monitor", .hostRIP: "the monitor's exit handler: one for all reasons",
      .hostRSP: "the monitor's stack for this vCPU", .hostCS: "flat code, RPL 0", .hostTR: "a TSS: not null",
      .hostIDTRBase: "interrupts that come right after the exit", .hostEFER: "LME and LMA of a 64-bit monitor",
      .hostPAT: "the monitor's memory types",
    ]
    let note = [
      VMCSRow(ReportRow("not used: the monitor runs outside the modelled processor", .heading)),
      self.note("On hardware every exit loads all of this: what a VMM would put there stands beside each field."),
    ]
    return note + VMCSField.allCases.filter { $0.area == .hostState }.map { field in
      var row = ReportRow()
      row.add(Hex.padded(UInt64(field.rawValue), 4) + " ", .dim)
      row.add(field.sdmName, width: 32, .plain)
      row.add("not used", width: 18, .dim)
      row.add(used[field] ?? "the monitor's own", .dim)
      return VMCSRow(row, .field(field))
    }
  }

  // MARK: controls

  private var controlRows: [VMCSRow] {
    var rows: [VMCSRow] = []
    if let why = view.whyFixed { rows.append(VMCSRow(ReportRow("cannot be changed: \(why)", .bad))) }
    rows += word(.pinControls) + word(.primaryControls) + word(.secondaryControls)
    rows += [
      heading("Exceptions"), field(.exceptionBitmap, exceptionNames), field(.pageFaultMask), field(.pageFaultMatch),
      heading("CR0, CR3 and CR4"),
    ]
    rows += mask(.cr0Mask, .cr0Shadow, CR0.bits) + mask(.cr4Mask, .cr4Shadow, CR4.bits) + [field(.cr3TargetCount)]
    let targets: [VMCSField] = [.cr3Target0, .cr3Target1, .cr3Target2, .cr3Target3]
    rows += targets.prefix(Int(image[.cr3TargetCount])).map { field($0) }
    rows += [
      heading("Time"), field(.tscOffset), field(.preemptionTimer, "ticks of \(1 << VMXCapabilities.preemptionTimerShift) ns"),
      heading("Memory and bitmaps"),
      field(.eptPointer, "write-back, 4 levels; its tables are the monitor's map"), field(.virtualProcessorID),
      field(.ioBitmapA, "kept by the monitor: \(view.effective.bitmaps.portCount) of 65536 ports exit"),
      field(.ioBitmapB), field(.msrBitmap, "kept by the monitor"),
      field(.virtualAPICAddress, "none: CR8 is the platform's"), field(.tprThreshold),
    ]
    rows += word(.exitControls)
    rows += [field(.exitMSRStoreCount), field(.exitMSRLoadCount)]
    rows += word(.entryControls)
    rows += [
      field(.entryMSRLoadCount), field(.entryInterruption, Self.interruption(image[.entryInterruption])),
      field(.entryErrorCode), field(.entryInstructionLength),
    ]
    return rows + alwaysRows + wishRows
  }

  /// Guest/host mask and read shadow, and a row for each bit.
  private func mask(_ mask: VMCSField, _ shadow: VMCSField, _ names: [BitName]) -> [VMCSRow] {
    let fields = [
      field(mask, RegisterDescription.setBits(image[mask], names)), field(shadow, RegisterDescription.setBits(image[shadow], names)),
    ]
    return fields + names.map { name in
      let isOn = image[mask] >> UInt64(name.bit) & 1 != 0
      var row = ReportRow(isOn ? "  [x] " : "  [ ] ", isOn ? .set : .clear)
      row.add("bit \(name.bit)", width: 6, .dim)
      row.add("\(mask == .cr0Mask ? "CR0" : "CR4").\(name.name.uppercased())", width: 31, isOn ? .set : .plain)
      let reads = image[shadow] >> UInt64(name.bit) & 1
      row.add(isOn ? "the monitor's: the guest reads \(reads)" : "the guest's own", .dim)
      return VMCSRow(row, .mask(mask, UInt8(name.bit)))
    }
  }

  private var exceptionNames: String {
    let on = (0..<32).filter { image[.exceptionBitmap] >> UInt64($0) & 1 != 0 }
    if on.count == 32 { return "all" }
    return on.map { Exception(rawValue: UInt8($0))?.mnemonic ?? String($0) }.joined(separator: " ")
  }

  /// What no bit turns off.
  private var alwaysRows: [VMCSRow] {
    let names = [
      ("cpuid", "CPUID"), ("invd", "INVD"), ("taskswitch", "task switch"), ("triplefault", "triple fault"),
      ("xsetbv", "XSETBV: changes XCR0; #UD where --cpu has no XSAVE"), ("getsec", "GETSEC: raises #UD here, there is no SMX"),
      ("vmcall", "VMX instructions: a guest's own VMX is carried out by the processor model, without an exit"),
    ]
    return [heading("No control bit: always exits")] + names.map { name, words in
      var row = ReportRow("  [x] ", .set)
      row.add(words, .plain)
      return VMCSRow(row, .always(name))
    }
  }

  /// What debuggers want beyond VT-x.
  private var wishRows: [VMCSRow] {
    let wishes = view.effective.wishes
    guard !wishes.isEmpty else { return [] }
    var rows = [heading("Beyond VT-x: asked for by a debugger, no bit of the VMCS")]
    let who = view.askers.filter { !$0.controls.wishes.isEmpty }.map(\.name).joined(separator: ", ")
    func add(_ text: String) { rows.append(note("\(text): asked for by \(who)")) }
    if !wishes.vectors.isEmpty {
      let all = wishes.vectors == .all
      let vectors = (0..<256).filter { wishes.vectors[UInt8($0)] }.map { Hex.padded(UInt64($0), 2) }
      add("exceptions of vectors \(all ? "00 to ff" : vectors.joined(separator: " "))")
    }
    if wishes.softwareInterrupts { add("INT n, INT3, INTO, INT1") }
    for number in 0..<16 where wishes.controlRegisters >> UInt16(number) & 1 != 0 { add("every access to CR\(number)") }
    return rows
  }

  /// Interruption information in words (SDM 3C 25.8.3).
  static func interruption(_ value: UInt64) -> String {
    guard value & UInt64(VMXFormat.valid) != 0 else { return "no event" }
    let types = ["external interrupt", "", "NMI", "hardware exception", "INT n", "INT1", "INT3 or INTO", "other event"]
    let vector = Hex.padded(value & 0xFF, 2)
    return "\(types[Int(value >> 8 & 7)]), vector \(vector)h\(value & UInt64(VMXFormat.hasErrorCode) != 0 ? ", error code" : "")"
  }
}
