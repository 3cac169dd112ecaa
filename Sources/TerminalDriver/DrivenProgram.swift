import Glibc

/// A program on a pseudo-terminal of ours: what a person at a terminal does to it, for tests and measurements.
///
/// Invariant: the child is ours and alive until `end` or `waitForEnd` reaped it; the descriptors are open until `deinit`.
package final class DrivenProgram {
  package let process: pid_t
  private let master: Int32
  private let slave: Int32
  /// What the terminal shows.
  package private(set) var screen: ScreenReader
  /// Everything the program wrote.
  package private(set) var output: [UInt8] = []
  private var status: Int32?

  /// Starts `command` with nothing but `environment`; nil where that fails.
  package init?(_ command: [String], environment: [String: String], width: Int = 80, height: Int = 24) {
    master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)
    var number: UInt32 = 0
    var locked: Int32 = 0
    let unlock: UInt = 0x4004_5431  // TIOCSPTLCK
    let getNumber: UInt = 0x8004_5430  // TIOCGPTN
    guard master >= 0, ioctl(master, unlock, &locked) == 0, ioctl(master, getNumber, &number) == 0 else { return nil }
    let path = "/dev/pts/\(number)"
    slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC)
    guard slave >= 0 else {
      close(master)
      return nil
    }
    var size = winsize(ws_row: UInt16(height), ws_col: UInt16(width), ws_xpixel: 0, ws_ypixel: 0)
    _ = ioctl(slave, UInt(TIOCSWINSZ), &size)
    screen = ScreenReader(width: width, height: height)
    guard let child = Self.spawn(command, environment, path) else {
      close(master)
      close(slave)
      return nil
    }
    process = child
  }

  deinit {
    end()
    close(master)
    close(slave)
  }

  private static func spawn(_ command: [String], _ environment: [String: String], _ path: String) -> pid_t? {
    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    defer {
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
    }
    // A session of its own: opening the terminal makes it the controlling one. And no signal stays blocked, as they are
    // on a test runner's threads. The first flag is a GNU extension the module leaves out.
    var mask = sigset_t()
    sigemptyset(&mask)
    posix_spawnattr_setsigmask(&attributes, &mask)
    let setSession: Int32 = 0x80
    posix_spawnattr_setflags(&attributes, Int16(setSession | POSIX_SPAWN_SETSIGMASK))
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, path, O_RDWR, 0)
    posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDERR_FILENO)
    var words: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
    var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for pointer in words + variables { free(pointer) } }
    var child = pid_t()
    guard let program = command.first, posix_spawnp(&child, program, &actions, &attributes, &words, &variables) == 0 else {
      return nil
    }
    return child
  }

  /// Bytes as keys send them.
  package func type(_ text: String) { send(Array(text.utf8)) }

  package func send(_ bytes: [UInt8]) {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { write(master, $0.baseAddress?.advanced(by: done), bytes.count - done) }
      if count > 0 { done += count } else if !take(milliseconds: 50) { return }
    }
  }

  /// Changes the terminal's size, as dragging its window does.
  package func resize(width: Int, height: Int) {
    screen = ScreenReader(width: width, height: height)
    var size = winsize(ws_row: UInt16(height), ws_col: UInt16(width), ws_xpixel: 0, ws_ypixel: 0)
    _ = ioctl(master, UInt(TIOCSWINSZ), &size)
  }

  /// Takes what the program wrote within the time; whether there was anything.
  @discardableResult
  package func take(milliseconds: Int32) -> Bool {
    var ready = pollfd(fd: master, events: Int16(POLLIN), revents: 0)
    guard poll(&ready, 1, milliseconds) > 0 else { return false }
    var chunk = [UInt8](repeating: 0, count: 65536)
    let count = read(master, &chunk, chunk.count)
    guard count > 0 else { return false }
    output += chunk[..<count]
    screen.feed(chunk[..<count])
    return true
  }

  /// Waits until the screen is as wanted; false after the time.
  package func wait(milliseconds: Int, until isThere: (ScreenReader) -> Bool) -> Bool {
    let limit = Self.now() + UInt64(milliseconds) * 1_000_000
    while !isThere(screen) {
      if Self.now() > limit { return false }
      take(milliseconds: 20)
    }
    return true
  }

  /// Waits until the screen contains a text; false after the time.
  package func waitFor(_ text: String, milliseconds: Int = 5000) -> Bool {
    wait(milliseconds: milliseconds) { $0.text.contains(text) }
  }

  /// The status the program ended with (128 plus the signal's number for a signal), nil if it still runs then.
  package func waitForEnd(milliseconds: Int = 5000) -> Int32? {
    let limit = Self.now() + UInt64(milliseconds) * 1_000_000
    while status == nil, Self.now() < limit {
      take(milliseconds: 10)
      var raw: Int32 = 0
      if waitpid(process, &raw, WNOHANG) == process { status = raw & 0x7F == 0 ? raw >> 8 & 0xFF : 128 + raw & 0x7F }
    }
    while take(milliseconds: 10) {}
    return status
  }

  package func signal(_ number: Int32) { if status == nil { kill(process, number) } }

  /// Ends the program in any case.
  package func end() {
    guard status == nil else { return }
    kill(process, SIGKILL)
    var raw: Int32 = 0
    waitpid(process, &raw, 0)
    status = 128 + SIGKILL
  }

  /// Lines are edited and echoed by the kernel: how a shell wants its terminal back.
  package var isCooked: Bool {
    var mode = termios()
    tcgetattr(slave, &mode)
    return mode.c_lflag & UInt32(ICANON) != 0 && mode.c_lflag & UInt32(ECHO) != 0
  }

  /// CPU time all threads of the program have used, in nanoseconds.
  package var cpuTime: UInt64 {
    var total: UInt64 = 0
    guard let tasks = opendir("/proc/\(process)/task") else { return 0 }
    defer { closedir(tasks) }
    while let entry = readdir(tasks) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      guard Int(name) != nil, let file = fopen("/proc/\(process)/task/\(name)/schedstat", "r") else { continue }
      var line = [CChar](repeating: 0, count: 128)
      if fgets(&line, 128, file) != nil { total += strtoull(line, nil, 10) }
      fclose(file)
    }
    return total
  }

  package static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
