import Debugger
import VMCore
import X86

/// The command that makes a change, for a key that stands for it.
package enum VMCSCommandLine {
  package static func set(_ change: VMCSChange) -> String { "vmcs \(VMCSCommands.spelled(change))" }
}

/// `vmcs`: fields of the VM's VMCS, and what makes the guest exit.
enum VMCSCommands {
  static let all: [CommandDescriptor] = [
    CommandDescriptor(
      ["vmcs"], .changing,
      arguments: "FIELD | set BIT|exception V|port R|msr N [r|w]|crN.BIT on|off | set FIELD NUMBER | preset NAME | undo",
      help: "show or change what makes the guest exit, at once, also while it runs", whileRunning: true,
      completion: .words(words)
    ) { core, arguments throws(CommandError) in
      var scanner = arguments.scanner
      if scanner.take("set") { return try set(core, &scanner, arguments) }
      if scanner.take("preset") { return try preset(core, &scanner, arguments) }
      if scanner.take("undo") {
        try scanner.end()
        guard let undone = core.changeVMCS("vmcs undo", { $0.undo() }) else {
          throw scanner.fail("", "nothing was changed: there is nothing to undo")
        }
        return CommandResult("undone: \(undone.words)")
      }
      return try show(core, scanner.remainder, scanner)
    }
  ]

  /// What completion offers.
  static let words: [String] =
    ["set", "preset", "undo", "on", "off", "exception", "port", "msr", "all"] + VMXControlBit.all.map { token($0.name) }
    + VMCSField.allCases.map(\.token) + VMCSPreset.allCases.map(\.rawValue)
    + CR0.bits.map { "cr0.\($0.name)" } + CR4.bits.map { "cr4.\($0.name)" }

  // MARK: names

  /// Letters and digits alone, in lower case: "HLT exiting", "hlt-exiting" and "hltexiting" are the same.
  static func plain(_ text: String) -> String { String(text.lowercased().filter { $0.isLetter || $0.isNumber }) }
  private static func token(_ name: String) -> String { String(name.lowercased().map { $0 == " " ? "-" : $0 }) }

  /// The name equal to `text`, or the only one that begins with it or contains it.
  private static func find<Value>(_ text: String, in values: [Value], _ name: (Value) -> String) -> Value? {
    let wanted = plain(text)
    guard !wanted.isEmpty else { return nil }
    if let exact = values.first(where: { plain(name($0)) == wanted }) { return exact }
    let fitting = values.filter { plain(name($0)).hasPrefix(wanted) }
    if !fitting.isEmpty || wanted.count < 3 { return fitting.count == 1 ? fitting[0] : nil }
    let containing = values.filter { plain(name($0)).contains(wanted) }
    return containing.count == 1 ? containing[0] : nil
  }

  static func bit(_ text: String) -> VMXControlBit? {
    find(text, in: VMXControlBit.all) { $0.name } ?? find(text + " exiting", in: VMXControlBit.all) { $0.name }
  }
  private static func field(_ text: String) -> VMCSField? {
    if let number = UInt32(text.lowercased().hasSuffix("h") ? String(text.dropLast()) : text, radix: 16),
      let field = VMCSField(encoding: number)
    {
      return field
    }
    return find(text, in: VMCSField.allCases) { $0.sdmName }
  }

  /// The field of exactly this name: it comes before a control bit that only contains it.
  private static func exactField(_ text: String) -> VMCSField? {
    let wanted = plain(text)
    return VMCSField.allCases.first { plain($0.sdmName) == wanted }
  }

  /// What a word that names nothing may have been meant to be.
  private static func nearest(_ text: String) -> String? {
    NearestName.find(token(text), in: words)
      ?? NearestName.find(plain(text), in: words.map(plain)).flatMap { found in words.first { plain($0) == found } }
  }

  // MARK: show

