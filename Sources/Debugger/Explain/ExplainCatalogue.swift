import VMCore
import X86

/// Every page of explanation there is, and finding one by what a person typed or pointed at.
package enum ExplainCatalogue {
  package static let all: [ExplainEntry] =
    ExplainFlags.entries + ExplainControl.entries + ExplainDebug.entries + ExplainFloat.entries + ExplainSegments.entries
    + ExplainExits.entries + ExplainExceptions.entries + ExplainPaging.entries + ExplainMSRs.entries
    + ExplainDevices.entries + ExplainEvents.entries + ExplainVMCS.entries + ExplainRewriting.entries + ExplainXen.entries
    + instructions

  /// All names, sorted: for completion and nearest matches.
  package static let names: [String] = all.map(\.name).sorted()

  private static let byName: [String: Int] = {
    var table: [String: Int] = [:]
    for (index, entry) in all.enumerated() {
      precondition(table[entry.name] == nil || all[table[entry.name] ?? 0].name != entry.name, "an entry's name is its own")
      table[entry.name] = index
    }
    for (index, entry) in all.enumerated() {
      for alias in entry.aliases where table[alias] == nil { table[alias] = index }
    }
    return table
  }()

  /// By the part after the last dot; the first of the catalogue's order has it.
  private static let byLastPart: [String: Int] = {
    var table: [String: Int] = [:]
    for (index, entry) in all.enumerated() {
      for name in [entry.name] + entry.aliases {
        guard let part = name.split(separator: ".").last, part.count < name.count else { continue }
        if table[String(part)] == nil { table[String(part)] = index }
      }
    }
    return table
  }()

  /// By exact name or alias, in any case; `CR0.PG`, `cr0 pg` and `#PF` will do.
  package static func entry(_ name: String) -> ExplainEntry? {
    let wanted = name.lowercased().split(separator: " ").joined(separator: ".")
    if let index = byName[wanted] { return all[index] }
    if let index = MSR.index(named: wanted), let known = byName["msr." + Self.short(MSR.name(index) ?? "")] { return all[known] }
    return nil
  }

  private static func short(_ name: String) -> String {
    let lower = name.lowercased()
    return lower.hasPrefix("ia32_") ? String(lower.dropFirst(5)) : lower
  }

  /// What a word on the screen stands for: `ZF`, `IOPL0`, `!IO`, `CPL3`, `RAX`. `context` are words before it
  /// in its row or its pane's subject (`cr0`, `pic`); the nearest comes first. On a screen there is prose between the
  /// names (`inProse`): there a word that is no name of its own must be written as one to be taken for a bit of some
  /// register that nothing around it speaks of (`NX`, not `us` or `of`).
  package static func entry(word: String, context: [String], inProse: Bool = false) -> ExplainEntry? {
    let mayStandAlone = !inProse || word.contains { $0.isUppercase }
    for form in forms(of: word) {
      for head in context.lazy.compactMap({ place(of: $0) }) {
        if let index = byName["\(head).\(form)"] { return all[index] }
      }
      if let entry = entry(form) { return entry }
      if mayStandAlone, let index = byName["exit.\(form)"] ?? byLastPart[form] { return all[index] }
    }
    return nil
  }

  /// The first words of a row taken together: `receive FIFO`, `pins up`.
  package static func entry(joined: String, context: [String]) -> ExplainEntry? {
    let bare = String(joined.lowercased().prefix { $0.isLetter || $0.isNumber })
    return context.lazy.compactMap { place(of: $0) }.compactMap { byName["\($0).\(bare)"] }.first.map { all[$0] }
  }

  /// The subject a heading stands for: a register's own name, or a device by how its pane calls it.
  private static func place(of word: String) -> String? {
    let bare = word.lowercased().filter { $0.isLetter || $0.isNumber || $0 == "_" }
    return bare.isEmpty ? nil : headings[bare] ?? bare
  }

  private static let headings: [String: String] = [
    "16550a": "serial", "com1": "serial", "8254": "pit", "8042": "ps2", "8259a": "pic", "pic1": "pic", "pic2": "pic",
    "apic": "lapic", "serial16550": "serial", "pic8259a": "pic", "pit8254": "pit", "localapic": "lapic",
  ]

  /// The word as it stands, without its marks, and without the value at its end.
  private static func forms(of word: String) -> [String] {
    let lower = word.lowercased()
    // As segments are shown: `b=00000000 l=ffffffff`.
    for (mark, name) in [("b=", "descriptor.base"), ("l=", "descriptor.limit")] where lower.hasPrefix(mark) { return [name] }
    let bare = String(lower.drop { !$0.isLetter && !$0.isNumber && $0 != "#" })
    let cut = String(bare.prefix { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." || $0 == "/" || $0 == "#" || $0 == "(" || $0 == ")" })
    let closed = cut.hasSuffix(")") && !cut.contains("(") ? String(cut.dropLast()) : cut
    let letters = String(cut.reversed().drop { $0.isNumber }.reversed())
    var forms = [lower, bare, cut, closed]
    if letters.count >= 2 { forms.append(letters) }
    // A bare number names nothing.
    return forms.filter { $0.contains(where: \.isLetter) }
  }

  /// The nearest name to a misspelt one.
  package static func nearest(_ name: String) -> String? {
    NearestName.find(name, in: names) ?? NearestName.find(name, in: byLastPart.keys.sorted())
  }

  /// How each technique keeps hold of each sensitive instruction.
  private static let instructions: [ExplainEntry] =
    SensitiveOperation.allCases.map { operation in
      let advice = CodeAdvice.explain(operation)
      return ExplainEntry(
        "instruction.\(String(describing: operation).lowercased())", title: "Instruction: \(operation.sensitivity.name)",
        operation.reason.prefix(1).uppercased() + operation.reason.dropFirst() + ".", "Robin and Irvine 2000; SDM 2",
        further: advice)
    } + [
      ExplainEntry(
        "instruction.innocuous", ["instruction.none"], title: "Instruction: innocuous",
        "Means the same in every ring and shows nothing of the machine: it runs as it is under every technique.",
        "Popek and Goldberg 1974")
    ]
}

/// Explanations as lines.
package enum Explain {
  /// Two to six lines of at most `width` columns: what it is, the rule, the present meaning.
  package static func lines(_ subject: ExplainSubject, state: VCPUState, width: Int = 78) -> [String]? {
    guard let entry = ExplainCatalogue.entry(subject.name) ?? ExplainCatalogue.entry(word: subject.name, context: []) else {
      return subject.present.map { wrap($0, width) }
    }
    return lines(entry, value: subject.value ?? present(entry, state), present: subject.present, width: width)
  }

  package static func lines(_ entry: ExplainEntry, value: UInt64?, present: String?, width: Int = 78) -> [String] {
    var lines = wrap("\(entry.title)  [\(entry.section)]", width)
    if let present { lines += wrap(present, width) }
    let meaning = value.flatMap { entry.meaning(of: $0) }
    lines += wrap(entry.rule, width)
    lines += entry.further.flatMap { wrap($0, width) }
    if let meaning { lines += wrap(meaning, width) }
    return lines
  }

  /// The value an entry of a vCPU's register reads, from the state; nil for what is not a register.
  package static func present(_ entry: ExplainEntry, _ state: VCPUState) -> UInt64? {
    guard let head = entry.name.split(separator: ".").first.map(String.init) else { return nil }
    if case .none = entry.reading { return nil }
    switch head {
    case "segment": return UInt64(state[.cs].access)
    case "selector": return UInt64(state[.cs].selector)
    case "msr":
      guard let name = entry.aliases.first(where: { RegisterNames.lookup($0) != nil }) else { return nil }
      return RegisterNames.lookup(name).map { state.read($0) }
    default: return RegisterNames.lookup(head).map { state.read($0) }
    }
  }

  private static func wrap(_ text: String, _ width: Int) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ", omittingEmptySubsequences: false) {
      if !line.isEmpty, line.count + 1 + word.count > width {
        lines.append(line)
        line = String(word)
      } else {
        line += line.isEmpty ? String(word) : " \(word)"
      }
    }
    return lines + [line]
  }
}
