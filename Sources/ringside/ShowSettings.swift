import ArgumentParser
import Console
import Session

/// `ringside config`
struct ShowSettings: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "config", abstract: "Print a commented example of the settings file.",
    discussion: """
      The settings lie in $XDG_CONFIG_HOME/ringside/config.toml, or ~/.config/ringside/config.toml. Beside it, themes/ \
      and layouts/ hold your own. To begin:  ringside config > ~/.config/ringside/config.toml
      """)

  func run() throws {
    let path = UserFolders(environment: Run.environment).settings ?? "~/.config/ringside/config.toml"
    Output.standard(SettingsFile.example(path: path))
  }
}
