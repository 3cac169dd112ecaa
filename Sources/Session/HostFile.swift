import Glibc
import VMCore

/// Files of the host, read and written whole.
package enum HostFile {
  /// The bytes of a file; the error names it and says what is wrong. Larger files than `limit` are refused
  /// before anything is read.
  package static func bytes(at path: String, limit: Int = 1 << 30) throws(VMError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw VMError(.image, "\(path): \(String(cString: strerror(errno)))", remedy: "check the path")
    }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw VMError(.image, "\(path): not a regular file; expected a guest image or a data file")
    }
    guard status.st_size <= limit else {
      throw VMError(.image, "\(path): has \(status.st_size) bytes; expected at most \(limit)")
    }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    var filled = 0
    while filled < bytes.count {
      let count = bytes.withUnsafeMutableBytes { buffer in
        read(descriptor, buffer.baseAddress?.advanced(by: filled), buffer.count - filled)
      }
      guard count > 0 else { break }
      filled += count
    }
    return Array(bytes.prefix(filled))
  }

  /// A text file's content; nil where there is none or it is not UTF-8.
  package static func text(at path: String, limit: Int = 1 << 24) -> String? {
    guard let bytes = try? bytes(at: path, limit: limit) else { return nil }
    return String(validating: bytes, as: UTF8.self)
  }

  /// Writes a text; whether it worked.
  @discardableResult
  package static func write(_ text: String, to path: String) -> Bool {
    guard let file = fopen(path, "w") else { return false }
    let count = text.utf8.count
    let written = text.withCString { fwrite($0, 1, count, file) }
    return fclose(file) == 0 && written == count
  }

  /// Makes the folders that lead to a file, for the person alone, as far as they are missing.
  package static func makeFolder(for path: String) {
    var folder = ""
    for part in path.split(separator: "/").dropLast() {
      folder += "/\(part)"
      mkdir(folder, 0o700)
    }
  }

  package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  /// Names in a folder, sorted; empty where there is none.
  package static func names(in folder: String) -> [String] {
    guard let directory = opendir(folder) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  package static func isFolder(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }
}
