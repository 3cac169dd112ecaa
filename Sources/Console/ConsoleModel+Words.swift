import Debugger
import Session
import TerminalUI

/// The few commands that are the console's own: they change what is seen, not the session.
extension ConsoleModel {
  /// Name, arguments and help of each, for completion and the manual.
  package static let words: [(name: String, arguments: String, help: String)] = [
    ("theme", "[NAME|FILE.toml]", "change the colours, or list the themes"),
    ("layout", "[NAME | save NAME]", "change the layout, list the layouts, or keep the present one under a name"),
    ("lesson", "NAME", "begin a lesson in a session of its own; the present one comes back when it is left"),
    ("focus", "PANE", "bring up a pane by its name and give it the keys"),
    ("refresh", "", "draw the screen again"),
    ("quit", "", "leave Ringside"),
  ]

  /// A command typed by the person: the console's own words are carried out here, the rest is the session's.
  func submitTyped(_ line: String) -> Request {
    let words = line.split(separator: " ").map(String.init)
    switch words.first {
    case "quit" where words.count == 1, "q" where words.count == 1: return wantQuit()
    case "theme": return chooseTheme(words.dropFirst().first)
    case "layout": return chooseLayout(Array(words.dropFirst()))
    case "focus", "pane":
      chooseFocus(words.dropFirst().first)
      return .none
    case "refresh": return .redraw
    case "lesson":
      chooseLesson(line, words.dropFirst().first)
      return .none
    default:
      submit(line)
      return .none
    }
  }

  /// What the line could become where it is the console's; nil where the session knows.
  func ownCompletions(_ line: String) -> [String]? {
    if !line.contains(" ") {
      let known = session.completions(for: line)
      let own = Self.words.map(\.name).filter { $0.hasPrefix(line) && !known.contains($0) }
      return known + own
    }
    let last = String(line.split(separator: " ", omittingEmptySubsequences: false).last ?? "")
    if line.hasPrefix("theme ") { return (themes.names + ["plain"]).filter { $0.hasPrefix(last) } }
    if line.hasPrefix("lesson "), !line.dropFirst(7).contains(" ") {
      return lessonDoor.names().filter { $0.hasPrefix(last) } + session.completions(for: line)
    }
    if line.hasPrefix("focus ") { return paneNames.filter { $0.hasPrefix(last) } }
    guard line.hasPrefix("layout ") else { return nil }
    return line.hasPrefix("layout save ") ? layouts.names.filter { $0.hasPrefix(last) } : (layoutNames + ["save"]).filter { $0.hasPrefix(last) }
  }

  /// The command is carried out here, not by the session.
  func isOwn(_ line: String) -> Bool {
    let word = line.split(separator: " ").first.map(String.init) ?? ""
    return Self.words.contains { $0.name == word } || ["q", "pane"].contains(word)
  }

  private static let named = PaneID.allCases.filter { !$0.isFrame }
  private var paneNames: [String] { Self.named.map { "\($0)" }.sorted() }

  /// By its name, as layouts have it, a beginning of it, or the name on its tab.
  private func chooseFocus(_ name: String?) {
    let wanted = name?.lowercased() ?? ""
    let found = Self.named.first { "\($0)".lowercased() == wanted || $0.tabName.lowercased() == wanted }
      ?? Self.named.first { !wanted.isEmpty && "\($0)".lowercased().hasPrefix(wanted) }
    guard let found else {
      say(wanted.isEmpty ? "focus PANE: Tab completes their names" : "no pane '\(wanted)'; Tab completes their names")
      return
    }
    bringUp(found)
    if !visiblePanes.contains(found) { say("there is no room for \(found), or nothing to show in it") }
  }

  private func chooseTheme(_ name: String?) -> Request {
    guard let name else {
      say("theme \(theme.name); there are: \(themes.names.joined(separator: ", "))")
      return .none
    }
    do throws(ThemeError) {
      theme = try themes.load(name)
      say("theme \(theme.name)" + (theme.summary.isEmpty ? "" : ": \(theme.summary)"))
      return .redraw
    } catch {
      say(error.description)
      return .none
    }
  }

  private var layoutNames: [String] { ConsoleLayout.builtIn.map(\.name) + layouts.names }

  private func chooseLayout(_ words: [String]) -> Request {
    if words.first == "save" {
      saveLayout(words.dropFirst().first)
      return .none
    }
    guard let name = words.first else {
      say("layout \(layout.name); there are: \(layoutNames.joined(separator: ", "))")
      return .none
    }
    do throws(SettingsError) {
      layout = try layouts.load(name)
      say("layout \(layout.name)")
    } catch {
      say(error.description)
    }
    return .none
  }

  private func saveLayout(_ name: String?) {
    guard let name else {
      say("layout save NAME: a name is missing")
      return
    }
    do throws(SettingsError) {
      let path = try layouts.save(layout, as: name)
      layout.name = name
      say("saved as \(path)")
    } catch {
      say(error.description)
    }
  }

  /// `L`: the next layout, one's own after those that are always there.
  func nextLayout() {
    let names = layoutNames
    let next = ((names.firstIndex(of: layout.name) ?? -1) + 1) % names.count
    _ = chooseLayout([names[next]])
  }
}
