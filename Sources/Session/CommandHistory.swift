import Glibc
import Synchronization

/// Commands typed so far. Safe from any thread. With a path, kept in a file between sessions.
package final class CommandHistory: Sendable {
  private let kept: Mutex<[String]>
  private let path: String?
  private static let limit = 1000

  /// Reads what is at `path`; a file that cannot be read is an empty history.
  package init(path: String? = nil) {
    self.path = path
    let text = path.flatMap { HostFile.text(at: $0, limit: 1 << 20) } ?? ""
    kept = Mutex(text.split(separator: "\n").suffix(Self.limit).map(String.init))
  }

  /// Oldest first.
  package var lines: [String] { kept.withLock { $0 } }

  /// Adds a line; empty ones and an immediate repetition are left out.
  package func add(_ line: String) {
    kept.withLock { lines in
      guard !line.isEmpty, lines.last != line else { return }
      lines.append(line)
      if lines.count > Self.limit { lines.removeFirst(lines.count - Self.limit) }
    }
  }

  /// Writes the history to its file, whose folders are made where they are missing; a failure only loses the
  /// history.
  package func save() {
    let lines = lines
    guard let path, !lines.isEmpty else { return }
    HostFile.makeFolder(for: path)
    HostFile.write(lines.joined(separator: "\n") + "\n", to: path)
  }
}
