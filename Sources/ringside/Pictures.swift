import ArgumentParser
import Console
import Session
import TerminalUI
import VMCore

/// `ringside pictures FILE...`: draws anew the screens in documents.
///
/// A line `<!-- picture: GUEST WIDTHxHEIGHT KEYS -->` before a fenced block says what the block shows: the console on
/// that guest after those keys. Keys are names (`F2`, `Enter`, `Space`) or texts typed as they stand (`10e`, `:walk`).
struct Pictures: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pictures", abstract: "Draw anew the screens in documents.", shouldDisplay: false)
  @Argument(help: "Markdown files.") var files: [String]

  func run() throws {
    for file in files {
      guard let text = HostFile.text(at: file) else { throw VMError(.usage, "\(file): no such text file") }
      let drawn = try Self.redrawn(text)
      if drawn != text, !HostFile.write(drawn, to: file) { throw VMError(.usage, "\(file): cannot be written") }
    }
  }

  private static func redrawn(_ text: String) throws -> String {
    var lines: [String] = []
    var request: Substring?
    var isInside = false
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("```"), let asked = request {
        lines.append(String(line))
        lines += try Picture(asked).draw()
        request = nil
        isInside = true
        continue
      }
      if isInside, !line.hasPrefix("```") { continue }
      isInside = false
      if line.hasPrefix("<!-- picture:"), line.hasSuffix("-->") { request = line.dropFirst(13).dropLast(3) }
      lines.append(String(line))
    }
    return lines.joined(separator: "\n")
  }
}

/// One screen of the console.
struct Picture {
  private let guest: String
  private let size: TerminalUI.Size
  private let keys: [String]

  init(_ request: Substring) throws(VMError) {
    let words = request.split(separator: " ").map(String.init)
    let numbers = words.count > 1 ? words[1].split(separator: "x").compactMap { Int($0) } : []
    guard numbers.count == 2 else { throw VMError(.usage, "picture:\(request): expected GUEST WIDTHxHEIGHT KEYS") }
    guest = words[0]
    size = TerminalUI.Size(width: numbers[0], height: numbers[1])
    keys = Array(words.dropFirst(2))
  }

  func draw() throws(VMError) -> [String] {
    var configuration = SessionConfiguration()
    configuration.guest = guest
    let session = try Session(configuration)
    session.start()
    defer { session.stop() }
    let model = ConsoleModel(session: session, theme: .plain, themes: ThemeLibrary(directories: []), layout: .standard)
    let terminal = MemoryTerminal(size: size, glyphs: .unicode)
    Self.show(model, terminal)
    for key in keys {
      for stroke in Key(name: key).map({ [$0] }) ?? key.unicodeScalars.map({ Key($0) }) { _ = model.handle(.key(stroke)) }
      guard session.waitForAnswers(timeout: 10_000) else {
        throw VMError(.usage, "picture: \(guest) runs on after \(key)")
      }
      model.update()
      Self.show(model, terminal)
    }
    return terminal.text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
  }

  private static func show(_ model: ConsoleModel, _ terminal: MemoryTerminal) {
    let buffer = CellBuffer(terminal.size)
    let cursor = model.draw(on: buffer, glyphs: terminal.glyphs)
    _ = terminal.present(buffer, theme: model.theme, cursor: cursor)
  }
}
