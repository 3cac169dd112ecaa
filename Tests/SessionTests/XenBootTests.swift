import Glibc
import Session
import Testing
import VMCore

@Suite(
  "Debian's kernel under Xen's ABI", .serialized,
  .enabled(if: LinuxImage.isThere, "Samples/linux/fetch.sh has not made the images, and cannot from here"))
struct XenBootTests {
  private func session(_ engine: String, limit: UInt64? = nil) throws -> Session {
    try LinuxImage.session(engine, append: nil) {
      $0.technique = .pv
      $0.limit = limit
    }
  }

  private func boot(_ engine: String, limit: UInt64? = nil) throws -> WholeRun {
    WholeRun(of: try session(engine, limit: limit))
  }

  @Test func `its first millions of instructions are the same under interpreter and rewriter`() throws {
    let interpreted = try boot("interpreter", limit: 20_000_000)
    #expect(interpreted.output.contains("Hypervisor detected: Xen PV"))
    #expect(try boot("rewriter", limit: 20_000_000) == interpreted)
  }

  @Test(.enabled(if: getenv("RINGSIDE_CAMPAIGN") != nil, "runs with make test-long"))
  func `it boots to its first program, twice the same`() throws {
    let first = try boot("rewriter")
    #expect(first.output.contains("HELLO-FROM-INIT\r\nLinux (none) 6."))
    #expect(try boot("rewriter") == first)
  }

  @Test(.enabled(if: getenv("RINGSIDE_CAMPAIGN") != nil, "runs with make test-long"))
  func `a shell on hvc0 answers, and the guest powers off in good order`() throws {
    let session = try LinuxImage.session("rewriter", append: "quiet shell") { $0.technique = .pv }
    var ends: [Int32] = [0, 0]
    try #require(pipe(&ends) == 0)
    defer { for end in ends { close(end) } }
    let typed = Array("echo six-by-$((6*7))\npoweroff -f\n".utf8)
    try #require(write(ends[1], typed, typed.count) == typed.count)
    var output: [UInt8] = []
    session.onConsoleOutput { output += $0 }
    session.readGuestInput(from: ends[0])
    _ = session.perform("continue")
    #expect(String(decoding: output, as: UTF8.self).contains("six-by-42"))
    #expect(session.currentSnapshot().stopSentence.contains("shut down"), "\(session.currentSnapshot().stopSentence)")
  }

  @Test func `hypercalls come in the order of a boot under Xen, and stop by name and operation`() throws {
    let session = try session("interpreter")
    let expected = [
      "xen_version.get_features", "memory_op.machphys_mapping", "update_va_mapping", "set_gdt", "set_segment_base.gs_kernel",
      "set_trap_table", "console_io.write",
    ]
    for name in expected {
      let result = session.perform("hypercall")
      #expect(session.currentSnapshot().stopSentence.contains("Hypercall \(name) about to be made"), "\(result.lines)")
    }
    #expect(session.perform("bh vm_assist.enable").failed == false)
    _ = session.perform("continue")
    #expect(session.currentSnapshot().stopSentence.contains("vm_assist"), "\(session.currentSnapshot().stopSentence)")
    let log = session.perform("info xen log").lines
    #expect(log.contains("mapping kernel into physical memory"))
    #expect(session.perform("info xen start_info").lines.contains { $0.hasPrefix("cmd_line: console=hvc0") })
  }

  @Test func `a domain of its own size is refused where it cannot be`() throws {
    #expect(throws: VMError.self) {
      try LinuxImage.session("interpreter", append: nil) {
        $0.technique = .pv
        $0.memory = 8 << 20
      }
    }
  }
}
