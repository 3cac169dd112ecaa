import ArgumentParser
import Console
import Session
import VMCore

/// `ringside samples`
struct ListSamples: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "samples", abstract: "List the guests that come along, or say what one shows and what to try with it.")
  @Argument(help: "One of them.") var name: String?
  @Flag(help: "As JSON.") var json = false

  func run() throws {
    if let name { return show(try SampleLibrary.known(name)) }
    let samples = SampleLibrary.samples()
    if json { return print(JSONValue.array(samples.map(Self.value)).text) }
    guard !samples.isEmpty else {
      throw VMError(
        .unavailable, "no samples found in \(SampleLibrary.dataFolders.joined(separator: ", "))",
        remedy: "set RINGSIDE_DATA to the folder that holds Samples and Themes")
    }
    let width = samples.map(\.name.count).max() ?? 0
    for sample in samples { print(pad(sample.name, width) + "  " + sample.title) }
    print("\n'ringside NAME' opens one, 'ringside samples NAME' says what to try with it.")
  }

  private func show(_ sample: Sample) {
    if json { return print(Self.value(sample).text) }
    print(sample.title)
    if !sample.shows.isEmpty { print("shows  \(sample.shows)") }
    if !sample.advice.isEmpty { print("try    \(sample.advice)") }
    print("read   \(sample.folder)/README.md")
  }

  private static func value(_ sample: Sample) -> JSONValue {
    .members(
      ("name", .string(sample.name)), ("title", .string(sample.title)),
      ("image", .string("\(sample.folder)/\(sample.image)")), ("shows", .string(sample.shows)),
      ("try", .string(sample.advice)))
  }
}

/// `ringside themes`
struct ListThemes: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "themes", abstract: "List the console's themes.")

  func run() throws {
    let own = UserFolders(environment: Run.environment).themes
    let themes = ThemeLibrary(directories: [own].compactMap { $0 } + SampleLibrary.dataFolders.map { "\($0)/Themes" })
    guard !themes.names.isEmpty else {
      throw VMError(
        .unavailable, "no themes found in \(SampleLibrary.dataFolders.joined(separator: ", "))",
        remedy: "set RINGSIDE_DATA to the folder that holds Samples and Themes")
    }
    for name in themes.names { print(own.map { HostFile.exists("\($0)/\(name).toml") } == true ? "\(name)  (your own)" : name) }
  }
}

/// `ringside engines`
struct ListEngines: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "engines", abstract: "List the ways of executing a guest, what each can do, and how fast it is here.")
  @Flag(help: "As JSON.") var json = false

  func run() throws {
    let reports = EngineReport.all()
    if json {
      print(JSONValue.array(reports.map { value($0) }).text)
      return
    }
    for report in reports {
      if let why = report.unavailable {
        print("\(report.name): \(why)")
        continue
      }
      if report.capabilities.contains(.instructionBudget) {
        print("\(report.name): \(Int(report.mips)) million instructions a second, measured now with")
        print("  \(EngineReport.measuredWith)")
      } else {
        print("\(report.name): instructions are not counted on this engine")
      }
      for capability in EngineCapabilities.allCases {
        print("  \(report.capabilities.contains(capability) ? "yes" : "no ")  \(capability.name)")
      }
      guard !report.traits.isEmpty else { continue }
      print("  found out about this host:")
      for trait in report.traits { print("  \(trait.holds ? "yes" : "no ")  \(pad(trait.name, 20))\(trait.explanation)") }
    }
  }

  private func value(_ report: EngineReport) -> JSONValue {
    .members(
      ("name", .string(report.name)), ("available", .bool(report.unavailable == nil)),
      ("why", report.unavailable.map { .string($0) } ?? .null), ("mips", .real(report.mips)),
      ("measuredWith", .string(EngineReport.measuredWith)),
      ("capabilities", .strings(EngineCapabilities.allCases.filter { report.capabilities.contains($0) }.map(\.name))),
      ("traits", .object(report.traits.map { .init($0.name, .bool($0.holds)) })))
  }
}

/// `text` with spaces up to `width`.
func pad(_ text: String, _ width: Int) -> String {
  text + String(repeating: " ", count: max(width - text.count, 0))
}
