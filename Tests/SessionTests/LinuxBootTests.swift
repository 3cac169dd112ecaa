import Glibc
import Session
import Testing
import VMCore

/// Debian's kernel and the initrd that `Samples/linux/fetch.sh` makes.
enum LinuxImage {
  static let folder = (SampleLibrary.folder("Samples") ?? "Samples") + "/linux"
  static let kernel = folder + "/image/vmlinuz"
  static let initrd = folder + "/image/initrd.gz"

  /// There, or fetched now where this is a Debian with a way to its archive.
  static let isThere: Bool = {
    if HostFile.exists(kernel), HostFile.exists(initrd) { return true }
    // The shell keeps the script's words to itself.
    return system("timeout 120 '\(folder)/fetch.sh' >/dev/null 2>&1") == 0 && HostFile.exists(initrd)
  }()

  static func session(_ engine: String = "interpreter", append: String? = "quiet", _ change: (inout SessionConfiguration) -> Void = { _ in })
    throws -> Session
  {
    var configuration = SessionConfiguration()
    configuration.guest = kernel
    configuration.initrd = initrd
    configuration.engine = engine
    configuration.append = append
    change(&configuration)
    return try Session(configuration)
  }
}

@Suite(
  "Debian's kernel", .serialized,
  .enabled(if: LinuxImage.isThere, "Samples/linux/fetch.sh has not made the images, and cannot from here"))
struct LinuxBootTests {
  private func boot(_ engine: String, _ change: (inout SessionConfiguration) -> Void = { _ in }) throws -> WholeRun {
    WholeRun(of: try LinuxImage.session(engine, change))
  }

  @Test func `it boots to its first program, alike under interpreter and rewriter`() throws {
    let interpreted = try boot("interpreter")
    #expect(interpreted.output.contains("HELLO-FROM-INIT\r\nLinux (none) 6."))
    #expect(interpreted.stop.contains("asked for a reset"))
    #expect(try boot("rewriter") == interpreted)
  }

  /// The kernel looks at CPUID and uses what is there: its copies, checksums and XSAVE area are others with each model.
  @Test(arguments: [CPUModel.v2, .v3])
  func `later processors boot it too, alike under interpreter and rewriter`(_ cpu: CPUModel) throws {
    let runs = try ["interpreter", "rewriter"].map { try boot($0) { $0.cpu = cpu } }
    #expect(runs[0].output.contains("HELLO-FROM-INIT") && runs[0] == runs[1])
  }

  @Test(.enabled(if: getenv("RINGSIDE_CAMPAIGN") != nil, "runs with make test-long"))
  func `the very file Debian ships unpacks itself and boots, twice the same`() throws {
    let runs = try (0..<2).map { _ in try boot("rewriter") { $0.boot = .bzimage } }
    #expect(runs[0].output.contains("HELLO-FROM-INIT"))
    #expect(runs[0] == runs[1])
  }

  @Test func `two processors boot on the machine with ACPI, twice the same`() throws {
    let runs = try (0..<2).map { _ in
      try boot("rewriter") {
        $0.cpus = 2
        $0.append = nil
      }
    }
    #expect(runs[0].output.contains("smpboot: Total of 2 processors activated"))
    #expect(runs[0].output.contains("HELLO-FROM-INIT\r\nLinux (none) 6."))
    #expect(runs[0].stop.contains("asked for a reset"))
    #expect(runs[0] == runs[1])
  }

  @Test(.enabled(if: getenv("RINGSIDE_CAMPAIGN") != nil, "runs with make test-long"))
  func `two processors are alike under interpreter and rewriter`() throws {
    let runs = try ["interpreter", "rewriter"].map { try boot($0) { $0.cpus = 2 } }
    #expect(runs[0].output.contains("HELLO-FROM-INIT") && runs[0] == runs[1])
  }

  @Test func `a guest on the machine with ACPI turns itself off`() throws {
    let session = try LinuxImage.session("rewriter", append: "quiet shell") { $0.machine = .p1 }
    for command in ["step 450000000", "send \"poweroff -f\\r\"", "continue"] {
      let result = session.perform(command)
      #expect(!result.failed, "\(command): \(result.lines)")
    }
    #expect(session.currentSnapshot().stop == .shutdown)
  }

  @Test func `its functions have names, without a debug package`() throws {
    let session = try LinuxImage.session()
    for command in ["break start_kernel", "continue"] {
      let result = session.perform(command)
      #expect(!result.failed, "\(command): \(result.lines)")
    }
    #expect(session.currentSnapshot().stopSentence.contains("start_kernel"))
    #expect(session.perform("break set_task_stack_end_magic").lines.first?.contains("set_task_stack_end_magic") == true)
    #expect(session.perform("continue").lines.first?.contains("set_task_stack_end_magic") == true)
    let finished = session.perform("finish").lines.joined(separator: " ")
    #expect(finished.contains("start_kernel+"), "\(finished)")
  }

  @Test func `what is typed reaches the shell on the serial line`() throws {
    let session = try LinuxImage.session("rewriter", append: "quiet shell")
    var output: [UInt8] = []
    session.onConsoleOutput { output += $0 }
    // A shell waits for ever: the timer goes on. So much is enough to reach it, and to carry out a command.
    for command in ["step 450000000", "send \"echo $((6*7))-is-it\\r\"", "step 30000000", "send \"reboot -f\\r\"", "continue"] {
      let result = session.perform(command)
      #expect(!result.failed, "\(command): \(result.lines)")
    }
    #expect(String(decoding: output, as: UTF8.self).contains("42-is-it"))
    #expect(session.currentSnapshot().stopSentence.contains("asked for a reset"))
  }
}
