import Glibc
import VMCore

/// Writes every event as a line of JSON to a file or to standard output, without loss.
///
/// Invariant for the unsafe part: `file` is open from `init` to `deinit`, and touched by one thread.
package final class EventRecorder {
  private let file: UnsafeMutablePointer<FILE>
  private let isStandardOutput: Bool
  package private(set) var recorded: UInt64 = 0
  /// A write failed (disk full, reader gone): what came after is lost, and this says so.
  package private(set) var failed = false
  package let path: String
  /// Instruction counts of exits are to be written.
  package var countsInstructions = true

  /// `-` is standard output.
  package init(path: String) throws(VMError) {
    self.path = path
    isStandardOutput = path == "-"
    let opened = isStandardOutput ? fdopen(dup(1), "w") : fopen(path, "w")
    guard let opened else {
      throw VMError(
        .usage, "\(path): cannot be written (\(String(cString: strerror(errno))))",
        remedy: "name a file in a folder that exists, or - for standard output")
    }
    file = opened
  }

  deinit { fclose(file) }

  package func record(_ event: Event) {
    var line = EventJSON.value(of: event, counts: countsInstructions).text
    line += "\n"
    let size = line.utf8.count
    let written = line.withCString { fwrite($0, 1, size, file) }
    if written != size { failed = true }
    recorded &+= 1
  }

  /// A line that is no event: the guest is elsewhere without having run there.
  func note(_ text: String, at count: UInt64) {
    let line = JSONValue.members(("kind", .string("jump")), ("icount", .number(count)), ("what", .string(text))).text + "\n"
    let size = line.utf8.count
    if line.withCString({ fwrite($0, 1, size, file) }) != size { failed = true }
  }

  package func flush() { if fflush(file) != 0 { failed = true } }
}