  private static func show(
    _ core: SessionCore, _ text: String, _ scanner: ArgumentScanner
  ) throws(CommandError) -> CommandResult {
    core.stream.drain()
    let report = VMCSReport(core.snapshot())
    if text.isEmpty { return info(report, .controls) }
    let wanted: VMCSField
    var only: VMXControlBit?
    if let field = exactField(text) {
      wanted = field
    } else if let bit = bit(text) {
      wanted = bit.field
      only = bit
    } else if let field = field(text) {
      wanted = field
    } else {
      throw scanner.fail(text, "no field or control bit of a VMCS", nearest: nearest(text))
    }
    let rows = VMCSArea.allCases.lazy.map { report.rows($0) }.first { $0.contains { $0.item == .field(wanted) } } ?? []
    let shown = rows.filter { row in
      if let only { return row.item == .bit(only) }
      if case .bit(let bit) = row.item { return bit.field == wanted }
      return row.item == .field(wanted)
    }
    let masks = rows.filter { row in
      if case .mask(let field, _) = row.item { return field == wanted }
      return false
    }
    let lines = (shown + masks).map(\.row.text) + explanation(only, wanted)
    return CommandResult(
      lines,
      json: .members(
        ("field", .string(wanted.sdmName)), ("encoding", .hex(UInt64(wanted.rawValue))),
        ("value", .hex(report.image[wanted]))))
  }

  private static func explanation(_ bit: VMXControlBit?, _ field: VMCSField) -> [String] {
    let name = bit.map { ExplainVMCS.name($0) } ?? ExplainVMCS.name(field)
    return ExplainCatalogue.entry(name).map { ["", $0.rule] } ?? []
  }

  static func info(_ report: VMCSReport, _ area: VMCSArea) -> CommandResult {
    let rows = report.rows(area)
    let values = rows.compactMap { row -> JSONValue? in
      guard case .field(let field) = row.item else { return nil }
      return .members(
        ("field", .string(field.token)), ("encoding", .hex(UInt64(field.rawValue))), ("value", .hex(report.image[field])))
    }
    return CommandResult(rows.map(\.row.text), json: .members(("area", .string(area.rawValue)), ("fields", .array(values))))
  }

  // MARK: change

  private static func preset(
    _ core: SessionCore, _ scanner: inout ArgumentScanner, _ arguments: CommandArguments
  ) throws(CommandError) -> CommandResult {
    let word = scanner.takeWord() ?? ""
    let names = VMCSPreset.allCases.map(\.rawValue)
    guard let preset = VMCSPreset(rawValue: word.lowercased()) else {
      throw scanner.fail(word, "expected one of \(names.joined(separator: ", "))", nearest: NearestName.find(word, in: names))
    }
    try scanner.end()
    return try apply(core, .preset(preset), scanner)
  }

  private static func set(
    _ core: SessionCore, _ scanner: inout ArgumentScanner, _ arguments: CommandArguments
  ) throws(CommandError) -> CommandResult {
    let change = try change(core, &scanner)
    return try apply(core, change, scanner)
  }

  private static func apply(
    _ core: SessionCore, _ change: VMCSChange, _ scanner: ArgumentScanner
  ) throws(CommandError) -> CommandResult {
    if let why = core.whyControlsAreFixed { throw scanner.fail("", why) }
    let before = core.vmcs.controls
    var wanted = before
    change.apply(to: &wanted)
    if wanted.vmcs.has(.preemptionTimer), wanted.preemptionTimer == 0 {
      throw scanner.fail(
        "", "with the VMX-preemption timer at 0 every entry exits at once: 'vmcs set vmx-preemption-timer-value 40' first")
    }
    let line = "vmcs \(VMCSCommands.spelled(change))"
    _ = core.changeVMCS(line) { model in
      model.apply(change)
      return change
    }
    let after = core.vmcs.controls
    var lines = [change.words + (before == after ? " (as it was)" : "")]
    if case .preset = change { lines += differences(before, after) }
    lines += askersNote(core, change)
    return CommandResult(lines, json: .members(("changed", .bool(before != after)), ("what", .string(change.words))))
  }

  /// A change as the arguments of a command that makes it again.
  static func spelled(_ change: VMCSChange) -> String {
    func word(_ on: Bool) -> String { on ? "on" : "off" }
    func hex(_ value: UInt64) -> String { Hex.padded(value, 1) }
    switch change {
    case .bit(let bit, let on): return "set \(token(bit.name)) \(word(on))"
    case .exception(let vector, let on): return "set exception \(vector.map { String($0) } ?? "all") \(word(on))"
    case .ports(let range, let on):
      return "set port \(hex(UInt64(range.lowerBound)))-\(hex(UInt64(range.upperBound))) \(word(on))"
    case .msr(let index, let kinds, let on):
      return "set msr \(index.map { hex(UInt64($0)) } ?? "all") \(kinds.letters) \(word(on))"
    case .mask(let field, let bits, let on):
      let names = field == .cr0Mask ? CR0.bits : CR4.bits
      let one = names.first { UInt64(1) << UInt64($0.bit) == bits }?.name
      return "set \(field == .cr0Mask ? "cr0" : "cr4").\(one ?? "all") \(word(on))"
    case .field(let field, let value): return "set \(field.token) \(hex(value))"
    case .preset(let preset): return "preset \(preset.rawValue)"
    }
  }

