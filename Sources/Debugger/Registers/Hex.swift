/// Numbers as the debugger prints them.
package enum Hex {
  /// `0x1f`.
  package static func text(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

  /// Exactly `digits` hexadecimal digits, lower case, without prefix; more where the value needs them.
  package static func padded(_ value: UInt64, _ digits: Int) -> String {
    let text = String(value, radix: 16)
    return text.count >= digits ? text : String(repeating: "0", count: digits - text.count) + text
  }

  /// `48 8b 05`.
  package static func bytes(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { padded(UInt64($0), 2) }.joined(separator: " ")
  }
}
