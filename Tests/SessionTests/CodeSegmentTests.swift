import Session
import Testing
import VMCore

/// Where the code segment has a base, RIP alone is not where the guest is: symbols and counts by address go by the
/// linear address, and people see CS:IP.
@Suite("Exits in a segment with a base") struct CodeSegmentTests {
  /// hello-real after some calls of its BIOS, whose code lies at F000:xxxx, and a name for where those exit.
  private static func session() throws -> Session {
    let symbols = TemporaryPath()
    symbols.bytes = Array("00000000000ff040 T bios_int\n000000000000f040 T wrong\n".utf8)
    return try withExtendedLifetime(symbols) {
      let session = try RecordingTests.session("hello-real") { $0.symbols = symbols.path }
      _ = session.perform("exit 5")
      return session
    }
  }

  @Test func `are shown as CS:IP and named by their linear address`() throws {
    let session = try Self.session()
    let snapshot = session.currentSnapshot()
    let last = try #require(snapshot.exits.last)
    #expect(last.place == "f000:f040" && last.linear == 0xFF040)
    #expect(session.perform("info exits 1").lines[0].contains("rip f000:f040"))
    let anatomy = try #require(ExitAnatomy(last.sequence, in: snapshot))
    #expect(anatomy.rows.lines.joined(separator: "\n").contains("f000:f040 <bios_int>"))
    #expect(EventReport(snapshot).row(try #require(snapshot.events.last { $0.kind == .exit })).text.contains("f000:f040 <bios_int>"))
  }

  @Test func `are counted by linear address and symbol`() throws {
    let session = try Self.session()
    let snapshot = session.currentSnapshot()
    #expect(snapshot.exitAddresses == [AddressCount(address: 0xFF040, count: 5)])
    #expect(session.perform("info stats").lines.contains { $0.contains("at ff040 <bios_int>  5") })
    #expect(StatisticsReport(snapshot).bySymbol.map { $0.name } == ["bios_int"])
  }

  @Test func `are the same after going back, and in a recording`() throws {
    let session = try Self.session()
    let before = session.currentSnapshot()
    _ = session.perform("rsi 20")
    _ = session.perform("exit")
    #expect(session.currentSnapshot().exits.last?.place == "f000:f040")
    let file = TemporaryPath()
    let live = try RecordingTests.record("hello-real", ["exit 5"], to: file.path)
    let replayed = try RecordingTests.open(file.path).currentSnapshot()
    #expect(replayed.exits.map(\.place) == live.exits.map(\.place) && replayed.exitAddresses == before.exitAddresses)
  }

  @Test func `leave a guest without such segments alone`() throws {
    let session = try RecordingTests.session("long-kernel")
    _ = session.perform("exit 20")
    let snapshot = session.currentSnapshot()
    #expect(!snapshot.events.contains { $0.kind == .codeSegment })
    #expect(snapshot.exits.allSatisfy { $0.linear == $0.exit.rip && !$0.place.contains(":") })
  }
}
