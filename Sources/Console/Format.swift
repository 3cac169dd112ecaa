import Debugger
import VMCore
import X86

/// Numbers as the console writes them, without Foundation and without prefixes.
package enum Format {
  /// Lower-case hexadecimal, padded with zeros to `digits`.
  package static func hex(_ value: UInt64, _ digits: Int = 1) -> String {
    let text = String(value, radix: 16)
    return text.utf8.count >= digits ? text : String(repeating: "0", count: digits - text.utf8.count) + text
  }

  /// Digits an address of this mode takes.
  package static func addressDigits(_ mode: ProcessorMode) -> Int {
    switch mode {
    case .real16, .virtual8086, .protected16, .compatibility16: 5
    case .protected32, .compatibility32: 8
    case .long64: 16
    }
  }

  /// `16,654,588`.
  package static func grouped(_ value: UInt64) -> String {
    var digits = Array(String(value))
    var at = digits.count - 3
    while at > 0 {
      digits.insert(",", at: at)
      at -= 3
    }
    return String(digits)
  }

  /// `512 B`, `2.1 MB`.
  package static func bytes(_ count: UInt64) -> String {
    count < 1000 ? "\(count) B" : count < 1_000_000 ? "\(fixed(Double(count) / 1e3, 1)) KB" : "\(fixed(Double(count) / 1e6, 1)) MB"
  }

  /// Four characters at most before the unit: `999`, `12.4k`, `3.1M`.
  package static func short(_ value: Double) -> String {
    guard value.isFinite, value >= 0 else { return "0" }
    for (limit, unit) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] where value >= limit {
      return fixed(value / limit, 1) + unit
    }
    return fixed(value, value < 10 && value > 0 ? 1 : 0)
  }

  /// A non-negative number with so many decimals.
  package static func fixed(_ value: Double, _ decimals: Int) -> String {
    guard value.isFinite, value >= 0, value < 1e15 else { return "-" }
    var scale: UInt64 = 1
    for _ in 0..<decimals { scale *= 10 }
    let scaled = UInt64((value * Double(scale)).rounded())
    let whole = String(scaled / scale)
    guard decimals > 0 else { return whole }
    let rest = String(scaled % scale)
    return whole + "." + String(repeating: "0", count: decimals - rest.utf8.count) + rest
  }

  /// A span of nanoseconds: `12ns`, `1.9us`, `4.0ms`, `2.1s`.
  package static func duration(_ nanoseconds: UInt64) -> String {
    switch nanoseconds {
    case ..<1_000: "\(nanoseconds)ns"
    case ..<1_000_000: fixed(Double(nanoseconds) / 1e3, 1) + "us"
    case ..<1_000_000_000: fixed(Double(nanoseconds) / 1e6, 1) + "ms"
    default: fixed(Double(nanoseconds) / 1e9, 1) + "s"
    }
  }

  package static func left(_ text: String, _ width: Int) -> String {
    let count = text.unicodeScalars.count
    return count >= width ? text : text + String(repeating: " ", count: width - count)
  }

  package static func right(_ text: String, _ width: Int) -> String {
    let count = text.unicodeScalars.count
    return count >= width ? text : String(repeating: " ", count: width - count) + text
  }

  /// A title up to the first of the two blanks that end a pane's name; what stands behind them changes as the guest goes on.
  static func name(ofTitle title: String) -> String {
    let words = title.drop { $0 == " " }
    guard let blanks = words.firstRange(of: "  ") else { return title }
    return String(title[...blanks.lowerBound])
  }

  /// A title with its views, of which one is in brackets: where there is no room for all, those before it go.
  static func showingBrackets(_ text: String, width: Int) -> String {
    guard text.count > width, let open = text.firstIndex(of: "["), let close = text[open...].firstIndex(of: "]") else { return text }
    let before = text[..<open]
    let head = before.prefix { $0 == " " } + before.drop { $0 == " " }.prefix { $0 != " " } + " "
    guard before.count > head.count, text[...close].count > width else { return text }
    return String(head + text[open...])
  }

  /// Text cut into lines of at most `width` characters at spaces where there are any.
  package static func wrap(_ text: String, width: Int) -> [String] {
    guard width > 0 else { return [] }
    var lines: [String] = []
    for paragraph in text.split(separator: "\n", omittingEmptySubsequences: false) {
      var line = ""
      for word in paragraph.split(separator: " ", omittingEmptySubsequences: false) {
        var rest = Substring(word)
        if !line.isEmpty || !lines.isEmpty || !word.isEmpty {
          if !line.isEmpty, line.count + 1 + rest.count <= width {
            line += " " + rest
            continue
          }
          if !line.isEmpty { lines.append(line) }
          line = ""
        }
        while rest.count > width {
          lines.append(String(rest.prefix(width)))
          rest = rest.dropFirst(width)
        }
        line = String(rest)
      }
      lines.append(line)
    }
    return lines
  }

  /// The printable ASCII character of a byte, `.` for the rest.
  package static func ascii(_ byte: UInt8) -> UInt32 { byte >= 0x20 && byte < 0x7F ? UInt32(byte) : 0x2E }

  /// Names of a register's bits: capitals where set, fields with their value.
  package static func bits(_ value: UInt64, _ names: [BitName]) -> [(text: String, isSet: Bool)] {
    names.reversed().map { bit in
      let mask: UInt64 = bit.width >= 64 ? .max : (1 << UInt64(bit.width)) - 1
      let field = value >> UInt64(bit.bit) & mask
      if bit.width > 1 { return ("\(bit.name.uppercased())\(field)", field != 0) }
      return field != 0 ? (bit.name.uppercased(), true) : (bit.name, false)
    }
  }
}

extension ExitReason {
  /// The reason as the exit list shows it: the name commands use, in capitals.
  package var label: String { name.uppercased() }
}