  /// What is asked for by somebody else stays on.
  private static func askersNote(_ core: SessionCore, _ change: VMCSChange) -> [String] {
    let view = core.vmcsView()
    let askers: [String]
    switch change {
    case .bit(let bit, false): askers = view.askers { $0.vmcs.has(bit) }
    case .ports(let range, false) where range.count == 1: askers = view.askers { $0.bitmaps[port: range.lowerBound] }
    case .msr(let index?, let kinds, false):
      askers = view.askers { $0.bitmaps.contains(msr: index, write: kinds == .write) == true }
    default: askers = []
    }
    return askers.isEmpty ? [] : ["still on: asked for by \(askers.joined(separator: ", "))"]
  }

  /// The bits and fields that a preset changed.
  static func differences(_ before: ExitControls, _ after: ExitControls) -> [String] {
    let (old, new) = (VMCSImage(state: VCPUState(), controls: before), VMCSImage(state: VCPUState(), controls: after))
    var lines: [String] = []
    for bit in VMXControlBit.all where old[bit.field] & bit.mask != new[bit.field] & bit.mask {
      lines.append("  \(bit.name) \(new[bit.field] & bit.mask != 0 ? "on" : "off")")
    }
    for field in VMCSChange.numbers where old[field] != new[field] {
      lines.append("  \(field.sdmName) \(Hex.text(old[field])) -> \(Hex.text(new[field]))")
    }
    if before.bitmaps != after.bitmaps { lines.append("  bitmaps: \(after.bitmaps.portCount) of 65536 ports exit") }
    return lines
  }

  // MARK: reading a change

  private static func change(_ core: SessionCore, _ scanner: inout ArgumentScanner) throws(CommandError) -> VMCSChange {
    var words: [String] = []
    while let word = scanner.takeWord() { words.append(word) }
    guard let last = words.popLast(), !words.isEmpty else {
      throw scanner.fail("", "a bit, exception, port, MSR or field, and on, off or a number were expected")
    }
    let value = last.lowercased()
    let on: Bool? = ["on", "1", "yes"].contains(value) ? true : ["off", "0", "no"].contains(value) ? false : nil
    let head = words[0].lowercased()
    switch head {
    case "exception", "exc", "vector": return .exception(try vector(words.dropFirst(), scanner), try need(on, last, scanner))
    case "port", "ports", "io": return .ports(try ports(words.dropFirst(), scanner), try need(on, last, scanner))
    case "msr", "msrs": return try msr(words.dropFirst(), try need(on, last, scanner), scanner)
    default: break
    }
    if head.hasPrefix("#") { return .exception(try vector(words[...], scanner), try need(on, last, scanner)) }
    if head.hasPrefix("cr0.") || head.hasPrefix("cr4.") { return try mask(head, try need(on, last, scanner), scanner) }
    let name = words.joined(separator: " ")
    let isNumber = on == nil || exactField(name).map { VMCSChange.numbers.contains($0) } == true
    return isNumber ? try number(name, value, scanner) : try control(name, try need(on, last, scanner), scanner)
  }

  private static func need(_ on: Bool?, _ word: String, _ scanner: ArgumentScanner) throws(CommandError) -> Bool {
    guard let on else { throw scanner.fail(word, "on or off was expected") }
    return on
  }

  private static func control(_ name: String, _ on: Bool, _ scanner: ArgumentScanner) throws(CommandError) -> VMCSChange {
    guard let bit = bit(name) else { throw scanner.fail(name, "no control bit of a VMCS", nearest: nearest(name)) }
    if let why = VMCSChange.whyFixed(bit) { throw scanner.fail(bit.name, "cannot be changed: \(why)") }
    return .bit(bit, on)
  }

