import Foundation
import Glibc

/// A pseudo-terminal whose other end is read all the time.
package final class PseudoTerminal: @unchecked Sendable {
  package let master: Int32
  package let slave: Int32
  package let path: String
  private let lock = NSLock()
  private var bytes: [UInt8] = []

  package init?(width: UInt16 = 80, height: UInt16 = 24) {
    // Linux's own way: the Glibc module has no posix_openpt.
    master = open("/dev/ptmx", O_RDWR | O_NOCTTY)
    var number: UInt32 = 0
    var locked: Int32 = 0
    let unlock: UInt = 0x4004_5431  // TIOCSPTLCK
    let getNumber: UInt = 0x8004_5430  // TIOCGPTN
    guard master >= 0, ioctl(master, unlock, &locked) == 0, ioctl(master, getNumber, &number) == 0 else { return nil }
    path = "/dev/pts/\(number)"
    slave = open(path, O_RDWR | O_NOCTTY)
    guard slave >= 0 else { return nil }
    var size = winsize(ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0)
    _ = ioctl(slave, UInt(TIOCSWINSZ), &size)
    let thread = Thread { [self] in
      var buffer = [UInt8](repeating: 0, count: 65536)
      while true {
        let count = read(master, &buffer, buffer.count)
        guard count > 0 else { return }
        lock.withLock { bytes += buffer[..<count] }
      }
    }
    thread.start()
  }

  /// Everything the program wrote, once it has been quiet for a moment.
  package var output: String {
    usleep(50_000)
    return String(decoding: lock.withLock { bytes }, as: UTF8.self)
  }

  package func type(_ text: String) { _ = write(master, text, text.utf8.count) }

  /// Lines are edited and echoed by the kernel: how a shell wants its terminal back.
  package var isCooked: Bool {
    var mode = termios()
    tcgetattr(slave, &mode)
    return mode.c_lflag & UInt32(ICANON) != 0 && mode.c_lflag & UInt32(ECHO) != 0
  }

  /// The terminal's settings, as `stty` sees them: what a program must leave as it found them.
  package var settings: [UInt8] {
    var mode = termios()
    tcgetattr(slave, &mode)
    return withUnsafeBytes(of: mode) { Array($0) }
  }

  /// Waits until `text` was written behind the first `after` bytes; false after 20 seconds.
  package func waits(for text: String, after: Int = 0) -> Bool {
    for _ in 0..<400 {
      if String(decoding: output.utf8.dropFirst(after), as: UTF8.self).contains(text) { return true }
    }
    return false
  }

  /// In the child: makes the terminal at `path` standard input and output.
  package static func adopt(_ path: String) {
    let descriptor = open(path, O_RDWR | O_NOCTTY)
    dup2(descriptor, STDIN_FILENO)
    dup2(descriptor, STDOUT_FILENO)
  }
}
