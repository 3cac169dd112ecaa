import Glibc

/// A program started here, in a session of its own, so that its signals reach nobody else.
package struct RunningProgram {
  package let id: pid_t
  /// POSIX_SPAWN_SETSID, which the Glibc module leaves out.
  private static let newSession: Int16 = 0x80

  /// How a process ended.
  package enum End: Equatable, Sendable {
    case status(Int32)
    case signal(Int32)
    /// It had to be killed.
    case hung
  }

  /// Starts `path` with standard input, output and errors opened by name: a terminal's path makes it the program's
  /// controlling terminal. Nil if it cannot be started.
  package init?(_ path: String, _ arguments: [String], input: String, output: String, errors: String, environment: [String]) {
    var files = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&files)
    defer { posix_spawn_file_actions_destroy(&files) }
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, input, O_RDWR, 0)
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, output, O_RDWR | O_CREAT, 0o600)
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, errors, O_RDWR | O_CREAT, 0o600)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // Threads of a test runner block signals, which a child would inherit.
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Self.newSession | Int16(POSIX_SPAWN_SETSIGMASK))
    var words = ([path] + arguments).map { strdup($0) } + [nil]
    var variables = environment.map { strdup($0) } + [nil]
    defer { for word in words + variables { free(word) } }
    var id = pid_t()
    guard posix_spawnp(&id, path, &files, &attributes, &words, &variables) == 0 else { return nil }
    self.id = id
  }

  package func signal(_ number: Int32) { kill(id, number) }

  /// How it ends, at most 20 seconds from now.
  package func end() -> End {
    var status: Int32 = 0
    for _ in 0..<1000 {
      if waitpid(id, &status, WNOHANG) == id {
        return status & 0x7F == 0 ? .status(status >> 8 & 0xFF) : .signal(status & 0x7F)
      }
      usleep(20_000)
    }
    kill(id, SIGKILL)
    waitpid(id, &status, 0)
    return .hung
  }
}
