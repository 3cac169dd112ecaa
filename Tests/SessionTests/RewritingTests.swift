import Session
import Testing
import VMCore
import X86

/// Technique `rewrite`: sensitive instructions call out by a policy that every engine obeys.
@Suite("Technique rewrite") struct RewritingTests {
  private static func session(_ guest: String, _ engine: String?, _ technique: Technique = .rewrite) throws -> Session {
    var configuration = SessionConfiguration()
    configuration.guest = guest
    configuration.technique = technique
    configuration.engine = engine
    configuration.recordsStates = true
    return try Session(configuration)
  }

  static let samples = [
    "hello-real", "protected-fault", "timer-keyboard", "mmio-device", "self-modifying", "triple-fault", "long-kernel",
    "hypercalls", "sensitive-parade", "tiny-hypervisor", "two-processors",
  ]

  @Test("a sample makes the run it makes with VT-x, on either engine", arguments: samples)
  func same(_ guest: String) throws {
    let runs = try [(Technique.hvm, "interpreter"), (.rewrite, "interpreter"), (.rewrite, "rewriter")].map { technique, engine in
      WholeRun(of: try Self.session(guest, engine, technique))
    }
    #expect(runs[0] == runs[1])
    #expect(runs[1] == runs[2])
  }

  @Test func `the rewriter is its engine unless another is named`() throws {
    #expect(try Self.session("long-kernel", nil).currentSnapshot().engine == "rewriter")
    #expect(try Self.session("long-kernel", "interpreter").currentSnapshot().engine == "interpreter")
    #expect(try Self.session("long-kernel", "auto").currentSnapshot().engine == "rewriter")
    #expect(throws: VMError.self) { try Self.session("long-kernel", "kvm") }
  }

  @Test("sensitive instructions exit as callouts, with what they are", arguments: ["interpreter", "rewriter"])
  func callouts(_ engine: String) throws {
    let session = try Self.session("sensitive-parade", engine)
    _ = session.perform("continue")
    let snapshot = session.currentSnapshot()
    let reasons = Set(snapshot.reasons.map(\.reason))
    #expect(reasons.contains(.callout) && !reasons.contains(.io) && !reasons.contains(.cpuid))
    let sites = snapshot.rewriting.sites.filter { $0.count > 0 }
    let operations = Set(sites.map(\.operation))
    for operation in [SensitiveOperation.storeDescriptorTable, .smsw, .pushFlags, .segmentCheck, .cpuid, .portOutput] {
      #expect(operations.contains(operation), "\(operation)")
    }
    #expect(sites.allSatisfy { ($0.treatment == .inCache) == [.pushFlags, .popFlags, .interruptFlag, .swapgs, .smapFlag].contains($0.operation) })
    // What faults for want of privilege before it could call out is counted all the same.
    let counted = sites.filter { $0.treatment == .callout }.reduce(UInt64(0)) { $0 + $1.count }
    let exits = snapshot.reasons.first { $0.reason == .callout }?.count ?? 0
    #expect(exits > 0 && counted > exits)
  }

  @Test("both engines count the same sites", arguments: samples)
  func sites(_ guest: String) throws {
    let sites = try ["interpreter", "rewriter"].map { engine in
      let session = try Self.session(guest, engine)
      _ = session.perform("continue")
      return session.currentSnapshot().rewriting.sites.filter { $0.count > 0 }.sorted { ($0.rip, $0.gpa.value) < ($1.rip, $1.gpa.value) }
    }
    #expect(sites[0] == sites[1])
  }

