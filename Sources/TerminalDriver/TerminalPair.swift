import Glibc

/// The two ends of a pseudo-terminal: ours, and the one a program has.
///
/// Invariant: both descriptors are open from `init` to `close`.
package struct TerminalPair: Sendable {
  package let master: Int32
  package let slave: Int32
  /// Where a program opens its end.
  package let path: String

  /// Nil where the system has none to give.
  package init?(width: Int, height: Int) {
    // Linux's own way: the Glibc module has no posix_openpt.
    master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
    var number: UInt32 = 0
    var locked: Int32 = 0
    let unlock: UInt = 0x4004_5431  // TIOCSPTLCK
    let getNumber: UInt = 0x8004_5430  // TIOCGPTN
    guard master >= 0, ioctl(master, unlock, &locked) == 0, ioctl(master, getNumber, &number) == 0 else { return nil }
    path = "/dev/pts/\(number)"
    slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC)
    guard slave >= 0 else {
      Glibc.close(master)
      return nil
    }
    resize(width: width, height: height)
  }

  package func close() {
    Glibc.close(master)
    Glibc.close(slave)
  }

  /// What dragging its window does.
  package func resize(width: Int, height: Int) {
    var size = winsize(
      ws_row: UInt16(clamping: height), ws_col: UInt16(clamping: width), ws_xpixel: 0, ws_ypixel: 0)
    _ = ioctl(master, UInt(TIOCSWINSZ), &size)
  }

  private var mode: termios {
    var mode = termios()
    tcgetattr(slave, &mode)
    return mode
  }

  /// Lines are edited and echoed by the kernel: how a shell wants its terminal back.
  package var isCooked: Bool { mode.c_lflag & UInt32(ICANON) != 0 && mode.c_lflag & UInt32(ECHO) != 0 }

  /// The terminal's settings, as `stty` sees them: what a program must leave as it found them.
  package var settings: [UInt8] { withUnsafeBytes(of: mode) { Array($0) } }
}
