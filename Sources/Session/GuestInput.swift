import Glibc

/// Bytes from a file or pipe for the guest's console, in a session without a thread of its own.
///
/// What is there at the start is read at once and handed over when the guest first waits or its exits leave
/// slack: so a file or a finished pipe gives the same run every time. What comes later enters when it comes.
final class GuestInput {
  private let descriptor: Int32
  private var waiting: [UInt8] = []
  private(set) var isAtEnd = false
  /// Given to the guest at once at most; its serial port queues no more.
  private static let chunk = 4096
  /// How long a pipe may be silent before the guest starts, in ms.
  private static let patience: Int32 = 20

  init(descriptor: Int32) {
    self.descriptor = descriptor
    while !isAtEnd, waiting.count < 1 << 20, isReadable(Self.patience) { fill() }
  }

  private func isReadable(_ milliseconds: Int32) -> Bool {
    var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&poller, 1, milliseconds) > 0
  }

  private func fill() {
    var bytes = [UInt8](repeating: 0, count: Self.chunk)
    let count = read(descriptor, &bytes, bytes.count)
    if count > 0 { waiting += bytes.prefix(count) } else { isAtEnd = true }
  }

  var isEmpty: Bool { waiting.isEmpty }

  /// What is there now, without waiting; empty if nothing is.
  func take() -> [UInt8] {
    if waiting.isEmpty, !isAtEnd, isReadable(0) { fill() }
    return takeChunk()
  }

  /// Waits for something, at most `milliseconds`.
  func waitAndTake(milliseconds: Int32) -> [UInt8] {
    if waiting.isEmpty, !isAtEnd, isReadable(milliseconds) { fill() }
    return takeChunk()
  }

  private func takeChunk() -> [UInt8] {
    let chunk = Array(waiting.prefix(Self.chunk))
    waiting.removeFirst(chunk.count)
    return chunk
  }
}

extension Session {
  /// Feeds the guest's console from a descriptor. Only for a session that is not started.
  package func readGuestInput(from descriptor: Int32) {
    let input = GuestInput(descriptor: descriptor)
    core.onSlackInput = { [unowned core] in
      let bytes = input.take()
      if !bytes.isEmpty { core.typeToConsole(bytes) }
    }
    core.awaitInput = { [unowned core] in
      while !input.isAtEnd || !input.isEmpty {
        let bytes = input.waitAndTake(milliseconds: 200)
        if !bytes.isEmpty {
          core.typeToConsole(bytes)
          return true
        }
        if core.exchange.needsAttention { return true }
      }
      return false
    }
  }
}
