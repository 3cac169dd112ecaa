/// What a word of a report is, for the eye. A console gives each a style; plain text needs none.
package enum ReportTone: UInt8, Sendable {
  case plain, dim, heading, address, value, changed, symbol, set, clear, bad, code, exit
}

/// One piece of a report's row.
package struct ReportWord: Equatable, Sendable {
  package var text: String
  package var tone: ReportTone
  package init(_ text: String, _ tone: ReportTone = .plain) {
    self.text = text
    self.tone = tone
  }
}

/// Where a row of a report leads.
package enum ReportTarget: Equatable, Sendable {
  /// Code at an offset in CS.
  case code(UInt64)
  /// Memory at a linear address.
  case linear(UInt64)
  /// Memory at a guest-physical address.
  case physical(UInt64)
  /// An exit by its ordinal.
  case exit(UInt64)
  /// The page walk of a linear address.
  case walk(UInt64)
}

/// One row: what a pane draws and what a command prints, so that both have the same numbers.
package struct ReportRow: Equatable, Sendable {
  package var words: [ReportWord]
  package var target: ReportTarget?

  package init(_ words: [ReportWord] = [], target: ReportTarget? = nil) {
    self.words = words
    self.target = target
  }

  package init(_ text: String, _ tone: ReportTone = .plain, target: ReportTarget? = nil) {
    self.init([ReportWord(text, tone)], target: target)
  }

  package static func heading(_ text: String) -> ReportRow { ReportRow(text, .heading) }

  /// Appends a word.
  package mutating func add(_ text: String, _ tone: ReportTone = .plain) { words.append(ReportWord(text, tone)) }

  /// Appends a word padded to a column of `width` characters and a blank behind it.
  package mutating func add(_ text: String, width: Int, _ tone: ReportTone = .plain) {
    add(Column.left(text, width) + " ", tone)
  }

  /// The row in as many rows of at most `width` characters as it takes, cut at blanks, the further ones
  /// indented.
  package func wrapped(to width: Int, indent: Int) -> [ReportRow] {
    guard text.unicodeScalars.count > width, width > indent + 8 else { return [self] }
    var rows: [ReportRow] = []
    var row = ReportRow(target: target)
    var used = 0
    for word in words {
      var rest = Substring(word.text)
      while used + rest.unicodeScalars.count > width, rest.contains(where: { $0 != " " }) {
        let room = rest.prefix(max(width - used, 0))
        let cut = room.lastIndex(of: " ").flatMap { rest[..<$0].contains { $0 != " " } ? $0 : nil }
        guard cut != nil || used > indent else { break }
        if let cut {
          row.add(String(rest[..<cut]), word.tone)
          rest = rest[cut...].drop { $0 == " " }
        }
        rows.append(row)
        row = ReportRow(String(repeating: " ", count: indent))
        row.target = target
        used = indent
        if cut == nil { rest = rest.drop { $0 == " " } }
      }
      row.add(String(rest), word.tone)
      used += rest.unicodeScalars.count
    }
    rows.append(row)
    return rows
  }

  /// The row without tones, trailing blanks cut.
  package var text: String {
    let whole = words.map(\.text).joined()
    return String(whole.reversed().drop { $0 == " " }.reversed())
  }
}

extension [ReportRow] {
  package var lines: [String] { map(\.text) }
}

/// Text in columns.
package enum Column {
  package static func left(_ text: String, _ width: Int) -> String {
    let count = text.unicodeScalars.count
    return count >= width ? text : text + String(repeating: " ", count: width - count)
  }

  package static func right(_ text: String, _ width: Int) -> String {
    let count = text.unicodeScalars.count
    return count >= width ? text : String(repeating: " ", count: width - count) + text
  }
}
