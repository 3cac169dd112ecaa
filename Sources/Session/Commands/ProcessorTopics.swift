import Debugger
import VMCore
import X86

/// Topics of `info` about the current vCPU.
enum ProcessorTopics {
  static let all: [InfoCommands.Topic] = [
    .init(names: ["regs", "registers", "r"], help: "general-purpose registers and flags", completion: .register) {
      core, scanner throws(CommandError) in
      scanner.isAtEnd ? registers(core.currentState) : try named(core.currentState, &scanner)
    },
    .init(names: ["sregs", "segments"], help: "segments with their caches, table registers") {
      core, _ throws(CommandError) in segments(core.currentState)
    },
    .init(names: ["cr", "creg", "control"], help: "control registers by bit name") {
      core, _ throws(CommandError) in controls(core.currentState)
    },
    .init(names: ["msr"], help: "model-specific registers: [NAME|NUMBER]") { core, scanner throws(CommandError) in
      try msrs(core.currentState, &scanner)
    },
    .init(names: ["fpu", "sse"], help: "x87 and SSE registers") { core, _ throws(CommandError) in
      floats(core.currentState)
    },
    .init(names: ["gdt"], help: "global descriptor table: [INDEX]") { core, scanner throws(CommandError) in
      try descriptors(DescriptorTables.gdt(core.currentState, core.machine.memory), "the GDT is empty", &scanner)
    },
    .init(names: ["ldt"], help: "local descriptor table: [INDEX]") { core, scanner throws(CommandError) in
      try descriptors(DescriptorTables.ldt(core.currentState, core.machine.memory), "there is no LDT", &scanner)
    },
    .init(names: ["idt", "ivt"], help: "interrupt descriptor or vector table: [VECTOR]") { core, scanner throws(CommandError) in
      try interruptTable(core, &scanner)
    },
    .init(names: ["tss"], help: "task state segment") { core, _ throws(CommandError) in
      let fields = DescriptorTables.tss(core.currentState, core.machine.memory, symbols: core.symbols)
      return InfoCommands.rows(
        fields.map(\.text), empty: "TR holds no TSS",
        json: .object(fields.map { .init($0.name, $0.value.map { .hex($0) } ?? .null) }))
    },
    .init(names: ["stack"], help: "the stack, slot by slot") { core, scanner throws(CommandError) in
      let count = Int(clamping: scanner.takeNumber() ?? 16)
      let rows = StackView.rows(core.currentState, core.machine.memory, symbols: core.symbols, count: count)
      return CommandResult(
        rows.map { "\($0.isTop ? "=>" : "  ") \(Hex.text($0.linear.value)): \($0.value.map(Hex.text) ?? "??")  \($0.note)" },
        json: .array(
          rows.map { .members(("address", .hex($0.linear.value)), ("value", $0.value.map { .hex($0) } ?? .null)) }))
    },
  ]

  private static func registers(_ state: VCPUState) -> CommandResult {
    let wide = state.mode.codeBits == 64
    var lines: [String] = []
    let shown = wide ? GPR.allCases : Array(GPR.allCases.prefix(8))
    for pair in stride(from: 0, to: shown.count, by: wide ? 2 : 4) {
      let row = shown[pair..<min(pair + (wide ? 2 : 4), shown.count)].map { gpr in
        let digits = wide ? 16 : 8
        let name = gpr.name + (gpr.name.count < 3 ? " " : "")
        return "\(name) \(Hex.padded(wide ? state[gpr] : state[gpr] & 0xFFFF_FFFF, digits))"
      }
      lines.append(row.joined(separator: "  "))
    }
    lines.append(
      "rip \(RegisterDescription.instructionPointer(state))  rflags \(Hex.text(state.rflags)) "
        + "[\(RegisterDescription.flags(state.rflags))]  \(state.mode.name) CPL\(state.cpl)")
    var members = GPR.allCases.map { JSONValue.Member($0.name, .hex(state[$0])) }
    members += [
      .init("rip", .hex(state.rip)), .init("rflags", .hex(state.rflags)), .init("mode", .string(state.mode.name)),
      .init("cpl", .number(UInt64(state.cpl))),
    ]
    return CommandResult(lines, json: .object(members))
  }

  /// `info regs al cr0 zf`: registers by name.
  private static func named(
    _ state: VCPUState, _ scanner: inout ArgumentScanner
  ) throws(CommandError) -> CommandResult {
    var lines: [String] = []
    var members: [JSONValue.Member] = []
    while let word = scanner.takeWord() {
      guard let register = RegisterNames.lookup(word) else {
        throw scanner.fail(word, "no such register", nearest: NearestName.find(word, in: RegisterNames.all))
      }
      lines.append("\(register.name) \(RegisterDescription.value(register, state))")
      members.append(.init(register.name, .hex(state.read(register))))
    }
    return CommandResult(lines, json: .object(members))
  }

  private static func segments(_ state: VCPUState) -> CommandResult {
    var lines = SegmentName.allCases.map { RegisterDescription.segment($0, state) }
    lines.append("GDTR base \(Hex.text(state.gdtr.base)) limit \(Hex.text(UInt64(state.gdtr.limit)))")
    lines.append("IDTR base \(Hex.text(state.idtr.base)) limit \(Hex.text(UInt64(state.idtr.limit)))")
    var members = SegmentName.allCases.map { name in
      let segment = state[name]
      return JSONValue.Member(
        name.name,
        .members(
          ("selector", .hex(UInt64(segment.selector))), ("base", .hex(segment.base)),
          ("limit", .hex(UInt64(segment.limit))), ("access", .hex(UInt64(segment.access)))))
    }
    for (name, table) in [("gdtr", state.gdtr), ("idtr", state.idtr)] {
      members.append(.init(name, .members(("base", .hex(table.base)), ("limit", .hex(UInt64(table.limit))))))
    }
    return CommandResult(lines, json: .object(members))
  }

