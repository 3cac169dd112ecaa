import Glibc
import VMCore

/// Debian's Bochs with a Multiboot guest. It loads no kernels itself, so GRUB boots from a small CD image.
struct BochsGuest {
  static let bios = "/usr/share/bochs/BIOS-bochs-latest"
  static let videoBIOS = "/usr/share/bochs/VGABIOS-lgpl-latest"
  static let grub = "/usr/lib/grub/i386-pc"

  let guest: String
  let folder: String

  func start(words: String) throws(VMError) -> RunningGuest {
    try makeImage(words: words)
    let serial = "\(folder)/com1"
    unlink(serial)
    guard mkfifo(serial, 0o600) == 0 else { throw VMError(.host, "no FIFO could be made at \(serial)") }
    let fifo = open(serial, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard fifo >= 0 else { throw VMError(.host, "\(serial) cannot be opened") }
    try Host.write(Array(configuration.utf8), to: "\(folder)/bochsrc")
    // Debian's is built with its debugger, which waits for a command.
    try Host.write(Array("c\n".utf8), to: "\(folder)/commands")
    let child = try Child(
      ["bochs", "-q", "-f", "\(folder)/bochsrc", "-rc", "\(folder)/commands"], environment: ["TERM=linux"])
    return RunningGuest(child, fifo: fifo)
  }

  private func makeImage(words: String) throws(VMError) {
    let tree = "\(folder)/tree"
    try Host.run(["rm", "-rf", tree], seconds: 10)
    try Host.run(["mkdir", "-p", "\(tree)/boot/grub"], seconds: 10)
    try Host.run(["cp", guest, "\(tree)/boot/guest"], seconds: 10)
    // GRUB gives the kernel what follows the file's name; guests skip the first word as the program's name.
    let menu = "set timeout=0\nmultiboot /boot/guest guest \(words)\nboot\n"
    try Host.write(Array(menu.utf8), to: "\(tree)/boot/grub/grub.cfg")
    try Host.run(
      [
        "grub-mkrescue", "-d", Self.grub, "-o", "\(folder)/cd.iso", "--install-modules=multiboot normal iso9660 biosdisk",
        "--fonts=", "--themes=", "--locales=", tree,
      ], seconds: 60)
  }

  /// The fastest sensible settings: no waiting for the host's clock, no screen but a terminal's (the build has
  /// none without), and enough instructions a virtual second that timers cost little.
  private var configuration: String {
    """
    romimage: file=\(Self.bios)
    vgaromimage: file=\(Self.videoBIOS)
    display_library: term
    megs: 256
    cpu: count=1, ips=20000000, reset_on_triple_fault=0
    clock: sync=none
    ata0-master: type=cdrom, path=\(folder)/cd.iso, status=inserted
    boot: cdrom
    com1: enabled=1, mode=file, dev=\(folder)/com1
    log: /dev/null
    panic: action=fatal
    error: action=ignore
    info: action=ignore
    debug: action=ignore
    speaker: enabled=0

    """
  }
}
