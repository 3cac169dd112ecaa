import Glibc

/// A table for people: the first column to the left, the others to the right.
package struct Table {
  private var rows: [[String]]
  package init(_ header: [String]) { rows = [header] }
  package mutating func add(_ row: [String]) { rows.append(row) }

  package var lines: [String] {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in
      rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
    }
    return rows.map { row in
      var line = ""
      for (column, cell) in row.enumerated() {
        let space = String(repeating: " ", count: widths[column] - cell.count)
        line += column == 0 ? cell + space : "  " + space + cell
      }
      while line.hasSuffix(" ") { line.removeLast() }
      return line
    }
  }
}

/// Numbers with three significant digits.
package enum Figure {
  package static func number(_ value: Double) -> String {
    switch value {
    case ..<10: fixed(value, 2)
    case ..<100: fixed(value, 1)
    default: fixed(value, 0)
    }
  }

  /// `1.23 ns` to `12.3 s`.
  package static func time(_ nanoseconds: Double) -> String {
    switch nanoseconds {
    case ..<1000: number(nanoseconds) + " ns"
    case ..<1e6: number(nanoseconds / 1e3) + " us"
    case ..<1e9: number(nanoseconds / 1e6) + " ms"
    default: number(nanoseconds / 1e9) + " s"
    }
  }

  /// `12.3 k/s`, `45.6 M/s`.
  package static func rate(_ perSecond: Double) -> String {
    switch perSecond {
    case ..<1e4: number(perSecond) + "/s"
    case ..<1e6: number(perSecond / 1e3) + " k/s"
    default: number(perSecond / 1e6) + " M/s"
    }
  }

  package static func ratio(_ value: Double) -> String { number(value) + "x" }

  /// `value` rounded to `digits` (at most 3) after the point.
  private static func fixed(_ value: Double, _ digits: Int) -> String {
    let scale = [1.0, 10, 100, 1000][min(max(digits, 0), 3)]
    let scaled = (value * scale).rounded()
    guard scaled.isFinite, abs(scaled) < 9e18 else { return "-" }
    let whole = Int64(scaled)
    if digits == 0 { return "\(whole)" }
    let rest = "\(abs(whole) % Int64(scale))"
    let zeros = String(repeating: "0", count: digits - rest.count)
    return "\(whole < 0 ? "-" : "")\(abs(whole) / Int64(scale)).\(zeros)\(rest)"
  }
}
