import Glibc
import Host
import Session

/// A line on standard error that says how far a long task is; none in the first second. On a terminal it is written
/// over itself, elsewhere each is a line of its own.
final class ProgressLine {
  private let start = ProgressLine.seconds
  private var last = 0.0
  /// Columns of what stands in the terminal's row now.
  private var shown = 0
  static let isOnTerminal = isatty(STDERR_FILENO) == 1
  private static let pause = isOnTerminal ? 0.4 : 2
  private static let widest = 79

  private static var seconds: Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  func show(_ text: String) {
    let now = Self.seconds
    guard now - start > 1, now - last > Self.pause else { return }
    last = now
    guard Self.isOnTerminal else { return Output.error(text + "\n") }
    let line = String(text.prefix(Self.widest))
    Output.error("\r" + line + String(repeating: " ", count: max(shown - line.count, 0)))
    shown = line.count
  }

  /// `812.4 M instructions`
  static func millions(_ count: UInt64) -> String {
    let tenths = count / 100_000
    return "\(tenths / 10).\(tenths % 10) M instructions"
  }

  /// Takes the line away, for others to write in its row.
  func erase() {
    guard shown > 0 else { return }
    Output.error("\r" + String(repeating: " ", count: shown) + "\r")
    shown = 0
  }
}

/// What a headless run says of itself while it lasts.
///
/// Everything but the clock's thread is called on the thread that runs the guest.
final class HeadlessProgress {
  private let line = ProgressLine()
  /// The guest's last line on the same terminal is not finished.
  private var isInLine = false
  private let sharesTerminal = isatty(STDOUT_FILENO) == 1

  init(_ session: Session) {
    session.onProgress { [self] in if !isInLine { line.show(Self.text($0)) } }
    HostThread {
      while true {
        usleep(500_000)
        session.askForProgress()
      }
    }?.detach()
  }

  /// The guest's output, where the line may be in its way.
  func write(_ bytes: [UInt8]) {
    if sharesTerminal { line.erase() }
    Output.write(bytes, to: STDOUT_FILENO)
    if sharesTerminal, let last = bytes.last { isInLine = last != 0x0A && last != 0x0D }
  }

  func end() { line.erase() }

  /// `812.4 M instructions, 96 MIPS, in start_kernel+1c: [    0.004000] Console: ...`
  static func text(_ progress: RunProgress) -> String {
    var text = "\(ProgressLine.millions(progress.instructions)), \(Int(progress.mips)) MIPS"
    if let place = progress.place { text += ", in \(place)" }
    if let line = progress.line {
      text += ": " + String(String.UnicodeScalarView(line.unicodeScalars.filter { $0.value >= 0x20 && $0.value < 0x7F }))
    }
    return text
  }
}
