import Debugger
import VMCore
import X86

/// Events as JSON objects, one form for `--events`, `trace export` and `info events --json`.
package enum EventJSON {
  /// Without `counts` instruction counts are null.
  package static func value(of event: Event, counts: Bool = true) -> JSONValue {
    var members: [JSONValue.Member] = [
      .init("seq", .number(event.sequence)), .init("time", .number(event.time)), .init("vcpu", .number(UInt64(event.vcpu))),
      .init("kind", .string("\(event.kind)")),
    ]
    if let exit = event.vmExit {
      members += self.members(of: exit, counts: counts)
    } else {
      if event.rip != 0 { members.append(.init("rip", .hex(event.rip))) }
      members += operands(of: event)
    }
    return .object(members)
  }

  /// An exit's members, as in a snapshot's exits.
  static func members(of exit: VMExit, counts: Bool = true) -> [JSONValue.Member] {
    [
      .init("reason", .string(exit.reason.name)), .init("number", .number(UInt64(exit.reason.rawValue))),
      .init("rip", .hex(exit.rip)), .init("length", .number(UInt64(exit.instructionLength))),
      .init("icount", counts ? .number(exit.instructionCount) : .null),
    ] + members(of: exit.qualification)
  }

  private static func members(of qualification: ExitQualification) -> [JSONValue.Member] {
    switch qualification {
    case .io(let port, let size, let write, let string, let rep, let value):
      return [
        .init("port", .hex(UInt64(port))), .init("size", .number(UInt64(size))), .init("write", .bool(write)),
        .init("string", .bool(string)), .init("rep", .bool(rep)), .init("value", .hex(value)),
      ]
    case .mmio(let gpa, let linear, let size, let write, let value):
      return [
        .init("gpa", .hex(gpa.value)), .init("linear", .hex(linear.value)), .init("size", .number(UInt64(size))),
        .init("write", .bool(write)), .init("value", .hex(value)),
      ]
    case .msr(let index, let write, let value):
      return [.init("msr", .hex(UInt64(index))), .init("write", .bool(write)), .init("value", .hex(value))]
    case .cpuid(let leaf, let subleaf):
      return [.init("leaf", .hex(UInt64(leaf))), .init("subleaf", .hex(UInt64(subleaf)))]
    case .cr(let number, let access, let gpr, let value), .dr(let number, let access, let gpr, let value):
      return [
        .init("register", .number(UInt64(number))), .init("access", .string("\(access)")),
        .init("gpr", .number(UInt64(gpr))), .init("value", .hex(value)),
      ]
    case .descriptorTable(let table, let write):
      return [.init("table", .number(UInt64(table))), .init("write", .bool(write))]
    case .exception(let vector, let errorCode, let linear):
      return [
        .init("vector", .number(UInt64(vector))), .init("error", errorCode.map { .hex(UInt64($0)) } ?? .null),
        .init("linear", .hex(linear)),
      ]
    case .softwareInterrupt(let vector), .externalInterrupt(let vector):
      return [.init("vector", .number(UInt64(vector)))]
    case .hypercall(let number): return [.init("nr", .number(number))]
    case .invlpg(let address): return [.init("linear", .hex(address.value))]
    case .taskSwitch(let selector, let source):
      return [.init("selector", .hex(UInt64(selector))), .init("source", .number(UInt64(source)))]
    case .unknownInstruction(let bytes, let length):
      return [.init("bytes", .hex(bytes)), .init("size", .number(UInt64(length)))]
    case .entryFailure(let field): return [.init("field", .hex(UInt64(field)))]
    case .unknown(let raw): return [.init("raw", .hex(raw))]
    case .callout(let operation): return [.init("operation", .string(operation.name))]
    case .hlt, .interruptWindow, .debug, .tripleFault, .budget, .kicked, .none: return []
    }
  }

  private static func operands(of event: Event) -> [JSONValue.Member] {
    let a = UInt64(event.a)
    switch event.kind {
    case .exit: return []
    case .entry:
      let names = ["resume", "emulate", "complete", "skip", "fault", "retire"]
      let action = Int(event.a) < names.count ? names[Int(event.a)] : "unknown"
      return [.init("action", .string(action)), .init("value", .hex(event.b))]
    case .exception:
      let error: JSONValue = event.b == .max ? .null : .hex(event.b)
      return [.init("vector", .number(a)), .init("error", error), .init("cr2", .hex(event.c))]
    case .interrupt, .softwareInterrupt, .eoi: return [.init("vector", .number(a))]
    case .hypercall:
      return [
        .init("nr", .number(a)), .init("result", .hex(event.b)),
        .init("arguments", .array([.hex(event.c), .hex(event.d)])), .init("inner", .bool(event.flags & 1 != 0)),
      ]
    case .output: return [.init("byte", .number(a))]
    case .unclaimed:
      return [
        .init("space", .string(event.d == 0 ? "port" : "memory")), .init("address", .hex(event.b)),
        .init("size", .number(a & 0xFF)), .init("write", .bool(a & 0x100 != 0)), .init("value", .hex(event.c)),
      ]
    case .interruptLine: return [.init("gsi", .number(a)), .init("level", .number(event.b))]
    case .unknownInstruction: return [.init("bytes", .hex(event.b))]
    case .timer: return [.init("channel", .number(a)), .init("period", .number(event.b))]
    case .input: return [.init("byte", .number(a)), .init("to", .string(event.b == 0 ? "console" : "keyboard"))]
    case .stop: return [.init("stop", .number(a)), .init("breakpoint", .number(event.b))]
    case .go: return [.init("mode", .number(a))]
    case .request:
      let names = ["shutdown", "exit", "reset"]
      let what = Int(event.a) < names.count ? names[Int(event.a)] : "unknown"
      return [.init("what", .string(what)), .init("status", .signed(Int64(bitPattern: event.b)))]
    case .controls:
      return [
        .init("field", .string(VMCSField(rawValue: event.a)?.token ?? "unknown")), .init("value", .hex(event.b)),
        .init("last", .hex(event.c)), .init("on", .bool(event.d != 0)),
      ]
    case .codeSegment: return [.init("selector", .hex(a)), .init("base", .hex(event.b))]
    case .codeInvalidated: return [.init("gpa", .hex(event.b))]
    case .processorSignal:
      return [.init("signal", .string(a == 0 ? "init" : "sipi")), .init("vector", .number(event.b))]
    case .nested:
      switch NestedTransition(rawValue: event.flags) {
      case .entry: return [.init("what", .string("vmentry")), .init("injected", .hex(a)), .init("guestRIP", .hex(event.b))]
      case .exit:
        let reason = ExitReason(rawValue: UInt16(truncatingIfNeeded: event.a))?.name ?? "unknown"
        return [.init("what", .string("vmexit")), .init("reason", .string(reason)), .init("qualification", .hex(event.b))]
      default:
        let field = VMCSField(rawValue: event.a).map { "\($0)" } ?? "unknown"
        return [.init("what", .string("entry refused")), .init("field", .string(field))]
      }
    }
  }
}
