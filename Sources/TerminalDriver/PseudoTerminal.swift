import Glibc
import Host
import Synchronization

/// A pseudo-terminal whose output is kept as it comes, in a thread of its own: for programs that are not driven but
/// only looked at afterwards.
package final class PseudoTerminal: Sendable {
  private let pair: TerminalPair
  private let bytes = Mutex<[UInt8]>([])

  package init?(width: Int = 80, height: Int = 24) {
    guard let pair = TerminalPair(width: width, height: height) else { return nil }
    self.pair = pair
    guard let reader = HostThread({ self.readAll() }) else { return nil }
    reader.detach()
  }

  private func readAll() {
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = read(pair.master, &buffer, buffer.count)
      guard count > 0 else { return }
      bytes.withLock { $0 += buffer[..<count] }
    }
  }

  package var path: String { pair.path }
  package var isCooked: Bool { pair.isCooked }
  package var settings: [UInt8] { pair.settings }

  /// Everything the program wrote, once it has been quiet for a moment.
  package var output: String {
    usleep(50_000)
    return String(decoding: bytes.withLock { $0 }, as: UTF8.self)
  }

  package func type(_ text: String) { _ = write(pair.master, text, text.utf8.count) }

  /// Waits until `text` was written behind the first `after` bytes; false after 20 seconds.
  package func waits(for text: String, after: Int = 0) -> Bool {
    for _ in 0..<400 {
      if String(decoding: output.utf8.dropFirst(after), as: UTF8.self).contains(text) { return true }
    }
    return false
  }

  /// In the child: makes the terminal at `path` standard input and output.
  package static func adopt(_ path: String) {
    let descriptor = open(path, O_RDWR | O_NOCTTY)
    dup2(descriptor, STDIN_FILENO)
    dup2(descriptor, STDOUT_FILENO)
  }
}
