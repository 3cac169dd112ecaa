import Debugger
import VMCore
import X86

/// Exits, hypercalls and stops in words.
struct ExitDescription {
  let words: any PlatformWords

  /// `out 3f8h (COM1 THR) <- 4b 'K'`.
  func detail(of kept: KeptExit) -> String {
    guard let exit = kept.event.vmExit else { return "" }
    let text = detail(of: exit)
    if let fault = kept.fault { return "\(text): \(Self.vectorName(Vector(truncatingIfNeeded: fault)))" }
    guard let answer = kept.answer else { return text }
    switch exit.qualification {
    case .io(_, let size, false, _, _, _), .mmio(_, _, let size, false, _): return "\(text) -> \(Self.value(answer, size))"
    case .msr(_, false, _): return "\(text) -> \(Self.hex(answer))"
    default: return text
    }
  }

  func detail(of exit: VMExit) -> String {
    switch exit.qualification {
    case .io(let port, let size, let write, let string, let rep, let value):
      let name = words.portName(port, write: write).map { " (\($0))" } ?? ""
      let verb = (rep ? "rep " : "") + (write ? "out" : "in") + (string ? "s" : "")
      return "\(verb) \(Self.hex(UInt64(port)))h\(name)" + (write ? " <- \(Self.value(value, size))" : "")
    case .mmio(let gpa, _, let size, let write, let value):
      let name = words.memoryName(gpa, write: write).map { " (\($0))" } ?? ""
      let verb = write ? "write" : "read"
      return "\(verb) \(Self.hex(gpa.value))h\(name)" + (write ? " <- \(Self.value(value, size))" : "")
    case .msr(let index, let write, let value):
      return write ? "wrmsr \(Self.hex(UInt64(index)))h <- \(Self.hex(value))" : "rdmsr \(Self.hex(UInt64(index)))h"
    case .cpuid(let leaf, let subleaf): return "cpuid leaf \(Self.hex(UInt64(leaf)))h.\(Self.hex(UInt64(subleaf)))"
    case .hlt: return "hlt"
    case .cr(let number, let access, let gpr, let value): return Self.access("cr", number, access, gpr, value)
    case .dr(let number, let access, let gpr, let value): return Self.access("dr", number, access, gpr, value)
    case .descriptorTable(let table, let write):
      let names = write ? ["lgdt", "lidt", "lldt", "ltr"] : ["sgdt", "sidt", "sldt", "str"]
      return names[Int(table & 3)]
    case .exception(let vector, let errorCode, let linear):
      let error = errorCode.map { " error \(Self.hex(UInt64($0)))" } ?? ""
      let address = vector == Exception.pf.rawValue ? " at \(Self.hex(linear))" : ""
      return Self.vectorName(vector) + error + address
    case .softwareInterrupt(let vector): return "int \(Self.hex(UInt64(vector)))h"
    case .externalInterrupt(let vector): return "interrupt \(Self.hex(UInt64(vector)))h"
    case .interruptWindow: return "interrupts can be taken"
    case .hypercall(let number): return "vmcall \(words.hypercalls.first { $0.number == number }?.name ?? String(number))"
    case .invlpg(let address): return "invlpg \(Self.hex(address.value))"
    case .taskSwitch(let selector, _): return "task switch to \(Self.hex(UInt64(selector)))h"
    case .debug(let cause): return "debug \(cause)"
    case .tripleFault: return "triple fault"
    case .budget: return "instruction budget"
    case .kicked: return "kicked"
    case .unknownInstruction(let bytes, let length):
      let text = (0..<UInt64(min(length, 8))).map { Hex.padded(bytes >> ($0 * 8) & 0xFF, 2) }
      return "no such instruction: " + text.joined(separator: " ")
    case .entryFailure(let field): return "entry failed, field \(Self.hex(UInt64(field)))"
    case .callout(let operation): return operation.name
    case .none: return exit.reason.name
    case .unknown(let raw): return "unknown reason, raw \(Self.hex(raw))"
    }
  }

  private static func access(
    _ kind: String, _ number: UInt8, _ access: RegisterAccess, _ gpr: UInt8, _ value: UInt64
  ) -> String {
    let register = GPR(rawValue: gpr & 15)?.name ?? ""
    switch access {
    case .write: return "mov \(kind)\(number), \(register) <- \(hex(value))"
    case .read: return "mov \(register), \(kind)\(number)"
    case .clts: return "clts"
    case .lmsw: return "lmsw <- \(hex(value))"
    }
  }

  /// `#PF`, `vector 20h`.
  static func vectorName(_ vector: Vector) -> String {
    Exception(rawValue: vector)?.mnemonic ?? "vector \(hex(UInt64(vector)))h"
  }

  static func hex(_ value: UInt64) -> String { String(value, radix: 16) }

  /// As wide as the access, with the character of a printable byte.
  static func value(_ value: UInt64, _ size: UInt8) -> String {
    let text = Hex.padded(value, Int(min(size, 8)) * 2)
    guard size == 1, (0x20..<0x7F).contains(value) else { return text }
    return "\(text) '\(Character(UnicodeScalar(UInt8(value))))'"
  }

  /// A hypercall as kept for display.
  func record(_ event: Event, ordinal: UInt64? = nil) -> HypercallRecord {
    let number = UInt64(event.a)
    let known = words.hypercalls.first { $0.number == number }
    let name = hypercallName(number)
    let details = ordinal.flatMap { words.hypercallDetails($0) }
    let values = [event.c, event.d]
    let labels = known?.arguments ?? ["", ""]
    let all = details?.arguments.map { (label: $0.name, value: $0.value) } ?? zip(labels, values).map { (label: $0, value: $1) }
    let arguments = all.map { $0.label.isEmpty ? "0x\(Self.hex($0.value))" : "\($0.label)=0x\(Self.hex($0.value))" }
    let signed = Int64(bitPattern: event.b)
    let result = signed < 0 && signed > -4096 ? String(signed) : "0x\(Self.hex(event.b))"
    return HypercallRecord(
      sequence: event.sequence, time: event.time, rip: event.rip, number: number, name: name,
      arguments: Array(values.prefix(labels.count)), result: event.b,
      text: "\(name)(\(arguments.joined(separator: ", "))) = \(result)", structures: details?.structures ?? [],
      isInner: event.flags & 1 != 0, hasFailure: details?.hasFailure ?? false)
  }

  func hypercallName(_ number: UInt64) -> String {
    words.hypercalls.first { $0.number == number }?.name ?? "hypercall_\(number)"
  }
}
