/// A line of a bench guest (`Samples/bench/README.md`).
package enum GuestLine: Equatable, Sendable {
  /// `bench start`, `nanobench64 start`
  case start(guest: String)
  /// `> name count`: the test begins.
  case begin(name: String, count: UInt64)
  /// `name count cycles checksum`
  case result(name: String, count: UInt64, checksum: UInt64)
  /// `bench end`
  case end
  case other

  package init(_ text: String) {
    let words = text.split(separator: " ")
    if words.count == 3, words[0] == ">", let count = UInt64(words[2]) {
      self = .begin(name: String(words[1]), count: count)
    } else if words.count == 4, let count = UInt64(words[1]), UInt64(words[2]) != nil,
      let checksum = Self.hexadecimal(words[3])
    {
      self = .result(name: String(words[0]), count: count, checksum: checksum)
    } else if words.count == 2, words[1] == "start" {
      self = .start(guest: String(words[0]))
    } else if words.count == 2, words[1] == "end" {
      self = .end
    } else {
      self = .other
    }
  }

  private static func hexadecimal(_ word: Substring) -> UInt64? {
    UInt64(word.hasPrefix("0x") ? word.dropFirst(2) : word, radix: 16)
  }
}
