import Glibc
import Session
import Testing
import VMCore

/// Guests of others, from Debian's packages seabios, memtest86+, grub-pc-bin and ipxe (Samples/foreign).
enum ForeignGuest {
  static let seaBIOS = "/usr/share/seabios/bios.bin"
  static let memtest = "/boot/memtest86+x64.bin"
  static let iPXE = "/boot/ipxe.lkrn"
  /// A disk image whose boot sector loads GRUB with its shell; nil where grub-mkimage is not installed.
  static let grubDisk: String? = {
    let path = "/tmp/ringside-grub-\(getpid()).img"
    let modules = "biosdisk part_msdos normal help ls echo halt"
    let made = system(
      "cd /usr/lib/grub/i386-pc 2>/dev/null && grub-mkimage -O i386-pc -o '\(path).core' -p '' \(modules) >/dev/null 2>&1 "
        + "&& cat boot.img '\(path).core' >'\(path)' && truncate -s 1M '\(path)'")
    return made == 0 ? path : nil
  }()

  /// Runs to the instruction, `typed` typed at two thirds of the way; gives the serial port's output and the screen.
  static func run(_ limit: UInt64, typed: String? = nil, _ change: (inout SessionConfiguration) -> Void) throws -> String {
    var configuration = SessionConfiguration()
    configuration.engine = "rewriter"
    configuration.limit = limit
    change(&configuration)
    let session = try Session(configuration)
    var output: [UInt8] = []
    session.onConsoleOutput { output += $0 }
    if let typed {
      for command in ["step \(limit / 3 * 2)", "send \"\(typed)\""] { _ = session.perform(command) }
    }
    _ = session.perform("continue")
    let screen = session.perform("info screen").lines.joined(separator: "\n")
    return String(decoding: output, as: UTF8.self) + "\n" + screen
  }
}

@Suite("Guests nobody here wrote", .serialized)
struct ForeignGuestTests {
  @Test(.enabled(if: HostFile.exists(ForeignGuest.seaBIOS), "Debian's seabios is not installed"))
  func `SeaBIOS boots a boot sector from the disk`() throws {
    let output = try ForeignGuest.run(400_000_000) {
      $0.firmware = ForeignGuest.seaBIOS
      $0.disk = (SampleLibrary.folder("Samples") ?? "Samples") + "/hello-real/hello-real.bin"
    }
    #expect(output.contains("SeaBIOS (version "))
    #expect(output.contains("Hello from real mode, by port 3F8h."))
    #expect(output.contains("Leaving by port F4h."))
  }

  @Test(.enabled(if: HostFile.exists(ForeignGuest.memtest), "Debian's memtest86+ is not installed"))
  func `memtest86+ tests memory`() throws {
    let output = try ForeignGuest.run(700_000_000) {
      $0.guest = ForeignGuest.memtest
      $0.memory = 64 << 20
      $0.append = "console=ttyS0,115200 nosmp nopause"
    }
    #expect(output.contains("Memtest86+ v"))
    #expect(output.contains("Memory  :   64MB"))
    #expect(output.contains("Errors: 0"))
    #expect(output.contains("#0  [Address test, walking ones, no cache]"))
  }

  /// Ten minutes, most of them the last test's wait of 160 virtual seconds.
  @Test(
    .enabled(if: getenv("RINGSIDE_CAMPAIGN") != nil, "runs with make test-long"),
    .enabled(if: HostFile.exists(ForeignGuest.memtest), "Debian's memtest86+ is not installed"))
  func `memtest86+ ends its first pass without an error`() throws {
    let output = try ForeignGuest.run(235_000_000_000) {
      $0.guest = ForeignGuest.memtest
      $0.memory = 64 << 20
      $0.append = "nosmp nopause"
    }
    #expect(output.contains("Pass:  1        Errors: 0"), "\(output)")
  }

  @Test(.enabled(if: ForeignGuest.grubDisk != nil, "Debian's grub-pc-bin is not installed"), arguments: [GrubStart.bootSector, .multiboot])
  func `GRUB comes to its prompt and does what is typed there`(_ start: GrubStart) throws {
    try Self.grub(start, 57_000_000)
  }

  @Test(
    .enabled(if: getenv("RINGSIDE_CAMPAIGN") != nil, "runs with make test-long"),
    .enabled(if: ForeignGuest.grubDisk != nil && HostFile.exists(ForeignGuest.seaBIOS), "Debian's grub-pc-bin or seabios is not installed"))
  func `GRUB comes to its prompt over SeaBIOS`() throws { try Self.grub(.seaBIOS, 1_000_000_000) }

  /// By the real-mode entry of the boot protocol; to its prompt it would take hours.
  @Test(.enabled(if: HostFile.exists(ForeignGuest.iPXE), "Debian's ipxe is not installed"))
  func `iPXE unpacks itself and begins`() throws {
    let output = try ForeignGuest.run(120_000_000) { $0.guest = ForeignGuest.iPXE }
    #expect(output.contains("iPXE initialising devices..."))
  }

  private static func grub(_ start: GrubStart, _ limit: UInt64) throws {
    let disk = try #require(ForeignGuest.grubDisk)
    let output = try ForeignGuest.run(limit, typed: "echo typed-it\\r") {
      switch start {
      case .bootSector: $0.guest = disk
      case .multiboot: $0.guest = disk + ".core"
      case .seaBIOS: ($0.firmware, $0.disk) = (ForeignGuest.seaBIOS, disk)
      }
    }
    #expect(output.contains("GNU GRUB  version 2."))
    #expect(output.contains("grub> echo typed-it"))
    #expect(output.ranges(of: "typed-it").count > 1)
  }
}

/// From a boot sector over this BIOS or over SeaBIOS, or the core alone, as a Multiboot program over this BIOS.
enum GrubStart { case bootSector, multiboot, seaBIOS }
