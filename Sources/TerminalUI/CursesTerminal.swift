import CNcurses
import Glibc

/// The terminal this program runs in, described by ncurses' terminfo.
///
/// It draws by itself instead of through curses windows: one `write` a frame with nothing but what
/// changed, true colour where there is some, and restore bytes made in advance, so that a signal handler
/// can give the terminal back with `write` and `tcsetattr` alone. One at a time, on one thread.
package final class CursesTerminal: Terminal {
  package private(set) var size: Size
  package let glyphs: Glyphs
  package var depth: ColorDepth { capabilities.depth }
  private let capabilities: TerminalCapabilities
  private var decoder: KeyDecoder
  private let shown: CellBuffer
  private var known = false
  private var cursorShown = true
  private var memory = FrameEncoder.Memory()
  private var signalPipe: (read: Int32, write: Int32)
  private var isOpen = true
  /// Given back for as long as the program is stopped: nothing is drawn.
  private var isAway = false
  private let throughScreen: Bool

  /// A lone ESC becomes the Escape key after this long.
  private static let escapeDelay: Int32 = 25

  /// Takes the terminal on standard input and output, with its mouse if wanted. `unicode` overrides the locale.
  /// Says in one line why it cannot.
  package init(environment: [String: String], mouse: Bool = true, unicode: Bool? = nil) throws(TerminalError) {
    guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1 else {
      throw TerminalError("standard input and output are not a terminal", remedy: "use --headless")
    }
    let name = environment["TERM"] ?? ""
    guard let capabilities = TerminalCapabilities(name: name, environment: environment, mouse: mouse) else {
      throw TerminalError(
        "TERM=\(name): no such terminal is known here that can move its cursor", remedy: "try TERM=xterm-256color")
    }
    self.capabilities = capabilities
    throughScreen = Clipboard.goesThroughScreen(environment)
    decoder = KeyDecoder(special: capabilities.keys)
    let isUnicode = unicode ?? Self.isUTF8(environment)
    glyphs = isUnicode ? (name.hasPrefix("linux") ? .linuxConsole : .unicode) : .ascii
    size = Self.measure()
    shown = CellBuffer(size)
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw TerminalError("cannot make a pipe for signals", remedy: nil) }
    for end in ends {
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
    }
    signalPipe = (ends[0], ends[1])
    capabilities.leave.withUnsafeBufferPointer { bytes in
      guard let base = bytes.baseAddress else { return }
      base.withMemoryRebound(to: CChar.self, capacity: bytes.count) { cncurses_set_restore($0, bytes.count) }
    }
    guard cncurses_install_handlers(signalPipe.write) == 0, take() else {
      throw TerminalError("cannot put the terminal into raw mode", remedy: nil)
    }
  }

  deinit { close() }

  /// The first of the locale's variables that says something decides (POSIX 8.2).
  private static func isUTF8(_ environment: [String: String]) -> Bool {
    let said = ["LC_ALL", "LC_CTYPE", "LANG"].compactMap { environment[$0] }.first { !$0.isEmpty } ?? ""
    let folded = said.lowercased()
    return folded.contains("utf-8") || folded.contains("utf8")
  }

  package func close() {
    guard isOpen else { return }
    isOpen = false
    cncurses_restore()
    cncurses_remove_handlers()
    Glibc.close(signalPipe.read)
    Glibc.close(signalPipe.write)
  }

  private func take() -> Bool {
    guard cncurses_raw(STDIN_FILENO) == 0 else { return false }
    send(capabilities.enter + capabilities.clear)
    cursorShown = true
    known = false
    isAway = false
    return true
  }

  private static func measure() -> Size {
    var rows: Int32 = 0
    var columns: Int32 = 0
    guard cncurses_size(STDOUT_FILENO, &rows, &columns) == 0, rows > 0, columns > 0 else {
      return Size(width: 80, height: 24)
    }
    return Size(width: min(Int(columns), 1000), height: min(Int(rows), 500))
  }

  package func invalidate() { known = false }

  package func present(_ buffer: CellBuffer, theme: Theme, cursor: Position?) -> Int {
    guard !isAway else { return 0 }
    let whole = !known || shown.size != buffer.size
    let encoder = FrameEncoder(
      depth: depth, skipsCorner: !capabilities.safeCorner, abilities: capabilities.drawing)
    if whole { memory = FrameEncoder.Memory() }
    let drawn = encoder.encode(from: whole ? nil : shown, to: buffer, theme: theme, cursor: cursor, memory: &memory)
    var bytes: [UInt8] = []
    // Drawing with the cursor shown makes it flicker over the screen.
    if cursorShown && (drawn.count > 16 || cursor == nil) {
      bytes += capabilities.hideCursor
      cursorShown = false
    }
    if whole { bytes += Array("\u{1B}[0m".utf8) + capabilities.clear }
    bytes += drawn
    if cursor != nil && !cursorShown {
      bytes += capabilities.showCursor
      cursorShown = true
    }
    shown.copy(from: buffer)
    known = true
    send(bytes)
    return bytes.count
  }

  private func send(_ bytes: [UInt8]) {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress.map { $0 + done }, bytes.count - done) }
      if count > 0 {
        done += count
      } else if count < 0 && errno == EAGAIN {
        var ready = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
        _ = poll(&ready, 1, 100)
      } else if count < 0 && errno == EINTR {
        continue
      } else {
        return
      }
    }
  }

  package func events(wake: Int32?, milliseconds: Int32) -> [InputEvent] {
    var descriptors = [
      pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0),
      pollfd(fd: signalPipe.read, events: Int16(POLLIN), revents: 0),
      pollfd(fd: wake ?? -1, events: Int16(POLLIN), revents: 0),
    ]
    let escapes = decoder.isWaiting
    let timeout = escapes ? (milliseconds < 0 ? Self.escapeDelay : min(milliseconds, Self.escapeDelay)) : milliseconds
    let ready = poll(&descriptors, 3, timeout)
    var events: [InputEvent] = []
    if ready > 0, descriptors[1].revents != 0 { events += takeSignals() }
    if ready > 0, descriptors[0].revents != 0 {
      events += takeInput()
    } else if escapes {
      events += decoder.flush()
    }
    return events
  }

  private func takeInput() -> [InputEvent] {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = read(STDIN_FILENO, &bytes, bytes.count)
    if count > 0 { return decoder.feed(bytes[..<count]) }
    // In raw mode without a minimum, nothing to read after poll said there is means the other side is gone.
    if count < 0 && (errno == EINTR || errno == EAGAIN) { return [] }
    return [.hangup]
  }

  private func takeSignals() -> [InputEvent] {
    var bytes = [UInt8](repeating: 0, count: 64)
    let count = read(signalPipe.read, &bytes, bytes.count)
    guard count > 0 else { return [] }
    var events: [InputEvent] = []
    for byte in bytes[..<count] {
      switch Int32(byte) {
      case SIGWINCH:
        size = Self.measure()
        known = false
        events.append(.resize)
      case SIGTSTP: events.append(.suspend)
      case SIGCONT:
        if take() { size = Self.measure() }
        events.append(.resume)
      default: events.append(.terminate(Int32(byte)))
      }
    }
    return events
  }

  package func copy(_ text: String) { send(Clipboard.sequence(text, throughScreen: throughScreen)) }

  package func suspend() {
    cncurses_restore()
    isAway = true
    // The handler for SIGCONT puts its number into the pipe; `takeSignals` takes the terminal again.
    raise(SIGSTOP)
  }
}

/// Why there is no terminal to draw on.
package struct TerminalError: Error, Sendable, CustomStringConvertible {
  package let message: String
  package let remedy: String?
  package init(_ message: String, remedy: String?) {
    self.message = message
    self.remedy = remedy
  }
  package var description: String { remedy.map { "\(message) (\($0))" } ?? message }
}
