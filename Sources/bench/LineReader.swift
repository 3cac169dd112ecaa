import Glibc

/// A line without its end, and what a clock said as its first byte and as its end came.
struct StampedLine {
  var text: String
  var first: UInt64
  var last: UInt64
}

/// Lines from a descriptor, each given as soon as it is complete.
final class LineReader {
  enum Outcome {
    case line(StampedLine)
    case end
    case late
  }
  private let descriptor: Int32
  private let clock: () -> UInt64
  private var waiting: [UInt8] = []
  private var begun: UInt64?
  private var lines: [StampedLine] = []

  init(_ descriptor: Int32, clock: @escaping () -> UInt64 = HostClock.now) {
    self.descriptor = descriptor
    self.clock = clock
  }

  /// The next line, or `late` where none came within `seconds`.
  func next(seconds: Int) -> Outcome {
    let end = HostClock.now() + UInt64(seconds) * 1_000_000_000
    while lines.isEmpty {
      let now = HostClock.now()
      if now >= end { return .late }
      var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      let milliseconds = (end - now) / 1_000_000 + 1
      if Glibc.poll(&poll, 1, Int32(clamping: milliseconds)) <= 0 { continue }
      if !take() { return .end }
    }
    return .line(lines.removeFirst())
  }

  /// Reads what there is; false at the end of the file.
  private func take() -> Bool {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = read(descriptor, &bytes, bytes.count)
    if count <= 0 { return false }
    let now = clock()
    for byte in bytes.prefix(count) {
      let first = begun ?? now
      begun = first
      switch byte {
      case 10:
        lines.append(StampedLine(text: String(decoding: waiting, as: UTF8.self), first: first, last: now))
        waiting.removeAll()
        begun = nil
      case 13: break
      default: if waiting.count < 1000 { waiting.append(byte) }
      }
    }
    return true
  }
}
