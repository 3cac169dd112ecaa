import COracle
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Random instruction sequences on the interpreter and on the host's own processor. `RINGSIDE_CAMPAIGN` is
/// the number of cases, `RINGSIDE_SEED` the seed (0 unless given); case numbers and seed make a difference
/// seen here seen again.
@Suite(.serialized)
struct OracleTests {
  private static func setting(_ name: String) -> Int? { getenv(name).flatMap { Int(String(cString: $0)) } }

  @Test func `random instruction sequences do what the host's processor does`() throws {
    let wanted = Self.setting("RINGSIDE_CAMPAIGN") ?? 20_000
    let seed = UInt64(Self.setting("RINGSIDE_SEED") ?? 0)
    let cases = try #require(coracle_cases(), "no child could be started for the oracle (errno \(errno))")
    defer { coracle_close() }
    let machine = try OracleMachine()
    var generator = OracleGenerator(seed: seed)
    var campaign = OracleCampaign()
    while campaign.compared + campaign.discarded < wanted {
      let batch = (0..<Int(CORACLE_CASES.rawValue)).map { _ in generator.next() }
      for (i, c) in batch.enumerated() { cases[i] = c.initial }
      let result = coracle_run(Int32(batch.count))
      #expect(result == 0, "the oracle's child ended (\(result)) at case \(campaign.number)")
      for (i, c) in batch.enumerated() { campaign.judge(c, native: cases[i], machine) }
    }
    print(campaign.summary)
    #expect(campaign.differing == 0, "\(campaign.report)")
  }
}

/// Counts and the first differences of a run.
struct OracleCampaign {
  private(set) var number = 0
  private(set) var compared = 0
  private(set) var discarded = 0
  private(set) var differing = 0
  private var faults = 0
  private(set) var report = ""
  /// One report for each sequence of mnemonics, so that one cause does not hide the others.
  private var seen: [String: Int] = [:]

  mutating func judge(_ c: OracleCase, native: coracle_case, _ machine: OracleMachine) {
    defer { number += 1 }
    // Killed with the child, or looping.
    guard native.ran == 1, native.vector != 255 else {
      discarded += 1
      return
    }
    let ours = machine.run(c.initial)
    compared += 1
    if native.vector != 3 { faults += 1 }
    let lines = OracleComparison.differences(c, native: native, ours: ours)
    guard !lines.isEmpty else { return }
    differing += 1
    let key = c.disassembly.map { String($0.prefix { $0 != " " }) }.joined(separator: ",")
    seen[key, default: 0] += 1
    if seen[key] == 1 && seen.count <= 40 {
      report += OracleComparison.report(number: number, c, native: native, lines: lines)
    }
  }

  var summary: String {
    "oracle: \(compared) compared (\(faults) ended by a fault), \(discarded) discarded, \(differing) differ"
  }
}
