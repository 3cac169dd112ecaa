import Session
import TOMLKit
import TerminalUI

/// Layouts by name: those that are always there and the person's own, TOML files in a folder.
package struct LayoutLibrary: Sendable {
  /// Nil where there is no home to keep layouts in.
  package let directory: String?

  package init(directory: String?) { self.directory = directory }

  /// Names of the person's own, sorted.
  package var names: [String] {
    guard let directory else { return [] }
    return HostFile.names(in: directory).filter { $0.hasSuffix(".toml") && !$0.hasPrefix(".") }.map { String($0.dropLast(5)) }
  }

  /// By name, or by path where it has a slash or ends in `.toml`. One's own wins over what is always there.
  package func load(_ name: String) throws(SettingsError) -> ConsoleLayout {
    if name.contains("/") || name.hasSuffix(".toml") { return try LayoutFile.load(path: name) }
    if let directory, names.contains(name) { return try LayoutFile.load(path: "\(directory)/\(name).toml") }
    if let layout = ConsoleLayout.named(name) { return layout }
    let known = (ConsoleLayout.builtIn.map(\.name) + names).joined(separator: ", ")
    throw SettingsError("no layout '\(name)'; there are \(known)")
  }

  /// Keeps a layout and gives the path it went to.
  package func save(_ layout: ConsoleLayout, as name: String) throws(SettingsError) -> String {
    let isGood = !name.isEmpty && name.allSatisfy { $0.isLetter || $0.isNumber || $0 == "-" || $0 == "_" }
    guard isGood else { throw SettingsError("'\(name)': a layout's name is letters, digits, - and _") }
    guard let directory else { throw SettingsError("no folder to keep layouts in: HOME is not set") }
    let path = "\(directory)/\(name).toml"
    HostFile.makeFolder(for: path)
    guard HostFile.write(LayoutFile.text(layout, name: name), to: path) else {
      throw SettingsError("\(path): cannot be written")
    }
    return path
  }
}

/// A layout as a TOML file: `[[rows]]` with `places`, each with its `panes`; sizes in thousandths.
enum LayoutFile {
  static func load(path: String) throws(SettingsError) -> ConsoleLayout {
    guard let text = HostFile.text(at: path, limit: 1 << 16) else { throw SettingsError("\(path): no such layout file") }
    return try parse(text, name: path)
  }

  static func text(_ layout: ConsoleLayout, name: String) -> String {
    var text = """
      # A layout of Ringside's console: rows of places, each with the panes that are its tabs. Sizes are thousandths of
      # the screen; without them a place follows the rules. Panes without a place are tabs where home = true. A place is
      # shown where it has least = [columns, rows]; where not all fit, the one of the lowest priority goes first.
      # panes: \(Self.names.joined(separator: " "))
      name = "\(name)"

      """
    for row in layout.rows {
      text += "\n[[rows]]\n" + (row.height.map { "height = \($0)\n" } ?? "") + "places = [\n"
      for place in row.places {
        let panes = place.panes.map { "\"\($0)\"" }.joined(separator: ", ")
        text += "  { panes = [\(panes)]" + (place.adopts ? ", home = true" : "") + sizes(place) + " },\n"
      }
      text += "]\n"
    }
    return text
  }

  /// What a place has of its own, beside what its panes give it.
  private static func sizes(_ place: ConsoleLayout.Place) -> String {
    let usual = ConsoleLayout.Place.own(place.panes, isHome: place.adopts)
    var text = place.width.map { ", width = \($0)" } ?? ""
    if place.weight != usual.weight { text += ", weight = \(place.weight)" }
    if place.minimum != usual.minimum { text += ", least = [\(place.minimum.width), \(place.minimum.height)]" }
    if place.maximum.height != usual.maximum.height { text += ", most_rows = \(place.maximum.height)" }
    if let priority = place.priority, priority != usual.priority { text += ", priority = \(priority)" }
    return text
  }

  private static let placeable = PaneID.allCases.filter { !$0.isFrame && $0 != .secondRegisters && $0 != .lesson }
  private static let names = placeable.map { "\($0)" }

