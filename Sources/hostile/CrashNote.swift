import Glibc

/// The name of the case under way, where a signal handler can get at it.
///
/// Invariant for the unsafe part: `text` is allocated once, for ever; `count` bytes of it are written before they
/// count. A handler may see half of a new name, never memory that is not there.
enum CrashNote {
  private static let capacity = 256
  nonisolated(unsafe) private static let text = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
  nonisolated(unsafe) private static var count = 0

  static func set(_ name: String) {
    count = 0
    var index = 0
    for byte in "crash: \(name)\n".utf8.prefix(capacity) {
      text[index] = byte
      index += 1
    }
    count = index
  }

  /// From now on a crash says which case it was, and then takes its course.
  static func install() {
    set("before the first case")
    var stack = stack_t()
    stack.ss_size = 64 << 10
    stack.ss_sp = UnsafeMutableRawPointer.allocate(byteCount: stack.ss_size, alignment: 16)
    sigaltstack(&stack, nil)
    for number in [SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGABRT] {
      var action = sigaction()
      action.__sigaction_handler.sa_handler = { number in
        _ = write(STDERR_FILENO, CrashNote.text, CrashNote.count)
        signal(number, SIG_DFL)
        raise(number)
      }
      action.sa_flags = SA_ONSTACK | SA_NODEFER
      sigaction(number, &action, nil)
    }
  }
}