  @Test("a breakpoint by reason stops at callouts, by either name", arguments: ["interpreter", "rewriter"])
  func stops(_ engine: String) throws {
    let session = try Self.session("long-kernel", engine)
    _ = session.perform("be callout")
    _ = session.perform("continue")
    #expect(session.currentSnapshot().stopSentence.contains("callout"))
    _ = session.perform("delete 1")
    _ = session.perform("exit cpuid")
    guard case .cpuid? = session.currentSnapshot().exits.last?.exit.qualification else {
      Issue.record("not at a CPUID: \(session.currentSnapshot().stopSentence)")
      return
    }
    #expect(session.currentSnapshot().exits.last?.exit.operation == .cpuid)
    _ = session.perform("be io port==0x3f8")
    _ = session.perform("continue")
    #expect(session.currentSnapshot().stop == .breakpoint(2))
  }

  @Test func `an exit says which policy made it, and what its emulation did`() throws {
    let session = try Self.session("long-kernel", "interpreter")
    _ = session.perform("exit cpuid")
    _ = session.perform("step")
    let lines = session.perform("info exit").lines.joined(separator: "\n")
    #expect(lines.contains("the rewriting policy calls out for"))
  }

  @Test func `what trap and emulate would have missed is listed by place`() throws {
    let session = try Self.session("sensitive-parade", nil)
    _ = session.perform("continue")
    let lines = session.perform("info missed").lines
    #expect(lines[0].contains("trap and emulate would never have seen them"))
    #expect(lines.contains { $0.contains("PUSHF: would have pushed the machine's IF and IOPL") })
    #expect(lines.contains { $0.contains("SGDT, SIDT: would have stored the monitor's GDTR or IDTR") })
    let plain = try Self.session("sensitive-parade", "rewriter", .hvm)
    #expect(plain.perform("info missed").lines[0].contains("--technique rewrite"))
  }

  @Test func `the policy has a row for every sensitive instruction, and no control bit can be turned beside it`() throws {
    let session = try Self.session("long-kernel", nil)
    #expect(session.perform("info policy").lines.count == SensitiveOperation.allCases.count + 1)
    let answer = session.perform("vmcs set hlt-exiting off")
    #expect(answer.failed && answer.lines[0].contains("no VMCS decides"))
  }

  @Test func `a warm block is shown beside its host form`() throws {
    let session = try Self.session("long-kernel", "rewriter", .hvm)
    _ = session.perform("break log_write")
    for _ in 0..<3 { _ = session.perform("continue") }
    _ = session.perform("delete 1")
    _ = session.perform("step 40000")
    let totals = try #require(session.currentSnapshot().rewriting.totals)
    #expect(totals.blocks > 0 && totals.hostBytes > totals.guestBytes && totals.cached > 0 && totals.used > 0)
    #expect(totals.kinds[.identity] ?? 0 > 0 && totals.kinds[.rewritten] ?? 0 > 0)
    var found = false
    for _ in 0..<200 where !found {
      _ = session.perform("stepblock")
      guard let block = session.currentSnapshot().rewriting.block, case .rewritten = block.status else { continue }
      found = true
      #expect(!block.host.isEmpty && block.starts.count == block.instructions.count)
      let lines = session.perform("info block").lines
      #expect(lines[0].contains("rewritten, ") && lines.count > block.instructions.count)
      #expect(!lines.contains { $0.contains("db ") })
    }
    #expect(found)
  }

  @Test("a step to the next block ends where a block begins", arguments: ["interpreter", "rewriter"])
  func stepBlock(_ engine: String) throws {
    let session = try Self.session("long-kernel", engine, .hvm)
    for _ in 0..<50 {
      _ = session.perform("sb")
      let snapshot = session.currentSnapshot()
      #expect(snapshot.phase == .paused)
    }
    #expect(session.currentSnapshot().instructionCount >= 50)
  }

  @Test func `going back takes the counts of sites back`() throws {
    let session = try Self.session("sensitive-parade", "interpreter")
    _ = session.perform("step 200")
    let before = session.currentSnapshot().rewriting.sites.map(\.count).reduce(0, +)
    _ = session.perform("step 100")
    _ = session.perform("rsi 100")
    #expect(session.currentSnapshot().rewriting.sites.map(\.count).reduce(0, +) == before)
  }
}
