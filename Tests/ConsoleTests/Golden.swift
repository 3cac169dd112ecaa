import Console
import Foundation
import TerminalUI
import Testing

/// Compares text with a recorded file; `RECORD_GOLDENS=1` records instead.
///
/// Host addresses differ from run to run and are masked.
func expectGolden(_ screen: String, _ name: String, sourceLocation: SourceLocation = #_sourceLocation) {
  let text = screen.replacing(/HVA [0-9a-f]{12}/, with: "HVA ------------")
  let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Goldens")
  let file = folder.appendingPathComponent(name + ".txt")
  if ProcessInfo.processInfo.environment["RECORD_GOLDENS"] == "1" {
    try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    #expect(throws: Never.self) { try text.write(to: file, atomically: true, encoding: .utf8) }
    return
  }
  guard let recorded = try? String(contentsOf: file, encoding: .utf8) else {
    Issue.record("no golden file \(name).txt; run with RECORD_GOLDENS=1", sourceLocation: sourceLocation)
    return
  }
  guard recorded != text else { return }
  let old = recorded.split(separator: "\n", omittingEmptySubsequences: false)
  let new = text.split(separator: "\n", omittingEmptySubsequences: false)
  let row = zip(old, new).enumerated().first { $1.0 != $1.1 }
  Issue.record(
    "\(name) differs from row \(row?.offset ?? min(old.count, new.count)) on:\n- \(row?.element.0 ?? "")\n+ \(row?.element.1 ?? "")",
    sourceLocation: sourceLocation)
}

/// Compares what the cells look like with a recorded file: in the default theme with 256 colours, and without colours.
///
/// A row of the screen is a row of the file: lengths of runs, each with the letter of its look (the legend stands
/// above), then `|` and the same without colours, where `-` is nothing, `b` bold, `u` underlined, `r` reversed.
func expectStyles(_ desk: Desk, _ name: String, sourceLocation: SourceLocation = #_sourceLocation) {
  expectGolden(StyledScreen(desk.shown).text, name + "-styles", sourceLocation: sourceLocation)
}

struct StyledScreen {
  private let buffer: CellBuffer
  private static let dark: Theme = (try? ThemeLibrary(directories: [Fixture.themes]).load("dark")) ?? .plain

  init(_ buffer: CellBuffer) { self.buffer = buffer }

  var text: String {
    var legend: [String] = []
    let rows = (0..<buffer.size.height).map { y in
      let colour = runs(y) { cell in
        let look = Self.words(Self.dark.style(of: cell, depth: .palette256))
        let index = legend.firstIndex(of: look) ?? legend.count
        if index == legend.count { legend.append(look) }
        return Self.letter(index)
      }
      let plain = runs(y) { Self.attributes(Self.dark.style(of: $0, depth: .monochrome).attributes) }
      return "\(colour) | \(plain)"
    }
    return (legend.enumerated().map { "\(Self.letter($0)) = \($1)" } + rows).joined(separator: "\n") + "\n"
  }

  private func runs(_ y: Int, _ look: (Cell) -> String) -> String {
    var parts: [(count: Int, look: String)] = []
    for x in 0..<buffer.size.width {
      let look = look(buffer[x, y])
      if parts.last?.look == look { parts[parts.count - 1].count += 1 } else { parts.append((1, look)) }
    }
    return parts.map { "\($0.count)\($0.look)" }.joined(separator: " ")
  }

  private static func letter(_ index: Int) -> String {
    let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return index < letters.count ? String(letters[index]) : "#\(index)"
  }

  private static func words(_ style: Style) -> String {
    func word(_ color: Color?) -> String {
      switch color {
      case .indexed(let index): "\(index)"
      case .rgb(let r, let g, let b): "\(r)/\(g)/\(b)"
      case .terminal, nil: "own"
      }
    }
    let attributes = attributes(style.attributes)
    return "\(word(style.foreground)) on \(word(style.background))" + (attributes == "-" ? "" : " \(attributes)")
  }

  private static func attributes(_ attributes: TextAttributes) -> String {
    let names: [(TextAttributes, String)] = [(.bold, "b"), (.dim, "d"), (.italic, "i"), (.underline, "u"), (.reverse, "r")]
    let text = names.filter { attributes.contains($0.0) }.map(\.1).joined()
    return text.isEmpty ? "-" : text
  }
}
