/// The table of register names: what a person may type, and every name there is for completion.
package enum RegisterNames {
  /// Every canonical name, in the order a manual lists them.
  package static let all: [String] = canonical.map(\.name)

  /// The register called `name` (any case, with or without `$` or `%`), or nil.
  /// Accepts the aliases `pc`, `fp`, `st(0)`, `if`, `cr3` and so on. `$sp` is gdb's: the whole stack pointer; `sp` is
  /// the manual's, its low 16 bits.
  package static func lookup(_ name: some StringProtocol) -> Register? {
    if let register = table[String(name)] { return register }
    var text = name.lowercased()
    if let first = text.first, first == "$" || first == "%" { text.removeFirst() }
    return table[text]
  }

  private static let canonical: [Register] = {
    var list: [Register] = GPR.allCases.map { .gpr($0, .qword) }
    list += [.instructionPointer(bits: 64), .flags(bits: 64)]
    for part in [RegisterPart.dword, .word, .low8] { list += GPR.allCases.map { .gpr($0, part) } }
    list += GPR.allCases.prefix(4).map { .gpr($0, .high8) }
    list += [.instructionPointer(bits: 32), .instructionPointer(bits: 16), .flags(bits: 32), .flags(bits: 16)]
    list += RFLAGS.bits.map { .flag(bit: $0.bit, width: $0.width) }
    list += SegmentName.allCases.map { .segment($0) }
    for segment in SegmentName.allCases { list += SegmentField.allCases.map { .segmentField(segment, $0) } }
    list += [0, 2, 3, 4, 8].map { .control($0) }
    list += [0, 1, 2, 3, 6, 7].map { .debug($0) }
    list += SystemRegister.allCases.map { .system($0) }
    list += (0..<16).map { .xmm($0) }
    list += (0..<16).map { .ymm($0) }
    list += (0..<8).map { .st($0) }
    return list
  }()

  private static let table: [String: Register] = {
    var table: [String: Register] = [:]
    for register in canonical { table[register.name] = register }
    table["pc"] = .instructionPointer(bits: 64)
    table["fp"] = .gpr(.rbp, .qword)
    table["$sp"] = .gpr(.rsp, .qword)
    table["ldt"] = .segment(.ldtr)
    table["fs.base"] = .segmentField(.fs, .base)
    table["gs.base"] = .segmentField(.gs, .base)
    for segment in SegmentName.allCases {
      for field in SegmentField.allCases {
        table["\(segment.name).\(field.rawValue)"] = .segmentField(segment, field)
      }
    }
    for number in UInt8(0)..<8 { table["st(\(number))"] = .st(number) }
    table["st"] = .st(0)
    return table
  }()
}
