import Debugger
import VMCore
import X86

/// Where and why the guest stopped, kept so that it can be put into words later, whatever the guest does then.
struct StopAnswer: Sendable {
  var stop: StopReason
  /// Why, in a sentence; nil for a step, whose sentence says only where.
  var sentence: String?
  var state: VCPUState
  /// Guest code from the instruction pointer on, as far as it could be read.
  var code: [UInt8]
  var symbols: SymbolTable
  /// What breakpoints' actions answered before the stop.
  var actionOutput: [String]
  var vcpu: Int
  /// Nil where the engine does not count.
  var instructionCount: UInt64?
  /// Virtual time in ns.
  var time: UInt64
  var exitCount: UInt64
  /// What `display` shows.
  var displayed: [DisplayedValue]

  /// `0000:7c16 <boot+16>` in real mode, `100016 <boot+16>` elsewhere.
  static func place(_ state: VCPUState, _ symbols: SymbolTable) -> String {
    let linear = state.linearRIP.value
    let name = symbols.name(of: linear).map { " <\($0)>" } ?? ""
    switch state.mode {
    case .real16, .virtual8086:
      return "\(Hex.padded(UInt64(state[.cs].selector), 4)):\(Hex.padded(state.rip & 0xFFFF, 4))\(name)"
    default: return "\(String(state.rip, radix: 16))\(name)"
    }
  }

  static func stepped(_ place: String) -> String { "Stepped to \(place)." }

  /// The answer of a command, as text and as data.
  var words: (lines: [String], json: JSONValue) {
    let sentence = sentence ?? Self.stepped(Self.place(state, symbols))
    let line = Disassembly.line(of: code, state: state, symbols: symbols)
    var json = JSONValue.members(
      ("stop", .string(stop.name)), ("sentence", .string(sentence)), ("vcpu", .number(UInt64(vcpu))),
      ("rip", .hex(state.rip)), ("linear", .hex(state.linearRIP.value)), ("mode", .string(state.mode.name)),
      ("instruction", .string(line.instruction.text)), ("icount", instructionCount.map { .number($0) } ?? .null), ("time", .number(time)),
      ("exits", .number(exitCount)), ("status", stop.endStatus.map { .signed(Int64($0)) } ?? .null))
    if case .object(let members) = json, !displayed.isEmpty {
      json = .object(members + [.init("displayed", DisplayCommands.json(displayed))])
    }
    return (actionOutput + [sentence, "=> \(line.addressText)  \(line.instruction.text)"] + displayed.flatMap(\.shown), json)
  }
}
