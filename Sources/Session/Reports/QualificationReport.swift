import Debugger
import VMCore
import X86

/// One field of an exit qualification: which bits, their value, what it means.
struct QualificationField: Equatable {
  var name: String
  /// "31:16"; empty for what lies outside of the qualification word.
  var bits: String
  var value: UInt64
  var meaning: String

  init(_ name: String, _ bits: String, _ value: UInt64, _ meaning: String) {
    self.name = name
    self.bits = bits
    self.value = value
    self.meaning = meaning
  }
}

/// An exit's qualification field by field, as a VMCS holds it (SDM 3C 28.2.1).
struct QualificationReport {
  /// The qualification word; for exceptions the interruption information (SDM 3C 25.9.2).
  var word: UInt64 = 0
  var fields: [QualificationField] = []
  /// Where the manual defines the word; empty where there is none.
  var source = ""

  init(_ exit: VMExit, instruction: DecodedInstruction?, portName: String?) {
    switch exit.qualification {
    case .io(let port, let size, let write, let string, let rep, let value):
      io(port, size, write, string, rep, value, instruction, portName)
    case .mmio(let gpa, let linear, let size, let write, let value): mmio(gpa, linear, size, write, value)
    case .msr(let index, let write, let value):
      fields = [QualificationField("MSR", "ECX", UInt64(index), MSR.text(index))]
      if write { fields.append(QualificationField("value", "EDX:EAX", value, "to be written")) }
    case .cpuid(let leaf, let subleaf):
      fields = [
        QualificationField("leaf", "EAX", UInt64(leaf), CPUIDLeaf.name(leaf, subleaf: subleaf) ?? "no such leaf"),
        QualificationField("subleaf", "ECX", UInt64(subleaf), ""),
      ]
    case .cr(let number, let access, let gpr, let value): control(number, access, gpr, value)
    case .dr(let number, let access, let gpr, let value): debug(number, access, gpr, value)
    case .exception(let vector, let errorCode, let linear): exception(vector, errorCode, linear)
    case .softwareInterrupt(let vector):
      fields = [QualificationField("vector", "", UInt64(vector), "INT n")]
    case .externalInterrupt(let vector):
      word = UInt64(vector) | 1 << 31
      fields = [QualificationField("vector", "7:0", UInt64(vector), "external interrupt")]
      source = "interruption information, SDM 3C 25.9.2"
    case .hypercall(let number): fields = [QualificationField("number", "EAX", number, "hypercall")]
    case .invlpg(let address):
      word = address.value
      fields = [QualificationField("linear address", "63:0", address.value, "the page whose translation goes")]
      source = "SDM 3C 28.2.1"
    case .taskSwitch(let selector, let from): taskSwitch(selector, from)
    case .callout(let operation):
      fields = [QualificationField("operation", "", UInt64(operation.rawValue), operation.name)]
    default: other(exit.qualification)
    }
  }

  private mutating func io(
    _ port: UInt16, _ size: UInt8, _ write: Bool, _ string: Bool, _ rep: Bool, _ value: UInt64,
    _ instruction: DecodedInstruction?, _ portName: String?
  ) {
    source = "SDM 3C table 28-5"
    // Behind legacy prefixes and REX: E4h...E7h have the port in the instruction.
    let opcode = instruction?.bytes.first { ![0x66, 0x67, 0xF0, 0xF2, 0xF3].contains($0) && !(0x40...0x4F).contains($0) }
    let isImmediate = opcode.map { (0xE4...0xE7).contains($0) } ?? false
    word = VMXFormat.io(
      port: port, size: size, isInput: !write, isString: string, hasREP: rep, isImmediate: isImmediate)
    fields = [
      QualificationField("size", "2:0", UInt64(size &- 1), "\(size) byte\(size == 1 ? "" : "s")"),
      QualificationField("direction", "3", write ? 0 : 1, write ? "OUT" : "IN"),
      QualificationField("string", "4", string ? 1 : 0, string ? (write ? "OUTS" : "INS") : "no string instruction"),
      QualificationField("REP", "5", rep ? 1 : 0, rep ? "repeated" : "not repeated"),
    ]
    if instruction != nil {
      fields.append(QualificationField("operand", "6", isImmediate ? 1 : 0, isImmediate ? "immediate" : "DX"))
    }
    fields.append(QualificationField("port", "31:16", UInt64(port), portName ?? "nobody's: reads give all ones"))
    if write { fields.append(QualificationField("data", "", value, Self.character(value, size))) }
  }

