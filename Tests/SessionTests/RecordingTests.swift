import Glibc
import Session
import Testing
import VMCore
import X86

/// A file of its own that goes away.
final class TemporaryPath {
  let path: String
  init() {
    var name = Array("/tmp/ringside-recording-XXXXXX".utf8CString)
    close(mkstemp(&name))
    path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
  deinit { unlink(path) }

  var bytes: [UInt8] {
    get { (try? HostFile.bytes(at: path)) ?? [] }
    set {
      guard let file = fopen(path, "w") else { return }
      fwrite(newValue, 1, newValue.count, file)
      fclose(file)
    }
  }
}

@Suite("A recording") struct RecordingTests {
  static func session(_ guest: String, _ change: (inout SessionConfiguration) -> Void = { _ in }) throws -> Session {
    var configuration = SessionConfiguration()
    configuration.guest = guest
    configuration.recordsStates = true
    change(&configuration)
    return try Session(configuration)
  }

  /// Records a guest under these commands; gives the live session's last snapshot.
  static func record(_ guest: String, _ commands: [String], to path: String) throws -> SessionSnapshot {
    let session = try session(guest) { $0.measuresCost = true }
    try session.startRecording(to: path)
    for command in commands { _ = session.perform(command) }
    let snapshot = session.currentSnapshot()
    #expect(session.finishRecording())
    return snapshot
  }

  static func open(_ path: String) throws -> Session { try Session(recording: path, SessionConfiguration()) }

  @Test("has everything a session shows at its end", arguments: ["long-kernel", "hello-real", "hypercalls", "timer-keyboard", "tiny-hypervisor", "two-processors"])
  func whole(_ guest: String) throws {
    let file = TemporaryPath()
    let live = try Self.record(guest, ["be cpuid", "step 100", "exit 5", "continue", "continue"], to: file.path)
    let replayed = try Self.open(file.path).currentSnapshot()
    #expect(replayed.exitCount == live.exitCount)
    #expect(replayed.exits.map(\.detail) == live.exits.map(\.detail))
    #expect(replayed.exits.map(\.handler) == live.exits.map(\.handler))
    #expect(replayed.exits.map(\.exit) == live.exits.map(\.exit))
    #expect(replayed.exits.map(\.cost) == live.exits.map(\.cost))
    #expect(replayed.exits.map(\.states) == live.exits.map(\.states))
    #expect(replayed.exits.map(\.answer) == live.exits.map(\.answer))
    #expect(replayed.reasons == live.reasons)
    #expect(replayed.hypercalls.map(\.text) == live.hypercalls.map(\.text))
    #expect(replayed.vcpus == live.vcpus)
    #expect(replayed.breakpoints == live.breakpoints)
    #expect(replayed.guestConsole == live.guestConsole)
    #expect(replayed.screen == live.screen)
    #expect(replayed.devices.map { $0.rows.map(\.value) } == live.devices.map { $0.rows.map(\.value) })
    #expect(replayed.stop == live.stop)
    #expect(replayed.stopSentence.hasSuffix(live.stopSentence))
    #expect(replayed.instructionCount == live.instructionCount && replayed.virtualTime == live.virtualTime)
    #expect(replayed.exitAddresses == live.exitAddresses)
    #expect(replayed.symbols.symbols == live.symbols.symbols)
  }

