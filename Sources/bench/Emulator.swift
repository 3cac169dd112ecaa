import Glibc
import VMCore

/// Who runs the bench guest.
package enum Emulator: String, CaseIterable, Sendable {
  case rewriter, interpreter, bochs, qemu
  /// Its compute kernels as a program of the host.
  case native

  package var title: String {
    switch self {
    case .rewriter: "rewriter"
    case .interpreter: "interpreter"
    case .bochs: "bochs"
    case .qemu: "qemu-tcg"
    case .native: "native"
    }
  }

  /// Our own engines, without which there is nothing to measure.
  var isOurs: Bool { self == .rewriter || self == .interpreter }

  /// Why it cannot take part here, with what to do about it; nil where it can.
  func missing() -> String? {
    switch self {
    case .rewriter, .interpreter:
      return Host.exists(Self.ringsidePath) ? nil : "\(Self.ringsidePath) is not there: swift build -c release"
    case .bochs:
      let programs = ["bochs", "grub-mkrescue", "xorriso", "mformat"]
      let files = [BochsGuest.bios, BochsGuest.videoBIOS, BochsGuest.grub]
      let absent = programs.filter { Host.program($0) == nil } + files.filter { !Host.exists($0) }
      if absent.isEmpty { return nil }
      return "no \(absent.joined(separator: ", ")): apt-get install bochs bochs-term grub-pc-bin grub-common xorriso mtools"
    case .qemu:
      return Host.program("qemu-system-x86_64") == nil ? "no qemu-system-x86_64: apt-get install qemu-system-x86" : nil
    case .native: return Host.program("gcc") == nil ? "no gcc: apt-get install gcc" : nil
    }
  }

  /// The release binary beside this one.
  static var ringsidePath: String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count)
    let own = String(decoding: buffer.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return own.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/ringside"
  }

  /// Starts `guest` with `words` as its command line and 256 MiB; files go into `folder`.
  func start(_ guest: String, words: String, folder: String) throws(VMError) -> RunningGuest {
    switch self {
    case .rewriter, .interpreter:
      let command = [
        Self.ringsidePath, "--headless", "--engine", rawValue, "--memory", "256M", "--append", words, guest,
      ]
      return RunningGuest(try Child(command))
    case .qemu:
      let command = [
        "qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-display", "none", "-serial", "stdio", "-monitor", "none",
        "-net", "none", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", guest, "-append", words,
      ]
      return RunningGuest(try Child(command))
    case .bochs: return try BochsGuest(guest: guest, folder: folder).start(words: words)
    case .native:
      let program = try Self.nativeProgram(guest: guest, folder: folder)
      return RunningGuest(try Child([program] + words.split(separator: " ").map(String.init)))
    }
  }

  /// The kernels' C source, which lies beside the guest, built for the host with the guest's own flags.
  private static func nativeProgram(guest: String, folder: String) throws(VMError) -> String {
    let program = "\(folder)/native"
    if Host.exists(program) { return program }
    let place = guest.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
    let sources = ["native.c", "compute.c"].map { "\(place)/\($0)" }
    for source in sources where !Host.exists(source) {
      throw VMError(.unavailable, "\(source) is not there, so there is no native form of the kernels")
    }
    let flags = ["-O2", "-fno-tree-vectorize", "-fno-tree-loop-distribute-patterns"]
    try Host.run(["gcc"] + flags + ["-o", program] + sources, seconds: 60)
    return program
  }
}

/// A guest under way in another process, and the lines it says on its serial port.
final class RunningGuest {
  private let child: Child
  private let fifo: Int32?
  /// Stamps lines with the process's processor time.
  let reader: LineReader

  /// Reads the child's standard output or, where the serial port goes to one, a FIFO it then owns.
  init(_ child: consuming Child, fifo: Int32? = nil) {
    let output = child.output
    let process = child.process
    self.child = child
    self.fifo = fifo
    reader = LineReader(fifo ?? output) { HostClock.cpuTime(of: process) ?? 0 }
  }

  deinit { if let fifo { close(fifo) } }
}