  private static func character(_ value: UInt64, _ size: UInt8) -> String {
    guard size == 1, (0x20..<0x7F).contains(value) else { return "" }
    return "'\(Character(UnicodeScalar(UInt8(value))))'"
  }

  private mutating func mmio(_ gpa: GPA, _ linear: GVA, _ size: UInt8, _ write: Bool, _ value: UInt64) {
    source = "SDM 3C table 28-7"
    // Read or write, no permission at all in the entry, linear address valid and its translation the cause.
    let access = write ? VMXFormat.EPTViolation.write : .read
    word = access.union([.linearValid, .final]).rawValue
    fields = [
      QualificationField("read", "0", write ? 0 : 1, write ? "no" : "data read"),
      QualificationField("write", "1", write ? 1 : 0, write ? "data write" : "no"),
      QualificationField("EPT rights", "5:3", 0, "no memory behind the address"),
      QualificationField("linear valid", "7", 1, "the linear address is known"),
      QualificationField("GPA", "", gpa.value, "guest-physical address"),
      QualificationField("GVA", "", linear.value, "linear address that led there"),
      QualificationField("size", "", UInt64(size), "byte\(size == 1 ? "" : "s")"),
    ]
    if write { fields.append(QualificationField("data", "", value, "")) }
  }

  private mutating func control(_ number: UInt8, _ access: RegisterAccess, _ gpr: UInt8, _ value: UInt64) {
    source = "SDM 3C table 28-3"
    let name =
      switch access {
      case .write: "MOV to CR"
      case .read: "MOV from CR"
      case .clts: "CLTS"
      case .lmsw: "LMSW"
      }
    let statusWord = access == .lmsw ? UInt16(truncatingIfNeeded: value) : 0
    word = VMXFormat.cr(number: number & 15, access: access.rawValue, gpr: gpr & 15, source: statusWord)
    fields = [
      QualificationField("register", "3:0", UInt64(number), "CR\(number)"),
      QualificationField("access", "5:4", UInt64(access.rawValue), name),
    ]
    if access == .write || access == .read {
      fields.append(QualificationField("GPR", "11:8", UInt64(gpr & 15), GPR(rawValue: gpr & 15)?.name.uppercased() ?? ""))
    }
    if access == .lmsw { fields.append(QualificationField("LMSW source", "31:16", value & 0xFFFF, "")) }
    if access == .write { fields.append(QualificationField("value", "", value, Self.controlBits(number, value))) }
  }

  private static func controlBits(_ number: UInt8, _ value: UInt64) -> String {
    switch number {
    case 0: RegisterDescription.setBits(value, CR0.bits)
    case 4: RegisterDescription.setBits(value, CR4.bits)
    case 3: "page tables at \(Hex.text(value & ~0xFFF))"
    default: ""
    }
  }

  private mutating func debug(_ number: UInt8, _ access: RegisterAccess, _ gpr: UInt8, _ value: UInt64) {
    source = "SDM 3C table 28-4"
    let isRead = access == .read
    word = VMXFormat.dr(number: number & 7, isRead: isRead, gpr: gpr & 15)
    fields = [
      QualificationField("register", "2:0", UInt64(number), "DR\(number)"),
      QualificationField("direction", "4", isRead ? 1 : 0, isRead ? "MOV from DR" : "MOV to DR"),
      QualificationField("GPR", "11:8", UInt64(gpr & 15), GPR(rawValue: gpr & 15)?.name.uppercased() ?? ""),
    ]
    if !isRead { fields.append(QualificationField("value", "", value, "")) }
  }

