import Debugger
import Glibc
import VMCore
import X86

/// One thing a recording says.
enum Record {
  case event(Event)
  case exit(RecordedExit)
  case stop(RecordedStop)
  case name(RecordedName, String)
  case console([UInt8])
  case note(String)
  case page([UInt8])
  case devices([DeviceInspection])
  case screen(TextScreen)
  case breakpoints([BreakpointSummary])
}

/// A recording's file, opened for reading. Nothing in it is trusted: whatever is wrong ends what can be read, and
/// `complaint` says where.
///
/// Invariant for the unsafe part: the descriptor is open from `init` to `deinit`.
final class Recording {
  struct Chunk {
    /// Where its bytes begin in the file.
    var offset: UInt64
    var stored: Int
    var size: Int
    var checksum: UInt32
    /// Events and exits before it.
    var firstEvent: UInt64
    var firstExit: UInt64
  }

  let path: String
  let fileSize: UInt64
  private let descriptor: Int32
  private(set) var header = RecordingHeader()
  private(set) var chunks: [Chunk] = []
  private(set) var eventCount: UInt64 = 0
  private(set) var exitCount: UInt64 = 0
  /// Why not all of it could be read; nil where all could.
  private(set) var complaint: String?

  /// Whether a file begins as a recording does.
  static func isRecording(_ path: String) -> Bool {
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var start = [UInt8](repeating: 0, count: RecordingHeader.magic.count)
    return Glibc.read(descriptor, &start, start.count) == start.count && start == RecordingHeader.magic
  }

