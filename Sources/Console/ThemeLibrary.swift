import Glibc
import TerminalUI

/// The theme files a console can choose from: `NAME.toml` in a few folders.
package struct ThemeLibrary: Sendable {
  package let directories: [String]

  /// Folders are looked into in this order; the first file of a name wins.
  package init(directories: [String]) { self.directories = directories }

  /// Names without `.toml`, sorted.
  package var names: [String] {
    var found: Set<String> = []
    for directory in directories {
      guard let handle = opendir(directory) else { continue }
      defer { closedir(handle) }
      while let entry = readdir(handle) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
          String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        if name.hasSuffix(".toml"), !name.hasPrefix(".") { found.insert(String(name.dropLast(5))) }
      }
    }
    return found.sorted()
  }

  /// A theme by name, or by path where the name has a slash or ends in `.toml`. `plain` is always there.
  package func load(_ name: String) throws(ThemeError) -> Theme {
    if name.contains("/") || name.hasSuffix(".toml") { return try ThemeFile.load(path: name) }
    for directory in directories {
      let path = "\(directory)/\(name).toml"
      if access(path, R_OK) == 0 { return try ThemeFile.load(path: path) }
    }
    if name == "plain" { return .plain }
    let known = (names + ["plain"]).joined(separator: ", ")
    throw ThemeError("no theme '\(name)'; there are \(known), or give the path of a .toml file")
  }
}
