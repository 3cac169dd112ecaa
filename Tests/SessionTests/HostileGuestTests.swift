import Glibc
import Session
import Testing
import VMCore

/// Random bytes as guests, through loader, engine, machine and run control. Whatever they do, the session
/// stops with a reason, within its limit.
@Suite("Hostile guests")
struct HostileGuestTests {
  private struct Random {
    var state: UInt64
    mutating func next() -> UInt64 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return state
    }
  }

  /// Encodings worth meeting often: port I/O, HLT, STI, far transfers, descriptor and control registers,
  /// string instructions, LOCK and REP prefixes, x87 and SSE.
  private static let openings: [[UInt8]] = [
    [0xE6], [0xE4], [0xEE], [0xEC], [0xEF], [0xED], [0xF4], [0xFB], [0xFA], [0xCD], [0xCF], [0xEA], [0x9A], [0xFF],
    [0x0F, 0x01], [0x0F, 0x20], [0x0F, 0x22], [0x0F, 0x30], [0x0F, 0x32], [0x0F, 0xA2], [0x0F, 0x05], [0xF3, 0xA4],
    [0xF3, 0xAB], [0xF2, 0xAE], [0xF0], [0x66], [0x67], [0x48], [0x0F, 0xAE], [0xD9], [0xDD], [0x0F, 0x58],
    [0x8E], [0x0F, 0xC7], [0xC8], [0x60], [0x61], [0x9D], [0x6C], [0x6E],
  ]

  private static func program(_ random: inout Random) -> [UInt8] {
    var bytes: [UInt8] = []
    let length = 16 + random.next() % 240
    while bytes.count < length {
      if random.next() % 3 == 0 { bytes += openings[Int(random.next() % UInt64(openings.count))] }
      bytes.append(UInt8(truncatingIfNeeded: random.next() >> 11))
    }
    return bytes
  }

  /// Few, because the testing library takes a backtrace for every Swift error thrown, and each fault of
  /// the guest is one inside the engine.
  private static let limit: UInt64 = 400
  private static let count: Int = getenv("RINGSIDE_CAMPAIGN") == nil ? 200 : 10_000

  @Test("random programs stop with a reason", arguments: StartMode.allCases)
  func randomPrograms(mode: StartMode) throws {
    let seeds: [StartMode: UInt64] = [.real: 0x5EED_0001, .protected: 0x5EED_0002, .long: 0x5EED_0003]
    var random = Random(state: seeds[mode] ?? 1)
    var name = Array("/tmp/ringside-hostile-XXXXXX".utf8CString)
    let descriptor = mkstemp(&name)
    let path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
      close(descriptor)
      unlink(path)
    }
    for index in 0..<Self.count {
      let bytes = Self.program(&random)
      ftruncate(descriptor, 0)
      #expect(pwrite(descriptor, bytes, bytes.count, 0) == bytes.count)
      var configuration = SessionConfiguration()
      configuration.guest = path
      configuration.mode = mode
      configuration.memory = 4 << 20
      configuration.limit = Self.limit
      let session = try Session(configuration)
      let result = session.perform("continue")
      let snapshot = session.currentSnapshot()
      #expect(!result.failed, "program \(index) in \(mode): \(result.lines)")
      #expect(snapshot.instructionCount <= Self.limit, "program \(index) in \(mode) went over its limit")
      #expect(!snapshot.stopSentence.isEmpty, "program \(index) in \(mode) stopped without a word")
    }
  }
}
