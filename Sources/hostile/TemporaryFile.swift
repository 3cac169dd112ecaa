import Glibc
import VMCore

/// A file that lives as long as this value. Its path follows from its name: a guest can read it in its command
/// line, and equal cases are to be equal guests.
struct TemporaryFile: ~Copyable {
  let path: String

  init(_ bytes: [UInt8], name: String) throws(VMError) {
    path = "/tmp/ringside-hostile-\(getpid())-\(name)"
    let descriptor = open(path, O_CREAT | O_EXCL | O_WRONLY, 0o600)
    guard descriptor >= 0 else {
      throw VMError(.host, "cannot make \(path) (errno \(errno))", remedy: "look at /tmp")
    }
    let written = write(descriptor, bytes, bytes.count)
    close(descriptor)
    guard written == bytes.count else {
      unlink(path)
      throw VMError(.host, "\(path): \(bytes.count) bytes cannot be written", remedy: "look at /tmp")
    }
  }

  deinit { unlink(path) }
}
