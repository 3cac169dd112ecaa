import Glibc

/// A program on a pseudo-terminal of ours: what a person at a terminal does to it, for tests and measurements.
///
/// Invariant: the child is ours and alive until `end` or `waitForEnd` reaped it; the descriptors are open until `deinit`.
package final class DrivenProgram {
  private let program: RunningProgram
  private let terminal: TerminalPair
  private var master: Int32 { terminal.master }
  package var process: pid_t { program.id }
  /// What the terminal shows.
  package private(set) var screen: ScreenReader
  /// Everything the program wrote.
  package private(set) var output: [UInt8] = []
  private var status: Int32?
  /// How long is waited for what is bound to come: a loaded machine is no failure.
  package static let patience = 20_000

  /// Starts `command` with nothing but `environment`; nil where that fails.
  package init?(_ command: [String], environment: [String: String], width: Int = 80, height: Int = 24) {
    guard let terminal = TerminalPair(width: width, height: height) else { return nil }
    let path = terminal.path
    guard let name = command.first,
      let program = RunningProgram(
        name, Array(command.dropFirst()), input: path, output: path, errors: path,
        environment: environment.map { "\($0.key)=\($0.value)" })
    else {
      terminal.close()
      return nil
    }
    _ = fcntl(terminal.master, F_SETFL, O_NONBLOCK)
    self.terminal = terminal
    self.program = program
    screen = ScreenReader(width: width, height: height)
  }

  deinit {
    end()
    terminal.close()
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
    terminal.resize(width: width, height: height)
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
  package func waitFor(_ text: String, milliseconds: Int = DrivenProgram.patience) -> Bool {
    wait(milliseconds: milliseconds) { $0.text.contains(text) }
  }

  /// The status the program ended with (128 plus the signal's number for a signal), nil if it still runs then.
  package func waitForEnd(milliseconds: Int = DrivenProgram.patience) -> Int32? {
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
  package var isCooked: Bool { terminal.isCooked }

  /// Stopped by job control, state `T` in proc(5): only now may a shell's `fg` continue it.
  package var isStopped: Bool {
    guard let file = fopen("/proc/\(process)/stat", "r") else { return false }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 512)
    guard fgets(&line, 512, file) != nil else { return false }
    let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return text.split(separator: ")").last?.hasPrefix(" T") ?? false
  }

  /// CPU time all threads of the program have used, in nanoseconds.
  package var cpuTime: UInt64 {
    var total: UInt64 = 0
    guard let tasks = opendir("/proc/\(process)/task") else { return 0 }
    defer { closedir(tasks) }
    while let entry = readdir(tasks) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if let thread = pid_t(name) { total += cpuTime(of: thread) }
    }
    return total
  }

  /// The same of its first thread, which draws and hears keys.
  package var firstThreadTime: UInt64 { cpuTime(of: process) }

  private func cpuTime(of thread: pid_t) -> UInt64 {
    guard let file = fopen("/proc/\(process)/task/\(thread)/schedstat", "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 128)
    return fgets(&line, 128, file) == nil ? 0 : UInt64(strtoull(line, nil, 10))
  }

  package static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
