import Glibc
import Machine
import VMCore

/// What `--disk FILE[,ro]` says.
package struct DiskChoice: Equatable {
  package var path: String
  package var isReadOnly: Bool

  /// A comma in a file's name is only the option's where "ro" follows.
  package init(_ text: String) {
    isReadOnly = text.hasSuffix(",ro")
    path = isReadOnly ? String(text.dropLast(3)) : text
  }
}

/// A disk image in a file of the host, locked while it is open: one guest may write to it, or several read.
///
/// The descriptor is open from `init` to `deinit`.
package final class HostDisk: DiskFile {
  package let name: String
  package let size: UInt64
  package let isReadOnly: Bool
  private let descriptor: Int32
  /// Buffers that one system call takes (IOV_MAX).
  private static let mostBuffers = 1024
  private static let largest: UInt64 = 1 << 50

  package init(_ choice: DiskChoice) throws(VMError) {
    name = choice.path
    isReadOnly = choice.isReadOnly
    descriptor = open(name, (isReadOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC)
    guard descriptor >= 0 else {
      let cannotWrite = !isReadOnly && (errno == EACCES || errno == EROFS || errno == EPERM)
      throw VMError(
        .image, "--disk \(name): \(String(cString: strerror(errno)))",
        remedy: cannotWrite ? "--disk \(name),ro only reads it" : "check the path")
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw VMError(.image, "--disk \(name): not a regular file; expected a raw disk image")
    }
    let size = UInt64(clamping: status.st_size)
    guard size > 0, size <= Self.largest else {
      close(descriptor)
      throw VMError(
        .image, "--disk \(name): has \(size) bytes; expected 1 byte to 1 PiB", remedy: "truncate -s 1G \(name) makes an empty disk")
    }
    guard flock(descriptor, (isReadOnly ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 else {
      close(descriptor)
      throw VMError(
        .image, "--disk \(name): in use: another guest has it\(isReadOnly ? " to write to" : "")",
        remedy: "end that one; several guests can have it at once where all say --disk \(name),ro")
    }
    self.size = size
    var start = [UInt8](repeating: 0, count: 512)
    let isRead = start.withUnsafeMutableBytes { read(at: 0, into: [$0]) }
    if isRead, let foreign = ForeignFormat.ofDisk(start) {
      throw VMError(.image, "--disk \(name): \(foreign.name); expected a raw disk image", remedy: foreign.remedy)
    }
  }

  deinit { close(descriptor) }

  package func read(at offset: UInt64, into buffers: [UnsafeMutableRawBufferPointer]) -> Bool {
    let vectors = buffers.filter { $0.count > 0 }.map { iovec(iov_base: $0.baseAddress, iov_len: $0.count) }
    return transfer(vectors, offset, atEnd: { Self.fill($0) }) { preadv(descriptor, $0, $1, $2) }
  }

  package func write(at offset: UInt64, from buffers: [UnsafeRawBufferPointer]) -> Bool {
    let vectors = buffers.filter { $0.count > 0 }.map {
      iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count)
    }
    return transfer(vectors, offset, atEnd: { _ in false }) { pwritev(descriptor, $0, $1, $2) }
  }

  package func sync() -> Bool { fdatasync(descriptor) == 0 }

  /// Repeats `call` until all is done: it may do less than asked, or be interrupted. `atEnd` deals with what is left
  /// where it does nothing.
  private func transfer(
    _ all: [iovec], _ offset: UInt64, atEnd: (ArraySlice<iovec>) -> Bool,
    _ call: (UnsafePointer<iovec>?, Int32, off_t) -> Int
  ) -> Bool {
    var left = all[...]
    var at = off_t(offset)
    while !left.isEmpty {
      let count = left.prefix(Self.mostBuffers).withUnsafeBufferPointer { call($0.baseAddress, Int32($0.count), at) }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { return false }
      if count == 0 { return atEnd(left) }
      at += off_t(count)
      Self.drop(count, from: &left)
    }
    return true
  }

  private static func drop(_ count: Int, from vectors: inout ArraySlice<iovec>) {
    var count = count
    while let first = vectors.first, count >= first.iov_len {
      count -= first.iov_len
      vectors.removeFirst()
    }
    guard count > 0, let first = vectors.first else { return }
    vectors[vectors.startIndex] = iovec(iov_base: first.iov_base + count, iov_len: first.iov_len - count)
  }

  /// Behind the file's end there are zeros.
  private static func fill(_ vectors: ArraySlice<iovec>) -> Bool {
    for vector in vectors { memset(vector.iov_base, 0, vector.iov_len) }
    return true
  }
}
