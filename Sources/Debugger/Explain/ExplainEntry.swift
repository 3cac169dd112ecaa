/// One page of the explain catalogue: the rule, the bits, and how a present value reads.
package struct ExplainEntry: Sendable {
  /// How a value is read.
  package enum Reading: Sendable {
    case none
    /// One bit, and what it means set and clear.
    case bit(Int, one: String, zero: String)
    /// A field, and what its values mean in order; beyond the list the number alone is given.
    case field(Int, width: Int, [String])
    /// The whole value by the bits of a register that is explained bit by bit.
    case bits
  }

  /// `rflags.zf`, all lower case.
  package let name: String
  /// Other names it is found by.
  package let aliases: [String]
  /// `RFLAGS.ZF, bit 6: zero flag`.
  package let title: String
  package let rule: String
  /// Where the manual says it: `SDM 1 3.4.3.1`.
  package let section: String
  package let reading: Reading
  /// Lines of its own after the rule: how each technique catches an instruction.
  package let further: [String]

  init(
    _ name: String, _ aliases: [String] = [], title: String, _ rule: String, _ section: String,
    reading: Reading = .none, further: [String] = []
  ) {
    self.name = name
    self.aliases = aliases.map { $0.split(separator: " ").joined(separator: ".").lowercased() }
    self.title = title
    self.rule = rule
    self.section = section
    self.reading = reading
    self.further = further
  }

  /// What `value` means by this entry; nil where the entry reads no value.
  func meaning(of value: UInt64) -> String? {
    switch reading {
    case .none: return nil
    case .bit(let bit, let one, let zero):
      let isSet = value >> UInt64(bit & 63) & 1 != 0
      return "now \(isSet ? 1 : 0): \(isSet ? one : zero)"
    case .field(let bit, let width, let names):
      let field = value >> UInt64(bit & 63) & (width >= 64 ? .max : (1 << UInt64(width)) - 1)
      let text = "now \(Hex.text(field))"
      guard field < UInt64(names.count), !names[Int(field)].isEmpty else { return text }
      return "\(text): \(names[Int(field)])"
    case .bits: return "now \(Hex.text(value))"
    }
  }
}

/// A register explained bit by bit: each bit becomes an entry of its own.
struct ExplainRegister {
  struct Bit {
    var bit: Int
    var width: Int
    var name: String
    var title: String
    var rule: String
    var values: [String]
  }

  var name: String
  /// As people write it: `RFLAGS`.
  var shown: String
  var aliases: [String] = []
  var title: String
  var rule: String
  var section: String
  var bits: [Bit]

  /// The register itself, then its bits.
  var entries: [ExplainEntry] {
    let whole = ExplainEntry(name, aliases, title: "\(shown): \(title)", rule, section, reading: .bits)
    return [whole] + bits.map { bit in
      let place = bit.width == 1 ? "bit \(bit.bit)" : "bits \(bit.bit + bit.width - 1):\(bit.bit)"
      let reading: ExplainEntry.Reading =
        bit.width == 1 && bit.values.count == 2
        ? .bit(bit.bit, one: bit.values[1], zero: bit.values[0]) : .field(bit.bit, width: bit.width, bit.values)
      return ExplainEntry(
        "\(name).\(bit.name)", title: "\(shown).\(bit.name.uppercased()), \(place): \(bit.title)", bit.rule, section,
        reading: reading)
    }
  }

  /// One bit with what it means clear and set.
  static func bit(
    _ bit: Int, _ name: String, _ title: String, _ rule: String, zero: String, one: String
  ) -> Bit {
    Bit(bit: bit, width: 1, name: name, title: title, rule: rule, values: [zero, one])
  }

  /// Several bits with what their values mean in order.
  static func field(
    _ bit: Int, _ width: Int, _ name: String, _ title: String, _ rule: String, _ values: [String] = []
  ) -> Bit {
    Bit(bit: bit, width: width, name: name, title: title, rule: rule, values: values)
  }
}
