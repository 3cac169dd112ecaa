import Debugger
import Session
import TOMLKit
import TerminalUI

/// What is wrong with a settings or layout file: one line that names the file, the place and what was expected.
package struct SettingsError: Error, Equatable, Sendable, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// What a person chose once for all sessions.
package struct Settings: Sendable {
  package var theme: String?
  package var layout: String?
  /// Nil goes by the locale.
  package var unicode: Bool?
  package var mouse = true
  /// Steps a second of an animation.
  package var speeds = Animation.usual
  package var startup: [String] = []
  /// Name and command, in the file's order of names.
  package var aliases: [(name: String, command: String)] = []
  package var keys = KeyMap.standard
  package init() {}
}

/// One setting: all that reading, the example file and the manual need to know of it.
package struct SettingDescriptor: Sendable {
  package var name: String
  package var help: String
  /// As the example file shows it.
  package var example: String
  var apply: @Sendable (any TOMLValueConvertible, inout Settings) throws(SettingsError) -> Void

  package static let all: [SettingDescriptor] = [
    SettingDescriptor(
      name: "theme", help: "colours: a name 'ringside themes' lists, or the path of a .toml file", example: "\"dark\""
    ) { value, settings throws(SettingsError) in settings.theme = try string(value) },
    SettingDescriptor(
      name: "layout", help: "standard, monitor, guest, or one you saved with ':layout save NAME'", example: "\"standard\""
    ) { value, settings throws(SettingsError) in settings.layout = try string(value) },
    SettingDescriptor(
      name: "unicode", help: "lines and bars in Unicode: \"auto\" goes by the locale, \"always\", \"never\"", example: "\"auto\""
    ) { value, settings throws(SettingsError) in
      switch try string(value) {
      case "auto": settings.unicode = nil
      case "always": settings.unicode = true
      case "never": settings.unicode = false
      default: throw SettingsError("expected \"auto\", \"always\" or \"never\"")
      }
    },
    SettingDescriptor(
      name: "mouse", help: "take the mouse; false leaves it to the terminal (for selecting text)", example: "true"
    ) { value, settings throws(SettingsError) in
      guard let on = value.bool else { throw SettingsError("expected true or false") }
      settings.mouse = on
    },
    SettingDescriptor(
      name: "animation", help: "steps a second the key A goes through, 1 to 1000; the next press runs flat out",
      example: "[2, 10, 50]"
    ) { value, settings throws(SettingsError) in
      let numbers = value.array?.compactMap(\.int) ?? []
      guard !numbers.isEmpty, numbers.count == value.array?.count, numbers.allSatisfy((1...1000).contains) else {
        throw SettingsError("expected numbers from 1 to 1000, as [2, 10, 50]")
      }
      settings.speeds = numbers
    },
    SettingDescriptor(
      name: "startup", help: "commands carried out when the console opens", example: "[\"info engine\"]"
    ) { value, settings throws(SettingsError) in settings.startup = try strings(value) },
    SettingDescriptor(
      name: "aliases", help: "words for commands", example: "{ regs2 = \"info sregs\" }"
    ) { value, settings throws(SettingsError) in
      guard let table = value.table else { throw SettingsError("expected a table [aliases]") }
      for name in table.keys.sorted() {
        guard let command = table[name]?.string else { throw SettingsError("\(name): expected a command in quotes") }
        settings.aliases.append((name, command))
      }
    },
    SettingDescriptor(
      name: "keys", help: "keys of an action, instead of those it has", example: "{ step = [\"s\", \"F8\", \"F11\"] }"
    ) { value, settings throws(SettingsError) in
      guard let table = value.table else { throw SettingsError("expected a table [keys]") }
      for action in table.keys.sorted() { try rebind(action, table[action], &settings) }
    },
  ]

  private static func string(_ value: any TOMLValueConvertible) throws(SettingsError) -> String {
    guard let text = value.string else { throw SettingsError("expected a text in quotes") }
    return text
  }

  private static func strings(_ value: any TOMLValueConvertible) throws(SettingsError) -> [String] {
    let texts = value.array?.compactMap(\.string) ?? []
    guard let count = value.array?.count, texts.count == count else {
      throw SettingsError("expected texts in quotes, as [\"info regs\"]")
    }
    return texts
  }

  private static func rebind(
    _ action: String, _ value: (any TOMLValueConvertible)?, _ settings: inout Settings
  ) throws(SettingsError) {
    let names = KeyTable.bindings.map(\.name)
    guard names.contains(action) else {
      let nearest = NearestName.find(action, in: names).map { "; did you mean '\($0)'?" } ?? ""
      throw SettingsError("\(action): no such action\(nearest)")
    }
    guard let value else { return }
    let written = value.string.map { [$0] } ?? (try? strings(value))
    guard let written else { throw SettingsError("\(action): expected keys, as [\"s\", \"F8\"]") }
    var keys: [Key] = []
    for name in written {
      guard let key = Key(name: name) else {
        throw SettingsError("\(action): no key '\(name)'; keys are s, Space, ^C, Alt-x, F8, Shift-Tab, PgUp, ...")
      }
      if let digit = key.typed, digit.properties.numericType == .decimal {
        throw SettingsError("\(action): digits are pane numbers and counts")
      }
      keys.append(key)
    }
    settings.keys.rebind(action, to: keys)
  }
}

