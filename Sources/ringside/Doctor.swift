import ArgumentParser
import Console
import Glibc
import Session
import VMCore

/// `ringside doctor`: what the program finds around it, and what to do where something is missing.
struct Doctor: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Check the surroundings and say what to do where something is missing.")

  private struct Finding {
    var isGood: Bool
    var text: String
    var remedy = ""
  }

  func run() throws {
    let findings = [terminal, terminalType, locale, settings, kvm, samples, themes]
    for finding in findings {
      print("\(finding.isGood ? "ok  " : "look") \(finding.text)")
      if !finding.isGood, !finding.remedy.isEmpty { print("       \(finding.remedy)") }
    }
  }

  private var terminal: Finding {
    guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1 else {
      return Finding(
        isGood: false, text: "standard input and output are not a terminal",
        remedy: "the console needs one; --headless works without")
    }
    var size = winsize()
    _ = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size)
    let isLarge = size.ws_col >= 80 && size.ws_row >= 24
    return Finding(
      isGood: isLarge, text: "terminal of \(size.ws_col)x\(size.ws_row)", remedy: "the console works from 20x5 on and is at home from 80x24")
  }

  private var terminalType: Finding {
    let type = getenv("TERM").map { String(cString: $0) } ?? ""
    let folders = ["/usr/share/terminfo", "/lib/terminfo", "/etc/terminfo", "/usr/lib/terminfo"]
    let isKnown = type.first.map { first in folders.contains { HostFile.exists("\($0)/\(first)/\(type)") } } ?? false
    return Finding(
      isGood: isKnown, text: type.isEmpty ? "TERM is not set" : "TERM=\(type)" + (isKnown ? "" : ", without a description here"),
      remedy: "set TERM to what your terminal is, or install ncurses-term")
  }

  private var locale: Finding {
    let variables: [String] = ["LC_ALL", "LC_CTYPE", "LANG"]
    let values = variables.compactMap { (name: String) in getenv(name).map { String(cString: $0) } }
    let name = values.first { !$0.isEmpty } ?? "C"
    let isUTF8 = name.lowercased().contains("utf-8") || name.lowercased().contains("utf8")
    return Finding(isGood: isUTF8, text: "locale \(name)", remedy: "a UTF-8 locale draws lines and bars: LC_ALL=C.UTF-8")
  }

  private var settings: Finding {
    guard let path = UserFolders(environment: Run.environment).settings else {
      return Finding(isGood: true, text: "no settings: HOME is not set")
    }
    let complaints = SettingsFile.load(path: path).complaints
    guard complaints.isEmpty else {
      return Finding(isGood: false, text: complaints.joined(separator: "\n     "), remedy: "'ringside config' prints an example")
    }
    return Finding(isGood: true, text: HostFile.exists(path) ? "settings in \(path)" : "no settings file (\(path)): defaults")
  }

  private var kvm: Finding {
    if let refusal = EngineReport.refusal(of: "kvm") {
      return Finding(isGood: false, text: refusal.message, remedy: refusal.remedy ?? "")
    }
    let missing = EngineReport.traits(of: "kvm").filter { !$0.holds }.map(\.name)
    let what = missing.isEmpty ? "with the processor's own virtualization" : "a software KVM; it lacks \(missing.joined(separator: ", "))"
    return Finding(isGood: true, text: "/dev/kvm works (--engine kvm): \(what)")
  }

  private var samples: Finding {
    let names = SampleLibrary.samples().map(\.name)
    return Finding(
      isGood: !names.isEmpty, text: names.isEmpty ? "no samples found" : "\(names.count) samples in \(SampleLibrary.folder("Samples") ?? "")",
      remedy: "set RINGSIDE_DATA to the folder that holds Samples and Themes")
  }

  private var themes: Finding {
    let names = SampleLibrary.themes()
    return Finding(
      isGood: !names.isEmpty, text: names.isEmpty ? "no themes found" : "themes: \(names.joined(separator: ", "))",
      remedy: "set RINGSIDE_DATA to the folder that holds Samples and Themes")
  }
}