  @Test func `every exit can be gone to by its number, with its registers`() throws {
    let file = TemporaryPath()
    let live = try Self.record("long-kernel", ["step 10", "exit 40", "continue"], to: file.path)
    let session = try Self.open(file.path)
    for record in live.exits {
      let answer = session.perform("goto \(record.sequence)")
      #expect(!answer.failed && answer.lines[0].contains("VM exit #\(record.sequence) ("), "\(answer.lines)")
      let there = session.currentSnapshot()
      let vcpu = try #require(there.vcpus.first)
      #expect(vcpu.rip == record.exit.rip && there.exits.last?.sequence == record.sequence)
      if let before = record.states?.before { #expect(RegisterCapture(vcpu) == before, "#\(record.sequence)") }
    }
  }

  @Test func `moves by exit, reason, delivery, hypercall, stop, event and text`() throws {
    let file = TemporaryPath()
    _ = try Self.record("hypercalls", ["step 10", "exit 10", "continue"], to: file.path)
    let session = try Self.open(file.path)
    func go(_ command: String) -> SessionSnapshot {
      #expect(!session.perform(command).failed, "\(command)")
      return session.currentSnapshot()
    }
    #expect(go("goto first").replay?.position == 0)
    #expect(go("exit").exits.last?.sequence == 0)
    #expect(go("exit 3").exits.last?.sequence == 3)
    #expect(go("goto -2").exits.last?.sequence == 1)
    #expect(go("goto +100000").exits.last?.sequence == (go("goto last").exits.last?.sequence))
    let start = go("goto first")
    #expect(start.exitCount == 0)
    #expect(go("hypercall").events.last?.kind == .hypercall)
    _ = go("goto first")
    #expect(go("exit io").exits.last?.exit.reason == .io)
    _ = go("goto first")
    #expect(go("continue").replay?.stop == 1)
    #expect(go("continue").replay?.stop == 2)
    #expect(go("rc").replay?.stop == 1)
    let position = go("goto event 30").replay?.position
    #expect(position == 31)
    #expect(go("rsi 4").replay?.position == 27)
    #expect(go("step 4").replay?.position == 31)
    _ = go("goto first")
    #expect(go("search probe").events.last?.kind == .hypercall)
    #expect(session.perform("search no such words").failed)
    #expect(session.perform("goto 99999999").failed && session.perform("goto stop 77").failed && session.perform("goto x").failed)
  }

  @Test func `is looked through by breakpoints whose conditions the recorded registers answer`() throws {
    let file = TemporaryPath()
    let live = try Self.record("long-kernel", ["exit 60"], to: file.path)
    let session = try Self.open(file.path)
    let wanted = live.exits.filter { exit in
      guard case .io(0x3F8, _, true, _, _, _) = exit.exit.qualification else { return false }
      return exit.states.map { $0.before[.rdx] & 0xFFFF == 0x3F8 } ?? false
    }
    try #require(wanted.count > 1)
    #expect(!session.perform("be io write==1 if dx==0x3f8").failed)
    _ = session.perform("goto first")
    for exit in wanted.prefix(5) {
      let answer = session.perform("continue")
      #expect(answer.lines.joined().contains("Breakpoint 1"), "\(answer.lines)")
      #expect(session.currentSnapshot().exits.last?.sequence == exit.sequence)
    }
    #expect(!session.perform("delete 1").failed)
    _ = session.perform("goto first")
    #expect(session.perform("continue").lines.joined().contains("Stop 1"))
  }

  @Test("refuses what needs a guest, with a sentence", arguments: [
    "set $rax=1", "break main", "watch w 0", "be io if byte[0]==1", "be io if cr3==0", "send \"x\"", "next", "finish", "trace start /tmp/x", "digest", "snap save a", "bi any",
  ])
  func refuses(_ line: String) throws {
    let file = TemporaryPath()
    _ = try Self.record("hello-real", ["step 3"], to: file.path)
    let result = try Self.open(file.path).perform(line)
    #expect(result.failed && result.lines.joined().contains("recording"), "\(result.lines)")
  }

  @Test func `what was not recorded is not made up: memory is that of the stop, the rest is no memory`() throws {
    let file = TemporaryPath()
    let live = try Self.record("long-kernel", ["exit 10"], to: file.path)
    let session = try Self.open(file.path)
    let replayed = session.currentSnapshot()
    let address = try #require(live.vcpus.first).rip
    #expect(session.perform("x/16xb \(String(address, radix: 16))").lines.count == 1)
    #expect(replayed.memory.hostPage(GPA(0x900_0000)) == nil)
    #expect(session.perform("x/4xb 9000000").lines.joined().contains("?") || session.perform("x/4xb 9000000").failed)
    #expect((replayed.replay?.pages ?? 0) > 2)
  }

  @Test func `going back is recorded as what it is, and the numbers go on`() throws {
    let file = TemporaryPath()
    let live = try Self.record("long-kernel", ["exit 10", "rsi 500", "exit 3", "continue"], to: file.path)
    let session = try Self.open(file.path)
    let replayed = session.currentSnapshot()
    #expect(session.perform("info stops").lines.contains { $0.contains("back") })
    #expect(replayed.vcpus == live.vcpus && replayed.instructionCount == live.instructionCount)
    #expect(replayed.exitCount > live.exitCount, "exits that happened twice are in it twice")
    #expect(replayed.exits.last?.states == live.exits.last?.states)
  }

  @Test func `two stops differ there as they did in the session`() throws {
    let file = TemporaryPath()
    let live = try Self.session("long-kernel")
    try live.startRecording(to: file.path)
    for command in ["step 5", "exit 10", "exit 10", "continue"] { _ = live.perform(command) }
    let pairs = [(0, 1), (1, 3), (3, 1), (2, 4), (2, 2)]
    let answers = pairs.map { live.perform("diff \($0.0) \($0.1)") }
    _ = live.finishRecording()
    let session = try Self.open(file.path)
    for (pair, answer) in zip(pairs, answers) {
      let there = session.perform("diff \(pair.0) \(pair.1)")
      #expect(there.lines.filter { !$0.hasPrefix("counts") } == answer.lines.filter { !$0.hasPrefix("counts") })
      #expect(there.json["registers"] == answer.json["registers"] && there.json["pages"] == answer.json["pages"])
    }
    #expect(answers[4].lines.contains("registers: none differs") && answers[4].lines.contains("memory: no page changed"))
    #expect(answers[1].lines.contains { $0.contains("cr0") && $0.contains("+PG") })
  }

  @Test func `one begun in the middle has what came since`() throws {
    let file = TemporaryPath()
    let session = try Self.session("long-kernel")
    _ = session.perform("exit 20")
    #expect(!session.perform("trace start \(file.path)").failed)
    _ = session.perform("exit 5")
    let live = session.currentSnapshot()
    #expect(session.currentSnapshot().recording?.path == file.path)
    #expect(session.perform("trace stop").lines[0].contains("events in"))
    let replayed = try Self.open(file.path).currentSnapshot()
    #expect(replayed.exitCount == 5 && replayed.vcpus == live.vcpus)
    #expect(replayed.exits.last?.detail == live.exits.last?.detail)
  }

  @Test func `JSON is written as before where the file says so`() throws {
    let file = TemporaryPath()
    let path = file.path + ".jsonl"
    defer { unlink(path) }
    let session = try Self.session("long-kernel")
    _ = session.perform("trace start \(path)")
    _ = session.perform("exit 5")
    _ = session.perform("rsi 100")
    _ = session.perform("trace stop")
    let lines = (HostFile.text(at: path) ?? "").split(separator: "\n")
    #expect(lines.contains { $0.contains("\"kind\":\"exit\"") } && lines.contains { $0.contains("\"kind\":\"jump\"") })
  }
}

@Suite("A damaged recording") struct DamagedRecordingTests {
  private static func sample(_ file: TemporaryPath) throws -> [UInt8] {
    _ = try RecordingTests.record("long-kernel", ["step 5", "exit 10", "exit 10", "rsi 3", "continue"], to: file.path)
    return file.bytes
  }

