import Session
import Testing
import VMCore

@Suite("Checkpoints") struct CheckpointTests {
  static func session(_ guest: String, every interval: UInt64) throws -> Session {
    try RecordingTests.session(guest) { $0.checkpointInterval = interval }
  }

  @Test(
    "going back from one comes out where going back from the start does",
    arguments: ["long-kernel", "timer-keyboard", "protected-fault", "tiny-hypervisor", "self-modifying", "hello-real", "mmio-device", "ring-one", "two-processors"])
  func same(_ guest: String) throws {
    let near = try Self.session(guest, every: 500)
    let far = try Self.session(guest, every: 1 << 60)
    for session in [near, far] { _ = session.perform("continue") }
    #expect(near.perform("info checkpoints").lines.count > 2)
    #expect(far.perform("info checkpoints").lines.count == 1)
    #expect(near.digest() == far.digest())
    for command in ["rsi 37", "rsi 900", "step 55", "rsi 3", "exit 2", "rsi 1", "continue", "rsi 120"] {
      let (a, b) = (near.perform(command), far.perform(command))
      #expect(a.lines == b.lines, "\(guest): \(command)")
      let (one, other) = (near.currentSnapshot(), far.currentSnapshot())
      #expect(one.vcpus == other.vcpus && one.instructionCount == other.instructionCount && one.virtualTime == other.virtualTime)
      #expect(one.exits.map(\.exit) == other.exits.map(\.exit) && one.guestConsole == other.guestConsole)
      #expect(one.reasons.map(\.count) == other.reasons.map(\.count))
      #expect(near.digest() == far.digest(), "\(guest): \(command)")
    }
  }

  @Test func `what the guest says again on the way back is not heard twice`() throws {
    let session = try Self.session("long-kernel", every: 1 << 60)
    var heard: [UInt8] = []
    session.onConsoleOutput { heard += $0 }
    for command in ["break report_cpuid", "continue"] { #expect(!session.perform(command).failed) }
    let before = heard
    #expect(!before.isEmpty)
    for command in ["rsi", "rsi 20"] {
      #expect(!session.perform(command).failed)
      #expect(heard == before, "\(command): \(String(decoding: heard, as: UTF8.self))")
    }
  }

  @Test func `to the last breakpoint before now, over many checkpoints`() throws {
    let near = try Self.session("long-kernel", every: 300)
    let far = try Self.session("long-kernel", every: 1 << 60)
    for command in ["tbreak main", "break serial_init", "continue", "delete all", "continue", "break serial_init", "rc", "rc"] {
      #expect(near.perform(command).lines == far.perform(command).lines, "\(command)")
      #expect(near.digest() == far.digest(), "\(command)")
    }
  }

  @Test func `a snapshot under a name is the whole machine`() throws {
    let session = try Self.session("timer-keyboard", every: 1 << 60)
    _ = session.perform("step 2000")
    let digest = session.digest()
    let count = session.currentSnapshot().instructionCount
    #expect(session.perform("snap save here").lines[0].hasPrefix("saved as here: instruction \(count), "))
    _ = session.perform("set $r15=1234")
    _ = session.perform("continue")
    #expect(session.digest() != digest)
    #expect(session.perform("snap load here").lines[0].hasPrefix("Back after \(count) instructions"))
    #expect(session.digest() == digest)
    #expect(session.perform("snap list").lines[0].hasPrefix("here: instruction \(count), "))
    let nearest = session.perform("snap load hree")
    #expect(nearest.failed && nearest.lines[0].contains("here"))
    _ = session.perform("step 100")
    #expect(!session.perform("rsi 50").failed)
  }

  @Test func `there are few enough of them however long a guest runs`() throws {
    let session = try Self.session("timer-keyboard", every: 50)
    _ = session.perform("step 20000")
    let lines = session.perform("info checkpoints").lines
    #expect(lines.count > 30 && lines.count <= 65)
    let counts = lines.dropFirst().compactMap { UInt64($0.split(separator: " ")[0]) }
    #expect(counts == counts.sorted())
    #expect(counts[counts.count - 1] - counts[counts.count - 2] < counts[1], "close together lately, further apart long ago")
  }
}