  private static func number(_ name: String, _ word: String, _ scanner: ArgumentScanner) throws(CommandError) -> VMCSChange {
    guard let field = field(name) else {
      if bit(name) != nil { throw scanner.fail(word, "on or off was expected") }
      throw scanner.fail(name, "no control bit or field of a VMCS", nearest: nearest(name))
    }
    guard VMCSChange.numbers.contains(field) else { throw scanner.fail(field.sdmName, "cannot be set: the model fills it in") }
    let digits = word.hasPrefix("0x") ? String(word.dropFirst(2)) : word
    guard let value = UInt64(digits, radix: 16), value & ~field.mask == 0 else {
      throw scanner.fail(word, "a hexadecimal number of \(field.bits) bits was expected")
    }
    return .field(field, value)
  }

  private static func vector(_ words: ArraySlice<String>, _ scanner: ArgumentScanner) throws(CommandError) -> UInt8? {
    let word = words.joined(separator: " ").lowercased()
    if word == "all" { return nil }
    let bare = String(word.drop { $0 == "#" })
    let named = Exception.allCases.first { $0.mnemonic.lowercased().drop { $0 == "#" } == bare }
    if let vector = named?.rawValue ?? UInt8(bare), vector < 32 { return vector }
    throw scanner.fail(
      word, "an exception from 0 to 31, its name like #pf, or all was expected",
      nearest: NearestName.find(word, in: Exception.allCases.map { $0.mnemonic.lowercased() }))
  }

  private static func ports(_ words: ArraySlice<String>, _ scanner: ArgumentScanner) throws(CommandError) -> ClosedRange<UInt16> {
    let word = words.joined().lowercased()
    if word == "all" { return 0...0xFFFF }
    let ends = word.split(separator: "-", omittingEmptySubsequences: false).map { part in
      UInt16(part.hasPrefix("0x") ? part.dropFirst(2) : part.hasSuffix("h") ? part.dropLast() : part, radix: 16)
    }
    if ends.count == 1, let port = ends[0] { return port...port }
    if ends.count == 2, let first = ends[0], let last = ends[1], first <= last { return first...last }
    throw scanner.fail(word, "a port like 3f8, a range like 3f8-3ff (hexadecimal), or all was expected")
  }

  private static func msr(
    _ words: ArraySlice<String>, _ on: Bool, _ scanner: ArgumentScanner
  ) throws(CommandError) -> VMCSChange {
    let word = (words.first ?? "").lowercased()
    var kinds = AccessKinds.both
    if words.count == 2 {
      switch words.last?.lowercased() {
      case "r": kinds = .read
      case "w": kinds = .write
      case "rw": kinds = .both
      default: throw scanner.fail(words.last ?? "", "r, w or rw was expected")
      }
    }
    if word == "all" { return .msr(nil, .both, on) }
    let digits = word.hasPrefix("0x") ? String(word.dropFirst(2)) : word
    guard let index = UInt32(digits, radix: 16) ?? MSR.index(named: word) else {
      throw scanner.fail(
        word, "an MSR's number (hexadecimal) or name was expected",
        nearest: NearestName.find(word.uppercased(), in: MSR.allNames))
    }
    guard VMCSBitmaps.standard.contains(msr: index, write: false) != nil else {
      throw scanner.fail(word, "outside of the MSR bitmap (0-1fffh, c0000000-c0001fffh): always exits")
    }
    return .msr(index, kinds, on)
  }

  private static func mask(_ word: String, _ on: Bool, _ scanner: ArgumentScanner) throws(CommandError) -> VMCSChange {
    let names = word.hasPrefix("cr0") ? CR0.bits : CR4.bits
    let field = word.hasPrefix("cr0") ? VMCSField.cr0Mask : .cr4Mask
    let name = word.dropFirst(4)
    if name == "all" { return .mask(field, names.reduce(0) { $0 | 1 << UInt64($1.bit) }, on) }
    guard let bit = names.first(where: { $0.name == name }) else {
      throw scanner.fail(
        word, "no such bit of \(word.prefix(3).uppercased())",
        nearest: NearestName.find(String(name), in: names.map(\.name)).map { "\(word.prefix(4))\($0)" })
    }
    return .mask(field, 1 << UInt64(bit.bit), on)
  }
}