  static func parse(_ text: String, name: String) throws(SettingsError) -> ConsoleLayout {
    let table = try TOMLFile.table(text, name: name)
    guard let rows = table["rows"]?.array, !rows.isEmpty else { throw SettingsError("\(name): expected [[rows]]") }
    var layout = ConsoleLayout(name: table["name"]?.string ?? name, rows: [])
    var seen: Set<PaneID> = []
    for (index, value) in rows.enumerated() {
      let place = "\(name): rows[\(index)]"
      guard let row = value.table, let places = row["places"]?.array, !places.isEmpty else {
        throw SettingsError("\(place): expected places = [ { panes = [\"code\"] } ]")
      }
      var made = ConsoleLayout.Row(places: [], height: nil)
      made.height = try size(row["height"], "\(place).height")
      for value in places { made.places.append(try Self.place(value, &seen, place)) }
      layout.rows.append(made)
    }
    guard seen.contains(.code) else { throw SettingsError("\(name): the code pane needs a place: it never disappears") }
    return withHome(layout)
  }

  private static func place(
    _ value: any TOMLValueConvertible, _ seen: inout Set<PaneID>, _ place: String
  ) throws(SettingsError) -> ConsoleLayout.Place {
    guard let entry = value.table, let panes = entry["panes"]?.array, !panes.isEmpty else {
      throw SettingsError("\(place).places: expected { panes = [\"exits\"] }")
    }
    var ids: [PaneID] = []
    for pane in panes {
      let written = pane.string ?? ""
      guard let id = placeable.first(where: { "\($0)" == written }) else {
        throw SettingsError("\(place).places.panes: no pane '\(written)'; panes are \(names.joined(separator: ", "))")
      }
      guard seen.insert(id).inserted else { throw SettingsError("\(place).places.panes: '\(written)' has a place already") }
      ids.append(id)
    }
    var made = ConsoleLayout.Place.own(ids, isHome: entry["home"]?.bool == true)
    made.width = try size(entry["width"], "\(place).places.width")
    made.weight = try number(entry["weight"], 1...100, "\(place).places.weight") ?? made.weight
    made.priority = try number(entry["priority"], 0...1000, "\(place).places.priority") ?? made.priority
    made.maximum.height = try number(entry["most_rows"], 1...100_000, "\(place).places.most_rows") ?? made.maximum.height
    if let least = entry["least"]?.array {
      let sizes = least.compactMap(\.int)
      guard sizes.count == 2, least.count == 2, sizes.allSatisfy((1...1000).contains) else {
        throw SettingsError("\(place).places.least: expected columns and rows, as [38, 7]")
      }
      made.minimum = Size(width: sizes[0], height: sizes[1])
      made.floor = Size(width: min(made.floor.width, sizes[0]), height: min(made.floor.height, sizes[1]))
    }
    return made
  }

  private static func size(_ value: (any TOMLValueConvertible)?, _ place: String) throws(SettingsError) -> Int? {
    guard let value else { return nil }
    guard let number = value.int, (1...1001).contains(number) else {
      throw SettingsError("\(place): expected thousandths of the screen, 1 to 1000")
    }
    return number
  }

  private static func number(
    _ value: (any TOMLValueConvertible)?, _ range: ClosedRange<Int>, _ place: String
  ) throws(SettingsError) -> Int? {
    guard let value else { return nil }
    guard let number = value.int, range.contains(number) else {
      throw SettingsError("\(place): expected a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  /// Makes sure that panes without a place can be brought up.
  private static func withHome(_ layout: ConsoleLayout) -> ConsoleLayout {
    guard !layout.rows.contains(where: { $0.places.contains { $0.adopts } }) else { return layout }
    var layout = layout
    for row in layout.rows.indices {
      for column in layout.rows[row].places.indices {
        let place = layout.rows[row].places[column]
        guard place.panes.first != .code, place.panes.first != .registers else { continue }
        var home = ConsoleLayout.Place.own(place.panes, isHome: true)
        home.width = place.width
        layout.rows[row].places[column] = home
        return layout
      }
    }
    return layout
  }
}

/// Reading TOML with faults in one line.
enum TOMLFile {
  static func table(_ text: String, name: String) throws(SettingsError) -> TOMLTable {
    do {
      return try TOMLTable(string: text)
    } catch let error as TOMLParseError {
      let place = error.source.begin
      let what = error.description.split(whereSeparator: \.isNewline).joined(separator: " ")
      throw SettingsError("\(name):\(place.line):\(place.column): \(what)")
    } catch {
      throw SettingsError("\(name): not a TOML file")
    }
  }
}
