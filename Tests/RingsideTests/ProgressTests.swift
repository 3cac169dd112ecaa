import Foundation
import Glibc
import TerminalDriver
import Testing

@Suite("Progress of a headless run") struct ProgressTests {
  /// INC EAX; JMP back: runs until somebody ends it.
  private static func image() throws -> String {
    let path = "/tmp/ringside-\(UUID().uuidString)-spin.bin"
    try Data([0x40, 0xEB, 0xFD]).write(to: URL(fileURLWithPath: path))
    return path
  }

  private static let arguments = ["--headless", "--mode", "real"]

  @Test func `is one line on a terminal, written over itself and gone at the end`() throws {
    let path = try Self.image()
    defer { unlink(path) }
    let program = try DrivenTerminalTests.start(Self.arguments + [path])
    #expect(program.waitFor("M instructions, "))
    #expect(program.screen.rows.filter { $0.contains("MIPS") }.count == 1)
    program.signal(SIGINT)
    #expect(program.waitForEnd() == 128 + SIGINT)
    #expect(!program.screen.text.contains("MIPS"), "\(program.screen.text)")
  }

  @Test func `is silent into a pipe unless asked for, and can be turned off`() throws {
    let path = try Self.image()
    defer { unlink(path) }
    let limited = "--headless --mode real \(path) --limit 600000000"
    #expect(!Shell.run(limited).errors.contains("MIPS"))
    let asked = Shell.run("\(limited) --progress")
    #expect(asked.status == 124 && asked.errors.contains("M instructions, "), "\(asked.errors)")
    let program = try DrivenTerminalTests.start(Self.arguments + [path, "--no-progress"])
    program.take(milliseconds: 2500)
    #expect(!program.screen.text.contains("MIPS"))
  }
}
