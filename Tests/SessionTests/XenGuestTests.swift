import Session
import Testing
import VMCore

/// What a person does with a paravirtual guest, on the kernel in ring 1.
@Suite("A paravirtual guest in the hands of a person", .serialized) struct XenGuestTests {
  private func session(_ engine: String, _ change: (inout SessionConfiguration) -> Void = { _ in }) throws -> Session {
    var configuration = SessionConfiguration()
    configuration.guest = "ring-one"
    configuration.engine = engine
    change(&configuration)
    return try Session(configuration)
  }

  private func sentence(_ session: Session) -> String { session.currentSnapshot().stopSentence }

  @Test("every line it prints is ok, on both engines", arguments: ["interpreter", "rewriter"])
  func everyLineIsOk(_ engine: String) throws {
    let session = try session(engine)
    let lines = WholeRun(of: session).output.split(whereSeparator: \.isNewline)
    #expect(lines.count > 50)
    for line in lines { #expect(line.hasPrefix("ok "), "\(line)") }
    #expect(sentence(session).contains("shut down"), "\(sentence(session))")
  }

  @Test("one goes to the next bounce, emulated instruction and upcall", arguments: ["interpreter", "rewriter"])
  func kinds(_ engine: String) throws {
    let session = try session(engine)
    _ = session.perform("exit bounce")
    #expect(sentence(session).contains("#DE"), "\(sentence(session))")
    _ = session.perform("exit emulated")
    #expect(session.perform("x/1i pc").lines.joined().contains("in al"), "\(sentence(session))")
    _ = session.perform("exit upcall")
    #expect(sentence(session).contains("f3h") || sentence(session).contains("F3h"), "\(sentence(session))")
  }

  @Test func `a hypercall by INT 82h is an exit to whom runs from exit to exit, and no interrupt`() throws {
    let session = try session("interpreter")
    _ = session.perform("exit")
    #expect(sentence(session).contains("VM exit #0 (int): int 82h"), "\(sentence(session))")
    _ = session.perform("sx int stop")
    _ = session.perform("continue")
    #expect(sentence(session).contains("VM exit #1 (int): int 82h"), "\(sentence(session))")
    _ = session.perform("hypercall")
    #expect(sentence(session).hasPrefix("Hypercall "), "\(sentence(session))")
  }

  @Test func `hypercalls stop by name and argument`() throws {
    let session = try session("interpreter")
    #expect(session.perform("bh update_va_mapping if (arg1 & 2) == 0 && arg2 == 2").failed == false)
    _ = session.perform("continue")
    #expect(sentence(session).contains("update_va_mapping"), "\(sentence(session))")
    let registers = try #require(session.currentSnapshot().vcpus.first)
    #expect(registers[.rax] == 14 && registers[.rcx] & 2 == 0 && registers[.rsi] == 2)
    _ = session.perform("delete all")
    #expect(session.perform("bh sched_op.block if nr == 29").failed == false)
    _ = session.perform("continue")
    #expect(sentence(session).contains("sched_op.block"), "\(sentence(session))")
  }

  @Test func `a trusting monitor says so, and what checking costs is counted`() throws {
    let checked = try session("interpreter")
    _ = checked.perform("continue")
    let costs = checked.perform("info xen").lines.first { $0.contains("isolation:") } ?? ""
    #expect(costs.contains("references counted") && costs.contains("validated"), "\(costs)")
    let trusting = try session("interpreter") { $0.isTrusting = true }
    #expect(WholeRun(of: trusting).output.contains("WRONG a page table is mapped writable by nobody"))
    #expect(trusting.perform("info xen").lines.contains { $0.contains("--trusting") })
    var other = SessionConfiguration()
    other.guest = "long-kernel"
    other.isTrusting = true
    #expect(throws: VMError.self) { try Session(other) }
  }

  @Test func `a guest that does not listen is not asked to shut down`() throws {
    let session = try session("interpreter")
    let result = session.perform("xen shutdown")
    #expect(result.failed && result.lines.joined().contains("control/shutdown"))
    #expect(session.perform("xen sleep").failed)
  }
}