/// The settings file.
package enum SettingsFile {
  /// Reads settings from text. What is wrong is left at its default and told, a line each; nothing is fatal.
  package static func parse(_ text: String, name: String) -> (settings: Settings, complaints: [String]) {
    var settings = Settings()
    var complaints: [String] = []
    let table: TOMLTable
    do throws(SettingsError) {
      table = try TOMLFile.table(text, name: name)
    } catch {
      return (settings, [error.description])
    }
    let names = SettingDescriptor.all.map(\.name)
    for key in table.keys.sorted() {
      guard let descriptor = SettingDescriptor.all.first(where: { $0.name == key }), let value = table[key] else {
        let nearest = NearestName.find(key, in: names).map { "; did you mean '\($0)'?" } ?? ""
        complaints.append("\(name): \(key): no such setting\(nearest)")
        continue
      }
      var changed = settings
      do throws(SettingsError) {
        try descriptor.apply(value, &changed)
        settings = changed
      } catch {
        complaints.append("\(name): \(key): \(error.description)")
      }
    }
    return (settings, complaints)
  }

  /// Reads the file; one that is not there means the defaults.
  package static func load(path: String?) -> (settings: Settings, complaints: [String]) {
    guard let path, HostFile.exists(path) else { return (Settings(), []) }
    guard let text = HostFile.text(at: path, limit: 1 << 20) else { return (Settings(), ["\(path): cannot be read as text"]) }
    return parse(text, name: "config.toml")
  }

  /// A commented example with every setting at its default, made from the descriptors.
  package static func example(path: String) -> String {
    var text = "# Settings of Ringside's console. They belong into \(path).\n"
    text += "# Everything may be left out; what is shown is the default or an example.\n"
    let tables = SettingDescriptor.all.filter { $0.example.hasPrefix("{") }
    for setting in SettingDescriptor.all where !setting.example.hasPrefix("{") {
      let isList = setting.name == "startup"
      text += "\n# \(setting.help)\n\(isList ? "# " : "")\(setting.name) = \(setting.example)\n"
    }
    for setting in tables where setting.name != "keys" {
      let inner = setting.example.dropFirst(2).dropLast(2)
      text += "\n# \(setting.help)\n[\(setting.name)]\n# \(inner)\n"
    }
    text += "\n# \(tables.last?.help ?? "")\n[keys]\n"
    for binding in KeyTable.bindings {
      let keys = binding.keys.map { "\"\($0.name)\"" }.joined(separator: ", ")
      let line = "# \(binding.name) = [\(keys)]"
      text += Format.left(line, 48) + "  # \(binding.help)\n"
    }
    return text
  }
}
