import Glibc
import VMCore

/// A file without a name of its own that lives as long as this value: the memory behind it, by a path in `/proc`.
struct TemporaryFile: ~Copyable {
  private let descriptor: Int32
  var path: String { "/proc/self/fd/\(descriptor)" }

  init(_ bytes: [UInt8]) throws(VMError) {
    var name = Array("/tmp/ringside-hostile-XXXXXX".utf8CString)
    descriptor = mkstemp(&name)
    guard descriptor >= 0 else { throw VMError(.host, "no temporary file (errno \(errno))", remedy: "look at /tmp") }
    unlink(name)
    guard write(descriptor, bytes, bytes.count) == bytes.count else {
      throw VMError(.host, "a temporary file of \(bytes.count) bytes cannot be written", remedy: "look at /tmp")
    }
  }

  deinit { close(descriptor) }
}