  private static func controls(_ state: VCPUState) -> CommandResult {
    let values: [(String, UInt64, [BitName])] = [
      ("cr0", state.cr0, CR0.bits), ("cr2", state.cr2, []), ("cr3", state.cr3, []), ("cr4", state.cr4, CR4.bits),
      ("cr8", state.cr8, []), ("efer", state.efer, EFER.bits), ("dr6", state.dr6, []), ("dr7", state.dr7, []),
    ]
    let debug = state.dr.enumerated().map { ("dr\($0.offset)", $0.element) }
    var lines = values.map { name, value, bits in
      "\(name) \(Hex.text(value))" + (bits.isEmpty ? "" : "  \(RegisterDescription.bits(value, bits))")
    }
    lines += debug.map { "\($0.0) \(Hex.text($0.1))" }
    let members = values.map { JSONValue.Member($0.0, .hex($0.1)) } + debug.map { JSONValue.Member($0.0, .hex($0.1)) }
    return CommandResult(lines, json: .object(members))
  }

  private static func msrs(_ state: VCPUState, _ scanner: inout ArgumentScanner) throws(CommandError) -> CommandResult {
    let all: [(UInt32, UInt64)] = [
      (MSR.efer, state.efer), (MSR.star, state.star), (MSR.lstar, state.lstar), (MSR.cstar, state.cstar),
      (MSR.sfmask, state.sfmask), (MSR.fsBase, state[.fs].base), (MSR.gsBase, state[.gs].base),
      (MSR.kernelGSBase, state.kernelGSBase), (MSR.sysenterCS, state.sysenterCS), (MSR.sysenterESP, state.sysenterESP),
      (MSR.sysenterEIP, state.sysenterEIP), (MSR.pat, state.pat), (MSR.tscAux, state.tscAux),
    ]
    var values = all
    if let typed = scanner.takeWord() {
      let digits = typed.lowercased().hasPrefix("0x") ? String(typed.dropFirst(2)) : typed
      guard let wanted = MSR.index(named: typed) ?? UInt32(digits, radix: 16) else {
        throw scanner.fail(typed, "the name or hexadecimal number of an MSR was expected")
      }
      values = all.filter { $0.0 == wanted }
      guard !values.isEmpty else { throw scanner.fail(typed, "not among those kept ('info msr' lists them)") }
    }
    return CommandResult(
      values.map { "\(Hex.padded(UInt64($0.0), 8)) \(MSR.text($0.0)) = \(Hex.text($0.1))" },
      json: .object(values.map { .init(MSR.text($0.0), .hex($0.1)) }))
  }

  private static func floats(_ state: VCPUState) -> CommandResult {
    let registers = (0..<8).map { Register.st($0) } + (0..<16).map { state.xcr0 & 4 != 0 ? Register.ymm($0) : .xmm($0) }
    let fpu = state.fpu
    let head =
      "fcw \(Hex.text(UInt64(fpu.control))) fsw \(Hex.text(UInt64(fpu.status))) ftw \(Hex.text(UInt64(fpu.tag))) "
      + "mxcsr \(Hex.text(UInt64(fpu.mxcsr)))"
    let rows = registers.map { ($0.name, RegisterDescription.value($0, state)) }
    return CommandResult(
      [head] + rows.map { "\($0.0) \($0.1)" },
      json: .object(
        [.init("mxcsr", .hex(UInt64(fpu.mxcsr))), .init("fcw", .hex(UInt64(fpu.control)))]
          + rows.map { .init($0.0, .string($0.1)) }))
  }

  /// All rows, or the one whose number was typed.
  private static func chosen<Row>(
    _ rows: [Row], _ scanner: inout ArgumentScanner, number: (Row) -> Int
  ) throws(CommandError) -> [Row] {
    guard !scanner.isAtEnd else { return rows }
    let typed = scanner.peek
    guard let wanted = scanner.takeNumber() else { throw scanner.fail(typed, "the number of an entry was expected") }
    let found = rows.filter { UInt64(number($0)) == wanted }
    guard !found.isEmpty else { throw scanner.fail(typed, "no entry of this number is in use") }
    return found
  }

  private static func descriptors(
    _ rows: [DescriptorRow], _ empty: String, _ scanner: inout ArgumentScanner
  ) throws(CommandError) -> CommandResult {
    let rows = try chosen(rows, &scanner) { $0.index }
    return InfoCommands.rows(
      rows.map(\.text), empty: empty,
      json: .array(rows.map { .members(("selector", .hex(UInt64($0.selector))), ("text", .string($0.text))) }))
  }

  private static func interruptTable(_ core: SessionCore, _ scanner: inout ArgumentScanner) throws(CommandError) -> CommandResult {
    let state = core.currentState
    if state.cr0 & CR0.pe == 0 {
      let all = DescriptorTables.ivt(state, core.machine.memory, symbols: core.symbols)
      let rows = try chosen(all, &scanner) { Int($0.vector) }
      return InfoCommands.rows(
        rows.map(\.text), empty: "the IVT cannot be read",
        json: .array(
          rows.map { .members(("vector", .number(UInt64($0.vector))), ("address", .hex($0.address.value))) }))
    }
    return try descriptors(DescriptorTables.idt(state, core.machine.memory, symbols: core.symbols), "the IDT is empty", &scanner)
  }
}
