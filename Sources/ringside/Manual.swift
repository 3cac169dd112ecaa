import ArgumentParser
import Console
import Session

/// `ringside man`: the manual page, made from the same descriptors as help, completion and the key sheet.
struct Manual: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "man", abstract: "Print the manual page (ringside man | man -l -).")

  func run() throws { Output.standard(Self.page) }

  static var page: String {
    var page = ManualPage()
    page.raw(".TH RINGSIDE 1 \"\" \"ringside 0.1.0\" \"User Commands\"")
    page.section("NAME")
    page.text("ringside \\- a virtual machine monitor you can watch")
    page.section("DESCRIPTION")
    page.text(
      "Runs x86 guests and shows, in a terminal, every time the guest and the monitor hand over to each other: the vCPU's "
        + "registers, why the guest exited, its hypercalls, what its memory holds, with pause, step and breakpoints on everything.")
    page.section("OPTIONS")
    page.block(Run.helpMessage(includeHidden: false, columns: 78).replacing("USAGE: run", with: "USAGE: ringside [run]"))
    page.section("OTHER COMMANDS")
    page.block(Ringside.helpMessage(includeHidden: false, columns: 78))
    page.section("KEYS")
    for binding in KeyTable.bindings { page.item(binding.shown, binding.help + (binding.takesCount ? " (takes a count)" : "")) }
    for (keys, help) in KeyTable.paneKeys { page.item(keys, help) }
    page.section("COMMANDS")
    page.text("Typed after : in the console, given by -c, or in a file by --commands.")
    for group in CommandDescriptor.Group.allCases {
      page.subsection(group.rawValue)
      for command in CommandTable.all where command.group == group {
        let others = command.names.count > 1 ? " (also \(command.names.dropFirst().joined(separator: ", ")))" : ""
        page.item(command.usage, command.help + others)
      }
    }
    page.subsection("of the console alone")
    for word in ConsoleModel.words { page.item(word.arguments.isEmpty ? word.name : "\(word.name) \(word.arguments)", word.help) }
    page.section("SETTINGS")
    page.text("In config.toml; 'ringside config' prints a commented example.")
    for setting in SettingDescriptor.all { page.item("\(setting.name) = \(setting.example)", setting.help) }
    finish(&page)
    return page.source
  }

  private static func finish(_ page: inout ManualPage) {
    page.section("FILES")
    page.item("$XDG_CONFIG_HOME/ringside/config.toml", "settings; ~/.config without the variable")
    page.item("$XDG_CONFIG_HOME/ringside/themes, layouts", "themes and layouts of your own")
    page.item("$XDG_STATE_HOME/ringside/history", "commands typed; ~/.local/state without the variable")
    page.section("RECORDINGS")
    page.text(
      "--record FILE and 'trace start FILE' write a session into a file; 'ringside replay FILE' opens it, as does its name "
        + "alone. In it [ ] { } < > go from exit to exit, g to an exit by number, e E i h c to the next exit, exit of the "
        + "selected reason, interrupt, hypercall and stop, s and Backspace from event to event; / searches all events.")
    page.section("ENVIRONMENT")
    page.item("TERM, COLORTERM", "what the terminal is and whether it has true colour")
    page.item("NO_COLOR", "not empty: no colours")
    page.item("LC_ALL, LC_CTYPE, LANG", "UTF-8 draws lines and bars in Unicode, anything else in ASCII")
    page.item("RINGSIDE_DATA", "the folder that holds Samples and Themes")
    page.section("EXIT STATUS")
    page.text(
      "The guest's own with --headless (isa-debug-exit, value*2+1); 0 after an orderly shutdown, a reset or a halt with "
        + "interrupts off; 2 for what was typed wrong or cannot be loaded; 70 after a triple fault; 124 at --limit; 128 plus "
        + "a signal's number.")
  }
}

/// Text in man's language.
struct ManualPage {
  private(set) var source = ""

  mutating func raw(_ line: String) { source += line + "\n" }
  mutating func section(_ name: String) { raw(".SH \(name)") }
  mutating func subsection(_ name: String) { raw(".SS \(name)") }
  mutating func text(_ text: String) { raw(Self.escaped(text, keepsDash: text.contains("\\-"))) }
  mutating func item(_ head: String, _ body: String) {
    raw(".TP")
    raw(".B \(Self.escaped(head).replacing("\"", with: "\\(dq"))")
    raw(Self.escaped(body))
  }
  mutating func block(_ text: String) {
    raw(".nf")
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) { raw(Self.escaped(String(line))) }
    raw(".fi")
  }

  /// Backslashes, hyphens that are to stay hyphens, and lines that would be requests.
  private static func escaped(_ text: String, keepsDash: Bool = false) -> String {
    let safe = keepsDash ? text : text.replacing("\\", with: "\\e").replacing("-", with: "\\-")
    return safe.hasPrefix(".") || safe.hasPrefix("'") ? "\\&" + safe : safe
  }
}
