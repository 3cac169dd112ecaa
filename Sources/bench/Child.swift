import Glibc
import VMCore

/// A program started in a session of its own, with its standard output read through a pipe. It is killed
/// and waited for at the end, whatever state it is in.
struct Child: ~Copyable {
  let process: pid_t
  /// The reading end of its standard output.
  let output: Int32
  private var isWaitedFor = false

  /// Starts `command` (a program found in PATH, then its arguments) with empty standard input and its
  /// messages thrown away.
  init(_ command: [String], environment: [String] = []) throws(VMError) {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw VMError(.host, "no pipe could be made") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setflags(&attributes, Int16(Self.newSession))
    var pid = pid_t()
    let result = withArguments(command) { arguments in
      withArguments(environment + Child.inheritedEnvironment) { environment in
        posix_spawnp(&pid, command[0], &actions, &attributes, arguments, environment)
      }
    }
    close(ends[1])
    guard result == 0 else {
      close(ends[0])
      throw VMError(.host, "\(command[0]) cannot be started: \(String(cString: strerror(result)))")
    }
    process = pid
    output = ends[0]
  }

  deinit {
    if !isWaitedFor {
      kill(process, SIGKILL)
      var status: Int32 = 0
      waitpid(process, &status, 0)
    }
    close(output)
  }

  /// Waits for its end; gives its exit status, nil after a signal or where `seconds` were not enough.
  mutating func wait(seconds: Int) -> Int32? {
    let end = HostClock.now() + UInt64(seconds) * 1_000_000_000
    var status: Int32 = 0
    while HostClock.now() < end {
      if waitpid(process, &status, WNOHANG) == process {
        isWaitedFor = true
        return status & 0x7F == 0 ? status >> 8 & 0xFF : nil
      }
      usleep(200)
    }
    return nil
  }

  /// POSIX_SPAWN_SETSID, a macro Swift does not see.
  private static let newSession = 0x80

  private static var inheritedEnvironment: [String] {
    let names: [String] = ["PATH", "HOME", "LANG"]
    return names.compactMap { name -> String? in
      guard let value = getenv(name) else { return nil }
      return "\(name)=\(String(cString: value))"
    }
  }
}

/// Hands `strings` to `body` as a null-terminated array of C strings.
private func withArguments<Result>(
  _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
  var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
  pointers.append(nil)
  defer { for pointer in pointers { free(pointer) } }
  return pointers.withUnsafeBufferPointer { buffer in
    guard let base = buffer.baseAddress else { preconditionFailure("the array holds its final nil") }
    return body(base)
  }
}

/// Programs and files of the host.
enum Host {
  /// The program of that name in PATH (or in the places for administrators), nil if there is none.
  static func program(_ name: String) -> String? {
    let path = getenv("PATH").map { String(cString: $0) } ?? ""
    let folders = path.split(separator: ":").map(String.init) + ["/usr/sbin", "/usr/bin"]
    return folders.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
  }

  static func exists(_ path: String) -> Bool { access(path, R_OK) == 0 }

  /// Runs a program to its end; throws where it fails or takes longer than `seconds`.
  static func run(_ command: [String], seconds: Int) throws(VMError) {
    var child = try Child(command)
    let reader = LineReader(child.output)
    while case .line = reader.next(seconds: seconds) {}
    guard child.wait(seconds: seconds) == 0 else {
      throw VMError(.host, "\(command[0]) failed: \(command.joined(separator: " "))")
    }
  }

  static func write(_ bytes: [UInt8], to path: String) throws(VMError) {
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw VMError(.host, "\(path) cannot be written") }
    defer { close(file) }
    guard Glibc.write(file, bytes, bytes.count) == bytes.count else {
      throw VMError(.host, "\(path) cannot be written in full")
    }
  }

  /// A new folder for files of this run.
  static func makeTemporaryFolder() throws(VMError) -> String {
    let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var name = Array("\(parent)/ringside-bench.XXXXXX".utf8CString)
    guard mkdtemp(&name) != nil else { throw VMError(.host, "no folder could be made in \(parent)") }
    return String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  static func remove(folder: String) { try? run(["rm", "-rf", folder], seconds: 20) }
}
