import Glibc
import Session
import Testing
import VMCore

/// The image's path.
private let debianImage = getenv("RINGSIDE_DEBIAN_IMAGE").map { String(cString: $0) }

/// A Debian on a disk, as `Samples/linux/debian.sh` makes it. Its image is named by an environment variable; a copy is
/// booted, so it stays as it is.
@Suite("Debian on a disk", .serialized, .enabled(if: debianImage != nil, "RINGSIDE_DEBIAN_IMAGE names no image"))
struct DebianTests {
  /// A session and all its guest said.
  private final class Terminal {
    let session: Session
    private var output: [UInt8] = []
    var text: String { String(decoding: output, as: UTF8.self) }

    init(_ disk: String) throws {
      session = try LinuxImage.session("rewriter", append: "quiet norandmaps") {
        $0.initrd = LinuxImage.folder + "/image/initrd-disk.gz"
        $0.disk = disk
      }
      session.onConsoleOutput { [unowned self] in output += $0 }
    }

    /// Runs until the guest has said `words` after what it said before.
    func wait(for words: String) -> Bool {
      let start = output.count
      for _ in 0..<400 {
        if String(decoding: output[start...], as: UTF8.self).contains(words) { return true }
        if session.perform("step 25000000").failed { return false }
      }
      return false
    }

    func type(_ line: String) { _ = session.perform("send \"\(line)\\r\"") }
  }

  @Test func `it comes to its login prompt, and what was written is there at the next boot`() throws {
    let disk = "/tmp/ringside-debian-\(getpid()).img"
    let image = try #require(debianImage)
    #expect(LinuxImage.isThere && HostFile.exists(LinuxImage.folder + "/image/initrd-disk.gz"))
    #expect(system("cp --sparse=always '\(image)' '\(disk)'") == 0)
    defer { unlink(disk) }
    do {
      let terminal = try Terminal(disk)
      #expect(terminal.wait(for: "login: "), "\(terminal.text.suffix(2000))")
      terminal.type("root")
      #expect(terminal.wait(for: "# "), "\(terminal.text.suffix(2000))")
      terminal.type("echo kept-$((6*7)) >/root/kept; sync; nproc; poweroff")
      _ = terminal.session.perform("continue")
      #expect(terminal.session.currentSnapshot().stop == .shutdown, "\(terminal.text.suffix(2000))")
    }
    let terminal = try Terminal(disk)
    #expect(terminal.wait(for: "login: "))
    terminal.type("root")
    #expect(terminal.wait(for: "# "))
    terminal.type("cat /root/kept")
    #expect(terminal.wait(for: "kept-42"), "\(terminal.text.suffix(2000))")
  }
}
