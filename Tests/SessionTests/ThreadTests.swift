import Glibc
import Session
import Testing
import VMCore

@Suite("A session with a thread of its own")
struct ThreadTests {
  /// Waits until `holds`, at most two seconds.
  static func wait(_ session: Session, _ holds: (SessionSnapshot) -> Bool) -> SessionSnapshot? {
    for _ in 0..<200 {
      let now = session.snapshot
      if holds(now) { return now }
      _ = session.waitForNewSnapshot(after: now.generation, timeout: 10)
    }
    return nil
  }

  @Test func `pauses a running guest, goes on, and answers commands meanwhile`() throws {
    let session = try Scripted([0x1008: .jump(0x1000)]).session()
    session.start()
    defer { session.stop() }
    #expect(session.snapshot.phase == .created)
    session.submit("continue")
    #expect(Self.wait(session) { $0.phase == .running && $0.instructionCount > 0 } != nil)
    session.submit("x/4xb 1000")
    #expect(Self.wait(session) { $0.messages.contains { $0.kind == .answer } } != nil)
    session.submit("step")
    #expect(Self.wait(session) { $0.messages.contains { $0.kind == .error && $0.text.contains("pause first") } } != nil)
    session.pause()
    let paused = try #require(Self.wait(session) { $0.phase == .paused })
    #expect(paused.stop == .pause && paused.instructionCount > 0)
    session.submit("step 5")
    let stepped = try #require(Self.wait(session) { $0.stop == .step })
    #expect(stepped.instructionCount == paused.instructionCount + 5)
    #expect(session.history == ["continue", "x/4xb 1000", "step", "step 5"])
  }

  @Test func `what was submitted is answered when the wait for answers ends, unless the guest runs on`() throws {
    let session = try Scripted([0x1008: .jump(0x1000)]).session()
    session.start()
    defer { session.stop() }
    for _ in 0..<20 { session.submit("step 2") }
    #expect(session.waitForAnswers(timeout: 20_000))
    #expect(session.snapshot.instructionCount == 40)
    session.submit("continue")
    #expect(!session.waitForAnswers(timeout: 20))
    session.pause()
    #expect(session.waitForAnswers(timeout: 20_000))
    #expect(session.snapshot.phase == .paused)
  }

  @Test func `an idle guest wakes when somebody types`() throws {
    let scripted = try Scripted([0x1000: .halt, 0x1001: .jump(0x1000), 0x12400: .interruptReturn])
    let session = scripted.session()
    session.start()
    defer { session.stop() }
    session.submit("continue")
    #expect(Self.wait(session) { $0.phase == .idle } != nil)
    let before = session.snapshot.instructionCount
    session.typeToGuest(Array("x".utf8))
    #expect(Self.wait(session) { $0.instructionCount > before && $0.phase == .idle } != nil)
    session.pause()
    #expect(Self.wait(session) { $0.phase == .paused } != nil)
  }

  @Test func `a running session publishes only when asked, and stops publish by themselves`() throws {
    let session = try Scripted([0x1008: .jump(0x1000)]).session { $0.limit = 500_000 }
    session.start()
    defer { session.stop() }
    session.submit("continue")
    usleep(100_000)
    #expect(Self.wait(session) { $0.stop == .limit } != nil)
    #expect(session.snapshot.instructionCount == 500_000)
  }

  @Test func `ends while the guest runs`() throws {
    let session = try Scripted([0x1008: .jump(0x1000)]).session()
    session.start()
    session.submit("continue")
    usleep(20_000)
    session.stop()
    #expect(session.snapshot.phase != .running || session.snapshot.generation > 0)
  }
}

@Suite("Events")
struct EventTests {
  @Test func `the recorder loses nothing through a small ring`() throws {
    var name = Array("/tmp/ringside-events-XXXXXX".utf8CString)
    close(mkstemp(&name))
    let path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { unlink(path) }
    let sink = EventSink(capacity: 16)
    let stream = EventStream(sink)
    stream.recorder = try EventRecorder(path: path)
    for index in 0..<1000 { sink.emit(Event(.output, a: UInt32(index & 0xFF))) }
    stream.drain()
    stream.recorder?.flush()
    let lines = (HostFile.text(at: path) ?? "").split(separator: "\n")
    #expect(lines.count == 1000)
    #expect(lines.last == #"{"seq":999,"time":0,"vcpu":0,"kind":"output","byte":231}"#)
    #expect(sink.dropped == 0)
    #expect(stream.eventCount == 1000)
  }

  @Test func `the digest does not see who watches`() {
    func digest(_ events: [Event]) -> UInt64 {
      let digest = RunDigest()
      for event in events { digest.add(event) }
      return digest.count
    }
    let guest = [Event(.output, a: 1), Event(.interrupt, a: 0x20)]
    #expect(digest(guest) == 2)
    #expect(digest(guest + [Event(.stop), Event(.go), Event(.entry)]) == 2)
  }

  @Test(arguments: [
    (JSONValue.string("a\"b\\\n\u{1}"), #""a\"b\\\n\u0001""#), (.number(.max), "18446744073709551615"),
    (.members(("a", .null), ("b", .array([.bool(true), .signed(-1)]))), #"{"a":null,"b":[true,-1]}"#),
    (.hex(0x1F), #""0x1f""#),
  ])
  func `JSON is written as it should be`(value: JSONValue, text: String) { #expect(value.text == text) }
}