  private mutating func exception(_ vector: Vector, _ errorCode: UInt32?, _ linear: UInt64) {
    source = "interruption information, SDM 3C 25.9.2"
    let exception = Exception(rawValue: vector)
    let type: (UInt64, String) =
      exception == .nmi ? (2, "NMI") : exception == .bp || exception == .of ? (6, "software exception")
      : (3, "hardware exception")
    word = UInt64(vector) | type.0 << 8 | (errorCode == nil ? 0 : 1 << 11) | 1 << 31
    fields = [
      QualificationField("vector", "7:0", UInt64(vector), exception.map { "\($0.mnemonic) \($0.meaning)" } ?? ""),
      QualificationField("type", "10:8", type.0, type.1),
      QualificationField("error code", "11", errorCode == nil ? 0 : 1, errorCode == nil ? "none" : "pushed"),
    ]
    guard let errorCode else { return }
    let meaning = exception == .pf ? Self.pageFault(errorCode) : Self.selector(errorCode)
    fields.append(QualificationField("error", "", UInt64(errorCode), meaning))
    if exception == .pf { fields.append(QualificationField("CR2", "63:0", linear, "the address that faulted")) }
  }

  /// SDM 3A figure 4-12.
  static func pageFault(_ code: UInt32) -> String {
    var words = [
      code & PageFaultError.present != 0 ? "rights violated" : "not present",
      code & PageFaultError.write != 0 ? "write" : "read", code & PageFaultError.user != 0 ? "CPL 3" : "supervisor",
    ]
    if code & PageFaultError.reserved != 0 { words.append("reserved bit") }
    if code & PageFaultError.fetch != 0 { words.append("instruction fetch") }
    return words.joined(separator: ", ")
  }

  /// SDM 3A figure 6-7.
  private static func selector(_ code: UInt32) -> String {
    guard code != 0 else { return "no selector" }
    let table = code & 2 != 0 ? "IDT" : code & 4 != 0 ? "LDT" : "GDT"
    return "\(table) entry \(Hex.text(UInt64(code >> 3 & 0x1FFF)))" + (code & 1 != 0 ? ", external event" : "")
  }

  private mutating func taskSwitch(_ selector: UInt16, _ from: UInt8) {
    source = "SDM 3C table 28-2"
    let sources = ["CALL", "IRET", "JMP", "task gate in the IDT"]
    word = UInt64(selector) | UInt64(from & 3) << 30
    fields = [
      QualificationField("selector", "15:0", UInt64(selector), "the TSS switched to"),
      QualificationField("source", "31:30", UInt64(from), sources[Int(from & 3)]),
    ]
  }

  private mutating func other(_ qualification: ExitQualification) {
    switch qualification {
    case .descriptorTable(let table, let write):
      let name = ["GDTR", "IDTR", "LDTR", "TR"][Int(table & 3)]
      fields = [QualificationField("table", "", UInt64(table), "\(write ? "loads" : "stores") \(name)")]
      source = "VM-exit instruction information, SDM 3C 28.2.5"
    case .unknownInstruction(let bytes, let length):
      fields = [QualificationField("bytes", "", bytes, "\(length) bytes, the first lowest")]
    case .entryFailure(let field): fields = [QualificationField("field", "", UInt64(field), "the one refused")]
    case .unknown(let raw):
      word = raw
      fields = [QualificationField("raw", "63:0", raw, "not understood")]
    default: break
    }
  }

  /// The rows an anatomy shows.
  var rows: [ReportRow] {
    guard !fields.isEmpty else { return [ReportRow("  none: the reason says all", .dim)] }
    return fields.map { field in
      var row = ReportRow("  ")
      row.add(field.name, width: 14, .plain)
      row.add(Column.right(field.bits, 7) + "  ", .dim)
      row.add(Column.right(Hex.padded(field.value, 1), 9) + "  ", .value)
      row.add(field.meaning, .plain)
      return row
    }
  }
}