  init(path: String) throws(VMError) {
    self.path = path
    descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw VMError(.usage, "\(path): \(String(cString: strerror(errno)))", remedy: "check the path")
    }
    var status = stat()
    fileSize = fstat(descriptor, &status) == 0 ? UInt64(max(status.st_size, 0)) : 0
    // Where this throws, `deinit` closes the file: everything is initialised by now.
    try readIndex()
  }

  deinit { close(descriptor) }

  private func readIndex() throws(VMError) {
    guard let start = bytes(at: 0, count: 16), Array(start.prefix(8)) == RecordingHeader.magic else {
      throw VMError(.usage, "\(path): no recording of Ringside's", remedy: "'trace start FILE' or --record FILE make one")
    }
    let version = Self.word(start, 2)
    guard version == RecordingHeader.version else {
      throw VMError(
        .usage, "\(path): a recording of format \(version); this program reads format \(RecordingHeader.version)",
        remedy: "open it with the Ringside that made it")
    }
    guard let (chunk, kind, _, _) = chunk(at: 16), kind == .header, let raw = unpacked(chunk) else {
      throw VMError(.usage, "\(path): the recording's beginning is damaged: nothing can be read of it")
    }
    var reader = ByteReader(raw)
    do { header = try RecordingHeader(&reader) } catch {
      throw VMError(.usage, "\(path): the recording's beginning is damaged: nothing can be read of it")
    }
    findChunks(from: chunk.offset + UInt64(chunk.stored))
  }

  private func findChunks(from start: UInt64) {
    var offset = start
    while offset < fileSize {
      guard let (found, kind, events, exits) = chunk(at: offset), kind == .records else {
        let rest = Self.bytes(fileSize - offset)
        let isCut = offset + UInt64(RecordingChunk.prefixSize) > fileSize || chunk(at: offset, whole: false) != nil
        complaint = isCut ? "cut off after event \(eventCount)" : "damaged after event \(eventCount) (\(rest) cannot be read)"
        return
      }
      chunks.append(found)
      eventCount += UInt64(events)
      exitCount += UInt64(exits)
      offset = found.offset + UInt64(found.stored)
    }
  }

  /// The chunk whose prefix lies at `offset`; nil where there is none. With `whole` all of its bytes are there.
  private func chunk(
    at offset: UInt64, whole: Bool = true
  ) -> (Chunk, kind: RecordingChunk.Kind, events: UInt32, exits: UInt32)? {
    guard let prefix = bytes(at: offset, count: RecordingChunk.prefixSize), Self.word(prefix, 0) == RecordingChunk.mark,
      Self.word(prefix, 7) == RecordingChunk.checksum(Array(prefix.prefix(28))),
      let kind = RecordingChunk.Kind(rawValue: Self.word(prefix, 1))
    else { return nil }
    let (stored, size) = (Int(Self.word(prefix, 2)), Int(Self.word(prefix, 3)))
    let limit = kind == .header ? RecordingChunk.headerLimit : RecordingChunk.limit
    let begin = offset + UInt64(RecordingChunk.prefixSize)
    // An event takes at least two bytes and an exit is one.
    let (events, exits) = (Self.word(prefix, 4), Self.word(prefix, 5))
    guard size <= limit, stored <= limit + 1 << 16, Int(events) <= size, exits <= events else { return nil }
    guard !whole || begin + UInt64(stored) <= fileSize else { return nil }
    let found = Chunk(
      offset: begin, stored: stored, size: size, checksum: Self.word(prefix, 6), firstEvent: eventCount,
      firstExit: exitCount)
    return (found, kind, events, exits)
  }

  private static func word(_ bytes: [UInt8], _ index: Int) -> UInt32 {
    (0..<4).reduce(0) { $0 | UInt32(bytes[index * 4 + $1]) << UInt32($1 * 8) }
  }

  static func bytes(_ count: UInt64) -> String {
    count < 10_000 ? "\(count) bytes" : count < 10_000_000 ? "\(count >> 10) KiB" : "\(count >> 20) MiB"
  }

  private func bytes(at offset: UInt64, count: Int) -> [UInt8]? {
    guard offset + UInt64(count) <= fileSize else { return nil }
    var result = [UInt8](repeating: 0, count: count)
    var filled = 0
    while filled < count {
      let more = result.withUnsafeMutableBytes {
        pread(descriptor, $0.baseAddress?.advanced(by: filled), count - filled, off_t(offset) + off_t(filled))
      }
      guard more > 0 else { return nil }
      filled += more
    }
    return result
  }

  private func unpacked(_ chunk: Chunk) -> [UInt8]? {
    guard let stored = bytes(at: chunk.offset, count: chunk.stored), RecordingChunk.checksum(stored) == chunk.checksum
    else { return nil }
    return RecordingChunk.unpacked(stored, size: chunk.size)
  }

  // MARK: records

  /// Everything from this chunk on ends here: it cannot be read.
  func cut(at index: Int, events: UInt64, exits: UInt64) {
    complaint = "damaged after event \(events) (from \(Self.bytes(chunks[index].offset)) on it cannot be read)"
    chunks.removeSubrange(index...)
    (eventCount, exitCount) = (events, exits)
  }

  /// Hands a chunk's records to `body` in order, as long as that is true; false where the chunk is damaged.
  @discardableResult
  func read(_ index: Int, _ body: (consuming Record) -> Bool) -> Bool {
    guard let raw = unpacked(chunks[index]) else { return false }
    var reader = ByteReader(raw)
    var codec = RecordCodec()
    var sequence = chunks[index].firstEvent
    do {
      while !reader.isAtEnd {
        let tag = try reader.byte()
        if tag < 0x80 {
          var event = try codec.event(kind: tag, &reader)
          event.sequence = sequence
          sequence += 1
          if !body(.event(event)) { return true }
        } else if !body(try record(tag, &reader, &codec)) {
          return true
        }
      }
      return true
    } catch {
      return false
    }
  }

  private func record(_ tag: UInt8, _ reader: inout ByteReader, _ codec: inout RecordCodec) throws(DamagedRecording) -> Record {
    switch RecordTag(rawValue: tag) {
    case .exitStates: return .exit(try codec.exit(&reader))
    case .stop: return .stop(try RecordedStop(&reader, vcpus: header.vcpus))
    case .name:
      guard let kind = RecordedName.Kind(rawValue: try reader.byte()) else { throw DamagedRecording() }
      return .name(RecordedName(kind: kind, key: try reader.number()), try reader.text())
    case .console: return .console(try reader.block())
    case .note: return .note(try reader.text())
    case .page: return .page(try reader.raw(Int(GuestMemory.pageSize)))
    case .devices: return .devices(try RecordedViews.devices(&reader))
    case .screen: return .screen(try RecordedViews.screen(&reader))
    case .breakpoints: return .breakpoints(try RecordedViews.breakpoints(&reader))
    case nil: throw DamagedRecording()
    }
  }
}
