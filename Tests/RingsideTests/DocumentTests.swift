import Foundation
import TerminalDriver
import Testing

/// Documents say what the program does.
@Suite("Documents", .serialized) struct DocumentTests {
  static let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")

  static func text(_ name: String) -> String { (try? String(contentsOfFile: "\(root)/\(name)", encoding: .utf8)) ?? "" }

  /// Fenced blocks of a kind: what stands after the fence, and the lines.
  static func blocks(_ kind: String) -> [(argument: String, lines: [String])] {
    var found: [(String, [String])] = []
    var current: (String, [String])?
    for line in text("Samples/tutorial.md").split(separator: "\n", omittingEmptySubsequences: false) {
      if let open = current {
        if line.hasPrefix("```") { found.append(open); current = nil } else { current = (open.0, open.1 + [String(line)]) }
      } else if line.hasPrefix("```\(kind)") {
        current = (line.dropFirst(3 + kind.count).trimmingCharacters(in: .whitespaces), [])
      }
    }
    return found
  }

  @Test("the tutorial's commands answer as it says", arguments: blocks("console").map(\.lines))
  func commands(_ lines: [String]) {
    var output = ""
    for line in lines {
      if line.hasPrefix("$ ringside") {
        let result = Shell.run(String(line.dropFirst(10)))
        #expect(result.status < 2, "\(line): \(result.errors)")
        output = result.output + result.errors
      } else if line != "..." {
        #expect(output.contains(line), "\(line) in\n\(output)")
      }
    }
  }

  @Test("the tutorial's keys show what it says", arguments: 0..<blocks("keys").count)
  func keys(_ index: Int) throws {
    let (guest, lines) = Self.blocks("keys")[index]
    let program = try DrivenTerminalTests.start([guest], width: 120, height: 40)
    #expect(program.waitFor("F1 help"))
    for line in lines {
      let parts = line.components(separatedBy: "  ").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
      guard parts.count == 2 else {
        Issue.record("expected a key and a text: \(line)")
        continue
      }
      program.type(Self.bytes(parts[0]))
      // An Escape is one when nothing follows for a moment.
      if parts[0] == "Esc" { usleep(100_000) }
      #expect(program.waitFor(parts[1]), "\(line)\n\(program.screen.text)")
    }
  }

  /// What a terminal sends for keys by name, or for a text as it stands.
  static func bytes(_ keys: String) -> String {
    if keys.hasPrefix(":") { return keys + "\r" }
    let named = ["F1": "\u{1B}OP", "F2": "\u{1B}OQ", "Esc": "\u{1B}", "Right": "\u{1B}[C", "End": "\u{1B}[F", "Space": " ", "Enter": "\r", "Backspace": "\u{7F}", "Del": "\u{1B}[3~"]
    return keys.split(separator: " ").map { named[String($0)] ?? String($0) }.joined()
  }

  @Test func `the manual has every command, key, option, setting and file`() {
    let page = Shell.run("man").output
    let plain = page.replacing("\\-", with: "-")
    for word in ["--headless", "--theme", "--layout", ".TH RINGSIDE 1", "config.toml", "NO_COLOR", "watch", "explain", "animation = ", "layout [NAME | save NAME]"] {
      #expect(plain.contains(word), "\(word)")
    }
    #expect(page.split(separator: "\n").filter { $0.hasPrefix(".") }.allSatisfy { line in
      [".TH", ".SH", ".SS", ".TP", ".B ", ".nf", ".fi"].contains { line.hasPrefix($0) }
    })
  }

  @Test func `config prints an example that says where it belongs`() {
    let result = Shell.run("config")
    #expect(result.status == 0 && result.output.contains("config.toml") && result.output.contains("[keys]"))
  }

  @Test func `pictures are drawn from the program`() throws {
    let path = "/tmp/ringside-picture-\(getpid()).md"
    defer { unlink(path) }
    try "a\n<!-- picture: hello-real 80x24 2e -->\n```\nold\n```\nb\n".write(toFile: path, atomically: true, encoding: .utf8)
    #expect(Shell.run("pictures \(path)").status == 0)
    let drawn = try String(contentsOfFile: path, encoding: .utf8)
    #expect(drawn.hasPrefix("a\n<!--") && drawn.hasSuffix("```\nb\n") && !drawn.contains("old"))
    #expect(drawn.contains("VM exit #1 (io)") && drawn.contains("REAL16"), "\(drawn)")
    #expect(Shell.run("pictures \(path)").status == 0)
    #expect(try String(contentsOfFile: path, encoding: .utf8) == drawn, "the same again")
  }
}
