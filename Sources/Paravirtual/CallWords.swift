import VMCore
import X86

/// Hypercalls and their structures in words.
package enum CallWords {
  /// All arguments by name, as `mmu_update(requests=…, count=1, done=0, domain=7ff0)` has them.
  package static func arguments(_ call: LoggedCall) -> [(name: String, value: UInt64)] {
    guard let known = HypercallNumber(rawValue: call.number) else { return [] }
    let names = call.isNarrow ? known.narrowArgumentNames : known.argumentNames + known.furtherArgumentNames
    return Array(zip(names, call.arguments)).map { (name: $0, value: $1) }
  }

  /// The structures a call pointed at, a line each.
  package static func structures(_ call: LoggedCall) -> [String] {
    let words = call.words
    switch HypercallNumber(rawValue: call.number) {
    case .mmuUpdate?: return groups(words, of: 2).map(update) + rest(call.arguments[1], shown: words.count / 2)
    case .mmuextOp?: return groups(words, of: 3).map(extended) + rest(call.arguments[1], shown: words.count / 3)
    case .setTrapTable?: return groups(words, of: 2).prefix { $0[1] != 0 }.map(trap)
    case .setGDT?: return words.map { "frame: mfn \(hex($0))" }
    case .eventChannelOp?: return words.isEmpty ? [] : [eventChannel(call.arguments[0], words)]
    case .schedOp?: return words.first.map { [shutdown($0)] } ?? []
    case .vcpuOp?: return vcpu(call.arguments[0], words)
    case .physdevOp?: return call.arguments[0] == 6 ? words.prefix(1).map { "iopl \($0 & 0xFFFF_FFFF)" } : []
    case .callbackOp?: return words.count == 2 ? [callback(words)] : []
    case .xenVersion?: return words.prefix(1).map { "submap \($0 & 0xFFFF_FFFF): features \(hex($0 >> 32))" }
    case .updateVAMapping?: return ["entry: \(entry(call.arguments[1]))"]
    case .memoryOp?: return described(call).map(\.text)
    case .grantTableOp?: return described(call).map(\.text) + rest(call.arguments[2], shown: described(call).count)
    default: return []
    }
  }

  /// A structure says of itself that it failed, whatever the call's result: a grant operation's status.
  package static func hasFailure(_ call: LoggedCall) -> Bool { described(call).contains { $0.hasFailed } }

  /// The elements of a call's array of structures that were kept whole.
  private static func described(_ call: LoggedCall) -> [CallStructure.Element] {
    guard let layout = CallStructure.of(call.number, call.arguments[0]) else { return [] }
    let isArray = call.number == HypercallNumber.grantTableOp.rawValue
    let bytes = call.words.flatMap { word in withUnsafeBytes(of: word.littleEndian) { Array($0) } }
    let kept = bytes.count / layout.size(isNarrow: call.isNarrow)
    let count = min(kept, isArray ? Int(clamping: call.arguments[2]) : 1)
    return (0..<count).map { layout.element($0, of: bytes, isNarrow: call.isNarrow) }
  }

  private static func hex(_ value: UInt64) -> String { String(value, radix: 16) + "h" }

  private static func groups(_ words: [UInt64], of size: Int) -> [[UInt64]] {
    stride(from: 0, to: words.count / size * size, by: size).map { Array(words[$0..<$0 + size]) }
  }

  private static func rest(_ all: UInt64, shown: Int) -> [String] {
    let count = all & HypercallWork.countMask
    return count > UInt64(shown) ? ["and \(count - UInt64(shown)) more"] : []
  }

  /// `mfn 1f2 P RW US A D`.
  static func entry(_ value: UInt64) -> String {
    guard value & XenABI.present != 0 else { return value == 0 ? "none" : "\(hex(value)), not present" }
    let bits: [(Int, String)] = [(1, "RW"), (2, "US"), (3, "PWT"), (4, "PCD"), (5, "A"), (6, "D"), (7, "PS"), (8, "G"), (63, "NX")]
    let set = bits.filter { value >> UInt64($0.0) & 1 != 0 }.map(\.1)
    return (["mfn \(hex(XenABI.frame(value)))", "P"] + set).joined(separator: " ")
  }

  private static func update(_ words: [UInt64]) -> String {
    let place = "mfn \(hex(words[0] >> 12))[\((words[0] & 0xFFF) >> 3)]"
    switch words[0] & 3 {
    case 1: return "M2P of mfn \(hex(words[0] >> 12)) <- pfn \(hex(words[1]))"
    case 2: return "\(place) <- \(entry(words[1])), A and D kept"
    default: return "\(place) <- \(entry(words[1]))"
    }
  }

  private static let extendedNames = [
    "pin L1", "pin L2", "pin L3", "pin L4", "unpin", "new base", "flush TLB", "invalidate", "flush TLB of vCPUs",
    "invalidate on vCPUs", "flush all TLBs", "invalidate everywhere", "flush cache", "set LDT", "", "new user base", "clear page",
    "copy page",
  ]

  private static func extended(_ words: [UInt64]) -> String {
    let command = Int(words[0] & 0xFFFF_FFFF)
    let name = extendedNames.indices.contains(command) && !extendedNames[command].isEmpty ? extendedNames[command] : "operation \(command)"
    switch MMUExtendedOp(rawValue: UInt32(command)) {
    case .flushTLBLocal?, .flushTLBAll?, .flushCache?: return name
    case .invalidateLocal?, .invalidateAll?, .invalidateMulti?: return "\(name) \(hex(words[1]))"
    case .setLDT?: return "\(name) at \(hex(words[1])), \(words[2]) entries"
    case .copyPage?: return "\(name) mfn \(hex(words[1])) <- mfn \(hex(words[2]))"
    default: return "\(name) mfn \(hex(words[1]))"
    }
  }

  private static func trap(_ words: [UInt64]) -> String {
    let vector = UInt8(words[0] & 0xFF)
    let name = Exception(rawValue: vector)?.mnemonic ?? "vector \(hex(UInt64(vector)))h"
    return "\(name) -> \(hex(words[1])), ring \(words[0] >> 8 & 3)\(words[0] >> 10 & 1 != 0 ? ", events masked" : "")"
  }

  private static func eventChannel(_ command: UInt64, _ words: [UInt64]) -> String {
    let first = words[0] & 0xFFFF_FFFF
    guard command == 1, words.count == 2 else { return command == 4 || command == 3 || command == 9 ? "port \(first)" : hex(words[0]) }
    return "virq \(first), vcpu \(words[0] >> 32) -> port \(words[1] & 0xFFFF_FFFF)"
  }

  private static func shutdown(_ word: UInt64) -> String {
    let names = ["poweroff", "reboot", "suspend", "crash", "watchdog"]
    let reason = Int(word & 0xFFFF_FFFF)
    return "reason \(names.indices.contains(reason) ? names[reason] : "\(reason)")"
  }

  private static func vcpu(_ command: UInt64, _ words: [UInt64]) -> [String] {
    guard words.count == 2 else { return [] }
    switch command {
    case 8: return ["at \(words[0]) ns" + (words[1] & 1 != 0 ? ", or error where that is past" : "")]
    case 6: return ["every \(words[0]) ns"]
    case 10: return ["vcpu_info in mfn \(hex(words[0])) at \(hex(words[1] & 0xFFFF_FFFF))"]
    case 5: return ["run state at \(hex(words[0]))"]
    default: return []
    }
  }

  private static func callback(_ words: [UInt64]) -> String {
    let names = ["event", "failsafe", "syscall", "", "nmi", "sysenter", "", "syscall32"]
    let type = Int(words[0] & 0xFFFF)
    let name = names.indices.contains(type) && !names[type].isEmpty ? names[type] : "type \(type)"
    return "\(name) -> \(hex(words[1]))\(words[0] >> 16 & 1 != 0 ? ", events masked" : "")"
  }
}

extension HypercallNumber {
  /// Names of a 32-bit guest's arguments.
  package var narrowArgumentNames: [String] {
    switch self {
    case .setCallbacks: ["event_cs", "event", "failsafe_cs", "failsafe"]
    case .stackSwitch: ["ss", "esp"]
    default: argumentNames + furtherArgumentNames
    }
  }

  /// Names of the arguments behind the first two.
  package var furtherArgumentNames: [String] {
    switch self {
    case .mmuUpdate, .mmuextOp: ["done", "domain"]
    case .updateVAMapping: ["flags"]
    case .setCallbacks: ["syscall"]
    case .consoleIO: ["buffer"]
    case .vcpuOp: ["argument"]
    case .grantTableOp: ["count"]
    default: []
    }
  }
}
