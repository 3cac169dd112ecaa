import VMCore
import X86

/// Where a number leads, taken for an address: `-> 00100e06 <banner> "Ringside's"`.
package enum PointerChain {
  private static let longest = 4
  private static let shortestText = 4
  private static let longestText = 40
  /// Below this a number is a number, whatever is mapped there.
  private static let firstAddress: UInt64 = 0x1000

  /// What `value` points to, and so on, until it is text, code or no address; empty where it is none itself.
  package static func text(from value: UInt64, _ view: AddressSpaceView, _ symbols: SymbolTable) -> String {
    let width = view.state.mode.codeBits / 8
    // A word of 16 bits is an offset in a segment nobody knows.
    guard width > 2, view.linear(.ds, value).value == value else { return "" }
    var (text, value) = ("", value)
    var seen: Set<UInt64> = []
    while seen.count < longest, value >= firstAddress, seen.insert(value).inserted {
      let address = GVA(value)
      let place = symbols.place(of: value)
      if let place { text += " <\(place.text)>" }
      if let string = string(at: address, view) { return text + " " + string }
      if let place, !place.symbol.isData, let code = code(at: address, view) { return text + " \(code)" }
      guard let next = view.load(address, size: width) else { break }
      text += " -> \(Hex.padded(next, width * 2))"
      value = next
    }
    return String(text.drop { $0 == " " })
  }

  /// The text that stands at an address, quoted; nil where too few characters could be text.
  package static func string(at address: GVA, _ view: AddressSpaceView) -> String? {
    let bytes = view.readable(address, count: longestText)
    let text = bytes.prefix { (0x20..<0x7F).contains($0) || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 }
    let isWhole = text.count < bytes.count && bytes[text.count] == 0
    guard text.count >= shortestText, isWhole || text.count == bytes.count else { return nil }
    return quoted(text) + (isWhole ? "" : "...")
  }

  /// Bytes as a text in quotes; what cannot be printed as in C.
  package static func quoted(_ bytes: some Sequence<UInt8>) -> String {
    let names: [UInt8: String] = [0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x22: "\\\"", 0x5C: "\\\\"]
    return "\"" + bytes.map { byte in
      names[byte] ?? ((0x20..<0x7F).contains(byte) ? String(Character(Unicode.Scalar(byte))) : "\\x" + Hex.padded(UInt64(byte), 2))
    }.joined() + "\""
  }

  /// The instruction there, where code and data share an address.
  private static func code(at address: GVA, _ view: AddressSpaceView) -> String? {
    guard view.state.mode == .long64 || view.state[.cs].base == 0 else { return nil }
    let instruction = Disassembly(state: view.state, memory: view.memory).instruction(at: address.value)
    return instruction.isBad ? nil : "(\(instruction.text))"
  }
}
