import Foundation
import Testing

/// The two doors of the house that stay shut, read from the sources themselves.
@Suite struct HouseTests {
  private static let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Sources")

  /// The modules a target's files import.
  private static func imports(of target: String) throws -> Set<String> {
    var found: Set<String> = []
    let folder = sources.appendingPathComponent(target)
    let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
    while let file = files?.nextObject() as? URL {
      guard file.pathExtension == "swift" else { continue }
      for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
        let words = line.split(separator: " ")
        guard let at = words.firstIndex(of: "import"), at <= 1, at + 1 < words.count else { continue }
        found.insert(String(words[at + 1]))
      }
    }
    return found
  }

  @Test("an engine cannot see a platform, nor a platform an engine")
  func enginesAndPlatformsAreStrangers() throws {
    let engines = try Self.imports(of: "Engines")
    #expect(engines.contains("VMCore"), "the imports were not read")
    #expect(engines.isDisjoint(with: ["Machine", "Debugger", "Session", "Console", "TerminalUI"]))
    let machine = try Self.imports(of: "Machine")
    #expect(machine.contains("VMCore"), "the imports were not read")
    #expect(machine.isDisjoint(with: ["Engines", "Debugger", "Session", "Console", "TerminalUI"]))
    let xen = try Self.imports(of: "Paravirtual")
    #expect(xen == ["VMCore", "X86"])
  }

  @Test("nothing below the console can see the terminal", arguments: [
    "X86", "VMCore", "Engines", "Machine", "Paravirtual", "Debugger", "Session",
  ])
  func theTerminalIsOutOfSight(target: String) throws {
    let seen = try Self.imports(of: target)
    #expect(!seen.isEmpty || target == "X86", "the imports were not read")
    #expect(seen.isDisjoint(with: ["TerminalUI", "Console", "CNcurses"]))
  }

  @Test("the terminal knows nothing of VMs")
  func theTerminalKnowsNoVMs() throws {
    let seen = try Self.imports(of: "TerminalUI")
    #expect(seen.isDisjoint(with: ["X86", "VMCore", "Engines", "Machine", "Debugger", "Session", "Console"]))
  }

  @Test("the hot modules do without Foundation", arguments: ["X86", "VMCore", "Engines", "Machine", "Paravirtual"])
  func noFoundation(target: String) throws {
    #expect(!(try Self.imports(of: target)).contains("Foundation"))
  }
}