  /// Opens it and looks everywhere; whether it could be opened.
  @discardableResult
  private static func look(_ path: String) -> (opened: Bool, events: UInt64, complaint: String?) {
    do {
      let session = try RecordingTests.open(path)
      for command in ["info exits", "info stops", "goto first", "exit", "continue", "goto 7", "diff 0 1", "info devices", "bt", "goto last", "info log"] {
        _ = session.perform(command)
      }
      let replay = session.currentSnapshot().replay
      return (true, replay?.events ?? 0, replay?.complaint)
    } catch {
      #expect("\(error)".contains(path), "\(error)")
      return (false, 0, nil)
    }
  }

  @Test func `cut off anywhere opens as far as it goes, or says that it does not`() throws {
    let file = TemporaryPath()
    let bytes = try Self.sample(file)
    var most: UInt64 = 0
    for length in stride(from: 0, to: bytes.count, by: max(bytes.count / 150, 1)) {
      file.bytes = Array(bytes.prefix(length))
      let found = Self.look(file.path)
      if found.opened, length < bytes.count { #expect(found.events >= most) }
      most = max(most, found.events)
    }
    #expect(most > 100)
    file.bytes = Array(bytes.dropLast(10))
    #expect(Self.look(file.path).complaint?.hasPrefix("cut off after event") == true)
  }

  @Test func `a flipped bit ends it there, with a sentence`() throws {
    let file = TemporaryPath()
    let bytes = try Self.sample(file)
    var broken = bytes
    broken[bytes.count * 2 / 3] ^= 0x10
    file.bytes = broken
    let found = Self.look(file.path)
    #expect(found.opened && found.complaint?.hasPrefix("damaged after event") == true, "\(found)")
  }

  @Test("2,000 mutations do no harm", arguments: [1, 2] as [UInt64])
  func mutations(_ seed: UInt64) throws {
    let file = TemporaryPath()
    let bytes = try Self.sample(file)
    var random = SystemOrder(state: seed &* 0x9E37_79B9_7F4A_7C15)
    for _ in 0..<1000 {
      var broken = bytes
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let at = Int.random(in: 0..<broken.count, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: broken[at] = UInt8.random(in: 0...255, using: &random)
        case 1: broken.removeSubrange(at..<min(at + Int.random(in: 1...64, using: &random), broken.count))
        case 2: broken.insert(contentsOf: broken[at..<min(at + 40, broken.count)], at: at)
        default: broken[at] ^= 1 << UInt8.random(in: 0...7, using: &random)
        }
        if broken.isEmpty { broken = [0] }
      }
      file.bytes = broken
      Self.look(file.path)
    }
  }

  @Test("what a hostile hand packs well does no harm either", arguments: [3, 4] as [UInt64])
  func hostile(_ seed: UInt64) throws {
    let file = TemporaryPath()
    let bytes = try Self.sample(file)
    var random = SystemOrder(state: seed &* 0x9E37_79B9_7F4A_7C15)
    for _ in 0..<500 {
      file.bytes = RecordingSurgery.mutated(bytes, using: &random)
      Self.look(file.path)
    }
  }

  @Test("other files are refused in a line", arguments: [[], Array("hello".utf8), [0x89, 0x52, 0x53, 0x52, 0x0D, 0x0A, 0x1A, 0x0A, 9, 0, 0, 0, 0, 0, 0, 0]] as [[UInt8]])
  func others(_ bytes: [UInt8]) throws {
    let file = TemporaryPath()
    file.bytes = bytes
    #expect(throws: VMError.self) { try RecordingTests.open(file.path) }
  }
}

/// xorshift64*: the same numbers every time.
struct SystemOrder: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 2_685_821_657_736_338_717
  }
}
