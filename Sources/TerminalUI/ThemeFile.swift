import Glibc
import TOMLKit

/// Why a theme could not be read: one line that names the file, the place and what was expected.
package struct ThemeError: Error, Equatable, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// Theme files: TOML with `name`, `summary`, an optional `[palette]` of named colours and `[roles]`,
/// each a table of `fg`, `bg` and the attributes `bold`, `dim`, `underline`, `reverse`, `italic`.
package enum ThemeFile {
  private static let attributeNames: [(String, TextAttributes)] = [
    ("bold", .bold), ("dim", .dim), ("underline", .underline), ("reverse", .reverse), ("italic", .italic),
  ]

  /// Reads a theme from a file of at most 1 MiB.
  package static func load(path: String) throws(ThemeError) -> Theme {
    guard let file = fopen(path, "rbe") else {
      throw ThemeError("\(path): cannot open the theme: \(String(cString: strerror(errno)))")
    }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let count = fread(&bytes, 1, bytes.count, file)
    guard ferror(file) == 0 else { throw ThemeError("\(path): cannot read the theme") }
    guard count < bytes.count else { throw ThemeError("\(path): a theme is at most 1 MiB") }
    return try parse(String(decoding: bytes[..<count], as: UTF8.self), name: path)
  }

  /// Reads a theme from text; `name` stands for it in errors.
  package static func parse(_ text: String, name: String) throws(ThemeError) -> Theme {
    let table: TOMLTable
    do {
      table = try TOMLTable(string: text)
    } catch let error as TOMLParseError {
      let place = error.source.begin
      throw ThemeError("\(name):\(place.line):\(place.column): \(oneLine(error.description))")
    } catch {
      throw ThemeError("\(name): not a TOML file")
    }
    var palette: [String: Color] = [:]
    for key in table["palette"]?.table?.keys.sorted() ?? [] {
      let written = table["palette"]?.table?[key]?.string ?? ""
      guard let color = Color(written) else {
        throw ThemeError("\(name): palette.\(key): expected a colour such as \"#80a0ff\", not \"\(written)\"")
      }
      palette[key] = color
    }
    guard let roles = table["roles"]?.table else { throw ThemeError("\(name): expected a table [roles]") }
    var styles: [StyleRole: Style] = [:]
    for key in roles.keys.sorted() {
      guard let role = StyleRole(name: key) else {
        throw ThemeError("\(name): roles.\(key): no such role; roles are \(roleList)")
      }
      guard let entry = roles[key]?.table else {
        throw ThemeError("\(name): roles.\(key): expected a table such as { fg = \"red\", bold = true }")
      }
      styles[role] = try style(entry, of: "\(name): roles.\(key)", palette: palette)
    }
    return Theme(name: table["name"]?.string ?? name, summary: table["summary"]?.string ?? "", roles: styles)
  }

  private static var roleList: String { StyleRole.allCases.map(\.name).joined(separator: ", ") }

  private static func oneLine(_ text: String) -> String {
    text.split(whereSeparator: \.isNewline).joined(separator: " ")
  }

  private static func style(
    _ entry: TOMLTable, of place: String, palette: [String: Color]
  ) throws(ThemeError) -> Style {
    var style = Style()
    for key in entry.keys.sorted() {
      if key == "fg" || key == "bg" {
        guard let value = entry[key] else { continue }
        let written = value.string ?? value.int.map { "\($0)" } ?? ""
        guard let color = palette[written] ?? Color(written) else {
          throw ThemeError(
            "\(place).\(key): expected default, a colour name, 0 to 255, #rrggbb or a palette name, not \"\(written)\"")
        }
        if key == "fg" { style.foreground = color } else { style.background = color }
        continue
      }
      guard let attribute = attributeNames.first(where: { $0.0 == key })?.1 else {
        throw ThemeError(
          "\(place).\(key): expected fg, bg, bold, dim, underline, reverse or italic")
      }
      guard let on = entry[key]?.bool else { throw ThemeError("\(place).\(key): expected true or false") }
      if on { style.attributes.insert(attribute) }
    }
    return style
  }
}
