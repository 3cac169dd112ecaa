import CZlib
import Glibc
import Host
import Synchronization
import VMCore

/// A piece of a recording that can be read by itself.
struct RecordingChunk: Sendable {
  enum Kind: UInt32 { case header = 0, records = 1 }
  var kind = Kind.records
  var events: UInt32 = 0
  var exits: UInt32 = 0
  var bytes: [UInt8] = []

  /// Before each chunk: eight 32-bit words, the last a checksum of the others.
  static let prefixSize = 32
  static let mark: UInt32 = 0x4B4E_4843
  /// Unpacked bytes of a chunk at most; a header with its symbols may have more.
  static let limit = 4 << 20
  static let headerLimit = 64 << 20
  /// A chunk is closed when it has so many.
  static let size = 1 << 20

  static func checksum(_ bytes: [UInt8]) -> UInt32 {
    UInt32(truncatingIfNeeded: bytes.withUnsafeBufferPointer { crc32(0, $0.baseAddress, uInt($0.count)) })
  }

  /// As it lies in the file; nil if it could not be packed.
  func packed() -> [UInt8]? {
    var length = compressBound(uLong(bytes.count))
    var stored = [UInt8](repeating: 0, count: Int(length))
    // The fastest level: what is recorded is small differences, on which more work gains little.
    guard compress2(&stored, &length, bytes, uLong(bytes.count), 1) == Z_OK else { return nil }
    stored.removeLast(stored.count - Int(length))
    var out = ByteWriter(capacity: stored.count + Self.prefixSize)
    let sizes = [UInt32(stored.count), UInt32(bytes.count)]
    for word in [Self.mark, kind.rawValue] + sizes + [events, exits, Self.checksum(stored)] { out.put(fixed: word) }
    out.put(fixed: Self.checksum(out.bytes))
    out.put(raw: stored)
    return out.bytes
  }

  static func unpacked(_ stored: [UInt8], size: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: size)
    var length = uLong(size)
    guard uncompress(&bytes, &length, stored, uLong(stored.count)) == Z_OK, Int(length) == size else { return nil }
    return bytes
  }
}

/// A recording's file as it grows. Chunks are packed and written by a thread of its own, so that the guest waits
/// only where it is faster than the disk: at most `room` chunks wait.
///
/// Invariant for the unchecked part: what both threads change is atomic or for who holds the monitor; the descriptor
/// lives from `init` to `deinit`, and the thread ends before.
final class ChunkFile: @unchecked Sendable {
  private let descriptor: Int32
  private let written = Atomic<UInt64>(0)
  private let isBroken = Atomic<Bool>(false)
  private let monitor = HostMonitor()
  private var queue: [RecordingChunk] = []
  /// Chunks given and not yet in the file.
  private var outstanding = 0
  private var isClosing = false
  private var thread: HostThread?
  private static let room = 4

  init(path: String) throws(VMError) {
    descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw VMError(
        .usage, "\(path): cannot be written (\(String(cString: strerror(errno))))",
        remedy: "name a file in a folder that exists")
    }
    var start = ByteWriter()
    start.put(raw: RecordingHeader.magic)
    start.put(fixed: RecordingHeader.version)
    start.put(fixed: 0)
    append(start.bytes)
  }

  deinit { close() }

  /// Bytes in the file.
  var size: UInt64 { written.load(ordering: .relaxed) }
  /// A write failed: what came after is missing.
  var failed: Bool { isBroken.load(ordering: .relaxed) }

  /// Puts a chunk on its way. With `waits` it and all before it have reached the file afterwards: what the process
  /// loses when it is killed then is nothing.
  func put(_ chunk: RecordingChunk, waits: Bool) {
    monitor.take()
    defer { monitor.give() }
    if outstanding == 0, waits || !hasThread() { return write(chunk) }
    while outstanding >= Self.room { monitor.wait() }
    queue.append(chunk)
    outstanding += 1
    monitor.wakeAll()
    while waits, outstanding > 0 { monitor.wait() }
  }

  private func write(_ chunk: RecordingChunk) {
    guard !failed, let bytes = chunk.packed() else { return }
    append(bytes)
  }

  private func append(_ bytes: [UInt8]) {
    var from = 0
    while from < bytes.count {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress?.advanced(by: from), bytes.count - from) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        isBroken.store(true, ordering: .relaxed)
        return
      }
      from += count
      written.add(UInt64(count), ordering: .relaxed)
    }
  }

  /// Begins with the first chunk that need not be waited for.
  private func hasThread() -> Bool {
    if thread == nil { thread = HostThread { [unowned self] in serve() } }
    return thread != nil
  }

  private func serve() {
    monitor.take()
    while !queue.isEmpty || !isClosing {
      guard !queue.isEmpty else {
        monitor.wait()
        continue
      }
      let chunk = queue.removeFirst()
      monitor.give()
      write(chunk)
      monitor.take()
      outstanding -= 1
      monitor.wakeAll()
    }
    monitor.give()
  }

  private func close() {
    monitor.take()
    isClosing = true
    monitor.wakeAll()
    monitor.give()
    thread?.join()
    Glibc.close(descriptor)
  }
}
