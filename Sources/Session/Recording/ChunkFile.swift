import CZlib
import Glibc
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
/// Invariant for the unsafe parts: the descriptor and the semaphores live from `init` to `deinit`, and the thread
/// ends before.
final class ChunkFile: @unchecked Sendable {
  private let descriptor: Int32
  private let queue = Mutex<[RecordingChunk]>([])
  private let work: UnsafeMutablePointer<sem_t>
  private let done: UnsafeMutablePointer<sem_t>
  private let written = Atomic<UInt64>(0)
  private let isBroken = Atomic<Bool>(false)
  private let isClosing = Atomic<Bool>(false)
  private var thread: pthread_t?
  /// Chunks given and not yet on their way to the disk, as the giving thread knows.
  private var outstanding = 0
  private static let room = 4

  init(path: String) throws(VMError) {
    descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw VMError(
        .usage, "\(path): cannot be written (\(String(cString: strerror(errno))))",
        remedy: "name a file in a folder that exists")
    }
    work = .allocate(capacity: 1)
    done = .allocate(capacity: 1)
    sem_init(work, 0, 0)
    sem_init(done, 0, 0)
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
    while outstanding > 0, sem_trywait(done) == 0 { outstanding -= 1 }
    if waits, outstanding == 0 {
      write(chunk)
      return
    }
    while outstanding >= Self.room { waitForOne() }
    startThread()
    queue.withLock { $0.append(chunk) }
    outstanding += 1
    sem_post(work)
    while waits, outstanding > 0 { waitForOne() }
  }

  private func waitForOne() {
    while sem_wait(done) != 0 {}
    outstanding -= 1
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

  private func startThread() {
    guard thread == nil else { return }
    var made = pthread_t()
    let context = Unmanaged.passUnretained(self)
    let result = pthread_create(
      &made, nil,
      { context in
        if let context { Unmanaged<ChunkFile>.fromOpaque(context).takeUnretainedValue().serve() }
        return nil
      }, context.toOpaque())
    if result == 0 { thread = made }
  }

  private func serve() {
    while true {
      while sem_wait(work) != 0 {}
      let chunk = queue.withLock { $0.isEmpty ? nil : $0.removeFirst() }
      if let chunk {
        write(chunk)
        sem_post(done)
      } else if isClosing.load(ordering: .acquiring) {
        return
      }
    }
  }

  private func close() {
    if let thread {
      isClosing.store(true, ordering: .releasing)
      sem_post(work)
      pthread_join(thread, nil)
    }
    Glibc.close(descriptor)
    for semaphore in [work, done] {
      sem_destroy(semaphore)
      semaphore.deallocate()
    }
  }
}
