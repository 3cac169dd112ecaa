import Debugger
import VMCore
import X86

/// Events in words, for the event stream, an exit's anatomy and `info events`.
package struct EventReport {
  private let symbols: SymbolTable
  /// What exits are called, by the sequence number of their event.
  private let exits: [UInt64: ExitRecord]
  private let hypercalls: [UInt64: String]

  package init(_ snapshot: SessionSnapshot) {
    symbols = snapshot.symbols
    exits = Dictionary(snapshot.exits.map { ($0.event, $0) }, uniquingKeysWith: { $1 })
    hypercalls = Dictionary(snapshot.hypercalls.map { ($0.sequence, $0.text) }, uniquingKeysWith: { $1 })
  }

  package func exit(of event: Event) -> ExitRecord? { event.kind == .exit ? exits[event.sequence] : nil }

  /// Kinds that belong together for somebody who looks for one of them.
  package enum Group: String, CaseIterable, Sendable {
    case all, exits, interrupts, hypercalls, devices, console, session

    package func contains(_ kind: EventKind) -> Bool {
      switch self {
      case .all: true
      case .exits: kind == .exit || kind == .entry || kind == .nested
      case .interrupts:
        [.exception, .interrupt, .softwareInterrupt, .eoi, .interruptLine, .processorSignal].contains(kind)
      case .hypercalls: kind == .hypercall
      case .devices: [.interruptLine, .timer, .unclaimed, .eoi].contains(kind)
      case .console: kind == .output || kind == .input
      case .session:
        [.stop, .go, .request, .codeInvalidated, .unknownInstruction, .processorSignal, .controls, .codeSegment]
          .contains(kind)
      }
    }
  }

  /// `  #41  12.3us  exit  IO out 3f8h (COM1 THR) <- 4b 'K'`.
  package func row(_ event: Event) -> ReportRow {
    var row = ReportRow()
    row.add(Column.right("#\(event.sequence)", 9) + " ", .address)
    row.add(Column.right(Self.time(event.time), 12) + "  ", .dim)
    row.add("\(event.vcpu) ", .dim)
    row.add(Self.name(event.kind), width: 11, Self.tone(event.kind))
    row.add(words(event), .plain)
    if event.rip != 0 {
      // Only exits say in which code segment their RIP lies.
      let record = exit(of: event)
      row.add("  \(record?.place ?? Hex.padded(event.rip, 4))", .address)
      if let name = symbols.name(of: record?.linear ?? event.rip) { row.add(" <\(name)>", .symbol) }
      if let record { row.target = .exit(record.sequence) } else { row.target = .code(event.rip) }
    }
    return row
  }

  /// Virtual time in microseconds with three decimals.
  package static func time(_ nanoseconds: UInt64) -> String {
    let rest = String(nanoseconds % 1000)
    return "\(nanoseconds / 1000).\(String(repeating: "0", count: 3 - rest.count))\(rest)"
  }

  package static func name(_ kind: EventKind) -> String {
    switch kind {
    case .softwareInterrupt: "int n"
    case .interruptLine: "line"
    case .unknownInstruction: "no such"
    case .codeInvalidated: "code"
    case .codeSegment: "segment"
    case .processorSignal: "ipi"
    default: "\(kind)"
    }
  }

  private static func tone(_ kind: EventKind) -> ReportTone {
    switch kind {
    case .exit: .exit
    case .exception, .unknownInstruction, .unclaimed: .bad
    case .hypercall: .changed
    case .stop, .go, .request, .controls: .heading
    default: .plain
    }
  }

  /// What happened.
  package func words(_ event: Event) -> String {
    let a = UInt64(event.a)
    switch event.kind {
    case .exit:
      if let record = exits[event.sequence] { return "\(record.exit.reason.name.uppercased()) \(record.detail)" }
      guard let exit = event.vmExit else { return "" }
      return "\(exit.reason.name.uppercased()) \(ExitDescription(words: NoWords()).detail(of: exit))"
    case .entry: return Self.answer(event)
    case .exception:
      let vector = Vector(truncatingIfNeeded: event.a)
      let error = event.b == .max ? "" : " error \(Hex.text(event.b))"
      let meaning = Exception(rawValue: vector).map { " \($0.meaning)" } ?? ""
      let address = vector == Exception.pf.rawValue ? " at \(Hex.text(event.c))" : ""
      return ExitDescription.vectorName(vector) + meaning + error + address
    case .interrupt: return "vector \(Hex.padded(a, 2))h delivered"
    case .softwareInterrupt: return "INT \(Hex.padded(a, 2))h"
    case .hypercall: return hypercalls[event.sequence] ?? "number \(a) = \(Hex.text(event.b))"
    case .output: return "guest wrote \(Self.byte(a))"
    case .unclaimed:
      let space = event.d == 0 ? "port" : "address"
      let value = a & 0x100 != 0 ? " <- \(Hex.text(event.c))" : ""
      return "nobody has \(space) \(Hex.text(event.b)) (\(a & 0x100 != 0 ? "write" : "read") of \(a & 0xFF))\(value)"
    case .interruptLine: return "GSI \(a) \(event.b != 0 ? "up" : "down")"
    case .eoi: return "end of interrupt \(Hex.padded(a, 2))h"
    case .unknownInstruction: return "instruction: bytes \(Hex.padded(event.b, 16))"
    case .timer: return "\(Self.timer(a)) set to \(event.b) ns"
    case .input: return "\(event.b == 0 ? "console" : "keyboard") got \(Self.byte(a))"
    default: return session(event)
    }
  }

  private func session(_ event: Event) -> String {
    switch event.kind {
    case .stop: return "stop \(event.c): \(StopReason.phrase(event.a))"
    case .go: return "the guest goes on"
    case .request:
      let names = ["shutdown", "exit with status \(Int64(bitPattern: event.b))", "reset"]
      return "the guest asked for \(Int(event.a) < names.count ? names[Int(event.a)] : "something unknown")"
    case .codeSegment: return "exits come from CS \(Hex.padded(UInt64(event.a), 4)), base \(Hex.text(event.b))"
    case .codeInvalidated: return "code changed in page \(Hex.text(event.b))"
    case .processorSignal: return event.a == 0 ? "INIT" : "SIPI, vector \(Hex.padded(event.b, 2))h"
    case .nested: return Self.transition(event)
    case .controls: return Self.controls(event)
    default: return ""
    }
  }

  /// What somebody changed in the VMCS.
  private static func controls(_ event: Event) -> String {
    let name = VMCSField(rawValue: event.a)?.sdmName ?? "VMCS field \(Hex.text(UInt64(event.a)))"
    switch VMCSField(rawValue: event.a) {
    case .ioBitmapA, .ioBitmapB:
      let last = event.c > event.b ? "-\(Hex.padded(event.c, 1))" : ""
      return "I/O bitmap: port \(Hex.padded(event.b, 1))\(last)h \(event.d != 0 ? "on" : "off")"
    case .msrBitmap:
      let index = UInt32(truncatingIfNeeded: event.b)
      return "MSR bitmap: \(index == .max ? "all" : MSR.text(index)) \(event.d != 0 ? "on" : "off")"
    default: return "\(name) = \(Hex.text(event.b))"
    }
  }

  /// What a guest that is itself a monitor did with its guest.
  private static func transition(_ event: Event) -> String {
    switch NestedTransition(rawValue: event.flags) {
    case .entry:
      let injected = event.a & VMXFormat.valid != 0 ? ", injecting vector \(Hex.padded(UInt64(event.a & 0xFF), 2))h" : ""
      return "the guest entered its guest at \(Hex.text(event.b))\(injected)"
    case .exit:
      let reason = ExitReason(rawValue: UInt16(truncatingIfNeeded: event.a)).map(\.name) ?? "\(event.a & 0xFFFF)"
      let failed = event.a >> 31 != 0 ? "failed VM entry: " : "VM exit of the guest's guest: "
      return "\(failed)\(reason.uppercased()), qualification \(Hex.text(event.b))"
    case .entryRefused:
      return "VM entry refused: VMCS field \(VMCSField(rawValue: event.a).map { "\($0)" } ?? Hex.text(UInt64(event.a)))"
    case nil: return ""
    }
  }

  /// The monitor's answer in words.
  static func answer(_ event: Event) -> String {
    switch event.a {
    case 0: return "resume: the instruction starts again"
    case 1: return "emulate: the engine carries it out"
    case 2: return "complete with \(Hex.text(event.b))"
    case 3: return "skip: the monitor did it"
    default: return "fault \(ExitDescription.vectorName(Vector(truncatingIfNeeded: event.b)))"
    }
  }

  private static func byte(_ value: UInt64) -> String {
    let hex = Hex.padded(value & 0xFF, 2)
    guard (0x20..<0x7F).contains(value) else { return hex }
    return "\(hex) '\(Character(UnicodeScalar(UInt8(value))))'"
  }

  private static func timer(_ channel: UInt64) -> String {
    switch channel {
    case 0...2: "PIT counter \(channel)"
    case 8: "RTC periodic interrupt"
    case 9: "serial timeout"
    case 16...: "local APIC \(channel - 16) timer"
    default: "timer \(channel)"
    }
  }
}
