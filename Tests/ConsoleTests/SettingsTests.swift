import Console
import TerminalUI
import Testing

struct SettingsTests {
  @Test func `every setting is taken`() {
    let (settings, complaints) = SettingsFile.parse(
      """
      theme = "light"
      layout = "monitor"
      unicode = "never"
      mouse = false
      animation = [1, 5]
      startup = ["info engine"]
      [aliases]
      rr = "info regs"
      [keys]
      step = ["S", "Ctrl-t"]
      run = "F6"
      """, name: "c")
    #expect(complaints.isEmpty, "\(complaints)")
    #expect(settings.theme == "light" && settings.layout == "monitor" && settings.unicode == false && !settings.mouse)
    #expect(settings.speeds == [1, 5] && settings.startup == ["info engine"])
    #expect(settings.aliases.map(\.command) == ["info regs"])
    #expect(settings.keys.binding(for: Key("S"))?.action == .step)
    #expect(settings.keys.binding(for: .control("t"))?.action == .step)
    #expect(settings.keys.binding(for: Key("s")) == nil)
    #expect(settings.keys.binding(for: Key(.function(6)))?.action == .run)
  }

  @Test("a broken setting is one clear line and never fatal", arguments: [
    ("theme = 3", "c: theme: expected a text in quotes"), ("them = \"x\"", "c: them: no such setting; did you mean 'theme'?"),
    ("mouse = \"yes\"", "c: mouse: expected true or false"), ("unicode = \"maybe\"", "expected \"auto\", \"always\" or \"never\""),
    ("animation = [0]", "c: animation: expected numbers from 1 to 1000"), ("startup = \"x\"", "c: startup: expected texts"),
    ("[keys]\nstpe = [\"s\"]", "keys: stpe: no such action; did you mean 'step'?"),
    ("[keys]\nstep = [\"Hyper-s\"]", "no key 'Hyper-s'"), ("[keys]\nstep = [\"3\"]", "digits are pane numbers"),
    ("[aliases]\na = 1", "aliases: a: expected a command"), ("theme = ", "c:1:"),
  ])
  func broken(_ text: String, _ expected: String) {
    let (settings, complaints) = SettingsFile.parse(text + (text.hasPrefix("[") ? "" : "\nlayout = \"guest\""), name: "c")
    #expect(complaints.count == 1 && complaints[0].contains(expected) && !complaints[0].contains("\n"), "\(complaints)")
    if !text.hasPrefix("["), text != "theme = " { #expect(settings.layout == "guest", "what is good counts") }
  }

  @Test func `the example shows every setting and every action and is itself good`() {
    let example = SettingsFile.example(path: "p")
    for setting in SettingDescriptor.all { #expect(example.contains(setting.name) && example.contains(setting.help)) }
    for binding in KeyTable.bindings { #expect(example.contains("# \(binding.name) = [")) }
    #expect(SettingsFile.parse(example, name: "e").complaints.isEmpty)
    let awake = example.split(separator: "\n").map { $0.hasPrefix("# ") && $0.contains(" = [") ? $0.dropFirst(2) : $0 }.joined(separator: "\n")
    #expect(SettingsFile.parse(awake, name: "e").complaints.isEmpty, "\(SettingsFile.parse(awake, name: "e").complaints)")
  }

  @Test func `rebound keys are in the key sheet and on the key line`() throws {
    var keys = KeyMap.standard
    keys.rebind("step", to: [Key("S")])
    let session = FakeSession(try Fixture.realMode())
    let model = ConsoleModel(session: session, theme: .plain, themes: ThemeLibrary(directories: []), layout: .standard, keys: keys)
    let buffer = CellBuffer(Size(width: 80, height: 24))
    _ = model.draw(on: buffer, glyphs: .ascii)
    #expect(buffer.text(row: 23).contains("S step"))
    _ = model.handle(.key(Key("S")))
    #expect(session.submitted == ["step"])
  }

  @Test func `XDG folders count if absolute, else they lie in HOME`() {
    #expect(UserFolders(environment: ["HOME": "/h"]).settings == "/h/.config/ringside/config.toml")
    #expect(UserFolders(environment: ["HOME": "/h", "XDG_CONFIG_HOME": "/c"]).settings == "/c/ringside/config.toml")
    #expect(UserFolders(environment: ["HOME": "/h", "XDG_STATE_HOME": "rel"]).history == "/h/.local/state/ringside/history")
    #expect(UserFolders(environment: [:]).settings == nil)
  }
}
