import Glibc
import TerminalDriver
import Testing

/// The image's path.
private let debianImage = getenv("RINGSIDE_DEBIAN_IMAGE").map { String(cString: $0) }
private let linuxFolder = #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 } + "/Samples/linux/image"

/// The built program with a Debian on a copy of the image, killed while it writes.
@Suite("Debian on a disk, killed", .serialized, .enabled(if: debianImage != nil, "RINGSIDE_DEBIAN_IMAGE names no image"))
struct DebianKillTests {
  private let disk = "/tmp/ringside-debian-killed-\(getpid()).img"
  private static let patience = 180_000

  /// At root's prompt.
  private func start() throws -> DrivenProgram {
    let program = try #require(
      DrivenProgram(
        [
          // What is typed comes through a pipe: without a console a terminal is not read. The shell becomes the program.
          "/bin/bash", "-c", "exec 3<&0; exec \"$0\" \"$@\" < <(cat <&3)", Shell.path, "--headless", "\(linuxFolder)/vmlinuz",
          "--initrd", "\(linuxFolder)/initrd-disk.gz", "--disk", disk,
          "--engine", "rewriter", "--append", "quiet norandmaps", "--no-progress",
        ], environment: ["TERM": "vt100", "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"]))
    try #require(program.waitFor("ringside login:", milliseconds: Self.patience), "\(program.screen.text)")
    program.type("root\r")
    try #require(program.waitFor("root@ringside:~#", milliseconds: Self.patience), "\(program.screen.text)")
    return program
  }

  @Test func `what the guest had synced is there after kill -9`() throws {
    let image = try #require(debianImage)
    #expect(system("cp --sparse=always '\(image)' '\(disk)'") == 0)
    defer { unlink(disk) }
    let first = try start()
    first.type("seq 100000 >kept; sync; echo synced-$((6*7)); while true; do echo more >>later; done\r")
    #expect(first.waitFor("synced-42", milliseconds: Self.patience), "\(first.screen.text)")
    first.take(milliseconds: 200)
    first.end()
    let second = try start()
    second.type("seq 100000 | cmp - kept && echo whole-$((6*7)); poweroff\r")
    #expect(second.waitFor("whole-42", milliseconds: Self.patience), "\(second.screen.text)")
    #expect(second.waitForEnd(milliseconds: Self.patience) == 0)
  }
}
