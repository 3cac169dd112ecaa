import Foundation
import Glibc
import TerminalDriver
import Testing

/// Recordings as a person makes and opens them, in the program as built.
@Suite("Recordings of the program") struct ProgramRecordingTests {
  private static func path(_ name: String) -> String {
    FileManager.default.temporaryDirectory.appendingPathComponent("ringside-\(getpid())-\(name).rec").path
  }

  @Test func `what a killed program had flushed is all there`() throws {
    let file = Self.path("killed")
    defer { unlink(file) }
    let program = try #require(
      RunningProgram(
        Shell.path, ["--headless", "bench", "--append", "out:1000000000", "--record", file, "-c", "step 5000", "-c", "c"],
        input: "/dev/null", output: "/dev/null", errors: "/dev/null", environment: ["HOME=/dev/null"]))
    var before = 0
    for _ in 0..<200 where before < 200_000 {
      usleep(100_000)
      before = (try? FileManager.default.attributesOfItem(atPath: file)[.size] as? Int) ?? 0
    }
    program.signal(SIGKILL)
    #expect(program.end() == .signal(SIGKILL))
    let result = Shell.run("replay \(file) --headless --json -x 'info recording' -x 'goto last' -x 'info stops'")
    #expect(result.status == 0, "\(result.errors)")
    let events = result.output.split(separator: "\"events\":").dropFirst().first.flatMap { Int($0.prefix { $0.isNumber }) } ?? 0
    #expect(events > 100_000, "\(result.output.prefix(300))")
    #expect(result.output.contains("\"stop\":1,"))
  }

  @Test func `is recognised by its content, and answers as JSON`() {
    let file = Self.path("content")
    defer { unlink(file) }
    #expect(Shell.run("--headless hello-real --record \(file) -c 'exit 5' -c 'step 3'").status == 0)
    let result = Shell.run("\(file) --headless --json -c 'diff 1 2' -c 'goto 3' -c 'info regs'")
    #expect(result.status == 0 && result.output.contains("\"registers\":{") && result.output.contains("\"linear\""), "\(result.errors)")
    let plain = Shell.run("replay \(file) --headless")
    #expect(plain.output.contains("events") && plain.output.contains("created"))
  }

  @Test func `a cut one opens with a word about it, another file is refused`() throws {
    let file = Self.path("cut")
    defer { unlink(file) }
    _ = Shell.run("--headless hello-real --record \(file) -c 'exit 5' -c 'step 3' -c c")
    #expect(system("truncate -s -7 \(file)") == 0)
    let result = Shell.run("replay \(file) --headless -x 'info stops'")
    #expect(result.status == 0 && result.errors.contains("cut off after event"), "\(result.errors)")
    #expect(Shell.run("replay /etc/hostname --headless").status == 2)
    #expect(Shell.run("--headless hello-real --record /nonexistent/x").errors.contains("/nonexistent/x: cannot be written"))
  }

  @Test func `the guest runs as it does unrecorded`() {
    let file = Self.path("digest")
    defer { unlink(file) }
    for guest in ["timer-keyboard", "tiny-hypervisor", "hello-real"] {
      let straight = Shell.run("--headless \(guest) --digest").errors
      #expect(Shell.run("--headless \(guest) --digest --record \(file)").errors == straight, "\(guest)")
    }
  }

  @Test func `themes lists one's own folder too`() {
    let home = "/tmp/ringside-themes-\(getpid())"
    defer { _ = system("rm -rf \(home)") }
    _ = system("mkdir -p \(home)/ringside/themes && printf 'name = \"mine\"\\n' > \(home)/ringside/themes/mine.toml")
    setenv("XDG_CONFIG_HOME", home, 1)
    defer { unsetenv("XDG_CONFIG_HOME") }
    let listed = Shell.run("themes").output
    #expect(listed.contains("mine  (your own)") && listed.contains("dark\n"))
  }

  @Test func `one begun while the guest runs is a recording like any other`() throws {
    let file = Self.path("running")
    defer { unlink(file) }
    let program = try DrivenTerminalTests.start(["bench", "--append", "out:1000000000"], width: 120, height: 40)
    #expect(program.waitFor("F1 help"))
    program.type("c")
    #expect(program.waitFor("RUNNING"))
    program.type(":trace start \(file)\r")
    #expect(program.waitFor("REC "))
    // The guest goes on under the recording, however busy the machine is.
    func exits(_ text: String) -> Substring? { text.firstMatch(of: /exits ([^ ]+)/)?.1 }
    let before = exits(program.screen.text)
    #expect(program.wait(milliseconds: DrivenProgram.patience) { exits($0.text) != before })
    program.type(" ")
    #expect(program.waitFor("STOPPED"))
    program.type(":trace stop\r")
    #expect(program.waitFor("events in \(file)"))
    let result = Shell.run("replay \(file) --headless -x 'goto first' -x 'info stops' -x 'goto 5'")
    #expect(result.status == 0 && result.output.contains("The recording began while the guest ran"), "\(result.output)\(result.errors)")
  }

  @Test("random bytes over a recording do no harm and the terminal comes back", arguments: [1, 2, 3] as [UInt64])
  func random(_ seed: UInt64) throws {
    let file = Self.path("random\(seed)")
    defer { unlink(file) }
    _ = Shell.run("--headless long-kernel --record \(file) -c 'exit 5' -c 'step 3' -c c")
    let program = try DrivenTerminalTests.start(["replay", file], width: 120, height: 40)
    #expect(program.waitFor("REPLAY"))
    program.sendNoise(seed)
    program.type("\u{1B}\u{1B}")
    program.signal(SIGTERM)
    let status = program.waitForEnd()
    #expect(status == 128 + SIGTERM || status == 0)
    #expect(program.isCooked && !program.screen.isAlternate)
  }
}
