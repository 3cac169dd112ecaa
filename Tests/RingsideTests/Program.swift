import Foundation
import Testing

/// Runs the built program and gives what it printed.
struct Program {
  var status: Int32
  var output: String
  var errors: String

  static var path: String {
    var directory = Bundle.main.executableURL?.deletingLastPathComponent() ?? URL(fileURLWithPath: ".")
    for _ in 0..<4 {
      let candidate = directory.appendingPathComponent("ringside")
      if FileManager.default.isExecutableFile(atPath: candidate.path) { return candidate.path }
      directory.deleteLastPathComponent()
    }
    return ".build/release/ringside"
  }

  static func run(_ arguments: [String], input: String = "") throws -> Program {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    let output = Pipe()
    let errors = Pipe()
    let feed = Pipe()
    process.standardOutput = output
    process.standardError = errors
    process.standardInput = feed
    try process.run()
    feed.fileHandleForWriting.write(Data(input.utf8))
    try feed.fileHandleForWriting.close()
    let printed = output.fileHandleForReading.readDataToEndOfFile()
    let complained = errors.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return Program(
      status: process.terminationStatus, output: String(decoding: printed, as: UTF8.self),
      errors: String(decoding: complained, as: UTF8.self))
  }
}

@Suite struct CommandLineTests {
  @Test func `a guest that is not there is one line and status 2`() throws {
    let result = try Program.run(["--headless", "/no/such/guest"])
    #expect(result.status == 2)
    #expect(result.output.isEmpty)
    #expect(result.errors.contains("/no/such/guest"))
  }
}
