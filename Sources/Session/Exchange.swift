import Glibc
import Synchronization

/// Something from outside for the thread that runs the vCPUs.
package enum SessionInput: Sendable {
  case command(String)
  /// A command a key stands for: no line of the history.
  case keyCommand(String)
  case consoleBytes([UInt8])
  case scanCodes([UInt8])
}

/// What the vCPU thread should look at between two runs, as bits.
package struct Attention: OptionSet, Sendable {
  package let rawValue: UInt32
  package init(rawValue: UInt32) { self.rawValue = rawValue }
  package static let pause = Self(rawValue: 1 << 0)
  package static let input = Self(rawValue: 1 << 1)
  package static let publish = Self(rawValue: 1 << 2)
  package static let quit = Self(rawValue: 1 << 3)
}

/// What the vCPU thread should look at, as one word it can ask at every exit.
final class AttentionFlag: Sendable {
  /// `Attention`.
  let bits = Atomic<UInt32>(0)

  var isRaised: Bool {
    @inline(__always) get { bits.load(ordering: .relaxed) != 0 }
  }
}

/// The only two things that cross threads: inputs going down, snapshots coming up. Safe to use from any
/// thread; the vCPU thread reads `attention` (one relaxed load) between two runs.
///
/// Invariant for the unsafe parts: the semaphore and the pipe live from `init` to `deinit`; the pipe is
/// non-blocking and holds at least one byte while a snapshot has not been looked at.
final class Exchange: @unchecked Sendable {
  let attention = AttentionFlag()
  private let inputs = Mutex<[SessionInput]>([])
  private let unanswered = Atomic<Int>(0)
  private let latest: Mutex<SessionSnapshot>
  private let wake: UnsafeMutablePointer<sem_t>
  private let pipeEnds: (read: Int32, write: Int32)

  init(_ first: SessionSnapshot) {
    latest = Mutex(first)
    wake = .allocate(capacity: 1)
    sem_init(wake, 0, 0)
    var ends: [Int32] = [-1, -1]
    if pipe(&ends) == 0 {
      for end in ends {
        _ = fcntl(end, F_SETFL, O_NONBLOCK)
        _ = fcntl(end, F_SETFD, FD_CLOEXEC)
      }
    }
    pipeEnds = (ends[0], ends[1])
  }

  deinit {
    sem_destroy(wake)
    wake.deallocate()
    if pipeEnds.read >= 0 {
      close(pipeEnds.read)
      close(pipeEnds.write)
    }
  }

  // MARK: towards the vCPU thread

  func send(_ input: SessionInput) {
    unanswered.add(1, ordering: .relaxed)
    inputs.withLock { $0.append(input) }
    raise(.input)
  }

  func raise(_ bits: Attention) {
    attention.bits.bitwiseOr(bits.rawValue, ordering: .releasing)
    sem_post(wake)
  }

  var needsAttention: Bool {
    @inline(__always) get { attention.isRaised }
  }

  /// The raised bits; none is raised afterwards.
  func takeAttention() -> Attention {
    Attention(rawValue: attention.bits.exchange(0, ordering: .acquiringAndReleasing))
  }

  func takeInputs() -> [SessionInput] {
    inputs.withLock {
      let taken = $0
      $0.removeAll()
      return taken
    }
  }

  /// What `count` inputs led to is published.
  func noteAnswered(_ count: Int) { unanswered.subtract(count, ordering: .releasing) }

  /// Whether the newest snapshot shows what every input so far led to.
  var hasAnswered: Bool { unanswered.load(ordering: .acquiring) == 0 }

  /// Blocks until something was raised since the last wait, at most `milliseconds`.
  func sleep(milliseconds: Int) {
    var until = timespec()
    clock_gettime(CLOCK_REALTIME, &until)
    let nanoseconds = until.tv_nsec + (milliseconds % 1000) * 1_000_000
    until.tv_sec += milliseconds / 1000 + nanoseconds / 1_000_000_000
    until.tv_nsec = nanoseconds % 1_000_000_000
    if sem_timedwait(wake, &until) != 0 { return }
    while sem_trywait(wake) == 0 {}
  }

  // MARK: towards the console

  var snapshot: SessionSnapshot { latest.withLock { $0 } }

  func publish(_ snapshot: SessionSnapshot) {
    latest.withLock { $0 = snapshot }
    var byte: UInt8 = 1
    _ = write(pipeEnds.write, &byte, 1)
  }

  var changeDescriptor: Int32 { pipeEnds.read }

  /// Empties the pipe: what is published later makes it readable again.
  func acknowledgeChange() {
    var bytes = [UInt8](repeating: 0, count: 256)
    while read(pipeEnds.read, &bytes, bytes.count) > 0 {}
  }

  /// Waits until the pipe is readable.
  func waitForChange(milliseconds: Int) {
    var descriptor = pollfd(fd: pipeEnds.read, events: Int16(POLLIN), revents: 0)
    _ = poll(&descriptor, 1, Int32(clamping: milliseconds))
  }
}
