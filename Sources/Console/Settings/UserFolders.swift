/// Where a person's files lie, by the XDG base directory specification.
package struct UserFolders: Sendable {
  package let configuration: String?
  package let state: String?

  /// `XDG_CONFIG_HOME` and `XDG_STATE_HOME` count if absolute, else they lie in `HOME`.
  package init(environment: [String: String]) {
    func folder(_ variable: String, _ fallback: String) -> String? {
      if let given = environment[variable], given.hasPrefix("/") { return "\(given)/ringside" }
      return environment["HOME"].flatMap { !$0.hasPrefix("/") ? nil : "\($0)/\(fallback)/ringside" }
    }
    configuration = folder("XDG_CONFIG_HOME", ".config")
    state = folder("XDG_STATE_HOME", ".local/state")
  }

  package var settings: String? { configuration.map { "\($0)/config.toml" } }
  package var layouts: String? { configuration.map { "\($0)/layouts" } }
  package var themes: String? { configuration.map { "\($0)/themes" } }
  package var history: String? { state.map { "\($0)/history" } }
}
