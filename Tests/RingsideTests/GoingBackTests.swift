import Testing

/// Going back in time, in the program as built.
@Suite struct GoingBackTests {
  private static func answers(_ commands: [String], guest: String = "long-kernel", input: String = "</dev/null") -> String {
    let list = commands.map { " -c '\($0)'" }.joined()
    return Shell.run("--headless \(guest)\(list)", input: input).output
  }
  /// What `info regs` prints after these commands.
  private static func registers(_ commands: [String], guest: String = "long-kernel") -> [Substring] {
    let whole = answers(commands + ["echo here", "info regs", "x/32xg $rsp"], guest: guest)
    return whole.split(separator: "\n").drop { $0 != "here" }.dropFirst().map { $0 }
  }

  @Test(
    "N steps back from anywhere is where the guest was",
    arguments: [
      ("step 1000", "rsi 1", "step 999"), ("step 4500", "rsi 1234", "step 3266"), ("exit 50", "rsi", ""),
      ("continue", "rsi 100", ""),
    ])
  func stepsBack(_ row: (forward: String, back: String, same: String)) {
    let before = Self.registers([row.forward, row.back])
    #expect(before.count > 8)
    if !row.same.isEmpty { #expect(before == Self.registers([row.same])) }
    // Forward again comes out where it was.
    let count = row.back.split(separator: " ").dropFirst().first.map(String.init) ?? "1"
    if row.forward.hasPrefix("step") {
      #expect(Self.registers([row.forward, row.back, "step \(count)"]) == Self.registers([row.forward]))
    }
  }

  @Test func `what was set before is set again, what came later is forgotten`() {
    let text = Self.answers(["step 10", "set $r15=0x77", "step 5", "rsi 3", "print $r15", "rsi 8", "print $r15"])
    #expect(text.contains("0x77"))
    #expect(text.contains("forgotten"))
  }

  @Test("stops that sx asked for are no hindrance", arguments: ["sx exception stop", "sx int stop", "sx io stop"])
  func otherStops(_ wish: String) {
    let text = Self.answers([wish, "continue", "continue", "rsi 7"])
    #expect(text.contains("Back after"), "\(text)")
  }

  @Test func `back to the last breakpoint, or to the start`() {
    let at = ["break putc", "continue", "continue", "continue"]
    let one = Self.answers(at + ["rc", "print $rip"])
    #expect(one.contains("Back after"))
    #expect(Self.registers(at + ["rc"]) == Self.registers(["break putc", "continue", "continue"]))
    #expect(Self.registers(["step 50", "rc"]) == Self.registers([]))
    #expect(Shell.run("--headless long-kernel -c rsi").errors.contains("has not executed anything yet"))
  }

  @Test("the digest of a run that went back on its way is that of a straight run", arguments: ["timer-keyboard", "protected-fault", "tiny-hypervisor"])
  func digests(_ guest: String) {
    let straight = Self.answers(["continue", "digest"], guest: guest).split(separator: "\n").last
    let bent = Self.answers(["step 3000", "rsi 2000", "continue", "rsi 10", "continue", "digest"], guest: guest).split(separator: "\n").last
    #expect(straight == bent)
  }
}
