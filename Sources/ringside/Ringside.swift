import ArgumentParser
import Console
import Glibc
import Session
import VMCore

/// The program: `ringside [run] [GUEST]` and a few commands about it.
@main
struct Ringside: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ringside", abstract: "A virtual machine monitor you can watch.",
    discussion: "In the console: \(keys). 'ringside man' prints the manual.", version: "ringside 0.1.0",
    subcommands: [
      Run.self, Replay.self, Compare.self, CompareTechniques.self, Teach.self, ListLessons.self, ListSamples.self,
      ListThemes.self, ListEngines.self, ShowSettings.self, Manual.self, Doctor.self,
      Pictures.self,
    ], defaultSubcommand: Run.self)

  /// The keys of the line at the bottom, the most needed first.
  private static var keys: String {
    KeyTable.bindings.compactMap { binding in binding.line.map { (binding.keys[0].name, $0.word, $0.order) } }
      .sorted { $0.2 < $1.2 }.prefix(12).map { "\($0.0) \($0.1)" }.joined(separator: ", ")
  }

  /// Statuses of the process besides the guest's own.
  enum Status {
    static let usage: Int32 = 2
    static let tripleFault: Int32 = 70
    static let limit: Int32 = 124
  }

  static func main() {
    signal(SIGPIPE, SIG_IGN)
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      finish(error)
    }
  }

  /// Help and version go to standard output with 0, a guest's status is passed on, all else is one complaint
  /// with 2.
  private static func finish(_ error: any Error) -> Never {
    if let status = error as? ExitCode { Glibc.exit(status.rawValue) }
    if let host = error as? VMError {
      complain(host.description)
      Glibc.exit(Status.usage)
    }
    let text = fullMessage(for: error)
    if exitCode(for: error) == .success {
      print(text)
      Glibc.exit(0)
    }
    Output.error(text + "\n")
    Glibc.exit(Status.usage)
  }

  static func complain(_ text: String) { Output.error("ringside: \(text)\n") }
}

/// Unbuffered output.
enum Output {
  static func standard(_ text: String) { write(Array(text.utf8), to: STDOUT_FILENO) }
  static func error(_ text: String) { write(Array(text.utf8), to: STDERR_FILENO) }

  /// Writes all of it, unless the reader is gone.
  static func write(_ bytes: [UInt8], to descriptor: Int32) {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress?.advanced(by: done), bytes.count - done) }
      if count < 0, errno == EINTR || errno == EAGAIN { continue }
      if count <= 0 { return }
      done += count
    }
  }
}
